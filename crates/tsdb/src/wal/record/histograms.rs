//! Native histograms of a record, one after the other. One with the same buckets as the one
//! before leaves them out.

use model::histogram::{FloatHistogram, Histogram, IntHistogram, ResetHint, Span};

use super::RecordError;
use super::cursor::{Cursor, put_varint, zigzag};

const IS_FLOAT: u8 = 1;
const SAME_LAYOUT: u8 = 2;
const HINT_SHIFT: u32 = 2;
const HINTS: [ResetHint; 4] = [
    ResetHint::Unknown,
    ResetHint::Reset,
    ResetHint::NotReset,
    ResetHint::Gauge,
];

/// Where the buckets of a histogram are.
#[derive(Clone, Default)]
struct Layout {
    schema: i32,
    zero_threshold: f64,
    positive: Vec<Span>,
    negative: Vec<Span>,
    custom: Vec<f64>,
}

impl Layout {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, zigzag(i64::from(self.schema)));
        put_float(out, self.zero_threshold);
        for spans in [&self.positive, &self.negative] {
            put_varint(out, spans.len() as u64);
            for span in spans {
                put_varint(out, zigzag(i64::from(span.offset)));
                put_varint(out, u64::from(span.length));
            }
        }
        put_floats(out, &self.custom);
    }

    fn decode(cursor: &mut Cursor<'_>) -> Result<Self, RecordError> {
        let schema = cursor.signed()?;
        Ok(Self {
            schema: i32::try_from(schema).map_err(|_| RecordError("schema"))?,
            zero_threshold: cursor.float()?,
            positive: decode_spans(cursor)?,
            negative: decode_spans(cursor)?,
            custom: decode_floats(cursor)?,
        })
    }

    /// Whether the bytes would be the same; floats are compared by their bits.
    fn is(&self, other: LayoutRef<'_>) -> bool {
        let bits = |floats: &[f64]| -> Vec<u64> { floats.iter().map(|v| v.to_bits()).collect() };
        self.schema == other.schema
            && self.zero_threshold.to_bits() == other.zero_threshold.to_bits()
            && self.positive == other.positive
            && self.negative == other.negative
            && self.custom.len() == other.custom.len()
            && bits(&self.custom) == bits(other.custom)
    }

    fn set(&mut self, other: LayoutRef<'_>) {
        self.schema = other.schema;
        self.zero_threshold = other.zero_threshold;
        self.positive.clear();
        self.positive.extend_from_slice(other.positive);
        self.negative.clear();
        self.negative.extend_from_slice(other.negative);
        self.custom.clear();
        self.custom.extend_from_slice(other.custom);
    }
}

#[derive(Clone, Copy)]
struct LayoutRef<'a> {
    schema: i32,
    zero_threshold: f64,
    positive: &'a [Span],
    negative: &'a [Span],
    custom: &'a [f64],
}

impl<'a> LayoutRef<'a> {
    fn of(histogram: &'a Histogram) -> Self {
        match histogram {
            Histogram::Int(h) => Self {
                schema: h.schema,
                zero_threshold: h.zero_threshold,
                positive: &h.positive_spans,
                negative: &h.negative_spans,
                custom: &h.custom_values,
            },
            Histogram::Float(h) => Self {
                schema: h.schema,
                zero_threshold: h.zero_threshold,
                positive: &h.positive_spans,
                negative: &h.negative_spans,
                custom: &h.custom_values,
            },
        }
    }
}

/// Collects histograms.
#[derive(Default)]
pub(super) struct HistogramEncoder {
    out: Vec<u8>,
    layout: Layout,
}

impl HistogramEncoder {
    pub(super) fn clear(&mut self) {
        self.out.clear();
    }

    /// Memory that is held, but for the little of one layout, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.out.capacity()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.out
    }

    pub(super) fn push(&mut self, histogram: &Histogram) {
        let layout = LayoutRef::of(histogram);
        let same = !self.out.is_empty() && self.layout.is(layout);
        let (float, hint) = match histogram {
            Histogram::Int(h) => (0, h.reset_hint),
            Histogram::Float(h) => (IS_FLOAT, h.reset_hint),
        };
        let hint = HINTS.iter().position(|known| *known == hint).unwrap_or(0) as u8;
        let same_flag = if same { SAME_LAYOUT } else { 0 };
        self.out.push(float | same_flag | hint << HINT_SHIFT);
        if !same {
            self.layout.set(layout);
            self.layout.encode(&mut self.out);
        }
        match histogram {
            Histogram::Int(histogram) => put_int(&mut self.out, histogram),
            Histogram::Float(histogram) => put_float_histogram(&mut self.out, histogram),
        }
    }
}

