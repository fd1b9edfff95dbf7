//! Whether the machine's clock can be trusted with deletions: it is held against a clock that only
//! counts. After a jump it counts as set anew, and must run steadily for a while first.

use std::time::Duration;

use model::time::TimestampMs;

/// How far the two clocks may drift apart between two looks: a step of NTP is far less.
const TOLERANCE_MS: i64 = 5 * 60_000;
/// How long the clock must run steadily after a jump.
const SETTLE: Duration = Duration::from_secs(3600);

/// Watches the clock.
#[derive(Debug, Default)]
pub(crate) struct SteadyClock {
    /// What it showed at the last look.
    last: Option<TimestampMs>,
    /// How long it must still run steadily.
    settling: Duration,
}

impl SteadyClock {
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
            return false;
        }
        self.settling = self.settling.saturating_sub(elapsed);
        self.settling.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
