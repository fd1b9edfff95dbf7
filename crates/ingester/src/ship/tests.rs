//! Shipping that ends before any of its steps, with a bucket that fails or is down: nothing is
//! lost, nothing is there twice.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use block::bucket::faulty::{Fault, FaultyStore};
use block::bucket::{Bucket, BucketConfig};
use block::catalog::LocalPointers;
use block::{Block, BlockFiles, DecodedPages};
use bytes::Bytes;
use model::exemplar::Exemplar;
use model::fingerprint::Fingerprint;
use model::labels::Labels;
use model::quantity::DurationMs;
use model::sample::Sample;
use model::select::{LabelsNeeded, SelectRequest, SeriesSamples, SeriesSet, Skipped};
use model::time::{Clock, ManualClock, TimeRange};
use model::write::{SeriesRow, WriteBatch};
use object_store::local::LocalFileSystem;
use tsdb::disk::RealDisk;
use tsdb::store::{OpenDeps, OpenProgress, StoreConfig};
use tsdb::wal::WalConfig;

use super::*;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// A multiple of two hours.
const START: i64 = 1_700_006_400_000;

type Points = BTreeMap<(Labels, i64), u64>;

/// Catalogs over a bucket in a folder, for a test of others.
pub(crate) fn catalogs(folder: &Path) -> Arc<Catalogs> {
    World::at(folder).catalogs()
}

/// What outlives a process: its disk, and the bucket.
struct World {
    _folder: Option<tempfile::TempDir>,
    root: std::path::PathBuf,
    bucket: Arc<FaultyStore>,
    clock: Arc<ManualClock>,
    random: Arc<AtomicU64>,
    /// Of how many series a block is at most.
    max_series: usize,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = Self::at(folder.path());
        Self {
            _folder: Some(folder),
            ..world
        }
    }

    fn at(root: &Path) -> Self {
        fs::create_dir_all(root.join("bucket")).unwrap();
        let store = LocalFileSystem::new_with_prefix(root.join("bucket")).unwrap();
        Self {
            _folder: None,
            root: root.to_owned(),
            bucket: FaultyStore::new(Arc::new(store)),
            clock: Arc::new(ManualClock::new(START + 5 * HOUR)),
            random: Arc::default(),
            max_series: MAX_BLOCK_SERIES,
        }
    }

    fn catalogs(&self) -> Arc<Catalogs> {
        let config = BucketConfig {
            max_retries: 0,
            timeout: DurationMs(500),
            ..BucketConfig::default()
        };
        let bucket = Bucket::with_store(Arc::clone(&self.bucket) as _, &config).unwrap();
        let pointers = LocalPointers::open(&self.root.join("catalog")).unwrap();
        let random = Arc::clone(&self.random);
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let random = move || random.fetch_add(1, Relaxed);
        Arc::new(Catalogs::new(
            bucket,
            Arc::new(pointers),
            clock,
            Arc::new(random),
        ))
    }

    /// A process that begins, and stops before some step for the `nth` time it comes to it.
    fn start(&self, stop: Option<(Step, usize)>) -> Process {
        let mut wal = WalConfig::new(self.root.join("wal"));
        wal.min_free_bytes = 0;
        let limits: LimitsOf = Arc::new(|_| {
            Arc::new(Limits {
                out_of_order_time_window: DurationMs(30 * MINUTE),
                ..Limits::default()
            })
        });
        let config = StoreConfig {
            dir: self.root.clone(),
            wal,
            block_range_ms: 2 * HOUR,
        };
        let deps = OpenDeps {
            disk: Arc::new(RealDisk::default()),
            clock: Arc::clone(&self.clock) as _,
            limits: Arc::clone(&limits),
            instance: u128::from(self.random.fetch_add(1, Relaxed)),
        };
        let store = Store::open(config, deps, &OpenProgress::default());
        let store = Arc::new(store.unwrap().0);
        let counted = AtomicUsize::new(0);
        let steps = Steps::asking(move |step| match stop {
            Some((at, nth)) if at == step && counted.fetch_add(1, Relaxed) == nth => {
                Err(Stopped(step))
            }
            _ => Ok(()),
        });
        let catalogs = self.catalogs();
        let config = ShipConfig {
            max_series: self.max_series,
            ..ShipConfig::new(2 * HOUR, 6 * HOUR)
        };
        let decoded = Arc::new(DecodedPages::new(1 << 20));
        let local = Arc::new(LocalBlocks::open(&self.root.join("blocks"), decoded).unwrap());
        let shipper = Shipper::new(
            config,
            Arc::clone(&store),
            Arc::clone(&catalogs),
            local,
            Arc::clone(&limits),
            steps,
        );
        Process {
            store,
            catalogs,
            shipper,
            limits,
            bucket: self.root.join("bucket"),
        }
    }
}

