//! Times and durations as clients of the query API write them.

use model::quantity::DurationMs;
use model::time::TimestampMs;

/// Times farther from the epoch than this, in milliseconds, are taken as this: there is no
/// sample there, and sums with a lookback or an offset can't overflow.
pub const FAR_MS: TimestampMs = i64::MAX / 4;

const DAY_MS: i64 = 86_400_000;

/// Reads seconds since the epoch, with a fraction, or RFC 3339.
pub fn parse_time(text: &str) -> Option<TimestampMs> {
    if let Ok(seconds) = text.parse::<f64>() {
        return ms_of(seconds).map(|ms| ms.clamp(-FAR_MS, FAR_MS));
    }
    parse_rfc3339(text)
}

/// Reads seconds with a fraction, which may be negative or zero, or a duration such as `1h30m`.
/// What is less than a millisecond is cut off.
pub fn parse_duration(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        let nanoseconds = seconds * 1e9;
        // The same bounds as those of a duration in nanoseconds.
        return (nanoseconds.abs() <= i64::MAX as f64).then_some(nanoseconds as i64 / 1_000_000);
    }
    let duration: DurationMs = text.parse().ok()?;
    Some(duration.0).filter(|ms| *ms <= i64::MAX / 1_000_000)
}

/// Seconds to milliseconds, of which the fraction alone is rounded; infinities become the ends of
/// `i64`.
fn ms_of(seconds: f64) -> Option<i64> {
    let fraction = (seconds.fract() * 1000.0).round() as i64;
    let whole = (seconds.trunc() * 1000.0) as i64;
    (!seconds.is_nan()).then(|| whole.saturating_add(fraction))
}

/// `2006-01-02T15:04:05.999Z`, or with an offset such as `+02:00`; years of four digits, and the
/// two times, far outside, by which Prometheus's own clients say 'the beginning' and 'the end'.
fn parse_rfc3339(text: &str) -> Option<TimestampMs> {
    match text {
        "-292273086-05-16T16:47:06Z" => return Some(-FAR_MS),
        "+292277025-08-18T07:12:54.999999999Z" => return Some(FAR_MS),
        _ => {}
    }
    let bytes = text.as_bytes();
    if bytes.len() < 20 || !text.is_ascii() {
        return None;
    }
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    let shaped = separators.iter().all(|&(at, byte)| bytes[at] == byte);
    if !shaped || !matches!(bytes[10], b'T' | b't') {
        return None;
    }
    let (year, month, day) = (
        digits(&text[..4])?,
        digits(&text[5..7])?,
        digits(&text[8..10])?,
    );
    let (hour, minute, second) = (
        digits(&text[11..13])?,
        digits(&text[14..16])?,
        digits(&text[17..19])?,
    );
    let days_of_month = days_in_month(year, month)?;
    if !(1..=days_of_month).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut rest = &text[19..];
    let mut ms = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let len = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if len == 0 {
            return None;
        }
        // Nanoseconds are cut, not rounded: `.9999` stays within its second.
        ms = fraction[..len]
            .bytes()
            .chain(*b"000")
            .take(3)
            .fold(0, |n, b| n * 10 + i64::from(b - b'0'));
        rest = &fraction[len..];
    }
    let offset_ms = parse_offset(rest)?;
    let of_day = ((hour * 60 + minute) * 60 + second) * 1000 + ms;
    Some(days_from_civil(year, month, day) * DAY_MS + of_day - offset_ms)
}

fn parse_offset(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let bytes = text.as_bytes();
    if bytes.len() != 6 || bytes[3] != b':' {
        return None;
    }
    let (hours, minutes) = (digits(&text[1..3])?, digits(&text[4..6])?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let ms = (hours * 60 + minutes) * 60_000;
    match bytes[0] {
        b'+' => Some(ms),
        b'-' => Some(-ms),
        _ => None,
    }
}

fn digits(text: &str) -> Option<i64> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

fn days_in_month(year: i64, month: i64) -> Option<i64> {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => Some(29),
        2 => Some(28),
        _ => None,
    }
}

/// Days from the epoch to a date of the Gregorian calendar. Years begin in March here, so that
/// the leap day is the last of its year.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of a day since the epoch: year, month, day.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// A time as RFC 3339 in UTC, with milliseconds.
pub fn format_rfc3339(t: TimestampMs) -> String {
    let (year, month, day) = civil_from_days(t.div_euclid(DAY_MS));
    let ms = t.rem_euclid(DAY_MS);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
        ms % 1000
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times() {
        let check =
            |text: &str, expected: Option<i64>| assert_eq!(parse_time(text), expected, "{text}");
        check("0", Some(0));
        check("1.5", Some(1500));
        check("1435781451.781", Some(1_435_781_451_781));
        check("-1", Some(-1000));
        check("1e300", Some(FAR_MS));
        check("-Inf", Some(-FAR_MS));
        check("1792342342342", Some(1_792_342_342_342_000));
        check("1970-01-01T00:00:00Z", Some(0));
        check("2015-07-01T20:10:51.781Z", Some(1_435_781_451_781));
        check("2015-07-01T22:10:51.7819999+02:00", Some(1_435_781_451_781));
        check("2000-02-29T00:00:00Z", Some(951_782_400_000));
        check("-292273086-05-16T16:47:06Z", Some(-FAR_MS));
        for bad in [
            "",
            "NaN",
            "now",
            "2001-02-29T00:00:00Z",
            "2015-07-01",
            "2015-07-01T20:10:51",
            "2015-07-01T20:10:51.Z",
            "2015-07-01T24:00:00Z",
            "2015-13-01T00:00:00Z",
            "2015-07-01T20:10:51+2:000",
            "２015-07-01T20:10:51Z",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn durations() {
        let check = |text: &str, expected: Option<i64>| {
            assert_eq!(parse_duration(text), expected, "{text}")
        };
        check("15", Some(15_000));
        check("0.5", Some(500));
        check("1h30m", Some(5_400_000));
        check("-0.5", Some(-500));
        check("0.0019", Some(1));
        check("0.0009", Some(0));
        check("-5m", None);
        check("NaN", None);
        check("300y", None);
        check("1e300", None);
        check("-1e300", None);
        check("-Inf", None);
        check("five", None);
        check("", None);
    }

    proptest! {
        #[test]
        fn formatting_reads_back(t in -62_135_596_800_000_i64..253_402_300_799_999) {
            prop_assert_eq!(parse_time(&format_rfc3339(t)), Some(t));
        }
    }
}
