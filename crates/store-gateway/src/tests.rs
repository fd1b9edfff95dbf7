//! The gateway over a bucket that fails, blocks that are damaged, and many blocks.

use std::path::Path;
use std::sync::Arc;

use block::bucket::faulty::{Fault, FaultyStore};
use block::bucket::{Bucket, BucketConfig};
use block::catalog::{BlockEntry, Catalogs, Change, LocalPointers, block_key};
use block::{BlockSpec, BlockWriter, SortKey, ulid};
use model::asker;
use model::error::ErrorKind;
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::quantity::DurationMs;
use model::select::{LabelsNeeded, LookupBounds, SeriesSamples};
use model::time::{Clock, ManualClock, TimeRange};
use object_store::memory::InMemory;

use super::*;

const HOUR: i64 = 3_600_000;

struct World {
    store: Arc<FaultyStore>,
    folder: tempfile::TempDir,
    catalogs: Arc<Catalogs>,
    clock: Arc<ManualClock>,
}

fn tenant() -> TenantId {
    TenantId::new("t").unwrap()
}

fn deps(catalogs: &Arc<Catalogs>, clock: &Arc<ManualClock>) -> Deps {
    Deps {
        catalogs: Arc::clone(catalogs),
        decoded: Arc::new(DecodedPages::new(0)),
        clock: Arc::clone(clock) as _,
    }
}

impl World {
    fn new() -> Self {
        let store = FaultyStore::new(Arc::new(InMemory::new()));
        let config = BucketConfig {
            max_retries: 0,
            timeout: DurationMs(300),
            ..BucketConfig::default()
        };
        let bucket = Bucket::with_store(Arc::clone(&store) as _, &config).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let pointers = LocalPointers::open(&folder.path().join("catalog")).unwrap();
        let clock = Arc::new(ManualClock::new(1)) as Arc<dyn Clock>;
        let random = AtomicU64::new(0);
        let random = move || random.fetch_add(1, Relaxed);
        let catalogs = Catalogs::new(bucket, Arc::new(pointers), clock, Arc::new(random));
        Self {
            store,
            folder,
            clock: Arc::new(ManualClock::new(1)),
            catalogs: Arc::new(catalogs),
        }
    }

    fn gateway(&self, config: &Config) -> Arc<StoreGateway> {
        start(config, deps(&self.catalogs, &self.clock)).unwrap()
    }

    /// Writes a block of some series and uploads it; not committed yet.
    fn block(&self, number: i64, series: i64) -> BlockEntry {
        let range = TimeRange {
            start: number * 2 * HOUR,
            end: (number + 1) * 2 * HOUR,
        };
        let id = ulid::new(number + 1, number as u128);
        let folder = self.folder.path().join(&id);
        let spec = BlockSpec {
            id: id.clone(),
            tenant: tenant(),
            range,
            slice_ms: 2 * HOUR,
            level: 0,
            sources: Vec::new(),
        };
        let mut writer = BlockWriter::create(&folder, spec).unwrap();
        let mut all: Vec<Labels> = (0..series).map(labels).collect();
        all.sort_by(SortKey::compare);
        for labels in &all {
            let ts: Vec<i64> = (range.start..range.end).step_by(60_000).collect();
            let values = ts.iter().map(|t| (t / 60_000 % 977) as f64).collect();
            let samples = SeriesSamples {
                ts,
                values,
                ..SeriesSamples::default()
            };
            writer.push(labels, &samples).unwrap();
        }
        let meta = writer.finish().unwrap();
        for file in meta
            .files
            .iter()
            .map(|file| file.name.as_str())
            .chain(["meta.json"])
        {
            self.upload(&folder, &id, file);
        }
        BlockEntry {
            meta,
            metric_names: None,
        }
    }

    fn upload(&self, folder: &Path, id: &str, file: &str) {
        let key = block_key("t", id, file);
        self.catalogs
            .bucket()
            .put_file(&key, &folder.join(file))
            .unwrap();
    }

    fn commit(&self, add: Vec<BlockEntry>) {
        let change = Change {
            add,
            ..Change::default()
        };
        self.catalogs.commit(&tenant(), &change).unwrap();
    }
}

fn labels(i: i64) -> Labels {
    Labels::from_pairs([
        ("__name__", format!("m{}", i % 4)),
        ("i", format!("{i:05}")),
    ])
}

