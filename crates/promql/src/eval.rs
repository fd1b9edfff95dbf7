//! Evaluation: a plan, over a source of series, to a value.
//!
//! Nodes of vectors are streams: a node pushes its series, one after the other, each as a column
//! over all steps, into a sink (`stream`). Functions and operators with scalars work in place on
//! the column that passes through; an aggregation folds it into the accumulator of its group; what
//! needs whole vectors (matching, sorting, quantiles of buckets) collects them first.

pub mod column;
pub mod kernel;
pub mod operator;
mod budget;
mod order;
mod cores;
mod observe;
mod tag;
mod stream;
mod parallel;
mod shared;
mod select;
mod smooth;
mod made;
mod collect;
mod scalar;
mod special;
mod labels;
mod buckets;
mod aggregate;
mod accumulate;
mod rank;
mod matching;
mod info;
mod result;

use std::cell::RefCell;

use model::ErrorKind;
use model::select::{SelectError, SelectRequest, SeriesSet};
use model::time::{Clock, TimestampMs};

use crate::annotations::Annotations;
use crate::plan::Plan;
use crate::stack::{MAX_DEPTH_INLINE, on_large_stack};
use crate::value::QueryValue;
use budget::Budget;
pub use budget::{CancelFlag, EvalLimits, QueryStats};
use column::Steps;
pub use cores::Cores;
use observe::Counted;
pub use observe::{Observer, Stopwatch};
use shared::Shared;

/// A source of series.
pub trait Queryable: Sync {
    /// The series that match, with their samples.
    ///
    /// # Errors
    /// Where more series match than allowed, or storage fails.
    fn select(&self, request: &SelectRequest) -> Result<Box<dyn SeriesSet>, SelectError>;
}

/// When a query is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryTime {
    /// The first step.
    pub start: TimestampMs,
    /// The last instant a step may have.
    pub end: TimestampMs,
    /// Milliseconds between steps; ignored for an instant query.
    pub step_ms: i64,
    /// Whether the query is for one instant, so that its answer is a vector and not a matrix.
    pub instant: bool,
}

impl QueryTime {
    /// An instant query.
    pub fn instant(t: TimestampMs) -> Self {
        Self {
            start: t,
            end: t,
            step_ms: 0,
            instant: true,
        }
    }

    /// A range query.
    pub fn range(start: TimestampMs, end: TimestampMs, step_ms: i64) -> Self {
        Self {
            start,
            end,
            step_ms,
            instant: false,
        }
    }
}

/// How a query is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvalOptions {
    /// How far back an instant selector looks, in milliseconds.
    pub lookback_ms: i64,
    /// The resolution of subqueries that name none, in milliseconds.
    pub subquery_step_ms: i64,
    /// Whether start timestamps tell resets of counters, and where counters begin.
    pub use_start_timestamps: bool,
    /// Whether the name, type and unit of a metric are dropped at the end of a query only, so that
    /// what comes between can use them.
    pub delayed_name_removal: bool,
}

impl Default for EvalOptions {
    fn default() -> Self {
        Self {
            lookback_ms: 300_000,
            subquery_step_ms: 60_000,
            use_start_timestamps: false,
            delayed_name_removal: false,
        }
    }
}

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The query can't be executed on the data there is.
    #[error("{0}")]
    Execution(String),
    /// Over a limit.
    #[error("{0}")]
    TooMuch(String),
    /// It was stopped.
    #[error("query was canceled in expression evaluation")]
    Canceled,
    /// It took too long.
    #[error("query timed out in expression evaluation (limit query_timeout, parameter timeout)")]
    Timeout,
    /// There is no thread to evaluate it on.
    #[error("{0}")]
    Unavailable(String),
    /// A fault of ours.
    #[error("evaluation of the query failed: this is a fault of the server")]
    Internal,
    /// Storage failed.
    #[error("expanding series: {0}")]
    Storage(#[from] SelectError),
}

impl EvalError {
    /// Its kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Execution(_) => ErrorKind::Invalid,
            Self::TooMuch(_) => ErrorKind::TooMany,
            Self::Canceled | Self::Timeout | Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Internal => ErrorKind::Internal,
            Self::Storage(error) => error.kind,
        }
    }

    pub(crate) fn same_labels() -> Self {
        Self::Execution("vector cannot contain metrics with the same labelset".to_owned())
    }
}

/// A query's answer.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The value.
    pub value: QueryValue,
    /// Warnings and infos.
    pub annotations: Annotations,
    /// What it took.
    pub stats: QueryStats,
}

/// Evaluates a plan.
///
/// # Errors
/// Where the data don't fit the query (matching, duplicate labels), a limit is hit, storage
/// fails, or the query was stopped.
pub fn evaluate(
    plan: &Plan,
    source: &dyn Queryable,
    time: QueryTime,
    options: EvalOptions,
    limits: &EvalLimits,
    clock: &(dyn Clock + Sync),
) -> Result<Evaluation, EvalError> {
    evaluate_observed(plan, source, time, options, limits, clock, None)
}

/// Evaluates a plan, and lets an observer see how.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_observed(
    plan: &Plan,
    source: &dyn Queryable,
    time: QueryTime,
    options: EvalOptions,
    limits: &EvalLimits,
    clock: &(dyn Clock + Sync),
    observer: Option<&Observer<'_>>,
) -> Result<Evaluation, EvalError> {
    let run = || {
        let steps = if time.instant {
            Steps::instant(time.start)
        } else {
            Steps::range(time.start, time.end, time.step_ms)
        };
        let _running = limits.cores.enter();
        let budget = Budget::new(limits, clock);
        let annotations = RefCell::default();
        let shared = Shared::new(&plan.shared);
        let evaluator = Evaluator {
            source,
            time,
            steps,
            options,
            budget: &budget,
            annotations: &annotations,
            cores: Some(&limits.cores).filter(|cores| cores.lends()),
            observer,
            counted: Counted::All,
            // Who counts samples counts those of each use.
            shared: Some(&shared)
                .filter(|_| !plan.shared.is_empty())
                .filter(|_| observer.is_none_or(|observer| !observer.counts_samples())),
        };
        let held = budget.hold_steps(steps.count)?;
        if let Some(observer) = observer {
            observer.begin(steps.count);
        }
        let value = evaluator.value(plan, steps)?;
        drop(held);
        Ok(Evaluation {
            value,
            stats: budget.stats(),
            annotations: annotations.into_inner(),
        })
    };
    if plan.depth <= MAX_DEPTH_INLINE {
        // All that a panic could leave half done is dropped here.
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        return caught.unwrap_or(Err(EvalError::Internal));
    }
    let joined = on_large_stack(run).map_err(|error| {
        EvalError::Unavailable(format!("no thread to evaluate a complex query: {error}"))
    })?;
    joined.unwrap_or(Err(EvalError::Internal))
}

/// One evaluation.
#[derive(Clone, Copy)]
struct Evaluator<'a> {
    source: &'a dyn Queryable,
    time: QueryTime,
    /// The steps of the query itself; subqueries have others.
    steps: Steps,
    options: EvalOptions,
    budget: &'a Budget<'a>,
    annotations: &'a RefCell<Annotations>,
    /// Where helpers come from; `None`: there are none to be had.
    cores: Option<&'a Cores>,
    /// Who watches.
    observer: Option<&'a Observer<'a>>,
    /// Which samples are counted here.
    counted: Counted,
    /// What is kept of vectors that occur more than once; `None`: nothing is to be kept.
    shared: Option<&'a Shared>,
}

#[cfg(test)]
mod tests;
