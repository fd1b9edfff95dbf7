//! Work on several things: one after the other where all is at hand, several at once where it waits
//! for the bucket.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::sync_channel;
use std::thread::{self, Builder};

use model::asker;

use crate::bucket;

/// The most that are worked on at once: as many requests, about, are on their way to the bucket.
const AT_ONCE: usize = 16;

/// Works on each item and hands what comes of it to `take`, with the item's number, in any order.
/// As soon as the work on one has waited for the bucket, helpers work on the rest.
///
/// # Errors
/// The first of `take`; nothing is begun after it.
pub(crate) fn at_once<I: IntoIterator<IntoIter: Send, Item: Send>, R: Send, E>(
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
    let helpers = items.size_hint().0.min(AT_ONCE);
    let items = Mutex::new(items);
    let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    let asker = asker::current();
    thread::scope(|scope| {
        let (results, taken) = sync_channel(1);
        for _ in 0..helpers {
            let (results, asker) = (results.clone(), asker.clone());
            let (next, work) = (&next, &work);
            let help = move || {
                asker::work_for(asker, || {
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
        taken.into_iter().try_for_each(|(at, done)| take(at, done))
    })?;
    // Nothing is left, unless no helper could be started.
    std::iter::from_fn(next).try_for_each(|(at, item)| take(at, work(item)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

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
        let running = AtomicUsize::new(0);
        let gone = || asker::current().is_some_and(|has_gone| has_gone());
        let work = |item| {
            let _ = bucket.get("none", 1);
            // All but the first are here together before any goes on.
            running.fetch_add(1, Ordering::SeqCst);
            while item > 0 && running.load(Ordering::SeqCst) < AT_ONCE + 1 {
                thread::yield_now();
            }
            assert!(!gone());
            item
        };
        let mut done = BTreeSet::new();
        let never = Arc::new(|| false);
        let all = asker::work_for(Some(never), || {
            at_once(0..AT_ONCE + 1, work, |at, item| {
                assert!(at == item && done.insert(item));
                Ok::<_, ()>(())
            })
        });
        assert_eq!((all, done.len()), (Ok(()), AT_ONCE + 1));
    }

    #[test]
    fn nothing_is_begun_after_a_failure() {
        let bucket = Bucket::in_memory();
        let begun = AtomicUsize::new(0);
        let work = |item| {
            let _ = bucket.get("none", 1);
            begun.fetch_add(1, Ordering::SeqCst);
            item
        };
        let mut left = 3;
        let failed = at_once(0..10_000, work, |_, item| {
            left -= 1;
            if left == 0 { Err(item) } else { Ok(()) }
        });
        assert!(failed.is_err());
        assert!(begun.load(Ordering::SeqCst) < 10 * AT_ONCE);
    }
}
