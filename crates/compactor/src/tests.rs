//! Whole passes over a bucket in memory.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use block::BlockMeta;
use block::bucket::faulty::FaultyStore;
use block::bucket::{Bucket, BucketConfig};
use block::catalog::{BlockEntry, Catalogs, Change, LocalPointers, block_key};
use block::ulid;
use bytes::Bytes;
use model::limits::Limits;
use model::quantity::DurationMs;
use model::tenant::TenantId;
use model::time::ManualClock;
use object_store::memory::InMemory;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Says which blocks are held; may do something on being asked.
type Holder = Box<dyn FnMut(&str) -> bool + Send>;

/// A bucket with a tenant, whose clock begins a year ahead of the machine's, so that all that is
/// uploaded counts as old.
struct World {
    store: Arc<FaultyStore>,
    catalogs: Arc<Catalogs>,
    clock: Arc<ManualClock>,
    cleaner: Cleaner,
    now: i64,
    /// Is asked in place of an ingester.
    holder: Arc<Mutex<Holder>>,
    folder: tempfile::TempDir,
}

fn tenant() -> TenantId {
    TenantId::new("t").unwrap()
}

impl World {
    fn new() -> Self {
        let store = FaultyStore::new(Arc::new(InMemory::new()));
        let config = BucketConfig {
            max_retries: 0,
            ..BucketConfig::default()
        };
        let bucket = Bucket::with_store(Arc::clone(&store) as _, &config).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let pointers = Arc::new(LocalPointers::open(folder.path()).unwrap());
        let now = model::time::SystemClock.now_ms() + 365 * DAY_MS;
        let clock = Arc::new(ManualClock::new(now));
        let counter = AtomicU64::new(0);
        let catalogs = Arc::new(Catalogs::new(
            bucket,
            pointers,
            Arc::clone(&clock) as _,
            Arc::new(move || counter.fetch_add(1, Ordering::Relaxed)),
        ));
        let limits = Arc::new(Limits {
            retention: DurationMs(30 * DAY_MS),
            ..Limits::default()
        });
        let holder: Arc<Mutex<Holder>> = Arc::new(Mutex::new(Box::new(|_| false)));
        let asked = Arc::clone(&holder);
        let deps = Deps {
            catalogs: Arc::clone(&catalogs),
            clock: Arc::clone(&clock) as _,
            limits: Arc::new(move |_| Arc::clone(&limits)),
            in_use: Arc::new(move |_, id| (*asked.lock())(id)),
            block_duration: DurationMs(2 * HOUR_MS),
            time_file: folder.path().join("time"),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        Self {
            store,
            cleaner: Cleaner::new(Config::default(), deps),
            catalogs,
            clock,
            now,
            holder,
            folder,
        }
    }

    /// Lets time go by, for all clocks alike, and cleans.
    fn pass_after(&mut self, elapsed_ms: i64) {
        self.now += elapsed_ms;
        self.clock.set(self.now);
        // As many clocks as there are passes: each sees time go by steadily, and is sure of it.
        *self.cleaner.watched.lock() = Watched {
            clock: SteadyClock::new(Some(self.now)),
            ..Watched::default()
        };
        self.cleaner.pass();
    }

    /// Lets time go by and cleans, with the same cleaner as before.
    async fn tick(&mut self, elapsed_ms: i64) {
        let elapsed = u64::try_from(elapsed_ms).unwrap();
        tokio::time::advance(std::time::Duration::from_millis(elapsed)).await;
        self.now += elapsed_ms;
        self.clock.set(self.now);
        self.cleaner.pass();
    }

    /// A process that begins in place of this one.
    fn restart(&mut self) {
        let deps = Deps {
            catalogs: Arc::clone(&self.catalogs),
            clock: Arc::clone(&self.clock) as _,
            limits: Arc::clone(&self.cleaner.limits),
            in_use: Arc::clone(&self.cleaner.in_use),
            block_duration: DurationMs(2 * HOUR_MS),
            time_file: self.folder.path().join("time"),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        self.cleaner = Cleaner::new(Config::default(), deps);
    }

    /// Uploads a block that was made and ended so many days ago; with its `meta.json`, or not yet.
    fn upload(&self, days_ago: i64, meta: &[u8]) -> String {
        let id = ulid::new(self.now - days_ago * DAY_MS, 7);
        self.put(&id, "samples-raw.parquet", b"samples");
        if !meta.is_empty() {
            self.put(&id, "meta.json", meta);
        }
        id
    }

    fn put(&self, id: &str, file: &str, bytes: &[u8]) {
        let key = block_key("t", id, file);
        let bytes = Bytes::copy_from_slice(bytes);
        self.catalogs.bucket().put(&key, bytes).unwrap();
    }

    fn commit(&self, id: &str, ended_ms: i64) {
        let mut meta = golden();
        meta.tenant = "t".to_owned();
        meta.block_id = id.to_owned();
        meta.min_time = ended_ms - 2 * HOUR_MS;
        meta.max_time = ended_ms;
        let entry = BlockEntry {
            meta,
            metric_names: None,
        };
        let change = Change {
            add: vec![entry],
            ..Change::default()
        };
        self.catalogs.commit(&tenant(), &change).unwrap();
    }

    /// A `meta.json` that fits its checksum.
    fn meta(&self, id: &str, sources: &[&str]) -> Vec<u8> {
        let mut meta = golden();
        meta.tenant = "t".to_owned();
        meta.block_id = id.to_owned();
        meta.sources = sources.iter().map(|id| (*id).to_owned()).collect();
        meta.max_time = self.now;
        meta.checksum = String::new();
        let bytes = serde_json::to_vec(&meta).unwrap();
        meta.checksum = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&bytes));
        serde_json::to_vec(&meta).unwrap()
    }

