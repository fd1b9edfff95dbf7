//! Who waits for what a thread does. A read passes through many hands before it comes to wait for
//! a bucket or a disk; whoever waits there asks here whether it is still of use.

use std::cell::RefCell;
use std::sync::Arc;

use crate::error::ErrorKind;
use crate::select::SelectError;

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

/// Whether nobody waits any more for what this thread does.
#[must_use]
pub fn has_gone() -> bool {
    ASKER.with_borrow(|asker| asker.as_ref().is_some_and(|has_gone| has_gone()))
}

/// Goes on as long as somebody waits.
///
/// # Errors
/// Where nobody does.
pub fn go_on() -> Result<(), SelectError> {
    if has_gone() {
        return Err(SelectError {
            kind: ErrorKind::Unavailable,
            message: "the read was stopped: nobody waits for it".to_owned(),
        });
    }
    Ok(())
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
        work_for(Some(Arc::new(|| true)), || {
            assert!(has_gone() && go_on().is_err());
            work_for(Some(Arc::new(|| false)), || assert!(!has_gone()));
            let panicked = std::panic::catch_unwind(|| work_for(None, || panic!("on purpose")));
            assert!(panicked.is_err());
            assert!(has_gone());
        });
        assert!(!has_gone() && go_on().is_ok());
    }
}
