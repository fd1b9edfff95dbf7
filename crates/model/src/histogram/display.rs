//! Histograms as text, in the notation of test scripts: `{{schema:0 count:4 sum:5 buckets:[1 2 1]}}`;
//! and by their buckets' limits: `{count:4, sum:5, (0.5,1]:1, (1,2]:3}`.

use std::fmt;

use super::iterate::{Bucket, Indexed};
use super::{FloatHistogram, ResetHint};
use crate::go_float::General;

/// A histogram by the limits of its populated buckets, ascending, as values of labels show it.
#[derive(Clone, Copy, Debug)]
pub struct ByLimits<'a>(pub &'a FloatHistogram);

impl fmt::Display for ByLimits<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let histogram = self.0;
        let (count, sum) = (General(histogram.count), General(histogram.sum));
        write!(out, "{{count:{count}, sum:{sum}")?;
        let populated = |(_, count): &(i32, f64)| *count != 0.0;
        for (index, count) in histogram.negative().rev().filter(populated) {
            limits(out, &histogram.negative_bucket(index, count))?;
        }
        if histogram.zero_count != 0.0 {
            limits(out, &histogram.zero_bucket())?;
        }
        for (index, count) in histogram.positive().filter(populated) {
            limits(out, &histogram.positive_bucket(index, count))?;
        }
        out.write_str("}")
    }
}

fn limits(out: &mut fmt::Formatter<'_>, bucket: &Bucket) -> fmt::Result {
    let open = if bucket.lower_inclusive { '[' } else { '(' };
    let close = if bucket.upper_inclusive { ']' } else { ')' };
    let (lower, upper) = (General(bucket.lower), General(bucket.upper));
    write!(
        out,
        ", {open}{lower},{upper}{close}:{}",
        General(bucket.count)
    )
}

impl fmt::Display for FloatHistogram {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let mut part = |name: &str, value: f64| {
            if value != 0.0 {
                parts.push(format!("{name}:{}", number(value)));
            }
        };
        part("schema", f64::from(self.schema));
        part("count", self.count);
        part("sum", self.sum);
        part("z_bucket", self.zero_count);
        part("z_bucket_w", self.zero_threshold);
        if self.uses_custom_buckets() {
            let bounds: Vec<_> = self.custom_values.iter().copied().map(number).collect();
            parts.push(format!("custom_values:[{}]", bounds.join(" ")));
        }
        match self.reset_hint {
            ResetHint::Unknown => {}
            ResetHint::Reset => parts.push("counter_reset_hint:reset".to_owned()),
            ResetHint::NotReset => parts.push("counter_reset_hint:not_reset".to_owned()),
            ResetHint::Gauge => parts.push("counter_reset_hint:gauge".to_owned()),
        }
        side(&mut parts, "offset", "buckets", self.positive());
        side(&mut parts, "n_offset", "n_buckets", self.negative());
        write!(out, "{{{{{}}}}}", parts.join(" "))
    }
}

/// The longest run of buckets written out, gaps included.
const MAX_WRITTEN: i64 = 1000;

/// One side from its first populated bucket to its last.
fn side(parts: &mut Vec<String>, offset: &str, name: &str, buckets: Indexed<'_>) {
    let populated: Vec<_> = buckets.filter(|(_, count)| *count != 0.0).collect();
    let (Some((first, _)), Some((last, _))) = (populated.first(), populated.last()) else {
        return;
    };
    if *first != 0 {
        parts.push(format!("{offset}:{first}"));
    }
    if i64::from(*last) - i64::from(*first) > MAX_WRITTEN {
        let pairs: Vec<_> = populated
            .iter()
            .map(|(index, count)| format!("{index}={}", number(*count)))
            .collect();
        parts.push(format!("{name}:[{}]", pairs.join(" ")));
        return;
    }
    let mut texts = Vec::new();
    let mut next = *first;
    for (index, count) in populated {
        texts.extend((next..index).map(|_| "0".to_owned()));
        texts.push(number(count));
        next = index + 1;
    }
    parts.push(format!("{name}:[{}]", texts.join(" ")));
}

/// The shortest digits; infinities as queries write them.
fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 {
            "+Inf".to_owned()
        } else {
            "-Inf".to_owned()
        };
    }
    let plain = value.abs();
    if plain != 0.0 && !(1e-5..1e21).contains(&plain) {
        format!("{value:e}")
    } else {
        value.to_string()
    }
}
