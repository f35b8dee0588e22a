//! Containers of a real Podman, with an image that is built from nothing but busybox.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use agent::environments::{ExecError, ExecSpec, Exit, Size, Target, Transfer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Bench, assert_clean, assert_failed, collect, until};

const IMAGE: &str = "localhost/berth-it:1";
const INSTALL: &str = "apt-get install -y --no-install-recommends podman crun runc buildah netavark aardvark-dns iptables busybox-static btrfs-progs";

/// Where an engine keeps its containers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// Overlay on the host's own file system: Podman can limit it on XFS with project quotas alone.
    Overlay,
    /// A btrfs with quotas in an image: each container's disk has a limit.
    Btrfs,
}

/// A Podman service with storage of its own, which ends with it.
pub struct Podman {
    service: Child,
    directory: tempfile::TempDir,
    storage: Storage,
}

/// A program that has to end well.
fn done(command: &mut Command) {
    let output = command.output().expect("runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn installed(program: &str) -> PathBuf {
    let found = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|directory| directory.join(program)).find(|path| path.exists())
    });
    found.unwrap_or_else(|| panic!("{program} is not installed: {INSTALL}"))
}

impl Podman {
    fn command(directory: &Path, storage: Storage) -> Command {
        let mut command = Command::new(installed("podman"));
        // What watches a container notes where it was started that it ran out of memory.
        command
            .current_dir(directory)
            .env("CONTAINERS_CONF", directory.join("containers.conf"))
            .arg("--root")
            .arg(directory.join("root"))
            .arg("--runroot")
            .arg(directory.join("run"))
            .arg("--cgroup-manager")
            .arg("cgroupfs")
            .arg("--events-backend")
            .arg("none");
        if storage == Storage::Btrfs {
            command.args(["--storage-driver", "btrfs"]);
        }
        command
    }

    pub fn start(storage: Storage) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "the container tests need root: run them with sudo or in the CI image"
        );
        let busybox = installed("busybox");
        let directory =
            tempfile::Builder::new().prefix("berth-it-podman-").tempdir_in("/var/tmp").expect("a directory");
        let at = directory.path();
        if storage == Storage::Btrfs {
            let (image, root) = (at.join("btrfs.img"), at.join("root"));
            fs::File::create(&image).and_then(|file| file.set_len(1 << 30)).expect("an image");
            fs::create_dir(&root).expect("made");
            done(Command::new(installed("mkfs.btrfs")).arg("-q").arg(&image));
            done(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&root));
            done(Command::new(installed("btrfs")).args(["quota", "enable"]).arg(&root));
        }
        // Without CAP_SYS_RESOURCE the engine's own higher limits are refused, and crun does not start at all.
        fs::write(at.join("containers.conf"), "[containers]\ndefault_ulimits = [\"nofile=1024:1024\",\"nproc=1024:1024\"]\n[engine]\nruntime = \"runc\"\n")
            .expect("written");
        let root = at.join("image");
        fs::create_dir_all(root.join("bin")).expect("made");
        for name in ["tmp", "root", "etc", "data"] {
            fs::create_dir(root.join(name)).expect("made");
        }
        fs::copy(busybox, root.join("bin/busybox")).expect("copied");
        fs::set_permissions(root.join("bin/busybox"), fs::Permissions::from_mode(0o755)).expect("set");
        for name in [
            "sh", "sleep", "true", "env", "echo", "cat", "id", "stty", "tty", "kill", "ls", "head", "tail", "wc", "nc",
            "pwd", "grep", "mount", "ip", "hostname", "rm", "sync",
        ] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).expect("linked");
        }
        fs::write(root.join("Containerfile"), "FROM scratch\nCOPY . /\nENV PATH=/bin\nVOLUME /data\n")
            .expect("written");
        let built = Self::command(at, storage)
            .args(["build", "--isolation", "chroot", "-q", "-t", IMAGE])
            .arg(&root)
            .output()
            .expect("runs");
        assert!(built.status.success(), "podman build: {}", String::from_utf8_lossy(&built.stderr));
        let socket = format!("unix://{}", at.join("podman.sock").display());
        let log = fs::File::create(at.join("log")).expect("made");
        let service = Self::command(at, storage)
            .args(["system", "service", "--time", "0", &socket])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("starts");
        Self { service, directory, storage }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("podman.sock")
    }

    pub fn run(&self, arguments: &[&str]) -> String {
        let output = Self::command(self.directory.path(), self.storage).args(arguments).output().expect("runs");
        assert!(output.status.success(), "podman {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub async fn listens(&self) {
        let socket = self.socket();
        until("podman listens", || std::os::unix::net::UnixStream::connect(&socket).is_ok()).await;
    }

    async fn bench(&self, machine: &str) -> Bench {
        self.listens().await;
        let top = format!("[container]\nsocket = \"{}\"", self.socket().display());
        Bench::new("container", &top, &format!("image = \"{IMAGE}\"\n{machine}"))
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Whatever a failed test has left; its storage goes with the directory.
        drop(
            Self::command(self.directory.path(), self.storage).args(["rm", "--all", "--force", "--time", "0"]).output(),
        );
        // Podman keeps the monitor of each exec for 5 minutes after its end.
        let at = self.directory.path().to_string_lossy().into_owned();
        for entry in fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok) {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let pid =
                entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(rustix::process::Pid::from_raw);
            if let Some(pid) =
                pid.filter(|_| line.starts_with(b"/usr/bin/conmon") && String::from_utf8_lossy(&line).contains(&at))
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        drop(self.service.kill());
        drop(self.service.wait());
        drop(
            Command::new("umount")
                .arg("-lR")
                .arg(self.directory.path().join("root/overlay"))
                .stderr(Stdio::null())
                .status(),
        );
        if self.storage == Storage::Btrfs {
            drop(Command::new("umount").arg("-lR").arg(self.directory.path().join("root")).status());
        }
    }
}

