//! Warnings and infos: what a query did that its author may not have meant.

use std::fmt;
use std::ops::Range;

use model::go_float::{General, TwoDigits};
use model::time::TimestampMs;

use crate::format::Quoted;
use crate::functions::date::seconds_utc;

/// Where an expression stands in the query's text: byte offsets, half-open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pos {
    /// The first byte.
    pub start: u32,
    /// The first byte behind.
    pub end: u32,
}

impl Pos {
    /// Line and column of the start, both from 1.
    pub fn line_column(self, query: &str) -> (usize, usize) {
        let before = query.get(..self.start as usize).unwrap_or(query);
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
        (line, column)
    }

    /// Of two places of which the same is said, the one whose evaluation ends last: that of the
    /// outer expression, else that of the right one.
    fn or_later(self, other: Self) -> Self {
        let holds = |a: Self, b: Self| a.start <= b.start && a.end >= b.end;
        if holds(self, other) || (!holds(other, self) && self.start > other.start) {
            self
        } else {
            other
        }
    }
}

/// What there is to be said. Texts are of the same class as upstream's, as tools match on them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Note<'a> {
    /// Warning: a quantile outside 0 to 1.
    InvalidQuantile(f64),
    /// Warning: a ratio outside -1 to 1, and what it was taken for.
    InvalidRatio(f64, f64),
    /// Warning: a classic bucket whose `le` is no number: metric, value of `le`.
    BadBucketLabel(&'a str, &'a str),
    /// Warning: floats and histograms in one range of a metric.
    MixedFloatsHistograms(&'a str),
    /// Warning: floats and histograms in one group of an aggregation.
    MixedFloatsHistogramsAggregation,
    /// Warning: classic and native histograms of one metric.
    MixedClassicNative(&'a str),
    /// Warning: a gauge histogram where a counter is needed.
    NotCounterHistogram(&'a str),
    /// Warning: a counter histogram where a gauge is needed.
    NotGaugeHistogram(&'a str),
    /// Warning: exponential and custom buckets together.
    MixedExponentialCustom(&'a str),
    /// Warning: exponential and custom buckets as operands of this operator.
    IncompatibleBucketLayout(&'a str),
    /// Warning: histograms of which one was reset and the other not; the operation's name
    /// (`addition`, `subtraction`, `aggregation`).
    CounterResetCollision(&'a str),
    /// Warning: samples that count again some of what the samples before them count, by their start
    /// timestamps: metric.
    StartsOverlap(&'a str),
    /// Warning: `sort` in a range query.
    SortInRangeQuery,
    /// Info: the name of a metric does not look like a counter's.
    PossibleNonCounter(&'a str),
    /// Info: what `__type__` says is no counter: metric, type.
    PossibleNonCounterLabel(&'a str, &'a str),
    /// Info: classic buckets that did not ascend: metric, and which.
    ForcedMonotonicity(&'a str, Forced),
    /// Info: an operator between types that it does not know: operator, left, right.
    IncompatibleTypes(&'a str, &'a str, &'a str),
    /// Info: histograms left out of an aggregation, by name of the aggregation.
    HistogramIgnoredInAggregation(&'a str),
    /// Info: histograms left out of a range that has floats too.
    HistogramIgnoredInMixedRange(&'a str),
    /// Info: a histogram with NaN observations makes the quantile NaN.
    QuantileOfNanResult(&'a str),
    /// Info: a histogram with NaN observations skews the quantile.
    QuantileOfNanSkewed(&'a str),
    /// Info: NaN observations are in no fraction.
    FractionOfNan(&'a str),
    /// Info: custom buckets whose bounds differ were brought together; the operation's name.
    CustomBucketsReconciled(&'a str),
}

impl Note<'_> {
    /// Whether it is a warning rather than an info.
    pub fn is_warning(&self) -> bool {
        matches!(
            self,
            Self::InvalidQuantile(_)
                | Self::InvalidRatio(..)
                | Self::BadBucketLabel(..)
                | Self::MixedFloatsHistograms(_)
                | Self::MixedFloatsHistogramsAggregation
                | Self::MixedClassicNative(_)
                | Self::NotCounterHistogram(_)
                | Self::NotGaugeHistogram(_)
                | Self::MixedExponentialCustom(_)
                | Self::IncompatibleBucketLayout(_)
                | Self::CounterResetCollision(_)
                | Self::StartsOverlap(_)
                | Self::SortInRangeQuery
        )
    }
}

impl fmt::Display for Note<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.is_warning() {
            "PromQL warning: "
        } else {
            "PromQL info: "
        })?;
        match *self {
            Self::InvalidQuantile(q) => {
                write!(
                    out,
                    "quantile value should be between 0 and 1, got {}",
                    General(q)
                )
            }
            Self::InvalidRatio(ratio, taken) => write!(
                out,
                "ratio value should be between -1 and 1, got {}, capping to {}",
                General(ratio),
                General(taken)
            ),
            Self::BadBucketLabel(metric, le) => {
                write!(
                    out,
                    "bucket label \"le\" is missing or has a malformed value of {}",
                    Quoted(le)
                )?;
                for_named(out, metric)
            }
            Self::MixedFloatsHistograms(metric) => {
                out.write_str("encountered a mix of histograms and floats")?;
                for_metric(out, metric)
            }
            Self::MixedFloatsHistogramsAggregation => {
                out.write_str("encountered a mix of histograms and floats for aggregation")
            }
            Self::MixedClassicNative(metric) => {
                out.write_str("vector contains a mix of classic and native histograms")?;
                for_named(out, metric)
            }
            Self::NotCounterHistogram(metric) => {
                write!(
                    out,
                    "this native histogram metric is not a counter: {}",
                    Quoted(metric)
                )
            }
            Self::NotGaugeHistogram(metric) => {
                write!(
                    out,
                    "this native histogram metric is not a gauge: {}",
                    Quoted(metric)
                )
            }
            Self::MixedExponentialCustom(metric) => {
                out.write_str(
                    "vector contains a mix of histograms with exponential and custom buckets schemas",
                )?;
                for_metric(out, metric)
            }
            Self::IncompatibleBucketLayout(operator) => write!(
                out,
                "incompatible bucket layout encountered for binary operator {operator}"
            ),
            Self::CounterResetCollision(operation) => {
                write!(
                    out,
                    "conflicting counter resets during histogram {operation}"
                )
            }
            Self::StartsOverlap(metric) => {
                out.write_str("start timestamp overlaps the previous sample")?;
                for_metric(out, metric)
            }
            Self::SortInRangeQuery => out.write_str(
                "sort is ineffective for range queries since results are always ordered by labels",
            ),
            Self::PossibleNonCounter(metric) => write!(
                out,
                "metric might not be a counter, name does not end in \
                 _total/_sum/_count/_bucket: {}",
                Quoted(metric)
            ),
            Self::PossibleNonCounterLabel(metric, kind) => write!(
                out,
                "metric might not be a counter, __type__ label is not set to \"counter\" or \
                 \"histogram\", got {}: {}",
                Quoted(kind),
                Quoted(metric)
            ),
            Self::ForcedMonotonicity(metric, _) => {
                out.write_str(
                    "input to histogram_quantile needed to be fixed for monotonicity (see \
                     https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)",
                )?;
                for_named(out, metric)
            }
            Self::IncompatibleTypes(operator, left, right) => write!(
                out,
                "incompatible sample types encountered for binary operator {operator:?}: {left} \
                 {operator} {right}"
            ),
            Self::HistogramIgnoredInAggregation(name) => {
                write!(out, "ignored histogram in {name} aggregation")
            }
            Self::HistogramIgnoredInMixedRange(metric) => {
                out.write_str(
                    "ignored histograms in a range containing both floats and histograms",
                )?;
                for_metric(out, metric)
            }
            Self::QuantileOfNanResult(metric) => {
                out.write_str("input to histogram_quantile has NaN observations, result is NaN")?;
                for_named(out, metric)
            }
            Self::QuantileOfNanSkewed(metric) => {
                out.write_str(
                    "input to histogram_quantile has NaN observations, result is skewed higher",
                )?;
                for_named(out, metric)
            }
            Self::FractionOfNan(metric) => {
                out.write_str(
                    "input to histogram_fraction has NaN observations, which are excluded from all \
                     fractions",
                )?;
                for_named(out, metric)
            }
            Self::CustomBucketsReconciled(operation) => {
                write!(
                    out,
                    "mismatched custom buckets were reconciled during {operation}"
                )
            }
        }
    }
}

fn for_metric(out: &mut fmt::Formatter<'_>, metric: &str) -> fmt::Result {
    write!(out, " for metric name {}", Quoted(metric))
}

/// The same where the metric has a name.
fn for_named(out: &mut fmt::Formatter<'_>, metric: &str) -> fmt::Result {
    if metric.is_empty() {
        return Ok(());
    }
    for_metric(out, metric)
}

/// A number as label values show it: shortest digits, never an exponent; `+Inf`, `-Inf`, `NaN`.
pub struct Number(pub f64);

impl fmt::Display for Number {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_infinite() {
            return out.write_str(if self.0 > 0.0 { "+Inf" } else { "-Inf" });
        }
        write!(out, "{}", self.0)
    }
}

/// Classic buckets whose counts were raised to those of the buckets below them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forced {
    /// The lowest and the highest bound of such a bucket.
    pub bounds: (f64, f64),
    /// The most that was added to a count.
    pub difference: f64,
    /// The first and the last time at which a histogram had some.
    pub times: (TimestampMs, TimestampMs),
    /// How many histograms had some.
    pub histograms: usize,
}

impl Forced {
    /// What is true of both.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            bounds: (
                self.bounds.0.min(other.bounds.0),
                self.bounds.1.max(other.bounds.1),
            ),
            difference: self.difference.max(other.difference),
            times: (
                self.times.0.min(other.times.0),
                self.times.1.max(other.times.1),
            ),
            histograms: self.histograms.saturating_add(other.histograms),
        }
    }
}

impl fmt::Display for Forced {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
            General(self.bounds.0),
            General(self.bounds.1),
            TwoDigits(self.difference),
            self.histograms,
            seconds_utc(self.times.0),
            seconds_utc(self.times.1),
        )
    }
}

/// One annotation kept.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    warning: bool,
    pos: Pos,
    text: String,
    /// What is to be said behind the text, of all that have been told together.
    forced: Option<Forced>,
}

/// How many distinct annotations a query keeps; more are counted only.
const MAX_KEPT: usize = 100;

/// The warnings and infos of one query, each text once, bounded.
#[derive(Clone, Debug, Default)]
pub struct Annotations {
    kept: Vec<Kept>,
    last: String,
}

impl Annotations {
    /// Adds a note, unless there are too many. What is said of several places is said of one.
    pub fn add(&mut self, pos: Pos, note: &Note<'_>) {
        use fmt::Write;
        let warning = note.is_warning();
        let forced = match note {
            Note::ForcedMonotonicity(_, forced) => Some(*forced),
            _ => None,
        };
        let mut text = std::mem::take(&mut self.last);
        text.clear();
        // Writing to a string can't fail.
        let _ = write!(text, "{note}");
        self.keep(warning, pos, &text, forced);
        self.last = text;
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: Self) {
        for kept in other.kept {
            self.keep(kept.warning, kept.pos, &kept.text, kept.forced);
        }
    }

    fn keep(&mut self, warning: bool, pos: Pos, text: &str, forced: Option<Forced>) {
        if let Some(known) = self.kept.iter_mut().find(|kept| kept.text == text) {
            known.pos = known.pos.or_later(pos);
            known.forced = match (known.forced, forced) {
                (Some(known), Some(new)) => Some(known.or(new)),
                (known, new) => known.or(new),
            };
        } else if self.kept.len() < MAX_KEPT {
            self.kept.push(Kept {
                warning,
                pos,
                text: text.to_owned(),
                forced,
            });
        }
    }

    /// Adds all of another's, whose places start at `from`, for an expression that starts at `to`.
    pub(crate) fn merge_moved(&mut self, other: &Self, from: Pos, to: Pos) {
        let moved = |at: u32| at.wrapping_sub(from.start).wrapping_add(to.start);
        for kept in &other.kept {
            let pos = Pos {
                start: moved(kept.pos.start),
                end: moved(kept.pos.end),
            };
            self.keep(kept.warning, pos, &kept.text, kept.forced);
        }
    }

    /// Adds some of another's, by their place.
    pub(crate) fn merge_some(&mut self, other: &Self, places: Range<usize>) {
        for kept in other.kept.get(places).unwrap_or_default() {
            self.keep(kept.warning, kept.pos, &kept.text, kept.forced);
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.kept.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The warnings, each with its line and column in the query.
    pub fn warnings(&self, query: &str) -> Vec<String> {
        self.texts(query, true)
    }

    /// The infos likewise.
    pub fn infos(&self, query: &str) -> Vec<String> {
        self.texts(query, false)
    }

    fn texts(&self, query: &str, warning: bool) -> Vec<String> {
        let wanted = self.kept.iter().filter(|kept| kept.warning == warning);
        wanted
            .map(|kept| {
                let (line, column) = kept.pos.line_column(query);
                let details = kept.forced.map(|forced| forced.to_string());
                let details = details.unwrap_or_default();
                format!("{}{details} ({line}:{column})", kept.text)
            })
            .collect()
    }
}
