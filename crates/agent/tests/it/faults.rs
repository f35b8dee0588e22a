//! What a revert must not let pass: every fault ends in a failed check, none hangs, and once it is mended the next
//! revert is clean.

use std::{
    fs,
    os::{
        fd::AsRawFd,
        unix::{fs::MetadataExt, process::CommandExt},
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use agent::environments::{ExecSpec, Running};
use domain::ids::SessionId;

use crate::support::{Bench, LISTEN, assert_clean, assert_failed, until};

fn scratch(bench: &Bench, running: &Running) -> PathBuf {
    bench.directory.path().join("state/sandboxes").join(running.session.to_string())
}

/// A process of the test's that ends with it.
struct Stray(Child);

impl Stray {
    fn new(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("starts"))
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        self.0.kill().expect("is killed");
        self.0.wait().expect("is reaped");
    }
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().expect("runs");
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

fn session_user(bench: &Bench, running: &Running) -> u32 {
    fs::metadata(scratch(bench, running).join("disk/home")).expect("a home").uid()
}

#[tokio::test]
async fn a_process_that_holds_the_files() {
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    let stray = Stray::new(Command::new("sleep").arg("1000").current_dir(scratch(&bench, &running).join("disk/tmp")));
    let report = bench.revert(&running).await;
    assert_failed(&report, "processes", &format!("{} (sleep, is in the session's files)", stray.0.id()));
    drop(stray);
    assert_clean(&bench.revert(&running).await);
}

#[tokio::test]
async fn a_process_that_holds_a_file_open() {
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    let held = fs::File::create(scratch(&bench, &running).join("disk/home/held")).expect("made");
    let stray = Stray(Command::new("sleep").arg("1000").stderr(held).spawn().expect("starts"));
    assert_failed(&bench.revert(&running).await, "processes", "holds the session's files open");
    drop(stray);
    assert_clean(&bench.revert(&running).await);
}

#[tokio::test]
async fn a_process_of_the_sessions_user_outside() {
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    let user = session_user(&bench, &running);
    let stray = Stray::new(Command::new("sleep").arg("1000").uid(user).gid(user).current_dir("/"));
    assert_failed(&bench.revert(&running).await, "processes", "runs as the session's user");
    drop(stray);
    assert_clean(&bench.revert(&running).await);
}

#[tokio::test]
async fn a_process_in_the_namespaces_outside_the_control_group() {
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    let record = fs::read_to_string(scratch(&bench, &running).join("environment.json")).expect("a record");
    let record: serde_json::Value = serde_json::from_str(&record).expect("is JSON");
    let pid = record["phase"]["Ready"]["pid"].as_i64().expect("a pid").to_string();
    // Only the network namespace: the kernel kills what is in the pid namespace itself.
    let stray = Stray::new(Command::new("nsenter").args(["-t", &pid, "-n", "sleep", "1000"]).current_dir("/"));
    until("it has entered", || {
        let inside = fs::read_link(format!("/proc/{pid}/ns/net")).expect("is there");
        fs::read_link(format!("/proc/{}/ns/net", stray.0.id())).is_ok_and(|link| link == inside)
    })
    .await;
    assert_failed(&bench.revert(&running).await, "processes", "is in the session's namespaces");
    drop(stray);
    assert_clean(&bench.revert(&running).await);
}

#[tokio::test]
async fn a_marked_process() {
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    let marker = running.session.to_string();
    let stray = Stray::new(Command::new("sleep").arg("1000").env("BERTH_SESSION", marker).current_dir("/"));
    assert_failed(&bench.revert(&running).await, "processes", "carries the session's marker");
    drop(stray);
    assert_clean(&bench.revert(&running).await);
}

#[tokio::test]
async fn a_listening_port() {
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    let user = session_user(&bench, &running);
    let mut stray = Stray(
        Command::new("python3")
            .args(["-c", LISTEN])
            .uid(user)
            .gid(user)
            .current_dir("/")
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts"),
    );
    let mut port = String::new();
    let mut output = std::io::BufReader::new(stray.0.stdout.take().expect("a pipe"));
    std::io::BufRead::read_line(&mut output, &mut port).expect("says its port");
    assert_failed(&bench.revert(&running).await, "ports", &format!("tcp {}", port.trim()));
    drop(stray);
    assert_clean(&bench.revert(&running).await);
}

#[tokio::test]
async fn files_on_a_writable_host_path() {
    let bench = Bench::sandbox("writable = [\"DIR/shared\"]");
    let shared = bench.directory.path().join("shared");
    fs::create_dir(&shared).expect("made");
    fs::write(shared.join("old"), "1").expect("written");
    let running = bench.prepare().await;
    fs::write(shared.join("left"), "1").expect("written");
    let report = bench.revert(&running).await;
    assert_failed(&report, "files", "shared/left is new");
    fs::remove_file(shared.join("left")).expect("removed");
    fs::remove_file(shared.join("old")).expect("removed");
    assert_failed(&bench.revert(&running).await, "files", "shared/old is gone");
}

#[tokio::test]
async fn files_of_the_sessions_user_in_shared_places() {
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    let user = session_user(&bench, &running);
    let left = tempfile::Builder::new().prefix("berth-it-left-").tempfile_in("/dev/shm").expect("made");
    std::os::unix::fs::chown(left.path(), Some(user), None).expect("given away");
    assert_failed(&bench.revert(&running).await, "files", "belongs to the session's user");
    drop(left);
    assert_clean(&bench.revert(&running).await);
}

#[tokio::test]
async fn a_mount_in_the_scratch_is_unmounted_and_its_files_live() {
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    let host = bench.directory.path().join("precious");
    fs::create_dir(&host).expect("made");
    fs::write(host.join("file"), "1").expect("written");
    let point = scratch(&bench, &running).join("disk/home");
    run("mount", &["--bind", &host.display().to_string(), &point.display().to_string()]);
    assert_clean(&bench.revert(&running).await);
    assert!(host.join("file").exists(), "the host's file was removed through the mount");
}

#[tokio::test]
async fn a_mount_that_is_in_use() {
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    let point = scratch(&bench, &running).join("disk/tmp");
    run("mount", &["-t", "tmpfs", "left", &point.display().to_string()]);
    let stray = Stray::new(Command::new("sleep").arg("1000").current_dir(&point));
    let report = bench.revert(&running).await;
    assert_failed(&report, "unmount", "in use");
    assert_failed(&report, "remove", "not tried");
    drop(stray);
    assert_clean(&bench.revert(&running).await);
}

#[tokio::test]
async fn a_mount_below_a_writable_host_path() {
    let bench = Bench::sandbox("writable = [\"DIR/shared\"]");
    let point = bench.directory.path().join("shared/inner");
    fs::create_dir_all(&point).expect("made");
    let running = bench.prepare().await;
    run("mount", &["-t", "tmpfs", "left", &point.display().to_string()]);
    let report = bench.revert(&running).await;
    run("umount", &[&point.display().to_string()]);
    assert_failed(&report, "mounts", "tmpfs on");
    assert_clean(&bench.revert(&running).await);
}

#[tokio::test]
async fn a_process_that_cannot_be_killed() {
    let Some(freezer) = ["/sys/fs/cgroup/freezer"].iter().map(PathBuf::from).find(|path| path.exists()) else {
        eprintln!("skipped: without a v1 freezer nothing stops SIGKILL");
        return;
    };
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    let handle = bench.start(&running, ExecSpec::new(["sleep", "1002"])).await;
    let stuck = freezer.join(format!("berth-it-{}", running.session));
    fs::create_dir(&stuck).expect("made");
    let mut frozen = None;
    until("the process runs", || {
        frozen =
            fs::read_dir("/proc").expect("is there").filter_map(Result::ok).map(|entry| entry.path()).find(|path| {
                fs::read(path.join("cmdline")).is_ok_and(|line| line == b"sleep\x001002\x00")
                    && fs::read_to_string(path.join("cgroup"))
                        .is_ok_and(|text| text.contains(&running.session.to_string()))
            });
        frozen.is_some()
    })
    .await;
    let pid = frozen.expect("found").file_name().expect("a name").to_string_lossy().into_owned();
    fs::write(stuck.join("cgroup.procs"), &pid).expect("is moved");
    fs::write(stuck.join("freezer.state"), "FROZEN").expect("freezes");
    let began = Instant::now();
    let report = bench.revert(&running).await;
    fs::write(stuck.join("freezer.state"), "THAWED").expect("thaws");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_failed(&report, "destroy", &pid);
    assert_failed(&report, "processes", &pid);
    drop(handle);
    until("it is gone", || !PathBuf::from("/proc").join(&pid).exists()).await;
    until("its group can go", || fs::remove_dir(&stuck).is_ok()).await;
    assert_clean(&bench.revert(&running).await);
}

/// A disk of which nothing that was written comes back: whoever writes to it cannot be killed.
struct Frozen(fs::File);

impl Frozen {
    fn turn(&self, how: &str) {
        run("fsfreeze", &[how, &format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())]);
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.turn("-u");
    }
}

#[tokio::test]
async fn a_disk_that_hangs() {
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    let record = fs::read_to_string(scratch(&bench, &running).join("environment.json")).expect("a record");
    let record: serde_json::Value = serde_json::from_str(&record).expect("is JSON");
    let pid = record["phase"]["Ready"]["pid"].as_i64().expect("a pid");
    let frozen = Frozen(fs::File::open(format!("/proc/{pid}/root/home/berth")).expect("is there"));
    frozen.turn("-f");
    let handle = bench.start(&running, ExecSpec::new(["touch", "/home/berth/never"])).await;
    until("a process waits for the disk", || {
        fs::read_dir("/proc").expect("is there").filter_map(Result::ok).any(|entry| {
            fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == b"touch\0/home/berth/never\0")
                && fs::read_to_string(entry.path().join("stat")).is_ok_and(|stat| stat.contains(") D "))
        })
    })
    .await;
    let began = Instant::now();
    let report = bench.revert(&running).await;
    assert!(began.elapsed() < agent::environments::REVERT_LIMIT, "{:?}", began.elapsed());
    assert_failed(&report, "destroy", "cannot be killed");
    assert_failed(&report, "processes", "touch");
    assert_failed(&report, "unmount", "still in use by loop");
    assert_failed(&report, "remove", "not tried");
    drop(frozen);
    drop(handle);
    until("the disk is let go", || {
        agent::environments::sandbox::volume::released(&scratch(&bench, &running), Duration::ZERO).is_ok()
    })
    .await;
    assert_clean(&bench.revert(&running).await);
}

#[tokio::test]
async fn a_record_that_cannot_be_read() {
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    fs::write(scratch(&bench, &running).join("environment.json"), "{ torn").expect("written");
    let report = bench.revert(&running).await;
    assert_failed(&report, "baseline", "nothing can be compared");
    let found = bench.environment.list().await.expect("is listed");
    assert!(found.len() == 1 && found[0].machine.is_none() && !found[0].adoptable, "{found:?}");
}

#[tokio::test]
async fn nothing_at_all() {
    let bench = Bench::sandbox("");
    assert_clean(&bench.environment.revert(SessionId::new()).await);
}
