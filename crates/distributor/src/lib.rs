//! The distributor: takes writes from the network, and hands them to ingesters.
//!
//! A request's way: [`push`](Distributor::router) reads the headers (`negotiate`), then the body
//! within its bounds (`body`, `inflight`), then decodes and pushes it on a thread of its own
//! (`ingest`), and answers (`answer`).

mod config;
mod push;
mod negotiate;
mod body;
mod inflight;
mod ingest;
mod rate;
mod answer;
pub mod metrics;

use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use model::limits::Limits;
use model::tenant::TenantId;
use model::time::Clock;
use tokio::sync::Semaphore;
use wire::service::IngestService;

pub use config::Config;
use inflight::Inflight;
use ingest::ScratchPool;
use metrics::Metrics;
use rate::Rates;

/// Looks up the limits of a tenant.
pub type LimitsOf = Arc<dyn Fn(&TenantId) -> Arc<Limits> + Send + Sync>;

/// What a distributor needs from the process.
pub struct Deps {
    /// Where writes go.
    pub ingest: Arc<dyn IngestService>,
    /// The limits of each tenant.
    pub limits: LimitsOf,
    /// What time it is, for rates.
    pub clock: Arc<dyn Clock>,
    /// Random numbers, all bits by chance, for the jitter of `Retry-After`.
    pub random: Arc<dyn Fn() -> u64 + Send + Sync>,
}

/// A running distributor. It owns no task: its requests live on the server's.
pub struct Distributor {
    config: Config,
    deps: Deps,
    metrics: Metrics,
    inflight: Inflight,
    rates: Rates,
    /// A place for each request that is decoded or waits for its ingester.
    pushes: Arc<Semaphore>,
    scratch: ScratchPool,
}

/// Makes a distributor.
pub fn start(config: Config, deps: Deps) -> Arc<Distributor> {
    Arc::new(Distributor {
        metrics: Metrics::default(),
        inflight: Inflight::new(config.max_inflight_requests, config.max_inflight_bytes),
        rates: Rates::default(),
        pushes: Arc::new(Semaphore::new(config.push_concurrency.max(1))),
        scratch: ScratchPool::new(config.push_concurrency.max(1)),
        config,
        deps,
    })
}

impl Distributor {
    /// The routes it serves: `POST /api/v1/push` and `POST /api/v1/write`.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/api/v1/push", post(push::push))
            .route("/api/v1/write", post(push::push))
            .with_state(Arc::clone(self))
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

#[cfg(test)]
mod tests;
