//! What an evaluation is watched for, where somebody asked: how many samples each step looks at,
//! and what each node of the plan took.
//!
//! Where nobody asked, each place that would tell an [`Observer`] looks at one `None`.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::ptr;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use model::histogram::FloatHistogram;
use model::select::SeriesSamples;

use super::column::{Column, is_absent};
use super::kernel::{Window, Windows};
use super::stream::Sink;
use super::{EvalError, Evaluator};
use crate::plan::{Node, Select};

/// Shows how much time has passed.
pub type Stopwatch<'a> = &'a (dyn Fn() -> Duration + Sync);

/// Watches one evaluation.
#[derive(Default)]
pub struct Observer<'a> {
    samples: Option<Mutex<Vec<u64>>>,
    nodes: Option<Nodes<'a>>,
}

impl<'a> Observer<'a> {
    /// Watches for nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts the samples that each step looks at.
    #[must_use]
    pub fn counting_samples(mut self) -> Self {
        self.samples = Some(Mutex::default());
        self
    }

    /// Measures each node of the plan.
    #[must_use]
    pub fn measuring_nodes(mut self, stopwatch: Stopwatch<'a>) -> Self {
        self.nodes = Some(Nodes {
            stopwatch,
            home: OnceLock::new(),
            seen: Mutex::default(),
        });
        self
    }

    /// Makes room for the counts of so many steps. To be called on the thread that evaluates.
    pub(super) fn begin(&self, steps: usize) {
        if let Some(nodes) = &self.nodes {
            nodes.home.get_or_init(|| std::thread::current().id());
        }
        if let Some(samples) = &self.samples {
            let mut samples = samples.lock().unwrap_or_else(PoisonError::into_inner);
            samples.clear();
            samples.resize(steps, 0);
        }
    }

    /// The samples that each step looked at, as if it had been evaluated alone: those an instant
    /// selector took, and all in the windows of a function. Within a subquery none are counted:
    /// its points are, in the windows over it. A histogram counts for as many floats as take its
    /// memory.
    pub fn samples_per_step(&self) -> Vec<u64> {
        let Some(samples) = &self.samples else {
            return Vec::new();
        };
        samples
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether the samples that each step looks at are counted.
    pub(super) fn counts_samples(&self) -> bool {
        self.samples.is_some()
    }

    /// What was seen of a node; `None`: nodes were not measured, or it was not evaluated.
    pub(crate) fn node(&self, node: &Node) -> Option<Seen> {
        self.nodes.as_ref()?.seen(Key::of_node(node))
    }

    /// What was seen of a selector.
    pub(crate) fn select(&self, select: &Select) -> Option<Seen> {
        self.nodes.as_ref()?.seen(Key::of_select(select))
    }
}

/// What was seen of a node, or of a selector.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Series that came out.
    pub series: u64,
    /// Values that came out: floats and histograms, of all steps.
    pub points: u64,
    /// Samples loaded.
    pub samples: u64,
    /// Time spent in it and below it, on the thread of the query.
    pub time: Duration,
    /// The same on other threads: what is above does not run there, so that it does not have this
    /// time.
    pub helped: Duration,
    /// Threads that it ran on.
    pub threads: HashSet<ThreadId>,
    /// Whether it was not computed: it was kept from where the query has it too.
    pub reused: bool,
}

impl Seen {
    fn merge(&mut self, other: Self) {
        self.series += other.series;
        self.points += other.points;
        self.samples += other.samples;
        self.time += other.time;
        self.helped += other.helped;
        self.threads.extend(other.threads);
        self.reused |= other.reused;
    }
}

/// Which node, or which selector: by where it lies in the plan, which does not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Node(usize),
    Select(usize),
}

impl Key {
    fn of_node(node: &Node) -> Self {
        Self::Node(ptr::from_ref(node).addr())
    }

    fn of_select(select: &Select) -> Self {
        Self::Select(ptr::from_ref(select).addr())
    }
}

struct Nodes<'a> {
    stopwatch: Stopwatch<'a>,
    /// The thread of the query.
    home: OnceLock<ThreadId>,
    seen: Mutex<BTreeMap<Key, Seen>>,
}

impl Nodes<'_> {
    fn seen(&self, key: Key) -> Option<Seen> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&key).cloned()
    }

    fn add(&self, key: Key, mut seen: Seen) {
        let thread = std::thread::current().id();
        seen.threads.insert(thread);
        if self.home.get().is_some_and(|home| *home != thread) {
            seen.helped = std::mem::take(&mut seen.time);
        }
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(key).or_default().merge(seen);
    }
}

/// Which samples are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// All: of selectors, and in the windows of functions.
    All,
    /// Those within the subquery that is the whole query, not its points.
    Within,
    /// None: within a subquery.
    Nothing,
}

impl Counted {
    /// What is counted within a subquery.
    pub(super) fn within(self) -> Self {
        match self {
            Self::Within => Self::All,
            Self::All | Self::Nothing => Self::Nothing,
        }
    }
}

