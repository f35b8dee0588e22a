//! `wrangler.toml`, `wrangler.json` and `wrangler.jsonc`, as far as objects need them.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;

use super::{Place, ProjectError, files::Files};
use crate::wire::Service;

/// In the order in which they are looked for.
pub const FILES: [&str; 3] = ["wrangler.jsonc", "wrangler.json", "wrangler.toml"];
/// Far larger than any that people write.
const MAX_BYTES: u64 = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Binding {
    pub name: String,
    pub class_name: String,
    pub script_name: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct DurableObjects {
    #[serde(default)]
    pub bindings: Vec<Binding>,
}

/// A binding to a worker: here to an entry point of the deployment itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ServiceBinding {
    pub binding: String,
    pub service: String,
    /// The default export if not given.
    pub entrypoint: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RenamedClass {
    pub from: String,
    pub to: String,
}

/// One step in the history of a deployment's classes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Migration {
    pub tag: String,
    #[serde(default)]
    pub new_classes: Vec<String>,
    #[serde(default)]
    pub new_sqlite_classes: Vec<String>,
    #[serde(default)]
    pub renamed_classes: Vec<RenamedClass>,
    #[serde(default)]
    pub deleted_classes: Vec<String>,
}

/// Which files are modules of which kind.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Rule {
    #[serde(rename = "type")]
    pub kind: RuleKind,
    pub globs: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum RuleKind {
    #[serde(rename = "ESModule")]
    EsModule,
    Text,
    Data,
}

/// What only Berth reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Berth {
    /// Private addresses that outgoing requests may reach, by the name that stands in the URL.
    #[serde(default)]
    pub allow_private: Vec<String>,
}

/// What the project limits itself to; others of these have no meaning here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct CodeLimits {
    /// Processor time of one event, milliseconds.
    pub cpu_ms: Option<u32>,
}

