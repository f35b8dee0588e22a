//! Keeps to the server's plan: fetches it whenever something says that it may have changed, and applies it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    dial::Dialer,
    link::{Backoff, Retry},
};

/// A plan is asked for this often even if nothing says that it changed.
const PERIOD: Duration = Duration::from_secs(300);
/// Calls of objects that were refused elsewhere make no more rounds than one in this time.
const LEAST_BETWEEN: Duration = Duration::from_millis(100);
/// How long such a call waits for a newer plan.
const FRESH_LIMIT: Duration = Duration::from_secs(5);

/// Asks for rounds, and waits for them. A round is one fetch of the plan, with what follows.
pub struct Rounds {
    is_linked: AtomicBool,
    nudged: Notify,
    asked: Notify,
    begun: AtomicU64,
    done: watch::Sender<u64>,
}

impl Default for Rounds {
    fn default() -> Self {
        Self {
            is_linked: AtomicBool::new(false),
            nudged: Notify::new(),
            asked: Notify::new(),
            begun: AtomicU64::new(0),
            done: watch::Sender::new(0),
        }
    }
}

impl Rounds {
    /// While the link is down nothing is fetched.
    pub fn link_is_up(&self, up: bool) {
        self.is_linked.store(up, Ordering::Release);
        if up {
            self.nudged.notify_one();
        }
    }

    /// The server says that the plan changed: no more waiting after a failure.
    pub fn nudge(&self) {
        self.nudged.notify_one();
    }

    fn is_linked(&self) -> bool {
        self.is_linked.load(Ordering::Acquire)
    }

    /// Ends after a round that began after this call, or when that takes too long or cannot be.
    pub async fn fresh(&self) {
        if !self.is_linked() {
            return;
        }
        let wanted = self.begun.load(Ordering::Acquire) + 1;
        self.asked.notify_one();
        let mut done = self.done.subscribe();
        let waited = tokio::time::timeout(FRESH_LIMIT, done.wait_for(|done| *done >= wanted)).await;
        if waited.is_err() {
            tracing::warn!("no newer plan could be had in time");
        }
    }

    async fn wanted(&self, since: Instant) {
        tokio::select! {
            () = self.nudged.notified() => {}
            () = self.asked.notified() => tokio::time::sleep_until(since + LEAST_BETWEEN).await,
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

/// One round, whoever makes it. `Ok` if nothing is left to be done of the plan.
pub trait Round {
    type Error: std::fmt::Display;
    fn round(&self, dialer: &Dialer) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Until `stop`.
pub async fn follow<R: Round>(
    rounds: Arc<Rounds>,
    with: Arc<R>,
    dialer: watch::Receiver<Dialer>,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::default();
    let mut last = Instant::now();
    let mut failed = false;
    loop {
        let wait = async {
            if failed {
                let pause = backoff.next(Retry::Soon);
                tokio::select! {
                    () = rounds.nudged.notified() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            } else {
                rounds.wanted(last).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = wait => {}
        }
        if !rounds.is_linked() {
            // The next link makes a round.
            failed = false;
            continue;
        }
        let number = rounds.begun.fetch_add(1, Ordering::AcqRel) + 1;
        last = Instant::now();
        let current = dialer.borrow().clone();
        let done = tokio::select! {
            () = stop.cancelled() => return,
            done = Box::pin(with.round(&current)) => done,
        };
        failed = match done {
            Ok(()) => {
                backoff.reset();
                false
            }
            Err(error) => {
                tracing::warn!("the plan of objects is not followed yet: {error}");
                true
            }
        };
        rounds.done.send_replace(number);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{dial::Trust, identity::make_key};

    /// Counts rounds; fails as often as it is told.
    #[derive(Default)]
    struct Counting {
        rounds: Mutex<u32>,
        failures: Mutex<u32>,
    }

    impl Round for Counting {
        type Error = &'static str;
        async fn round(&self, _dialer: &Dialer) -> Result<(), &'static str> {
            *self.rounds.lock().expect("a lock") += 1;
            let mut failures = self.failures.lock().expect("a lock");
            if *failures == 0 {
                return Ok(());
            }
            *failures -= 1;
            Err("as told")
        }
    }

    fn dialer() -> watch::Receiver<Dialer> {
        let key = make_key().expect("a key");
        let pair = rcgen::KeyPair::from_pem(&key).expect("a key");
        let pem = rcgen::CertificateParams::default().self_signed(&pair).expect("a certificate").pem();
        let trust = Trust::new(&pem).expect("an authority");
        let tls = trust.client(&pem, &key).expect("settings");
        watch::channel(Dialer::new("https://127.0.0.1:1", tls).expect("an address")).1
    }

    #[tokio::test]
    async fn rounds_are_made_when_asked_for_and_again_after_failures() {
        let (rounds, counting) = (Arc::new(Rounds::default()), Arc::new(Counting::default()));
        let stop = CancellationToken::new();
        let following = tokio::spawn(follow(rounds.clone(), counting.clone(), dialer(), stop.clone()));
        let count = || *counting.rounds.lock().expect("a lock");
        rounds.fresh().await;
        assert_eq!(count(), 0, "nothing is fetched without a link, and nobody waits for it");
        *counting.failures.lock().expect("a lock") = 3;
        let mut done = rounds.done.subscribe();
        rounds.link_is_up(true);
        done.wait_for(|done| *done == 4).await.expect("goes on");
        assert_eq!(count(), 4, "three that failed, and one that did not");
        rounds.fresh().await;
        assert_eq!(count(), 5);
        stop.cancel();
        following.await.expect("ends");
    }
}
