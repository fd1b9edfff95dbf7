//! Who waits for what a thread does. A read passes through many hands before it comes to wait for
//! a bucket or a disk; whoever waits there asks here whether it is still of use.

use std::cell::RefCell;
use std::sync::Arc;

/// Says whether the asker waits no more.
pub type HasGone = Arc<dyn Fn() -> bool + Send + Sync>;

thread_local! {
    static ASKER: RefCell<Option<HasGone>> = const { RefCell::new(None) };
}

/// Works for an asker on this thread; `None`: for one who always waits.
pub fn work_for<T>(asker: Option<HasGone>, work: impl FnOnce() -> T) -> T {
    let _before = Before(ASKER.replace(asker));
    work()
}

/// The asker this thread works for, to be handed to threads that help it.
#[must_use]
pub fn current() -> Option<HasGone> {
    ASKER.with_borrow(Clone::clone)
}

/// Comes back when the work is done, or has panicked.
struct Before(Option<HasGone>);

impl Drop for Before {
    fn drop(&mut self) {
        ASKER.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asker_is_there_for_as_long_as_the_work() {
        let gone = || current().map(|has_gone| has_gone());
        work_for(Some(Arc::new(|| true)), || {
            assert_eq!(gone(), Some(true));
            work_for(Some(Arc::new(|| false)), || assert_eq!(gone(), Some(false)));
            let panicked = std::panic::catch_unwind(|| work_for(None, || panic!("on purpose")));
            assert!(panicked.is_err());
            assert_eq!(gone(), Some(true));
        });
        assert_eq!(gone(), None);
    }
}