struct Process {
    store: Arc<Store>,
    catalogs: Arc<Catalogs>,
    shipper: Shipper,
    limits: LimitsOf,
    bucket: std::path::PathBuf,
}

fn tenant() -> TenantId {
    TenantId::new("t").unwrap()
}

fn labels(i: i64) -> Labels {
    Labels::from_pairs([("__name__", format!("m{}", i % 3)), ("i", i.to_string())])
}

impl Process {
    /// Writes samples of some series; what is acknowledged is noted.
    fn write(&self, ts: impl Iterator<Item = i64> + Clone, acknowledged: &mut Points) {
        for i in 0..7 {
            let mut batch = WriteBatch::default();
            for t in ts.clone() {
                let v = (t / MINUTE * (i + 1)) as f64;
                batch.samples.push(Sample { t, v, start: 0 });
                acknowledged.insert((labels(i), t), v.to_bits());
            }
            batch.exemplars.extend(ts.clone().take(1).map(|t| Exemplar {
                labels: Labels::from_pairs([("trace", t.to_string())]),
                v: 1.0,
                t,
            }));
            batch.series.push(SeriesRow {
                fingerprint: Fingerprint::of(&labels(i)),
                labels: labels(i),
                samples_end: batch.samples.len() as u32,
                histograms_end: 0,
                exemplars_end: batch.exemplars.len() as u32,
            });
            let limits = (self.limits)(&tenant());
            let outcome = self.store.append(&tenant(), &limits, &batch).unwrap();
            assert_eq!(
                outcome.samples,
                batch.samples.len(),
                "{:?}",
                outcome.first_rejection
            );
        }
    }

    fn in_head(&self) -> Points {
        let mut points = Points::new();
        if let Some(head) = self.store.head(&tenant()) {
            gather(head.select(&everything()).unwrap(), &mut points);
        }
        points
    }

    /// What the blocks of the catalog hold; a sample in two of them is a failure.
    fn in_blocks(&self) -> Points {
        let mut points = Points::new();
        for entry in &self.catalogs.current(&tenant()).unwrap().blocks {
            let folder = self.bucket.join("t/blocks").join(entry.id());
            let block = Arc::new(Block::open(&folder).unwrap());
            block.verify().unwrap();
            assert_eq!(block.meta(), &entry.meta);
            let before = points.len();
            let mut own = Points::new();
            gather(block.select(&everything()).unwrap(), &mut own);
            let count = own.len();
            points.extend(own);
            assert_eq!(
                points.len(),
                before + count,
                "a sample is in one block only"
            );
            let names = block.label_values(METRIC_NAME, &[], &LookupBounds::default());
            for name in names.unwrap() {
                let filter = entry.metric_names.as_ref();
                assert!(filter.is_none_or(|names| names.may_contain(&name)));
            }
        }
        points
    }

    fn all(&self) -> Points {
        let mut all = self.in_blocks();
        all.extend(self.in_head());
        all
    }
}

fn everything() -> SelectRequest {
    SelectRequest {
        matchers: Vec::new(),
        range: TimeRange::all(),
        labels: LabelsNeeded::All,
        max_series: 0,
        max_bytes: 0,
        skipped: Skipped::default(),
    }
}

