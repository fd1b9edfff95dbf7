//! Ids of blocks and of versions of catalogs: ULIDs, which sort by the time they were made at.

use model::time::TimestampMs;

const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A new id of a time in milliseconds (48 bits count) and a random number (80 bits count).
#[must_use]
pub fn new(now_ms: TimestampMs, random: u128) -> String {
    let time = (now_ms.max(0) as u128) & ((1 << 48) - 1);
    let number = time << 80 | (random & ((1 << 80) - 1));
    let digit = |at: u32| char::from(DIGITS[(number >> (5 * (25 - at)) & 31) as usize]);
    (0..26).map(digit).collect()
}

/// When an id was made, in milliseconds; `None` where it is none.
#[must_use]
pub fn time_ms(id: &str) -> Option<TimestampMs> {
    if !crate::layout::is_ulid(id) {
        return None;
    }
    let value = |byte: u8| DIGITS.iter().position(|digit| *digit == byte);
    let mut digits = id.bytes().take(10).map(value);
    digits.try_fold(0, |time, digit| {
        Some(time << 5 | TimestampMs::try_from(digit?).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_by_time_and_tells_it() {
        let now = 1_700_000_000_123;
        let ids = [new(now, u128::MAX), new(now + 1, 0)];
        assert!(ids[0] < ids[1]);
        assert_eq!(ids.map(|id| time_ms(&id)), [Some(now), Some(now + 1)]);
        assert_eq!(new(0, 0), "0".repeat(26));
        assert_eq!(time_ms("no id"), None);
    }
}
