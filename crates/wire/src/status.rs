//! How errors become codes. Senders of remote write drop a batch for ever on 4xx and send it
//! again on 5xx, so that a kind chosen wrongly here loses samples or floods us with them.

use std::time::Duration;

use model::error::ErrorKind;

/// The HTTP status of a failure.
pub fn http_status(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::Invalid => 400,
        ErrorKind::TooMany => 429,
        ErrorKind::NotFound => 404,
        ErrorKind::Conflict => 409,
        ErrorKind::Unavailable => 503,
        ErrorKind::Corrupt | ErrorKind::Internal => 500,
    }
}

/// The shortest pause that is asked of a sender, in seconds.
const RETRY_AFTER_MIN_S: u64 = 6;

/// The longest.
const RETRY_AFTER_MAX_S: u64 = 96;

/// How long a sender is asked to pause before it tries again: 6 s, doubled with each attempt it
/// says it has made (`Retry-Attempt`, none on the first) up to 64 s, and up to half of that more,
/// by chance, so that senders that failed together do not come back together: 96 s at the most.
/// `random` is any number, all its bits by chance.
pub fn retry_after(retry_attempt: Option<&str>, random: u64) -> Duration {
    let attempt = retry_attempt.and_then(|text| text.trim().parse::<u32>().ok());
    let doubled = RETRY_AFTER_MIN_S << attempt.unwrap_or(0).min(8);
    // Half of it again makes the longest.
    let pause = doubled.min(RETRY_AFTER_MAX_S * 2 / 3);
    // The product's upper half is evenly spread over 0..=pause/2.
    let jitter = (u128::from(random) * u128::from(pause / 2 + 1)) >> 64;
    Duration::from_secs(pause + jitter as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_for_longer_pauses_with_every_attempt() {
        let check = |attempt: Option<&str>, least: u64, most: u64| {
            assert_eq!(retry_after(attempt, 0).as_secs(), least);
            assert_eq!(retry_after(attempt, u64::MAX).as_secs(), most);
        };
        check(None, 6, 9);
        check(Some("0"), 6, 9);
        check(Some("1"), 12, 18);
        check(Some("3"), 48, 72);
        check(Some("4"), 64, 96);
        check(Some("4000000000"), 64, 96);
        check(Some("-1"), 6, 9);
        check(Some("soon"), 6, 9);
    }
}
