//! Local copies of blocks that turn out damaged while they are read: the same series come from the
//! bucket then, from where the copies ended.

use std::sync::Arc;

use model::error::ErrorKind;
use model::labels::Labels;
use model::select::{SelectError, SeriesSamples, SeriesSet};

/// Selects the same series from somewhere else, in the same order.
pub(super) type Again = Arc<dyn Fn() -> Result<Box<dyn SeriesSet>, SelectError> + Send + Sync>;

struct Standby {
    set: Box<dyn SeriesSet>,
    /// How many series it gave.
    given: usize,
    /// The other source, and which part of it, where this is one of several parts; `None` where
    /// that is in use, or the set was divided after it had begun.
    again: Option<Again>,
    part: Vec<(usize, usize)>,
}

/// A set that goes on with what `again` selects where its own source says that it is gone.
pub(super) fn of(set: Box<dyn SeriesSet>, again: Again) -> Box<dyn SeriesSet> {
    Box::new(Standby {
        set,
        given: 0,
        again: Some(again),
        part: Vec::new(),
    })
}

impl Standby {
    /// Puts the other source in the place of the one that is gone, and reads what was given.
    fn take_over(&mut self, again: &Again, samples: &mut SeriesSamples) -> Result<(), SelectError> {
        self.set = again()?;
        for (parts, at) in &self.part {
            let set = std::mem::replace(&mut self.set, Box::new(block::merge::NoSeries));
            if let Some(part) = set.split(*parts).into_iter().nth(*at) {
                self.set = part;
            }
        }
        for _ in 0..self.given {
            self.set.next(samples)?;
        }
        Ok(())
    }
}

impl SeriesSet for Standby {
    fn next(&mut self, samples: &mut SeriesSamples) -> Result<Option<Labels>, SelectError> {
        let next = match (self.set.next(samples), self.again.take()) {
            (Err(error), Some(again)) if error.kind == ErrorKind::NotFound => {
                tracing::warn!(%error, "blocks are read from the bucket instead");
                self.take_over(&again, samples)?;
                self.set.next(samples)?
            }
            (next, again) => {
                self.again = again;
                next?
            }
        };
        self.given += usize::from(next.is_some());
        Ok(next)
    }

    fn remaining(&self) -> Option<usize> {
        self.set.remaining()
    }

    fn split(self: Box<Self>, parts: usize) -> Vec<Box<dyn SeriesSet>> {
        let again = self.again.filter(|_| self.given == 0);
        let sets = self.set.split(parts).into_iter().enumerate();
        let part = |(at, set)| -> Box<dyn SeriesSet> {
            let mut part = self.part.clone();
            part.push((parts, at));
            Box::new(Self {
                set,
                given: 0,
                again: again.clone(),
                part,
            })
        };
        sets.map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Series with one sample each, of which only some can be read.
    struct Numbers {
        left: std::ops::Range<i64>,
        end: i64,
    }

    impl SeriesSet for Numbers {
        fn next(&mut self, samples: &mut SeriesSamples) -> Result<Option<Labels>, SelectError> {
            samples.clear();
            let Some(number) = self.left.next() else {
                return Ok(None);
            };
            if number >= self.end {
                return Err(SelectError {
                    kind: ErrorKind::NotFound,
                    message: "it burnt".to_owned(),
                });
            }
            samples.ts.push(number);
            samples.values.push(0.0);
            Ok(Some(Labels::from_pairs([("n", &number.to_string())])))
        }

        fn remaining(&self) -> Option<usize> {
            Some(self.left.clone().count())
        }

        fn split(self: Box<Self>, parts: usize) -> Vec<Box<dyn SeriesSet>> {
            let Self { left, end } = *self;
            let length = left.clone().count().div_ceil(parts);
            let (starts, length) = (left.clone().step_by(length), length as i64);
            let part = |start: i64| -> Box<dyn SeriesSet> {
                let left = start..left.end.min(start + length);
                Box::new(Self { left, end })
            };
            starts.map(part).collect()
        }
    }

    fn numbers(end: i64) -> Box<dyn SeriesSet> {
        Box::new(Numbers { left: 0..10, end })
    }

    fn read(set: &mut Box<dyn SeriesSet>, most: usize) -> Result<Vec<i64>, SelectError> {
        let mut samples = SeriesSamples::default();
        let mut found = Vec::new();
        while found.len() < most && set.next(&mut samples)?.is_some() {
            found.extend(&samples.ts);
        }
        Ok(found)
    }

    #[test]
    fn what_is_gone_comes_from_elsewhere_from_where_it_ended() {
        let all: Vec<i64> = (0..10).collect();
        for end in 0..=10 {
            let mut set = of(numbers(end), Arc::new(|| Ok(numbers(10))));
            assert_eq!(read(&mut set, 99).unwrap(), all, "{end}");
            // In parts, and parts of parts.
            let set = of(numbers(end), Arc::new(|| Ok(numbers(10))));
            let parts = set.split(3).into_iter().flat_map(|part| part.split(2));
            let found = parts.map(|mut part| read(&mut part, 99).unwrap());
            assert_eq!(found.collect::<Vec<_>>().concat(), all, "{end}");
        }
    }

    #[test]
    fn a_failure_is_told_where_nothing_else_has_it() {
        // The other source has lost it too.
        let mut set = of(numbers(3), Arc::new(|| Ok(numbers(5))));
        assert_eq!(read(&mut set, 5).unwrap(), [0, 1, 2, 3, 4]);
        assert_eq!(read(&mut set, 1).unwrap_err().kind, ErrorKind::NotFound);
        // Divided after it had begun, it can't tell where its parts would go on.
        let mut set = of(numbers(5), Arc::new(|| Ok(numbers(10))));
        assert_eq!(read(&mut set, 2).unwrap(), [0, 1]);
        let mut parts = set.split(2);
        assert_eq!(
            read(&mut parts[1], 9).unwrap_err().kind,
            ErrorKind::NotFound
        );
    }
}