fn request(matchers: &[(&str, &str)], range: TimeRange) -> SelectRequest {
    let matcher = |(name, value): &(&str, &str)| Matcher::new(name, MatchOp::Equal, value).unwrap();
    SelectRequest {
        matchers: matchers.iter().map(matcher).collect(),
        range,
        labels: LabelsNeeded::All,
        max_series: 0,
        max_bytes: 0,
        skipped: Skipped::default(),
    }
}

/// How many series and samples a select gives.
fn read(
    gateway: &StoreGateway,
    blocks: &[String],
    request: &SelectRequest,
) -> Result<(usize, usize), SelectError> {
    let mut set = gateway.select(&tenant(), blocks, request)?;
    let mut samples = SeriesSamples::default();
    let (mut series, mut count) = (0, 0);
    while set.next(&mut samples)?.is_some() {
        series += 1;
        count += samples.ts.len();
    }
    Ok((series, count))
}

#[test]
fn blocks_are_read_with_few_requests_and_then_with_none() {
    let world = World::new();
    let entries = vec![world.block(0, 200), world.block(1, 200)];
    let ids: Vec<String> = entries.iter().map(|entry| entry.id().to_owned()).collect();
    world.commit(entries);
    let gateway = world.gateway(&Config::default());
    let bucket = world.catalogs.bucket();
    let before = bucket.requests();
    let wanted = request(&[("__name__", "m1")], TimeRange::all());
    assert_eq!(read(&gateway, &ids[..1], &wanted).unwrap(), (50, 50 * 120));
    let cold = bucket.requests() - before;
    assert!(
        cold <= 11,
        "{cold} requests for one block that was never read"
    );
    assert_eq!(read(&gateway, &ids[..1], &wanted).unwrap(), (50, 50 * 120));
    assert_eq!(
        bucket.requests() - before,
        cold,
        "what was read is not fetched again"
    );
    // Series of two blocks come once.
    assert_eq!(read(&gateway, &ids, &wanted).unwrap(), (50, 50 * 240));
    let bounds = LookupBounds::default();
    let lookup = LookupRequest {
        matcher_sets: vec![wanted.matchers.clone()],
        range: TimeRange::all(),
        limit: 0,
        bounds,
    };
    assert_eq!(gateway.series(&tenant(), &ids, &lookup).unwrap().len(), 50);
    let names = gateway.label_names(&tenant(), &ids, &lookup).unwrap();
    assert_eq!(names, ["__name__", "i"]);
    let values = gateway.label_values(&tenant(), &ids, "i", &lookup).unwrap();
    assert_eq!((values.len(), values[0].as_str()), (50, "00001"));
    let mut metrics = String::new();
    gateway.render_metrics(&mut metrics);
    assert!(
        metrics.contains("tidemark_store_gateway_open_blocks 2"),
        "{metrics}"
    );
}

#[test]
fn a_bucket_that_fails_is_an_error_with_the_blocks_name() {
    let world = World::new();
    let entry = world.block(0, 40);
    let ids = vec![entry.id().to_owned()];
    world.commit(vec![entry]);
    let wanted = request(&[("__name__", "m1")], TimeRange::all());
    let whole = (10, 10 * 120);
    assert_eq!(
        read(&world.gateway(&Config::default()), &ids, &wanted).unwrap(),
        whole
    );
    for fault in [Fault::Before, Fault::After, Fault::Hang, Fault::Short] {
        for number in 0..8 {
            let gateway = world.gateway(&Config::default());
            world.store.fail(&[(number, fault)]);
            match read(&gateway, &ids, &wanted) {
                Ok(read) => assert_eq!(read, whole, "{fault:?} {number}"),
                Err(error) => {
                    assert!(
                        error.message.contains(&ids[0]),
                        "{fault:?} {number}: {error}"
                    );
                }
            }
            // The next read is right again.
            world.store.fail(&[]);
            assert_eq!(
                read(&gateway, &ids, &wanted).unwrap(),
                whole,
                "{fault:?} {number}"
            );
        }
    }
}

