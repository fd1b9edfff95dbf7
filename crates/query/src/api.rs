//! Prometheus's HTTP API, for reads: routes, and the way every request takes.

pub mod error;
pub mod params;

mod answer;
mod body;
mod escape;
mod evaluate;
mod exemplars;
mod format;
mod lookup;
mod result;
mod status;
mod syntax;
mod told;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use http::request::Parts;
use http::{HeaderMap, header};
use model::asker;
use model::limits::Limits;
use model::select::LookupBounds;
use model::tenant::TenantId;
use promql::eval::{CancelFlag, Cores};
use tokio::time::Instant;
use wire::tenant::{self, TENANT_HEADER};

use crate::cancel::CancelOnDrop;
use crate::front::{ByteGate, Pool, Turns};
use crate::metrics::Metrics;
use crate::{Config, Deps};

use answer::Answer;
use body::{Bounds, Stopped};
use error::{ApiError, ErrorType};
use params::Params;

/// How much of a query's text the log shows, in bytes.
const MAX_LOGGED_QUERY: usize = 2048;
/// Bytes of all forms being read.
const MAX_INFLIGHT_FORM_BYTES: usize = 64 << 20;

/// The read path of a process.
pub struct Api {
    pub(crate) config: Config,
    pub(crate) deps: Deps,
    turns: Arc<Turns>,
    pool: Pool,
    /// Bytes of forms being read.
    forms: ByteGate,
    /// Bytes of answers being written and sent.
    answers: ByteGate,
    /// The cores that queries use beside their own threads, while no query needs them.
    pub(crate) cores: Cores,
    metrics: Metrics,
}

/// Who asks, and how the answer shall look.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) tenant: TenantId,
    gzip: bool,
}

/// What a request does on a thread of the pool.
pub(crate) struct Job {
    pub(crate) api: Arc<Api>,
    pub(crate) tenant: TenantId,
    pub(crate) limits: Arc<Limits>,
    pub(crate) cancel: CancelFlag,
    /// When the answer must be there.
    pub(crate) deadline: Instant,
    /// How long the request waited for its turn.
    pub(crate) waited: Duration,
    gzip: bool,
}