    fn blocks(&self) -> Vec<String> {
        self.catalogs.bucket().list_folders("t/blocks").unwrap()
    }

    fn listed(&self) -> Vec<String> {
        let catalog = self.catalogs.current(&tenant()).unwrap();
        let blocks = catalog.blocks.iter();
        blocks.map(|block| block.id().to_owned()).collect()
    }

    fn metric(&self, name: &str) -> u64 {
        let mut page = String::new();
        self.cleaner.render_metrics(&mut page);
        let lines = page.lines().filter_map(|line| line.split_once(' '));
        let mut lines = lines.rev();
        let found = lines.find(|(n, _)| *n == format!("tidemark_compactor_{name}"));
        found.unwrap().1.parse().unwrap()
    }
}

/// The `meta.json` of the golden block, which fits its checksum.
fn golden_bytes() -> Vec<u8> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../block/testdata/block-v1");
    std::fs::read(golden.join("meta.json")).unwrap()
}

fn golden() -> BlockMeta {
    BlockMeta::from_json(&golden_bytes(), "golden").unwrap()
}

#[test]
fn a_block_expires_then_goes_then_is_forgotten() {
    let mut world = World::new();
    let (old, new) = (world.upload(40, b"{}"), world.upload(10, b"{}"));
    world.commit(&old, world.now - 30 * DAY_MS + HOUR_MS);
    world.commit(&new, world.now);
    world.pass_after(0);
    assert_eq!(world.listed(), [old.clone(), new.clone()]);
    world.pass_after(HOUR_MS);
    assert_eq!(world.listed(), std::slice::from_ref(&new));
    assert_eq!(world.blocks(), [old.clone(), new.clone()]);
    assert_eq!(world.metric("removed_blocks"), 1);
    world.pass_after(11 * HOUR_MS);
    assert_eq!(world.blocks(), [old, new.clone()]);
    world.pass_after(HOUR_MS);
    assert_eq!(world.blocks(), std::slice::from_ref(&new));
    let catalog = world.catalogs.current(&tenant()).unwrap();
    assert_eq!(catalog.removed, []);
    assert_eq!(world.metric("expired_blocks_total"), 1);
    assert_eq!(world.metric("deleted_blocks_total"), 1);
    // And nothing more.
    let version = catalog.version;
    world.pass_after(HOUR_MS);
    assert_eq!(world.catalogs.current(&tenant()).unwrap().version, version);
    assert_eq!(world.listed(), [new]);
}

