//! The pages of operations: index, readiness, health, metrics, configuration, services.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::State as Shared;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode, header};
use serde_json::json;

use crate::app::App;
use crate::config::print_effective;
use crate::process;
use crate::readiness::State;
use crate::version;

/// What the index lists: path and meaning.
const INDEX: &[(&str, &str)] = &[
    ("/ready", "whether requests are answered, and if not, why"),
    ("/-/healthy", "whether the process lives"),
    ("/metrics", "metrics of this process"),
    ("/config", "the configuration in force"),
    ("/services", "the parts of this process and their state"),
    ("/prometheus/api/v1/status/buildinfo", "version"),
    ("/prometheus/api/v1/status/tsdb", "what is in memory"),
    (
        "/prometheus/api/v1/query?query=up",
        "query, as in Prometheus",
    ),
];

/// The routes of this file.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(index))
        .route("/ready", get(ready))
        .route("/-/ready", get(ready))
        .route("/prometheus/-/ready", get(ready))
        .route("/-/healthy", get(healthy))
        .route("/prometheus/-/healthy", get(healthy))
        .route("/metrics", get(metrics))
        .route("/config", get(config))
        .route("/services", get(services))
        .route("/ingester/flush", post(flush))
}

async fn index() -> Html<String> {
    let mut body = String::from("<ul>\n");
    for (path, meaning) in INDEX {
        // Writing into a string can't fail.
        let _ = writeln!(body, "<li><a href=\"{path}\">{path}</a>: {meaning}</li>");
    }
    body.push_str("</ul>\n<p>Write to <code>POST /api/v1/push</code> (Prometheus remote write). Query under <code>/prometheus</code>.</p>");
    page("Tidemark", &body)
}

async fn healthy() -> &'static str {
    "healthy\n"
}

async fn ready(Shared(app): Shared<Arc<App>>) -> Response {
    let state = app.readiness.state();
    match state {
        State::Ready => "ready\n".into_response(),
        other => unavailable(&other),
    }
}

/// The answer while requests can't be served.
pub(crate) fn unavailable(state: &State) -> Response {
    let retry = [(header::RETRY_AFTER, state.retry_after_s().to_string())];
    let text = format!("{}\n", state.text());
    (StatusCode::SERVICE_UNAVAILABLE, retry, text).into_response()
}

/// The answer to a write that comes too early: text, with the id that docs/errors.md explains.
pub(crate) fn refuse_write(state: &State) -> Response {
    let retry = [(header::RETRY_AFTER, state.retry_after_s().to_string())];
    let text = format!("{} (not-ready)\n", state.text());
    (StatusCode::SERVICE_UNAVAILABLE, retry, text).into_response()
}

/// The answer to a read that comes too early: the envelope that its clients parse.
pub(crate) fn refuse_read(state: &State) -> Response {
    let headers = [
        (header::RETRY_AFTER, state.retry_after_s().to_string()),
        (header::CONTENT_TYPE, "application/json".to_owned()),
    ];
    let mut body = Vec::new();
    wire::api_json::error(
        &mut body,
        wire::api_json::ErrorType::Unavailable,
        state.text(),
    );
    (StatusCode::SERVICE_UNAVAILABLE, headers, body).into_response()
}

/// Writes a head snapshot, and answers when it is durable.
async fn flush(Shared(app): Shared<Arc<App>>) -> Response {
    let ingester = Arc::clone(&app.ingester);
    let flushed = tokio::task::spawn_blocking(move || ingester.flush()).await;
    let (status, text) = match flushed {
        Ok(Ok(())) => return StatusCode::NO_CONTENT.into_response(),
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    tracing::warn!(%status, text, "flush failed");
    (status, format!("{text}\n")).into_response()
}

async fn metrics(Shared(app): Shared<Arc<App>>) -> Response {
    let mut out = String::with_capacity(16 << 10);
    process::render(&mut out);
    app.render_metrics(&mut out);
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (kind, out).into_response()
}

async fn config(Shared(app): Shared<Arc<App>>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/yaml; charset=utf-8")];
    (kind, print_effective(&app.config)).into_response()
}

async fn services(Shared(app): Shared<Arc<App>>, headers: HeaderMap) -> Response {
    let state = match app.readiness.state() {
        State::Ready => "running",
        State::Starting { .. } => "starting",
        State::Failed(_) => "failed",
        State::Stopping => "stopping",
    };
    let roles = ["distributor", "ingester", "query"];
    let wants_json = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/json"));
    if wants_json {
        let services: Vec<_> = roles
            .iter()
            .map(|role| json!({"name": role, "state": state}))
            .collect();
        let text = json!({ "services": services }).to_string();
        return ([(header::CONTENT_TYPE, "application/json")], text).into_response();
    }
    let mut body = String::from("<table>\n<tr><th>service</th><th>state</th></tr>\n");
    for role in roles {
        let _ = writeln!(body, "<tr><td>{role}</td><td>{state}</td></tr>");
    }
    body.push_str("</table>");
    page("Services", &body).into_response()
}

fn page(title: &str, body: &str) -> Html<String> {
    Html(format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <style>body{{font-family:sans-serif;max-width:50em;margin:2em auto}}td,th{{padding:.2em 1em;text-align:left}}</style>\n\
         </head><body><h1>{title}</h1>\n{body}\n<p>tidemark {}</p></body></html>\n",
        version::VERSION
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    #[tokio::test]
    async fn early_requests_are_refused_in_their_own_terms() {
        let state = State::Starting {
            reason: "starting: opening the storage".to_owned(),
            left: None,
        };
        let check = async |response: Response, expected: &str| {
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(response.headers().contains_key(header::RETRY_AFTER));
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(String::from_utf8_lossy(&body), expected);
        };
        check(
            refuse_write(&state),
            "starting: opening the storage (not-ready)\n",
        )
        .await;
        check(
            refuse_read(&state),
            r#"{"status":"error","errorType":"unavailable","error":"starting: opening the storage"}"#,
        )
        .await;
    }
}
