//! What there is: series, label names, label values, metadata.

use std::collections::BTreeMap;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use model::matcher::Matcher;
use model::time::TimeRange;
use model::write::MetricMetadata;
use serde_json::json;
use wire::api_json;
use wire::service::LookupRequest;

use super::answer::Answer;
use super::error::{ApiError, ErrorType};
use super::escape::unescape;
use super::params::Params;
use super::{Asked, Asker, Job, Shared};
use crate::engine;

/// Sets of matchers a request may have.
const MAX_MATCHER_SETS: usize = 100;

pub(crate) async fn series(State(api): Shared, asker: Asker, asked: Asked) -> Response {
    let endpoint = "series";
    let work = asked.and_then(|params| {
        if params.all("match[]").next().is_none() {
            let text = "no match[] parameter provided";
            return Err(ApiError::new(ErrorType::BadData, text));
        }
        lookup(&params)
    });
    match work {
        Err(error) => api.refuse(endpoint, error),
        Ok(lookup) => {
            api.run(endpoint, asker, None, move |job| {
                let named = |error: ApiError| match error.kind {
                    ErrorType::BadData => ApiError::parameter("match[]", error),
                    _ => error,
                };
                let request = lookup.request(job).map_err(named)?;
                let found = job.api.deps.read.series(&job.tenant, &request)?;
                Ok(Answer::list(found.items, api_json::labels)
                    .truncated(found.truncated)
                    .without(&request.bounds.skipped))
            })
            .await
        }
    }
}

pub(crate) async fn labels(State(api): Shared, asker: Asker, asked: Asked) -> Response {
    match asked.and_then(|params| lookup(&params)) {
        Err(error) => api.refuse("labels", error),
        Ok(lookup) => {
            api.run("labels", asker, None, move |job| {
                let request = lookup.request(job)?;
                let found = job.api.deps.read.label_names(&job.tenant, &request)?;
                let push = |out: &mut Vec<u8>, name: &String| api_json::string(out, name);
                Ok(Answer::list(found.items, push)
                    .truncated(found.truncated)
                    .without(&request.bounds.skipped))
            })
            .await
        }
    }
}

pub(crate) async fn values(
    State(api): Shared,
    asker: Asker,
    name: Result<Path<String>, PathRejection>,
    asked: Asked,
) -> Response {
    let endpoint = "label_values";
    let name = match name {
        Ok(Path(name)) => unescape(&name),
        Err(rejected) => {
            let text = format!("invalid label name: {}", rejected.body_text());
            return api.refuse(endpoint, ApiError::new(ErrorType::BadData, text));
        }
    };
    if name.is_empty() {
        let error = ApiError::new(ErrorType::BadData, format!("invalid label name: {name:?}"));
        return api.refuse(endpoint, error);
    }
    match asked.and_then(|params| lookup(&params)) {
        Err(error) => api.refuse(endpoint, error),
        Ok(lookup) => {
            api.run(endpoint, asker, None, move |job| {
                let request = lookup.request(job)?;
                let found = job
                    .api
                    .deps
                    .read
                    .label_values(&job.tenant, &name, &request)?;
                let push = |out: &mut Vec<u8>, value: &String| api_json::string(out, value);
                Ok(Answer::list(found.items, push)
                    .truncated(found.truncated)
                    .without(&request.bounds.skipped))
            })
            .await
        }
    }
}

/// What a look-up asks for, its selectors not yet parsed: that is work for the pool.
struct Lookup {
    selectors: Vec<String>,
    range: TimeRange,
    limit: usize,
}

fn lookup(params: &Params) -> Result<Lookup, ApiError> {
    let selectors: Vec<String> = params.all("match[]").map(str::to_owned).collect();
    if selectors.len() > MAX_MATCHER_SETS {
        let reason = format!("more than {MAX_MATCHER_SETS} selectors; ask in several requests");
        return Err(ApiError::parameter("match[]", reason));
    }
    Ok(Lookup {
        limit: params.limit()?,
        range: params.range()?,
        selectors,
    })
}

impl Lookup {
    fn request(&self, job: &Job) -> Result<LookupRequest, ApiError> {
        Ok(LookupRequest {
            limit: self.limit,
            range: self.range,
            bounds: job.lookup_bounds(),
            matcher_sets: matcher_sets(&self.selectors, job)?,
        })
    }
}

fn matcher_sets(selectors: &[String], job: &Job) -> Result<Vec<Vec<Matcher>>, ApiError> {
    let mut sets = Vec::new();
    for text in selectors {
        let set = engine::parse_selector(text, &job.limits);
        sets.push(set.map_err(|error| ApiError::promql(&error))?);
    }
    // All are read before one is weighed.
    if sets
        .iter()
        .any(|set| set.iter().all(Matcher::matches_empty))
    {
        let text = "match[] must contain at least one non-empty matcher";
        return Err(ApiError::new(ErrorType::BadData, text));
    }
    Ok(sets)
}

pub(crate) async fn metadata(State(api): Shared, asker: Asker, asked: Asked) -> Response {
    let wanted = asked.and_then(|params| {
        Ok((
            params.get("metric").map(str::to_owned),
            params.count("limit")?,
            params.count("limit_per_metric")?.filter(|n| *n > 0),
        ))
    });
    match wanted {
        Err(error) => api.refuse("metadata", error),
        Ok((metric, limit, per_metric)) => {
            api.run("metadata", asker, None, move |job| {
                let all = job.api.deps.read.metadata(&job.tenant, metric.as_deref())?;
                Ok(Answer::value(by_metric(&all, limit, per_metric)))
            })
            .await
        }
    }
}

fn by_metric(
    all: &[MetricMetadata],
    limit: Option<usize>,
    per_metric: Option<usize>,
) -> serde_json::Value {
    let mut metrics: BTreeMap<&str, Vec<serde_json::Value>> = BTreeMap::new();
    for one in all {
        if !metrics.contains_key(one.metric.as_str()) && limit.is_some_and(|n| metrics.len() >= n) {
            continue;
        }
        let known = metrics.entry(one.metric.as_str()).or_default();
        if per_metric.is_none_or(|n| known.len() < n) {
            known.push(json!({"type": one.kind.as_str(), "help": one.help, "unit": one.unit}));
        }
    }
    json!(metrics)
}
