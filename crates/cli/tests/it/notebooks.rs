//! `berth notebooks`, with a real JupyterLab.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::Value;

use crate::{
    deployment::{Deployment, wait},
    text,
};

/// A program that a browser is opened with: it notes what it was given.
const OPENER: &str = "#!/bin/sh\necho \"$1\" > \"$0.address\"\n";

fn mine(deployment: &Deployment) -> Value {
    let listed = deployment.json(&["notebooks", "list", "--json"]);
    let found = listed.as_array().and_then(|all| all.iter().find(|notebook| notebook["name"] == "mine"));
    found.cloned().unwrap_or(Value::Null)
}

fn wait_until_it_is(deployment: &Deployment, state: &str) {
    wait(&format!("the notebook is {state}"), || {
        let notebook = mine(deployment);
        assert_ne!(notebook["state"], "failed", "{notebook}");
        (notebook["state"] == state).then_some(())
    });
}

#[test]
fn the_notebooks_of_the_command_line() {
    let deployment = Deployment::start();
    let nowhere = deployment.berth(&["notebooks", "launch", "--env", "no-such"]);
    assert!(!nowhere.status.success() && text(&nowhere.stderr).contains("no-such"), "{}", text(&nowhere.stderr));

    let opener = deployment.path("xdg-open");
    fs::write(&opener, OPENER).expect("a program");
    fs::set_permissions(&opener, fs::Permissions::from_mode(0o755)).expect("is made a program");
    let mut launch =
        deployment.command(&["notebooks", "launch", "--env", "base", "--name", "mine", "--wait", "--open"]);
    let path = format!("{}:{}", deployment.path("").display(), std::env::var("PATH").expect("a path"));
    let launched = launch.env("PATH", path).output().expect("berth");
    assert!(launched.status.success(), "{}", text(&launched.stderr));
    let address = format!("{}/notebooks/mine/open\n", deployment.url());
    assert_eq!(text(&launched.stdout), address);
    assert_eq!(fs::read_to_string(deployment.path("xdg-open.address")).expect("was opened"), address);
    assert_eq!(mine(&deployment)["state"], "running", "it waited");

    let listed = text(&deployment.berth(&["notebooks", "list"]).stdout);
    assert!(["NAME", "mine", "running", "ada", "base", "lab"].iter().all(|w| listed.contains(w)), "{listed}");
    let logs = deployment.berth(&["notebooks", "logs", "mine"]);
    assert!(text(&logs.stdout).contains("jupyterlab"), "{}", text(&logs.stdout));

    let running = deployment.berth(&["notebooks", "delete", "mine"]);
    assert!(!running.status.success() && text(&running.stderr).contains("running"), "{}", text(&running.stderr));
    let again = deployment.berth(&["notebooks", "launch", "--name", "mine"]);
    assert!(!again.status.success() && text(&again.stderr).contains("mine"), "{}", text(&again.stderr));
    let done = |arguments: &[&str]| {
        let output = deployment.berth(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    };
    done(&["notebooks", "stop", "mine"]);
    wait_until_it_is(&deployment, "stopped");
    done(&["notebooks", "start", "mine"]);
    wait_until_it_is(&deployment, "running");
    done(&["notebooks", "stop", "mine"]);
    wait_until_it_is(&deployment, "stopped");
    done(&["notebooks", "delete", "mine"]);
    assert_eq!(mine(&deployment), Value::Null);
    let gone = deployment.berth(&["notebooks", "logs", "mine"]);
    assert!(!gone.status.success(), "{}", text(&gone.stdout));
}
