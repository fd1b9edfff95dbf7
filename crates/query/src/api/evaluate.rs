//! `query` and `query_range`: parameters in, the value of an expression out.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use promql::eval::QueryTime;
use promql::value::ValueType;
use tokio::time::Instant;

use super::answer::{Answer, TRUNCATED};
use super::error::{ApiError, ErrorType};
use super::params::Params;
use super::told::{self, Timings, Told};
use super::{Api, Asked, Asker, Job, Shared, result};
use crate::engine::{self, Outcome, Run};

/// Points a series of a range query may have.
const MAX_POINTS: i64 = 11_000;

/// What is asked for.
struct Wanted {
    query: String,
    time: QueryTime,
    /// Series to answer with; 0: all.
    limit: usize,
    /// The lookback, in milliseconds, where it is not the tenant's.
    lookback_ms: Option<i64>,
    timeout: Option<Duration>,
    told: Told,
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

/// Reads the rest. Of several wrong parameters the one is told that Prometheus looks at first.
fn wanted(params: &Params, limit: usize, time: QueryTime) -> Result<Wanted, ApiError> {
    Ok(Wanted {
        time,
        limit,
        timeout: params.timeout()?,
        lookback_ms: params.lookback_ms()?,
        query: params.get("query").unwrap_or_default().to_owned(),
        told: Told::of(params)?,
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
    let step = params.required_duration_ms("step")?;
    if step <= 0 {
        let reason = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::parameter("step", reason));
    }
    // Both ends are within a quarter of i64: no overflow.
    if (end - start) / step > MAX_POINTS {
        let text = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
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
    let expr = parsed.map_err(|e| ApiError::query(&e))?;
    check_type(expr.value_type(), wanted.time)?;
    let run = Run {
        read: &*job.api.deps.read,
        tenant: &job.tenant,
        limits: &job.limits,
        lookback_ms: wanted.lookback_ms,
        time_left: job.deadline.saturating_duration_since(started),
        cancel: job.cancel.clone(),
        cores: job.api.cores.clone(),
        clock: &*job.api.deps.clock,
        counting: wanted.told.stats,
        measuring: wanted.told.explain.is_some(),
    };
    let parsed = started.elapsed();
    let outcome = run.evaluate(&expr, &wanted.query, wanted.time);
    let took = started.elapsed();
    let samples = outcome.as_ref().map_or(0, |outcome| outcome.stats.samples);
    job.api.ran(job, &wanted.query, took, samples);
    let mut outcome = outcome?;
    let cut = result::truncate(&mut outcome.value, wanted.limit);
    let timings = Timings {
        waited: job.waited,
        prepared: parsed + outcome.planned,
        took,
    };
    let told = wanted.told;
    let stats = told
        .stats
        .then(|| told.stats(&outcome, wanted.time, &timings));
    let explain = outcome.explained.as_ref().zip(told.explain);
    let explain = explain.map(|(explained, form)| told::explain(explained, form));
    let Outcome {
        value,
        mut warnings,
        infos,
        ..
    } = outcome;
    if cut {
        warnings.push(TRUNCATED.to_owned());
    }
    let data_bytes = result::bytes_of(&value);
    let mut answer = Answer::new(move |out| {
        out.text.push(b'{');
        result::push(out, &value);
        for (name, told) in [("stats", stats), ("explain", explain)] {
            if let Some(told) = told {
                let member = format!(",\"{name}\":{told}");
                out.text.extend_from_slice(member.as_bytes());
            }
        }
        out.text.push(b'}');
    });
    answer.warnings = warnings;
    answer.infos = infos;
    answer.data_bytes = data_bytes;
    Ok(answer)
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
