//! The ingester: keeps the newest samples of all tenants, durable on this machine's disk, and
//! serves them.
//!
//! [`start`] opens the store in the background (which replays the log) and keeps it in shape:
//! truncation, snapshots, shutdown. [`Ingester`] is what writers and readers hold.

mod config;
mod maintain;
mod metrics;
mod read;
mod write;

use std::sync::Arc;
use std::sync::OnceLock;

use model::error::ErrorKind;
use model::time::Clock;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tsdb::store::{LimitsOf, OpenProgress, Store};
use wire::service::ServiceError;

pub use config::Config;
pub use tsdb::wal::FsyncPolicy;

/// What an ingester is given.
pub struct Deps {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The limits of each tenant.
    pub limits: LimitsOf,
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
    progress: Arc<OpenProgress>,
    failure: Mutex<Option<String>>,
}

/// Starts an ingester; it becomes ready by and by, see [`Ingester::readiness`].
pub fn start(config: Config, deps: Deps) -> Arc<Ingester> {
    let ingester = Arc::new(Ingester {
        store: OnceLock::new(),
        progress: Arc::default(),
        failure: Mutex::new(None),
    });
    let tasks = deps.tasks.clone();
    tasks.spawn(maintain::run(Arc::clone(&ingester), config, deps));
    ingester
}

impl Ingester {
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

    /// Writes a snapshot now, as it is done from time to time. Blocks.
    ///
    /// # Errors
    /// Where the ingester is not ready or the disk refuses.
    pub fn flush(&self) -> Result<(), ServiceError> {
        let store = self.store()?;
        store.truncate();
        store.snapshot().map_err(|error| ServiceError {
            kind: ErrorKind::Unavailable,
            id: "flush-failed",
            message: format!("cannot write head snapshot: {error}"),
        })
    }

    /// What `/metrics` shows, in the Prometheus text format.
    pub fn render_metrics(&self, out: &mut String) {
        if let Some(store) = self.store.get() {
            metrics::render(store, out);
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
