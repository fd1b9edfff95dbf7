//! The steps of shipping, and a way to stop before any of them: tests see what a crash there
//! leaves.

use std::fmt;
use std::sync::Arc;

/// A step of shipping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A block is about to be written to this disk.
    Build,
    /// A block is about to be finished: its `meta.json` makes it one.
    Finish,
    /// A file is about to be uploaded.
    Upload,
    /// A block is about to be committed to the catalog.
    Commit,
    /// A block is about to be noted as committed.
    Mark,
    /// The head is about to drop what blocks hold.
    Drop,
    /// A snapshot without what was dropped is about to be written.
    Snapshot,
}

/// Shipping ended before a step, as a test asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped before the step {0:?}")]
pub struct Stopped(pub Step);

type Hook = dyn Fn(Step) -> Result<(), Stopped> + Send + Sync;

/// Is asked before each step.
#[derive(Clone, Default)]
pub struct Steps(Option<Arc<Hook>>);

impl Steps {
    /// Asks `hook` before each step; an error ends the pass there.
    pub fn asking(hook: impl Fn(Step) -> Result<(), Stopped> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hook)))
    }

    pub(crate) fn pass(&self, step: Step) -> Result<(), Stopped> {
        self.0.as_ref().map_or(Ok(()), |hook| hook(step))
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Steps({})", self.0.is_some())
    }
}
