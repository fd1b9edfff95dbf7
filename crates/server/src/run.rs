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
use crate::version;

/// How often a start looks whether it is done.
const START_TICK: Duration = Duration::from_millis(25);
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
    let app = App::start(config, &tasks, &stop_tasks).context("can't start the roles")?;
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
/// Where the process can't start, or can't stop in order.
pub fn until_signal(config: &Config) -> anyhow::Result<()> {
    log_panics();
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
    tokio::select! {
        ready = running.ready() => {
            ready?;
            tracing::info!("ready: writes and queries are answered");
            signals.next().await;
        }
        () = signals.next() => {}
    }
    tracing::info!("stopping: a second signal ends the process at once");
    tokio::select! {
        stopped = running.shutdown() => stopped,
        () = signals.next() => anyhow::bail!("a second signal came before all was written down"),
    }?;
    tracing::info!("stopped");
    Ok(())
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
    let retention = match storage.retention.0 {
        0 => "for ever".to_owned(),
        _ => storage.retention.to_string(),
    };
    let fsync = match storage.wal.fsync {
        Fsync::Always => "before a write is acknowledged".to_owned(),
        Fsync::Interval => format!("every {}", storage.wal.fsync_interval),
    };
    tracing::info!(data_dir = %storage.data_dir.display(), retention, fsync, "storing");
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
