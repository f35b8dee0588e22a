//! Somebody at a terminal.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use nix::{
    pty::{Winsize, openpty},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::termios::LocalModes;

use crate::deployment::wait;

/// A program on a terminal of its own.
pub struct Typed {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<String>>,
    /// Up to here the screen was looked at.
    looked: usize,
    reader: Option<JoinHandle<()>>,
}

impl Typed {
    /// Waits for the shell's first prompt: before it, what is typed is not yet the shell's.
    pub fn start(command: Command) -> Self {
        let typed = Self::begin(command);
        wait("a prompt", || typed.screen.lock().expect("the screen").ends_with([' ', '$', '#']).then_some(()));
        typed
    }

    /// As [`Typed::begin`], where the keyboard's signals are the program's.
    pub fn controlled(command: &Command) -> Self {
        let mut controlled = Command::new("setsid");
        controlled.arg("--ctty").arg(command.get_program()).args(command.get_args());
        controlled.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Self::begin(controlled)
    }

    pub fn begin(mut command: Command) -> Self {
        let size = Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).expect("a terminal");
        let end = || Stdio::from(pty.slave.try_clone().expect("the terminal's end"));
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("a program");
        drop(command);
        drop(pty.slave);
        let keyboard = File::from(pty.master);
        let mut output = File::from(OwnedFd::from(keyboard.try_clone().expect("the terminal")));
        let screen = Arc::new(Mutex::new(String::new()));
        let shown = screen.clone();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A terminal that nobody has open any more reads as an error.
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                shown.lock().expect("the screen").push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
        Self { child, keyboard, screen, looked: 0, reader: Some(reader) }
    }

    /// Types a line.
    pub fn enter(&mut self, line: &str) {
        self.keyboard.write_all(format!("{line}\r").as_bytes()).expect("a keyboard");
    }

    /// Types keys as they are.
    pub fn keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("a keyboard");
    }

    /// Makes the window another size, and says so as a terminal emulator does.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&self.keyboard, size).expect("a size");
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"));
        kill(pid, Signal::SIGWINCH).expect("a signal");
    }

    /// Whether lines are edited and shown as they are typed.
    pub fn is_cooked(&self) -> bool {
        let modes = rustix::termios::tcgetattr(&self.keyboard).expect("the terminal's modes").local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Whether it is on the screen since the last look; does not wait.
    pub fn seen(&mut self, what: &str) -> bool {
        let screen = self.screen.lock().expect("the screen");
        match screen[self.looked..].find(what) {
            Some(at) => {
                self.looked += at + what.len();
                true
            }
            None => false,
        }
    }

    /// Waits until it is on the screen, gives what was shown from the last
    /// look on.
    pub fn expect(&mut self, what: &str) -> String {
        let from = self.looked;
        let screen = self.screen.clone();
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait(what, || self.seen(what).then_some(()));
        }));
        let shown = screen.lock().expect("the screen")[from..].to_owned();
        assert!(found.is_ok(), "not on the screen: {what}\n{shown}");
        shown
    }

    /// Everything that was shown so far.
    pub fn screen(&self) -> String {
        self.screen.lock().expect("the screen").clone()
    }

    /// Waits for the program's end; its exit code.
    pub fn end(&mut self) -> Option<i32> {
        let child = &mut self.child;
        let status = wait("the program's end", || child.try_wait().expect("a status"));
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader");
        }
        status.code()
    }
}

impl Drop for Typed {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None))
            && let Err(error) = self.child.kill().and_then(|()| self.child.wait())
        {
            eprintln!("process {} is left: {error}", self.child.id());
        }
    }
}