#[test]
fn damaged_and_missing_files_are_told_and_others_still_read() {
    let world = World::new();
    let entries: Vec<_> = (0..3).map(|number| world.block(number, 40)).collect();
    let ids: Vec<String> = entries.iter().map(|entry| entry.id().to_owned()).collect();
    let files = entries[1].meta.files.clone();
    world.commit(entries);
    let wanted = request(&[("__name__", "m1")], TimeRange::all());
    let bucket = world.catalogs.bucket();
    for file in &files {
        let key = block_key("t", &ids[1], &file.name);
        let good = bucket.get(&key, 1 << 20).unwrap();
        for damage in 0..3 {
            match damage {
                0 => bucket.delete(&key).unwrap(),
                1 => bucket.put(&key, good.slice(..good.len() / 2)).unwrap(),
                _ => {
                    let mut bad = good.to_vec();
                    bad.iter_mut().step_by(50).for_each(|byte| *byte ^= 0x10);
                    bucket.put(&key, bad.into()).unwrap();
                }
            }
            let gateway = world.gateway(&Config::default());
            let error = read(&gateway, &ids, &wanted).unwrap_err();
            assert!(
                error.message.contains(&ids[1]),
                "{} {damage}: {error}",
                file.name
            );
            assert!(
                error.message.contains(&file.name),
                "{} {damage}: {error}",
                file.name
            );
            let kinds = [ErrorKind::Unavailable, ErrorKind::Corrupt];
            assert!(kinds.contains(&error.kind), "{error}");
            let others = [ids[0].clone(), ids[2].clone()];
            assert_eq!(read(&gateway, &others, &wanted).unwrap(), (10, 10 * 240));
            // What was read of it meanwhile is not kept.
            bucket.put(&key, good.clone()).unwrap();
            assert_eq!(read(&gateway, &ids, &wanted).unwrap(), (10, 10 * 360));
        }
    }
    let gateway = world.gateway(&Config::default());
    assert_eq!(read(&gateway, &ids, &wanted).unwrap(), (10, 10 * 360));
    // A block that the catalog does not have, nor the bucket.
    let absent = vec![ulid::new(77, 7)];
    let error = read(&gateway, &absent, &wanted).unwrap_err();
    assert!(error.message.contains(&absent[0]), "{error}");
}

#[test]
fn a_damaged_block_is_not_read_again_for_a_while_and_may_be_left_out() {
    let world = World::new();
    let entries: Vec<_> = (0..3).map(|number| world.block(number, 40)).collect();
    let ids: Vec<String> = entries.iter().map(|entry| entry.id().to_owned()).collect();
    let name = entries[1].meta.files[0].name.clone();
    world.commit(entries);
    let wanted = request(&[("__name__", "m1")], TimeRange::all());
    let bucket = world.catalogs.bucket();
    let key = block_key("t", &ids[1], &name);
    let good = bucket.get(&key, 1 << 20).unwrap();
    let mut bad = good.to_vec();
    bad.iter_mut().step_by(50).for_each(|byte| *byte ^= 0x10);
    bucket.put(&key, bad.into()).unwrap();
    let gateway = world.gateway(&Config::default());
    // A moment later may be the same query; a second later counts again.
    for now in [1, 500, 2_000] {
        world.clock.set(now);
        read(&gateway, &ids, &wanted).unwrap_err();
    }
    let before = bucket.requests();
    let error = read(&gateway, &ids, &wanted).unwrap_err();
    assert!(error.message.contains("bucket remove"), "{error}");
    assert_eq!(bucket.requests(), before);
    let mut metrics = String::new();
    gateway.render_metrics(&mut metrics);
    assert!(metrics.contains("quarantined_blocks 1"), "{metrics}");
    // Who takes a part gets it, and is told.
    for gateway in [&gateway, &world.gateway(&Config::default())] {
        let partial = SelectRequest {
            skipped: Skipped::allowed(),
            ..wanted.clone()
        };
        assert_eq!(read(gateway, &ids, &partial).unwrap(), (10, 10 * 240));
        let texts = partial.skipped.texts();
        assert!(texts.len() == 1 && texts[0].contains(&ids[1]), "{texts:?}");
        let lookup = LookupRequest {
            matcher_sets: vec![wanted.matchers.clone()],
            range: TimeRange::all(),
            limit: 0,
            bounds: LookupBounds {
                skipped: Skipped::allowed(),
                ..LookupBounds::default()
            },
        };
        assert_eq!(gateway.series(&tenant(), &ids, &lookup).unwrap().len(), 10);
    }
    // Once it was put right, it is found so.
    bucket.put(&key, good).unwrap();
    read(&gateway, &ids, &wanted).unwrap_err();
    world.clock.set(2_000 + 600_001);
    assert_eq!(read(&gateway, &ids, &wanted).unwrap(), (10, 10 * 360));
}

