//! The read path: Prometheus's HTTP API over a [`wire::service::ReadService`].
//!
//! A request is understood ([`api`]), waits for its turn ([`front`]), and is evaluated on a
//! thread of the pool ([`engine`]) with a deadline, a memory budget and a flag that is raised
//! when its client goes away.

pub mod time;
pub mod metrics;
pub mod front;
mod cancel;
pub mod engine;
pub mod api;
pub mod storage;

use std::sync::Arc;
use std::time::Duration;

use model::limits::Limits;
use model::tenant::TenantId;
use model::time::Clock;
use wire::service::ReadService;

pub use api::Api;
pub use metrics::Metrics;
pub use storage::Storage;

/// The settings of the role.
#[derive(Clone, Debug)]
pub struct Config {
    /// Threads that evaluate; 0: two for each core, at least four, so that small queries pass
    /// large ones. A large query borrows the cores that no other uses, up to as many as threads.
    pub threads: usize,
    /// Queries that take longer are logged; zero: none is.
    pub log_slower_than: Duration,
    /// Whether the tenant is taken from the header.
    pub multitenancy: bool,
    /// Bytes that all answers hold from when they are written until they are sent.
    pub max_inflight_response_bytes: usize,
    /// What `status/buildinfo` tells.
    pub build: BuildInfo,
}

/// Which build answers.
#[derive(Clone, Copy, Debug)]
pub struct BuildInfo {
    /// The version.
    pub version: &'static str,
    /// The commit.
    pub revision: &'static str,
}

/// What a tenant may do, asked for at each request.
pub type LimitsOf = Arc<dyn Fn(&TenantId) -> Arc<Limits> + Send + Sync>;

/// What the role needs of others.
#[derive(Clone)]
pub struct Deps {
    /// Where samples come from.
    pub read: Arc<dyn ReadService>,
    /// The limits of each tenant.
    pub limits: LimitsOf,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// Starts the role: its threads run until the last handle is gone.
///
/// # Errors
/// Where the system grants no thread.
pub fn start(config: Config, deps: Deps) -> std::io::Result<Arc<Api>> {
    Api::start(config, deps)
}
