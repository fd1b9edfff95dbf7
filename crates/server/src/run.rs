//! Starts a process's roles and its listener, and stops them in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ingester::Readiness as Ingesting;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::config::{Config, Fsync};
use crate::http::{Bounds, serve};
use crate::process;
use crate::version;

/// How often a start looks whether it is done.
const START_TICK: Duration = Duration::from_millis(25);
/// How long requests may take to be answered once the process can't go on.
const FAILED_DRAIN: Duration = Duration::from_secs(1);
/// Threads for what blocks: writes that wait for the disk, replay, snapshots.
const MAX_BLOCKING_THREADS: usize = 128;

/// A process that runs.
pub struct Running {
    /// Where HTTP is served: the port that was asked for, or the one that was free.
    pub address: SocketAddr,
    app: Arc<App>,
    /// Connections and the listener.
    serving: TaskTracker,
    stop_serving: CancellationToken,
    /// The roles' own tasks.
    tasks: TaskTracker,
    stop_tasks: CancellationToken,
    /// Is cancelled when a role can't go on.
    failed: CancellationToken,
}

/// Starts the roles and the listener. Requests are answered with 503 until the log is replayed:
/// see [`Running::ready`].
///
/// # Errors
/// Where the address is taken or the system grants no threads.
pub async fn start(config: &Config) -> anyhow::Result<Running> {
    let listen = config.server.http_listen;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("can't listen on {listen} (server.http_listen)"))?;
    let address = listener.local_addr()?;
    announce(config, address);
    let (tasks, stop_tasks) = (TaskTracker::new(), CancellationToken::new());
    let failed = CancellationToken::new();
    let app = App::start(config, &tasks, &stop_tasks, &failed).context("can't start the roles")?;
    let (serving, stop_serving) = (TaskTracker::new(), CancellationToken::new());
    let bounds = Bounds {
        max_connections: config.server.max_connections,
        header_read_timeout: config.server.header_read_timeout.as_duration(),
    };
    let listening = serve(
        listener,
        app.router(),
        bounds,
        stop_serving.clone(),
        serving.clone(),
    );
    serving.spawn(listening);
    Ok(Running {
        address,
        app,
        serving,
        stop_serving,
        tasks,
        stop_tasks,
        failed,
    })
}

impl Running {
    /// Waits until requests are answered.
    ///
    /// # Errors
    /// Where the storage can't be opened.
    pub async fn ready(&self) -> anyhow::Result<()> {
        loop {
            match self.app.ingester.readiness() {
                Ingesting::Ready => return Ok(()),
                Ingesting::Failed(why) => anyhow::bail!("can't open the storage: {why}"),
                Ingesting::Starting { .. } => tokio::time::sleep(START_TICK).await,
            }
        }
    }

    /// Waits until a role can't go on, and says why: the process must end, and start again.
    async fn failed(&self) -> anyhow::Error {
        self.failed.cancelled().await;
        match self.app.ingester.readiness() {
            Ingesting::Failed(why) => anyhow::anyhow!("the storage failed: {why}"),
            _ => anyhow::anyhow!("the storage failed"),
        }
    }

    /// Stops after a failure: who waits is answered if that is quick. Nothing is written down, as
    /// only the log is known to be what was acknowledged.
    async fn abandon(self) {
        self.app.readiness.stopping();
        self.stop_tasks.cancel();
        self.stop_serving.cancel();
        self.serving.close();
        let served = tokio::time::timeout(FAILED_DRAIN, self.serving.wait()).await;
        if served.is_err() {
            tracing::warn!("requests were cut off");
        }
    }

    /// Stops in order: no new connections, requests in flight finish within the time that is
    /// configured, then the head is written down.
    ///
    /// # Errors
    /// Where the last step panicked.
    pub async fn shutdown(self) -> anyhow::Result<()> {
        self.app.readiness.stopping();
        self.stop_serving.cancel();
        self.serving.close();
        let timeout = self.app.config.server.shutdown_timeout.as_duration();
        if tokio::time::timeout(timeout, self.serving.wait())
            .await
            .is_err()
        {
            tracing::warn!("requests were cut off: they took longer than server.shutdown_timeout");
        }
        self.stop_tasks.cancel();
        self.tasks.close();
        let ingester = Arc::clone(&self.app.ingester);
        let closing = tokio::task::spawn_blocking(move || ingester.shutdown());
        closing.await.context("can't write the head down")?;
        self.tasks.wait().await;
        Ok(())
    }
}