#[test]
fn ten_thousand_blocks_are_ready_at_once() {
    let world = World::new();
    let first = world.block(0, 8);
    let copy = |number: i64| {
        let mut entry = first.clone();
        entry.meta.block_id = ulid::new(number + 1, number as u128);
        entry.meta.min_time += number * 2 * HOUR;
        entry.meta.max_time += number * 2 * HOUR;
        entry
    };
    world.commit((0..10_000).map(copy).collect());
    // Another process: nothing is known yet.
    let clock = Arc::new(ManualClock::new(1)) as Arc<dyn Clock>;
    let pointers = LocalPointers::open(&world.folder.path().join("catalog")).unwrap();
    let bucket = Arc::clone(world.catalogs.bucket());
    let before = bucket.requests();
    let catalogs = Catalogs::new(bucket, Arc::new(pointers), clock, Arc::new(|| 5));
    let catalogs = Arc::new(catalogs);
    let gateway = start(&Config::default(), deps(&catalogs, &world.clock)).unwrap();
    let catalog = catalogs.current(&tenant()).unwrap();
    assert_eq!(catalog.blocks.len(), 10_000);
    let ids = vec![first.id().to_owned()];
    let wanted = request(&[], TimeRange::all());
    assert_eq!(read(&gateway, &ids, &wanted).unwrap(), (8, 8 * 120));
    let requests = catalogs.bucket().requests() - before;
    assert!(
        requests < 20 + catalog.parts.len() as u64,
        "{requests} requests: as many as for few blocks, but for the parts of the catalog"
    );
}

#[test]
fn memory_is_bounded_and_the_disk_serves_what_it_lost() {
    let world = World::new();
    let entries: Vec<_> = (0..30).map(|number| world.block(number, 80)).collect();
    let ids: Vec<String> = entries.iter().map(|entry| entry.id().to_owned()).collect();
    world.commit(entries);
    let config = Config {
        index_cache: ByteSize(1 << 20),
        page_cache: ByteSize(64 << 10),
        disk_cache: ByteSize(128 << 20),
        cache_dir: world.folder.path().join("cache"),
        ..Config::default()
    };
    let gateway = world.gateway(&config);
    let wanted = request(&[], TimeRange::all());
    std::thread::scope(|scope| {
        for at in 0..4 {
            let (gateway, ids, wanted) = (&gateway, &ids, &wanted);
            scope.spawn(move || {
                for id in ids.iter().cycle().skip(at * 7).take(30) {
                    let read = read(gateway, std::slice::from_ref(id), wanted);
                    assert_eq!(read.unwrap(), (80, 80 * 120));
                }
            });
        }
    });
    let (_, bytes) = gateway.open.size();
    assert!(bytes <= 1 << 20, "{bytes} bytes of indexes");
    let pages = gateway.open.pages.memory_bytes();
    assert!(pages <= 128 << 10, "{pages} bytes of pages");
}

