//! People's files: they grow, are mended, and are removed.

use std::os::unix::fs::FileExt;

use super::*;

/// What the start says of the files, and how it ended. Leaves the run up.
async fn files(link: &mut Link, spec: &RunSpec) -> (String, Outcome) {
    let id = begin(link, spec).await;
    let ended = link.ended(id).await;
    link.acknowledge(id).await;
    let step = ended.steps.into_iter().rfind(|step| step.name == "files").expect("the step");
    (step.detail.unwrap_or_default(), ended.outcome)
}

async fn remove(link: &mut Link, volume: VolumeId) -> Outcome {
    let id = TransactionId::new();
    link.instruct(id, Work::RemoveVolume { volume, name: "ann".to_owned() }).await;
    let ended = link.ended(id).await;
    link.acknowledge(id).await;
    ended.outcome
}

#[tokio::test]
async fn files_grow_are_mended_and_removed() {
    let Ready { peer: _peer, host, mut link, volume, _environment } = Ready::start().await;
    let image = host.state().join(format!("notebooks/volumes/{volume}.img"));
    let larger = RunSpec { volume_bytes: 2 << 30, ..spec(volume, NEEDED_REQUIREMENTS) };
    let (detail, outcome) = files(&mut link, &larger).await;
    assert_eq!(outcome, DONE);
    assert!(detail.contains("of 2.0 GiB used; there is more room now"), "{detail}");
    let inside = format!("/proc/{}/root/home/berth", jupyter(larger.run));
    let stat = nix::sys::statvfs::statvfs(Path::new(&inside)).expect("is mounted");
    assert!(stat.blocks() * stat.fragment_size() > 3 << 29, "{stat:?}");
    assert!(Path::new(&inside).join("kept").exists());
    let outcome = remove(&mut link, volume).await;
    assert!(matches!(&outcome, Outcome::Failed { cause, .. } if cause.contains("has them open")), "{outcome:?}");
    stop(&mut link, &larger).await;

    // It is not made smaller. What a crash of the host leaves is mended.
    until("nobody holds the files", || holders(&image) == 0).await;
    let disk = std::fs::OpenOptions::new().write(true).open(&image).expect("is opened");
    disk.write_all_at(&[0; 1024], 1024).expect("the super block is overwritten");
    let smaller = spec(volume, NEEDED_REQUIREMENTS);
    let (detail, outcome) = files(&mut link, &smaller).await;
    assert_eq!(outcome, DONE);
    assert!(detail.contains("mended") && detail.contains("not made smaller"), "{detail}");
    assert!(Path::new(&format!("/proc/{}/root/home/berth/kept", jupyter(smaller.run))).exists());
    stop(&mut link, &smaller).await;

    // More than that is told, and nothing is left of the start but the files as they are.
    until("nobody holds the files", || holders(&image) == 0).await;
    disk.write_all_at(&[0x5A; 600 * 4096], 4096).expect("the tables are overwritten");
    let damaged = spec(volume, NEEDED_REQUIREMENTS);
    let (_, outcome) = files(&mut link, &damaged).await;
    assert!(matches!(&outcome, Outcome::Failed { cause, .. } if cause.contains("damaged beyond")), "{outcome:?}");
    assert_gone(&host, damaged.run).await;
    assert!(image.exists());
    for _ in 0..2 {
        assert_eq!(remove(&mut link, volume).await, DONE);
        assert!(!image.exists());
    }
}
