//! A host in a process of its own, for a test to stop or kill.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use nix::sys::signal::Signal;

/// Killed when dropped.
pub struct Victim {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Victim {
    /// This program again, as what serves the directory under that command.
    pub fn spawn(command: &str, directory: &Path) -> Self {
        let mut child = Command::new("/proc/self/exe")
            .arg(command)
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let out = BufReader::new(child.stdout.take().expect("is piped"));
        Victim { child, out }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it says next.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("says something");
        line.trim().to_owned()
    }

    /// It waits for a word, which is this.
    pub fn go_on(&mut self) {
        self.child.stdin.take().expect("is piped").write_all(b".").expect("listens");
    }

    /// Where it is served.
    pub fn address(&mut self) -> SocketAddr {
        let line = self.line();
        line.parse().unwrap_or_else(|_| panic!("it said {line:?}"))
    }

    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("is killed");
    }
}

/// What this program is to serve, if it was started as a victim under that command.
pub fn directory_if_asked(command: &str) -> Option<PathBuf> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != command {
        return None;
    }
    arguments.next().map(PathBuf::from)
}

/// Says where it is served, until it is killed.
pub fn serves(address: SocketAddr) -> ! {
    println!("{address}");
    loop {
        std::thread::park();
    }
}

pub fn send(pid: u32, signal: Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
    nix::sys::signal::kill(pid, signal).expect("it runs");
}