fn put_int(out: &mut Vec<u8>, histogram: &IntHistogram) {
    put_varint(out, histogram.zero_count);
    put_varint(out, histogram.count);
    put_float(out, histogram.sum);
    for deltas in [&histogram.positive_deltas, &histogram.negative_deltas] {
        put_varint(out, deltas.len() as u64);
        for delta in deltas {
            put_varint(out, zigzag(*delta));
        }
    }
}

fn put_float_histogram(out: &mut Vec<u8>, histogram: &FloatHistogram) {
    put_float(out, histogram.zero_count);
    put_float(out, histogram.count);
    put_float(out, histogram.sum);
    put_floats(out, &histogram.positive_buckets);
    put_floats(out, &histogram.negative_buckets);
}

fn put_float(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

fn put_floats(out: &mut Vec<u8>, values: &[f64]) {
    put_varint(out, values.len() as u64);
    for value in values {
        put_float(out, *value);
    }
}

/// Reads histograms.
#[derive(Default)]
pub(super) struct HistogramDecoder {
    layout: Option<Layout>,
}

impl HistogramDecoder {
    pub(super) fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<Histogram, RecordError> {
        let flags = cursor.byte()?;
        let hint = HINTS.get(usize::from(flags >> HINT_SHIFT));
        let reset_hint = *hint.ok_or(RecordError("histogram flags"))?;
        if flags & SAME_LAYOUT == 0 {
            self.layout = Some(Layout::decode(cursor)?);
        }
        let layout = self.layout.clone().ok_or(RecordError("histogram layout"))?;
        if flags & IS_FLOAT == 0 {
            let histogram = decode_int(cursor, layout, reset_hint)?;
            Ok(Histogram::Int(Box::new(histogram)))
        } else {
            let histogram = decode_float(cursor, layout, reset_hint)?;
            Ok(Histogram::Float(Box::new(histogram)))
        }
    }
}

fn decode_int(
    cursor: &mut Cursor<'_>,
    layout: Layout,
    reset_hint: ResetHint,
) -> Result<IntHistogram, RecordError> {
    Ok(IntHistogram {
        reset_hint,
        schema: layout.schema,
        zero_threshold: layout.zero_threshold,
        zero_count: cursor.varint()?,
        count: cursor.varint()?,
        sum: cursor.float()?,
        positive_spans: layout.positive,
        negative_spans: layout.negative,
        positive_deltas: decode_deltas(cursor)?,
        negative_deltas: decode_deltas(cursor)?,
        custom_values: layout.custom,
    })
}

fn decode_float(
    cursor: &mut Cursor<'_>,
    layout: Layout,
    reset_hint: ResetHint,
) -> Result<FloatHistogram, RecordError> {
    Ok(FloatHistogram {
        reset_hint,
        schema: layout.schema,
        zero_threshold: layout.zero_threshold,
        zero_count: cursor.float()?,
        count: cursor.float()?,
        sum: cursor.float()?,
        positive_spans: layout.positive,
        negative_spans: layout.negative,
        positive_buckets: decode_floats(cursor)?,
        negative_buckets: decode_floats(cursor)?,
        custom_values: layout.custom,
    })
}

fn decode_spans(cursor: &mut Cursor<'_>) -> Result<Vec<Span>, RecordError> {
    let count = cursor.count(2)?;
    let mut spans = Vec::with_capacity(count);
    for _ in 0..count {
        let offset = i32::try_from(cursor.signed()?).map_err(|_| RecordError("span"))?;
        let length = u32::try_from(cursor.varint()?).map_err(|_| RecordError("span"))?;
        spans.push(Span { offset, length });
    }
    Ok(spans)
}

fn decode_deltas(cursor: &mut Cursor<'_>) -> Result<Vec<i64>, RecordError> {
    let count = cursor.count(1)?;
    (0..count).map(|_| cursor.signed()).collect()
}

fn decode_floats(cursor: &mut Cursor<'_>) -> Result<Vec<f64>, RecordError> {
    let count = cursor.count(8)?;
    (0..count).map(|_| cursor.float()).collect()
}
