//! The engine's process from within: behind its walls, it takes what the host sends and says what comes of it.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::ExitCode,
    rc::Rc,
    time::{Duration, Instant},
};

use rand::{TryRngCore, rngs::OsRng};

use super::{
    sandbox::{self, SandboxError},
    status::{StatusPage, Turn, TurnWriter},
};
use crate::{
    engine::{Engine, PageError, Surroundings},
    wire::{Activation, EventId, FrameError, Frames, FromEngine, ToEngine, write_frame},
};

/// The word after the program's name that asks for an engine.
pub const COMMAND: &str = "object-engine";
const READ_BYTES: usize = 256 << 10;
/// What is said leaves at the latest when it is so much.
const FLUSH_BYTES: usize = 64 << 10;
/// For so long the wall's clock, which costs no system call, stands in for that of the thread's CPU time.
const CPU_ESTIMATED: Duration = Duration::from_micros(200);

#[derive(Debug, thiserror::Error)]
enum ChildError {
    #[error("the walls cannot be put up: {0}")]
    Sandbox(#[from] SandboxError),
    #[error("the socket to the host failed: {0}")]
    Socket(#[from] io::Error),
    #[error("the host does not keep to the protocol: {0}")]
    Frame(#[from] FrameError),
    #[error("the control group {} cannot be joined: {source}", path.display())]
    ControlGroup { path: PathBuf, source: io::Error },
    #[error("the page for the watchdog cannot be mapped: {0}")]
    Page(#[source] io::Error),
    #[error("the engine was started without its memory limit")]
    Usage,
}

/// Call this first in `main`: if the program was started as an engine it does its work and never returns. It must run
/// before any thread exists, because a process with threads cannot change its user namespace.
pub fn run_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|word| word != COMMAND) {
        return None;
    }
    let memory_bytes = arguments.next().and_then(|text| text.to_str()?.parse().ok());
    let control_groups: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    Some(match memory_bytes.ok_or(ChildError::Usage).and_then(|memory_bytes| run(memory_bytes, &control_groups)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("engine: {error}");
            ExitCode::FAILURE
        }
    })
}

fn run(memory_bytes: u64, control_groups: &[PathBuf]) -> Result<(), ChildError> {
    for path in control_groups {
        let joined = std::fs::write(path, "0");
        joined.map_err(|source| ChildError::ControlGroup { path: path.clone(), source })?;
    }
    sandbox::apply(memory_bytes)?;
    let link = Rc::new(Link::new()?);
    let mut engine = Engine::new(Rc::clone(&link) as Rc<dyn Surroundings>);
    loop {
        while let Some(message) = link.next()? {
            engine.take(message);
            link.say_all(engine.drain())?;
        }
        engine.end_batch();
        link.say_all(engine.drain())?;
        link.flush()?;
        if !link.receive()? {
            return Ok(());
        }
    }
}

/// The descriptors that the process was started with.
struct Link {
    socket: UnixStream,
    status: TurnWriter,
    frames: RefCell<Frames>,
    /// Came while pages were waited for.
    early: RefCell<VecDeque<ToEngine>>,
    said: RefCell<Vec<u8>>,
    buffer: RefCell<Vec<u8>>,
    turns: Cell<u64>,
    cpu: CpuClock,
}

/// CPU time of this thread. Between two looks at the kernel's clock it is what passed on the wall, which may be more.
struct CpuClock {
    looked: Cell<(Instant, u64)>,
    last_ns: Cell<u64>,
}

impl CpuClock {
    fn new() -> Self {
        let now = Instant::now();
        let cpu_ns = Self::look();
        CpuClock { looked: Cell::new((now, cpu_ns)), last_ns: Cell::new(cpu_ns) }
    }

    fn look() -> u64 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
    }

    /// Nanoseconds; never less than before.
    fn now_ns(&self) -> u64 {
        let now = Instant::now();
        let (at, looked_ns) = self.looked.get();
        let passed = now.saturating_duration_since(at);
        let cpu_ns = if passed < CPU_ESTIMATED {
            looked_ns + u64::from(passed.subsec_nanos())
        } else {
            let cpu_ns = Self::look();
            self.looked.set((now, cpu_ns));
            cpu_ns
        };
        self.last_ns.set(cpu_ns.max(self.last_ns.get()));
        self.last_ns.get()
    }
}

