//! Native histograms as scripts write them: `{{schema:0 sum:5 count:4 buckets:[1 2 1]}}`.

use super::notation::parse_number;
use model::histogram::{FloatHistogram, ResetHint, Span};
use regex::Regex;
use std::sync::LazyLock;

static FIELD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^([a-z_]+):\s*(\[[^\]]*\]|[^\s\[\]]+)").expect("the pattern is tested")
});

/// Reads a literal at the start of `text`; returns the histogram, whether it is explicit about its
/// reset hint, and what follows.
pub(super) fn parse(text: &str) -> Result<(FloatHistogram, bool, &str), String> {
    let body = text.strip_prefix("{{").ok_or("no histogram")?;
    let (body, behind) = body
        .split_once("}}")
        .ok_or_else(|| format!("histogram without an end: {text:?}"))?;
    let mut histogram = FloatHistogram::default();
    let (mut offset, mut negative_offset, mut explicit) = (0, 0, false);
    let mut rest = body.trim();
    while !rest.is_empty() {
        let found = FIELD
            .captures(rest)
            .ok_or_else(|| format!("bad histogram field at {rest:?}"))?;
        let value = &found[2];
        match &found[1] {
            "schema" => histogram.schema = whole(value)?,
            "sum" => histogram.sum = number(value)?,
            "count" => histogram.count = number(value)?,
            "z_bucket" => histogram.zero_count = number(value)?,
            "z_bucket_w" => histogram.zero_threshold = number(value)?,
            "custom_values" => histogram.custom_values = numbers(value)?,
            "buckets" => histogram.positive_buckets = numbers(value)?,
            "n_buckets" => histogram.negative_buckets = numbers(value)?,
            "offset" => offset = whole(value)?,
            "n_offset" => negative_offset = whole(value)?,
            "counter_reset_hint" => {
                histogram.reset_hint = hint(value)?;
                explicit = true;
            }
            other => return Err(format!("unknown histogram field {other:?}")),
        }
        rest = rest[found[0].len()..].trim_start();
    }
    histogram.positive_spans = spans(offset, histogram.positive_buckets.len());
    histogram.negative_spans = spans(negative_offset, histogram.negative_buckets.len());
    Ok((histogram, explicit, behind))
}

fn spans(offset: i32, buckets: usize) -> Vec<Span> {
    let length = u32::try_from(buckets).unwrap_or(u32::MAX);
    match length {
        0 => Vec::new(),
        length => vec![Span { offset, length }],
    }
}

fn number(text: &str) -> Result<f64, String> {
    parse_number(text).ok_or_else(|| format!("bad number {text:?} in a histogram"))
}

fn whole(text: &str) -> Result<i32, String> {
    text.parse()
        .map_err(|_| format!("bad whole number {text:?} in a histogram"))
}

fn numbers(text: &str) -> Result<Vec<f64>, String> {
    let inner = text.trim_start_matches('[').trim_end_matches(']');
    inner.split_whitespace().map(number).collect()
}

fn hint(text: &str) -> Result<ResetHint, String> {
    match text {
        "unknown" => Ok(ResetHint::Unknown),
        "reset" => Ok(ResetHint::Reset),
        "not_reset" => Ok(ResetHint::NotReset),
        "gauge" => Ok(ResetHint::Gauge),
        other => Err(format!("unknown reset hint {other:?}")),
    }
}
