//! The newest exemplars of a tenant, in a ring.

use std::collections::VecDeque;

use hashbrown::HashMap;
use model::exemplar::Exemplar;
use model::time::TimeRange;
use roaring::RoaringBitmap;

/// A bounded queue of exemplars, oldest first, each with its series.
#[derive(Default)]
pub(crate) struct ExemplarRing {
    entries: VecDeque<(u32, Exemplar)>,
    newest: HashMap<u32, Exemplar>,
}

impl ExemplarRing {
    /// Keeps an exemplar; drops the oldest where there are more than `most`. One that equals the
    /// newest of its series is taken silently.
    pub(crate) fn push(&mut self, series_ref: u32, exemplar: &Exemplar, most: usize) {
        if most == 0 || self.newest.get(&series_ref) == Some(exemplar) {
            return;
        }
        while self.entries.len() >= most {
            if let Some((old_ref, old)) = self.entries.pop_front()
                && self.newest.get(&old_ref) == Some(&old)
            {
                self.newest.remove(&old_ref);
            }
        }
        self.newest.insert(series_ref, exemplar.clone());
        self.entries.push_back((series_ref, exemplar.clone()));
    }

    /// All of them, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(u32, Exemplar)> {
        self.entries.iter()
    }

    /// The exemplars of some series within a range, by series, each list in the order of time
    /// and without duplicates.
    pub(crate) fn select(
        &self,
        series: &RoaringBitmap,
        range: TimeRange,
    ) -> Vec<(u32, Vec<Exemplar>)> {
        let mut found: HashMap<u32, Vec<Exemplar>> = HashMap::new();
        for (series_ref, exemplar) in &self.entries {
            if range.contains(exemplar.t) && series.contains(*series_ref) {
                found.entry(*series_ref).or_default().push(exemplar.clone());
            }
        }
        let mut all: Vec<_> = found.into_iter().collect();
        all.sort_unstable_by_key(|(series_ref, _)| *series_ref);
        for (_, exemplars) in &mut all {
            exemplars.sort_by_key(|exemplar| exemplar.t);
            exemplars.dedup();
        }
        all
    }

    /// Forgets those of series that are gone.
    pub(crate) fn remove(&mut self, gone: &RoaringBitmap) {
        self.entries.retain(|(series, _)| !gone.contains(*series));
        self.newest.retain(|series, _| !gone.contains(*series));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Labels;

    fn exemplar(t: i64) -> Exemplar {
        Exemplar {
            labels: Labels::from_pairs([("trace_id", t.to_string())]),
            v: 1.0,
            t,
        }
    }

    #[test]
    fn keeps_the_newest_and_no_duplicates() {
        let mut ring = ExemplarRing::default();
        for t in [1, 1, 2, 3, 3, 4, 5] {
            ring.push(7, &exemplar(t), 3);
        }
        ring.push(8, &exemplar(9), 3);
        let all: RoaringBitmap = [7, 8].into_iter().collect();
        let found = ring.select(&all, TimeRange::inclusive(0, 9));
        let times: Vec<_> = found.iter().map(|(s, e)| (*s, e.len(), e[0].t)).collect();
        assert_eq!(times, [(7, 2, 4), (8, 1, 9)]);
        ring.remove(&[7].into_iter().collect());
        assert_eq!(ring.iter().count(), 1);
    }
}