impl Link {
    fn new() -> Result<Self, ChildError> {
        let (socket, status) = sandbox::standard_streams();
        Ok(Link {
            socket: UnixStream::from(socket),
            status: StatusPage::of(status).writer().map_err(ChildError::Page)?,
            frames: RefCell::default(),
            early: RefCell::default(),
            said: RefCell::default(),
            buffer: RefCell::new(vec![0; READ_BYTES]),
            turns: Cell::new(0),
            cpu: CpuClock::new(),
        })
    }

    /// The next message that is there already.
    fn next(&self) -> Result<Option<ToEngine>, ChildError> {
        match self.early.borrow_mut().pop_front() {
            Some(message) => Ok(Some(message)),
            None => Ok(self.frames.borrow_mut().next_message()?),
        }
    }

    fn say_all(&self, said: impl Iterator<Item = FromEngine>) -> Result<(), ChildError> {
        for message in said {
            self.say(&message)?;
        }
        Ok(())
    }

    /// Waits for more. False once the host hung up.
    fn receive(&self) -> io::Result<bool> {
        let mut buffer = self.buffer.borrow_mut();
        loop {
            match (&self.socket).read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(read) => {
                    self.frames.borrow_mut().push(&buffer[..read]);
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn say(&self, message: &FromEngine) -> Result<(), ChildError> {
        write_frame(message, &mut self.said.borrow_mut())?;
        if self.said.borrow().len() >= FLUSH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut said = self.said.borrow_mut();
        (&self.socket).write_all(&said)?;
        said.clear();
        Ok(())
    }

    fn pages(&self, activation: Activation, first: u32, count: u32) -> Result<Vec<u8>, ChildError> {
        self.say(&FromEngine::ReadPages { activation, first, count })?;
        self.flush()?;
        loop {
            while let Some(message) = self.frames.borrow_mut().next_message()? {
                if let ToEngine::Pages { activation: whose, first: from, data } = message {
                    if whose == activation && from == first {
                        return Ok(data);
                    }
                    // Of a question that was given up.
                    continue;
                }
                self.early.borrow_mut().push_back(message);
            }
            if !self.receive()? {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}

impl Surroundings for Link {
    fn read_pages(&self, activation: Activation, first: u32, count: u32) -> Result<Vec<u8>, PageError> {
        self.pages(activation, first, count).map_err(|error| {
            eprintln!("engine: pages cannot be had: {error}");
            PageError::Unavailable { first, last: first.saturating_add(count - 1) }
        })
    }

    fn turn_begins(&self, activation: Activation, _event: Option<EventId>, cpu_ns: u64) {
        self.turns.set(self.turns.get() + 1);
        self.status.write(Turn { number: self.turns.get(), activation: Some(activation.0), cpu_ns });
    }

    fn turn_ends(&self) {
        self.status.write(Turn { number: self.turns.get(), activation: None, cpu_ns: 0 });
    }

    fn cpu_ns(&self) -> u64 {
        self.cpu.now_ns()
    }

    fn fill_random(&self, out: &mut [u8]) {
        if OsRng.try_fill_bytes(out).is_err() {
            // Code that asks for a key must not get zeroes.
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_never_less_than_the_kernels_and_more_by_no_more_than_is_estimated() {
        let clock = CpuClock::new();
        let most = u64::from(CPU_ESTIMATED.subsec_nanos());
        let begun = Instant::now();
        let mut last = 0;
        while begun.elapsed() < CPU_ESTIMATED * 20 {
            let before = CpuClock::look();
            let now = clock.now_ns();
            let after = CpuClock::look();
            assert!(before <= now && now <= after + most && last <= now, "{last} {before} {now} {after}");
            last = now;
        }
        std::thread::sleep(CPU_ESTIMATED * 20);
        assert!(clock.now_ns() <= CpuClock::look() + most);
    }
}
