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

use crate::at_once::at_once;
use crate::merge::merge;
use crate::reader::Block;

/// Blocks of a tenant, each opened when it is come to. Where that waits for the bucket, several are
/// opened and read at once.
pub struct Several<'b, T, F> {
    blocks: &'b [T],
    open: F,
}

impl<'b, T, F> Several<'b, T, F>
where
    T: Sync,
    F: Fn(&T) -> Result<Option<Arc<Block>>, SelectError> + Sync,
{
    /// Blocks by whatever `open` needs to find them; it says `None` of one that is left out.
    pub fn new(blocks: &'b [T], open: F) -> Self {
        Self { blocks, open }
    }

    /// The series that match, each once. Those of several blocks, or with all labels, come sorted
    /// by name, then by all labels.
    ///
    /// # Errors
    /// Where a block is damaged or out of reach, or more is selected than allowed.
    pub fn select(&self, request: &SelectRequest) -> Result<Box<dyn SeriesSet>, SelectError> {
        let together = self.blocks.len();
        let mut request = request.clone();
        if together > 1 {
            request.labels = LabelsNeeded::All;
        }
        let select = |one: &T| -> Result<Option<Box<dyn SeriesSet>>, SelectError> {
            let Some(block) = (self.open)(one)? else {
                return Ok(None);
            };
            let set = block.select_among(&request, together);
            match set.inspect_err(|error| block.note(error)) {
                Ok(set) => Ok(Some(going_on(set, &request.skipped, name_of(&block)))),
                Err(error) => {
                    request.skipped.go_on(name_of(&block), error)?;
                    Ok(None)
                }
            }
        };
        let mut sets: Vec<_> = self.blocks.iter().map(|_| None).collect();
        at_once(self.blocks, select, |at, set| {
            sets[at] = set?;
            Ok::<_, SelectError>(())
        })?;
        Ok(merge(sets.into_iter().flatten().collect()))
    }

    /// The label sets that satisfy any of the sets of matchers (no set: all), sorted.
    ///
    /// # Errors
    /// As of [`Self::select`].
    pub fn series(
        &self,
        sets: &[Vec<Matcher>],
        bounds: &LookupBounds,
    ) -> Result<Vec<Labels>, SelectError> {
        let mut found = BTreeSet::new();
        let mut bytes = 0;
        let look = |block: &Block, matchers: &[Matcher]| block.series(matchers, bounds);
        self.each(sets, bounds, look, |_, series| {
            for labels in series {
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
    /// As of [`Self::select`].
    pub fn label_names(
        &self,
        sets: &[Vec<Matcher>],
        bounds: &LookupBounds,
    ) -> Result<Vec<String>, SelectError> {
        let mut found = BTreeSet::new();
        let look = |block: &Block, matchers: &[Matcher]| block.label_names(matchers, bounds);
        self.each(sets, bounds, look, |_, names| {
            found.extend(names);
            Ok(())
        })?;
        Ok(found.into_iter().collect())
    }

    /// The values of a label among matching series, sorted.
    ///
    /// # Errors
    /// As of [`Self::select`].
    pub fn label_values(
        &self,
        name: &str,
        sets: &[Vec<Matcher>],
        bounds: &LookupBounds,
    ) -> Result<Vec<String>, SelectError> {
        let mut found = BTreeSet::new();
        let mut bytes = 0;
        let look = |block: &Block, matchers: &[Matcher]| block.label_values(name, matchers, bounds);
        self.each(sets, bounds, look, |_, values| {
            for value in values {
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
    /// As of [`Self::select`].
    pub fn exemplars(
        &self,
        sets: &[Vec<Matcher>],
        range: TimeRange,
        bounds: &LookupBounds,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError> {
        let mut found: BTreeMap<Labels, Vec<(usize, Exemplar)>> = BTreeMap::new();
        let look = |block: &Block, matchers: &[Matcher]| block.exemplars(matchers, range, bounds);
        self.each(sets, bounds, look, |at, series| {
            for (labels, exemplars) in series {
                let numbered = exemplars.into_iter().map(|exemplar| (at, exemplar));
                found.entry(labels).or_default().extend(numbered);
            }
            bounds.series(found.len() as u64)
        })?;
        let sorted = found.into_iter().map(|(labels, mut exemplars)| {
            exemplars.sort_by_key(|(at, exemplar)| (exemplar.t, *at));
            let mut exemplars: Vec<_> = exemplars.into_iter().map(|(_, one)| one).collect();
            exemplars.dedup();
            (labels, exemplars)
        });
        Ok(sorted.collect())
    }

    /// Looks into each block, for each set of matchers, and takes what was found with the number
    /// of the block.
    fn each<R: Send>(
        &self,
        sets: &[Vec<Matcher>],
        bounds: &LookupBounds,
        look: impl Fn(&Block, &[Matcher]) -> Result<R, SelectError> + Sync,
        mut take: impl FnMut(usize, R) -> Result<(), SelectError>,
    ) -> Result<(), SelectError> {
        let look_into = |one: &T| -> Result<Vec<R>, SelectError> {
            bounds.go_on()?;
            let Some(block) = (self.open)(one)? else {
                return Ok(Vec::new());
            };
            let none: &[Matcher] = &[];
            let all = sets.is_empty().then_some(none);
            let looks = sets.iter().map(Vec::as_slice).chain(all);
            let found = looks.map(|matchers| look(&block, matchers));
            found.collect::<Result<Vec<_>, _>>().or_else(|error| {
                block.note(&error);
                // Who waits no more is told so.
                bounds.go_on()?;
                bounds.skipped.go_on(name_of(&block), error)?;
                Ok(Vec::new())
            })
        };
        at_once(self.blocks, look_into, |at, found| {
            found?.into_iter().try_for_each(|one| take(at, one))
        })
    }
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