fn gather(mut set: Box<dyn SeriesSet>, points: &mut Points) {
    let mut samples = SeriesSamples::default();
    while let Some(labels) = set.next(&mut samples).unwrap() {
        for (t, v) in samples.ts.iter().zip(&samples.values) {
            points.insert((labels.clone(), *t), v.to_bits());
        }
    }
}

fn minutes(from: i64, to: i64) -> impl Iterator<Item = i64> + Clone {
    (from..to).map(|minute| START + minute * MINUTE)
}

/// A process that was sent five hours of samples, two ranges and a half.
fn five_hours() -> (World, Process, Points) {
    let world = World::new();
    let process = world.start(None);
    let mut acknowledged = Points::new();
    process.write(minutes(0, 300), &mut acknowledged);
    (world, process, acknowledged)
}

#[test]
fn whole_ranges_move_to_blocks_and_leave_the_head() {
    let (world, process, acknowledged) = five_hours();
    let now = world.clock.now_ms();
    process.shipper.pass(now, false).unwrap();
    // Five hours are there; the window of half an hour leaves two whole ranges.
    let catalog = process.catalogs.current(&tenant()).unwrap();
    let ranges: Vec<i64> = catalog.blocks.iter().map(|b| b.meta.min_time).collect();
    assert_eq!(ranges, [START, START + 2 * HOUR]);
    assert_eq!(process.in_head().len(), 7 * 60);
    assert_eq!(process.all(), acknowledged);
    assert_eq!(
        process.store.head(&tenant()).unwrap().oldest(),
        START + 4 * HOUR
    );
    // Nothing is due again.
    process.shipper.pass(now + MINUTE, false).unwrap();
    assert_eq!(
        process.catalogs.current(&tenant()).unwrap().version,
        catalog.version
    );
    // The exemplars went along.
    let block = process.shipper.local.of(&tenant()).remove(0);
    let bounds = LookupBounds::default();
    let found = block
        .block
        .exemplars(&[], TimeRange::all(), &bounds)
        .unwrap();
    assert_eq!(found.len(), 7);
    // On demand all goes.
    process.shipper.pass(now, true).unwrap();
    assert!(process.in_head().is_empty());
    assert_eq!(process.in_blocks(), acknowledged);
    // Copies go in time.
    process.shipper.pass(now + 7 * HOUR, false).unwrap();
    assert_eq!(process.shipper.local.counts(), (0, 0));
    drop(process);
    assert_eq!(world.start(None).all(), acknowledged);
}

#[test]
fn a_tenant_that_goes_silent_is_shipped_too() {
    let world = World::new();
    let process = world.start(None);
    let mut acknowledged = Points::new();
    process.write(minutes(0, 50), &mut acknowledged);
    let now = START + 50 * MINUTE;
    for hours in 0..4 {
        process.shipper.pass(now + hours * HOUR, false).unwrap();
    }
    assert!(process.in_head().is_empty());
    assert_eq!(process.in_blocks(), acknowledged);
}

#[test]
fn a_crash_at_any_step_loses_nothing_and_doubles_nothing() {
    let steps = [
        (Step::Build, 2),
        (Step::Finish, 2),
        (Step::Upload, 12),
        (Step::Commit, 2),
        (Step::Mark, 2),
        (Step::Drop, 1),
        (Step::Snapshot, 1),
    ];
    for (step, times) in steps {
        for nth in 0..times {
            for late in [false, true] {
                let world = World::new();
                let mut acknowledged = Points::new();
                let process = world.start(Some((step, nth)));
                process.write(minutes(0, 280).step_by(2), &mut acknowledged);
                if late {
                    process.write(minutes(255, 280).step_by(4), &mut acknowledged);
                }
                let now = world.clock.now_ms();
                let _stopped = process.shipper.pass(now, false);
                assert_eq!(
                    process.all(),
                    acknowledged,
                    "{step:?} {nth}: before the crash"
                );
                drop(process);
                let process = world.start(None);
                let case = format!("{step:?} {nth} {late}");
                assert_eq!(process.all(), acknowledged, "{case}: after the crash");
                process.write(minutes(280, 300), &mut acknowledged);
                process.shipper.pass(now, false).unwrap();
                assert_eq!(process.all(), acknowledged, "{case}: after another pass");
                process.shipper.pass(now, true).unwrap();
                assert!(process.in_head().is_empty(), "{case}");
                assert_eq!(process.in_blocks(), acknowledged, "{case}: shipped");
                drop(process);
                let process = world.start(None);
                assert_eq!(process.all(), acknowledged, "{case}: after a restart");
            }
        }
    }
}

