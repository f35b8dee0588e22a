//! Where nobody reaps orphans, as in a container whose first process does not look after them, a session ends clean all the
//! same. The agent itself is made the one that they are given to.

use std::fs;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    peer::{Host, Peer},
    session::{MACHINE, Used, prepared_on},
    support::until,
};

/// Becomes what orphans are given to (PR_SET_CHILD_SUBREAPER), and then the agent.
const SUBREAPER: &str = "set -- python3 -c 'import ctypes, os, sys; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0); \
                         os.execv(sys.argv[1], sys.argv[1:])' \"$@\"";

/// A session in whose terminal a shell waits for a command.
async fn with_a_terminal() -> Used {
    let peer = Peer::start().await;
    let host = Host::started_in(&peer, MACHINE, SUBREAPER).await;
    let mut used = prepared_on(peer, host).await;
    let (stream, _) = used.terminal(None).await;
    used.type_in(stream, "echo ready-$((1+1))\n").await;
    used.see(stream, "ready-2").await;
    used
}

/// The agent's children in one of these states, by their names.
fn children(agent: i32, states: &str) -> Vec<(i32, String)> {
    let all =
        fs::read_dir("/proc").expect("is there").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter_map(|pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        let (state, rest) = rest.split_once(' ')?;
        let is_wanted = rest.split(' ').next()?.parse() == Ok(agent) && states.contains(state);
        is_wanted.then(|| (pid, name.to_owned()))
    })
    .collect()
}

#[tokio::test]
async fn a_revert_leaves_no_program_of_a_terminal_unreaped() {
    let mut used = with_a_terminal().await;
    used.revert().await;
    // Helpers are the agent's own, which it reaps in its time.
    until("nothing is left to be reaped", || children(used.host.pid(), "Z").is_empty()).await;
}

#[tokio::test]
async fn a_session_whose_helper_was_killed_ends_clean() {
    let mut used = with_a_terminal().await;
    let agent = used.host.pid();
    let helpers: Vec<_> = children(agent, "SR")
        .into_iter()
        .filter(|(pid, _)| {
            fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("sandbox-helper"))
        })
        .collect();
    let [(helper, _)] = helpers[..] else { panic!("{helpers:?}") };
    kill(Pid::from_raw(helper), Signal::SIGKILL).expect("is killed");
    until("its shell waits to be reaped", || children(agent, "Z").iter().any(|(_, name)| name == "bash")).await;
    used.revert().await;
    assert!(children(agent, "Z").iter().any(|(_, name)| name == "bash"), "it was reaped: this shows nothing");
}
