//! `query` and `query_range`: parameters in, the value of an expression out.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use model::labels::Labels;
use model::time::TimestampMs;
use promql::eval::QueryTime;
use promql::value::{PointValue, QueryValue, Series, ValueType, VectorPoint};
use serde_json::json;
use tokio::time::Instant;
use wire::api_json;

use super::answer::{Answer, TRUNCATED};
use super::body::BodyBuilder;
use super::error::{ApiError, ErrorType};
use super::params::Params;
use super::{Api, Asked, Asker, Job, Shared};
use crate::engine::{self, Outcome, Run};

/// Points a series of a range query may have.
const MAX_POINTS: i64 = 11_000;

/// About the bytes of a histogram of a result.
const HISTOGRAM_BYTES: usize = 512;

/// What is asked for.
struct Wanted {
    query: String,
    time: QueryTime,
    /// Series to answer with; 0: all.
    limit: usize,
    /// The lookback, in milliseconds, where it is not the tenant's.
    lookback_ms: Option<i64>,
    timeout: Option<Duration>,
    stats: bool,
}

pub(crate) async fn instant(State(api): Shared, asker: Asker, asked: Asked) -> Response {
    let now = api.deps.clock.now_ms();
    let wanted = asked.and_then(|params| {
        let limit = params.limit()?;
        let at = params.time("time")?.unwrap_or(now);
        wanted(&params, limit, QueryTime::instant(at))
    });
    evaluate(&api, "query", asker, wanted).await
}

pub(crate) async fn range(State(api): Shared, asker: Asker, asked: Asked) -> Response {
    let wanted = asked.and_then(|params| {
        let limit = params.limit()?;
        let time = range_time(&params)?;
        wanted(&params, limit, time)
    });
    evaluate(&api, "query_range", asker, wanted).await
}

fn wanted(params: &Params, limit: usize, time: QueryTime) -> Result<Wanted, ApiError> {
    let lookback = params.positive_duration("lookback_delta")?;
    Ok(Wanted {
        query: params.get("query").unwrap_or_default().to_owned(),
        time,
        limit,
        lookback_ms: lookback.map(|d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)),
        timeout: params.positive_duration("timeout")?,
        stats: params.get("stats").is_some(),
    })
}

fn range_time(params: &Params) -> Result<QueryTime, ApiError> {
    let start = params.required_time("start")?;
    let end = params.required_time("end")?;
    if end < start {
        return Err(ApiError::parameter(
            "end",
            "end timestamp must not be before start time",
        ));
    }
    let step = params.duration_ms("step")?;
    let step =
        step.ok_or_else(|| ApiError::parameter("step", "cannot parse \"\" to a valid duration"))?;
    if step <= 0 {
        let reason =
            "zero or negative query resolution step widths are not accepted; try a positive number";
        return Err(ApiError::parameter("step", reason));
    }
    // Both ends are within a quarter of i64: no overflow.
    if (end - start) / step > MAX_POINTS {
        let text = "exceeded maximum resolution of 11,000 points per timeseries; ask for a shorter range or a larger step";
        return Err(ApiError::new(ErrorType::BadData, text));
    }
    Ok(QueryTime::range(start, end, step))
}

async fn evaluate(
    api: &Arc<Api>,
    endpoint: &'static str,
    asker: Asker,
    wanted: Result<Wanted, ApiError>,
) -> Response {
    match wanted {
        Err(error) => api.refuse(endpoint, error),
        Ok(wanted) => {
            let timeout = wanted.timeout;
            api.run(endpoint, asker, timeout, move |job| answer(job, wanted))
                .await
        }
    }
}

fn answer(job: &Job, wanted: Wanted) -> Result<Answer, ApiError> {
    let started = Instant::now();
    let parsed = engine::parse(&wanted.query, &job.limits);
    let expr = parsed.map_err(|e| ApiError::promql("query", &e))?;
    check_type(expr.value_type(), wanted.time)?;
    let run = Run {
        read: &*job.api.deps.read,
        tenant: &job.tenant,
        limits: &job.limits,
        lookback_ms: wanted.lookback_ms,
        time_left: job.deadline.saturating_duration_since(started),
        cancel: job.cancel.clone(),
        clock: &*job.api.deps.clock,
    };
    let outcome = run.evaluate(&expr, &wanted.query, wanted.time);
    let took = started.elapsed();
    let samples = outcome.as_ref().map_or(0, |outcome| outcome.samples);
    job.api.ran(job, &wanted.query, took, samples);
    let mut outcome = outcome?;
    let cut = truncate(&mut outcome.value, wanted.limit);
    let stats = wanted.stats.then(|| stats(job, &outcome, took));
    let Outcome {
        value,
        mut warnings,
        infos,
        ..
    } = outcome;
    if cut {
        warnings.push(TRUNCATED.to_owned());
    }
    let data_bytes = bytes_of(&value);
    let mut answer = Answer::new(move |out| push_result(out, &value, stats.as_ref()));
    answer.warnings = warnings;
    answer.infos = infos;
    answer.data_bytes = data_bytes;
    Ok(answer)
}