#[test]
fn a_bucket_that_fails_costs_nothing_but_time() {
    for fault in [Fault::Before, Fault::After] {
        for request in 0..12 {
            let world = World::new();
            let process = world.start(None);
            let mut acknowledged = Points::new();
            process.write(minutes(0, 300).step_by(3), &mut acknowledged);
            world.bucket.fail(&[(request, fault)]);
            let now = world.clock.now_ms();
            let _failed = process.shipper.pass(now, false);
            assert_eq!(process.all(), acknowledged, "{fault:?} {request}");
            world.bucket.fail(&[]);
            process.shipper.pass(now, true).unwrap();
            assert!(process.in_head().is_empty());
            assert_eq!(process.in_blocks(), acknowledged, "{fault:?} {request}");
        }
    }
}

#[test]
fn while_the_bucket_is_down_writes_go_on() {
    let (world, process, mut acknowledged) = five_hours();
    world.bucket.set_down(true);
    let mut now = world.clock.now_ms();
    for hour in 5..12 {
        let (tenant, error) = process.shipper.pass(now, false).unwrap_err();
        assert!(error.to_string().contains("503"), "{tenant}: {error}");
        now += HOUR;
        world.clock.set(now);
        process.write(minutes(hour * 60, hour * 60 + 60), &mut acknowledged);
        assert_eq!(process.in_head().len(), acknowledged.len());
    }
    assert_eq!(
        process.shipper.local.counts(),
        (2, 2),
        "no more gathers than one cut of two ranges"
    );
    world.bucket.set_down(false);
    process.shipper.pass(now, false).unwrap();
    process.shipper.pass(now, true).unwrap();
    assert_eq!(process.in_blocks(), acknowledged);
    assert!(process.in_head().is_empty());
}

#[test]
fn what_a_query_reads_is_dropped_after_it() {
    let (world, process, acknowledged) = five_hours();
    let head = process.store.head(&tenant()).unwrap();
    let set = head.select(&everything()).unwrap();
    let now = world.clock.now_ms();
    process.shipper.pass(now, false).unwrap();
    assert_eq!(
        process.in_head(),
        acknowledged,
        "the blocks are there, the head waits"
    );
    let mut read = Points::new();
    gather(set, &mut read);
    assert_eq!(read, acknowledged);
    process.shipper.pass(now + 1, false).unwrap();
    assert_eq!(process.in_head().len(), 7 * 60);
    assert_eq!(process.all(), acknowledged);
}

/// Changes a byte in the middle of a file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(path, bytes).unwrap();
}

/// The only file in a folder.
fn only_file(folder: &Path) -> std::path::PathBuf {
    let mut files = fs::read_dir(folder).unwrap();
    let first = files.next().unwrap().unwrap().path();
    assert!(files.next().is_none(), "{}", folder.display());
    first
}