impl Evaluator<'_> {
    /// Streams with a look at what passes.
    pub(super) fn observe_stream(
        &self,
        node: &Node,
        sink: &mut Sink<'_>,
        run: impl FnOnce(&mut Sink<'_>) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        let Some(nodes) = self.nodes() else {
            return run(sink);
        };
        let mut seen = Seen::default();
        let mut since = (nodes.stopwatch)();
        let result = run(&mut |tag, column| {
            seen.series += 1;
            seen.points += points(column);
            seen.time += (nodes.stopwatch)().saturating_sub(since);
            let result = sink(tag, column);
            // What the sink took is not this node's.
            since = (nodes.stopwatch)();
            result
        });
        seen.time += (nodes.stopwatch)().saturating_sub(since);
        nodes.add(Key::of_node(node), seen);
        result
    }

    /// The samples counted so far, by step; none where they are not counted here.
    pub(super) fn counted_samples(&self) -> Vec<u64> {
        match self.observer {
            Some(observer) if self.counts_samples() => observer.samples_per_step(),
            _ => Vec::new(),
        }
    }

    /// What a node streams was kept, and samples were counted for it then: they count again.
    pub(super) fn observe_reuse(&self, node: &Node, counted: &[u64]) {
        if self.counts_samples() {
            let each = counted.iter().copied().enumerate();
            self.count(self.steps.count, each);
        }
        if let Some(nodes) = self.nodes() {
            let seen = Seen {
                reused: true,
                ..Seen::default()
            };
            nodes.add(Key::of_node(node), seen);
        }
    }

    /// Computes a scalar and takes its time.
    pub(super) fn observe_scalar<T>(&self, node: &Node, run: impl FnOnce() -> T) -> T {
        let Some(nodes) = self.nodes() else {
            return run();
        };
        let since = (nodes.stopwatch)();
        let result = run();
        let time = (nodes.stopwatch)().saturating_sub(since);
        let seen = Seen {
            time,
            ..Seen::default()
        };
        nodes.add(Key::of_node(node), seen);
        result
    }

    /// Begins to look at what a selector loads.
    pub(super) fn observe_select(&self) -> Option<Loading<'_>> {
        let nodes = self.nodes()?;
        Some(Loading {
            nodes,
            since: (nodes.stopwatch)(),
            seen: Seen::default(),
        })
    }

    fn nodes(&self) -> Option<&Nodes<'_>> {
        self.observer?.nodes.as_ref()
    }

    /// Counts what an instant selector took of one series.
    pub(super) fn count_column(&self, column: &Column) {
        let histograms = column.histograms.iter();
        let floats = column.floats.iter().enumerate();
        let floats = floats.filter(|(_, value)| !is_absent(**value));
        let each = floats.map(|(step, _)| (step, 1));
        let each = each.chain(histograms.map(|(step, h)| (*step as usize, weight(h))));
        self.count(column.len(), each);
    }

    /// Counts what lies in the windows over one series.
    pub(super) fn count_windows(&self, samples: &SeriesSamples, windows: &Windows) {
        // Of each histogram, what it and all before it count for.
        let mut upto = vec![0];
        for point in &samples.histograms {
            upto.push(upto[upto.len() - 1] + weight(&point.histogram));
        }
        let within = |window: &Window| {
            let histograms = window.histograms();
            window.floats().len() as u64 + upto[histograms.end] - upto[histograms.start]
        };
        let each = windows.windows.iter().map(within).enumerate();
        self.count(windows.windows.len(), each);
    }

    /// Counts samples by step; `steps` is how many there are. What is evaluated once stands for
    /// all steps; of the one step of an instant query, all within belongs to it.
    fn count(&self, steps: usize, each: impl Iterator<Item = (usize, u64)>) {
        let samples = self.observer.and_then(|observer| observer.samples.as_ref());
        let (Some(samples), Counted::All) = (samples, self.counted) else {
            return;
        };
        let mut samples = samples.lock().unwrap_or_else(PoisonError::into_inner);
        for (step, count) in each {
            match (samples.len(), steps) {
                (1, _) => samples[0] += count,
                (_, 1) => samples.iter_mut().for_each(|sum| *sum += count),
                _ => samples[step] += count,
            }
        }
    }

    /// Whether samples are counted here.
    pub(super) fn counts_samples(&self) -> bool {
        self.counted == Counted::All && self.observer.is_some_and(Observer::counts_samples)
    }
}

/// Looks at what a selector loads.
pub(super) struct Loading<'e> {
    nodes: &'e Nodes<'e>,
    since: Duration,
    seen: Seen,
}

impl Loading<'_> {
    /// A series was loaded, and goes to whoever asked for it.
    pub(super) fn loaded(&mut self, samples: usize) {
        self.seen.series += 1;
        self.seen.samples += samples as u64;
        self.seen.time += (self.nodes.stopwatch)().saturating_sub(self.since);
    }

    /// The next is asked for.
    pub(super) fn goes_on(&mut self) {
        self.since = (self.nodes.stopwatch)();
    }

    /// There are no more.
    pub(super) fn ended(mut self, select: &Select) {
        self.seen.time += (self.nodes.stopwatch)().saturating_sub(self.since);
        self.nodes.add(Key::of_select(select), self.seen);
    }
}

/// The values of a column.
fn points(column: &Column) -> u64 {
    let floats = column.floats.iter().filter(|value| !is_absent(**value));
    (floats.count() + column.histograms.len()) as u64
}

/// How many floats with their times take the memory of a histogram with its time. What the
/// fields beside the buckets take is that of Prometheus, so that the counts agree.
fn weight(histogram: &FloatHistogram) -> u64 {
    const FIELDS_BYTES: usize = 168;
    const TIME_BYTES: usize = 8;
    let spans = histogram.positive_spans.len() + histogram.negative_spans.len();
    let buckets = histogram.positive_buckets.len() + histogram.negative_buckets.len();
    let lists = 8 * (spans + buckets + histogram.custom_values.len());
    ((FIELDS_BYTES + lists + TIME_BYTES) / 16) as u64
}
