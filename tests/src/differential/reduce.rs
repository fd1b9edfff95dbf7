//! Makes a query on which the servers disagree as small as it gets.

use super::compare;
use super::pair::{Outcome, Pair};
use crate::promqlgen::{Expr, Moment, shrink};

/// How many queries one reduction may ask.
const MAX_TRIES: usize = 400;

/// A disagreement.
#[derive(Clone, Debug)]
pub struct Disagreement {
    /// The query.
    pub query: Expr,
    /// When it was asked.
    pub moment: Moment,
    /// What is different, in words.
    pub difference: String,
    /// What Tidemark says.
    pub ours: Outcome,
    /// What Prometheus says.
    pub theirs: Outcome,
}

impl Disagreement {
    /// Asks both; `None` where they agree.
    pub fn of(pair: &Pair, query: &Expr, moment: Moment) -> Option<Self> {
        let (ours, theirs) = pair.ask(query, moment);
        let difference = compare::difference(query, moment, &ours, &theirs)?;
        Some(Self {
            query: query.clone(),
            moment,
            difference,
            ours,
            theirs,
        })
    }

    /// The smallest query found on which they disagree too.
    #[must_use]
    pub fn reduced(self, pair: &Pair) -> Self {
        let mut smallest = self;
        let mut tries = 0;
        while let Some(next) = smallest.step(pair, &mut tries) {
            smallest = next;
        }
        smallest
    }

    fn step(&self, pair: &Pair, tries: &mut usize) -> Option<Self> {
        let queries = shrink::smaller(&self.query, self.moment)
            .into_iter()
            .map(|query| (query, self.moment));
        let moments = shrink::sooner(self.moment)
            .into_iter()
            .map(|moment| (self.query.clone(), moment));
        let steps = shrink::steps(&self.query, self.moment);
        for (query, moment) in moments.chain(queries).chain(steps) {
            *tries += 1;
            if *tries > MAX_TRIES {
                return None;
            }
            let found = Self::of(pair, &query, moment);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// All of it, for people.
    pub fn show(&self) -> String {
        let all = compare::show(&self.query, self.moment, &self.ours, &self.theirs);
        format!("{all}\n  difference: {}", self.difference)
    }
}
