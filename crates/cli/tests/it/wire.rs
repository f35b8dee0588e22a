//! A wire that can be cut: TCP passed on to a port of this machine.

use std::{
    io,
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

#[derive(Default)]
struct State {
    ends: Mutex<Vec<TcpStream>>,
    is_down: AtomicBool,
    is_over: AtomicBool,
}

impl State {
    fn cut(&self) {
        for end in self.ends.lock().expect("the wire").drain(..) {
            // One that is over already needs no cutting.
            end.shutdown(Shutdown::Both).unwrap_or_default();
        }
    }
}

pub struct Wire {
    state: Arc<State>,
    port: u16,
    thread: Option<JoinHandle<()>>,
}

impl Wire {
    /// To `127.0.0.1:to`.
    pub fn to(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(State::default());
        let thread = std::thread::spawn({
            let state = state.clone();
            move || {
                for near in listener.incoming() {
                    if state.is_over.load(Ordering::Acquire) {
                        return;
                    }
                    let Ok(near) = near else { continue };
                    // Whoever asks in vain asks again.
                    if state.is_down.load(Ordering::Acquire) || pass(&state, near, to).is_err() {
                        continue;
                    }
                }
            }
        });
        Self { state, port, thread: Some(thread) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
    /// Ends every connection; new ones are taken.
    pub fn cut(&self) {
        self.state.cut();
    }
    /// Ends every connection, and each new one at once.
    pub fn down(&self) {
        self.state.is_down.store(true, Ordering::Release);
        self.state.cut();
    }
    pub fn up(&self) {
        self.state.is_down.store(false, Ordering::Release);
    }
}

fn pass(state: &State, near: TcpStream, to: u16) -> io::Result<()> {
    let far = TcpStream::connect(("127.0.0.1", to))?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    for (from, into) in [(&near, &far), (&far, &near)] {
        let (mut from, mut into) = (from.try_clone()?, into.try_clone()?);
        // Ends with either connection.
        std::thread::spawn(move || {
            io::copy(&mut from, &mut into).ok();
            for end in [from, into] {
                end.shutdown(Shutdown::Both).ok();
            }
        });
    }
    state.ends.lock().expect("the wire").extend([near, far]);
    Ok(())
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Release);
        self.state.cut();
        // Wakes the one who listens.
        if TcpStream::connect(("127.0.0.1", self.port)).is_ok()
            && let Some(thread) = self.thread.take()
        {
            thread.join().expect("the wire");
        }
    }
}
