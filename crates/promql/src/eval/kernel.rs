//! The interfaces of functions: a kernel computes one series over all steps in one call.
//!
//! There are three kinds. A [`RangeKernel`] sees the decoded samples of one series and a window
//! of them per step; as windows only move forward, it can work incrementally. An
//! [`ElementKernel`] changes the column of one instant series in place. A [`BucketKernel`] sees
//! all classic buckets, and the native histograms, that share their labels but for `le`. What
//! needs whole vectors (`sort`, `label_replace`, `absent`, …) is [`Special`] and lives in the
//! engine.
//!
//! A kernel that leaves a step untouched has no value there: `out` comes in all absent.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use model::histogram::FloatHistogram;
use model::select::SeriesSamples;
use model::time::TimestampMs;

use crate::annotations::{Annotations, Note, Pos};
use crate::ast::Edge;
use crate::eval::column::{Column, ScalarColumn, Steps};
use crate::value::ValueType;

/// One step's window of samples: `start < t <= end`, and what its edge adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// First float sample within.
    pub float_start: u32,
    /// First float sample behind.
    pub float_end: u32,
    /// First histogram sample within.
    pub histogram_start: u32,
    /// First histogram sample behind.
    pub histogram_end: u32,
}

impl Window {
    /// The indexes of the float samples within.
    #[inline]
    pub fn floats(&self) -> Range<usize> {
        self.float_start as usize..self.float_end as usize
    }

    /// The indexes of the histogram samples within.
    #[inline]
    pub fn histograms(&self) -> Range<usize> {
        self.histogram_start as usize..self.histogram_end as usize
    }

    /// Whether no sample is within.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.float_start == self.float_end && self.histogram_start == self.histogram_end
    }
}

/// The windows of all steps over one series. Both ends only move forward from step to step.
#[derive(Clone, Debug)]
pub struct Windows {
    /// The steps of the evaluation: what `time()` says.
    pub steps: Steps,
    /// Length of a window in milliseconds.
    pub range_ms: i64,
    /// How far windows end before their step, in milliseconds: the selector's `offset`.
    pub offset_ms: i64,
    /// The time that stands for every step's: the selector's `@`.
    pub at_ms: Option<TimestampMs>,
    /// Whether windows also hold what lies around their bounds: before an anchored or smoothed one,
    /// and behind a smoothed one, as far as the lookback.
    pub edge: Edge,
    /// The lookback in milliseconds.
    pub lookback_ms: i64,
    /// One per step.
    pub windows: Vec<Window>,
}

impl Windows {
    /// The last instant of a step's window, which is within.
    #[inline]
    pub fn end_ms(&self, step: usize) -> TimestampMs {
        let now = self.at_ms.unwrap_or_else(|| self.steps.time(step));
        now.saturating_sub(self.offset_ms)
    }

    /// The instant before a step's window, which is not within.
    #[inline]
    pub fn start_ms(&self, step: usize) -> TimestampMs {
        self.end_ms(step).saturating_sub(self.range_ms)
    }

    /// The instant before the samples that a step's window holds.
    #[inline]
    pub fn oldest_ms(&self, step: usize) -> TimestampMs {
        let start = self.start_ms(step);
        match self.edge {
            Edge::Open => start,
            Edge::Anchored | Edge::Smoothed => start.saturating_sub(self.lookback_ms),
        }
    }

    /// The last instant of the samples that a step's window holds.
    #[inline]
    pub fn newest_ms(&self, step: usize) -> TimestampMs {
        let end = self.end_ms(step);
        match self.edge {
            Edge::Open | Edge::Anchored => end,
            Edge::Smoothed => end.saturating_add(self.lookback_ms),
        }
    }

    /// Places the windows over a series' samples.
    pub fn place(&mut self, samples: &SeriesSamples) {
        let (ts, histograms) = (&samples.ts, &samples.histograms);
        let mut window = Window::default();
        self.windows.clear();
        for step in 0..self.steps.count {
            let (start, end) = (self.oldest_ms(step), self.newest_ms(step));
            advance(&mut window.float_start, ts.len(), |i| ts[i] <= start);
            window.float_end = window.float_end.max(window.float_start);
            advance(&mut window.float_end, ts.len(), |i| ts[i] <= end);
            advance(&mut window.histogram_start, histograms.len(), |i| {
                histograms[i].t <= start
            });
            window.histogram_end = window.histogram_end.max(window.histogram_start);
            advance(&mut window.histogram_end, histograms.len(), |i| {
                histograms[i].t <= end
            });
            self.windows.push(window);
        }
    }
}

/// Moves an index forward while the sample at it is too old.
#[inline]
fn advance(index: &mut u32, len: usize, older: impl Fn(usize) -> bool) {
    while (*index as usize) < len && older(*index as usize) {
        *index += 1;
    }
}

/// What a kernel may know and say besides its values.
pub struct KernelContext<'a> {
    /// The steps of the evaluation.
    pub steps: Steps,
    /// The metric name of the series; empty where it has none.
    pub metric_name: &'a str,
    /// Where the call stands in the query.
    pub call: Pos,
    /// Where its arguments stand, all of them, in order.
    pub args: &'a [Pos],
    /// Takes warnings and infos.
    pub annotations: &'a mut Annotations,
}

impl KernelContext<'_> {
    /// Notes something about an argument.
    pub fn note_arg(&mut self, arg: usize, note: &Note<'_>) {
        let pos = self.args.get(arg).copied().unwrap_or(self.call);
        self.annotations.add(pos, note);
    }

    /// Notes something about the call.
    pub fn note_call(&mut self, note: &Note<'_>) {
        self.annotations.add(self.call, note);
    }
}

