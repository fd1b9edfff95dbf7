//! A large catalog in parts, by time: a commit writes those it changes, and a reader reads those it
//! does not know.

use std::sync::Arc;

use model::time::TimestampMs;
use serde::{Deserialize, Serialize};

use super::{BlockEntry, Catalog};

/// A catalog of more blocks is divided: two megabytes, about.
pub(super) const SPLIT_ABOVE: usize = 1_000;
/// The span of a part: the blocks that begin in it, counted from 1970.
const SPAN_MS: i64 = 30 * 86_400_000;

/// The blocks that begin in a span of 30 days, in an object of their own that never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Where the span begins, in milliseconds.
    pub start_ms: TimestampMs,
    /// The object's key in the bucket.
    pub object: String,
    /// The object's length, in bytes.
    pub bytes: u64,
    /// The xxh3-64 of the object, in 16 hexadecimal digits.
    pub checksum: String,
}

/// A catalog's blocks, divided.
pub(super) struct Divided<'c> {
    /// What goes into parts, by where their spans begin.
    pub(super) parts: Vec<(TimestampMs, &'c [Arc<BlockEntry>])>,
    /// What the version's own object lists.
    pub(super) own: &'c [Arc<BlockEntry>],
}

/// Where the span begins in which a block begins.
pub(super) fn span_of(block: &BlockEntry) -> TimestampMs {
    let min_time = block.meta.min_time;
    min_time.saturating_sub(min_time.rem_euclid(SPAN_MS))
}

/// Divides blocks, which are in order, where they are more than `split_above`: the newest span stays
/// with the version, as most commits change it.
pub(super) fn divide(blocks: &[Arc<BlockEntry>], split_above: usize) -> Divided<'_> {
    let mut parts = Vec::new();
    let mut own = blocks;
    if blocks.len() > split_above {
        parts.extend(
            blocks
                .chunk_by(|a, b| span_of(a) == span_of(b))
                .filter_map(|part| Some((span_of(part.first()?), part))),
        );
        own = parts.pop().map_or(&[], |(_, newest)| newest);
    }
    Divided { parts, own }
}

/// Those blocks of a catalog that begin in a part's span.
pub(super) fn of_span(catalog: &Catalog, start_ms: TimestampMs) -> &[Arc<BlockEntry>] {
    let blocks = &catalog.blocks;
    let from = blocks.partition_point(|block| span_of(block) < start_ms);
    let to = blocks.partition_point(|block| span_of(block) <= start_ms);
    &blocks[from..to]
}

/// The part of a catalog that has exactly these blocks. A block never changes: one that is the same
/// entry is the same.
pub(super) fn unchanged<'c>(
    catalog: &'c Catalog,
    start_ms: TimestampMs,
    blocks: &[Arc<BlockEntry>],
) -> Option<&'c Part> {
    let part = catalog
        .parts
        .iter()
        .find(|part| part.start_ms == start_ms)?;
    let before = of_span(catalog, start_ms);
    let mut pairs = before.iter().zip(blocks);
    let same = before.len() == blocks.len() && pairs.all(|(a, b)| Arc::ptr_eq(a, b));
    same.then_some(part)
}