#[test]
fn orphans_go_unless_they_are_young_or_something_could_be_lost() {
    let mut world = World::new();
    let named = world.upload(9, b"{}");
    world.commit(&named, world.now);
    let unfinished = world.upload(2, b"");
    let damaged = world.upload(3, b"{}");
    let young = world.upload(0, b"");
    let only_copy = world.upload(4, b"");
    let copy = world.upload(5, b"");
    world.put(&only_copy, "meta.json", &world.meta(&only_copy, &[]));
    world.put(&copy, "meta.json", &world.meta(&copy, &[&named]));
    world.pass_after(0);
    let mut left = [&named, &damaged, &young, &only_copy];
    left.sort_unstable();
    assert_eq!(world.blocks().iter().collect::<Vec<_>>(), left);
    assert!(!left.contains(&&unfinished) && !left.contains(&&copy));
    assert_eq!(world.metric("deleted_orphans_total"), 2);
    assert_eq!(world.metric("kept_orphans"), 2);
}

/// What was written lately by the bucket's own clock may still be written to.
#[test]
fn an_upload_that_was_resumed_late_is_left_alone() {
    let mut world = World::new();
    // The machine's clock is the bucket's: a year back, it is now.
    world.now -= 365 * DAY_MS;
    world.clock.set(world.now);
    let named = world.upload(0, b"{}");
    world.commit(&named, world.now);
    let resumed = world.upload(20, b"");
    world.pass_after(HOUR_MS);
    assert!(world.blocks().contains(&resumed));
    world.pass_after(12 * HOUR_MS);
    assert!(!world.blocks().contains(&resumed));
}

/// A block that waits on an ingester's disk for longer than the delay, half uploaded.
#[test]
fn an_upload_that_an_ingester_goes_on_with_is_left_alone() {
    let mut world = World::new();
    let named = world.upload(9, b"{}");
    world.commit(&named, world.now);
    let (held, given_up) = (world.upload(2, b""), world.upload(3, b""));
    let id = held.clone();
    *world.holder.lock() = Box::new(move |asked| asked == id);
    world.pass_after(0);
    assert!(world.blocks().contains(&held));
    assert!(!world.blocks().contains(&given_up));
    *world.holder.lock() = Box::new(|_| false);
    world.pass_after(0);
    assert!(!world.blocks().contains(&held));
}

/// An ingester of another process can't be asked, but what it writes is seen.
#[test]
fn an_upload_that_goes_on_during_the_pass_is_left_alone() {
    let mut world = World::new();
    let named = world.upload(9, b"{}");
    world.commit(&named, world.now);
    let resumed = world.upload(2, b"");
    let bucket = Arc::clone(world.catalogs.bucket());
    *world.holder.lock() = Box::new(move |id| {
        let key = block_key("t", id, "series.parquet");
        bucket.put(&key, Bytes::from_static(b"series")).unwrap();
        false
    });
    world.pass_after(0);
    assert!(world.blocks().contains(&resumed));
}

#[test]
fn old_versions_go() {
    let mut world = World::new();
    for n in 0..15 {
        let id = ulid::new(world.now, n);
        world.commit(&id, world.now);
    }
    let versions = |world: &World| {
        let objects = world.catalogs.bucket().list("t/catalog", 100).unwrap();
        objects.len()
    };
    assert_eq!(versions(&world), 15);
    world.pass_after(HOUR_MS);
    assert_eq!(versions(&world), 15);
    world.pass_after(12 * HOUR_MS);
    // The current one and ten before it.
    assert_eq!(versions(&world), 11);
    assert_eq!(world.listed().len(), 15);
    assert_eq!(world.metric("deleted_catalogs_total"), 4);
}

