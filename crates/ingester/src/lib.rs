//! The ingester: keeps the newest samples of all tenants, durable on this machine's disk, and
//! serves them.
//!
//! [`start`] opens the store in the background (which replays the log) and keeps it in shape:
//! truncation, snapshots, shutdown. [`Ingester`] is what writers and readers hold.

mod config;
mod blocks;
mod ship;
mod maintain;
mod metrics;
mod read;
mod read_blocks;
mod write;

use std::sync::Arc;
use std::sync::OnceLock;

use block::DecodedPages;
use block::catalog::Catalogs;
use model::error::ErrorKind;
use model::tenant::TenantId;
use model::time::Clock;
use parking_lot::Mutex;
use ship::Shipper;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tsdb::store::{LimitsOf, OpenProgress, Store};
use wire::service::ServiceError;

pub use config::Config;
pub use ship::{Step, Steps, Stopped};
pub use tsdb::wal::FsyncPolicy;

/// What an ingester is given.
pub struct Deps {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The limits of each tenant.
    pub limits: LimitsOf,
    /// Where blocks go, and which of them count.
    pub catalogs: Arc<Catalogs>,
    /// Pages of blocks that are kept decompressed.
    pub decoded: Arc<DecodedPages>,
    /// Is asked before each step of shipping.
    pub steps: Steps,
    /// A random number, new for each start of the process.
    pub instance: u128,
    /// Where its tasks run.
    pub tasks: TaskTracker,
    /// Ends its tasks.
    pub stop: CancellationToken,
    /// Is cancelled when the log fails. What is on the disk is then unknown until it is read
    /// back: the process must end, and start again.
    pub failed: CancellationToken,
}

/// How far the start has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It takes writes and answers reads.
    Ready,
    /// The log is being replayed.
    Starting {
        /// Bytes read.
        done_bytes: u64,
        /// Bytes there are to read.
        total_bytes: u64,
    },
    /// It can't start, or the log has failed: the process must be started again.
    Failed(String),
}

/// The ingester, local to this process.
pub struct Ingester {
    store: OnceLock<Arc<Store>>,
    shipper: OnceLock<Arc<Shipper>>,
    clock: Arc<dyn Clock>,
    progress: Arc<OpenProgress>,
    failure: Mutex<Option<String>>,
}

/// Starts an ingester; it becomes ready by and by, see [`Ingester::readiness`].
pub fn start(config: Config, deps: Deps) -> Arc<Ingester> {
    let ingester = Arc::new(Ingester::new(Arc::clone(&deps.clock)));
    let tasks = deps.tasks.clone();
    tasks.spawn(maintain::run(Arc::clone(&ingester), config, deps));
    ingester
}

impl Ingester {
    fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            store: OnceLock::new(),
            shipper: OnceLock::new(),
            clock,
            progress: Arc::default(),
            failure: Mutex::new(None),
        }
    }

    /// Whether it can serve.
    pub fn readiness(&self) -> Readiness {
        if let Some(failure) = &*self.failure.lock() {
            return Readiness::Failed(failure.clone());
        }
        match self.store.get() {
            Some(store) if store.wal().is_poisoned() => {
                Readiness::Failed("the write-ahead log has failed, restart the process".to_owned())
            }
            Some(_) => Readiness::Ready,
            None => Readiness::Starting {
                done_bytes: self.progress.done_bytes(),
                total_bytes: self.progress.total_bytes(),
            },
        }
    }

    /// Whether a block is on this disk and may still have to be uploaded or committed. Before it is
    /// known which blocks are here, any may be.
    pub fn may_hold(&self, tenant: &TenantId, block: &str) -> bool {
        let shipper = self.shipper.get();
        shipper.is_none_or(|shipper| shipper.local.is_waiting(tenant, block))
    }

    /// Writes the log's newest state down and refuses writes from here on. Blocks.
    pub fn shutdown(&self) {
        let Some(store) = self.store.get() else {
            return;
        };
        match store.close() {
            Ok(()) => tracing::info!("head snapshot written"),
            Err(error) => {
                tracing::warn!(%error, "no head snapshot: the next start replays the log instead");
            }
        }
    }

    /// Ships all samples to blocks in the bucket now, and writes a snapshot of what is left.
    /// Blocks.
    ///
    /// # Errors
    /// Where the ingester is not ready, or the bucket or the disk refuses; nothing is lost then.
    pub fn flush(&self) -> Result<(), ServiceError> {
        let failed = |message: String| ServiceError {
            kind: ErrorKind::Unavailable,
            id: "flush-failed",
            message,
        };
        let store = self.store()?;
        if let Some(shipper) = self.shipper.get() {
            let shipped = shipper.pass(self.clock.now_ms(), true);
            shipped.map_err(|(tenant, error)| {
                failed(format!(
                    "cannot ship the samples of tenant {tenant}: {error}"
                ))
            })?;
        }
        store.truncate();
        let written = store.snapshot();
        written.map_err(|error| failed(format!("cannot write head snapshot: {error}")))?;
        store.remove_unused_files();
        Ok(())
    }

    /// What `/metrics` shows, in the Prometheus text format.
    pub fn render_metrics(&self, out: &mut String) {
        if let Some(store) = self.store.get() {
            metrics::render(store, out);
        }
        if let Some(shipper) = self.shipper.get() {
            metrics::render_shipping(shipper, out);
        }
    }

    fn store(&self) -> Result<&Arc<Store>, ServiceError> {
        self.store.get().ok_or_else(|| {
            let message = match self.readiness() {
                Readiness::Failed(why) => why,
                _ => format!(
                    "starting: {} of {} bytes of the write-ahead log are replayed; try again soon",
                    self.progress.done_bytes(),
                    self.progress.total_bytes()
                ),
            };
            ServiceError {
                kind: ErrorKind::Unavailable,
                id: "not-ready",
                message,
            }
        })
    }
}