/// Podman's services do not share a storage well, so the tests take turns with services of their own.
pub async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    static TURN: OnceLock<tokio::sync::Mutex<()>> = OnceLock::new();
    TURN.get_or_init(tokio::sync::Mutex::default).lock().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers() {
    let _turn = alone().await;
    let podman = Podman::start(Storage::Btrfs);
    let bench =
        podman.bench("disk = \"64MiB\"\nmemory = \"64MiB\"\npids = 50\nsetup = \"echo ready > /root/ready\"").await;
    let running = bench.prepare().await;

    // Output, input, exit.
    let ran = bench.sh(&running, "echo out; echo err >&2; cat /root/ready; hostname; exit 7").await;
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str(), ran.exit), ("out\nready\nm\n", "err\n", Exit::Code(7)));
    let big = vec![b'x'; 300_000];
    let handle = bench.start(&running, ExecSpec::new(["wc", "-c"])).await;
    assert_eq!(collect(handle, &big).await.stdout.trim(), "300000");
    // Docker refuses, Podman gives the exit code that shells give.
    match bench.environment.exec(&running, ExecSpec::new(["no-such-program"])).await {
        Ok(handle) => assert!(matches!(collect(handle, b"").await.exit, Exit::Code(126 | 127))),
        Err(error) => assert!(matches!(error, ExecError::Program { .. }), "{error}"),
    }

    // Signals.
    let handle = bench.start(&running, ExecSpec::new(["sleep", "1000"])).await;
    handle.control.signal(15).await.expect("is sent");
    let exit = tokio::time::timeout(Duration::from_secs(10), handle.control.wait()).await.expect("in time");
    assert_eq!(exit.expect("ends"), Exit::Code(128 + 15));

    // A terminal, whose bytes may begin with anything.
    let mut spec = ExecSpec::new([
        "sh",
        "-c",
        // The engine answers before the terminal has its new size.
        "stty size; tty; printf '\\001\\002'; read x; until stty size | grep '10 50'; do sleep 0.05; done; echo got-$x",
    ]);
    spec.terminal = Some(Size { columns: 97, rows: 31 });
    let mut handle = bench.start(&running, spec).await;
    let mut seen = Vec::new();
    let mut chunk = [0u8; 256];
    while !seen.ends_with(b"\x01\x02") {
        let length = tokio::time::timeout(Duration::from_secs(10), handle.stdout.read(&mut chunk)).await;
        let length =
            length.unwrap_or_else(|_| panic!("waited in vain: {}", String::from_utf8_lossy(&seen))).expect("is read");
        assert!(length > 0, "ended: {}", String::from_utf8_lossy(&seen));
        seen.extend(&chunk[..length]);
    }
    handle.control.resize(Size { columns: 50, rows: 10 }).await.expect("resizes");
    let mut stdin = handle.stdin.take().expect("an input");
    stdin.write_all(b"typed\n").await.expect("is typed");
    let mut rest = String::new();
    tokio::time::timeout(Duration::from_secs(10), handle.stdout.read_to_string(&mut rest))
        .await
        .expect("in time")
        .expect("is read");
    assert!(String::from_utf8_lossy(&seen).contains("/dev/pts/"), "{seen:?}");
    assert!(rest.contains("10 50") && rest.contains("got-typed"), "{rest}");
    assert_eq!(handle.control.wait().await.expect("ends"), Exit::Code(0));

    // No network, own loopback reachable from outside.
    assert_eq!(bench.sh(&running, "tail -n +3 /proc/net/dev | grep -c -v lo:").await.stdout.trim(), "0");
    let listening = bench.start(&running, ExecSpec::new(["sh", "-c", "echo up; nc -l -p 4711 -e cat"])).await;
    // 4711 in the kernel's own list.
    bench
        .sh(
            &running,
            "until cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ':1267 .* 0A '; do sleep 0.01; done",
        )
        .await;
    let mut stream = bench.environment.connect(&running, &Target::Port(4711)).await.expect("connects");
    stream.write_all(b"hello").await.expect("is sent");
    let mut answer = [0u8; 5];
    stream.read_exact(&mut answer).await.expect("is answered");
    assert_eq!(&answer, b"hello");
    drop((stream, listening));

    // Copies need nothing of the image, which has no tar.
    crate::copies::there_and_back(&bench, &running).await;
    let waiting = Transfer::TreeIn { path: "/tmp/waiting".to_owned(), name: "n".to_owned() };
    let waiting = bench.environment.copy(&running, waiting).await.expect("begins");

    // Limits.
    let ran = bench.sh(&running, "head -c 300000000 /dev/zero | tail -c 299999999 | wc -c; echo survived").await;
    assert!(ran.stdout.ends_with("survived\n") && !ran.stdout.contains("299999999"), "{ran:?}");
    let usage = bench.environment.usage(&running).await.expect("is counted");
    assert!(usage.pids > 0 && usage.cpu_ns > 0, "{usage:?}");

    // The sum of what is written ends at the limit, and there is room again for what is removed.
    assert!(running.isolation.contains("disk 64 MiB"), "{}", running.isolation);
    let fill = "i=0; while head -c 8000000 /dev/zero > /part$i; do i=$((i+1)); done 2>/dev/null; echo $i";
    let parts: u32 = bench.sh(&running, fill).await.stdout.trim().parse().expect("a number");
    assert!((6..=8).contains(&parts), "{parts} parts of 8 MB fit into 64 MiB");
    let ran = bench.sh(&running, "rm /part*; sync; head -c 8000000 /dev/zero > /again && echo fits").await;
    assert_eq!(ran.stdout, "fits\n", "{ran:?}");

    // Adopted by another agent process, then reverted, with its volume.
    let bench = Bench::again(bench.directory.clone(), bench.config.clone());
    let found = bench.environment.list().await.expect("is listed");
    assert!(found.len() == 1 && found[0].session == running.session && found[0].adoptable, "{found:?}");
    let adopted = bench.environment.adopt(running.session).await.expect("is adopted");
    bench.sh(&adopted, "echo left > /data/left; echo left > /left; (sleep 1000 >/dev/null 2>&1 &)").await;
    assert_eq!(podman.run(&["volume", "ls", "-q"]).lines().count(), 1);
    let report = bench.revert(&adopted).await;
    assert_clean(&report);
    assert_ne!(waiting.control.wait().await.expect("ends with its container"), Exit::Code(0));
    assert_eq!(podman.run(&["ps", "-aq"]), "");
    assert_eq!(podman.run(&["volume", "ls", "-q"]), "");
    assert_eq!(bench.environment.list().await.expect("is listed"), []);
    assert_clean(&bench.revert(&adopted).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults() {
    let _turn = alone().await;
    let podman = Podman::start(Storage::Overlay);
    let bench = podman.bench("writable = [\"DIR/shared\"]").await;
    let shared = bench.directory.path().join("shared");
    fs::create_dir(&shared).expect("made");

    // A file on the host, and a process of the container's network outside of it.
    let running = bench.prepare().await;
    // Said either way: on XFS with project quotas there is a limit.
    let said = ["no limit of the disk, because the engine's storage has none", "disk 10240 MiB"];
    assert!(said.iter().any(|words| running.isolation.contains(words)), "{}", running.isolation);
    bench.sh(&running, &format!("echo left > {}/left", shared.display())).await;
    let pid = podman.run(&["inspect", "--format", "{{.State.Pid}}", &format!("berth-{}", running.session)]);
    let mut stray = Command::new("nsenter").args(["-t", pid.trim(), "-n", "sleep", "1000"]).spawn().expect("starts");
    until("it has entered", || {
        let inside = fs::read_link(format!("/proc/{}/ns/net", pid.trim())).expect("is there");
        fs::read_link(format!("/proc/{}/ns/net", stray.id())).is_ok_and(|link| link == inside)
    })
    .await;
    let report = bench.revert(&running).await;
    stray.kill().expect("is killed");
    stray.wait().expect("is reaped");
    assert_failed(&report, "files", "shared/left is new");
    assert_failed(&report, "processes", "is in the session's namespaces");
    fs::remove_file(shared.join("left")).expect("removed");
    assert_clean(&bench.revert(&running).await);

    // An image that cannot be had: told, nothing left.
    let mut spec = bench.spec();
    let session = spec.session;
    spec.asked.image = Some("localhost/none-such:1".to_owned());
    let (prepared, _) = bench.prepare_with(spec).await;
    let error = prepared.expect_err("there is no such image");
    assert!(error.to_string().contains("cannot pull the image"), "{error}");
    assert_clean(&bench.environment.revert(session).await);

    // The engine is gone: nobody can say that the container is.
    let running = bench.prepare().await;
    let gone = Bench::again(bench.directory.clone(), bench.config.clone());
    fs::rename(podman.socket(), podman.directory.path().join("elsewhere")).expect("moved");
    let report = gone.revert(&running).await;
    fs::rename(podman.directory.path().join("elsewhere"), podman.socket()).expect("moved back");
    assert_failed(&report, "destroy", "cannot be reached");
    assert_clean(&bench.revert(&running).await);
}
