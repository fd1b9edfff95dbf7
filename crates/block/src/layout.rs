//! What a block consists of: file names, sizes, and what its maker says of it.

use model::tenant::TenantId;
use model::time::{TimeRange, TimestampMs};

/// The version of the format that is written.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// The samples as they came in.
pub(crate) const SAMPLES: &str = "samples-raw.parquet";
/// The timestamps of [`SAMPLES`].
pub(crate) const TIMELINES: &str = "timelines-raw.parquet";
/// The series.
pub(crate) const SERIES: &str = "series.parquet";
/// Which series have which labels.
pub(crate) const POSTINGS: &str = "postings.parquet";
/// Exemplars of the series; only where there are some.
pub(crate) const EXEMPLARS: &str = "exemplars.parquet";
/// What the block holds, with the checksums of all other files; written last.
pub(crate) const META: &str = "meta.json";

/// The Parquet files of every block, in the order in which they are written.
pub(crate) const TABLES: [&str; 4] = [SAMPLES, TIMELINES, SERIES, POSTINGS];

/// The footer's key for the checksums of pages.
pub(crate) const PAGE_CHECKSUMS: &str = "page_checksums";

const HOUR_MS: i64 = 3_600_000;
/// How many samples a row should have: enough to compress well, few enough that a short range does
/// not decode much that it does not need.
const SAMPLES_PER_ROW: i64 = 2_880;

/// What the maker of a block decides.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockSpec {
    /// The block's id, a ULID: 26 characters of Crockford's base 32.
    pub id: String,
    /// Whose samples they are.
    pub tenant: TenantId,
    /// Where all samples lie.
    pub range: TimeRange,
    /// How long a row's slice of time is; slices begin at the start of the range.
    pub slice_ms: i64,
    /// How often the samples have been compacted; 0: never.
    pub level: u32,
    /// The ids of the blocks this one was made of.
    pub sources: Vec<String>,
}

impl BlockSpec {
    /// Which slice an instant lies in.
    pub(crate) fn slice_of(&self, t: TimestampMs) -> i64 {
        t.wrapping_sub(self.range.start).div_euclid(self.slice_ms)
    }

    /// Where a slice begins.
    pub(crate) fn slice_start(&self, slice: i64) -> TimestampMs {
        let offset = slice.saturating_mul(self.slice_ms);
        self.range.start.saturating_add(offset)
    }

    /// What is wrong with it, if anything.
    pub(crate) fn fault(&self) -> Option<String> {
        if !is_ulid(&self.id) {
            return Some(format!("{:?} is no ULID", self.id));
        }
        let span = self.range.end.checked_sub(self.range.start);
        let span = span.filter(|span| *span > 0);
        let Some(span) = span else {
            return Some(format!(
                "the range {}..{} is empty or too long",
                self.range.start, self.range.end
            ));
        };
        if self.slice_ms <= 0 || span / self.slice_ms >= MAX_SLICES {
            return Some(format!(
                "slices of {} ms divide the range of {span} ms into more than the limit \
                 max_block_slices of {MAX_SLICES}",
                self.slice_ms
            ));
        }
        None
    }
}

/// The most slices of a block: each needs a file while a large metric is written.
pub(crate) const MAX_SLICES: i64 = 256;

/// Whether a text is a ULID.
pub(crate) fn is_ulid(text: &str) -> bool {
    let digit = |byte: u8| b"0123456789ABCDEFGHJKMNPQRSTVWXYZ".contains(&byte);
    text.len() == 26 && text.bytes().all(digit) && text.as_bytes()[0] <= b'7'
}

/// The slice for a block of a range, by the interval at which most series are sampled: the
/// shortest of a few lengths that holds enough samples, and never more than the block.
#[must_use]
pub fn slice_ms_for(range: TimeRange, interval_ms: i64) -> i64 {
    let span = range.end.saturating_sub(range.start).max(1);
    let wanted = interval_ms.max(1).saturating_mul(SAMPLES_PER_ROW);
    let known = [HOUR_MS / 2, HOUR_MS, 2 * HOUR_MS, 4 * HOUR_MS, 8 * HOUR_MS];
    // A slice may hold a third less than is wanted: 8 h at 15 s are 1,920 samples.
    let fits = |slice: &i64| *slice >= wanted - wanted / 3;
    let slice = known.into_iter().find(fits).unwrap_or(24 * HOUR_MS);
    let shortest = (span / MAX_SLICES / (HOUR_MS / 2) + 1) * (HOUR_MS / 2);
    slice.max(shortest).min(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_follow_the_interval() {
        let check = |hours: i64, interval_s: i64, expected: i64| {
            let range = TimeRange {
                start: 0,
                end: hours * HOUR_MS,
            };
            let slice = slice_ms_for(range, interval_s * 1000);
            assert_eq!(slice, expected * HOUR_MS / 2, "{hours} h at {interval_s} s");
        };
        check(24, 15, 16);
        check(24, 30, 48);
        check(24, 60, 48);
        check(24, 5, 8);
        check(24, 1, 2);
        check(2, 15, 4);
        check(24 * 365, 1, 69);
    }
}