/// About the bytes a value takes.
fn bytes_of(value: &QueryValue) -> usize {
    let labels = |labels: &Labels| size_of::<Series>() + labels.heap_bytes();
    match value {
        QueryValue::Scalar(..) => 0,
        QueryValue::String(_, text) => text.len(),
        QueryValue::Vector(points) => points.iter().map(|point| labels(&point.labels)).sum(),
        QueryValue::Matrix(all) => {
            let each = all.iter().map(|series| {
                labels(&series.labels)
                    + size_of_val(series.floats.as_slice())
                    + series.histograms.len() * HISTOGRAM_BYTES
            });
            each.sum()
        }
    }
}

/// A range query has a number at each step: neither windows nor texts.
fn check_type(found: ValueType, time: QueryTime) -> Result<(), ApiError> {
    if time.instant || matches!(found, ValueType::Scalar | ValueType::Vector) {
        return Ok(());
    }
    let reason = format!(
        "invalid expression type {:?} for range query, must be Scalar or instant Vector",
        found.name()
    );
    Err(ApiError::parameter("query", reason))
}

/// Leaves so many series, and says whether there were more.
fn truncate(value: &mut QueryValue, limit: usize) -> bool {
    if limit == 0 {
        return false;
    }
    match value {
        QueryValue::Vector(all) if all.len() > limit => all.truncate(limit),
        QueryValue::Matrix(all) if all.len() > limit => all.truncate(limit),
        _ => return false,
    }
    true
}

fn stats(job: &Job, outcome: &Outcome, took: Duration) -> serde_json::Value {
    let (waited, took) = (job.waited.as_secs_f64(), took.as_secs_f64());
    json!({
        "timings": {
            "evalTotalTime": took,
            "resultSortTime": 0.0,
            "queryPreparationTime": 0.0,
            "innerEvalTime": took,
            "execQueueTime": waited,
            "execTotalTime": took + waited,
        },
        "samples": {
            "totalQueryableSamples": outcome.samples,
            "peakSamples": outcome.samples,
            "peakMemoryBytes": outcome.peak_bytes,
        },
    })
}

fn push_result(out: &mut BodyBuilder, value: &QueryValue, stats: Option<&serde_json::Value>) {
    out.text.extend_from_slice(b"{\"resultType\":\"");
    out.text
        .extend_from_slice(value.value_type().api_name().as_bytes());
    out.text.extend_from_slice(b"\",\"result\":");
    match value {
        QueryValue::Scalar(t, v) => api_json::float_point(&mut out.text, *t, *v),
        QueryValue::String(t, text) => push_string(&mut out.text, *t, text),
        QueryValue::Vector(points) => push_list(out, points, push_vector_point),
        QueryValue::Matrix(series) => push_list(out, series, push_series),
    }
    if let Some(stats) = stats {
        out.text.extend_from_slice(b",\"stats\":");
        out.text.extend_from_slice(stats.to_string().as_bytes());
    }
    out.text.push(b'}');
}

fn push_list<T>(out: &mut BodyBuilder, items: &[T], each: impl Fn(&mut BodyBuilder, &T)) {
    out.text.push(b'[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.text.push(b',');
        }
        each(out, item);
        if !out.flush_full() {
            return;
        }
    }
    out.text.push(b']');
}

fn push_string(out: &mut Vec<u8>, t: TimestampMs, text: &str) {
    out.push(b'[');
    api_json::timestamp(out, t);
    out.push(b',');
    api_json::string(out, text);
    out.push(b']');
}

fn push_vector_point(out: &mut BodyBuilder, point: &VectorPoint) {
    let out = &mut out.text;
    out.extend_from_slice(b"{\"metric\":");
    api_json::labels(out, &point.labels);
    match &point.value {
        PointValue::Float(v) => {
            out.extend_from_slice(b",\"value\":");
            api_json::float_point(out, point.t, *v);
        }
        PointValue::Histogram(histogram) => {
            out.extend_from_slice(b",\"histogram\":");
            api_json::histogram_point(out, point.t, histogram);
        }
    }
    out.push(b'}');
}

fn push_series(out: &mut BodyBuilder, series: &Series) {
    out.text.extend_from_slice(b"{\"metric\":");
    api_json::labels(&mut out.text, &series.labels);
    if !series.floats.is_empty() {
        out.text.extend_from_slice(b",\"values\":");
        push_list(out, &series.floats, |out, (t, v)| {
            api_json::float_point(&mut out.text, *t, *v)
        });
    }
    if !series.histograms.is_empty() {
        out.text.extend_from_slice(b",\"histograms\":");
        push_list(out, &series.histograms, |out, (t, h)| {
            api_json::histogram_point(&mut out.text, *t, h);
        });
    }
    out.text.push(b'}');
}
