//! Reads over several blocks of a tenant at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::exemplar::Exemplar;
use model::labels::Labels;
use model::matcher::Matcher;
use model::select::{LabelsNeeded, LookupBounds, SelectError, SelectRequest, SeriesSet};
use model::time::TimeRange;

use crate::merge::merge;
use crate::reader::Block;

/// The series of blocks that match, each once. Those of several blocks, or with all labels, come
/// sorted by name, then by all labels.
///
/// # Errors
/// Where a block is damaged or out of reach, or more is selected than allowed.
pub fn select(
    blocks: &[Arc<Block>],
    request: &SelectRequest,
) -> Result<Box<dyn SeriesSet>, SelectError> {
    if let [only] = blocks {
        return only.select(request);
    }
    let whole = SelectRequest {
        labels: LabelsNeeded::All,
        ..request.clone()
    };
    let together = blocks.len();
    let sets = blocks
        .iter()
        .map(|block| block.select_among(&whole, together));
    Ok(merge(sets.collect::<Result<Vec<_>, _>>()?))
}

/// The label sets of blocks that satisfy any of the sets of matchers (no set: all), sorted.
///
/// # Errors
/// As of [`select`].
pub fn series(
    blocks: &[Arc<Block>],
    sets: &[Vec<Matcher>],
    bounds: &LookupBounds,
) -> Result<Vec<Labels>, SelectError> {
    let mut found = BTreeSet::new();
    let mut bytes = 0;
    each(blocks, sets, bounds, |block, matchers| {
        for labels in block.series(matchers, bounds)? {
            let size = labels.heap_bytes();
            if found.insert(labels) {
                bytes += size;
            }
        }
        bounds.series(found.len() as u64)?;
        bounds.bytes(bytes)
    })?;
    Ok(found.into_iter().collect())
}

/// The names of the labels of matching series, sorted.
///
/// # Errors
/// As of [`select`].
pub fn label_names(
    blocks: &[Arc<Block>],
    sets: &[Vec<Matcher>],
    bounds: &LookupBounds,
) -> Result<Vec<String>, SelectError> {
    let mut found = BTreeSet::new();
    each(blocks, sets, bounds, |block, matchers| {
        found.extend(block.label_names(matchers, bounds)?);
        Ok(())
    })?;
    Ok(found.into_iter().collect())
}

/// The values of a label among matching series, sorted.
///
/// # Errors
/// As of [`select`].
pub fn label_values(
    blocks: &[Arc<Block>],
    name: &str,
    sets: &[Vec<Matcher>],
    bounds: &LookupBounds,
) -> Result<Vec<String>, SelectError> {
    let mut found = BTreeSet::new();
    let mut bytes = 0;
    each(blocks, sets, bounds, |block, matchers| {
        for value in block.label_values(name, matchers, bounds)? {
            let size = value.len();
            if found.insert(value) {
                bytes += size;
            }
        }
        bounds.bytes(bytes)
    })?;
    Ok(found.into_iter().collect())
}

/// The exemplars of matching series within a range, by series, each list in the order of time.
///
/// # Errors
/// As of [`select`].
pub fn exemplars(
    blocks: &[Arc<Block>],
    sets: &[Vec<Matcher>],
    range: TimeRange,
    bounds: &LookupBounds,
) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError> {
    let mut found: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
    each(blocks, sets, bounds, |block, matchers| {
        for (labels, exemplars) in block.exemplars(matchers, range, bounds)? {
            found.entry(labels).or_default().extend(exemplars);
        }
        bounds.series(found.len() as u64)
    })?;
    for exemplars in found.values_mut() {
        exemplars.sort_by_key(|exemplar| exemplar.t);
        exemplars.dedup();
    }
    Ok(found.into_iter().collect())
}

fn each(
    blocks: &[Arc<Block>],
    sets: &[Vec<Matcher>],
    bounds: &LookupBounds,
    mut look: impl FnMut(&Block, &[Matcher]) -> Result<(), SelectError>,
) -> Result<(), SelectError> {
    for block in blocks {
        bounds.go_on()?;
        if sets.is_empty() {
            look(block, &[])?;
        }
        for matchers in sets {
            look(block, matchers)?;
        }
    }
    Ok(())
}
