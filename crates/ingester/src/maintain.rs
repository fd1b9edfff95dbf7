//! The one loop of an ingester: opens the store, then truncates and snapshots it from time to
//! time, and at once when much log has gathered.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;
use tokio_util::task::TaskTracker;
use tsdb::disk::{Disk, RealDisk};
use tsdb::store::{OpenDeps, Store, StoreConfig};
use tsdb::wal::WalConfig;

use crate::blocks::LocalBlocks;
use crate::ship::{ShipConfig, Shipper};
use crate::{Config, Deps, Ingester};

/// How often the loop looks whether there is something to do.
const TICK: Duration = Duration::from_secs(15);
/// Looks within the range of a block, at least: short ranges are looked at more often.
const LOOKS: u32 = 8;
/// Bytes of log since the last snapshot after which the next one does not wait for its time.
const LOG_BYTES: u64 = 1 << 30;

pub(crate) async fn run(ingester: Arc<Ingester>, config: Config, deps: Deps) {
    let snapshot_every = config.snapshot_interval.as_duration();
    let stop = deps.stop.clone();
    let tick = TICK.min(config.block_duration.as_duration() / LOOKS);
    let tasks = deps.tasks.clone();
    let opening = {
        let ingester = Arc::clone(&ingester);
        tasks.spawn_blocking(move || open(&ingester, config, &deps, Arc::new(RealDisk::default())))
    };
    let Some(store) = opened(&ingester, opening.await) else {
        return;
    };
    let mut last_snapshot = tokio::time::Instant::now();
    let mut last_bytes = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(tick) => {}
        }
        ship(&ingester, &tasks).await;
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
            store.remove_unused_files();
        });
        if let Err(error) = pass.await {
            tracing::error!(%error, "maintenance of the head failed");
        }
    }
}

/// Ships what is due. What fails has been logged, and is tried again at the next tick.
async fn ship(ingester: &Arc<Ingester>, tasks: &TaskTracker) {
    let ingester = Arc::clone(ingester);
    let pass = tasks.spawn_blocking(move || {
        if let Some(shipper) = ingester.shipper.get() {
            drop(shipper.pass(ingester.clock.now_ms(), false));
        }
    });
    if let Err(error) = pass.await {
        tracing::error!(%error, "shipping failed");
    }
}

/// The store, where opening it came to an end and to a good one.
fn opened(
    ingester: &Ingester,
    opening: Result<Option<Arc<Store>>, JoinError>,
) -> Option<Arc<Store>> {
    opening.unwrap_or_else(|error| {
        tracing::error!(%error, "cannot open the store");
        *ingester.failure.lock() = Some(format!("opening the store failed: {error}"));
        None
    })
}

fn open(
    ingester: &Ingester,
    config: Config,
    deps: &Deps,
    disk: Arc<dyn Disk>,
) -> Option<Arc<Store>> {
    let mut wal = WalConfig::new(config.data_dir.join("wal"));
    wal.fsync = config.fsync;
    wal.segment_bytes = config.segment_size.0;
    wal.min_free_bytes = config.min_free_space.0;
    let blocks = config.data_dir.join("blocks");
    let local = match LocalBlocks::open(&blocks, Arc::clone(&deps.decoded)) {
        Ok(local) => Arc::new(local),
        Err(error) => {
            let what = format!("blocks below {} can't be read: {error}", blocks.display());
            tracing::error!("{what}");
            *ingester.failure.lock() = Some(what);
            return None;
        }
    };
    let ship_config = ShipConfig::new(config.block_duration.0, config.local_block_retention.0);
    let store = Store::open(
        StoreConfig {
            dir: config.data_dir,
            wal,
            block_range_ms: ship_config.block_ms,
        },
        OpenDeps {
            disk,
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
            let failed = deps.failed.clone();
            store.wal().on_poison(move || {
                tracing::error!("the write-ahead log has failed: nothing is acknowledged any more");
                failed.cancel();
            });
            let shipper = Shipper::new(
                ship_config,
                Arc::clone(&store),
                Arc::clone(&deps.catalogs),
                local,
                Arc::clone(&deps.limits),
                deps.steps.clone(),
            );
            ingester.shipper.get_or_init(|| Arc::new(shipper));
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

#[cfg(test)]
mod tests {
    use model::limits::Limits;
    use model::quantity::{ByteSize, DurationMs};
    use model::time::ManualClock;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;
    use tsdb::disk::FaultyDisk;
    use tsdb::disk::faulty::Faults;
    use tsdb::wal::{CommitError, RecordKind};

    use super::*;
    use crate::{FsyncPolicy, Readiness};

    fn ingester() -> Ingester {
        Ingester::new(Arc::new(ManualClock::new(1_000_000)))
    }

    #[tokio::test]
    async fn a_panic_while_opening_is_a_failure() {
        let ingester = ingester();
        let panicked: Result<Option<Arc<Store>>, _> =
            tokio::task::spawn_blocking(|| panic!("a fault of ours")).await;
        assert!(opened(&ingester, panicked).is_none());
        let Readiness::Failed(why) = ingester.readiness() else {
            panic!("{:?}", ingester.readiness());
        };
        assert!(why.contains("a fault of ours"), "{why}");
    }

    #[test]
    fn a_log_that_fails_ends_the_process() {
        let ingester = ingester();
        let folder = tempfile::tempdir().unwrap();
        let limits = Arc::new(Limits::default());
        let deps = Deps {
            clock: Arc::new(ManualClock::new(1_000_000)),
            limits: Arc::new(move |_| Arc::clone(&limits)),
            catalogs: crate::ship::tests::catalogs(folder.path()),
            decoded: Arc::new(block::DecodedPages::new(0)),
            steps: crate::Steps::default(),
            instance: 1,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            failed: CancellationToken::new(),
        };
        let disk = Arc::new(FaultyDisk::new(1));
        let config = Config {
            data_dir: folder.path().to_owned(),
            fsync: FsyncPolicy::Always,
            segment_size: ByteSize(1 << 20),
            min_free_space: ByteSize(0),
            block_duration: DurationMs::minutes(120),
            local_block_retention: DurationMs::minutes(360),
            snapshot_interval: DurationMs::minutes(15),
        };
        let store = open(&ingester, config, &deps, Arc::clone(&disk) as Arc<dyn Disk>).unwrap();
        assert_eq!(ingester.readiness(), Readiness::Ready);
        disk.set_faults(Faults {
            fail_sync_at: Some(1),
            ..Faults::default()
        });
        let commit = store.wal().commit(RecordKind(7), b"x");
        assert_eq!(commit, Err(CommitError::Failed));
        assert!(deps.failed.is_cancelled());
        assert!(matches!(ingester.readiness(), Readiness::Failed(_)));
    }
}
