//! Copies in and out, by the agent: nothing of the environment is needed for them, and nothing leads out of it.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use agent::environments::{ExecError, Exit, Running, Transfer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Bench, Ran, assert_clean, until};

async fn transfer(bench: &Bench, running: &Running, transfer: Transfer, input: &[u8]) -> (Vec<u8>, String, Exit) {
    let mut handle = bench.environment.copy(running, transfer).await.expect("begins");
    let (mut stdin, mut errors) = (handle.stdin.take().expect("an input"), handle.stderr.take().expect("errors"));
    let sending = async move {
        // A copy that fails does not take all of it.
        drop(stdin.write_all(input).await);
        drop(stdin);
    };
    let (mut output, mut said) = (Vec::new(), String::new());
    let (read, told, ()) =
        tokio::join!(handle.stdout.read_to_end(&mut output), errors.read_to_string(&mut said), sending);
    read.and(told).expect("is read");
    (output, said, handle.control.wait().await.expect("ends"))
}

fn archived(from: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    archive::send(from, &mut bytes, &|file| file).expect("an archive");
    bytes
}

fn tree_in(path: &str) -> Transfer {
    Transfer::TreeIn { path: path.to_owned(), name: "named".to_owned() }
}

/// There and back, in an environment that has the programs that the scripts use, and no `tar`.
pub async fn there_and_back(bench: &Bench, running: &Running) {
    let here = tempfile::tempdir().expect("a folder");
    let from = here.path().join("from");
    fs::create_dir_all(from.join("sub/empty")).expect("made");
    fs::write(from.join("sub/run"), vec![7; 300_000]).expect("written");
    fs::set_permissions(from.join("sub/run"), fs::Permissions::from_mode(0o751)).expect("set");
    std::os::unix::fs::symlink("sub/run", from.join("link")).expect("linked");

    let (_, said, exit) = transfer(bench, running, tree_in("/tmp"), &archived(&from)).await;
    assert_eq!((said.as_str(), exit), ("", Exit::Code(0)));
    let ran =
        bench.sh(running, "wc -c < /tmp/named/link; ls /tmp/named /tmp/named/sub; ls -a /tmp | grep -c berth-cp").await;
    assert_eq!(
        ran.stdout.split_whitespace().collect::<Vec<_>>().join(" "),
        "300000 /tmp/named: link sub /tmp/named/sub: empty run 0"
    );
    let (output, said, exit) = transfer(bench, running, Transfer::Out { path: "/tmp/named".to_owned() }, b"").await;
    assert_eq!((said.as_str(), exit), ("", Exit::Code(0)));
    let to = here.path().join("to");
    fs::create_dir(&to).expect("made");
    let received = archive::receive(output.strip_prefix(b"d\n").expect("a directory"), &to).expect("is whole");
    assert_eq!(received.skipped, [] as [String; 0]);
    let tree = here.path().join("tree");
    received.place(&tree).expect("is moved");
    assert_eq!(fs::metadata(tree.join("sub/run")).expect("is there").permissions().mode() & 0o7777, 0o751);
    assert_eq!(fs::read(tree.join("link")).expect("is there"), vec![7; 300_000]);

    let file = |path: &str, size| Transfer::FileIn { path: path.to_owned(), name: "f".to_owned(), mode: 0o4640, size };
    let (_, said, exit) = transfer(bench, running, file("/tmp/new", 5), b"hello and more").await;
    assert_eq!((said.as_str(), exit), ("", Exit::Code(0)));
    let (output, _, exit) = transfer(bench, running, Transfer::Out { path: "/tmp/new".to_owned() }, b"").await;
    assert_eq!((output.as_slice(), exit), (&b"f 640 5\nhello"[..], Exit::Code(0)));
    let (_, said, exit) = transfer(bench, running, file("/tmp/new", 50), b"too short").await;
    assert_eq!((said.as_str(), exit), ("only 9 of 50 bytes arrived\n", Exit::Code(1)));
    assert_eq!(bench.sh(running, "cat /tmp/new").await.stdout, "hello", "as it was");
}

