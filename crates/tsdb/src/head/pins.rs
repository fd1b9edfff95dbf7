//! Who is reading a head: what blocks have of it is dropped only when those are done who may not
//! know of the blocks.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// The readers of a head, by the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Pins(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    held: BTreeSet<u64>,
}

/// One reader.
#[derive(Debug)]
pub(crate) struct Pin {
    pins: Arc<Pins>,
    number: u64,
}

impl Pins {
    /// Counts a reader in until the pin is dropped.
    pub(crate) fn take(pins: &Arc<Self>) -> Pin {
        let mut state = pins.0.lock();
        let number = state.next;
        state.next += 1;
        state.held.insert(number);
        Pin {
            pins: Arc::clone(pins),
            number,
        }
    }

    /// The number of the next reader.
    pub(crate) fn next(&self) -> u64 {
        self.0.lock().next
    }

    /// Whether all readers before that number are done.
    pub(crate) fn all_done_before(&self, number: u64) -> bool {
        self.0
            .lock()
            .held
            .first()
            .is_none_or(|first| *first >= number)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pins.0.lock().held.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_earlier_readers_are_waited_for() {
        let pins = Arc::new(Pins::default());
        let early = Pins::take(&pins);
        let committed = pins.next();
        let late = Pins::take(&pins);
        assert!(!pins.all_done_before(committed));
        drop(early);
        assert!(pins.all_done_before(committed));
        drop(late);
        assert!(pins.all_done_before(pins.next()));
    }
}
