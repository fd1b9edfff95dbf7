//! The handler of a write request.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::HeaderMap;
use model::tenant::TenantId;
use tokio::time::Instant;
use wire::remote_write::Version;
use wire::tenant::{TENANT_HEADER, tenant_of};

use crate::answer::{Refusal, Written, refused, written};
use crate::{Distributor, body, ingest, negotiate};

/// Takes a remote write request of either version.
pub(crate) async fn push(
    State(distributor): State<Arc<Distributor>>,
    request: Request,
) -> Response {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let headers = parts.headers;
    let random = (distributor.deps.random)();
    let response = match take(&distributor, &headers, body).await {
        Ok((version, outcome)) => written(version, &outcome, &headers, random),
        Err(refusal) => {
            if refusal.status >= 500 {
                tracing::warn!(id = refusal.id, "write refused: {}", refusal.message);
            } else {
                tracing::debug!(id = refusal.id, "write refused: {}", refusal.message);
            }
            distributor.metrics.refused(refusal.id);
            refused(&refusal, &headers, random)
        }
    };
    let status = response.status().as_u16();
    distributor.metrics.answered(status, started.elapsed());
    response
}

async fn take(
    distributor: &Arc<Distributor>,
    headers: &HeaderMap,
    body: axum::body::Body,
) -> Result<(Version, Written), Refusal> {
    let mut place = distributor.inflight.enter()?;
    let header = headers
        .get_all(TENANT_HEADER)
        .iter()
        .map(http::HeaderValue::as_bytes);
    let tenant = tenant_of(header, distributor.config.multitenancy)?;
    let version = negotiate::version(headers)?;
    let mut scratch = distributor.scratch.take();
    let bounds = body::Bounds {
        max_bytes: distributor.config.max_body_size.0 as usize,
        timeout: distributor.config.body_read_timeout.as_duration(),
    };
    let read = body::read(headers, body, bounds, &mut place, &mut scratch.body).await;
    if let Err(refusal) = read {
        distributor.scratch.give_back(scratch);
        return Err(refusal);
    }
    let outcome = on_thread(distributor, tenant, version, scratch, place).await?;
    Ok((version, outcome))
}

/// Decodes and pushes on a thread that may block. It goes on to its end even where the client has
/// gone away meanwhile, and holds its place until then.
async fn on_thread(
    distributor: &Arc<Distributor>,
    tenant: TenantId,
    version: Version,
    mut scratch: ingest::Scratch,
    mut place: crate::inflight::Place,
) -> Result<Written, Refusal> {
    let pushes = Arc::clone(&distributor.pushes).acquire_owned().await;
    let permit =
        pushes.map_err(|_| Refusal::overload("shutting-down", "shutting down".to_owned()))?;
    let distributor = Arc::clone(distributor);
    let work = move || {
        let result = ingest::ingest(&distributor, &tenant, version, &mut scratch, &mut place);
        distributor.scratch.give_back(scratch);
        drop((permit, place));
        result
    };
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|error| Err(Refusal::internal(format!("a write panicked: {error}"))))
}