#[test]
fn blocks_that_are_read_have_their_bound_too() {
    let world = World::new();
    let entries: Vec<_> = (0..12).map(|number| world.block(number, 8)).collect();
    let ids: Vec<String> = entries.iter().map(|entry| entry.id().to_owned()).collect();
    let each = entries
        .iter()
        .map(|entry| open::bytes_of(&entry.meta))
        .max();
    let each = each.unwrap();
    world.commit(entries);
    let limited = |blocks: u64, kept: u64| {
        world.gateway(&Config {
            index_cache: ByteSize(each * kept),
            max_open_memory: ByteSize(each * blocks),
            ..Config::default()
        })
    };
    let wanted = request(&[], TimeRange::all());
    let select = |gateway: &StoreGateway, ids: &[String]| gateway.select(&tenant(), ids, &wanted);
    // One query may take half of it.
    let gateway = limited(20, 0);
    let error = read(&gateway, &ids, &wanted).unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooMany, "{error}");
    assert!(error.message.contains("max_open_memory"), "{error}");
    assert_eq!(gateway.open.size(), (0, 0));
    assert_eq!(
        read(&gateway, &ids[..9], &wanted).unwrap(),
        (8, 8 * 120 * 9)
    );
    // Queries that read the same blocks share them.
    let same: Vec<_> = (0..20)
        .map(|_| select(&gateway, &ids[..4]).unwrap())
        .collect();
    assert_eq!(gateway.open.size().0, 4);
    drop(same);
    assert_eq!(gateway.open.size(), (0, 0));
    // Also where all come at once.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(read(&gateway, &ids[..9], &wanted).unwrap().0, 8));
        }
    });
    // A look-up lets go of a block before it comes to the next, once it need not wait for it.
    let gateway = limited(2, 0);
    let lookup = LookupRequest {
        matcher_sets: Vec::new(),
        range: TimeRange::all(),
        limit: 0,
        bounds: LookupBounds::default(),
    };
    for id in &ids {
        let known = gateway.series(&tenant(), std::slice::from_ref(id), &lookup);
        assert_eq!(known.unwrap().len(), 8);
    }
    assert_eq!(gateway.series(&tenant(), &ids, &lookup).unwrap().len(), 8);
    assert_eq!(gateway.open.size(), (0, 0));
    // What all take together is bounded, and blocks that nobody reads make room.
    let gateway = limited(3, 3);
    for id in &ids {
        assert_eq!(
            read(&gateway, std::slice::from_ref(id), &wanted).unwrap().0,
            8
        );
        assert!(gateway.open.size().1 <= each * 3);
    }
    let mut sets = Vec::new();
    let error = ids.iter().find_map(|id| {
        let set = select(&gateway, std::slice::from_ref(id));
        set.map(|set| sets.push(set)).err()
    });
    let error = error.unwrap();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(error.message.contains("max_open_memory"), "{error}");
    assert!(sets.len() > 1 && gateway.open.size().1 <= each * 3);
    drop(sets);
    assert_eq!(read(&gateway, &ids[..1], &wanted).unwrap().0, 8);
}

#[test]
fn a_read_for_nobody_asks_for_nothing_and_is_no_partial_answer() {
    let world = World::new();
    let entries: Vec<_> = (0..12).map(|number| world.block(number, 8)).collect();
    let ids: Vec<String> = entries.iter().map(|entry| entry.id().to_owned()).collect();
    world.commit(entries);
    let gateway = world.gateway(&Config::default());
    let partial = SelectRequest {
        skipped: Skipped::allowed(),
        ..request(&[], TimeRange::all())
    };
    let late = || asker::work_for(Some(Arc::new(|| true)), || read(&gateway, &ids, &partial));
    let before = world.catalogs.bucket().requests();
    let error = late().unwrap_err();
    assert!(error.message.contains("nobody waits"), "{error}");
    // Nor is it, where all is in memory.
    assert_eq!(world.catalogs.bucket().requests(), before);
    assert_eq!(read(&gateway, &ids, &partial).unwrap(), (8, 8 * 120 * 12));
    assert!(late().is_err());
    assert!(partial.skipped.texts().is_empty());
}

#[test]
fn what_a_read_holds_of_all_blocks_has_its_bound() {
    let world = World::new();
    let entries: Vec<_> = (0..12).map(|number| world.block(number, 80)).collect();
    let ids: Vec<String> = entries.iter().map(|entry| entry.id().to_owned()).collect();
    world.commit(entries);
    let gateway = world.gateway(&Config::default());
    let bounded = |max_bytes| SelectRequest {
        max_bytes,
        ..request(&[], TimeRange::all())
    };
    // A row of each series in each block; a row takes some 30 bytes, and a few more at first.
    let rows = 12 * 80;
    assert_eq!(read(&gateway, &ids, &bounded(rows * 40)).unwrap().0, 80);
    let error = read(&gateway, &ids, &bounded(rows * 20)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooMany, "{error}");
    assert!(error.message.contains("max_memory_per_query"), "{error}");
    // Of a look-up the answer counts, whatever blocks and sets of matchers find it again.
    let lookup = |max_bytes| LookupRequest {
        matcher_sets: vec![Vec::new(); 50],
        range: TimeRange::all(),
        limit: 0,
        bounds: LookupBounds {
            max_bytes,
            ..LookupBounds::default()
        },
    };
    let found = gateway.series(&tenant(), &ids, &lookup(0)).unwrap();
    let bytes: usize = found.iter().map(Labels::heap_bytes).sum();
    for gateway in [&gateway, &world.gateway(&Config::default())] {
        let fits = gateway.series(&tenant(), &ids, &lookup(bytes));
        assert_eq!(fits.unwrap().len(), 80);
        let error = gateway
            .series(&tenant(), &ids, &lookup(bytes - 1))
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooMany, "{error}");
    }
}
