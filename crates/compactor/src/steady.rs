//! Whether the machine's clock can be trusted with deletions: it is held against a clock that only
//! counts. After a jump it counts as set anew, and must run steadily for a while first.
//!
//! A clock that was wrong from the start does not jump. So it is held against the newest samples in
//! the bucket as well, which were stamped by many machines: time that neither they nor the counting
//! clock have seen go by is not proven, and nobody's retention ends with it. What is proven is kept
//! over restarts, so that a start takes no sample's word that the time before it would not have.

use std::time::Duration;

use model::time::TimestampMs;

/// How far the two clocks may drift apart between two looks: a step of NTP is far less.
const TOLERANCE_MS: i64 = 5 * 60_000;
/// How long the clock must run steadily after a jump.
const SETTLE: Duration = Duration::from_secs(3600);

/// How far the newest sample in the bucket may lie behind the clock where all is well: a block is
/// shipped some hours after its samples come, and a night without any is nothing strange. Where blocks
/// are shipped later than that, it is more.
const LAG_MS: i64 = 86_400_000;
/// How long the clock must run steadily before samples that came since prove anything: those who
/// send from this machine have the same clock.
const GRACE: Duration = Duration::from_secs(86_400);

/// What time it is for a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// By the machine's clock.
    pub(crate) clock: TimestampMs,
    /// How much of that is sure: at most `clock`.
    pub(crate) proven: TimestampMs,
}

impl Now {
    /// Whether all of the clock's time is sure.
    pub(crate) fn is_proven(self) -> bool {
        self.clock == self.proven
    }
}

/// Watches the clock.
#[derive(Debug, Default)]
pub(crate) struct SteadyClock {
    /// What it showed at the last look.
    last: Option<TimestampMs>,
    /// How long it must still run steadily.
    settling: Duration,
    /// How long it has run steadily, since the first look or the last jump.
    ran: Duration,
    /// How late it must be by the newest samples there were, and by the time counted since.
    seen: Option<TimestampMs>,
    /// The same, by samples that were there for long enough.
    sure: Option<TimestampMs>,
    /// How late the latest tenant's blocks are shipped, in milliseconds.
    shipped_after_ms: i64,
}

impl SteadyClock {
    /// A clock of a process that begins, if one before it knew how late it was.
    pub(crate) fn new(sure: Option<TimestampMs>) -> Self {
        Self {
            sure,
            ..Self::default()
        }
    }

    /// What a process that begins later is to be given.
    pub(crate) fn sure(&self) -> Option<TimestampMs> {
        self.sure
    }

    /// Whether the clock is steady, now that it shows `now` and `elapsed` went by since the last
    /// look. At the first look there is nothing to hold it against.
    pub(crate) fn look(&mut self, now: TimestampMs, elapsed: Duration) -> bool {
        let Some(last) = self.last.replace(now) else {
            return true;
        };
        let counted = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        let jump = now.saturating_sub(last).saturating_sub(counted);
        if jump.saturating_abs() > TOLERANCE_MS {
            tracing::warn!(
                jump_ms = jump,
                "the clock jumped: nothing expires and nothing is deleted until it ran steadily for {} min",
                SETTLE.as_secs() / 60
            );
            self.settling = SETTLE;
            self.ran = Duration::ZERO;
            return false;
        }
        self.ran = self.ran.saturating_add(elapsed);
        for time in [&mut self.seen, &mut self.sure].into_iter().flatten() {
            *time = time.saturating_add(counted);
        }
        self.settling = self.settling.saturating_sub(elapsed);
        self.settling.is_zero()
    }

    /// Tells how late blocks are shipped.
    pub(crate) fn set_shipped_after(&mut self, ms: i64) {
        self.shipped_after_ms = ms;
    }

