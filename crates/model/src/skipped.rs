//! What a read had to leave out, for askers who take a part of an answer rather than none.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::asker;
use crate::error::ErrorKind;
use crate::select::SelectError;

/// How many texts are kept; more are counted.
const MAX_TEXTS: usize = 10;

/// Gathers what could not be read. The default one takes nothing: what can't be read fails the read.
#[derive(Clone, Default)]
pub struct Skipped(Option<Arc<Mutex<Texts>>>);

#[derive(Debug, Default)]
struct Texts {
    kept: BTreeSet<String>,
    more: usize,
}

impl Skipped {
    /// One that lets reads go on without what they can't read.
    #[must_use]
    pub fn allowed() -> Self {
        Self(Some(Arc::default()))
    }

    /// Whether reads may go on.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.0.is_some()
    }

    /// Goes on after a failure of storage, and notes `what` is left out for it.
    ///
    /// # Errors
    /// The failure itself, where it is not allowed to go on, nobody waits any more, or the failure
    /// is the asker's own: a limit, a request that makes no sense.
    pub fn go_on(&self, what: impl fmt::Display, error: SelectError) -> Result<(), SelectError> {
        let of_storage = matches!(
            error.kind,
            ErrorKind::Corrupt | ErrorKind::Unavailable | ErrorKind::NotFound
        );
        let goes_on = of_storage && !asker::has_gone();
        let Some(texts) = self.0.as_ref().filter(|_| goes_on) else {
            return Err(error);
        };
        let text = format!("partial answer, without {what}: {error}");
        let mut texts = texts.lock().unwrap_or_else(PoisonError::into_inner);
        if texts.kept.len() < MAX_TEXTS {
            texts.kept.insert(text);
        } else if !texts.kept.contains(&text) {
            texts.more += 1;
        }
        Ok(())
    }

    /// What was left out and why, to be told as warnings.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        let Some(texts) = &self.0 else {
            return Vec::new();
        };
        let texts = texts.lock().unwrap_or_else(PoisonError::into_inner);
        let more = (texts.more > 0).then(|| {
            format!(
                "partial answer: {} more times something was left out",
                texts.more
            )
        });
        texts.kept.iter().cloned().chain(more).collect()
    }
}

impl fmt::Debug for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Skipped").field(&self.is_allowed()).finish()
    }
}

/// Whether both allow the same.
impl PartialEq for Skipped {
    fn eq(&self, other: &Self) -> bool {
        self.is_allowed() == other.is_allowed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(kind: ErrorKind) -> SelectError {
        SelectError {
            kind,
            message: "it burnt".to_owned(),
        }
    }

    #[test]
    fn storage_may_fail_where_it_is_allowed() {
        let skipped = Skipped::allowed();
        let other = skipped.clone();
        other.go_on("block 1", failure(ErrorKind::Corrupt)).unwrap();
        other.go_on("block 1", failure(ErrorKind::Corrupt)).unwrap();
        assert_eq!(
            skipped.texts(),
            ["partial answer, without block 1: it burnt"]
        );
        let own = skipped.go_on("block 2", failure(ErrorKind::TooMany));
        assert_eq!(own, Err(failure(ErrorKind::TooMany)));
        let late = || skipped.go_on("block 3", failure(ErrorKind::Unavailable));
        let late = asker::work_for(Some(Arc::new(|| true)), late);
        assert_eq!(late, Err(failure(ErrorKind::Unavailable)));
        assert_eq!(skipped.texts().len(), 1);
        let none = Skipped::default();
        assert!(none.go_on("block 1", failure(ErrorKind::Corrupt)).is_err());
        assert!(none.texts().is_empty());
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let skipped = Skipped::allowed();
        for block in 0..MAX_TEXTS + 3 {
            let what = format!("block {block}");
            skipped.go_on(what, failure(ErrorKind::NotFound)).unwrap();
        }
        let texts = skipped.texts();
        assert_eq!(texts.len(), MAX_TEXTS + 1);
        assert_eq!(
            texts.last().unwrap(),
            "partial answer: 3 more times something was left out"
        );
    }
}
