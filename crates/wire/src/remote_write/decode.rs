//! The door of the decoder: a body in, a batch whose rows borrow from it out, memory used again.

use model::error::ErrorKind;
use model::limits::Limits;
use model::write::{MetricMetadata, Rejection, SeriesRow, WriteBatch};

use super::labels::{RawLabels, Symbol, SymbolTable};
use super::protobuf::Malformed;
use super::rows::Rows;
use super::{v1, v2};

/// How much memory the columns of a batch may take for each byte a body is allowed to have.
/// Real requests need at most three; a body made of two-byte samples would need twelve.
const MEMORY_PER_BODY_BYTE: usize = 4;

/// Columns that grew beyond so many bytes are given back after the request.
const KEEP_BYTES: usize = 4 << 20;

/// Which of the two messages a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `prometheus.WriteRequest`.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

/// Why a whole body was refused.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The body is not a snappy block.
    #[error("the body is no snappy block: {0}")]
    Snappy(#[source] snap::Error),
    /// The unpacked body is not the message its content type names.
    #[error("the unpacked body is no {message} message: {fault}")]
    Protobuf {
        /// The full name of the message expected.
        message: &'static str,
        /// Where the format is broken.
        fault: String,
    },
    /// A 2.0 body whose first symbol is something else than the empty string.
    #[error("the first symbol must be the empty string, and is {0:?}")]
    FirstSymbol(String),
    /// The body unpacks to more than is allowed.
    #[error("the body unpacks to {bytes} bytes, and the limit is {limit}; send smaller requests")]
    TooLarge {
        /// The size the body claims.
        bytes: usize,
        /// The largest size allowed.
        limit: usize,
    },
    /// The body holds more items than fit in memory that a body of the largest size is worth.
    #[error("decoded, the body takes more than {limit} bytes of memory; send smaller requests")]
    TooDense {
        /// The most memory a request's columns may take.
        limit: usize,
    },
}

impl DecodeError {
    /// The id under which docs/errors.md explains it.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Snappy(_) => "body-not-snappy",
            Self::Protobuf { .. } => "body-not-protobuf",
            Self::FirstSymbol(_) => "first-symbol-not-empty",
            Self::TooLarge { .. } => "decoded-body-too-large",
            Self::TooDense { .. } => "decoded-body-too-dense",
        }
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    /// Whether only the size is at fault: 413, not 400.
    pub fn is_too_large(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::TooDense { .. })
    }
}

/// What was left out of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// Float samples.
    pub samples: usize,
    /// Histograms.
    pub histograms: usize,
    /// Exemplars.
    pub exemplars: usize,
    /// How many samples, histograms and exemplars each error id took.
    pub by_id: Vec<(&'static str, usize)>,
    /// The first refusal of the request.
    pub first: Option<Rejection>,
}

/// A decoded body.
#[derive(Debug)]
pub struct Decoded<'a> {
    /// The rows that passed.
    pub batch: WriteBatch<RawLabels<'a>>,
    /// What did not.
    pub rejected: Rejected,
}

/// Decodes bodies, one after the other, and keeps its memory between them.
#[derive(Debug, Default)]
pub struct Decoder {
    batch: WriteBatch<RawLabels<'static>>,
    symbols: Vec<Symbol>,
    described: Vec<[u32; 3]>,
    spare_metadata: Vec<MetricMetadata>,
}

impl Decoder {
    /// Decodes an unpacked body and hands what it holds to `then`. `max_body_bytes` is the bound
    /// the body was unpacked under; memory for its rows is bounded by a multiple of it.
    ///
    /// # Errors
    /// Where the body is broken as a whole; a row that is merely not allowed is left out and
    /// told in [`Decoded::rejected`].
    pub fn decode<T>(
        &mut self,
        version: Version,
        body: &[u8],
        max_body_bytes: usize,
        limits: &Limits,
        then: impl FnOnce(&Decoded<'_>) -> T,
    ) -> Result<T, DecodeError> {
        let memory = max_body_bytes.saturating_mul(MEMORY_PER_BODY_BYTE);
        let mut rows = Rows::new(
            rebind(std::mem::take(&mut self.batch)),
            limits,
            memory,
            std::mem::take(&mut self.spare_metadata),
            std::mem::take(&mut self.described),
        );
        let mut table = SymbolTable::new(body, std::mem::take(&mut self.symbols));
        let walked = match version {
            Version::V1 => v1::walk_request(body, &mut rows),
            Version::V2 => match v2::read_symbols(body, &mut table, &mut rows.memory) {
                Ok(()) => v2::walk_request(body, &table, &mut rows),
                Err(fault) => Err(fault),
            },
        };
        let (decoded, spare_metadata, described) = rows.finish();
        let result = match walked {
            Ok(()) => Ok(then(&decoded)),
            Err(fault) => Err(fault.explain(version, memory)),
        };
        self.batch = rebind(decoded.batch);
        self.spare_metadata = spare_metadata;
        self.spare_metadata.append(&mut self.batch.metadata);
        self.described = described;
        self.symbols = table.into_memory();
        self.give_back();
        result
    }

    /// Empties the columns, and frees those that an unusual request blew up.
    fn give_back(&mut self) {
        fn one<T>(column: &mut Vec<T>) {
            column.clear();
            if column.capacity() * size_of::<T>() > KEEP_BYTES {
                column.shrink_to(KEEP_BYTES / size_of::<T>());
            }
        }
        one(&mut self.batch.series);
        one(&mut self.batch.samples);
        one(&mut self.batch.histograms);
        one(&mut self.batch.exemplars);
        one(&mut self.symbols);
        one(&mut self.described);
        // These keep their strings, so that only their number is bounded.
        self.spare_metadata.truncate(KEEP_BYTES / 4096);
        self.spare_metadata.shrink_to(KEEP_BYTES / 4096);
    }
}

/// What ends a walk.
#[derive(Debug)]
pub(super) enum Fault {
    Malformed(Malformed),
    FirstSymbol(String),
    Memory,
}

impl From<Malformed> for Fault {
    fn from(fault: Malformed) -> Self {
        Self::Malformed(fault)
    }
}

impl Fault {
    fn explain(self, version: Version, memory: usize) -> DecodeError {
        let message = match version {
            Version::V1 => "prometheus.WriteRequest",
            Version::V2 => "io.prometheus.write.v2.Request",
        };
        match self {
            Self::Malformed(fault) => DecodeError::Protobuf {
                message,
                fault: fault.to_string(),
            },
            Self::FirstSymbol(found) => DecodeError::FirstSymbol(found),
            Self::Memory => DecodeError::TooDense { limit: memory },
        }
    }
}

/// The memory of one batch's columns for rows that borrow from another body. Collecting an
/// emptied vector into one of the same layout keeps its allocation (a test holds it to that).
fn rebind<'b>(mut batch: WriteBatch<RawLabels<'_>>) -> WriteBatch<RawLabels<'b>> {
    batch.series.clear();
    let series = batch.series.into_iter().map(|row| SeriesRow {
        fingerprint: row.fingerprint,
        labels: RawLabels::V1(&[]),
        samples_end: row.samples_end,
        histograms_end: row.histograms_end,
        exemplars_end: row.exemplars_end,
    });
    WriteBatch {
        series: series.collect(),
        samples: batch.samples,
        histograms: batch.histograms,
        exemplars: batch.exemplars,
        metadata: batch.metadata,
    }
}

#[cfg(test)]
mod tests;
