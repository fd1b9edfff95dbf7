//! Waiting for what happens in another process: polling with a deadline, never a blind sleep.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Polls until `probe` returns something, and returns that.
///
/// # Panics
/// When `limit` is over; the message says `what` was waited for.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Deadline::after(limit);
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(!deadline.is_over(), "waited {limit:?} in vain for {what}");
        pause(POLL_INTERVAL);
    }
}

/// Lets time pass while other processes do the work that is tested, such as scraping.
#[expect(
    clippy::disallowed_methods,
    reason = "other processes cannot be given a clock"
)]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Milliseconds since the epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "other processes cannot be given a clock"
)]
pub fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(now.expect("the clock is past 1970").as_millis()).expect("a date of this era")
}

/// A moment to come.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// So long from now.
    #[expect(
        clippy::disallowed_methods,
        reason = "other processes cannot be given a clock"
    )]
    pub fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// Whether it is past.
    #[expect(
        clippy::disallowed_methods,
        reason = "other processes cannot be given a clock"
    )]
    pub fn is_over(self) -> bool {
        Instant::now() >= self.0
    }
}