/// The highest `cpu_ms` that Cloudflare documents.
const MAX_CPU_MS: u32 = 300_000;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Config {
    pub name: String,
    pub main: PathBuf,
    #[serde(default)]
    pub durable_objects: DurableObjects,
    #[serde(default)]
    pub services: Vec<ServiceBinding>,
    #[serde(default)]
    pub migrations: Vec<Migration>,
    #[serde(default)]
    pub vars: BTreeMap<String, Value>,
    #[serde(default)]
    pub rules: Vec<Rule>,
    #[serde(default)]
    pub limits: CodeLimits,
    #[serde(default)]
    pub berth: Berth,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// Said by projects, with no meaning for objects.
const HARMLESS: [&str; 19] = [
    "$schema",
    "account_id",
    "build",
    "compatibility_date",
    "compatibility_flags",
    "dev",
    "env",
    "keep_vars",
    "logpush",
    "minify",
    "no_bundle",
    "node_compat",
    "observability",
    "placement",
    "preview_urls",
    "send_metrics",
    "tsconfig",
    "upload_source_maps",
    "workers_dev",
];

impl Config {
    /// Reads the project's file. Which one it was is returned with it.
    pub(super) fn read(files: Files<'_>, directory: &Path) -> Result<(Self, PathBuf), ProjectError> {
        for name in FILES {
            let path = directory.join(name);
            let text = match files.size(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => Err(error),
                Ok(bytes) if bytes > MAX_BYTES => Err(io::Error::other(format!("it is larger than {MAX_BYTES} bytes"))),
                Ok(_) => files.read(&path).and_then(|content| String::from_utf8(content).map_err(io::Error::other)),
            };
            let text = text.map_err(|source| ProjectError::Read { path: path.clone(), source })?;
            let config = match path.extension().is_some_and(|extension| extension == "toml") {
                true => Self::of_toml(&path, &text)?,
                false => Self::of_jsonc(&path, &text)?,
            };
            config.check(&path, &text)?;
            return Ok((config, path));
        }
        Err(ProjectError::NoConfig(directory.to_owned()))
    }

    fn of_toml(path: &Path, text: &str) -> Result<Self, ProjectError> {
        toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            ProjectError::invalid(Place::of(path, text, at), error.message())
        })
    }

    fn of_jsonc(path: &Path, text: &str) -> Result<Self, ProjectError> {
        serde_json::from_str(&without_comments(text)).map_err(|error| {
            let place = Place { file: path.to_owned(), line: error.line(), column: error.column() };
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            ProjectError::invalid(place, message)
        })
    }

    fn check(&self, path: &Path, text: &str) -> Result<(), ProjectError> {
        let refused = |message: String| Err(ProjectError::invalid(Place::start(path), message));
        let plain = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
        if self.name.is_empty() || self.name.len() > 63 || !self.name.chars().all(plain) || self.name.starts_with('-') {
            return refused(format!(
                "name is {:?}: it becomes a part of an address, so up to 63 of a-z, 0-9 and - are possible",
                self.name
            ));
        }
        let mut names: Vec<&str> = self.durable_objects.bindings.iter().map(|binding| binding.name.as_str()).collect();
        names.extend(self.vars.keys().map(String::as_str));
        names.extend(self.services.iter().map(|service| service.binding.as_str()));
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return refused(format!("{} is bound twice", twice[0]));
        }
        for binding in &self.durable_objects.bindings {
            if let Some(script) = binding.script_name.as_ref().filter(|script| **script != self.name) {
                let message = format!("{} is of another deployment's class, which is not possible here", binding.name);
                return Err(ProjectError::invalid(of_word(path, text, script), message));
            }
        }
        for ServiceBinding { binding, service, entrypoint: _ } in &self.services {
            if *service != self.name {
                let message = format!(
                    "{binding} is of another deployment, {service}: only entry points of {} itself can be bound here",
                    self.name
                );
                return Err(ProjectError::invalid(of_word(path, text, service), message));
            }
        }
        match self.limits.cpu_ms {
            Some(cpu_ms) if !(1..=MAX_CPU_MS).contains(&cpu_ms) => {
                let message = format!("cpu_ms is {cpu_ms}: 1 to {MAX_CPU_MS} milliseconds are possible");
                Err(ProjectError::invalid(
                    text.find("cpu_ms").map_or(Place::start(path), |at| Place::of(path, text, at)),
                    message,
                ))
            }
            Some(_) | None => Ok(()),
        }
    }

    pub fn own_services(&self) -> Vec<Service> {
        let services = self.services.iter();
        let service = |of: &ServiceBinding| Service {
            binding: of.binding.clone(),
            entrypoint: of.entrypoint.clone().unwrap_or_else(|| "default".to_owned()),
        };
        services.map(service).collect()
    }

    /// What the file asks for and will not get.
    pub fn warnings(&self) -> Vec<String> {
        let unknown = self.others.keys().filter(|key| !HARMLESS.contains(&key.as_str()));
        unknown.map(|key| format!("{key} is not supported and left out")).collect()
    }
}

/// Where a name stands in the file as a whole string.
fn of_word(path: &Path, text: &str, word: &str) -> Place {
    let at = ['"', '\''].iter().filter_map(|quote| text.find(&format!("{quote}{word}{quote}"))).min();
    at.map_or_else(|| Place::start(path), |at| Place::of(path, text, at))
}

