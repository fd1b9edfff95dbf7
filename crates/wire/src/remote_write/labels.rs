//! The labels of a series as they lie in the request: read only when the series is new.
//!
//! A label with an empty value means the same as none, so both walks leave it out.

use model::fingerprint::string_hash;
use model::write::LabelSource;

use super::protobuf::{Malformed, Reader, Wire};

/// Unparsed labels, borrowed from a decompressed body that [`super::Decoder`] has walked.
#[derive(Clone, Copy, Debug)]
pub enum RawLabels<'a> {
    /// Remote write 1.0: a `TimeSeries` message up to the end of its last label.
    V1(&'a [u8]),
    /// Remote write 2.0, as all known senders write it: one packed list of references.
    V2 {
        /// The packed varints of `labels_refs`.
        refs: &'a [u8],
        /// What they refer to.
        symbols: &'a SymbolTable<'a>,
    },
    /// Remote write 2.0 with its references unpacked or in several lists, which the format allows.
    V2Spread {
        /// A `TimeSeries` message up to the end of its last reference.
        series: &'a [u8],
        /// What the references refer to.
        symbols: &'a SymbolTable<'a>,
    },
}

impl LabelSource for RawLabels<'_> {
    fn for_each(&self, each: &mut dyn FnMut(&[u8], &[u8])) {
        self.walk(&mut |name, value| {
            if !value.is_empty() {
                each(name, value);
            }
        });
    }
}

impl RawLabels<'_> {
    /// As [`LabelSource::for_each`], labels with empty values included.
    pub(super) fn walk(&self, each: &mut dyn FnMut(&[u8], &[u8])) {
        match self {
            Self::V1(series) => walk_v1(series, each),
            Self::V2 { refs, symbols } => {
                let mut refs = Reader::new(refs);
                while let (Ok(name), Ok(value)) = (refs.varint(), refs.varint()) {
                    each(symbols.text(name as u32), symbols.text(value as u32));
                }
            }
            Self::V2Spread { series, symbols } => {
                let mut name = None;
                let walked = for_each_ref(series, &mut |at| match name.take() {
                    None => name = Some(at),
                    Some(name) => each(symbols.text(name), symbols.text(at)),
                });
                debug_assert!(walked.is_ok(), "the decoder has walked it before");
            }
        }
    }
}

/// Walks the labels of a `TimeSeries` message of 1.0, up to where it is broken.
fn walk_v1(series: &[u8], each: &mut dyn FnMut(&[u8], &[u8])) {
    let mut series = Reader::new(series);
    while let Ok(Some((field, wire))) = series.field() {
        if (field, wire) == (1, Wire::Bytes) {
            let Ok(label) = series.bytes() else { return };
            let Ok((name, value)) = pair(label) else {
                return;
            };
            each(name, value);
        } else if series.skip(wire).is_err() {
            return;
        }
    }
}

/// The name and value of a `Label` message; of a field given twice, the last stays.
pub(super) fn pair(label: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    let mut label = Reader::new(label);
    while let Some((field, wire)) = label.field()? {
        match (field, wire) {
            (1, Wire::Bytes) => name = label.bytes()?,
            (2, Wire::Bytes) => value = label.bytes()?,
            (1 | 2, _) => return Err(Malformed::UnexpectedWireType(field)),
            _ => label.skip(wire)?,
        }
    }
    Ok((name, value))
}

/// Walks the references of a message whose field 1 they are (2.0), packed or not.
pub(super) fn for_each_ref(message: &[u8], each: &mut dyn FnMut(u32)) -> Result<(), Malformed> {
    let mut message = Reader::new(message);
    while let Some((field, wire)) = message.field()? {
        match (field, wire) {
            (1, Wire::Bytes) => {
                let mut packed = Reader::new(message.bytes()?);
                while !packed.is_empty() {
                    each(packed.varint()? as u32);
                }
            }
            (1, Wire::Varint) => each(message.varint()? as u32),
            (1, _) => return Err(Malformed::UnexpectedWireType(field)),
            _ => message.skip(wire)?,
        }
    }
    Ok(())
}

/// One symbol: where it lies, and what every series that names it needs to know of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    pub(super) hash: u128,
    /// The first eight bytes, big-endian, padded with zeros: most comparisons end with them.
    pub(super) prefix: u64,
    pub(super) start: u32,
    pub(super) len: u32,
}

/// The strings of a 2.0 request, each hashed once.
#[derive(Clone, Debug)]
pub struct SymbolTable<'a> {
    body: &'a [u8],
    pub(super) symbols: Vec<Symbol>,
}

impl<'a> SymbolTable<'a> {
    pub(super) fn new(body: &'a [u8], memory: Vec<Symbol>) -> Self {
        let mut symbols = memory;
        symbols.clear();
        Self { body, symbols }
    }

    pub(super) fn push(&mut self, start: usize, text: &[u8]) {
        self.symbols.push(Symbol {
            hash: string_hash(text),
            prefix: prefix(text),
            start: start as u32,
            len: text.len() as u32,
        });
    }

    pub(super) fn into_memory(self) -> Vec<Symbol> {
        self.symbols
    }

    /// How many symbols there are.
    pub fn len(&self) -> usize {
        self.symbols.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }

    /// The symbol a reference means; empty where it means none.
    pub fn text(&self, at: u32) -> &'a [u8] {
        let symbol = self.symbols.get(at as usize);
        symbol.map_or(&[], |symbol| self.text_of(symbol))
    }

    pub(super) fn text_of(&self, symbol: &Symbol) -> &'a [u8] {
        let start = symbol.start as usize;
        &self.body[start..start + symbol.len as usize]
    }
}

/// The first eight bytes as a number that sorts as they do.
#[inline(always)]
pub(super) fn prefix(text: &[u8]) -> u64 {
    match text.first_chunk() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut padded = [0; 8];
            padded[..text.len()].copy_from_slice(text);
            u64::from_be_bytes(padded)
        }
    }
}