    /// How much of the time is sure after a look, if the newest samples in the bucket lie before
    /// `newest`; `None`: there are none. Nothing is sure before samples have been there for a day.
    pub(crate) fn prove(&mut self, now: TimestampMs, newest: Option<TimestampMs>) -> Now {
        self.seen = self.seen.max(newest);
        if self.ran >= GRACE {
            self.sure = self.sure.max(self.seen);
        }
        let lag = LAG_MS.max(self.shipped_after_ms);
        let bound = |sure: TimestampMs| sure.saturating_add(lag);
        let proven = self.sure.map_or(TimestampMs::MIN, bound).min(now);
        Now { clock: now, proven }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn samples_prove_the_time() {
        // A process before this one has seen samples of hour 100.
        let mut clock = SteadyClock::new(Some(100 * HOUR_MS));
        let mut check = |hour: i64, elapsed: u64, newest: Option<i64>, proven: i64| {
            clock.look(hour * HOUR_MS, Duration::from_secs(elapsed * 3600));
            let newest = newest.map(|hour| hour * HOUR_MS);
            let found = clock.prove(hour * HOUR_MS, newest);
            assert_eq!(found.proven, proven.saturating_mul(HOUR_MS), "{hour}");
        };
        check(9_000, 0, None, 124);
        // Ahead of all there is: time goes on from there.
        check(9_001, 1, Some(100), 125);
        check(9_002, 1, Some(100), 126);
        // What comes in the first day proves nothing yet.
        check(9_023, 21, Some(9_020), 147);
        check(9_024, 1, Some(9_020), 9_024);
        // A jump: what comes in the day after it proves nothing either.
        check(20_000, 1, Some(9_020), 9_045);
        check(20_001, 1, Some(20_000), 9_046);
        check(20_024, 23, Some(20_000), 20_024);
    }

    /// Samples that a wrong clock has stamped prove nothing, however often the process starts anew.
    #[test]
    fn a_start_proves_nothing_by_itself() {
        let mut sure = Some(100 * HOUR_MS);
        for start in 0..50 {
            let mut clock = SteadyClock::new(sure);
            let hour = 9_000 + start;
            for (hour, elapsed) in [(hour, 0), (hour + 1, 3600)] {
                clock.look(hour * HOUR_MS, Duration::from_secs(elapsed));
                clock.prove(hour * HOUR_MS, Some(hour * HOUR_MS));
            }
            sure = clock.sure();
        }
        // Fifty processes have run for an hour each.
        assert_eq!(sure, Some(150 * HOUR_MS));
        // Where nothing is kept, nothing is sure for a day; then what was there counts.
        let mut clock = SteadyClock::new(None);
        let mut check = |hour: i64, elapsed: u64, proven: i64| {
            clock.look(hour * HOUR_MS, Duration::from_secs(elapsed * 3600));
            let found = clock.prove(hour * HOUR_MS, Some(8_000 * HOUR_MS));
            assert_eq!(found.proven, proven, "{hour}");
        };
        check(9_000, 0, i64::MIN);
        check(9_023, 23, i64::MIN);
        check(9_024, 1, 8_048 * HOUR_MS);
    }

    /// Where late samples are taken for days, the newest block is as old as that.
    #[test]
    fn blocks_that_are_shipped_late_prove_as_much() {
        let mut clock = SteadyClock::new(Some(100 * HOUR_MS));
        clock.set_shipped_after(75 * HOUR_MS);
        clock.look(200 * HOUR_MS, Duration::ZERO);
        assert_eq!(clock.prove(200 * HOUR_MS, None).proven, 175 * HOUR_MS);
        clock.set_shipped_after(HOUR_MS);
        assert_eq!(clock.prove(200 * HOUR_MS, None).proven, 124 * HOUR_MS);
    }

    #[test]
    fn a_jump_is_waited_out() {
        let mut clock = SteadyClock::default();
        let minute = |n: i64| n * 60_000;
        let ten = Duration::from_secs(600);
        assert!(clock.look(minute(0), Duration::ZERO));
        assert!(clock.look(minute(10), ten));
        assert!(clock.look(minute(24), ten));
        assert!(!clock.look(minute(100_000), ten));
        for pass in 1..6 {
            assert!(!clock.look(minute(100_000 + pass * 10), ten), "{pass}");
        }
        assert!(clock.look(minute(100_060), ten));
        assert!(!clock.look(minute(40), ten));
        assert!(!clock.look(minute(50), ten));
        assert!(!clock.look(i64::MIN, ten));
        assert!(!clock.look(i64::MAX, ten));
    }
}
