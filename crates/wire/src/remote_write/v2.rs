//! `io.prometheus.write.v2.Request`: each distinct string once, series refer to them.

use super::decode::Fault;
use super::faults::RowFault;
use super::labels::{RawLabels, Symbol, SymbolTable, for_each_ref};
use super::protobuf::{Malformed, Reader, Wire, expect};
use super::rows::{Checks, Memory, Rows};
use super::{exemplar, histogram, metadata, v1};

/// Reads and hashes the symbols, wherever in the request they stand.
pub(super) fn read_symbols(
    body: &[u8],
    table: &mut SymbolTable<'_>,
    memory: &mut Memory,
) -> Result<(), Fault> {
    let mut request = Reader::new(body);
    while let Some((field, wire)) = request.field()? {
        if field != 4 {
            request.skip(wire)?;
            continue;
        }
        expect(field, wire, Wire::Bytes)?;
        let text = request.bytes()?;
        memory.take(size_of::<Symbol>())?;
        if table.is_empty() && !text.is_empty() {
            let shown = String::from_utf8_lossy(&text[..text.len().min(64)]);
            return Err(Fault::FirstSymbol(shown.into_owned()));
        }
        table.push(body.len() - request.rest.len() - text.len(), text);
    }
    Ok(())
}

/// Walks the series of a request whose symbols are known.
pub(super) fn walk_request<'a>(
    body: &'a [u8],
    table: &'a SymbolTable<'a>,
    rows: &mut Rows<'a, '_>,
) -> Result<(), Fault> {
    let mut request = Reader::new(body);
    while let Some((field, wire)) = request.field()? {
        if field == 5 {
            expect(field, wire, Wire::Bytes)?;
            walk_series(request.bytes()?, table, rows)?;
        } else {
            request.skip(wire)?;
        }
    }
    Ok(())
}

/// Where a series' references were seen.
#[derive(Clone, Copy)]
enum Refs<'a> {
    None,
    /// One packed list, as known senders write it.
    Packed(&'a [u8]),
    /// Unpacked or several lists: up to so many bytes into the series.
    Spread(usize),
}

fn walk_series<'a>(
    series: &'a [u8],
    table: &'a SymbolTable<'a>,
    rows: &mut Rows<'a, '_>,
) -> Result<(), Fault> {
    let mark = rows.mark();
    let mut refs = Refs::None;
    let mut start = 0;
    let mut described = metadata::Described::default();
    let (mut has_samples, mut has_histograms) = (false, false);
    let mut reader = Reader::new(series);
    while let Some((field, wire)) = reader.field()? {
        match field {
            1 => {
                refs = match (wire, refs) {
                    (Wire::Bytes, Refs::None) => Refs::Packed(reader.bytes()?),
                    (Wire::Bytes | Wire::Varint, _) => {
                        reader.skip(wire)?;
                        Refs::Spread(series.len() - reader.rest.len())
                    }
                    _ => return Err(Malformed::UnexpectedWireType(field).into()),
                };
            }
            2 => {
                expect(field, wire, Wire::Bytes)?;
                rows.sample(v1::sample(reader.bytes()?, true)?)?;
                has_samples = true;
            }
            3 => {
                expect(field, wire, Wire::Bytes)?;
                let histogram = histogram::read(reader.bytes()?, &mut rows.memory)?;
                rows.histogram(histogram)?;
                has_histograms = true;
            }
            4 => {
                expect(field, wire, Wire::Bytes)?;
                exemplar::read_v2(reader.bytes()?, table, rows)?;
            }
            5 => {
                expect(field, wire, Wire::Bytes)?;
                described.merge(reader.bytes()?)?;
            }
            // The start of all samples, as the drafts of 2.0 had it; later each got its own.
            6 => {
                expect(field, wire, Wire::Varint)?;
                start = reader.varint()? as i64;
            }
            _ => reader.skip(wire)?,
        }
    }
    if start != 0 {
        rows.start_at(mark, start);
    }
    let mut checks = Checks::default();
    let (labels, mut fault, name) = match refs {
        Refs::None => (
            RawLabels::V2 {
                refs: &[],
                symbols: table,
            },
            None,
            None,
        ),
        Refs::Packed(refs) => {
            let (fault, name) = check_refs(refs, table, &mut checks)?;
            (
                RawLabels::V2 {
                    refs,
                    symbols: table,
                },
                fault,
                name,
            )
        }
        Refs::Spread(end) => {
            let series = &series[..end];
            let (fault, name) = check_spread_refs(series, table, &mut checks)?;
            (
                RawLabels::V2Spread {
                    series,
                    symbols: table,
                },
                fault,
                name,
            )
        }
    };
    if has_samples && has_histograms {
        fault = fault.or(Some(RowFault::SamplesAndHistograms));
    }
    if let (None, Some(name)) = (fault, name) {
        metadata::push_v2(name, described, table, rows)?;
    }
    rows.end(mark, labels, checks, fault)
}

/// What is wrong with the references, and the reference of the metric's name.
type Checked = (Option<RowFault>, Option<u32>);

fn check_refs<'a>(
    packed: &'a [u8],
    table: &'a SymbolTable<'a>,
    checks: &mut Checks<'a>,
) -> Result<Checked, Malformed> {
    let mut metric = None;
    let mut refs = Reader::new(packed);
    while !refs.is_empty() {
        let name = refs.varint()? as u32;
        if refs.is_empty() {
            return Ok((Some(RowFault::OddReferences), None));
        }
        let value = refs.varint()? as u32;
        if let Err(fault) = check_pair(name, value, table, checks, &mut metric) {
            // The rest is walked for its form alone.
            while !refs.is_empty() {
                refs.varint()?;
            }
            return Ok((Some(fault), None));
        }
    }
    Ok((None, metric))
}

fn check_spread_refs<'a>(
    series: &'a [u8],
    table: &'a SymbolTable<'a>,
    checks: &mut Checks<'a>,
) -> Result<Checked, Malformed> {
    let (mut name, mut fault, mut metric) = (None, None, None);
    for_each_ref(series, &mut |at| match name.take() {
        None => name = Some(at),
        Some(name) if fault.is_none() => {
            fault = check_pair(name, at, table, checks, &mut metric).err();
        }
        Some(_) => {}
    })?;
    if name.is_some() {
        fault = fault.or(Some(RowFault::OddReferences));
    }
    Ok((fault, metric))
}

#[inline(always)]
fn check_pair<'a>(
    name: u32,
    value: u32,
    table: &'a SymbolTable<'a>,
    checks: &mut Checks<'a>,
    metric: &mut Option<u32>,
) -> Result<(), RowFault> {
    let out_of_range = |reference| RowFault::SymbolOutOfRange {
        reference,
        symbols: table.len(),
    };
    let symbol = |at: u32| table.symbols.get(at as usize).ok_or(out_of_range(at));
    let (n, v) = (symbol(name)?, symbol(value)?);
    let text = table.text_of(n);
    checks.hashed_label((text, n.prefix, n.hash), (v.len as usize, v.hash));
    if text == b"__name__" {
        *metric = Some(value);
    }
    Ok(())
}
