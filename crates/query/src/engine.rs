//! Where the API meets `promql`: limits become options, storage becomes a source of series, and
//! errors of the engine become errors of the API.

use std::time::Duration;

use model::limits::Limits;
use model::matcher::Matcher;
use model::select::{SelectError, SelectRequest, SeriesSet, Skipped};
use model::tenant::TenantId;
use model::time::{Clock, TimestampMs};
use promql::ast::{Expr, ExprKind};
use promql::eval::{
    CancelFlag, Cores, EvalError, EvalLimits, EvalOptions, Observer, QueryStats, QueryTime,
    Queryable, evaluate_observed,
};
use promql::parse::{ParseError, ParseOptions};
use promql::plan::{Explained, Plan, PlanError};
use promql::value::QueryValue;
use tokio::time::Instant;
use wire::service::ReadService;

use crate::api::error::{ApiError, ErrorType, error_type};

/// The resolution of subqueries that name none, in milliseconds.
const SUBQUERY_STEP_MS: i64 = 60_000;

/// So many warnings, and so many infos, are told of a query.
const MAX_ANNOTATIONS: usize = 10;

/// What an evaluation comes to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The answer.
    pub value: QueryValue,
    /// What the author of the query ought to know.
    pub warnings: Vec<String>,
    /// What may be of interest.
    pub infos: Vec<String>,
    /// What it took.
    pub stats: QueryStats,
    /// The samples that each step looked at, where they were to be counted.
    pub samples_per_step: Vec<u64>,
    /// The plan with what each node took, where that was to be measured.
    pub explained: Option<Explained>,
    /// How long it took to plan it.
    pub planned: Duration,
}

/// Parses a query within the tenant's limits.
///
/// # Errors
/// Where the text is no query, too long, or nested too deep.
pub fn parse(text: &str, limits: &Limits) -> Result<Expr, ParseError> {
    promql::parse::parse(text, &options(limits))
}

/// Parses a series selector, as in `match[]`, within the tenant's limits.
///
/// # Errors
/// Where the text is no selector, or too long.
pub fn parse_selector(text: &str, limits: &Limits) -> Result<Vec<Matcher>, ParseError> {
    promql::parse::parse_selector(text, &options(limits))
}

fn options(limits: &Limits) -> ParseOptions {
    ParseOptions {
        max_bytes: usize::try_from(limits.max_query_bytes.0).unwrap_or(usize::MAX),
        experimental: limits.experimental_promql,
        ..ParseOptions::default()
    }
}

/// The matchers of every selector in an expression.
pub fn selectors(expr: &Expr) -> Vec<Vec<Matcher>> {
    let mut sets = Vec::new();
    expr.visit(&mut |one| {
        if let ExprKind::Selector(selector) | ExprKind::Range(selector, _) = &one.kind {
            sets.push(selector.matchers.clone());
        }
    });
    sets
}

/// One tenant's series, as the engine asks for them.
struct Source<'a> {
    read: &'a dyn ReadService,
    tenant: &'a TenantId,
    max_series: usize,
    skipped: Skipped,
}

impl Queryable for Source<'_> {
    fn select(&self, request: &SelectRequest) -> Result<Box<dyn SeriesSet>, SelectError> {
        let mut request = request.clone();
        // The tighter of both bounds, where 0 is none.
        request.max_series = match (request.max_series, self.max_series) {
            (0, limit) | (limit, 0) => limit,
            (asked, limit) => asked.min(limit),
        };
        request.skipped = self.skipped.clone();
        self.read.select(self.tenant, &request)
    }
}

/// Whether a tenant's reads go on without what can't be read.
pub(crate) fn skipped_of(limits: &Limits) -> Skipped {
    match limits.partial_answers {
        true => Skipped::allowed(),
        false => Skipped::default(),
    }
}

