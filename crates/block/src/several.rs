//! Reads over several blocks of a tenant at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::asker;
use model::error::ErrorKind;
use model::exemplar::Exemplar;
use model::labels::Labels;
use model::matcher::Matcher;
use model::select::{
    LabelsNeeded, LookupBounds, SelectError, SelectRequest, SeriesSamples, SeriesSet, SharedBytes,
    Skipped,
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
        let held = SharedBytes::default();
        let select = |one: &T| -> Result<Option<Box<dyn SeriesSet>>, SelectError> {
            asker::go_on()?;
            let Some(block) = (self.open)(one)? else {
                return Ok(None);
            };
            let own = held.another();
            let set = block.select_among(&request, together, &own);
            match set.inspect_err(|error| block.note(error)) {
                Ok(set) => Ok(Some(going_on(set, &request.skipped, name_of(&block)))),
                Err(error) => {
                    own.hold(0);
                    request.skipped.go_on(name_of(&block), error)?;
                    Ok(None)
                }
            }
        };
        let mut sets: Vec<_> = self.blocks.iter().map(|_| None).collect();
        let mut later = Vec::new();
        at_once(self.blocks, select, |at, set| {
            match set {
                // A list of rows takes more while it is made: alone, it may fit.
                Err(error) if error.kind == ErrorKind::TooMany && request.max_bytes > 0 => {
                    later.push(at);
                }
                set => sets[at] = set?,
            }
            Ok::<_, SelectError>(())
        })?;
        for at in later {
            sets[at] = select(&self.blocks[at])?;
        }
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
        let found = self.gather(sets, bounds, Labels::heap_bytes, Block::series)?;
        bounds.series(found.len() as u64)?;
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
        let found = self.gather(sets, bounds, String::len, Block::label_names)?;
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
        let look = |block: &Block, matchers: &[Matcher], bounds: &LookupBounds| {
            block.label_values(name, matchers, bounds)
        };
        let found = self.gather(sets, bounds, String::len, look)?;
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
        let size = |series: &(Labels, Vec<Exemplar>)| {
            let exemplars = series.1.iter();
            let exemplars = exemplars.map(|one| size_of::<Exemplar>() + one.labels.heap_bytes());
            series.0.heap_bytes() + exemplars.sum::<usize>()
        };
        let look = |block: &Block, matchers: &[Matcher], bounds: &LookupBounds| {
            block.exemplars(matchers, range, bounds)
        };
        let add = |into: &mut Vec<_>, found: Vec<_>| {
            let bytes = found.iter().map(size).sum::<usize>();
            into.extend(found);
            bytes
        };
        let mut all: BTreeMap<Labels, Vec<(usize, Exemplar)>> = BTreeMap::new();
        self.each(sets, bounds, look, add, |at, found| {
            let bytes = found.iter().map(size).sum::<usize>();
            for (labels, exemplars) in found {
                let numbered = exemplars.into_iter().map(|exemplar| (at, exemplar));
                all.entry(labels).or_default().extend(numbered);
            }
            bounds.series(all.len() as u64)?;
            Ok(bytes)
        })?;
        let sorted = all.into_iter().map(|(labels, mut exemplars)| {
            exemplars.sort_by_key(|(at, exemplar)| (exemplar.t, *at));
            let mut exemplars: Vec<_> = exemplars.into_iter().map(|(_, one)| one).collect();
            exemplars.dedup();
            (labels, exemplars)
        });
        Ok(sorted.collect())
    }

    /// What is found in all blocks, each once.
    fn gather<R: Ord + Send>(
        &self,
        sets: &[Vec<Matcher>],
        bounds: &LookupBounds,
        size: impl Fn(&R) -> usize + Sync,
        look: impl Fn(&Block, &[Matcher], &LookupBounds) -> Result<Vec<R>, SelectError> + Sync,
    ) -> Result<BTreeSet<R>, SelectError> {
        let mut all = BTreeSet::new();
        let add = |into: &mut BTreeSet<R>, found: Vec<R>| {
            let mut bytes = 0;
            for one in found {
                let size = size(&one);
                bytes += if into.insert(one) { size } else { 0 };
            }
            bytes
        };
        self.each(sets, bounds, look, add, |_, found: BTreeSet<R>| {
            Ok(add(&mut all, found.into_iter().collect()))
        })?;
        Ok(all)
    }

    /// Looks into each block, for each set of matchers, adds up what was found in a block, and takes
    /// that with the number of the block; `add` and `take` say how many bytes are kept for it.
    /// Blocks are looked into at once as long as all that they hold is within the bounds; what does
    /// not fit beside others is looked into once more, alone.
    fn each<L, R: Default + Send>(
        &self,
        sets: &[Vec<Matcher>],
        bounds: &LookupBounds,
        look: impl Fn(&Block, &[Matcher], &LookupBounds) -> Result<L, SelectError> + Sync,
        add: impl Fn(&mut R, L) -> usize + Sync,
        mut take: impl FnMut(usize, R) -> Result<usize, SelectError>,
    ) -> Result<(), SelectError> {
        let look_into = |one: &T, shared: Option<&SharedBytes>| -> Result<R, SelectError> {
            bounds.go_on()?;
            let Some(block) = (self.open)(one)? else {
                return Ok(R::default());
            };
            let none: &[Matcher] = &[];
            let all = sets.is_empty().then_some(none);
            let (mut found, mut kept) = (R::default(), 0);
            let looked = sets
                .iter()
                .map(Vec::as_slice)
                .chain(all)
                .try_for_each(|set| {
                    let step = |kept| LookupBounds {
                        shared: shared.map(|shared| shared.keeping(kept)),
                        ..bounds.clone()
                    };
                    kept += add(&mut found, look(&block, set, &step(kept))?);
                    match shared {
                        Some(_) => step(kept).bytes(0),
                        None => bounds.bytes(kept),
                    }
                });
            looked.map(|()| found).or_else(|error| {
                block.note(&error);
                // Who waits no more is told so.
                bounds.go_on()?;
                bounds.skipped.go_on(name_of(&block), error)?;
                Ok(R::default())
            })
        };
        let taken = SharedBytes::default();
        let beside = |one: &T| {
            let shared = taken.another();
            let found = look_into(one, Some(&shared));
            (found, shared)
        };
        let (mut kept, mut later) = (0, Vec::new());
        at_once(self.blocks, beside, |at, (found, shared)| {
            match found {
                Err(error) if error.kind == ErrorKind::TooMany => later.push(at),
                found => kept += take(at, found?)?,
            }
            shared.keeping(0).hold(0);
            taken.keeping(kept).hold(0);
            bounds.bytes(kept)
        })?;
        later.into_iter().try_for_each(|at| {
            kept += take(at, look_into(&self.blocks[at], None)?)?;
            bounds.bytes(kept)
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
