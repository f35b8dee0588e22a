//! `berth shell` where there is no terminal to be had: what it says, and its exit code.

use crate::{
    deployment::{Deployment, wait},
    pty::Typed,
};

/// 125 and the reason, said once; not that the server cannot be reached.
fn refused(deployment: &Deployment, session: &str, why: &str) {
    let mut shell = Typed::begin(deployment.command(&["shell", session]));
    assert_eq!(shell.end(), Some(125), "{}", shell.screen());
    let screen = shell.screen();
    let said: Vec<&str> = screen.lines().filter(|line| line.starts_with("berth: ")).collect();
    assert!(matches!(said[..], [line] if line.contains(why)), "{screen}");
    assert!(!screen.contains("cannot reach"), "{screen}");
    assert!(shell.is_cooked(), "the terminal is not as it was");
}

/// The server closes the WebSocket with 4409.
pub fn a_session_that_is_over(deployment: &Deployment) {
    let session = deployment.session();
    let mut open = Typed::start(deployment.command(&["shell", &session]));
    deployment.end(&session);
    // Killed with the session.
    assert_eq!(open.end(), Some(137), "{}", open.screen());
    refused(deployment, &session, "the session is ended");
}

/// The server closes the WebSocket with 1013.
pub fn a_host_that_is_away(deployment: &Deployment) {
    let session = deployment.session();
    let mut open = Typed::start(deployment.command(&["shell", &session]));
    let host_is = |state: &str| {
        let hosts = deployment.json(&["hosts", "--json"]);
        (hosts[0]["link"] == state).then_some(())
    };
    wait("the host is online", || host_is("online"));
    deployment.agents_wire().down();
    wait("the host is offline", || host_is("offline"));
    refused(deployment, &session, "the host is offline now");
    // Who was there before waits for it, and is told so once.
    open.expect("trying again");
    deployment.agents_wire().up();
    wait("the shell answers again", || {
        open.enter("echo back $((6*7))");
        open.seen("back 42").then_some(())
    });
    assert_eq!(open.screen().matches("trying again").count(), 1, "{}", open.screen());
    open.enter("exit 3");
    assert_eq!(open.end(), Some(3));
    wait("the host is online", || host_is("online"));
    deployment.end(&session);
}
