//! About the server itself: version, what is in memory, and what Grafana asks on the way.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use wire::service::{HeadStatus, NameCount};

use super::answer::Answer;
use super::error::ApiError;
use super::{Asked, Asker, Shared};

/// The rows of a table of `status/tsdb`, unless asked otherwise, and at most.
const DEFAULT_ROWS: usize = 10;
const MAX_ROWS: usize = 10_000;

/// Grafana takes a server whose `features` is empty for a plain Prometheus, which is what this
/// is until rules can be edited through it.
pub(crate) async fn build_info(State(api): Shared) -> Response {
    let build = api.config.build;
    api.tell(json!({
        "application": "Tidemark",
        "version": build.version,
        "revision": build.revision,
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
        "features": {},
    }))
}

/// No rules are loaded: a list without groups.
pub(crate) async fn rules(State(api): Shared, _asker: Asker) -> Response {
    api.tell(json!({ "groups": [] }))
}

/// No rules, no alerts.
pub(crate) async fn alerts(State(api): Shared, _asker: Asker) -> Response {
    api.tell(json!({ "alerts": [] }))
}

pub(crate) async fn features(State(api): Shared, asker: Asker) -> Response {
    let limits = (api.deps.limits)(&asker.tenant);
    api.tell(json!({
        "api": {
            "exemplars": true,
            "labels_limit": true,
            "query_stats": true,
            "query_warnings": true,
            "query_infos": true,
        },
        "promql": {
            "at_modifier": true,
            "negative_offset": true,
            "subqueries": true,
            "experimental_functions": limits.experimental_promql,
            "duration_expr": limits.experimental_promql,
            "anchored": limits.experimental_promql,
            "smoothed": limits.experimental_promql,
            "fill": limits.experimental_promql,
            "fill_left": limits.experimental_promql,
            "fill_right": limits.experimental_promql,
            "use_start_timestamps": limits.experimental_promql,
            "delayed_name_removal": limits.delayed_name_removal,
        },
        "ingestion": {
            "remote_write_v1": true,
            "remote_write_v2": true,
            "native_histograms": true,
            "exemplars": limits.max_exemplars > 0,
            "out_of_order": limits.out_of_order_time_window.0 > 0,
        },
    }))
}

pub(crate) async fn tsdb(State(api): Shared, asker: Asker, asked: Asked) -> Response {
    let rows = asked.and_then(|params| match params.get("limit") {
        None => Ok(DEFAULT_ROWS),
        Some(text) => text
            .parse()
            .ok()
            .filter(|rows| (1..=MAX_ROWS).contains(rows))
            .ok_or_else(|| {
                ApiError::parameter("limit", format!("must be a number from 1 to {MAX_ROWS}"))
            }),
    });
    match rows {
        Err(error) => api.refuse("other", error),
        Ok(rows) => {
            api.run("other", asker, None, move |job| {
                let bounds = job.lookup_bounds();
                let read = &job.api.deps.read;
                let status = read.head_status(&job.tenant, rows, &bounds)?;
                Ok(Answer::value(shown(&status)))
            })
            .await
        }
    }
}

fn shown(status: &HeadStatus) -> Value {
    let table = |rows: &[NameCount]| -> Value {
        rows.iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect()
    };
    json!({
        "headStats": {
            "numSeries": status.series,
            "numLabelPairs": status.label_pairs,
            "chunkCount": status.chunks,
            "minTime": status.min_time,
            "maxTime": status.max_time,
        },
        "seriesCountByMetricName": table(&status.series_by_metric),
        "labelValueCountByLabelName": table(&status.values_by_label),
        "memoryInBytesByLabelName": table(&status.bytes_by_label),
        "seriesCountByLabelValuePair": table(&status.series_by_pair),
    })
}
