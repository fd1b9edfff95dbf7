//! What a query may use, and what it has used.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::time::{Clock, TimestampMs};

use super::EvalError;
use super::cores::Cores;

/// Set from outside to stop a query; checked between series, and within those of long windows.
#[derive(Clone, Debug, Default)]
pub struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    /// Stops the query.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the query is to stop.
    pub fn is_canceled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The limits of one query; 0 means none.
#[derive(Clone, Debug, Default)]
pub struct EvalLimits {
    /// Samples it may hold at once: those of the series on its way, and those kept for the result
    /// or on the way to it.
    pub max_samples: usize,
    /// Bytes it may hold at once.
    pub max_memory_bytes: usize,
    /// Series it may select.
    pub max_series: usize,
    /// When it must be done, by the clock it is given; `None`: it has all the time.
    pub deadline_ms: Option<TimestampMs>,
    /// Stops it.
    pub cancel: CancelFlag,
    /// The cores it may use beside its own thread, while they are idle.
    pub cores: Cores,
}

/// What a query has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryStats {
    /// Series selected.
    pub series: usize,
    /// Samples loaded.
    pub samples: usize,
    /// The most samples held at once.
    pub peak_samples: usize,
    /// The most bytes held at once.
    pub peak_memory_bytes: usize,
}

/// Bytes and samples that are given back when this is dropped.
pub(super) struct Held<'b> {
    budget: &'b Budget<'b>,
    bytes: usize,
    samples: usize,
}

impl<'b> Held<'b> {
    /// The budget it is of.
    pub(super) fn budget(&self) -> &'b Budget<'b> {
        self.budget
    }

    /// Takes more.
    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), EvalError> {
        self.bytes += bytes;
        self.budget.charge(bytes)
    }

    /// Keeps samples; their bytes are charged apart.
    pub(super) fn keep(&mut self, samples: usize) -> Result<(), EvalError> {
        self.samples += samples;
        self.budget.keep(samples)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
        let kept = &self.budget.kept_samples;
        kept.set(kept.get().saturating_sub(self.samples));
    }
}

/// Counts against the limits.
pub(super) struct Budget<'a> {
    limits: &'a EvalLimits,
    clock: &'a dyn Clock,
    series: Cell<usize>,
    samples: Cell<usize>,
    kept_samples: Cell<usize>,
    peak_samples: Cell<usize>,
    memory: Cell<usize>,
    peak: Cell<usize>,
    ticks: Cell<u32>,
    late: Cell<bool>,
    ahead: Option<Ahead<'a>>,
}

/// What counts against the limits of a query, where that is put off.
#[derive(Clone, Copy)]
pub(super) enum Count {
    /// A series with so many samples.
    Loaded(usize),
    /// So many samples that pass.
    Passed(usize),
    /// So many bytes that were held at once, of what is computed ahead.
    Held(usize),
}

/// Of a budget for what is computed ahead.
struct Ahead<'a> {
    /// Whether nobody will read it.
    abandoned: &'a dyn Fn() -> bool,
    counts: RefCell<Vec<Count>>,
    /// Bytes that are held now and were when they were last written down.
    noted: Cell<usize>,
    /// The most bytes held since; 0 where they were no more than those.
    unnoted: Cell<usize>,
}

impl Ahead<'_> {
    fn push(&self, count: Count, memory: usize) {
        self.note_held(memory);
        self.counts.borrow_mut().push(count);
    }

    /// Writes down the most that was held until now.
    fn note_held(&self, memory: usize) {
        let unnoted = self.unnoted.take();
        if unnoted > 0 {
            self.counts.borrow_mut().push(Count::Held(unnoted));
            self.noted.set(memory);
        }
    }
}

/// How many series may pass between two looks at the clock.
const TICKS_PER_CLOCK: u32 = 64;

/// The most steps of a query or subquery: 800 MB for one series on its way.
const MAX_STEPS: usize = 20_000_000;
/// So many steps of one series take long enough for a look at whether to go on.
pub(super) const MANY_STEPS: usize = 64 << 10;
/// A float, a time, a value and a window.
pub(super) const BYTES_PER_STEP: usize = 40;