impl Api {
    pub(crate) fn start(config: Config, deps: Deps) -> std::io::Result<Arc<Self>> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let threads = match config.threads {
            0 => (2 * cores).max(4),
            threads => threads,
        };
        Ok(Arc::new(Self {
            turns: Turns::new(threads),
            // Who asks for fewer threads than there are cores gets no more by helpers.
            cores: Cores::new(cores.min(threads)),
            pool: Pool::new(threads)?,
            forms: ByteGate::new(MAX_INFLIGHT_FORM_BYTES),
            answers: ByteGate::new(config.max_inflight_response_bytes),
            metrics: Metrics::default(),
            config,
            deps,
        }))
    }

    /// The routes: under `/prometheus`, and at the root for those who take it for a plain
    /// Prometheus.
    pub fn router(self: &Arc<Self>) -> Router {
        let routes = Router::new()
            .route("/api/v1/query", both(evaluate::instant))
            .route("/api/v1/query_range", both(evaluate::range))
            .route("/api/v1/query_exemplars", both(exemplars::exemplars))
            .route("/api/v1/format_query", both(format::format))
            .route("/api/v1/parse_query", both(format::parse))
            .route("/api/v1/series", both(lookup::series))
            .route("/api/v1/labels", both(lookup::labels))
            .route("/api/v1/label/{name}/values", get(lookup::values))
            .route("/api/v1/metadata", get(lookup::metadata))
            .route("/api/v1/rules", get(status::rules))
            .route("/api/v1/alerts", get(status::alerts))
            .route("/api/v1/features", get(status::features))
            .route("/api/v1/status/buildinfo", get(status::build_info))
            .route("/api/v1/status/tsdb", get(status::tsdb));
        let routes = routes
            .method_not_allowed_fallback(method_not_allowed)
            .with_state(Arc::clone(self));
        Router::new()
            .nest("/prometheus", routes.clone())
            .merge(routes)
    }

    /// Writes the role's metrics in the text format of Prometheus.
    pub fn render_metrics(&self, out: &mut String) {
        self.metrics.render(self.turns.load(), out);
    }

    /// Answers with data that needs no turn.
    fn tell(&self, data: serde_json::Value) -> Response {
        self.metrics.answered("other", 200, Duration::ZERO);
        let bounds = Bounds {
            most: None,
            held: self.answers.hold(),
            cancel: CancelFlag::default(),
        };
        match Answer::value(data).finish(false, bounds) {
            Ok(finished) => finished.into_response(),
            Err(stopped) => self.stopped(stopped, None).into_response(),
        }
    }

    /// Answers a request that was wrong before it could have a turn.
    fn refuse(&self, endpoint: &'static str, error: ApiError) -> Response {
        self.metrics
            .answered(endpoint, error.kind.http_status(), Duration::ZERO);
        error.into_response()
    }

    /// Lets a request have its turn on the pool, until it is answered, its time is up, or this
    /// future is dropped because its client has gone: then the job's flag is raised.
    async fn run(
        self: &Arc<Self>,
        endpoint: &'static str,
        asker: Asker,
        timeout: Option<Duration>,
        work: impl FnOnce(&Job) -> Result<Answer, ApiError> + Send + 'static,
    ) -> Response {
        let started = Instant::now();
        let mut counted = Counted {
            api: self,
            endpoint,
            started,
            status: 499,
        };
        let outcome = self.answer(asker, timeout, started, work).await;
        let response = match outcome {
            Ok(answer) => answer.into_response(),
            Err(error) => error.into_response(),
        };
        counted.status = response.status().as_u16();
        response
    }

    async fn answer(
        self: &Arc<Self>,
        asker: Asker,
        timeout: Option<Duration>,
        started: Instant,
        work: impl FnOnce(&Job) -> Result<Answer, ApiError> + Send + 'static,
    ) -> Result<answer::Finished, ApiError> {
        let limits = (self.deps.limits)(&asker.tenant);
        let longest = limits.query_timeout.as_duration();
        let timeout = timeout.map_or(longest, |asked| asked.min(longest));
        let deadline = started + timeout;
        let late = |place: &str| {
            let text = format!(
                "query timed out in {place}: the time limit is {timeout:?} (limit query_timeout, parameter timeout)"
            );
            ApiError::new(ErrorType::Timeout, text)
        };
        if timeout.is_zero() {
            return Err(late("query queue"));
        }
        let turn = tokio::time::timeout_at(deadline, self.turns.take(&asker.tenant, &limits));
        let turn = turn.await.map_err(|_| late("query queue"))?;
        let turn = turn.map_err(|e| ApiError::new(ErrorType::TooManyRequests, e.to_string()))?;
        let waited = started.elapsed();
        self.metrics.waited(waited);

        let cancel = CancelFlag::default();
        let _stop_with_us = CancelOnDrop(cancel.clone());
        let job = Job {
            api: Arc::clone(self),
            tenant: asker.tenant,
            limits,
            cancel,
            deadline,
            waited,
            gzip: asker.gzip,
        };
        let receiver = self.pool.run(move || {
            let _turn = turn;
            let cancel = job.cancel.clone();
            let has_gone = move || cancel.is_canceled();
            asker::work_for(Some(Arc::new(has_gone)), || job.finish(work(&job)?))
        });
        match tokio::time::timeout_at(deadline, receiver).await {
            Err(_) => Err(late("expression evaluation")),
            Ok(Err(_)) => Err(ApiError::new(
                ErrorType::Internal,
                "the query panicked; the log has the details",
            )),
            Ok(Ok(result)) => {
                let finished = result?;
                self.metrics.sent(finished.len());
                Ok(finished)
            }
        }
    }

    /// What to tell of an answer that was not written to its end.
    fn stopped(&self, stopped: Stopped, limits: Option<&Limits>) -> ApiError {
        match stopped {
            Stopped::Canceled => ApiError::new(ErrorType::Canceled, stopped.to_string()),
            Stopped::Full => ApiError::new(
                ErrorType::Unavailable,
                format!(
                    "answers being sent hold {} bytes, the most of all together: read answers faster, ask for less, or try again",
                    self.config.max_inflight_response_bytes
                ),
            ),
            Stopped::TooLarge => {
                let limit = limits.map_or(0, |limits| limits.max_memory_per_query.0);
                let text = format!(
                    "the answer takes more memory than the limit max_memory_per_query of {limit} bytes leaves; ask for fewer series or steps, or raise the limit"
                );
                ApiError::new(ErrorType::Execution, text)
            }
        }
    }

    /// Logs a query that took long.
    pub(crate) fn ran(&self, job: &Job, query: &str, took: Duration, samples: usize) {
        self.metrics.loaded(samples as u64);
        let slow = self.config.log_slower_than;
        if slow.is_zero() || took < slow {
            return;
        }
        self.metrics.slow();
        let end = query.floor_char_boundary(MAX_LOGGED_QUERY);
        tracing::warn!(
            tenant = job.tenant.as_str(),
            query = &query[..end],
            duration_ms = took.as_millis() as u64,
            waited_ms = job.waited.as_millis() as u64,
            samples,
            "slow query"
        );
    }
}

