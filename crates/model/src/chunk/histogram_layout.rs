//! What all histograms of one chunk share: where their buckets lie. Written once, in its header.

use super::bits::{BitReader, BitWriter, unzigzag, zigzag};
use super::{ChunkError, ChunkKind};
use crate::histogram::{Histogram, Span};

/// Buckets in all samples of a chunk together that a reader is willing to unfold: what 120
/// histograms of the most buckets that are accepted have, so that a few damaged bytes cannot
/// fill the memory.
pub(super) const UNFOLDED_MAX: usize = 1 << 24;

/// The layout of a histogram's buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) schema: i32,
    pub(super) zero_threshold: u64,
    pub(super) positive_spans: Vec<Span>,
    pub(super) negative_spans: Vec<Span>,
    pub(super) positive_len: usize,
    pub(super) negative_len: usize,
    /// As bits, so that equal means equal.
    pub(super) custom_values: Vec<u64>,
}

/// The parts of a histogram of either kind that make its layout.
struct Parts<'a> {
    schema: i32,
    zero_threshold: f64,
    positive_spans: &'a [Span],
    negative_spans: &'a [Span],
    positive_len: usize,
    negative_len: usize,
    custom_values: &'a [f64],
}

impl<'a> Parts<'a> {
    fn of(histogram: &'a Histogram) -> Self {
        match histogram {
            Histogram::Int(int) => Self {
                schema: int.schema,
                zero_threshold: int.zero_threshold,
                positive_spans: &int.positive_spans,
                negative_spans: &int.negative_spans,
                positive_len: int.positive_deltas.len(),
                negative_len: int.negative_deltas.len(),
                custom_values: &int.custom_values,
            },
            Histogram::Float(float) => Self {
                schema: float.schema,
                zero_threshold: float.zero_threshold,
                positive_spans: &float.positive_spans,
                negative_spans: &float.negative_spans,
                positive_len: float.positive_buckets.len(),
                negative_len: float.negative_buckets.len(),
                custom_values: &float.custom_values,
            },
        }
    }
}

/// The kind of chunk that a histogram goes into.
pub(super) fn kind_of(histogram: &Histogram) -> ChunkKind {
    match histogram {
        Histogram::Int(_) => ChunkKind::IntHistogram,
        Histogram::Float(_) => ChunkKind::FloatHistogram,
    }
}

impl Layout {
    pub(super) fn of(histogram: &Histogram) -> Self {
        let parts = Parts::of(histogram);
        Self {
            schema: parts.schema,
            zero_threshold: parts.zero_threshold.to_bits(),
            positive_spans: parts.positive_spans.to_vec(),
            negative_spans: parts.negative_spans.to_vec(),
            positive_len: parts.positive_len,
            negative_len: parts.negative_len,
            custom_values: parts.custom_values.iter().map(|v| v.to_bits()).collect(),
        }
    }

    /// Whether a histogram has this layout. Allocates nothing.
    pub(super) fn fits(&self, histogram: &Histogram) -> bool {
        let parts = Parts::of(histogram);
        let custom = parts.custom_values.iter().map(|v| v.to_bits());
        self.schema == parts.schema
            && self.zero_threshold == parts.zero_threshold.to_bits()
            && self.positive_len == parts.positive_len
            && self.negative_len == parts.negative_len
            && self.positive_spans == parts.positive_spans
            && self.negative_spans == parts.negative_spans
            && self.custom_values.iter().copied().eq(custom)
    }

    /// The buckets of both signs.
    pub(super) fn buckets(&self) -> usize {
        self.positive_len + self.negative_len
    }

    pub(super) fn write(&self, bits: &mut BitWriter) {
        bits.put_width(zigzag(i64::from(self.schema)));
        bits.put(self.zero_threshold, 64);
        for (spans, len) in [
            (&self.positive_spans, self.positive_len),
            (&self.negative_spans, self.negative_len),
        ] {
            bits.put_width(len as u64);
            bits.put_width(spans.len() as u64);
            for span in spans {
                bits.put_width(zigzag(i64::from(span.offset)));
                bits.put_width(u64::from(span.length));
            }
        }
        bits.put_width(self.custom_values.len() as u64);
        for bound in &self.custom_values {
            bits.put(*bound, 64);
        }
    }

    pub(super) fn read(bits: &mut BitReader<'_>) -> Result<Self, ChunkError> {
        let schema = take_i32(bits)?;
        let zero_threshold = bits.take_wide(64);
        let (positive_len, positive_spans) = read_side(bits)?;
        let (negative_len, negative_spans) = read_side(bits)?;
        let custom = bits.take_width()?;
        let custom = bounded(custom, bits.left() / 64)?;
        let custom_values = (0..custom).map(|_| bits.take_wide(64)).collect();
        let layout = Self {
            schema,
            zero_threshold,
            positive_spans,
            negative_spans,
            positive_len,
            negative_len,
            custom_values,
        };
        // Each bucket of the first sample takes a bit at least.
        bounded(layout.buckets() as u64, bits.left())?;
        Ok(layout)
    }
}

fn read_side(bits: &mut BitReader<'_>) -> Result<(usize, Vec<Span>), ChunkError> {
    let len = bits.take_width()?;
    let len = bounded(len, bits.left())?;
    let spans = bits.take_width()?;
    // The two widths of a span alone are 14 bits.
    let spans = bounded(spans, bits.left() / 14)?;
    let span = |_| {
        let offset = take_i32(bits)?;
        let length = u32::try_from(bits.take_width()?).map_err(|_| ChunkError::Damaged("span"))?;
        Ok(Span { offset, length })
    };
    Ok((
        len,
        (0..spans).map(span).collect::<Result<_, ChunkError>>()?,
    ))
}

fn take_i32(bits: &mut BitReader<'_>) -> Result<i32, ChunkError> {
    i32::try_from(unzigzag(bits.take_width()?)).map_err(|_| ChunkError::Damaged("layout"))
}

/// A number of things, if there may be as many.
fn bounded(number: u64, most: usize) -> Result<usize, ChunkError> {
    match usize::try_from(number) {
        Ok(number) if number <= most => Ok(number),
        _ => Err(ChunkError::Truncated),
    }
}
