//! Exemplars of the series that a query looks at.

use axum::extract::State;
use axum::response::Response;
use model::exemplar::Exemplar;
use model::labels::Labels;
use wire::api_json;
use wire::service::LookupRequest;

use super::answer::Answer;
use super::error::{ApiError, ErrorType};
use super::{Asked, Asker, Shared};
use crate::engine;

pub(crate) async fn exemplars(State(api): Shared, asker: Asker, asked: Asked) -> Response {
    let endpoint = "query_exemplars";
    let wanted = asked.and_then(|params| {
        let range = params.range()?;
        if range.is_empty() {
            let text = "end timestamp must not be before start timestamp";
            return Err(ApiError::new(ErrorType::BadData, text));
        }
        let query = params.get("query").unwrap_or_default().to_owned();
        Ok((query, range))
    });
    match wanted {
        Err(error) => api.refuse(endpoint, error),
        Ok((query, range)) => {
            api.run(endpoint, asker, None, move |job| {
                let parsed = engine::parse(&query, &job.limits);
                let expr = parsed.map_err(|e| ApiError::promql(&e))?;
                let matcher_sets = engine::selectors(&expr);
                // No set would mean all series: a query without selectors looks at none.
                if matcher_sets.is_empty() {
                    return Ok(Answer::list(Vec::<()>::new(), |_, ()| {}));
                }
                let request = LookupRequest {
                    matcher_sets,
                    range,
                    limit: 0,
                    bounds: job.lookup_bounds(),
                };
                let found = job.api.deps.read.exemplars(&job.tenant, &request)?;
                Ok(Answer::list(found, push_series).without(&request.bounds.skipped))
            })
            .await
        }
    }
}

fn push_series(out: &mut Vec<u8>, (labels, exemplars): &(Labels, Vec<Exemplar>)) {
    out.extend_from_slice(b"{\"seriesLabels\":");
    api_json::labels(out, labels);
    out.extend_from_slice(b",\"exemplars\":[");
    for (at, exemplar) in exemplars.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"labels\":");
        api_json::labels(out, &exemplar.labels);
        out.extend_from_slice(b",\"value\":");
        out.push(b'"');
        api_json::float(out, exemplar.v);
        out.push(b'"');
        out.extend_from_slice(b",\"timestamp\":");
        api_json::timestamp(out, exemplar.t);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}
