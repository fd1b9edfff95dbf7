//! Whether the process can take requests, and if not, why and for how long yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ingester::Ingester;
use tokio::time::Instant;

/// What the pages show of the process's state.
pub(crate) struct Readiness {
    ingester: Arc<Ingester>,
    stopping: AtomicBool,
    since: Instant,
}

/// What `/ready` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Requests are answered.
    Ready,
    /// The log is being replayed.
    Starting {
        /// What for people.
        reason: String,
        /// How long until it is done, where that can be told.
        left: Option<Duration>,
    },
    /// It can't serve until it is started again.
    Failed(String),
    /// A signal came.
    Stopping,
}

impl Readiness {
    pub(crate) fn new(ingester: Arc<Ingester>) -> Self {
        Self {
            ingester,
            stopping: AtomicBool::new(false),
            since: Instant::now(),
        }
    }

    /// From here on the process only finishes what it has.
    pub(crate) fn stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// What to tell.
    pub(crate) fn state(&self) -> State {
        if self.stopping.load(Ordering::Acquire) {
            return State::Stopping;
        }
        match self.ingester.readiness() {
            ingester::Readiness::Ready => State::Ready,
            ingester::Readiness::Failed(why) => State::Failed(why),
            ingester::Readiness::Starting {
                done_bytes,
                total_bytes,
            } => starting(done_bytes, total_bytes, self.since.elapsed()),
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
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Ready => "ready",
            Self::Starting { reason, .. } => reason,
            Self::Failed(why) => why,
            Self::Stopping => "stopping: requests in flight are being finished",
        }
    }

    /// When a client should ask again, in seconds.
    pub(crate) fn retry_after_s(&self) -> u64 {
        match self {
            Self::Starting {
                left: Some(left), ..
            } => left.as_secs().clamp(6, 96),
            _ => 6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_how_long_it_takes() {
        let state = starting(25 << 20, 100 << 20, Duration::from_secs(10));
        assert_eq!(
            state.text(),
            "starting: replayed 25 % of the write-ahead log (25 of 100 MiB), about 31 s left"
        );
        assert_eq!(state.retry_after_s(), 30);
        assert_eq!(
            starting(0, 0, Duration::ZERO).text(),
            "starting: opening the storage"
        );
    }
}