/// JSON from JSON with comments and trailing commas, each character at the place where it was.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut comma: Option<usize> = None;
    while let Some(char) = chars.next() {
        match (char, chars.peek()) {
            ('"', _) => {
                comma = None;
                out.push('"');
                while let Some(inner) = chars.next() {
                    out.push(inner);
                    match inner {
                        '"' => break,
                        '\\' => out.extend(chars.next()),
                        _other => {}
                    }
                }
            }
            ('/', Some('/')) => {
                out.push(' ');
                while chars.peek().is_some_and(|next| *next != '\n') {
                    chars.next();
                    out.push(' ');
                }
            }
            ('/', Some('*')) => {
                out.push_str("  ");
                chars.next();
                let mut before = ' ';
                for inner in chars.by_ref() {
                    out.push(if inner == '\n' { '\n' } else { ' ' });
                    if (before, inner) == ('*', '/') {
                        break;
                    }
                    before = inner;
                }
            }
            (',', _) => {
                comma = Some(out.len());
                out.push(',');
            }
            ('}' | ']', _) => {
                if let Some(at) = comma.take() {
                    out.replace_range(at..=at, " ");
                }
                out.push(char);
            }
            (other, _) => {
                if !other.is_whitespace() {
                    comma = None;
                }
                out.push(other);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const TOML: &str = r#"
name = "chat"
main = "src/index.ts"
compatibility_date = "2026-01-01"
kv_namespaces = []
vars = { GREETING = "hello", LIMITS = { size = 3 } }
limits = { cpu_ms = 50, subrequests = 9 }
[[durable_objects.bindings]]
name = "ROOMS"
class_name = "Room"
[[migrations]]
tag = "v1"
new_sqlite_classes = ["Room"]
"#;
    const JSONC: &str = r#"{
  // the name, "quoted"
  "name": "chat", "main": "src/index.ts", "compatibility_date": "2026-01-01", /* more
  */ "kv_namespaces": [],
  "vars": { "GREETING": "hello", "LIMITS": { "size": 3, }, }, "limits": { "cpu_ms": 50, "subrequests": 9 },
  "durable_objects": { "bindings": [{ "name": "ROOMS", "class_name": "Room" },] },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Room"] }],
}"#;

    fn read(name: &str, text: &str) -> Result<Config, ProjectError> {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join(name), text).expect("is written");
        Config::read(Files::Disk, directory.path()).map(|(config, _)| config)
    }

    #[test]
    fn both_ways_to_write_it_say_the_same() {
        let toml = read("wrangler.toml", TOML).expect("is read");
        assert_eq!(toml, read("wrangler.jsonc", JSONC).expect("is read"));
        assert_eq!(toml.vars["LIMITS"]["size"], 3);
        assert_eq!(toml.limits.cpu_ms, Some(50));
        assert_eq!(toml.warnings(), ["kv_namespaces is not supported and left out"]);
    }

    #[test]
    fn a_mistake_has_its_place() {
        let check = |name: &str, text: &str, expected: &str| {
            let error = read(name, text).expect_err("is refused").to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("wrangler.toml", "name = \"a\"\nmain = 3\n", "wrangler.toml:2:8: ");
        check("wrangler.jsonc", "{\n // x\n \"name\": \"a\",\n \"main\": 3\n}", "wrangler.jsonc:4:10: ");
        check("wrangler.toml", "name = \"A b\"\nmain = \"x.js\"\n", "part of an address");
        check("package.json", "{}", "wrangler.toml");
        check(
            "wrangler.toml",
            "name = \"a\"\nmain = \"x.js\"\n[limits]\ncpu_ms = 0\n",
            "wrangler.toml:4:1: cpu_ms is 0",
        );
        let other = "name = \"a\"\nmain = \"x.js\"\n[[services]]\nbinding = \"B\"\nservice = \"b\"\n";
        check("wrangler.toml", other, "wrangler.toml:5:11: B is of another deployment, b");
        let other = "{\n \"name\": \"a\", \"main\": \"x.js\",\n \"services\": [\n  { \"binding\": \"B\", \"service\": \"b\" }\n ] }";
        check("wrangler.json", other, "wrangler.json:4:");
    }

    #[test]
    fn entry_points_of_its_own_are_bound() {
        let text = "name = \"a\"\nmain = \"x.js\"\n[[services]]\nbinding = \"B\"\nservice = \"a\"\nentrypoint = \"E\"\n\
            [[services]]\nbinding = \"C\"\nservice = \"a\"\n";
        let services = read("wrangler.toml", text).expect("is read").own_services();
        let of = |binding: &str, entrypoint: &str| Service { binding: binding.into(), entrypoint: entrypoint.into() };
        assert_eq!(services, [of("B", "E"), of("C", "default")]);
    }
}