impl<'a> Budget<'a> {
    pub(super) fn new(limits: &'a EvalLimits, clock: &'a dyn Clock) -> Self {
        Self {
            limits,
            clock,
            series: Cell::new(0),
            samples: Cell::new(0),
            kept_samples: Cell::new(0),
            peak_samples: Cell::new(0),
            memory: Cell::new(0),
            peak: Cell::new(0),
            ticks: Cell::new(0),
            late: Cell::new(false),
            ahead: None,
        }
    }

    /// A budget for what is computed ahead: it stops as the query's does, but what counts against
    /// limits is only written down.
    pub(super) fn ahead(
        limits: &'a EvalLimits,
        clock: &'a dyn Clock,
        abandoned: &'a dyn Fn() -> bool,
    ) -> Self {
        Self {
            ahead: Some(Ahead {
                abandoned,
                counts: RefCell::default(),
                noted: Cell::new(0),
                unnoted: Cell::new(0),
            }),
            ..Self::new(limits, clock)
        }
    }

    /// Another with as much in use; the two are counted apart.
    pub(super) fn fork(&self) -> Self {
        let fork = Self::new(self.limits, self.clock);
        fork.memory.set(self.memory.get());
        fork.peak.set(self.memory.get());
        fork.kept_samples.set(self.kept_samples.get());
        fork
    }

    /// To be called between series: stops a query that was canceled or is late.
    pub(super) fn check(&self) -> Result<(), EvalError> {
        if self.is_canceled() {
            return Err(EvalError::Canceled);
        }
        let ticks = self.ticks.get();
        self.ticks.set(ticks.wrapping_add(1));
        if ticks.is_multiple_of(TICKS_PER_CLOCK) {
            return self.stopped();
        }
        Ok(())
    }

    fn is_canceled(&self) -> bool {
        self.limits.cancel.is_canceled() || self.ahead.as_ref().is_some_and(|a| (a.abandoned)())
    }

    /// Whether the query was stopped: once known to be late, it stays so, even if the clock is set
    /// back.
    pub(super) fn stopped(&self) -> Result<(), EvalError> {
        if self.is_canceled() {
            return Err(EvalError::Canceled);
        }
        let passed = |deadline| self.clock.now_ms() >= deadline;
        if self.late.get() || self.limits.deadline_ms.is_some_and(passed) {
            self.late.set(true);
            return Err(EvalError::Timeout);
        }
        Ok(())
    }

