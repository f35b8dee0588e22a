//! What tests of notebooks begin with that do not try the building of an environment.

use std::{
    os::unix::fs::MetadataExt,
    sync::{Arc, Weak},
};

use super::*;

/// A host that has the environment of [`NEEDED_REQUIREMENTS`], and a person with a file "kept" there.
pub struct Ready {
    pub peer: Peer,
    pub host: Host,
    pub link: Link,
    pub volume: VolumeId,
    pub _environment: Arc<tempfile::TempDir>,
}

impl Ready {
    pub async fn start() -> Self {
        let environment = environment().await;
        let mut peer = Peer::start().await;
        let mut host = Host::new(NOTEBOOKS);
        let (status, output) = host.enroll(&peer, &[]).await;
        assert!(status.success(), "{output}");
        let at = host.state().join("notebooks");
        std::fs::create_dir_all(&at).expect("is made");
        link_tree(&environment.path().join("environments"), &at);
        host.start();
        let (mut link, _) = peer.link().await;
        let volume = VolumeId::new();
        let spec = spec(volume, NEEDED_REQUIREMENTS);
        start(&mut link, &[&spec]).await;
        let home = PathBuf::from(format!("/proc/{}/root/home/berth", jupyter(spec.run)));
        let owner = std::fs::metadata(&home).expect("is there").uid();
        std::fs::write(home.join("kept"), "kept").expect("is written");
        std::os::unix::fs::chown(home.join("kept"), Some(owner), Some(owner)).expect("is given");
        stop(&mut link, &spec).await;
        peer.forget_tunnels();
        Self { peer, host, link, volume, _environment: environment }
    }
}

fn link_tree(from: &Path, into: &Path) {
    let linked = std::process::Command::new("cp").arg("-al").arg(from).arg(into).status().expect("cp runs");
    assert!(linked.success());
}

/// It takes half a minute to build: tests that run at the same time build it once.
async fn environment() -> Arc<tempfile::TempDir> {
    static BUILT: tokio::sync::Mutex<Weak<tempfile::TempDir>> = tokio::sync::Mutex::const_new(Weak::new());
    let mut built = BUILT.lock().await;
    if let Some(built) = built.upgrade() {
        return built;
    }
    let mut peer = Peer::start().await;
    let host = Host::started(&peer, NOTEBOOKS).await;
    let (mut link, _) = peer.link().await;
    let first = spec(VolumeId::new(), NEEDED_REQUIREMENTS);
    start(&mut link, &[&first]).await;
    stop(&mut link, &first).await;
    let kept = tempfile::Builder::new().prefix("berth-it-").tempdir_in("/var/tmp").expect("a directory");
    link_tree(&host.state().join("notebooks/environments"), kept.path());
    let kept = Arc::new(kept);
    *built = Arc::downgrade(&kept);
    kept
}