/// Runs until SIGTERM or SIGINT, then stops in order; a second signal ends the process at once.
///
/// # Errors
/// Where the process can't start, can't go on because the log has failed, or can't stop in order.
pub fn until_signal(config: &Config) -> anyhow::Result<()> {
    log_panics();
    process::raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .build()
        .context("can't start the runtime")?;
    let done = runtime.block_on(supervise(config));
    // What was cut off at shutdown is not waited for again.
    runtime.shutdown_background();
    done
}

async fn supervise(config: &Config) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let running = start(config).await?;
    if let Err(error) = until_stopped(&running, signals.next()).await {
        tracing::error!("can't go on, stopping: {error:#}");
        running.abandon().await;
        return Err(error);
    }
    tracing::info!("stopping: a second signal ends the process at once");
    tokio::select! {
        stopped = running.shutdown() => stopped,
        () = signals.next() => anyhow::bail!("a second signal came before all was written down"),
    }?;
    tracing::info!("stopped");
    Ok(())
}

/// Waits for the signal to stop.
///
/// # Errors
/// Where the process can't become ready, or can't go on.
async fn until_stopped(running: &Running, signal: impl Future<Output = ()>) -> anyhow::Result<()> {
    let serving = async {
        running.ready().await?;
        tracing::info!("ready: writes and queries are answered");
        std::future::pending().await
    };
    tokio::select! {
        failed = serving => failed,
        error = running.failed() => Err(error),
        () = signal => Ok(()),
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Says what runs, where, and with which promises.
fn announce(config: &Config, address: SocketAddr) {
    let storage = &config.storage;
    tracing::info!("{}", version::line());
    tracing::info!(
        http = %address,
        grpc = "not served by a process that runs all roles",
        "listening"
    );
    let retention = match config.limits.retention.0 {
        0 => "for ever".to_owned(),
        _ => config.limits.retention.to_string(),
    };
    let fsync = match storage.wal.fsync {
        Fsync::Always => "before a write is acknowledged".to_owned(),
        Fsync::Interval => format!("every {}", storage.wal.fsync_interval),
    };
    tracing::info!(data_dir = %storage.data_dir.display(), retention, fsync, "storing");
    if !config.overrides.is_empty() {
        tracing::info!(
            tenants = config.overrides.len(),
            "tenants with limits of their own"
        );
    }
    if config.multitenancy {
        tracing::info!("tenants are named by the header X-Scope-OrgID");
    } else {
        tracing::info!("all data belongs to the tenant `anonymous` (multitenancy is off)");
    }
    if config.limits.max_series == 0 && config.limits.ingestion_rate == 0.0 {
        tracing::warn!(
            "no limit on series or samples a second: set limits.max_series and \
             limits.ingestion_rate before others write here"
        );
    }
}

/// Panics go to the log, with their place, not as loose text to standard error.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(
            place,
            "panic: {}",
            panic.payload_as_str().unwrap_or("unknown")
        );
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn started(dir: &tempfile::TempDir) -> Running {
        let mut config = Config::default();
        config.server.http_listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.storage.data_dir = dir.path().to_owned();
        start(&config).await.unwrap()
    }

    #[tokio::test]
    async fn a_failure_ends_the_process_with_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let running = started(&dir).await;
        running.ready().await.unwrap();
        running.failed.cancel();
        let ended = until_stopped(&running, std::future::pending()).await;
        assert_eq!(ended.unwrap_err().to_string(), "the storage failed");
        running.abandon().await;
    }

    #[tokio::test]
    async fn a_signal_ends_it_without_one() {
        let dir = tempfile::tempdir().unwrap();
        let running = started(&dir).await;
        running.ready().await.unwrap();
        until_stopped(&running, std::future::ready(()))
            .await
            .unwrap();
        running.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn storage_that_does_not_open_ends_it_with_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("wal"), "no folder").unwrap();
        let running = started(&dir).await;
        let ended = until_stopped(&running, std::future::pending()).await;
        let error = ended.unwrap_err().to_string();
        assert!(error.starts_with("can't open the storage: "), "{error}");
        running.abandon().await;
    }
}
