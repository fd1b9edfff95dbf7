//! Native histograms: one message in both versions, but for the start that only 2.0 has.

use model::histogram::{FloatHistogram, Histogram, HistogramSample, IntHistogram, ResetHint, Span};
use model::is_stale;
use model::validate::HistogramBounds;

use super::decode::Fault;
use super::protobuf::{Malformed, Reader, Wire, expect, zigzag};
use super::rows::Memory;

/// The fields of a message as they come, of both kinds of histogram.
#[derive(Default)]
struct Fields {
    t: i64,
    start: i64,
    count: Count,
    zero_count: Count,
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    reset_hint: ResetHint,
    positive_spans: Vec<Span>,
    positive_deltas: Vec<i64>,
    positive_counts: Vec<f64>,
    negative_spans: Vec<Span>,
    negative_deltas: Vec<i64>,
    negative_counts: Vec<f64>,
    custom_values: Vec<f64>,
}

/// A count of either kind, of which the last given stays.
#[derive(Clone, Copy)]
enum Count {
    Int(u64),
    Float(f64),
}

impl Default for Count {
    fn default() -> Self {
        Self::Int(0)
    }
}

/// What a histogram may still take: of the request's memory, and of parts of each kind.
struct Room<'m> {
    bounds: HistogramBounds,
    memory: &'m mut Memory,
}

impl Room<'_> {
    /// Adds an item where there are `most` at most. One more is kept, so that the check of the
    /// histogram sees that there are too many; those after it take no memory.
    fn push<T>(&mut self, items: &mut Vec<T>, item: T, most: usize) -> Result<(), Fault> {
        if items.len() <= most {
            self.memory.take(size_of::<T>())?;
            items.push(item);
        }
        Ok(())
    }
}

/// Reads a `Histogram` message. What its buckets take is taken from `memory`, and of each kind of
/// part at most one more is kept than `bounds` allow. Of a stale marker, only the times and the
/// hint stay.
pub(super) fn read(
    message: &[u8],
    bounds: HistogramBounds,
    memory: &mut Memory,
) -> Result<HistogramSample, Fault> {
    let mut fields = Fields::default();
    let room = &mut Room { bounds, memory };
    let mut reader = Reader::new(message);
    while let Some((field, wire)) = reader.field()? {
        let reader = &mut reader;
        match field {
            1 => fields.count = Count::Int(varint(field, wire, reader)?),
            2 => fields.count = Count::Float(double(field, wire, reader)?),
            3 => fields.sum = double(field, wire, reader)?,
            4 => fields.schema = signed(varint(field, wire, reader)?),
            5 => fields.zero_threshold = double(field, wire, reader)?,
            6 => fields.zero_count = Count::Int(varint(field, wire, reader)?),
            7 => fields.zero_count = Count::Float(double(field, wire, reader)?),
            8 => span(field, wire, reader, &mut fields.negative_spans, room)?,
            9 => deltas(field, wire, reader, &mut fields.negative_deltas, room)?,
            10 => counts(field, wire, reader, &mut fields.negative_counts, room)?,
            11 => span(field, wire, reader, &mut fields.positive_spans, room)?,
            12 => deltas(field, wire, reader, &mut fields.positive_deltas, room)?,
            13 => counts(field, wire, reader, &mut fields.positive_counts, room)?,
            14 => fields.reset_hint = reset_hint(varint(field, wire, reader)?),
            15 => fields.t = varint(field, wire, reader)? as i64,
            16 => {
                let most = bounds.custom_values;
                doubles(field, wire, reader, &mut fields.custom_values, most, room)?;
            }
            17 => fields.start = varint(field, wire, reader)? as i64,
            _ => reader.skip(wire)?,
        }
    }
    if is_stale(fields.sum) {
        fields.strip();
    }
    Ok(fields.build())
}

impl Fields {
    /// Leaves nothing but the times, the hint, the kind and the sum.
    fn strip(&mut self) {
        *self = Self {
            t: self.t,
            start: self.start,
            sum: self.sum,
            reset_hint: self.reset_hint,
            count: match self.count {
                Count::Int(_) => Count::Int(0),
                Count::Float(_) => Count::Float(0.0),
            },
            ..Self::default()
        };
    }

