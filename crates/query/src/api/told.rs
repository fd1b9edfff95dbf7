//! What is told of an evaluation on request: `stats`, and the plan with what each node took.

use std::time::Duration;

use model::time::TimestampMs;
use promql::eval::QueryTime;
use promql::plan::{Explained, Took};
use serde_json::{Value, json};

use super::error::ApiError;
use super::params::Params;
use crate::engine::Outcome;

/// What is to be told besides the value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// `stats`: any value.
    pub(super) stats: bool,
    /// `stats=all`: samples by step as well.
    per_step: bool,
    /// `explain`.
    pub(super) explain: Option<Form>,
}

/// How a plan is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As a tree.
    Tree,
    /// In lines, for people.
    Text,
}

/// How long the parts of a query took.
pub(super) struct Timings {
    /// Waiting for its turn.
    pub(super) waited: Duration,
    /// Parsing and planning.
    pub(super) prepared: Duration,
    /// All but the waiting.
    pub(super) took: Duration,
}

impl Told {
    pub(super) fn of(params: &Params) -> Result<Self, ApiError> {
        let stats = params.get("stats");
        let explain = match params.get("explain") {
            None | Some("0" | "false") => None,
            Some("1" | "true" | "json") => Some(Form::Tree),
            Some("text") => Some(Form::Text),
            Some(_) => {
                return Err(ApiError::parameter("explain", "must be 1, text or 0"));
            }
        };
        Ok(Self {
            stats: stats.is_some(),
            per_step: stats == Some("all"),
            explain,
        })
    }

    /// `data.stats`.
    pub(super) fn stats(self, outcome: &Outcome, time: QueryTime, timings: &Timings) -> Value {
        let seconds = |duration: Duration| duration.as_secs_f64();
        let took = timings.took;
        let mut samples = json!({
            "totalQueryableSamples": outcome.samples_per_step.iter().sum::<u64>(),
            "samplesRead": outcome.stats.samples,
            "peakSamples": outcome.stats.peak_samples,
            "peakMemoryBytes": outcome.stats.peak_memory_bytes,
        });
        if self.per_step {
            let counts = outcome.samples_per_step.iter().zip(0..);
            let pairs = counts.map(|(count, step)| {
                let t = time.start.saturating_add(time.step_ms.saturating_mul(step));
                json!([in_seconds(t), count])
            });
            samples["totalQueryableSamplesPerStep"] = pairs.collect();
        }
        json!({
            "timings": {
                "evalTotalTime": seconds(took),
                "resultSortTime": 0.0,
                "queryPreparationTime": seconds(timings.prepared),
                "innerEvalTime": seconds(took.saturating_sub(timings.prepared)),
                "execQueueTime": seconds(timings.waited),
                "execTotalTime": seconds(took + timings.waited),
            },
            "samples": samples,
        })
    }
}

/// `data.explain`.
pub(super) fn explain(explained: &Explained, form: Form) -> Value {
    match form {
        Form::Text => explained.to_string().into(),
        Form::Tree => tree(explained),
    }
}

fn tree(explained: &Explained) -> Value {
    let mut node = json!({"node": explained.what, "once": explained.once});
    if let Some(slot) = explained.shared {
        node["shared"] = slot.into();
    }
    if let Some(pos) = explained.pos {
        node["position"] = json!([pos.start, pos.end]);
    }
    if let Some(took) = &explained.took {
        measured(&mut node, took);
    }
    node["children"] = explained.children.iter().map(tree).collect();
    node
}

fn measured(node: &mut Value, took: &Took) {
    node["seriesIn"] = took.series_in.into();
    node["seriesOut"] = took.series_out.into();
    node["values"] = took.values.into();
    node["samples"] = took.samples.into();
    node["selfSeconds"] = took.own.as_secs_f64().into();
    node["totalSeconds"] = took.total.as_secs_f64().into();
    node["threads"] = took.threads.into();
    if took.reused {
        node["reused"] = true.into();
    }
}

/// A time in seconds, whole ones without a fraction.
fn in_seconds(t: TimestampMs) -> Value {
    if t % 1000 == 0 {
        return json!(t / 1000);
    }
    json!(t as f64 / 1000.0)
}
