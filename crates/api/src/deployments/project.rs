//! What is deployed of a project's folder.

use base64::{Engine, engine::general_purpose::STANDARD};
use domain::deployments::ModuleKind;
use objects::{project, wire};

use super::{Binding, CodeLimits, Deploy, Migration, Module, RenamedClass, Service};

impl Deploy {
    /// Under the project's own name.
    pub fn of_project(project: project::Project, note: String) -> Self {
        let services = project.config.own_services();
        let project::Project { config, modules, main, warnings: _, files: _ } = project;
        let binding = |binding: project::Binding| Binding { name: binding.name, class: binding.class_name };
        Deploy {
            name: config.name,
            main,
            modules: modules.into_iter().map(module).collect(),
            vars: config.vars,
            bindings: config.durable_objects.bindings.into_iter().map(binding).collect(),
            services: services.into_iter().map(service).collect(),
            limits: CodeLimits { cpu_ms: config.limits.cpu_ms },
            migrations: config.migrations.into_iter().map(migration).collect(),
            note,
        }
    }
}

fn service(wire::Service { binding, entrypoint }: wire::Service) -> Service {
    Service { name: binding, entrypoint }
}

fn module(wire::Module { name, kind, body }: wire::Module) -> Module {
    let kind = match kind {
        wire::ModuleKind::Esm => ModuleKind::Esm,
        wire::ModuleKind::Text => ModuleKind::Text,
        wire::ModuleKind::Json => ModuleKind::Json,
        wire::ModuleKind::Data => ModuleKind::Data,
    };
    match String::from_utf8(body) {
        Ok(text) => Module { name, kind, text: Some(text), base64: None },
        Err(bytes) => Module { name, kind, text: None, base64: Some(STANDARD.encode(bytes.as_bytes())) },
    }
}

fn migration(migration: project::Migration) -> Migration {
    let project::Migration { tag, new_classes, new_sqlite_classes, renamed_classes, deleted_classes } = migration;
    let rename = |project::RenamedClass { from, to }| RenamedClass { from, to };
    Migration {
        tag,
        // Each object has a database of its own, whichever way its class came.
        new: new_classes.into_iter().chain(new_sqlite_classes).collect(),
        renamed: renamed_classes.into_iter().map(rename).collect(),
        deleted: deleted_classes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_deployed_as_its_files_say() {
        let config = r#"{ "name": "chat", "main": "a.js", "vars": { "N": 3 },
            "limits": { "cpu_ms": 50, "subrequests": 9 }, "rules": [{ "type": "Data", "globs": ["**/*.bin"] }],
            "durable_objects": { "bindings": [{ "name": "ROOMS", "class_name": "Room" }] },
            "services": [{ "binding": "SELF", "service": "chat", "entrypoint": "Entry" }],
            "migrations": [{ "tag": "1", "new_classes": ["Old"] },
                { "tag": "2", "new_sqlite_classes": ["X"], "renamed_classes": [{ "from": "Old", "to": "Room" }], "deleted_classes": ["Gone"] }] }"#;
        let files =
            [("wrangler.json", config.as_bytes()), ("a.js", b"import b from './b.bin';\nb;\n"), ("b.bin", b"\xff")];
        let files = files.map(|(name, content)| (name.to_owned(), content.to_vec()));
        let sent = project::Sent::new(files).expect("good names");
        let deploy = Deploy::of_project(project::Project::of_sent(&sent).expect("is read"), "first".to_owned());
        let expected = serde_json::json!({
            "name": "chat", "main": "a.js", "note": "first", "vars": { "N": 3 },
            "modules": [
                { "name": "a.js", "kind": "esm", "text": "import b from \"b.bin\";\nb;\n", "base64": null },
                { "name": "b.bin", "kind": "data", "text": null, "base64": "/w==" },
            ],
            "bindings": [{ "name": "ROOMS", "class": "Room" }],
            "services": [{ "name": "SELF", "entrypoint": "Entry" }],
            "limits": { "cpu_ms": 50 },
            "migrations": [
                { "tag": "1", "new": ["Old"], "renamed": [], "deleted": [] },
                { "tag": "2", "new": ["X"], "renamed": [{ "from": "Old", "to": "Room" }], "deleted": ["Gone"] },
            ],
        });
        assert_eq!(serde_json::to_value(deploy).expect("is JSON"), expected);
    }
}