#[tokio::test]
async fn a_sandbox() {
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    there_and_back(&bench, &running).await;

    // As the session's user, whose rights end where its programs' do.
    let Ran { stdout, .. } =
        bench.sh(&running, "stat -c %U:%a /tmp/new /tmp/named/sub/run; ln -s /etc ~/out; mkfifo ~/pipe; pwd").await;
    assert_eq!(stdout, "berth:640\nberth:751\n/home/berth\n");
    let here = tempfile::tempdir().expect("a folder");
    for (path, why) in [
        ("out/new", "Permission denied"),
        ("out", "Permission denied"),
        ("/root/x", "Permission denied"),
        ("no/such/x", "there is no directory"),
        ("new/", "there is no directory"),
    ] {
        let before = bench.sh(&running, "ls -laR /etc/passwd /tmp").await.stdout;
        let (_, said, exit) = transfer(&bench, &running, tree_in(path), &archived(here.path())).await;
        assert_eq!(exit, Exit::Code(1), "{path}: {said}");
        assert!(said.contains(why), "{path}: {said}");
        assert_eq!(bench.sh(&running, "ls -laR /etc/passwd /tmp").await.stdout.lines().count(), before.lines().count());
    }
    let whole = archived(here.path());
    let (_, said, exit) = transfer(&bench, &running, tree_in("/tmp/torn"), &whole[..512]).await;
    assert_eq!((said.as_str(), exit), ("the copy broke off\n", Exit::Code(1)));
    assert_eq!(bench.sh(&running, "ls -A /tmp | grep -c -e torn -e berth-cp").await.stdout, "0\n");
    let (_, said, exit) = transfer(&bench, &running, tree_in("/tmp/named/sub/run"), b"").await;
    assert_eq!((said.as_str(), exit), ("'/tmp/named/sub/run' is there already; remove it first\n", Exit::Code(1)));
    for (path, why) in [("/etc/shadow", "denied"), ("none", "there is no 'none'"), ("pipe", "neither a file nor")] {
        let (output, said, exit) = transfer(&bench, &running, Transfer::Out { path: path.to_owned() }, b"").await;
        assert_eq!((output.len(), exit), (0, Exit::Code(1)), "{path}: {said}");
        assert!(said.contains(why), "{path}: {said}");
    }
    for name in ["", ".", "..", "a/b", "../x"] {
        let wrong = Transfer::TreeIn { path: "/tmp".to_owned(), name: name.to_owned() };
        let refused = bench.environment.copy(&running, wrong).await.err();
        assert!(matches!(refused, Some(ExecError::Bad(_))), "{name}: {refused:?}");
    }

    // Directories that may not be written to, their copy neither.
    let closed = here.path().join("closed");
    fs::create_dir_all(closed.join("sub")).expect("made");
    fs::write(closed.join("sub/file"), "inner").expect("written");
    for path in [&closed.join("sub"), &closed] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o555)).expect("set");
    }
    let (_, said, exit) = transfer(&bench, &running, tree_in("/tmp/closed"), &archived(&closed)).await;
    assert_eq!((said.as_str(), exit), ("", Exit::Code(0)));
    let ran = bench.sh(&running, "stat -c %a /tmp/closed /tmp/closed/sub; cat /tmp/closed/sub/file").await;
    assert_eq!(ran.stdout, "555\n555\ninner");

    // Whoever goes away in the middle leaves nothing.
    let wanted = Transfer::FileIn { path: "/tmp/half".to_owned(), name: "f".to_owned(), mode: 0o600, size: 1 << 30 };
    let mut handle = bench.environment.copy(&running, wanted).await.expect("begins");
    handle.stdin.as_mut().expect("an input").write_all(&[0; 100_000]).await.expect("is taken");
    let there = async |what: &str| bench.sh(&running, what).await.stdout;
    let halves = async |count: &str| {
        for _ in 0..500 {
            if there("ls -A /tmp | grep -c berth-cp").await.trim() == count {
                return;
            }
        }
        panic!("never {count} half copies");
    };
    halves("1").await;
    drop(handle);
    halves("0").await;
    assert_eq!(there("ls /tmp | grep -c half").await.trim(), "0");

    // A copy that nobody ends goes with its environment.
    let waiting = bench.environment.copy(&running, tree_in("/tmp/waiting")).await.expect("begins");
    assert_clean(&bench.revert(&running).await);
    assert!(waiting.control.wait().await.is_ok());
    until("no helper is left", || !helper_of(&running.session.to_string())).await;
}

#[tokio::test]
async fn a_file_that_is_too_large_is_told_and_leaves_nothing() {
    let bench = Bench::sandbox("disk = \"64MiB\"\nwritable = [\"DIR/shared\"]");
    let shared = bench.directory.path().join("shared");
    fs::create_dir(&shared).expect("made");
    for path in [bench.directory.path(), &shared] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("opened");
    }
    let running = bench.prepare().await;
    let size = 64 * 1024 * 1024 + 1;
    let path = shared.join("large").display().to_string();
    let large = Transfer::FileIn { path, name: "f".to_owned(), mode: 0o600, size };
    let input = vec![7; usize::try_from(size).expect("small")];
    let (_, said, exit) = transfer(&bench, &running, large, &input).await;
    assert_eq!(exit, Exit::Code(1), "{said}");
    assert!(said.contains("File too large"), "{said}");
    assert_eq!(fs::read_dir(&shared).expect("is there").count(), 0);
    assert_clean(&bench.revert(&running).await);
}

/// Whether a helper still works in a control group of the session.
fn helper_of(session: &str) -> bool {
    fs::read_dir("/proc").expect("is there").filter_map(Result::ok).any(|entry| {
        let path = entry.path();
        fs::read(path.join("cmdline")).is_ok_and(|line| line.windows(14).any(|word| word == b"sandbox-helper"))
            && fs::read_to_string(path.join("cgroup")).is_ok_and(|text| text.contains(session))
    })
}
