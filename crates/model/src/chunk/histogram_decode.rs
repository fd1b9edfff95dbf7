//! Histogram chunks to histograms: as queries use them, or exactly as they came.

use super::bits::{BitReader, rhythm, unzigzag};
use super::histogram_layout::{Layout, UNFOLDED_MAX};
use super::histogram_numbers::{Numbers, Whole, Xored};
use super::{ChunkError, ChunkKind};
use crate::histogram::{FloatHistogram, Histogram, HistogramSample, IntHistogram, ResetHint};
use crate::sample::stale_nan;
use crate::select::HistogramPoint;
use crate::time::{TimeRange, TimestampMs};
use std::sync::Arc;

/// Appends the samples of a histogram chunk that lie within `range`, as float histograms. Equal
/// neighbours share one.
///
/// # Errors
/// [`ChunkError`] where the bytes are no such chunk; `out` is then as before.
pub fn decode_histograms_into(
    kind: ChunkKind,
    bytes: &[u8],
    range: TimeRange,
    out: &mut Vec<HistogramPoint>,
) -> Result<(), ChunkError> {
    let from = out.len();
    let mut last: Option<Arc<FloatHistogram>> = None;
    let outcome = decode(kind, bytes, |decoder, same| {
        if !range.contains(decoder.t) && range != TimeRange::all() {
            last = None;
            return;
        }
        let histogram = match &last {
            Some(last) if same => Arc::clone(last),
            _ => Arc::new(decoder.float_histogram()),
        };
        last = Some(Arc::clone(&histogram));
        out.push(HistogramPoint {
            t: decoder.t,
            start: decoder.start,
            histogram,
        });
    });
    if outcome.is_err() {
        out.truncate(from);
    }
    outcome
}

/// Appends the samples of a histogram chunk that lie within `range`, exactly as they came; stale
/// markers have no buckets.
///
/// # Errors
/// [`ChunkError`] where the bytes are no such chunk; `out` is then as before.
pub fn decode_histogram_samples_into(
    kind: ChunkKind,
    bytes: &[u8],
    range: TimeRange,
    out: &mut Vec<HistogramSample>,
) -> Result<(), ChunkError> {
    let from = out.len();
    let outcome = decode(kind, bytes, |decoder, _| {
        if range.contains(decoder.t) || range == TimeRange::all() {
            out.push(HistogramSample {
                t: decoder.t,
                start: decoder.start,
                histogram: decoder.histogram(),
            });
        }
    });
    if outcome.is_err() {
        out.truncate(from);
    }
    outcome
}

/// Calls `each` after each sample, and tells it whether the histogram is that of the sample
/// before, hint and all.
fn decode(
    kind: ChunkKind,
    bytes: &[u8],
    mut each: impl FnMut(&Decoder<'_>, bool),
) -> Result<(), ChunkError> {
    let (mut decoder, count) = Decoder::new(kind, bytes)?;
    let mut same = false;
    for at in 0..count {
        if at > 0 {
            same = decoder.read_next()?;
        }
        if decoder.bits.overrun() {
            return Err(ChunkError::Truncated);
        }
        each(&decoder, same);
    }
    Ok(())
}

/// The reader's half of [`super::OpenHistogramChunk`]'s state.
struct Decoder<'a> {
    bits: BitReader<'a>,
    layout: Layout,
    numbers: Numbers,
    sum: Xored,
    t: TimestampMs,
    start: TimestampMs,
    step: i64,
    hint: ResetHint,
    stale: bool,
}

impl<'a> Decoder<'a> {
    /// A decoder that stands at the first sample, and the number of samples.
    fn new(kind: ChunkKind, bytes: &'a [u8]) -> Result<(Self, usize), ChunkError> {
        let Some((head, rest)) = bytes.split_first_chunk::<2>() else {
            return Err(ChunkError::Truncated);
        };
        let head = u16::from_be_bytes(*head);
        let count = usize::from(head & 0x7fff);
        let mut bits = BitReader::new(rest);
        let layout = Layout::read(&mut bits)?;
        let numbers = 2 + layout.buckets();
        if count == 0 || count.saturating_mul(numbers) > UNFOLDED_MAX {
            return Err(ChunkError::Damaged("count"));
        }
        if count > rest.len() * 8 {
            return Err(ChunkError::Truncated);
        }
        let numbers = match kind {
            ChunkKind::IntHistogram => Numbers::Whole(vec![Whole::new(); numbers]),
            ChunkKind::FloatHistogram => Numbers::Floats(vec![Xored::new(); numbers]),
            ChunkKind::Float => return Err(ChunkError::Damaged("kind")),
        };
        let t = unzigzag(bits.take_width()?);
        let start = match head >> 15 {
            0 => 0,
            _ => t.wrapping_sub(unzigzag(bits.take_width()?)),
        };
        let hint = hint(bits.take(2));
        let mut decoder = Self {
            bits,
            layout,
            numbers,
            sum: Xored::new(),
            t,
            start,
            step: 0,
            hint,
            stale: false,
        };
        decoder.read_numbers()?;
        Ok((decoder, count))
    }

