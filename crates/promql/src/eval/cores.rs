//! The cores of the machine, shared by all queries: who evaluates takes one, and borrows others
//! while nobody else needs them.

use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

/// Cores that queries share. The default has none to lend, so that a query uses its own thread
/// alone.
#[derive(Clone, Debug, Default)]
pub struct Cores {
    /// How many are idle; below zero where more queries run than there are cores.
    idle: Option<Arc<AtomicIsize>>,
    /// Samples and steps that must be left of a selection to make others worth while.
    worth: usize,
}

/// To start a helper takes some 50 µs, to compute so many samples and steps some 5 ms.
const WORTH: usize = 500_000;

impl Cores {
    /// So many cores.
    pub fn new(count: usize) -> Self {
        let idle = AtomicIsize::new(isize::try_from(count).unwrap_or(isize::MAX));
        Self {
            idle: Some(Arc::new(idle)),
            worth: WORTH,
        }
    }

    /// So many, lent for the smallest selection.
    #[cfg(test)]
    pub(super) fn eager(count: usize) -> Self {
        Self {
            worth: 1,
            ..Self::new(count)
        }
    }

    /// Samples and steps that must be left of a selection to make others worth while.
    pub(super) fn worth(&self) -> usize {
        self.worth
    }

    /// Whether there is anything to lend at all.
    pub(super) fn lends(&self) -> bool {
        self.idle.is_some()
    }

    /// Takes the core that the caller runs on, idle or not.
    pub(super) fn enter(&self) -> Lent {
        let count = self.idle.as_ref().map_or(0, |idle| {
            idle.fetch_sub(1, Ordering::Relaxed);
            1
        });
        Lent {
            cores: self.clone(),
            count,
        }
    }

    /// Borrows up to `most` idle cores; `None` where there is none.
    pub(super) fn lend(&self, most: usize) -> Option<Lent> {
        let most = isize::try_from(most).unwrap_or(isize::MAX);
        let taken = |idle: isize| idle.min(most).max(0);
        let before =
            self.idle
                .as_ref()?
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |idle| {
                    Some(idle - taken(idle))
                });
        let count = taken(before.unwrap_or(0));
        (count > 0).then(|| Lent {
            cores: self.clone(),
            count,
        })
    }
}

/// Cores taken; given back when dropped.
pub(super) struct Lent {
    cores: Cores,
    count: isize,
}

impl Lent {
    /// How many.
    pub(super) fn count(&self) -> usize {
        self.count.unsigned_abs()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(idle) = &self.cores.idle {
            idle.fetch_add(self.count, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_cores_are_lent() {
        let cores = Cores::new(3);
        let one = cores.enter();
        let two = cores.lend(5).expect("two are idle");
        assert_eq!(two.count(), 2);
        assert!(cores.lend(1).is_none());
        let other = cores.enter();
        drop(two);
        // One of them is needed by who came meanwhile.
        assert_eq!(cores.lend(5).expect("one is idle").count(), 1);
        drop((one, other));
        assert_eq!(cores.lend(2).expect("all are idle").count(), 2);
        assert!(Cores::default().lend(1).is_none());
    }
}