/// What an evaluation needs beside its query.
pub struct Run<'a> {
    /// Where samples come from.
    pub read: &'a dyn ReadService,
    /// Whose samples.
    pub tenant: &'a TenantId,
    /// The tenant's limits.
    pub limits: &'a Limits,
    /// The lookback, in milliseconds, where it is not the tenant's.
    pub lookback_ms: Option<i64>,
    /// How much time is left.
    pub time_left: Duration,
    /// Stops it.
    pub cancel: CancelFlag,
    /// The cores that all queries share.
    pub cores: Cores,
    /// What time it is.
    pub clock: &'a dyn Clock,
    /// Whether samples are counted by step.
    pub counting: bool,
    /// Whether each node of the plan is measured.
    pub measuring: bool,
}

impl Run<'_> {
    /// Evaluates an expression; `text` is what it was parsed from.
    ///
    /// # Errors
    /// Where the data don't fit the query, a limit is hit, storage fails, or it was stopped.
    pub fn evaluate(self, expr: &Expr, text: &str, time: QueryTime) -> Result<Outcome, ApiError> {
        let source = Source {
            read: self.read,
            tenant: self.tenant,
            max_series: self.limits.max_series_per_query,
            skipped: skipped_of(self.limits),
        };
        let options = EvalOptions {
            lookback_ms: self.lookback_ms.unwrap_or(self.limits.lookback_delta.0),
            subquery_step_ms: SUBQUERY_STEP_MS,
            use_start_timestamps: self.limits.experimental_promql,
            delayed_name_removal: self.limits.delayed_name_removal,
        };
        let left_ms = TimestampMs::try_from(self.time_left.as_millis()).unwrap_or(TimestampMs::MAX);
        let limits = EvalLimits {
            max_samples: self.limits.max_samples_per_query,
            max_memory_bytes: usize::try_from(self.limits.max_memory_per_query.0)
                .unwrap_or(usize::MAX),
            max_series: self.limits.max_series_per_query,
            deadline_ms: Some(self.clock.now_ms().saturating_add(left_ms)),
            cancel: self.cancel,
            cores: self.cores,
        };
        let begun = Instant::now();
        let stopwatch = || begun.elapsed();
        let plan = Plan::new(expr, time).map_err(|error| match error {
            PlanError::Length(error) => ApiError::new(
                ErrorType::BadData,
                format!("invalid parameter \"query\": {error}"),
            ),
            PlanError::NoThread(_) => ApiError::new(ErrorType::Unavailable, error.to_string()),
        })?;
        let planned = begun.elapsed();
        let mut observer = Observer::new();
        if self.counting {
            observer = observer.counting_samples();
        }
        if self.measuring {
            observer = observer.measuring_nodes(&stopwatch);
        }
        let observed = Some(&observer).filter(|_| self.counting || self.measuring);
        let evaluation =
            evaluate_observed(&plan, &source, time, options, &limits, self.clock, observed)?;
        let mut warnings = told(evaluation.annotations.warnings(text), "warning");
        warnings.extend(source.skipped.texts());
        Ok(Outcome {
            warnings,
            infos: told(evaluation.annotations.infos(text), "info"),
            value: evaluation.value,
            stats: evaluation.stats,
            samples_per_step: observer.samples_per_step(),
            explained: self.measuring.then(|| plan.explained(&observer)),
            planned,
        })
    }
}

/// The first of the annotations, and how many there are more.
fn told(mut all: Vec<String>, kind: &str) -> Vec<String> {
    let more = all.len().saturating_sub(MAX_ANNOTATIONS);
    if more > 0 {
        all.truncate(MAX_ANNOTATIONS);
        all.push(format!("{more} more {kind} annotations omitted"));
    }
    all
}

impl From<EvalError> for ApiError {
    fn from(error: EvalError) -> Self {
        let kind = match &error {
            EvalError::Canceled => ErrorType::Canceled,
            EvalError::Timeout => ErrorType::Timeout,
            other => error_type(other.kind()),
        };
        Self::new(kind, error.to_string())
    }
}