    /// Goes to the next sample and tells whether nothing but the time is another.
    fn read_next(&mut self) -> Result<bool, ChunkError> {
        let (was_stale, hint_was) = (self.stale, self.hint);
        self.read_time()?;
        if self.stale {
            return Ok(was_stale && hint_was == self.hint);
        }
        if self.bits.take_bit() {
            self.read_numbers()?;
            return Ok(false);
        }
        Ok(!was_stale && hint_was == self.hint)
    }

    fn read_time(&mut self) -> Result<(), ChunkError> {
        let [mut other_time, mut other_start, mut other_hint] = [false; 3];
        self.stale = false;
        if self.bits.take_bit() {
            other_time = true;
            if self.bits.take_bit() {
                other_time = self.bits.take_bit();
                other_start = self.bits.take_bit();
                other_hint = self.bits.take_bit();
                self.stale = self.bits.take_bit();
            }
        }
        let before = self.t;
        if other_time {
            let step = self.step.wrapping_add(self.bits.take_change());
            self.t = self.t.wrapping_add(step);
            self.step = i64::from(rhythm(step));
        } else {
            self.t = self.t.wrapping_add(self.step);
        }
        if other_start {
            self.start = if self.bits.take_bit() {
                self.t.wrapping_sub(unzigzag(self.bits.take_width()?))
            } else {
                before
            };
        }
        if other_hint {
            self.hint = hint(self.bits.take(2));
        }
        Ok(())
    }

    fn read_numbers(&mut self) -> Result<(), ChunkError> {
        let damaged = ChunkError::Damaged("window");
        self.sum.read(&mut self.bits).ok_or(damaged)?;
        match &mut self.numbers {
            Numbers::Whole(numbers) => {
                for number in numbers {
                    number.read(&mut self.bits);
                }
            }
            Numbers::Floats(numbers) => {
                for number in numbers {
                    number.read(&mut self.bits).ok_or(damaged)?;
                }
            }
        }
        Ok(())
    }

    /// The histogram as it came.
    fn histogram(&self) -> Histogram {
        match &self.numbers {
            Numbers::Whole(_) if self.stale => Histogram::Int(Box::new(IntHistogram {
                reset_hint: self.hint,
                sum: stale_nan(),
                ..IntHistogram::default()
            })),
            Numbers::Whole(numbers) => Histogram::Int(Box::new(self.int_histogram(numbers))),
            Numbers::Floats(_) => Histogram::Float(Box::new(self.float_histogram())),
        }
    }

    fn int_histogram(&self, numbers: &[Whole]) -> IntHistogram {
        let (positive, negative) = numbers[2..].split_at(self.layout.positive_len);
        IntHistogram {
            reset_hint: self.hint,
            schema: self.layout.schema,
            zero_threshold: f64::from_bits(self.layout.zero_threshold),
            zero_count: numbers[1].last as u64,
            count: count_of(numbers),
            sum: f64::from_bits(self.sum.last),
            positive_spans: self.layout.positive_spans.clone(),
            negative_spans: self.layout.negative_spans.clone(),
            positive_deltas: deltas(positive),
            negative_deltas: deltas(negative),
            custom_values: self.custom_values(),
        }
    }

    /// The histogram with float counts, whatever it came with.
    fn float_histogram(&self) -> FloatHistogram {
        if self.stale {
            return FloatHistogram {
                reset_hint: self.hint,
                sum: stale_nan(),
                ..FloatHistogram::default()
            };
        }
        let (count, zero_count, mut buckets) = match &self.numbers {
            Numbers::Whole(numbers) => (
                count_of(numbers) as f64,
                numbers[1].last as u64 as f64,
                numbers[2..]
                    .iter()
                    .map(|n| n.last as f64)
                    .collect::<Vec<_>>(),
            ),
            Numbers::Floats(numbers) => (
                f64::from_bits(numbers[0].last),
                f64::from_bits(numbers[1].last),
                numbers[2..]
                    .iter()
                    .map(|n| f64::from_bits(n.last))
                    .collect(),
            ),
        };
        let negative_buckets = buckets.split_off(self.layout.positive_len);
        FloatHistogram {
            reset_hint: self.hint,
            schema: self.layout.schema,
            zero_threshold: f64::from_bits(self.layout.zero_threshold),
            zero_count,
            count,
            sum: f64::from_bits(self.sum.last),
            positive_spans: self.layout.positive_spans.clone(),
            negative_spans: self.layout.negative_spans.clone(),
            positive_buckets: buckets,
            negative_buckets,
            custom_values: self.custom_values(),
        }
    }

    fn custom_values(&self) -> Vec<f64> {
        let bounds = self.layout.custom_values.iter();
        bounds.map(|bits| f64::from_bits(*bits)).collect()
    }
}

/// All observations: those in buckets, and those that are in none.
fn count_of(numbers: &[Whole]) -> u64 {
    numbers
        .iter()
        .fold(0, |sum: i64, n| sum.wrapping_add(n.last)) as u64
}

/// Absolute counts to differences.
fn deltas(buckets: &[Whole]) -> Vec<i64> {
    let mut before = 0;
    let delta = |bucket: &Whole| {
        let delta = bucket.last.wrapping_sub(before);
        before = bucket.last;
        delta
    };
    buckets.iter().map(delta).collect()
}

fn hint(bits: u64) -> ResetHint {
    match bits {
        0 => ResetHint::Unknown,
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        _ => ResetHint::Gauge,
    }
}
