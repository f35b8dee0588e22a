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

/// With a colleague, who sees it in their list until it is taken back.
fn shared(deployment: &Deployment) {
    const BOB: &str = "bob@example.org";
    let token = deployment.admin(BOB);
    let bob_sees = || {
        let mut list = deployment.command(&["notebooks", "list", "--shared", "--json"]);
        let listed = list.env("BERTH_TOKEN", &token).output().expect("berth");
        assert!(listed.status.success(), "{}", text(&listed.stderr));
        let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
        listed.as_array().expect("a list").iter().map(|one| one["access"].clone()).collect::<Vec<_>>()
    };
    let done = |arguments: &[&str]| {
        let output = deployment.berth(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout) + &text(&output.stderr)
    };
    assert_eq!(bob_sees(), [] as [Value; 0]);
    assert!(done(&["notebooks", "share", "mine", BOB]).contains("can look at it"));
    assert_eq!(bob_sees(), ["read"]);
    assert!(done(&["notebooks", "share", "mine", BOB, "--full"]).contains("can do in it what you can"));
    assert_eq!(bob_sees(), ["full"]);
    let listed = done(&["notebooks", "shares", "mine"]);
    assert!(listed.contains(BOB) && listed.contains("full"), "{listed}");
    done(&["notebooks", "unshare", "mine", BOB]);
    assert_eq!(bob_sees(), [] as [Value; 0]);
    assert!(done(&["notebooks", "shares", "mine"]).contains("Shared with nobody"));
    let nobody = deployment.berth(&["notebooks", "share", "mine", "nobody@example.org"]);
    assert!(
        !nobody.status.success() && text(&nobody.stderr).contains("nobody@example.org"),
        "{}",
        text(&nobody.stderr)
    );
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

    shared(&deployment);

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
    let no_size = deployment.berth(&["notebooks", "start", "mine", "--size", "huge"]);
    assert!(!no_size.status.success() && text(&no_size.stderr).contains("medium"), "{}", text(&no_size.stderr));
    done(&["notebooks", "start", "mine", "--size", "medium"]);
    assert_eq!(mine(&deployment)["size"], "medium");
    wait_until_it_is(&deployment, "running");
    done(&["notebooks", "stop", "mine"]);
    wait_until_it_is(&deployment, "stopped");
    done(&["notebooks", "delete", "mine"]);
    assert_eq!(mine(&deployment), Value::Null);
    let gone = deployment.berth(&["notebooks", "logs", "mine"]);
    assert!(!gone.status.success(), "{}", text(&gone.stdout));
}