    /// Starts a charge that ends with what it returns.
    pub(super) fn hold(&self) -> Held<'_> {
        Held {
            budget: self,
            bytes: 0,
            samples: 0,
        }
    }

    /// Takes the memory that one series over so many steps needs on its way.
    pub(super) fn hold_steps(&self, steps: usize) -> Result<Held<'_>, EvalError> {
        if steps > MAX_STEPS {
            return Err(EvalError::TooMuch(format!(
                "query or subquery has {steps} steps, the most there can be are {MAX_STEPS}; use a \
                 longer step or a shorter range"
            )));
        }
        let mut held = self.hold();
        held.charge(steps * BYTES_PER_STEP)?;
        Ok(held)
    }

    /// Counts one series and its samples.
    pub(super) fn loaded(&self, samples: usize) -> Result<(), EvalError> {
        self.check()?;
        if let Some(ahead) = &self.ahead {
            ahead.push(Count::Loaded(samples), self.memory.get());
            return Ok(());
        }
        self.series.set(self.series.get() + 1);
        self.samples.set(self.samples.get() + samples);
        self.pass(samples)?;
        let limit = self.limits.max_series;
        if limit > 0 && self.series.get() > limit {
            return Err(EvalError::TooMuch(format!(
                "query selects too many series: the limit max_series_per_query is {limit}; use \
                 narrower matchers, or raise the limit"
            )));
        }
        Ok(())
    }

    /// Lets the samples of one series pass: they are held beside what is kept, until the next
    /// comes.
    pub(super) fn pass(&self, samples: usize) -> Result<(), EvalError> {
        if let Some(ahead) = &self.ahead {
            ahead.push(Count::Passed(samples), self.memory.get());
            return Ok(());
        }
        let held = self.kept_samples.get().saturating_add(samples);
        self.peak_samples.set(self.peak_samples.get().max(held));
        let limit = self.limits.max_samples;
        if limit > 0 && held > limit {
            return Err(EvalError::TooMuch(format!(
                "query processing would load too many samples into memory in query execution: the \
                 limit max_samples_per_query is {limit}; select fewer series, fewer steps or a \
                 shorter range, or raise the limit"
            )));
        }
        Ok(())
    }

    /// Counts what was put off.
    pub(super) fn count(&self, count: Count) -> Result<(), EvalError> {
        match count {
            Count::Loaded(samples) => self.loaded(samples),
            Count::Passed(samples) => self.pass(samples),
            Count::Held(bytes) => self.hold().charge(bytes),
        }
    }

    /// How many counts have been put off.
    pub(super) fn counted(&self) -> usize {
        self.ahead.as_ref().map_or(0, |ahead| {
            ahead.note_held(self.memory.get());
            ahead.counts.borrow().len()
        })
    }

    /// Those counts.
    pub(super) fn into_counts(self) -> Vec<Count> {
        self.ahead.map_or_else(Vec::new, |ahead| {
            ahead.note_held(self.memory.get());
            ahead.counts.into_inner()
        })
    }

    fn keep(&self, samples: usize) -> Result<(), EvalError> {
        let kept = self.kept_samples.get().saturating_add(samples);
        self.kept_samples.set(kept);
        self.pass(0)
    }

    /// Takes bytes; they must be given back.
    pub(super) fn charge(&self, bytes: usize) -> Result<(), EvalError> {
        let memory = self.memory.get().saturating_add(bytes);
        self.memory.set(memory);
        self.peak.set(self.peak.get().max(memory));
        if let Some(ahead) = &self.ahead {
            if memory > ahead.noted.get() {
                ahead.unnoted.set(ahead.unnoted.get().max(memory));
            }
            return Ok(());
        }
        let limit = self.limits.max_memory_bytes;
        if limit > 0 && memory > limit {
            return Err(EvalError::TooMuch(format!(
                "query would hold more memory than allowed: the limit max_memory_per_query is \
                 {limit} bytes; aggregate, select fewer series or fewer steps, or raise the limit"
            )));
        }
        Ok(())
    }

    /// Gives bytes back.
    pub(super) fn release(&self, bytes: usize) {
        let memory = self.memory.get().saturating_sub(bytes);
        self.memory.set(memory);
        if let Some(ahead) = &self.ahead {
            ahead.noted.set(ahead.noted.get().min(memory));
        }
    }

    /// Bytes held now.
    pub(super) fn memory(&self) -> usize {
        self.memory.get()
    }

    /// Bytes that are left under the limit.
    pub(super) fn memory_left(&self) -> usize {
        match self.limits.max_memory_bytes {
            0 => usize::MAX,
            limit => limit.saturating_sub(self.memory.get()),
        }
    }

    /// Notes what is held beside, computed ahead.
    pub(super) fn note_ahead(&self, bytes: usize) {
        let held = self.memory.get().saturating_add(bytes);
        self.peak.set(self.peak.get().max(held));
    }

    /// Series so far.
    pub(super) fn series(&self) -> usize {
        self.series.get()
    }

    /// The limits it counts against.
    pub(super) fn limits(&self) -> &'a EvalLimits {
        self.limits
    }

    /// The clock it looks at.
    pub(super) fn clock(&self) -> &'a dyn Clock {
        self.clock
    }

    /// The most series a select may find.
    pub(super) fn max_series(&self) -> usize {
        self.limits.max_series
    }

    /// What was used.
    pub(super) fn stats(&self) -> QueryStats {
        QueryStats {
            series: self.series.get(),
            samples: self.samples.get(),
            peak_samples: self.peak_samples.get(),
            peak_memory_bytes: self.peak.get(),
        }
    }
}
