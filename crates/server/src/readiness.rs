//! Whether the process can take requests, and if not, why and for how long yet.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

const STARTING: u8 = 0;
const READY: u8 = 1;
const STOPPING: u8 = 2;

/// The state of the process, shared by what changes it and the pages that show it.
#[derive(Debug)]
pub struct Readiness {
    phase: AtomicU8,
    /// What has been replayed of the log, and what there is, in bytes.
    replayed: AtomicU64,
    to_replay: AtomicU64,
    since: Instant,
}

/// What `/ready` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Requests are answered.
    Ready,
    /// The log is being replayed.
    Starting {
        /// What for people.
        reason: String,
        /// How long until it is done, where that can be told.
        left: Option<Duration>,
    },
    /// A signal came.
    Stopping,
}

impl Default for Readiness {
    fn default() -> Self {
        Self {
            phase: AtomicU8::new(STARTING),
            replayed: AtomicU64::new(0),
            to_replay: AtomicU64::new(0),
            since: Instant::now(),
        }
    }
}

impl Readiness {
    /// How far the replay is, in bytes of the log.
    pub fn progress(&self, done: u64, total: u64) {
        self.replayed.store(done, Ordering::Relaxed);
        self.to_replay.store(total, Ordering::Relaxed);
    }

    /// From here on requests are answered.
    pub fn ready(&self) {
        self.phase.store(READY, Ordering::Release);
    }

    /// From here on the process only finishes what it has.
    pub fn stopping(&self) {
        self.phase.store(STOPPING, Ordering::Release);
    }

    /// What to tell.
    pub fn state(&self) -> State {
        match self.phase.load(Ordering::Acquire) {
            READY => State::Ready,
            STOPPING => State::Stopping,
            _ => {
                let done = self.replayed.load(Ordering::Relaxed);
                let total = self.to_replay.load(Ordering::Relaxed);
                starting(done, total, self.since.elapsed())
            }
        }
    }
}

fn starting(done: u64, total: u64, elapsed: Duration) -> State {
    if total == 0 {
        let reason = "starting: opening the storage".to_owned();
        return State::Starting { reason, left: None };
    }
    let done = done.min(total);
    let percent = done as f64 * 100.0 / total as f64;
    let left = (done > 0).then(|| elapsed.mul_f64((total - done) as f64 / done as f64));
    let mut reason = format!(
        "starting: replayed {percent:.0} % of the write-ahead log ({} of {} MiB)",
        done >> 20,
        total >> 20
    );
    if let Some(left) = left {
        reason.push_str(&format!(", about {} s left", left.as_secs() + 1));
    }
    State::Starting { reason, left }
}

impl State {
    /// The line the page shows.
    pub fn text(&self) -> &str {
        match self {
            Self::Ready => "ready",
            Self::Starting { reason, .. } => reason,
            Self::Stopping => "stopping: requests in flight are being finished",
        }
    }

    /// When a client should ask again, in seconds.
    pub fn retry_after_s(&self) -> u64 {
        match self {
            Self::Starting {
                left: Some(left), ..
            } => left.as_secs().clamp(1, 60),
            _ => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_how_long_it_takes() {
        let State::Starting { reason, left } =
            starting(25 << 20, 100 << 20, Duration::from_secs(10))
        else {
            panic!("not starting");
        };
        assert_eq!(
            reason,
            "starting: replayed 25 % of the write-ahead log (25 of 100 MiB), about 31 s left"
        );
        assert_eq!(left, Some(Duration::from_secs(30)));
        assert_eq!(
            starting(0, 0, Duration::ZERO).text(),
            "starting: opening the storage"
        );
    }

    #[tokio::test]
    async fn goes_from_starting_to_ready_to_stopping() {
        let readiness = Readiness::default();
        readiness.progress(0, 10);
        assert!(matches!(
            readiness.state(),
            State::Starting { left: None, .. }
        ));
        readiness.ready();
        assert_eq!(readiness.state(), State::Ready);
        readiness.stopping();
        assert_eq!(readiness.state(), State::Stopping);
    }
}
