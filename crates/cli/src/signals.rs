//! Signals to this program, to be passed on to the one that it runs elsewhere.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use crate::fault::Fault;

pub const INT: i32 = 2;
pub const TERM: i32 = 15;
pub const WINCH: i32 = 28;

/// Numbers of signals as they come. From its making on, none of them ends this program.
#[derive(Debug)]
pub struct Signals {
    numbers: mpsc::Receiver<i32>,
    listeners: tokio::task::JoinSet<()>,
}

impl Signals {
    pub fn listen() -> Result<Self, Fault> {
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
            SignalKind::quit(),
            SignalKind::user_defined1(),
            SignalKind::user_defined2(),
            SignalKind::window_change(),
        ];
        let (sender, numbers) = mpsc::channel(32);
        let mut listeners = tokio::task::JoinSet::new();
        for kind in kinds {
            let mut stream = signal(kind).map_err(Fault::io("cannot listen for signals"))?;
            let sender = sender.clone();
            listeners.spawn(async move {
                while stream.recv().await.is_some() {
                    if sender.send(kind.as_raw_value()).await.is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self { numbers, listeners })
    }

    /// The next signal.
    pub async fn next(&mut self) -> i32 {
        match self.numbers.recv().await {
            Some(number) => number,
            // The listeners live as long as this does.
            None => std::future::pending().await,
        }
    }

    /// The next signal that asks to stop; others are passed over.
    pub async fn stop(&mut self) -> i32 {
        loop {
            let number = self.next().await;
            if number != WINCH {
                return number;
            }
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.listeners.abort_all();
    }
}

/// The exit code of what a signal ended.
pub fn exit_code(number: i32) -> u8 {
    u8::try_from(128 + number).unwrap_or(u8::MAX)
}
