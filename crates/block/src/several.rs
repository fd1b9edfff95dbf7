//! Reads over several blocks of a tenant at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::exemplar::Exemplar;
use model::labels::Labels;
use model::matcher::Matcher;
use model::select::{
    LabelsNeeded, LookupBounds, SelectError, SelectRequest, SeriesSamples, SeriesSet, Skipped,
};
use model::time::TimeRange;

use crate::merge::{NoSeries, merge};
use crate::reader::Block;

/// Blocks that are opened one by one as they are asked for. A look-up lets go of each before it
/// comes to the next.
pub trait Opening: IntoIterator<Item = Result<Arc<Block>, SelectError>> {}

impl<T: IntoIterator<Item = Result<Arc<Block>, SelectError>>> Opening for T {}

/// The series of blocks that match, each once. Those of several blocks, or with all labels, come
/// sorted by name, then by all labels.
///
/// # Errors
/// Where a block is damaged or out of reach, or more is selected than allowed.
pub fn select(
    blocks: impl Opening,
    request: &SelectRequest,
) -> Result<Box<dyn SeriesSet>, SelectError> {
    let blocks: Vec<Arc<Block>> = blocks.into_iter().collect::<Result<_, _>>()?;
    if let [only] = blocks.as_slice() {
        let set = only.select(request).inspect_err(|error| only.note(error));
        return Ok(match set {
            Ok(set) => going_on(set, &request.skipped, name_of(only)),
            Err(error) => {
                request.skipped.go_on(name_of(only), error)?;
                Box::new(NoSeries)
            }
        });
    }
    let whole = SelectRequest {
        labels: LabelsNeeded::All,
        ..request.clone()
    };
    let mut sets = Vec::with_capacity(blocks.len());
    for block in &blocks {
        let set = block.select_among(&whole, blocks.len());
        match set.inspect_err(|error| block.note(error)) {
            Ok(set) => sets.push(going_on(set, &request.skipped, name_of(block))),
            Err(error) => request.skipped.go_on(name_of(block), error)?,
        }
    }
    Ok(merge(sets))
}

/// A block, as it is called where it is left out.
fn name_of(block: &Block) -> String {
    let meta = block.meta();
    format!(
        "block {} of tenant {}, from {} to {} ms",
        meta.block_id, meta.tenant, meta.min_time, meta.max_time
    )
}

/// A set that ends where it can't be read further, if the asker takes the rest.
#[must_use]
pub fn going_on(set: Box<dyn SeriesSet>, skipped: &Skipped, name: String) -> Box<dyn SeriesSet> {
    if !skipped.is_allowed() {
        return set;
    }
    Box::new(GoingOn {
        set: Some(set),
        skipped: skipped.clone(),
        name,
    })
}

struct GoingOn {
    set: Option<Box<dyn SeriesSet>>,
    skipped: Skipped,
    name: String,
}

impl SeriesSet for GoingOn {
    fn next(&mut self, samples: &mut SeriesSamples) -> Result<Option<Labels>, SelectError> {
        let Some(set) = &mut self.set else {
            samples.clear();
            return Ok(None);
        };
        set.next(samples).or_else(|error| {
            samples.clear();
            self.set = None;
            self.skipped.go_on(&self.name, error)?;
            Ok(None)
        })
    }

    fn remaining(&self) -> Option<usize> {
        self.set.as_ref().map_or(Some(0), |set| set.remaining())
    }

    fn split(self: Box<Self>, parts: usize) -> Vec<Box<dyn SeriesSet>> {
        let Self { set, skipped, name } = *self;
        let sets = set.into_iter().flat_map(|set| set.split(parts));
        sets.map(|set| going_on(set, &skipped, name.clone()))
            .collect()
    }
}

/// The label sets of blocks that satisfy any of the sets of matchers (no set: all), sorted.
///
/// # Errors
/// As of [`select`].
pub fn series(
    blocks: impl Opening,
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
    blocks: impl Opening,
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
    blocks: impl Opening,
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
    blocks: impl Opening,
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
    blocks: impl Opening,
    sets: &[Vec<Matcher>],
    bounds: &LookupBounds,
    mut look: impl FnMut(&Block, &[Matcher]) -> Result<(), SelectError>,
) -> Result<(), SelectError> {
    for block in blocks {
        let block = block?;
        bounds.go_on()?;
        let none: &[Matcher] = &[];
        let all = sets.is_empty().then_some(none);
        let mut looks = sets.iter().map(Vec::as_slice).chain(all);
        let looked = looks.try_for_each(|matchers| look(&block, matchers));
        if let Err(error) = looked {
            block.note(&error);
            // Who waits no more is told so.
            bounds.go_on()?;
            bounds.skipped.go_on(name_of(&block), error)?;
        }
    }
    Ok(())
}
