//! The one loop of an ingester: opens the store, then truncates and snapshots it from time to
//! time, and at once when much log has gathered.

use std::sync::Arc;
use std::time::Duration;

use tsdb::disk::RealDisk;
use tsdb::store::{OpenDeps, Store, StoreConfig};
use tsdb::wal::WalConfig;

use crate::{Config, Deps, Ingester};

/// How often the loop looks whether there is something to do.
const TICK: Duration = Duration::from_secs(15);
/// Bytes of log since the last snapshot after which the next one does not wait for its time.
const LOG_BYTES: u64 = 1 << 30;

pub(crate) async fn run(ingester: Arc<Ingester>, config: Config, deps: Deps) {
    let snapshot_every = config.snapshot_interval.as_duration();
    let stop = deps.stop.clone();
    let tasks = deps.tasks.clone();
    let opening = {
        let ingester = Arc::clone(&ingester);
        tasks.spawn_blocking(move || open(&ingester, config, &deps))
    };
    let Ok(Some(store)) = opening.await else {
        return;
    };
    let mut last_snapshot = tokio::time::Instant::now();
    let mut last_bytes = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        let written = store.wal().stats().written_bytes;
        let due = last_snapshot.elapsed() >= snapshot_every;
        if !due && written - last_bytes < LOG_BYTES {
            continue;
        }
        last_snapshot = tokio::time::Instant::now();
        last_bytes = written;
        let store = Arc::clone(&store);
        let pass = tasks.spawn_blocking(move || {
            store.truncate();
            if let Err(error) = store.snapshot() {
                tracing::warn!(%error, "cannot write head snapshot; the log is kept");
            }
        });
        if let Err(error) = pass.await {
            tracing::error!(%error, "maintenance of the head failed");
        }
    }
}

fn open(ingester: &Ingester, config: Config, deps: &Deps) -> Option<Arc<Store>> {
    let mut wal = WalConfig::new(config.data_dir.join("wal"));
    wal.fsync = config.fsync;
    wal.segment_bytes = config.segment_size.0;
    wal.min_free_bytes = config.min_free_space.0;
    let store = Store::open(
        StoreConfig {
            dir: config.data_dir,
            wal,
            retention: config.retention,
        },
        OpenDeps {
            disk: Arc::new(RealDisk::default()),
            clock: Arc::clone(&deps.clock),
            limits: Arc::clone(&deps.limits),
            instance: deps.instance,
        },
        &ingester.progress,
    );
    match store {
        Ok((store, report)) => {
            tracing::info!(%report, "store is open");
            let store = Arc::new(store);
            store.wal().on_poison(|| {
                tracing::error!(
                    "the write-ahead log has failed: writes are refused until a restart"
                );
            });
            ingester.store.get_or_init(|| Arc::clone(&store));
            Some(store)
        }
        Err(error) => {
            tracing::error!(%error, "cannot open the store");
            *ingester.failure.lock() = Some(error.to_string());
            None
        }
    }
}
