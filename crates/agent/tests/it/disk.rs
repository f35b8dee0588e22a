//! The limit of what a sandbox writes, in all.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use agent::environments::Exit;
use domain::{
    environments::EnvironmentSpec,
    ids::{MachineId, SessionId, TransactionId},
    instructions::Work,
};
use protocol::Outcome;

use crate::{
    peer::{Host, Peer},
    support::{Bench, assert_clean},
};

/// Loop devices that hold something below the directory.
fn loops(directory: &Path) -> Vec<String> {
    let devices = fs::read_dir("/sys/block").expect("is there").filter_map(Result::ok);
    devices
        .filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok())
        .filter(|file| Path::new(file).starts_with(directory))
        .collect()
}

#[tokio::test]
async fn whoever_fills_the_disk_is_told_and_nobody_else_is_harmed() {
    let bench = Bench::sandbox("disk = \"48MiB\"");
    let running = bench.prepare().await;
    assert!(running.isolation.contains("disk 48 MiB"), "{}", running.isolation);
    // Each file is far below the limit; together they are above it, in every place that can be written to.
    let fill = "for n in 1 2 3 4 5 6 7 8; do head -c 10000000 /dev/zero > $DIR/$n || echo full at $n; done";
    let ran = bench.sh(&running, &format!("DIR=/home/berth; {fill}")).await;
    assert!(ran.stderr.contains("No space left on device"), "{ran:?}");
    assert!(ran.stdout.contains("full at 8"), "{ran:?}");
    for place in ["/tmp", "/var/tmp"] {
        let ran = bench.sh(&running, &format!("head -c 10000000 /dev/zero > {place}/more")).await;
        assert!(ran.stderr.contains("No space left on device"), "{place}: {ran:?}");
    }
    let image = bench.directory.path().join(format!("state/sandboxes/{}/disk.img", running.session));
    let used = fs::metadata(&image).expect("is there").blocks() * 512;
    assert!(used <= 48 << 20, "{used}");
    let other = bench.prepare().await;
    assert_eq!(bench.sh(&other, "head -c 10000000 /dev/zero > ~/file; wc -c < ~/file").await.stdout, "10000000\n");
    // What is deleted can be used again.
    let ran = bench.sh(&running, "rm ~/?; head -c 10000000 /dev/zero > /tmp/again && echo room").await;
    assert_eq!((ran.stdout.as_str(), ran.exit), ("room\n", Exit::Code(0)), "{ran:?}");
    assert_eq!(loops(bench.directory.path()).len(), 2);
    assert_clean(&bench.revert(&running).await);
    assert_clean(&bench.revert(&other).await);
    assert_eq!(loops(bench.directory.path()), [] as [String; 0]);
    assert!(!image.exists());
}

#[tokio::test]
async fn devices_and_set_user_id_mean_nothing_there() {
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    let ran =
        bench.sh(&running, "grep -E ' (/home/berth|/tmp|/var/tmp) ' /proc/self/mountinfo | cut -d' ' -f5,6").await;
    for place in ["/home/berth ", "/tmp ", "/var/tmp "] {
        assert!(ran.stdout.contains(&format!("{place}rw")), "{place}: {ran:?}");
    }
    for line in ran.stdout.lines() {
        assert!(line.contains("nosuid") && line.contains("nodev"), "{line}");
    }
    assert_clean(&bench.revert(&running).await);
}

/// A mount of the image on the host keeps it busy, and the revert says what does.
#[tokio::test]
async fn a_disk_that_is_held_is_not_taken_for_gone() {
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    let image = bench.directory.path().join(format!("state/sandboxes/{}/disk.img", running.session));
    let output = std::process::Command::new("losetup").args(["-f", "--show"]).arg(&image).output().expect("runs");
    let device = String::from_utf8(output.stdout).expect("a name").trim().to_owned();
    let report = bench.revert(&running).await;
    let status = std::process::Command::new("losetup").args(["-d", &device]).status().expect("runs");
    assert!(status.success());
    let name = device.trim_start_matches("/dev/");
    crate::support::assert_failed(&report, "unmount", &format!("still in use by {name}"));
    assert_clean(&bench.revert(&running).await);
    assert!(!image.exists());
}

/// An agent that gets no loop devices says in the session's steps what it cannot limit.
#[tokio::test]
async fn a_host_without_loop_devices_says_so() {
    let mut peer = Peer::start().await;
    let machines = "[[machines]]\nname = \"m\"\nkind = \"sandbox\"\n";
    let bare = tempfile::Builder::new().prefix("berth-it-dev-").tempdir_in("/var/tmp").expect("a directory");
    let dev = bare.path().display();
    let hidden = format!(
        "cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty {dev} && mount --bind {dev} /dev"
    );
    let host = Host::started_in(&peer, machines, &hidden).await;
    let (mut link, _) = peer.link().await;
    let (id, session) = (TransactionId::new(), SessionId::new());
    let (machine, machine_name) = (MachineId::new(), "m".to_owned());
    let environment = EnvironmentSpec::default();
    link.instruct(id, Work::Prepare { session, machine, machine_name: machine_name.clone(), environment }).await;
    let ended = link.ended(id).await;
    assert_eq!(ended.outcome, Outcome::Done { exit_code: None }, "{ended:?}");
    let limits = ended.steps.iter().rev().find(|step| step.name == "limits").and_then(|step| step.detail.clone());
    assert!(limits.as_deref().is_some_and(|text| text.contains("no limit of the disk")), "{limits:?}");
    assert_eq!(loops(host.path()), [] as [String; 0]);
    let revert = TransactionId::new();
    link.instruct(revert, Work::Revert { session, machine, machine_name }).await;
    assert_eq!(link.ended(revert).await.outcome, Outcome::Done { exit_code: None });
}
