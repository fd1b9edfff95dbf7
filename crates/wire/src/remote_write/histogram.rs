//! Native histograms: one message in both versions, but for the start that only 2.0 has.

use model::histogram::{FloatHistogram, Histogram, HistogramSample, IntHistogram, ResetHint, Span};

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

/// Reads a `Histogram` message. What its buckets take is taken from `memory`.
pub(super) fn read(message: &[u8], memory: &mut Memory) -> Result<HistogramSample, Fault> {
    let mut fields = Fields::default();
    let mut reader = Reader::new(message);
    while let Some((field, wire)) = reader.field()? {
        match field {
            1 => fields.count = Count::Int(varint(field, wire, &mut reader)?),
            2 => fields.count = Count::Float(double(field, wire, &mut reader)?),
            3 => fields.sum = double(field, wire, &mut reader)?,
            4 => fields.schema = signed(varint(field, wire, &mut reader)?),
            5 => fields.zero_threshold = double(field, wire, &mut reader)?,
            6 => fields.zero_count = Count::Int(varint(field, wire, &mut reader)?),
            7 => fields.zero_count = Count::Float(double(field, wire, &mut reader)?),
            8 => span(field, wire, &mut reader, &mut fields.negative_spans, memory)?,
            9 => deltas(
                field,
                wire,
                &mut reader,
                &mut fields.negative_deltas,
                memory,
            )?,
            10 => doubles(
                field,
                wire,
                &mut reader,
                &mut fields.negative_counts,
                memory,
            )?,
            11 => span(field, wire, &mut reader, &mut fields.positive_spans, memory)?,
            12 => deltas(
                field,
                wire,
                &mut reader,
                &mut fields.positive_deltas,
                memory,
            )?,
            13 => doubles(
                field,
                wire,
                &mut reader,
                &mut fields.positive_counts,
                memory,
            )?,
            14 => fields.reset_hint = reset_hint(varint(field, wire, &mut reader)?),
            15 => fields.t = varint(field, wire, &mut reader)? as i64,
            16 => doubles(field, wire, &mut reader, &mut fields.custom_values, memory)?,
            17 => fields.start = varint(field, wire, &mut reader)? as i64,
            _ => reader.skip(wire)?,
        }
    }
    Ok(fields.build())
}

impl Fields {
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
    memory: &mut Memory,
) -> Result<(), Fault> {
    expect(field, wire, Wire::Bytes)?;
    memory.take(size_of::<Span>())?;
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
    spans.push(span);
    Ok(())
}

fn deltas(
    field: u32,
    wire: Wire,
    reader: &mut Reader<'_>,
    deltas: &mut Vec<i64>,
    memory: &mut Memory,
) -> Result<(), Fault> {
    if wire == Wire::Varint {
        memory.take(size_of::<i64>())?;
        deltas.push(zigzag(reader.varint()?));
        return Ok(());
    }
    expect(field, wire, Wire::Bytes)?;
    let mut packed = Reader::new(reader.bytes()?);
    while !packed.is_empty() {
        memory.take(size_of::<i64>())?;
        deltas.push(zigzag(packed.varint()?));
    }
    Ok(())
}

fn doubles(
    field: u32,
    wire: Wire,
    reader: &mut Reader<'_>,
    values: &mut Vec<f64>,
    memory: &mut Memory,
) -> Result<(), Fault> {
    if wire == Wire::Fixed64 {
        memory.take(size_of::<f64>())?;
        values.push(f64::from_bits(reader.fixed64()?));
        return Ok(());
    }
    expect(field, wire, Wire::Bytes)?;
    let mut packed = Reader::new(reader.bytes()?);
    while !packed.is_empty() {
        memory.take(size_of::<f64>())?;
        values.push(f64::from_bits(packed.fixed64()?));
    }
    Ok(())
}