impl Job {
    /// What a look-up must keep within. The flag stands for the deadline too: who waits drops its
    /// future then.
    fn lookup_bounds(&self) -> LookupBounds {
        let cancel = self.cancel.clone();
        LookupBounds {
            max_series: self.limits.max_series_per_query,
            max_bytes: usize::try_from(self.limits.max_memory_per_query.0).unwrap_or(usize::MAX),
            shared: None,
            skipped: crate::engine::skipped_of(&self.limits),
            stop: Some(Arc::new(move || cancel.is_canceled())),
        }
    }

    /// Writes an answer within what the tenant's limit and all other answers leave.
    fn finish(&self, answer: Answer) -> Result<answer::Finished, ApiError> {
        let limit = usize::try_from(self.limits.max_memory_per_query.0).unwrap_or(usize::MAX);
        let bounds = Bounds {
            most: Some(limit).filter(|limit| *limit > 0),
            held: self.api.answers.hold(),
            cancel: self.cancel.clone(),
        };
        let finished = answer.finish(self.gzip, bounds);
        finished.map_err(|stopped| self.api.stopped(stopped, Some(&self.limits)))
    }
}

/// Counts a request when it is answered, or as given up when its future is dropped before.
struct Counted<'a> {
    api: &'a Api,
    endpoint: &'static str,
    started: Instant,
    status: u16,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.api
            .metrics
            .answered(self.endpoint, self.status, self.started.elapsed());
    }
}

/// One handler for GET and POST.
fn both<H, T, S>(handler: H) -> MethodRouter<S>
where
    H: axum::handler::Handler<T, S>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    get(handler.clone()).post(handler)
}

/// What a method gets that a path does not take.
async fn method_not_allowed() -> (http::StatusCode, &'static str) {
    (http::StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n")
}

/// What a path gets that there is not.
pub async fn not_found() -> (http::StatusCode, &'static str) {
    (http::StatusCode::NOT_FOUND, "404 page not found\n")
}

impl FromRequestParts<Arc<Api>> for Asker {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let tenant = tenant_of(&parts.headers, api.config.multitenancy).inspect_err(|error| {
            let code = error.kind.http_status();
            api.metrics.answered("other", code, Duration::ZERO);
        })?;
        let gzip = takes_gzip(&parts.headers);
        Ok(Self { tenant, gzip })
    }
}

fn tenant_of(headers: &HeaderMap, multitenancy: bool) -> Result<TenantId, ApiError> {
    let values = headers.get_all(TENANT_HEADER).iter();
    tenant::tenant_of(values.map(http::HeaderValue::as_bytes), multitenancy)
        .map_err(|e| ApiError::new(ErrorType::Unauthorized, e.to_string()))
}

/// Whether `Accept-Encoding` has gzip, and not with a weight of zero.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut codings = values
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','));
    codings.any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight
            .trim()
            .strip_prefix("q=")
            .and_then(|q| q.trim().parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight != Some(0.0)
    })
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.kind == ErrorType::Internal {
            tracing::error!("a query failed: {}", self.message);
        }
        let mut body = Vec::new();
        wire::api_json::error(&mut body, self.kind, &self.message);
        let json = [(header::CONTENT_TYPE, "application/json")];
        let mut response = (self.status(), json, body).into_response();
        if matches!(
            self.kind,
            ErrorType::TooManyRequests | ErrorType::Unavailable
        ) {
            let value = http::HeaderValue::from_static("5");
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        response
    }
}

/// What each handler gets.
pub(crate) type Shared = State<Arc<Api>>;

/// The parameters, read after the parts of the request.
pub(crate) type Asked = Result<Params, ApiError>;

#[cfg(test)]
mod tests;
