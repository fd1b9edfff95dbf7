//! Work on several things: one after the other where all is at hand, several at once where it waits
//! for the bucket.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Builder};

use model::asker::{self, HasGone};

use crate::bucket;

/// The most that one read works on at once: as many requests, about, are on their way to the bucket.
const AT_ONCE: usize = 16;

/// The helpers of all reads of the process.
static HELPERS: Helpers = Helpers::new(64);

/// So many threads that may help.
struct Helpers {
    idle: AtomicUsize,
}

/// Some of them, given back when dropped.
struct Lent<'h> {
    from: &'h Helpers,
    count: usize,
}

impl Helpers {
    const fn new(count: usize) -> Self {
        Self {
            idle: AtomicUsize::new(count),
        }
    }

    /// As many as are idle, up to `most`.
    fn lend(&self, most: usize) -> Lent<'_> {
        let take = |idle: usize| Some(idle - idle.min(most));
        let idle = self.idle.fetch_update(Relaxed, Relaxed, take);
        Lent {
            from: self,
            count: idle.unwrap_or_default().min(most),
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.from.idle.fetch_add(self.count, Relaxed);
    }
}

/// Works on each item and hands what comes of it to `take`, with the item's number, in any order.
/// As soon as the work on one has waited for the bucket, helpers work on the rest, as far as there
/// are idle ones.
///
/// # Errors
/// The first of `take`; nothing is begun after it, and what waits for the bucket is given up.
pub(crate) fn at_once<I: IntoIterator<IntoIter: Send, Item: Send>, R: Send, E>(
    items: I,
    work: impl Fn(I::Item) -> R + Sync,
    take: impl FnMut(usize, R) -> Result<(), E>,
) -> Result<(), E> {
    at_once_by(&HELPERS, items, work, take)
}

fn at_once_by<I: IntoIterator<IntoIter: Send, Item: Send>, R: Send, E>(
    helpers: &Helpers,
    items: I,
    work: impl Fn(I::Item) -> R + Sync,
    mut take: impl FnMut(usize, R) -> Result<(), E>,
) -> Result<(), E> {
    let mut items = items.into_iter().enumerate();
    let mut waited = false;
    while !waited {
        let before = bucket::waits();
        let Some((at, item)) = items.next() else {
            return Ok(());
        };
        take(at, work(item))?;
        waited = bucket::waits() != before;
    }
    let lent = helpers.lend(items.size_hint().0.min(AT_ONCE));
    let items = Mutex::new(items);
    let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    let failed = Arc::new(AtomicBool::new(false));
    let has_gone: HasGone = {
        let (failed, asker) = (Arc::clone(&failed), asker::current());
        Arc::new(move || failed.load(Relaxed) || asker.as_ref().is_some_and(|gone| gone()))
    };
    thread::scope(|scope| {
        let (results, taken) = sync_channel(1);
        for _ in 0..lent.count {
            let (results, asker) = (results.clone(), Arc::clone(&has_gone));
            let (next, work) = (&next, &work);
            let help = move || {
                asker::work_for(Some(asker), || {
                    while let Some((at, item)) = next() {
                        // Nobody takes it where another failed.
                        if results.send((at, work(item))).is_err() {
                            return;
                        }
                    }
                });
            };
            // Without it the others have more to do.
            let _ = Builder::new()
                .name("block-read".to_owned())
                .spawn_scoped(scope, help);
        }
        drop(results);
        let taken = taken.into_iter().try_for_each(|(at, done)| take(at, done));
        failed.store(taken.is_err(), Relaxed);
        taken
    })?;
    // Nothing is left, unless no helper could be started.
    std::iter::from_fn(next).try_for_each(|(at, item)| take(at, work(item)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::Ordering::SeqCst;

    use super::*;
    use crate::bucket::Bucket;

    #[test]
    fn what_waits_for_nothing_is_done_by_this_thread_in_order() {
        let here = thread::current().id();
        let mut done = Vec::new();
        let work = |item| (item, thread::current().id());
        let all = at_once(0..9, work, |at, (item, by)| {
            assert_eq!((at, by), (item, here));
            done.push(item);
            Ok::<_, ()>(())
        });
        assert_eq!((all, done), (Ok(()), (0..9).collect()));
    }

    #[test]
    fn what_waits_for_the_bucket_is_done_at_once_and_each_once() {
        let bucket = Bucket::in_memory();
        // Of more helpers than that, or less, it has to be enough.
        for (idle, together) in [(100, AT_ONCE), (3, 3), (0, 0)] {
            let helpers = Helpers::new(idle);
            let running = AtomicUsize::new(0);
            let work = |item| {
                let _ = bucket.get("none", 1);
                // All but the first are here together before any goes on.
                running.fetch_add(1, SeqCst);
                while item > 0 && running.load(SeqCst) < together + 1 {
                    thread::yield_now();
                }
                assert!(!asker::has_gone());
                item
            };
            let mut done = BTreeSet::new();
            let all = at_once_by(&helpers, 0..AT_ONCE + 1, work, |at, item| {
                assert!(at == item && done.insert(item));
                Ok::<_, ()>(())
            });
            assert_eq!((all, done.len()), (Ok(()), AT_ONCE + 1));
            assert_eq!(helpers.idle.into_inner(), idle);
        }
    }

    #[test]
    fn nothing_is_begun_after_a_failure_and_nothing_waits() {
        let bucket = Bucket::in_memory();
        let helpers = Helpers::new(AT_ONCE);
        let begun = AtomicUsize::new(0);
        let work = |item| {
            let _ = bucket.get("none", 1);
            begun.fetch_add(1, SeqCst);
            // As a bucket that hangs: only who is told that nobody waits comes back.
            while item > 2 && !asker::has_gone() {
                thread::yield_now();
            }
            item
        };
        let failed = at_once_by(&helpers, 0..10_000, work, |_, item| {
            if item == 2 { Err(item) } else { Ok(()) }
        });
        assert_eq!(failed, Err(2));
        assert!(begun.load(SeqCst) < 4 * AT_ONCE);
    }
}
