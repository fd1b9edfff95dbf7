//! Metadata of metrics: messages of their own in 1.0, told with each series in 2.0.

use model::error::ErrorKind;
use model::validate::clip;
use model::write::{MetricMetadata, MetricType, Rejection};

use super::decode::Fault;
use super::labels::SymbolTable;
use super::protobuf::{Malformed, Reader, Wire, expect};
use super::rows::Rows;

/// Bytes a metric's name or unit may have.
const MAX_NAME_BYTES: usize = 1024;

/// Bytes of a help text that are kept; what follows is cut.
const MAX_HELP_BYTES: usize = 1024;

/// Bytes an item takes besides its text.
const METADATA_BYTES: usize = size_of::<MetricMetadata>() + 64;

/// The type behind a number on the wire; the two versions agree.
fn metric_type(number: u64) -> MetricType {
    let at = usize::try_from(number).unwrap_or(usize::MAX);
    MetricType::ALL.get(at).copied().unwrap_or_default()
}

/// A `MetricMetadata` message of 1.0.
pub(super) fn read_v1(message: &[u8], rows: &mut Rows<'_, '_>) -> Result<(), Fault> {
    let mut kind = 0;
    let (mut metric, mut help, mut unit): (&[u8], &[u8], &[u8]) = (&[], &[], &[]);
    let mut reader = Reader::new(message);
    while let Some((field, wire)) = reader.field()? {
        match field {
            1 => {
                expect(field, wire, Wire::Varint)?;
                kind = reader.varint()?;
            }
            2 | 4 | 5 => {
                expect(field, wire, Wire::Bytes)?;
                let text = reader.bytes()?;
                match field {
                    2 => metric = text,
                    4 => help = text,
                    _ => unit = text,
                }
            }
            _ => reader.skip(wire)?,
        }
    }
    push(metric, metric_type(kind), help, unit, rows)
}

/// What the `Metadata` messages of one 2.0 series say: its type, and references to help and unit.
#[derive(Clone, Copy, Default)]
pub(super) struct Described {
    kind: u32,
    help: u32,
    unit: u32,
}

impl Described {
    /// Adds a message; of a field given twice, the last stays.
    #[inline]
    pub(super) fn merge(&mut self, message: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(message);
        while let Some((field, wire)) = reader.field()? {
            match field {
                1 | 3 | 4 => {
                    expect(field, wire, Wire::Varint)?;
                    let value = reader.varint()? as u32;
                    match field {
                        1 => self.kind = value,
                        3 => self.help = value,
                        _ => self.unit = value,
                    }
                }
                _ => reader.skip(wire)?,
            }
        }
        Ok(())
    }
}

/// Notes what a 2.0 series says of its metric, once a request for each name and description.
#[inline]
pub(super) fn push_v2(
    name: u32,
    described: Described,
    table: &SymbolTable<'_>,
    rows: &mut Rows<'_, '_>,
) -> Result<(), Fault> {
    let Described { kind, help, unit } = described;
    if (kind, help, unit) == (0, 0, 0) {
        return Ok(());
    }
    let known = &mut rows.described;
    if known.len() < table.len() {
        known.resize(table.len(), [0; 3]);
    }
    let last = &mut known[name as usize];
    if *last == [kind, help, unit] {
        return Ok(());
    }
    *last = [kind, help, unit];
    let kind = metric_type(u64::from(kind));
    let metric = family(table.text(name), kind);
    push(metric, kind, table.text(help), table.text(unit), rows)
}

/// The name of the family a series' metric belongs to: histograms and summaries tell theirs with
/// each of their series.
fn family(metric: &[u8], kind: MetricType) -> &[u8] {
    let suffixes: &[&[u8]] = match kind {
        MetricType::Histogram | MetricType::GaugeHistogram => &[b"_bucket", b"_count", b"_sum"],
        MetricType::Summary => &[b"_count", b"_sum"],
        _ => &[],
    };
    let cut = suffixes
        .iter()
        .find_map(|suffix| metric.strip_suffix(*suffix));
    cut.filter(|name| !name.is_empty()).unwrap_or(metric)
}

fn push(
    metric: &[u8],
    kind: MetricType,
    help: &[u8],
    unit: &[u8],
    rows: &mut Rows<'_, '_>,
) -> Result<(), Fault> {
    let help = &help[..help.len().min(MAX_HELP_BYTES + 4)];
    rows.memory
        .take(METADATA_BYTES + metric.len() + help.len() + unit.len())?;
    let checked = if metric.is_empty() {
        Err(("metadata-missing-metric-name", "has no metric name"))
    } else if metric.len() > MAX_NAME_BYTES || unit.len() > MAX_NAME_BYTES {
        Err((
            "metadata-too-long",
            "has a name or unit of more than 1024 bytes",
        ))
    } else {
        texts(metric, help, unit).ok_or(("metadata-not-utf8", "is not UTF-8"))
    };
    match checked {
        Ok((metric, help, unit)) => {
            let mut item = rows.spare_metadata();
            item.metric.push_str(metric);
            item.kind = kind;
            item.help
                .push_str(&help[..help.floor_char_boundary(MAX_HELP_BYTES)]);
            item.unit.push_str(unit);
            rows.batch.metadata.push(item);
        }
        Err((id, what)) => {
            let metric = String::from_utf8_lossy(&metric[..metric.len().min(MAX_NAME_BYTES)]);
            rows.reject_metadata(Rejection {
                kind: ErrorKind::Invalid,
                id,
                message: format!("metadata of metric {:?} {what}", clip(&metric, 200)),
            });
        }
    }
    Ok(())
}

/// All three as text; a help text may be cut within its last character.
fn texts<'a>(
    metric: &'a [u8],
    help: &'a [u8],
    unit: &'a [u8],
) -> Option<(&'a str, &'a str, &'a str)> {
    let help = match std::str::from_utf8(help) {
        Ok(help) => help,
        Err(error) if error.error_len().is_none() && help.len() > MAX_HELP_BYTES => {
            std::str::from_utf8(&help[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let metric = std::str::from_utf8(metric).ok()?;
    let unit = std::str::from_utf8(unit).ok()?;
    Some((metric, help, unit))
}