#[test]
fn a_clock_that_jumps_removes_nothing() {
    let world = World::new();
    let block = world.upload(1, b"{}");
    world.commit(&block, world.now);
    let orphan = world.upload(0, b"");
    world.cleaner.pass();
    world.clock.set(world.now + 3_650 * DAY_MS);
    world.cleaner.pass();
    world.cleaner.pass();
    assert_eq!(world.listed(), [block]);
    assert!(world.blocks().contains(&orphan));
    assert_eq!(world.metric("passes_total{result=\"skipped\"}"), 2);
}

/// Nothing but the samples tells a machine that wakes up with a wrong clock what time it is.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_years_ahead_from_the_start_removes_nothing() {
    let mut world = World::new();
    let block = world.upload(1, b"{}");
    world.commit(&block, world.now);
    let orphan = world.upload(0, b"");
    world.now += 3_650 * DAY_MS;
    for _ in 0..10 {
        world.tick(DAY_MS).await;
        assert_eq!(world.listed(), std::slice::from_ref(&block));
        assert!(world.blocks().contains(&orphan));
    }
}

/// A server that was off for long and that nobody writes to: time goes on from where it was.
#[tokio::test(start_paused = true)]
async fn what_is_old_goes_in_time_though_nobody_writes() {
    let mut world = World::new();
    let block = world.upload(1, b"{}");
    world.commit(&block, world.now);
    world.now += 100 * DAY_MS;
    world.tick(HOUR_MS).await;
    world.tick(28 * DAY_MS).await;
    assert_eq!(world.listed(), std::slice::from_ref(&block));
    world.tick(2 * DAY_MS).await;
    assert_eq!(world.listed(), Vec::<String>::new());
    assert_eq!(world.blocks(), std::slice::from_ref(&block));
    world.tick(DAY_MS).await;
    assert_eq!(world.blocks(), Vec::<String>::new());
}

/// A server that was off for long and is written to again.
#[tokio::test(start_paused = true)]
async fn new_samples_tell_what_time_it_is_after_a_day() {
    let mut world = World::new();
    let block = world.upload(1, b"{}");
    world.commit(&block, world.now);
    world.now += 100 * DAY_MS;
    world.tick(HOUR_MS).await;
    let newest = world.upload(0, b"{}");
    world.commit(&newest, world.now);
    world.tick(HOUR_MS).await;
    assert_eq!(world.listed(), [block, newest.clone()]);
    world.tick(DAY_MS).await;
    assert_eq!(world.listed(), [newest]);
}

/// A clock that is years ahead stamps the samples of this machine, and the process starts again.
#[tokio::test(start_paused = true)]
async fn a_restart_believes_no_samples_that_the_process_before_did_not() {
    let mut world = World::new();
    let block = world.upload(1, b"{}");
    world.commit(&block, world.now);
    world.tick(0).await;
    world.tick(DAY_MS).await;
    let orphan = world.upload(5, b"");
    world.now += 3_650 * DAY_MS;
    world.clock.set(world.now);
    let ahead = world.upload(0, b"{}");
    world.commit(&ahead, world.now);
    for _ in 0..5 {
        world.restart();
        world.tick(HOUR_MS).await;
        world.tick(HOUR_MS).await;
        assert_eq!(world.listed(), [block.clone(), ahead.clone()]);
        assert!(world.blocks().contains(&orphan));
    }
    // Nor does one that finds no word of the process before.
    std::fs::write(world.folder.path().join("time"), "x").unwrap();
    world.restart();
    world.tick(HOUR_MS).await;
    world.tick(23 * HOUR_MS).await;
    assert_eq!(world.listed(), [block, ahead.clone()]);
    // What stays for a day is believed.
    world.tick(HOUR_MS).await;
    assert_eq!(world.listed(), [ahead]);
}

