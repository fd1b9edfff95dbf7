//! `prometheus.WriteRequest`: labels inline in each series.

use model::sample::Sample;

use super::decode::Fault;
use super::histogram;
use super::labels::{self, RawLabels};
use super::metadata;
use super::protobuf::{Malformed, Reader, Wire, expect};
use super::rows::{Checks, Rows};

/// Walks a whole request.
pub(super) fn walk_request<'a>(body: &'a [u8], rows: &mut Rows<'a, '_>) -> Result<(), Fault> {
    let mut request = Reader::new(body);
    while let Some((field, wire)) = request.field()? {
        match field {
            1 => {
                expect(field, wire, Wire::Bytes)?;
                walk_series(request.bytes()?, rows)?;
            }
            3 => {
                expect(field, wire, Wire::Bytes)?;
                metadata::read_v1(request.bytes()?, rows)?;
            }
            _ => request.skip(wire)?,
        }
    }
    Ok(())
}

fn walk_series<'a>(series: &'a [u8], rows: &mut Rows<'a, '_>) -> Result<(), Fault> {
    let mark = rows.mark();
    let mut checks = Checks::default();
    let mut labels_end = 0;
    let mut reader = Reader::new(series);
    while let Some((field, wire)) = reader.field()? {
        match field {
            1 => {
                expect(field, wire, Wire::Bytes)?;
                let (name, value) = label(reader.bytes()?)?;
                checks.label(name, value);
                labels_end = series.len() - reader.rest.len();
            }
            2 => {
                expect(field, wire, Wire::Bytes)?;
                rows.sample(sample(reader.bytes()?, false)?)?;
            }
            3 => {
                expect(field, wire, Wire::Bytes)?;
                super::exemplar::read_v1(reader.bytes()?, rows)?;
            }
            4 => {
                expect(field, wire, Wire::Bytes)?;
                let histogram =
                    histogram::read(reader.bytes()?, rows.histogram_bounds, &mut rows.memory)?;
                rows.histogram(histogram)?;
            }
            _ => reader.skip(wire)?,
        }
    }
    rows.end(mark, RawLabels::V1(&series[..labels_end]), checks, None)
}

/// A `Label`; as every sender writes short ones, else field by field.
#[inline(always)]
fn label(label: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    if let [0x0a, name_len @ 0..0x80, rest @ ..] = label
        && let Some((name, value)) = rest.split_at_checked(usize::from(*name_len))
        && let [0x12, value_len @ 0..0x80, value @ ..] = value
        && value.len() == usize::from(*value_len)
    {
        return Ok((name, value));
    }
    labels::pair(label)
}

/// A `Sample` of either version. What is the start in 2.0 is an unknown field in 1.0.
#[inline(always)]
pub(super) fn sample(message: &[u8], has_start: bool) -> Result<Sample, Malformed> {
    // As every sender writes it: the value, then the time.
    if let [0x09, rest @ ..] = message
        && let Some((value, [0x10, time @ ..])) = rest.split_first_chunk()
    {
        let mut time = Reader::new(time);
        let t = time.varint()? as i64;
        if time.is_empty() {
            let v = f64::from_bits(u64::from_le_bytes(*value));
            return Ok(Sample { t, v, start: 0 });
        }
    }
    any_sample(message, has_start)
}

#[inline(never)]
fn any_sample(message: &[u8], has_start: bool) -> Result<Sample, Malformed> {
    let mut sample = Sample::default();
    let mut reader = Reader::new(message);
    while let Some((field, wire)) = reader.field()? {
        match field {
            1 => {
                expect(field, wire, Wire::Fixed64)?;
                sample.v = f64::from_bits(reader.fixed64()?);
            }
            2 => {
                expect(field, wire, Wire::Varint)?;
                sample.t = reader.varint()? as i64;
            }
            3 if has_start => {
                expect(field, wire, Wire::Varint)?;
                sample.start = reader.varint()? as i64;
            }
            _ => reader.skip(wire)?,
        }
    }
    Ok(sample)
}
