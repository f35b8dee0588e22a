//! `berth objects` against a real server: deployments, their versions, and their end. What hosts do with them is
//! `end2end/tests/deployments.test.js`.

use std::{fs, path::Path};

use crate::{deployment::Deployment, text};

fn project(folder: &Path, name: &str, code: &str) {
    fs::create_dir_all(folder.join("src")).expect("a folder");
    let config = format!(
        "name = \"{name}\"\nmain = \"src/index.ts\"\n[[durable_objects.bindings]]\nname = \"THINGS\"\nclass_name = \"Thing\"\n\
         [[migrations]]\ntag = \"v1\"\nnew_sqlite_classes = [\"Thing\"]\n"
    );
    fs::write(folder.join("wrangler.toml"), config).expect("the configuration");
    fs::write(folder.join("src/index.ts"), code).expect("the code");
}

pub fn deployments(deployment: &Deployment) {
    let folder = deployment.path("things");
    let at = folder.display().to_string();
    let numbers = |name: &str| -> Vec<u64> {
        let versions = deployment.json(&["objects", "versions", name, "--json"]);
        versions.as_array().expect("versions").iter().filter_map(|version| version["number"].as_u64()).collect()
    };
    project(
        &folder,
        "things",
        "export class Thing {}\nexport default { fetch(): Response { return new Response('1'); } };\n",
    );
    let first = deployment.berth(&["objects", "deploy", &at, "--note", "the first"]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    assert_eq!(text(&first.stdout), format!("http://things.localhost:{}\n", deployment.port()));
    // This host runs no objects.
    assert!(text(&first.stderr).contains("no host runs objects yet"), "{}", text(&first.stderr));
    let same = deployment.json(&["objects", "deploy", &at, "--json"]);
    assert_eq!((&same["is_new"], &same["version"]["number"]), (&false.into(), &1.into()));
    project(
        &folder,
        "things",
        "export class Thing {}\nexport default { fetch(): Response { return new Response('2'); } };\n",
    );
    assert_eq!(deployment.json(&["objects", "deploy", &at, "--json"])["version"]["number"], 2);
    assert_eq!(numbers("things"), [2, 1]);

    let back = deployment.berth(&["objects", "run-version", "things", "1"]);
    assert!(back.status.success(), "{}", text(&back.stderr));
    let listed = deployment.json(&["objects", "list", "--json"]);
    assert_eq!((&listed[0]["name"], &listed[0]["version"]), (&"things".into(), &1.into()));
    let missing = deployment.berth(&["objects", "run-version", "things", "9"]);
    assert_eq!(missing.status.code(), Some(4), "{}", text(&missing.stderr));
    assert_eq!(deployment.json(&["objects", "objects", "things", "--json"]), serde_json::json!([]));
    let nobody = deployment.berth(&["objects", "kv", "things", "Thing", "a"]);
    assert_eq!(nobody.status.code(), Some(4), "{}", text(&nobody.stderr));

    project(&folder, "things", "export class Thing {}\nexport default { fetch() { return a +; } };\n");
    let wrong = deployment.berth(&["objects", "deploy", &at]);
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong.stderr));
    assert!(text(&wrong.stderr).contains("src/index.ts:2:38: "), "{}", text(&wrong.stderr));
    assert_eq!(numbers("things"), [2, 1]);

    let unasked = deployment.berth(&["objects", "delete", "things"]);
    assert_eq!(unasked.status.code(), Some(2), "{}", text(&unasked.stderr));
    let deleted = deployment.berth(&["objects", "delete", "things", "--yes"]);
    assert!(deleted.status.success(), "{}", text(&deleted.stderr));
    assert_eq!(deployment.json(&["objects", "list", "--json"]), serde_json::json!([]));
}