    /// The kind of the count is the kind of the histogram; buckets of the other kind are void.
    fn build(self) -> HistogramSample {
        let histogram = match self.count {
            Count::Int(count) => Histogram::Int(Box::new(IntHistogram {
                reset_hint: self.reset_hint,
                schema: self.schema,
                zero_threshold: self.zero_threshold,
                zero_count: match self.zero_count {
                    Count::Int(count) => count,
                    Count::Float(_) => 0,
                },
                count,
                sum: self.sum,
                positive_spans: self.positive_spans,
                negative_spans: self.negative_spans,
                positive_deltas: self.positive_deltas,
                negative_deltas: self.negative_deltas,
                custom_values: self.custom_values,
            })),
            Count::Float(count) => Histogram::Float(Box::new(FloatHistogram {
                reset_hint: self.reset_hint,
                schema: self.schema,
                zero_threshold: self.zero_threshold,
                zero_count: match self.zero_count {
                    Count::Int(_) => 0.0,
                    Count::Float(count) => count,
                },
                count,
                sum: self.sum,
                positive_spans: self.positive_spans,
                negative_spans: self.negative_spans,
                positive_buckets: self.positive_counts,
                negative_buckets: self.negative_counts,
                custom_values: self.custom_values,
            })),
        };
        HistogramSample {
            t: self.t,
            start: self.start,
            histogram,
        }
    }
}

fn reset_hint(number: u64) -> ResetHint {
    match number {
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    }
}

fn varint(field: u32, wire: Wire, reader: &mut Reader<'_>) -> Result<u64, Malformed> {
    expect(field, wire, Wire::Varint)?;
    reader.varint()
}

fn double(field: u32, wire: Wire, reader: &mut Reader<'_>) -> Result<f64, Malformed> {
    expect(field, wire, Wire::Fixed64)?;
    Ok(f64::from_bits(reader.fixed64()?))
}

/// A `sint32`, of which the low 32 bits count.
fn signed(value: u64) -> i32 {
    zigzag(u64::from(value as u32)) as i32
}

fn span(
    field: u32,
    wire: Wire,
    reader: &mut Reader<'_>,
    spans: &mut Vec<Span>,
    room: &mut Room<'_>,
) -> Result<(), Fault> {
    expect(field, wire, Wire::Bytes)?;
    let mut message = Reader::new(reader.bytes()?);
    let mut span = Span {
        offset: 0,
        length: 0,
    };
    while let Some((field, wire)) = message.field()? {
        match field {
            1 => span.offset = signed(varint(field, wire, &mut message)?),
            2 => span.length = varint(field, wire, &mut message)? as u32,
            _ => message.skip(wire)?,
        }
    }
    room.push(spans, span, room.bounds.spans)
}

fn deltas(
    field: u32,
    wire: Wire,
    reader: &mut Reader<'_>,
    deltas: &mut Vec<i64>,
    room: &mut Room<'_>,
) -> Result<(), Fault> {
    let most = room.bounds.buckets;
    if wire == Wire::Varint {
        return room.push(deltas, zigzag(reader.varint()?), most);
    }
    expect(field, wire, Wire::Bytes)?;
    let mut packed = Reader::new(reader.bytes()?);
    while !packed.is_empty() {
        room.push(deltas, zigzag(packed.varint()?), most)?;
    }
    Ok(())
}

fn counts(
    field: u32,
    wire: Wire,
    reader: &mut Reader<'_>,
    counts: &mut Vec<f64>,
    room: &mut Room<'_>,
) -> Result<(), Fault> {
    doubles(field, wire, reader, counts, room.bounds.buckets, room)
}

fn doubles(
    field: u32,
    wire: Wire,
    reader: &mut Reader<'_>,
    values: &mut Vec<f64>,
    most: usize,
    room: &mut Room<'_>,
) -> Result<(), Fault> {
    if wire == Wire::Fixed64 {
        return room.push(values, f64::from_bits(reader.fixed64()?), most);
    }
    expect(field, wire, Wire::Bytes)?;
    let mut packed = Reader::new(reader.bytes()?);
    while !packed.is_empty() {
        room.push(values, f64::from_bits(packed.fixed64()?), most)?;
    }
    Ok(())
}
