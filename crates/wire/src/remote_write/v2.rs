//! `io.prometheus.write.v2.Request`: each distinct string once, series refer to them.

use model::fingerprint::FingerprintHasher;

use super::decode::Fault;
use super::faults::RowFault;
use super::labels::{RawLabels, Symbol, SymbolTable, for_each_ref};
use super::protobuf::{Malformed, Reader, Wire, expect};
use super::rows::{Checks, METRIC_NAME_PREFIX, Memory, Rows};
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
                let histogram =
                    histogram::read(reader.bytes()?, rows.histogram_bounds, &mut rows.memory)?;
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
    let mut pairs = Pairs::new(table);
    let mut refs = Reader::new(packed);
    while !refs.is_empty() {
        let name = refs.varint()? as u32;
        if refs.is_empty() {
            return Ok((Some(RowFault::OddReferences), None));
        }
        let value = refs.varint()? as u32;
        if !pairs.push(name, value) {
            // The rest is walked for its form alone.
            while !refs.is_empty() {
                refs.varint()?;
            }
            return Ok((Some(out_of_range(name, value, table)), None));
        }
    }
    Ok((None, pairs.finish(checks)))
}

fn check_spread_refs<'a>(
    series: &'a [u8],
    table: &'a SymbolTable<'a>,
    checks: &mut Checks<'a>,
) -> Result<Checked, Malformed> {
    let (mut name, mut fault) = (None, None);
    let mut pairs = Pairs::new(table);
    for_each_ref(series, &mut |at| match name.take() {
        None => name = Some(at),
        Some(name) => {
            if fault.is_none() && !pairs.push(name, at) {
                fault = Some(out_of_range(name, at, table));
            }
        }
    })?;
    if name.is_some() {
        fault = fault.or(Some(RowFault::OddReferences));
    }
    let metric = pairs.finish(checks);
    Ok((fault, metric.filter(|_| fault.is_none())))
}

#[cold]
fn out_of_range(name: u32, value: u32, table: &SymbolTable<'_>) -> RowFault {
    let symbols = table.len();
    let reference = if name as usize >= symbols {
        name
    } else {
        value
    };
    RowFault::SymbolOutOfRange { reference, symbols }
}

/// What is gathered of one series' references. All fits in registers: texts are only looked at
/// where two names begin with the same eight bytes.
struct Pairs<'a> {
    table: &'a SymbolTable<'a>,
    hasher: FingerprintHasher,
    count: u32,
    longest_name: u32,
    longest_value: u32,
    last: u32,
    last_prefix: u64,
    metric: u32,
    disordered: bool,
    empty_name: bool,
}

/// No symbol: there never are so many.
const NONE: u32 = u32::MAX;

impl<'a> Pairs<'a> {
    #[inline(always)]
    fn new(table: &'a SymbolTable<'a>) -> Self {
        Self {
            table,
            hasher: FingerprintHasher::default(),
            count: 0,
            longest_name: 0,
            longest_value: 0,
            // The first symbol, which is empty, comes before any name.
            last: 0,
            last_prefix: 0,
            metric: NONE,
            disordered: false,
            empty_name: false,
        }
    }

    /// Adds a label; false where a reference means no symbol.
    #[inline(always)]
    fn push(&mut self, name: u32, value: u32) -> bool {
        let symbols = self.table.symbols.as_slice();
        let (Some(n), Some(v)) = (symbols.get(name as usize), symbols.get(value as usize)) else {
            return false;
        };
        if n.prefix <= self.last_prefix {
            self.disordered |= self.is_disordered(n.prefix, name);
        }
        self.last = name;
        self.last_prefix = n.prefix;
        self.empty_name |= n.len == 0;
        self.longest_name = self.longest_name.max(n.len);
        // An empty value means 'no such label'.
        if v.len > 0 {
            self.hasher.push(n.hash);
            self.hasher.push(v.hash);
            self.longest_value = self.longest_value.max(v.len);
            self.count += 1;
            if n.prefix == METRIC_NAME_PREFIX && n.len == 8 {
                self.metric = value;
            }
        }
        true
    }

    #[inline(never)]
    fn is_disordered(&self, prefix: u64, name: u32) -> bool {
        prefix < self.last_prefix || self.table.text(name) <= self.table.text(self.last)
    }

    /// Hands over what was gathered, and returns the reference of the metric's name.
    #[inline(always)]
    fn finish(self, checks: &mut Checks<'a>) -> Option<u32> {
        let named = self.metric != NONE;
        checks.hasher = self.hasher;
        checks.count = self.count as usize;
        checks.longest_name = self.longest_name as usize;
        checks.longest_value = self.longest_value as usize;
        checks.named = named;
        checks.disordered = self.disordered;
        checks.empty_name = self.empty_name;
        named.then_some(self.metric)
    }
}
