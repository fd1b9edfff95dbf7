//! The parts of a selection on their way: who computes which, and how far ahead of the reader.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use model::select::SeriesSet;

use super::batch::Batch;

/// Parts on their way, for each thread.
const WINDOW: usize = 3;

/// Parts, in the order of the selection.
pub(super) struct Parts {
    state: Mutex<State>,
    changed: Condvar,
    /// Set when the reader has gone: what is computed ahead is of no use any more.
    abandoned: AtomicBool,
    /// Bytes computed ahead that have not been read.
    ahead: AtomicUsize,
    /// How many there may be.
    allowed: AtomicUsize,
    /// Batches that have been read, to be filled again: new memory costs more than what it takes
    /// to fill it.
    spare: Mutex<Vec<Batch>>,
    threads: usize,
}

struct State {
    parts: Vec<Part>,
    /// What the reader comes to next.
    read: usize,
    /// The first part that nobody has taken.
    free: usize,
    /// How many parts may be taken that the reader has not come to.
    window: usize,
}

enum Part {
    Free(Box<dyn SeriesSet>),
    Taken,
    Done(Box<Batch>),
}

/// What the reader is to do.
pub(super) enum Turn {
    /// Compute the next part itself, straight into its sink.
    Run(Box<dyn SeriesSet>),
    /// Read the next part, which was computed ahead.
    Read(Box<Batch>),
    /// Compute a later part, as the next is still being computed.
    Help(usize, Box<dyn SeriesSet>),
    /// There is no part left.
    End,
}

impl Parts {
    /// Parts for so many threads, the reader's included.
    pub(super) fn new(sets: Vec<Box<dyn SeriesSet>>, threads: usize, allowed: usize) -> Self {
        let state = State {
            parts: sets.into_iter().map(Part::Free).collect(),
            read: 0,
            free: 0,
            window: WINDOW * threads,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            abandoned: AtomicBool::new(false),
            ahead: AtomicUsize::new(0),
            allowed: AtomicUsize::new(allowed),
            spare: Mutex::default(),
            threads,
        }
    }

    /// A batch to be filled.
    pub(super) fn batch(&self) -> Batch {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.pop().unwrap_or_default()
    }

    /// Gives back a batch that has been read and emptied.
    pub(super) fn reuse(&self, batch: Batch) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < self.threads {
            spare.push(batch);
        }
    }

    /// The next part for a helper, once the reader is near enough; `None`: there is none left.
    pub(super) fn take(&self) -> Option<(usize, Box<dyn SeriesSet>)> {
        let mut state = self.lock();
        loop {
            if self.is_abandoned() || state.free == state.parts.len() {
                return None;
            }
            if let Some(taken) = self.take_ahead(&mut state) {
                return Some(taken);
            }
            state = self.wait(state);
        }
    }

    /// Hands in what was computed.
    pub(super) fn done(&self, at: usize, batch: Batch) {
        self.lock().parts[at] = Part::Done(Box::new(batch));
        self.changed.notify_all();
    }

    /// What the reader is to do next.
    pub(super) fn turn(&self) -> Turn {
        let mut state = self.lock();
        loop {
            let at = state.read;
            let Some(part) = state.parts.get_mut(at) else {
                return Turn::End;
            };
            let turn = match std::mem::replace(part, Part::Taken) {
                Part::Free(set) => {
                    state.free = at + 1;
                    Turn::Run(set)
                }
                Part::Done(batch) => Turn::Read(batch),
                Part::Taken => {
                    if let Some((later, set)) = self.take_ahead(&mut state) {
                        return Turn::Help(later, set);
                    }
                    state = self.wait(state);
                    continue;
                }
            };
            state.read += 1;
            self.changed.notify_all();
            return turn;
        }
    }

    /// Counts bytes computed ahead.
    pub(super) fn grow(&self, bytes: usize) {
        self.ahead.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives back those of a batch that has been read.
    pub(super) fn shrink(&self, bytes: usize) {
        self.ahead.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes computed ahead.
    pub(super) fn ahead(&self) -> usize {
        self.ahead.load(Ordering::Relaxed)
    }

    /// Says how many bytes there may be from now on.
    pub(super) fn allow(&self, bytes: usize) {
        self.allowed.store(bytes, Ordering::Relaxed);
    }

    /// Whether no more may be computed ahead for now.
    pub(super) fn is_full(&self) -> bool {
        self.ahead() > self.allowed.load(Ordering::Relaxed)
    }

    /// Whether the reader has gone.
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Lets helpers end when dropped.
    pub(super) fn reader(&self) -> Reader<'_> {
        Reader(self)
    }

    /// Takes the first free part, where it is near enough to the reader, and there is room.
    fn take_ahead(&self, state: &mut State) -> Option<(usize, Box<dyn SeriesSet>)> {
        let at = state.free;
        if at >= state.read + state.window || self.is_full() {
            return None;
        }
        let part = state.parts.get_mut(at)?;
        let Part::Free(set) = std::mem::replace(part, Part::Taken) else {
            return None;
        };
        state.free += 1;
        Some((at, set))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'g>(&self, guard: MutexGuard<'g, State>) -> MutexGuard<'g, State> {
        self.changed
            .wait(guard)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reader: as long as it lives, helpers compute ahead.
pub(super) struct Reader<'p>(&'p Parts);

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.0.abandoned.store(true, Ordering::Relaxed);
        // Under the lock, so that nobody begins to wait who has not seen it.
        drop(self.0.lock());
        self.0.changed.notify_all();
    }
}
