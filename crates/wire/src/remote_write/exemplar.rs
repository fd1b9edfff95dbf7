//! Exemplars. They are few, so that theirs are the only labels parsed and copied while decoding.

use model::error::ErrorKind;
use model::exemplar::Exemplar;
use model::labels::Labels;
use model::validate::clip;
use model::write::Rejection;

use super::decode::Fault;
use super::labels::{SymbolTable, for_each_ref, pair};
use super::protobuf::{Malformed, Reader, Wire, expect};
use super::rows::Rows;

/// Characters the labels of an exemplar may have in all, by OpenMetrics.
const MAX_LABEL_CHARS: usize = 128;

/// Bytes an exemplar takes besides its labels.
const EXEMPLAR_BYTES: usize = size_of::<Exemplar>() + 64;

/// An exemplar whose labels lie in it (1.0).
pub(super) fn read_v1(message: &[u8], rows: &mut Rows<'_, '_>) -> Result<(), Fault> {
    let mut labels = Collected::default();
    let (v, t) = read(message, |reader, wire| {
        expect(1, wire, Wire::Bytes)?;
        let (name, value) = pair(reader.bytes()?)?;
        labels.push(name, value);
        Ok(())
    })?;
    push(labels, v, t, rows)
}

/// An exemplar whose labels are references (2.0).
pub(super) fn read_v2(
    message: &[u8],
    table: &SymbolTable<'_>,
    rows: &mut Rows<'_, '_>,
) -> Result<(), Fault> {
    let (v, t) = read(message, |reader, wire| reader.skip(wire))?;
    let mut labels = Collected::default();
    let mut name = None;
    let mut out_of_range = false;
    for_each_ref(message, &mut |at| {
        out_of_range |= at as usize >= table.len();
        match name.take() {
            None => name = Some(at),
            Some(name) => labels.push(table.text(name), table.text(at)),
        }
    })?;
    if out_of_range || name.is_some() {
        labels.fault = Some((
            "exemplar-label-references",
            "label references that are odd in number or beyond the symbols",
        ));
    }
    push(labels, v, t, rows)
}

fn read<'a>(
    message: &'a [u8],
    mut label: impl FnMut(&mut Reader<'a>, Wire) -> Result<(), Malformed>,
) -> Result<(f64, i64), Malformed> {
    let (mut v, mut t) = (0.0, 0);
    let mut reader = Reader::new(message);
    while let Some((field, wire)) = reader.field()? {
        match field {
            1 => label(&mut reader, wire)?,
            2 => {
                expect(field, wire, Wire::Fixed64)?;
                v = f64::from_bits(reader.fixed64()?);
            }
            3 => {
                expect(field, wire, Wire::Varint)?;
                t = reader.varint()? as i64;
            }
            _ => reader.skip(wire)?,
        }
    }
    Ok((v, t))
}

fn push(labels: Collected<'_>, v: f64, t: i64, rows: &mut Rows<'_, '_>) -> Result<(), Fault> {
    rows.memory.take(EXEMPLAR_BYTES)?;
    match labels.build() {
        Ok(labels) => rows.batch.exemplars.push(Exemplar { labels, v, t }),
        Err(rejection) => rows.reject_exemplar(rejection),
    }
    Ok(())
}

/// The labels of one exemplar; never more of them than may stay.
#[derive(Default)]
struct Collected<'a> {
    pairs: Vec<(&'a str, &'a str)>,
    chars: usize,
    fault: Option<(&'static str, &'static str)>,
}

impl<'a> Collected<'a> {
    fn push(&mut self, name: &'a [u8], value: &'a [u8]) {
        if self.fault.is_some() || value.is_empty() {
            return;
        }
        self.fault = self.check(name, value);
    }

    fn check(&mut self, name: &'a [u8], value: &'a [u8]) -> Option<(&'static str, &'static str)> {
        const TOO_LONG: (&str, &str) = (
            "exemplar-labels-too-long",
            "its labels have more than 128 characters in all",
        );
        // A character has four bytes at most: what is longer need not be counted.
        if name.len() + value.len() > 4 * MAX_LABEL_CHARS {
            return Some(TOO_LONG);
        }
        let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) else {
            return Some(("exemplar-labels-not-utf8", "a label of it is not UTF-8"));
        };
        if name.is_empty() {
            return Some(("exemplar-label-name-empty", "a label of it has no name"));
        }
        self.chars += name.chars().count() + value.chars().count();
        if self.chars > MAX_LABEL_CHARS {
            return Some(TOO_LONG);
        }
        self.pairs.push((name, value));
        None
    }

    fn build(self) -> Result<Labels, Rejection> {
        match self.fault {
            None => Ok(Labels::from_pairs(self.pairs)),
            Some((id, what)) => {
                let labels = Labels::from_pairs(self.pairs);
                Err(Rejection {
                    kind: ErrorKind::Invalid,
                    id,
                    message: format!("exemplar {}: {what}", clip(&labels.to_string(), 200)),
                })
            }
        }
    }
}
