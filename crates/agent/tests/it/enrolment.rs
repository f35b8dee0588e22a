//! From a zero certificate file to a host, whatever breaks in between.

use std::os::unix::fs::PermissionsExt;

use crate::peer::{Answer, Host, Peer};

#[tokio::test]
async fn a_host_enrols_once() {
    let peer = Peer::start().await;
    let host = Host::new("");
    let (status, output) = host.enroll(&peer, &[]).await;
    assert!(status.success(), "{output}");
    assert!(output.contains("enrolled as 'h'"), "{output}");
    let file = host.state().join("identity.toml");
    assert_eq!(file.metadata().expect("is there").permissions().mode() & 0o777, 0o600);
    assert!(!host.state().join("enroll-key.pem").exists());
    let (status, output) = host.enroll(&peer, &[]).await;
    assert!(status.success() && output.contains("already enrolled as 'h'"), "{output}");
    assert_eq!(peer.authority.enrolled(), 1);
}

#[tokio::test]
async fn a_lost_answer_costs_no_second_use() {
    let peer = Peer::start().await;
    let host = Host::new("");
    *peer.authority.answer.lock().expect("a lock") = Answer::Lose;
    let (status, output) = host.enroll(&peer, &[]).await;
    assert!(!status.success());
    assert!(output.contains("run the command again"), "{output}");
    let key = host.state().join("enroll-key.pem");
    assert_eq!(key.metadata().expect("is there").permissions().mode() & 0o777, 0o600);
    *peer.authority.answer.lock().expect("a lock") = Answer::Give;
    let (status, output) = host.enroll(&peer, &[]).await;
    assert!(status.success(), "{output}");
    assert_eq!(peer.authority.enrolled(), 1);
}

#[tokio::test]
async fn a_refusal_is_told_in_the_servers_words() {
    let peer = Peer::start().await;
    let host = Host::new("");
    *peer.authority.answer.lock().expect("a lock") = Answer::Refuse;
    let (status, output) = host.enroll(&peer, &[]).await;
    assert!(!status.success());
    assert!(output.contains("the zero certificate is used up"), "{output}");
}

#[tokio::test]
async fn another_server_wants_a_clear_word() {
    let (first, second) = (Peer::start().await, Peer::start().await);
    let host = Host::new("");
    assert!(host.enroll(&first, &[]).await.0.success());
    let (status, output) = host.enroll(&second, &[]).await;
    assert!(!status.success());
    assert!(output.contains("--replace"), "{output}");
    let (status, output) = host.enroll(&second, &["--replace"]).await;
    assert!(status.success(), "{output}");
}

#[tokio::test]
async fn a_server_with_another_ca_is_not_trusted() {
    let (real, other) = (Peer::start().await, Peer::start().await);
    let host = Host::new("");
    let mut zero = real.zero();
    zero.server.clone_from(&other.address);
    let file = host.path().join("z.toml");
    std::fs::write(&file, toml::to_string(&zero).expect("TOML")).expect("writes");
    let mut command = host.command("enroll");
    command.arg(&file).arg("--state").arg(host.state());
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("runs").expect("runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(text.contains("not the one that this host enrolled with"), "{text}");
    assert_eq!(other.authority.enrolled(), 0);
}

#[tokio::test]
async fn a_damaged_file_is_told_without_its_secrets() {
    let host = Host::new("");
    let file = host.path().join("z.toml");
    std::fs::write(&file, "key_pem = \"SECRET\nzero").expect("writes");
    let output = host.command("enroll").arg(&file).arg("--state").arg(host.state()).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(text.contains("is no zero certificate file") && !text.contains("SECRET"), "{text}");
}