/// How many samples kernels may look at between two looks at whether the query is to stop.
const SAMPLES_PER_CHECK: usize = 64 << 10;
/// What one histogram counts for in that.
const SAMPLES_PER_HISTOGRAM: usize = 32;

/// Stops a kernel in the midst of a series: one series can have billions of samples in its
/// overlapping windows.
pub struct Interrupt<'a> {
    stop: &'a dyn Fn() -> bool,
    left: Cell<usize>,
}

impl<'a> Interrupt<'a> {
    /// Asks `stop` every so many samples.
    pub fn new(stop: &'a dyn Fn() -> bool) -> Self {
        Self {
            stop,
            left: Cell::new(SAMPLES_PER_CHECK),
        }
    }

    /// Never stops.
    pub fn never() -> Interrupt<'static> {
        Interrupt::new(&|| false)
    }

    /// Counts a window; whether it is still to be looked at.
    #[inline]
    fn goes_on(&self, window: &Window) -> bool {
        let work = window.floats().len() + window.histograms().len() * SAMPLES_PER_HISTOGRAM + 1;
        match self.left.get().checked_sub(work) {
            Some(left) => {
                self.left.set(left);
                true
            }
            None => {
                self.left.set(SAMPLES_PER_CHECK);
                !(self.stop)()
            }
        }
    }
}

/// What a range kernel works on.
pub struct RangeInput<'a> {
    /// The samples of one series, without stale markers.
    pub samples: &'a SeriesSamples,
    /// A window of them per step.
    pub windows: &'a Windows,
    /// The scalar arguments, in the order of the call.
    pub params: &'a [ScalarColumn],
    /// Whether to stop early; what has been computed so far is then of no use.
    pub interrupt: &'a Interrupt<'a>,
}

impl<'a> RangeInput<'a> {
    /// The steps with their windows; ends early where the query is to stop.
    #[inline]
    pub fn steps(&self) -> impl Iterator<Item = (usize, &'a Window)> + use<'a> {
        let interrupt = self.interrupt;
        let windows = self.windows.windows.iter().enumerate();
        windows.take_while(move |(_, window)| interrupt.goes_on(window))
    }
}

/// Computes one series of a function over a range vector.
pub type RangeKernel = fn(&RangeInput<'_>, &mut Column, &mut KernelContext<'_>);

/// Changes the column of one series in place; `params` are the scalar arguments in the order of
/// the call.
pub type ElementKernel = fn(&mut Column, &[ScalarColumn], &mut KernelContext<'_>);

/// The parts of one histogram: series whose labels agree but for `le` and the name.
pub struct BucketGroup<'a> {
    /// The classic buckets: upper bound and cumulative counts, ascending by bound. Of one bound
    /// there may be several.
    pub classic: &'a [(f64, &'a Column)],
    /// The series with native histograms, where there is one.
    pub native: Option<&'a Column>,
}

impl BucketGroup<'_> {
    /// The native histogram of a step.
    pub fn native_at(&self, step: usize) -> Option<&Arc<FloatHistogram>> {
        self.native.and_then(|column| column.histogram(step))
    }
}

/// Computes a quantile or a fraction of one histogram; `params` are the scalar arguments in the
/// order of the call.
pub type BucketKernel = fn(&BucketGroup<'_>, &[ScalarColumn], &mut Column, &mut KernelContext<'_>);

/// Functions that need whole vectors, or none: the engine has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Special {
    /// `absent(v)`
    Absent,
    /// `absent_over_time(m)`
    AbsentOverTime,
    /// `end()`: the query's last step, in seconds
    End,
    /// `histogram_quantiles(v, label, q, …)`
    HistogramQuantiles,
    /// `info(v, selector)`
    Info,
    /// `max_of(a, b)`
    MaxOf,
    /// `min_of(a, b)`
    MinOf,
    /// `label_join(v, dst, separator, src, …)`
    LabelJoin,
    /// `label_replace(v, dst, replacement, src, regex)`
    LabelReplace,
    /// `pi()`
    Pi,
    /// `range()`: the query's length, in seconds
    Range,
    /// `scalar(v)`
    Scalar,
    /// `sort(v)`
    Sort,
    /// `sort_desc(v)`
    SortDesc,
    /// `sort_by_label(v, label, …)`
    SortByLabel,
    /// `sort_by_label_desc(v, label, …)`
    SortByLabelDesc,
    /// `start()`: the query's first step, in seconds
    Start,
    /// `start_timestamp(v)`
    StartTimestamp,
    /// `step()`: the query's step, in seconds
    Step,
    /// `time()`
    Time,
    /// `timestamp(v)`
    Timestamp,
    /// `vector(s)`
    Vector,
}

/// How a function computes.
#[derive(Clone, Copy)]
pub enum Kernel {
    /// Over windows of one series.
    Range(RangeKernel),
    /// Over the points of one series. Where the vector may be left out, it is `vector(time())`.
    Element(ElementKernel),
    /// Over the buckets of one histogram.
    Buckets(BucketKernel),
    /// In the engine.
    Special(Special),
}

/// One function of the language.
pub struct FunctionDef {
    /// Its name.
    pub name: &'static str,
    /// The types of its arguments.
    pub args: &'static [ValueType],
    /// How many arguments there may be beyond the others, of the last type in `args`: 0, none;
    /// n, the last argument may come up to n times or be missing; -1, any number, or none.
    pub variadic: i8,
    /// What it returns.
    pub returns: ValueType,
    /// Whether it needs experimental functions to be allowed.
    pub experimental: bool,
    /// Whether its result keeps the metric name.
    pub keeps_name: bool,
    /// How it computes.
    pub kernel: Kernel,
}
