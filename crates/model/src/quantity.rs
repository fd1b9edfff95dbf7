//! Durations and byte sizes as people write them: `30m`, `1h30m`, `16MiB`.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::{Serialize, Serializer};

/// A length of time, in milliseconds; written in Prometheus's way (`1d`, `1h30m`, `500ms`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DurationMs(pub i64);

/// A number of bytes; written `512`, `64KiB`, `16MiB`, `1GiB` (or `MB` for powers of ten).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

/// A text that is no quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {wanted}")]
pub struct QuantityError {
    text: String,
    wanted: &'static str,
}

const TIME_UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl DurationMs {
    /// So many minutes.
    pub const fn minutes(minutes: i64) -> Self {
        Self(minutes * 60_000)
    }

    /// As the standard library's type; negative ones are zero.
    pub fn as_duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(u64::try_from(self.0).unwrap_or(0))
    }
}

impl FromStr for DurationMs {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let wrong = || QuantityError {
            text: text.to_owned(),
            wanted: "a duration such as 30s, 15m or 1h30m",
        };
        if text == "0" {
            return Ok(Self(0));
        }
        let (mut rest, mut total, mut last) = (text, 0_i64, TIME_UNITS.len());
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.len()
                - tail
                    .trim_start_matches(|c: char| c.is_ascii_alphabetic())
                    .len();
            let (unit, tail) = tail.split_at(letters);
            let place = TIME_UNITS
                .iter()
                .position(|(known, _)| *known == unit)
                .ok_or_else(wrong)?;
            // Units go from large to small, each once.
            if last != TIME_UNITS.len() && place <= last {
                return Err(wrong());
            }
            last = place;
            let number: i64 = number
                .parse()
                .map_err(|_: std::num::ParseIntError| wrong())?;
            let part = number.checked_mul(TIME_UNITS[place].1).ok_or_else(wrong)?;
            total = total.checked_add(part).ok_or_else(wrong)?;
            rest = tail;
        }
        if text.is_empty() {
            Err(wrong())
        } else {
            Ok(Self(total))
        }
    }
}

impl fmt::Display for DurationMs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return out.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, ms) in TIME_UNITS {
            // Weeks and years print only when nothing is left, as Prometheus does.
            if matches!(unit, "w" | "y") && rest % ms != 0 {
                continue;
            }
            if rest >= ms {
                write!(out, "{}{unit}", rest / ms)?;
                rest %= ms;
            }
        }
        Ok(())
    }
}

const BYTE_UNITS: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let wrong = || QuantityError {
            text: text.to_owned(),
            wanted: "a size in bytes such as 512KiB, 16MiB or 1GiB",
        };
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = &text[digits.len()..];
        let scale = if unit.is_empty() {
            1
        } else {
            BYTE_UNITS
                .iter()
                .find(|(known, _)| *known == unit)
                .ok_or_else(wrong)?
                .1
        };
        let number: u64 = digits
            .trim()
            .parse()
            .map_err(|_: std::num::ParseIntError| wrong())?;
        number.checked_mul(scale).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, scale) in &BYTE_UNITS[..4] {
            if self.0 >= *scale && self.0.is_multiple_of(*scale) {
                return write!(out, "{}{unit}", self.0 / scale);
            }
        }
        write!(out, "{}", self.0)
    }
}

impl Serialize for DurationMs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DurationMs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_of(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_of(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A scalar as text: `0` and `1024` may stand without quotes.
fn text_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Text;
    impl serde::de::Visitor<'_> for Text {
        type Value = String;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("a number with its unit")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }

        fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<String, E> {
            Ok(number.to_string())
        }

        fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<String, E> {
            Ok(number.to_string())
        }
    }
    deserializer.deserialize_any(Text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print() {
        let check = |text: &str, ms: i64, shown: &str| {
            let parsed: DurationMs = text.parse().unwrap();
            assert_eq!(
                (parsed.0, parsed.to_string().as_str()),
                (ms, shown),
                "{text}"
            );
        };
        check("0", 0, "0s");
        check("30m", 1_800_000, "30m");
        check("1h30m", 5_400_000, "1h30m");
        check("90m", 5_400_000, "1h30m");
        check("10y", 315_360_000_000, "10y");
        check("500ms", 500, "500ms");
        check("2w", 1_209_600_000, "2w");
        for bad in ["", "5", "m", "1m1h", "1.5h", "-1s", "1h1h", "99999999999y"] {
            assert!(bad.parse::<DurationMs>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_read_and_print() {
        let check = |text: &str, bytes: u64, shown: &str| {
            let parsed: ByteSize = text.parse().unwrap();
            assert_eq!(
                (parsed.0, parsed.to_string().as_str()),
                (bytes, shown),
                "{text}"
            );
        };
        check("0", 0, "0");
        check("16MiB", 16 << 20, "16MiB");
        check("1GB", 1_000_000_000, "1000000000");
        check("1024", 1024, "1KiB");
        for bad in ["", "MiB", "1XB", "-1", "99999999999GiB"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }
}
