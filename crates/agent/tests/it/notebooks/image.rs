//! Notebooks from images, by a real Podman.

use super::*;
use crate::container::{Podman, Storage, alone};

const IMAGE: &str = "localhost/berth-lab:1";

/// The host's Python and what it needs, and an environment that is there already.
const FILL: &str = r#"set -e
root=$1; environment=$2
python=$(readlink -f "$environment/bin/python3")
library=$("$python" -I -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
mkdir -p "$root/srv/berth" "$root/tmp" "$root/etc" "$root/run" "$root/home" "$root/proc" "$root/dev" "$root/sys"
chmod 1777 "$root/tmp"
cp -al "$environment" "$root/srv/berth/python"
programs="$python /bin/sh /bin/bash /usr/bin/env /bin/sleep /bin/true"
{ echo $programs | tr ' ' '\n'
  { ldd $programs; find "$environment" "$library/lib-dynload" -name '*.so*' -exec ldd {} + 2>/dev/null; } |
    awk '/=> \//{print $3} /^\t\//{print $1}' | grep -v "^$environment" | sort -u
} | while read -r file; do cp -L --parents "$file" "$root"; done
for link in python python3; do ln -sfn "$python" "$root/srv/berth/python/bin/$link"; done
mkdir -p "$root$library"
cp -a "$library/." "$root$library"
"#;

/// The image lies in the engine's storage.
fn make(podman: &Podman, environment: &Path) {
    let directory = tempfile::Builder::new().prefix("berth-it-image-").tempdir_in("/var/tmp").expect("a directory");
    let (root, tar) = (directory.path().join("root"), directory.path().join("image.tar"));
    std::fs::create_dir(&root).expect("is made");
    let run = |command: &mut std::process::Command| {
        let output = command.output().expect("runs");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run(std::process::Command::new("sh").args(["-c", FILL, "fill"]).arg(&root).arg(environment));
    run(std::process::Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg("."));
    let variables = "ENV PATH=/srv/berth/python/bin:/usr/bin:/bin";
    podman.run(&["import", "-q", "-c", variables, &tar.display().to_string(), IMAGE]);
}

fn from(image: &str, volume: VolumeId) -> RunSpec {
    RunSpec { software: Software::Image { image: image.to_owned() }, ..spec(volume, "") }
}

async fn refused(link: &mut Link, spec: &RunSpec, words: &str) {
    let id = begin(link, spec).await;
    let ended = link.ended(id).await;
    assert!(matches!(&ended.outcome, Outcome::Failed { cause, .. } if cause.contains(words)), "{ended:?}");
    link.acknowledge(id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notebook_from_an_image() {
    let Ready { mut peer, mut host, mut link, volume, _environment } = Ready::start().await;
    refused(&mut link, &from(IMAGE, volume), "no engine is configured").await;
    let _turn = alone().await;
    let podman = Podman::start(Storage::Overlay);
    let environments = names(&host.state().join("notebooks/environments"));
    let began = Instant::now();
    make(&podman, &environments.first().expect("one is built").join("python"));
    println!("the image is made within {:?}", began.elapsed());
    podman.listens().await;
    host.kill();
    peer.forget_tunnels();
    host.configure(&format!("[container]\nsocket = \"{}\"\n", podman.socket().display()));
    host.start();
    // A link of the agent of before may have come meanwhile, as nobody answered the first.
    let mut link = loop {
        let mut link = peer.raw_link().await;
        if let Ok(ToServer::Hello { notebooks: Some(offer), .. }) = link.try_next().await
            && offer.takes_images
        {
            break link;
        }
    };
    link.welcome(peer.authority.host).await;
    let network = Network::over(peer.tunnel().await);

    refused(&mut link, &from("localhost/none-such:1", volume), "cannot pull the image").await;
    let run = from(IMAGE, volume);
    start(&mut link, &[&run]).await;
    let image = host.state().join(format!("notebooks/volumes/{volume}.img"));
    assert_eq!(holders(&image), 1);
    assert_eq!(network.ask(run.run, "GET", "/api/status", "wrong").await.0, 403);
    let id = network.new_kernel(run.run).await;
    let mut kernel = network.kernel(run.run, &id).await;
    let look = "import os; print(os.getcwd(), open('kept').read(), os.stat('kept').st_uid == os.getuid() != 0)";
    assert_eq!(kernel.run(look).await, "/home/berth kept True");
    kernel.run("x = 6; open('by-an-image', 'w').write('there')").await;
    assert_eq!(kernel.run("print(open('/proc/net/dev').read().count(':'))").await, "1", "loopback alone");
    // What is started later does not keep the files busy.
    let beside = spec(VolumeId::new(), NEEDED_REQUIREMENTS);
    start(&mut link, &[&beside]).await;

    // The agent dies, and kernels do not.
    host.kill();
    peer.forget_tunnels();
    host.start();
    let mut link = peer.raw_link().await;
    let ToServer::Hello { runs, .. } = link.next().await else { panic!("no Hello") };
    assert!(runs.len() == 2 && runs.contains(&run.run), "{runs:?}");
    link.welcome(peer.authority.host).await;
    let network = Network::over(peer.tunnel().await);
    let mut kernel = network.kernel(run.run, &id).await;
    assert_eq!(kernel.run("print(x * 7)").await, "42");
    let log = stop(&mut link, &run).await;
    assert!(log.contains("Shutting down 1 kernel"), "{log}");
    assert_gone(&host, run.run).await;
    assert_eq!(podman.run(&["ps", "-aq"]), "");
    until("nobody holds the files", || holders(&image) == 0).await;

    // It is ended by the engine, and the server hears of it.
    let ended = from(IMAGE, volume);
    start(&mut link, &[&ended]).await;
    podman.run(&["rm", "--force", "--time", "0", &format!("berth-{}", ended.run)]);
    match link.next_answer().await {
        ToServer::RunEnded { run, .. } => assert_eq!(run, ended.run),
        other => panic!("unexpected {other:?}"),
    }
    assert_gone(&host, ended.run).await;
    stop(&mut link, &ended).await;
    stop(&mut link, &beside).await;
    until("nobody holds the files", || holders(&image) == 0).await;
}