#[test]
fn a_chunk_that_cannot_be_read_stops_nothing_else() {
    let (world, process, acknowledged) = five_hours();
    // A snapshot takes the chunks out of the log: their only copy is the file.
    process.store.snapshot().unwrap();
    damage(&only_file(&world.root.join("chunks")));
    let now = world.clock.now_ms();
    process.shipper.pass(now, true).unwrap();
    let shipped = process.in_blocks();
    let missing: Vec<_> = acknowledged
        .iter()
        .filter(|(key, _)| !shipped.contains_key(*key))
        .collect();
    let series = &missing[0].0.0;
    assert!(missing.iter().all(|((labels, _), _)| labels == series));
    assert!((1..=120).contains(&missing.len()), "{}", missing.len());
    let unreadable = process.shipper.counters.unreadable_chunks.load(Relaxed);
    assert_eq!(unreadable, 1);
    // It is not forgotten: who asks for it is told.
    let head = process.store.head(&tenant()).unwrap();
    let mut set = head.select(&everything()).unwrap();
    let error = set.next(&mut SeriesSamples::default()).unwrap_err();
    assert!(error.message.contains("is damaged"), "{error}");
    drop(set);
    // Who takes a part gets all other series of the head, in as many parts as may be.
    process.write(minutes(300, 301), &mut Points::new());
    let partial = SelectRequest {
        skipped: Skipped::allowed(),
        ..everything()
    };
    let set = head.select(&partial).unwrap();
    let found = set.split(3).into_iter().flat_map(|mut part| {
        let mut samples = SeriesSamples::default();
        std::iter::from_fn(move || part.next(&mut samples).unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(found.count(), 6);
    let told = partial.skipped.texts();
    assert!(
        told.len() == 1 && told[0].contains("is damaged"),
        "{told:?}"
    );
    process.shipper.pass(now + HOUR, false).unwrap();
    assert_eq!(process.in_blocks(), shipped);
}

#[test]
fn a_waiting_block_that_rots_is_built_again() {
    let (world, process, acknowledged) = five_hours();
    let now = world.clock.now_ms();
    world.bucket.set_down(true);
    process.shipper.pass(now, false).unwrap_err();
    let waiting = process.shipper.local.of(&tenant()).remove(0);
    damage(&waiting.folder.join("samples-raw.parquet"));
    world.bucket.set_down(false);
    process.shipper.pass(now + 1, false).unwrap();
    assert_eq!(process.all(), acknowledged, "at every moment");
    process.shipper.pass(now + 2, true).unwrap();
    assert!(process.in_head().is_empty());
    assert_eq!(process.in_blocks(), acknowledged);
    assert!(waiting.folder.with_extension("damaged").exists());
}

#[test]
fn a_flush_ships_all_while_a_query_reads() {
    let (world, process, acknowledged) = five_hours();
    let head = process.store.head(&tenant()).unwrap();
    let now = world.clock.now_ms();
    let set = head.select(&everything()).unwrap();
    process.shipper.pass(now, false).unwrap();
    process.shipper.pass(now + 1, true).unwrap();
    assert_eq!(process.in_blocks(), acknowledged);
    drop(set);
    process.shipper.pass(now + 2, false).unwrap();
    assert!(process.in_head().is_empty());
}

#[test]
fn local_copies_stay_until_the_head_has_dropped_what_they_hold() {
    let (world, process, acknowledged) = five_hours();
    let head = process.store.head(&tenant()).unwrap();
    let set = head.select(&everything()).unwrap();
    let now = world.clock.now_ms();
    process.shipper.pass(now, false).unwrap();
    process.shipper.pass(now + 7 * HOUR, false).unwrap();
    assert_eq!(process.shipper.local.counts(), (2, 0));
    drop(set);
    process.shipper.pass(now + 7 * HOUR, false).unwrap();
    // There is only the block of the last hour, which has just been written.
    assert_eq!(process.shipper.local.counts(), (1, 0));
    assert!(process.in_head().is_empty());
    assert_eq!(process.in_blocks(), acknowledged);
}

#[test]
fn a_local_copy_stays_while_the_block_beside_it_cannot_be_published() {
    for restart in [false, true] {
        let world = World::new();
        let mut process = world.start(Some((Step::Commit, 1)));
        let mut acknowledged = Points::new();
        process.write(minutes(0, 300), &mut acknowledged);
        let now = world.clock.now_ms();
        process.shipper.pass(now, false).unwrap_err();
        assert_eq!(process.shipper.local.counts(), (2, 1));
        if restart {
            drop(process);
            process = world.start(None);
        }
        world.bucket.set_down(true);
        process.shipper.pass(now + 7 * HOUR, false).unwrap_err();
        assert_eq!(process.shipper.local.counts(), (2, 1));
        world.bucket.set_down(false);
        process.shipper.pass(now + 7 * HOUR, true).unwrap();
        assert!(process.in_head().is_empty());
        assert_eq!(process.in_blocks(), acknowledged);
        // Nothing holds it back any more.
        process.shipper.pass(now + 14 * HOUR, false).unwrap();
        assert_eq!(process.shipper.local.counts(), (0, 0));
    }
}

#[test]
fn a_local_copy_that_rots_is_left_for_the_bucket() {
    let world = World::new();
    let process = world.start(None);
    let mut acknowledged = Points::new();
    process.write(minutes(0, 300).step_by(2), &mut acknowledged);
    let now = world.clock.now_ms();
    process.shipper.pass(now, true).unwrap();
    let copies = process.shipper.local.of(&tenant());
    let path = copies[2].folder.join("samples-raw.parquet");
    let mut bytes = fs::read(&path).unwrap();
    bytes.iter_mut().step_by(10).for_each(|byte| *byte ^= 0x55);
    fs::write(&path, bytes).unwrap();
    // What comes late for its range is compared with it.
    process.write(minutes(281, 301).step_by(2), &mut acknowledged);
    let (_, error) = process.shipper.pass(now + 1, true).unwrap_err();
    assert!(error.to_string().contains("set aside"), "{error}");
    assert_eq!(process.all(), acknowledged);
    process.shipper.pass(now + 2, true).unwrap();
    assert!(process.in_head().is_empty());
    assert_eq!(process.in_blocks(), acknowledged);
}

#[test]
fn a_range_of_many_series_becomes_several_blocks() {
    for stop in [None, Some((Step::Finish, 1)), Some((Step::Commit, 1))] {
        let world = World {
            max_series: 3,
            ..World::new()
        };
        let mut acknowledged = Points::new();
        let process = world.start(stop);
        process.write(minutes(0, 300), &mut acknowledged);
        let now = world.clock.now_ms();
        let _stopped = process.shipper.pass(now, false);
        drop(process);
        let process = world.start(None);
        assert_eq!(process.all(), acknowledged, "{stop:?}");
        process.shipper.pass(now, true).unwrap();
        assert!(process.in_head().is_empty());
        assert_eq!(process.in_blocks(), acknowledged, "{stop:?}");
        // Seven series in each of three ranges.
        let blocks = &process.catalogs.current(&tenant()).unwrap().blocks;
        assert_eq!(blocks.len(), 3 * 3, "{stop:?}");
    }
}

#[test]
fn a_copy_that_the_catalog_lost_is_published_again() {
    let (world, process, acknowledged) = five_hours();
    let now = world.clock.now_ms();
    process.shipper.pass(now, true).unwrap();
    assert_eq!(process.in_blocks(), acknowledged);
    let version = process.catalogs.current(&tenant()).unwrap().version;
    process.shipper.pass(now, true).unwrap();
    let same = process.catalogs.current(&tenant()).unwrap();
    assert_eq!(same.version, version, "nothing is missing");
    // The bucket loses a block, and the catalog is made anew of what is left.
    let lose = |process: &Process, at: usize| {
        let lost = process.shipper.local.of(&tenant()).remove(at);
        fs::remove_dir_all(process.bucket.join("t/blocks").join(lost.id())).unwrap();
        process.catalogs.rebuild(&tenant()).unwrap();
        assert_ne!(process.in_blocks(), acknowledged);
    };
    lose(&process, 0);
    // Its copy would go now.
    process.shipper.pass(now + 7 * HOUR, false).unwrap();
    assert_eq!(process.in_blocks(), acknowledged);
    lose(&process, 0);
    drop(process);
    let process = world.start(None);
    process.shipper.pass(now + 7 * HOUR, false).unwrap();
    assert_eq!(process.in_blocks(), acknowledged);
    assert_eq!(process.shipper.local.counts().1, 0);
}

#[test]
fn a_block_that_was_removed_stays_away_and_hides_nothing() {
    let (world, process, acknowledged) = five_hours();
    let now = world.clock.now_ms();
    process.shipper.pass(now, true).unwrap();
    let removed = process.shipper.local.of(&tenant()).remove(2);
    let id = removed.id().to_owned();
    let change = Change {
        remove: vec![id.clone()],
        ..Change::default()
    };
    process.catalogs.commit(&tenant(), &change).unwrap();
    process.shipper.pass(now + 1, true).unwrap();
    let is_listed = |process: &Process| {
        let catalog = process.catalogs.current(&tenant()).unwrap();
        catalog.block(&id).is_some()
    };
    assert!(!is_listed(&process));
    // Its files are deleted, and the catalog forgets it.
    fs::remove_dir_all(process.bucket.join("t/blocks").join(&id)).unwrap();
    let change = Change {
        forget: vec![id.clone()],
        ..Change::default()
    };
    process.catalogs.commit(&tenant(), &change).unwrap();
    process.shipper.pass(now + 2, true).unwrap();
    assert!(!is_listed(&process));
    drop(process);
    let process = world.start(None);
    process.shipper.pass(now + 3, true).unwrap();
    assert!(!is_listed(&process));
    // What is sent again for its time is stored again, though a copy has it.
    assert!(removed.folder.exists());
    let mut again = Points::new();
    process.write(minutes(275, 300), &mut again);
    process.shipper.pass(now + 4, true).unwrap();
    assert!(process.in_head().is_empty());
    let shipped = process.in_blocks();
    assert!(again.iter().all(|(key, v)| shipped.get(key) == Some(v)));
    assert!(shipped.len() < acknowledged.len());
}

/// The files of a block on a disk that fails for a while.
#[derive(Debug)]
struct FailingFiles {
    folder: std::path::PathBuf,
    fails: Arc<AtomicBool>,
}

impl BlockFiles for FailingFiles {
    fn read(&self, file: &str, ranges: &[Range<u64>]) -> std::io::Result<Vec<Bytes>> {
        if self.fails.load(Relaxed) {
            return Err(std::io::Error::other("too many open files"));
        }
        let bytes = Bytes::from(fs::read(self.folder.join(file))?);
        let part = |range: &Range<u64>| bytes.slice(range.start as usize..range.end as usize);
        Ok(ranges.iter().map(part).collect())
    }

    fn size(&self, file: &str) -> std::io::Result<Option<u64>> {
        Ok(Some(fs::metadata(self.folder.join(file))?.len()))
    }
}

#[test]
fn a_block_that_cannot_be_read_for_a_while_is_not_set_aside() {
    let (world, process, acknowledged) = five_hours();
    let now = world.clock.now_ms();
    world.bucket.set_down(true);
    process.shipper.pass(now, false).unwrap_err();
    world.bucket.set_down(false);
    let local = &process.shipper.local;
    let one = local.of(&tenant()).remove(0);
    let fails = Arc::new(AtomicBool::new(false));
    let files = FailingFiles {
        folder: one.folder.clone(),
        fails: Arc::clone(&fails),
    };
    let block = Block::open_from(one.block.meta().clone(), Arc::new(files)).unwrap();
    local.forget(&tenant(), &one);
    local.enter(&tenant(), one.folder.clone(), block);
    fails.store(true, Relaxed);
    let (_, error) = process.shipper.pass(now + 1, false).unwrap_err();
    assert!(error.to_string().contains("too many open files"), "{error}");
    assert!(one.folder.exists());
    assert_eq!(local.counts().0, 2);
    fails.store(false, Relaxed);
    process.shipper.pass(now + 2, true).unwrap();
    assert!(process.in_head().is_empty());
    assert_eq!(process.in_blocks(), acknowledged);
}

#[test]
fn the_meta_json_that_is_uploaded_is_that_of_the_block() {
    let (world, process, acknowledged) = five_hours();
    let now = world.clock.now_ms();
    world.bucket.set_down(true);
    process.shipper.pass(now, false).unwrap_err();
    world.bucket.set_down(false);
    let waiting = process.shipper.local.of(&tenant()).remove(0);
    let path = waiting.folder.join(META);
    let written = fs::read(&path).unwrap();
    damage(&path);
    process.shipper.pass(now + 1, true).unwrap();
    let key = format!("t/blocks/{}/{META}", waiting.id());
    assert_eq!(fs::read(process.bucket.join(key)).unwrap(), written);
    assert_eq!(process.in_blocks(), acknowledged);
}
