//! The roles of a process, wired together, and the router that leads to them.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use block::DecodedPages;
use block::catalog::Catalogs;
use compactor::Cleaner;
use distributor::Distributor;
use ingester::{FsyncPolicy, Ingester};
use model::limits::Limits;
use model::tenant::TenantId;
use model::time::{Clock, SystemClock};
use store_gateway::StoreGateway;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Fsync};
use crate::pages;
use crate::readiness::{Readiness, State};
use crate::storage;
use crate::version;

/// Bytes that all answers to queries may hold until their clients have read them.
const MAX_INFLIGHT_RESPONSE_BYTES: usize = 512 << 20;

/// All roles of the process.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) readiness: Readiness,
    pub(crate) ingester: Arc<Ingester>,
    distributor: Arc<Distributor>,
    query: Arc<query::Api>,
    gateway: Arc<StoreGateway>,
    cleaner: Arc<Cleaner>,
    catalogs: Arc<Catalogs>,
}

impl App {
    /// Starts the roles; they are ready by and by. `stop` ends their tasks; `failed` is cancelled
    /// when one can't go on.
    pub(crate) fn start(
        config: &Config,
        tasks: &TaskTracker,
        stop: &CancellationToken,
        failed: &CancellationToken,
    ) -> anyhow::Result<Arc<Self>> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let limits = limits_of(config)?;
        let opened = storage::open(&config.storage, &clock, Arc::new(random))?;
        let catalogs = Arc::clone(&opened.catalogs);
        tasks.spawn(opened.look_until_done(stop.clone()));
        let decoded = Arc::new(DecodedPages::new(config.storage.decoded_pages.0));
        let ingester_deps = ingester::Deps {
            catalogs: Arc::clone(&catalogs),
            decoded: Arc::clone(&decoded),
            steps: storage::steps(),
            clock: Arc::clone(&clock),
            limits: Arc::clone(&limits),
            instance: (u128::from(random()) << 64) | u128::from(random()),
            tasks: tasks.clone(),
            stop: stop.clone(),
            failed: failed.clone(),
        };
        let ingester = ingester::start(ingester_config(config), ingester_deps);
        let distributor_config = distributor::Config {
            multitenancy: config.multitenancy,
            ..config.distributor.clone()
        };
        let distributor_deps = distributor::Deps {
            ingest: Arc::clone(&ingester) as _,
            limits: Arc::clone(&limits),
            clock: Arc::clone(&clock),
            random: Arc::new(random),
        };
        let gateway_config = storage::gateway_config(config);
        let gateway_deps = store_gateway::Deps {
            catalogs: Arc::clone(&catalogs),
            decoded,
            clock: Arc::clone(&clock),
        };
        let gateway = store_gateway::start(&gateway_config, gateway_deps)?;
        let read = query::Storage {
            head: Arc::clone(&ingester) as _,
            catalogs: Arc::clone(&catalogs),
            near: Arc::clone(&ingester) as _,
            gateway: Arc::clone(&gateway) as _,
        };
        let holder = Arc::clone(&ingester);
        let cleaner_deps = compactor::Deps {
            catalogs: Arc::clone(&catalogs),
            clock: Arc::clone(&clock),
            limits: Arc::clone(&limits),
            in_use: Arc::new(move |tenant, block| holder.may_hold(tenant, block)),
            block_duration: config.storage.block_duration,
            time_file: config.storage.data_dir.join("proven-time"),
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        let query_deps = query::Deps {
            read: Arc::new(read),
            limits,
            clock,
        };
        Ok(Arc::new(Self {
            readiness: Readiness::new(Arc::clone(&ingester)),
            distributor: distributor::start(distributor_config, distributor_deps),
            query: query::start(query_config(config), query_deps)?,
            ingester,
            gateway,
            cleaner: compactor::start(config.compactor.clone(), cleaner_deps),
            catalogs,
            config: config.clone(),
        }))
    }

    /// Every route: pages at any time, writes and queries while the process is ready.
    pub(crate) fn router(self: &Arc<Self>) -> Router {
        let roles = self.distributor.router().merge(self.query.router());
        let roles = roles.layer(from_fn_with_state(Arc::clone(self), only_when_ready));
        let pages = pages::routes().with_state(Arc::clone(self));
        pages.merge(roles).fallback(query::api::not_found)
    }

    /// Writes the metrics of all roles in the text format of Prometheus.
    pub(crate) fn render_metrics(&self, out: &mut String) {
        self.distributor.render_metrics(out);
        self.ingester.render_metrics(out);
        self.query.render_metrics(out);
        self.gateway.render_metrics(out);
        self.cleaner.render_metrics(out);
        self.catalogs.bucket().render_metrics(out);
    }
}

/// Before the log is replayed there is neither a write nor a query that could be answered well.
async fn only_when_ready(Shared(app): Shared<Arc<App>>, request: Request, next: Next) -> Response {
    match app.readiness.state() {
        // Who has a connection still may finish; what failed refuses writes by itself, and
        // answers reads if it can.
        State::Ready | State::Stopping | State::Failed(_) => next.run(request).await,
        starting @ State::Starting { .. } if is_write(request.uri().path()) => {
            pages::refuse_write(&starting)
        }
        starting @ State::Starting { .. } => pages::refuse_read(&starting),
    }
}

/// Whether a path takes writes; every other path of the roles answers reads.
fn is_write(path: &str) -> bool {
    matches!(path, "/api/v1/push" | "/api/v1/write")
}

/// The limits of each tenant: its own, or those of all.
fn limits_of(config: &Config) -> anyhow::Result<distributor::LimitsOf> {
    let own = config.tenants_limits();
    let own =
        own.map_err(|complaint| anyhow::anyhow!("{}: {}", complaint.key, complaint.message))?;
    let own = own
        .into_iter()
        .map(|(tenant, limits)| (tenant, Arc::new(limits)));
    let own: HashMap<TenantId, Arc<Limits>> = own.collect();
    let shared = Arc::new(config.limits.clone());
    Ok(Arc::new(move |tenant: &TenantId| {
        Arc::clone(own.get(tenant).unwrap_or(&shared))
    }))
}

fn ingester_config(config: &Config) -> ingester::Config {
    let storage = &config.storage;
    ingester::Config {
        data_dir: storage.data_dir.clone(),
        fsync: match storage.wal.fsync {
            Fsync::Always => FsyncPolicy::Always,
            Fsync::Interval => FsyncPolicy::Interval(storage.wal.fsync_interval.as_duration()),
        },
        segment_size: storage.wal.segment_size,
        min_free_space: storage.min_free_space,
        block_duration: storage.block_duration,
        local_block_retention: storage.local_block_retention,
        snapshot_interval: storage.snapshot_interval,
    }
}

fn query_config(config: &Config) -> query::Config {
    query::Config {
        threads: config.query.threads,
        log_slower_than: config.query.log_slower_than.as_duration(),
        multitenancy: config.multitenancy,
        max_inflight_response_bytes: MAX_INFLIGHT_RESPONSE_BYTES,
        build: query::BuildInfo {
            version: version::VERSION,
            revision: version::revision(),
        },
    }
}

/// A number by chance: the standard library's hasher is seeded by the system.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}