#[test]
fn a_bucket_that_fails_is_tried_again() {
    let mut world = World::new();
    let (block, newest) = (world.upload(40, b"{}"), ulid::new(world.now, 0));
    world.commit(&block, world.now - 40 * DAY_MS);
    world.commit(&newest, world.now);
    world.store.set_down(true);
    world.pass_after(HOUR_MS);
    assert_eq!(world.metric("passes_total{result=\"failed\"}"), 1);
    world.store.set_down(false);
    world.pass_after(HOUR_MS);
    assert_eq!(world.listed(), [newest]);
    world.store.set_down(true);
    world.pass_after(13 * HOUR_MS);
    world.store.set_down(false);
    assert_eq!(world.blocks(), [block]);
    world.pass_after(HOUR_MS);
    assert_eq!(world.blocks(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_loop_ends_with_the_process() {
    let world = World::new();
    let limits = Arc::new(Limits::default());
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let deps = Deps {
        catalogs: Arc::clone(&world.catalogs),
        clock: Arc::clone(&world.clock) as _,
        limits: Arc::new(move |_| Arc::clone(&limits)),
        in_use: Arc::new(|_, _| false),
        block_duration: DurationMs(2 * HOUR_MS),
        time_file: world.folder.path().join("time"),
        tasks: tasks.clone(),
        stop: stop.clone(),
    };
    let cleaner = start(Config::default(), deps);
    tokio::time::sleep(std::time::Duration::from_secs(601)).await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    let mut page = String::new();
    cleaner.render_metrics(&mut page);
    assert!(page.contains("passes_total{result=\"done\"} 1"), "{page}");
}

#[test]
fn parts_of_catalogs_stay_as_long_as_a_kept_version_names_them() {
    let mut world = World::new();
    // In the middle of a part's thirty days, so that 25 days ago is another part.
    world.now += 10 * DAY_MS - world.now.rem_euclid(30 * DAY_MS);
    world.clock.set(world.now);
    let now = world.now;
    let entry = |number: u128, days_ago: i64| {
        let mut meta = golden();
        meta.tenant = "t".to_owned();
        meta.block_id = ulid::new(now - days_ago * DAY_MS, number);
        meta.min_time = now - days_ago * DAY_MS;
        meta.max_time = meta.min_time + HOUR_MS;
        BlockEntry {
            meta,
            metric_names: None,
        }
    };
    let adding = |add: Vec<BlockEntry>| Change {
        add,
        ..Change::default()
    };
    // Enough for two parts of thirty days each, of which the newer one stays with the version.
    let many = (0..1_001).map(|number| entry(number, 25 * i64::from(number < 3)));
    let late = adding(vec![entry(2_000, 25)]);
    let more = (0..12).map(|number| adding(vec![entry(3_000 + number, 0)]));
    let more: Vec<_> = more.collect();
    let commit = |world: &World, change: &Change| {
        let committed = world.catalogs.commit(&tenant(), change).unwrap();
        committed
            .parts
            .iter()
            .map(|part| part.object.clone())
            .collect::<Vec<_>>()
    };
    let parts = |world: &World| {
        let listed = world.catalogs.bucket().list("t/catalog/parts", 10).unwrap();
        listed.into_iter().map(|part| part.key).collect::<Vec<_>>()
    };
    let before = commit(&world, &adding(many.collect()));
    let after = commit(&world, &late);
    assert_eq!(parts(&world), [before.clone(), after.clone()].concat());
    world.pass_after(13 * HOUR_MS);
    assert_eq!(
        parts(&world).len(),
        2,
        "the version before can be gone back to"
    );
    for change in &more {
        assert_eq!(commit(&world, change), after);
    }
    world.pass_after(HOUR_MS);
    assert_eq!(parts(&world), after);
    // What was read from the bucket is what was committed.
    let catalog = world.catalogs.current(&tenant()).unwrap();
    assert_eq!(catalog.blocks.len(), 1_014);
}
