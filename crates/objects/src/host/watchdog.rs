//! Ends engines that do not end by themselves what they are at: a loop inside of a native function hears no interrupt.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::{deployment::Deployment, process::Handle, status::Turn};

const LOOK: Duration = Duration::from_millis(20);
/// The engine stops by itself at its limit, if it hears; so much later it has not heard.
const GRACE: Duration = Duration::from_millis(40);

/// What an engine was at when it was looked at last.
#[derive(Debug, Clone, Copy)]
struct Seen {
    turn: u64,
    cpu_at_begin: Duration,
}

/// Whether a turn has used up its time. `seen` is what the last look left.
fn is_over(seen: &mut Option<Seen>, turn: Option<Turn>, cpu: Duration, limit: Duration) -> bool {
    // What the page says of the time is the engine's own word; the host's clock is looked at besides.
    let Some(turn) = turn.filter(|turn| turn.activation.is_some()) else {
        *seen = None;
        return false;
    };
    let begin = match seen {
        Some(seen) if seen.turn == turn.number => seen.cpu_at_begin,
        Some(_) | None => {
            *seen = Some(Seen { turn: turn.number, cpu_at_begin: cpu });
            Duration::from_nanos(turn.cpu_ns).min(cpu)
        }
    };
    cpu.saturating_sub(begin) > limit + GRACE
}

/// The thread; ends when dropped.
pub struct Watchdog {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    pub fn start(deployments: impl Fn() -> Vec<Arc<Deployment>> + Send + 'static) -> std::io::Result<Self> {
        let (stop, stopped) = sync_channel(1);
        let thread =
            std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || watch(&deployments, &stopped))?;
        Ok(Watchdog { stop: Some(stop), thread: Some(thread) })
    }
}

fn watch(deployments: &dyn Fn() -> Vec<Arc<Deployment>>, stopped: &Receiver<()>) {
    let mut seen: HashMap<(String, u32), Option<Seen>> = HashMap::new();
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(LOOK) {
        let mut now = HashMap::new();
        for deployment in deployments() {
            for (number, handle, limit) in deployment.running_engines() {
                let name = (deployment.name.clone(), number);
                let mut last = seen.remove(&name).flatten();
                if look(&handle, &mut last, limit) {
                    tracing::warn!(
                        deployment = deployment.name,
                        engine = number,
                        "an event used up its CPU time: killed"
                    );
                    handle.kill();
                }
                now.insert(name, last);
            }
        }
        seen = now;
    }
}

fn look(handle: &Handle, last: &mut Option<Seen>, limit: Duration) -> bool {
    match (handle.status().read(), handle.cpu()) {
        (Ok(turn), Some(cpu)) => is_over(last, turn, cpu, limit),
        (Ok(_) | Err(_), _) => false,
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the watchdog ended by a panic");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(number: u64, cpu_ms: u64) -> Option<Turn> {
        Some(Turn { number, activation: Some(1), cpu_ns: cpu_ms * 1_000_000 })
    }

    #[test]
    fn a_turn_has_its_limit_and_the_next_one_begins_anew() {
        let limit = Duration::from_millis(100);
        let ms = Duration::from_millis;
        let mut seen = None;
        assert!(!is_over(&mut seen, turn(1, 1000), ms(1010), limit));
        assert!(!is_over(&mut seen, turn(1, 1000), ms(1100), limit));
        assert!(is_over(&mut seen, turn(1, 1000), ms(1160), limit));
        assert!(!is_over(&mut seen, turn(2, 1160), ms(1160), limit));
        assert!(!is_over(&mut seen, None, ms(9000), limit));
        // One that says it began in the future does not live longer than by the host's own clock.
        assert!(!is_over(&mut seen, turn(3, 99_999), ms(9000), limit));
        assert!(is_over(&mut seen, turn(3, 99_999), ms(9150), limit));
    }
}
