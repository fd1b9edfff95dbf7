//! Sources that stand before storage: one that only asks, one that hands out a part.

use std::sync::{Arc, Mutex, PoisonError};

use model::labels::Labels;
use model::select::{SelectError, SelectRequest, SeriesSamples, SeriesSet};

use crate::eval::Queryable;

/// Passes a request on to storage and keeps what it finds; the asker sees no series.
pub(super) struct Probe<'a> {
    storage: &'a dyn Queryable,
    found: Mutex<Option<Box<dyn SeriesSet>>>,
}

impl<'a> Probe<'a> {
    pub(super) fn new(storage: &'a dyn Queryable) -> Self {
        Self {
            storage,
            found: Mutex::new(None),
        }
    }

    /// What was found; `None` where nobody asked.
    pub(super) fn into_found(self) -> Option<Box<dyn SeriesSet>> {
        let found = self.found.into_inner();
        found.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queryable for Probe<'_> {
    fn select(&self, request: &SelectRequest) -> Result<Box<dyn SeriesSet>, SelectError> {
        let found = self.storage.select(request)?;
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        Ok(Box::new(Nothing))
    }
}

struct Nothing;

impl SeriesSet for Nothing {
    fn next(&mut self, samples: &mut SeriesSamples) -> Result<Option<Labels>, SelectError> {
        samples.clear();
        Ok(None)
    }

    fn split(self: Box<Self>, _: usize) -> Vec<Box<dyn SeriesSet>> {
        Vec::new()
    }
}

/// Says, after each series, whether that was enough for now.
pub(super) type Until = Arc<dyn Fn(&SeriesSamples) -> bool + Send + Sync>;

/// Answers the one request there is with series that were selected before.
pub(super) struct Given {
    set: Arc<Mutex<Option<Box<dyn SeriesSet>>>>,
    until: Option<Until>,
}

impl Given {
    /// All of them.
    pub(super) fn all(set: Box<dyn SeriesSet>) -> Self {
        Self {
            set: Arc::new(Mutex::new(Some(set))),
            until: None,
        }
    }

    /// Those up to the one at which `until` holds.
    pub(super) fn until(set: Box<dyn SeriesSet>, until: Until) -> Self {
        Self {
            until: Some(until),
            ..Self::all(set)
        }
    }

    /// What was not handed out; `None` where all was.
    pub(super) fn into_rest(self) -> Option<Box<dyn SeriesSet>> {
        self.set
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Queryable for Given {
    fn select(&self, _: &SelectRequest) -> Result<Box<dyn SeriesSet>, SelectError> {
        let set = self
            .set
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match (set, &self.until) {
            (None, _) => Ok(Box::new(Nothing)),
            (Some(set), None) => Ok(set),
            (Some(set), Some(until)) => Ok(Box::new(Piece {
                set: Some(set),
                home: Arc::clone(&self.set),
                until: Arc::clone(until),
                is_enough: false,
            })),
        }
    }
}

/// The first series of a set; what is left goes back where it came from.
struct Piece {
    set: Option<Box<dyn SeriesSet>>,
    home: Arc<Mutex<Option<Box<dyn SeriesSet>>>>,
    until: Until,
    is_enough: bool,
}

impl SeriesSet for Piece {
    fn next(&mut self, samples: &mut SeriesSamples) -> Result<Option<Labels>, SelectError> {
        let Some(set) = self.set.as_mut().filter(|_| !self.is_enough) else {
            samples.clear();
            return Ok(None);
        };
        let next = set.next(samples)?;
        if next.is_none() {
            self.set = None;
        } else {
            self.is_enough = (self.until)(samples);
        }
        Ok(next)
    }

    fn split(self: Box<Self>, _: usize) -> Vec<Box<dyn SeriesSet>> {
        vec![self]
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        *self.home.lock().unwrap_or_else(PoisonError::into_inner) = self.set.take();
    }
}
