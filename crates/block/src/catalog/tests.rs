//! Commits, conflicts, faults and rebuilding.

mod parts;
mod rebuild;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use model::time::ManualClock;
use object_store::memory::InMemory;

use super::*;
use crate::bucket::BucketConfig;
use crate::bucket::faulty::{Fault, FaultyStore};
use crate::meta::{BlockMeta, FileMeta, Statistics, hex};

fn tenant() -> TenantId {
    TenantId::new("t").unwrap()
}

fn meta(number: u64, sources: &[String]) -> BlockMeta {
    let file = |name: &&str| FileMeta {
        name: (*name).to_owned(),
        size: 1000,
        rows: 1,
        tail_offset: 800,
        footer_bytes: 100,
        checksum: hex(1),
        tail_checksum: hex(2),
    };
    BlockMeta {
        format_version: crate::layout::FORMAT_VERSION,
        tenant: "t".to_owned(),
        block_id: ulid::new(number as i64, u128::from(number)),
        min_time: number as i64 * 10,
        max_time: number as i64 * 10 + 10,
        slice_ms: 10,
        level: 0,
        sources: sources.to_vec(),
        promoted_labels: Vec::new(),
        statistics: Statistics {
            series: 1,
            ..Statistics::default()
        },
        files: crate::layout::TABLES.iter().map(file).collect(),
        checksum: String::new(),
    }
}

fn entry(number: u64) -> BlockEntry {
    BlockEntry {
        meta: meta(number, &[]),
        metric_names: None,
    }
}

fn add(number: u64) -> Change {
    Change {
        add: vec![entry(number)],
        ..Change::default()
    }
}

struct World {
    store: Arc<FaultyStore>,
    folder: tempfile::TempDir,
    counter: Arc<AtomicU64>,
}

impl World {
    fn new() -> Self {
        Self {
            store: FaultyStore::new(Arc::new(InMemory::new())),
            folder: tempfile::tempdir().unwrap(),
            counter: Arc::default(),
        }
    }

    /// A process that begins.
    fn catalogs(&self) -> Catalogs {
        self.catalogs_of(&self.pointers())
    }

    fn pointers(&self) -> Arc<LocalPointers> {
        Arc::new(LocalPointers::open(&self.folder.path().join("p")).unwrap())
    }

    fn catalogs_of(&self, pointers: &Arc<LocalPointers>) -> Catalogs {
        let config = BucketConfig {
            max_retries: 0,
            ..BucketConfig::default()
        };
        let bucket = Bucket::with_store(Arc::clone(&self.store) as _, &config).unwrap();
        // No two processes draw the same numbers.
        let counter = Arc::clone(&self.counter);
        let random = move || counter.fetch_add(1, Ordering::Relaxed);
        Catalogs::new(
            bucket,
            Arc::clone(pointers) as _,
            Arc::new(ManualClock::new(5)),
            Arc::new(random),
        )
    }
}

fn ids(catalog: &Catalog) -> Vec<u64> {
    let numbers = catalog.blocks.iter();
    numbers
        .map(|block| block.meta.min_time as u64 / 10)
        .collect()
}

#[test]
fn commits_are_seen_at_once_and_after_a_restart() {
    let world = World::new();
    let catalogs = world.catalogs();
    assert_eq!(catalogs.current(&tenant()).unwrap().version, 0);
    catalogs.commit(&tenant(), &add(2)).unwrap();
    let pinned = catalogs.commit(&tenant(), &add(1)).unwrap();
    assert_eq!((pinned.version, ids(&pinned)), (2, vec![1, 2]));
    // Once more changes nothing.
    assert_eq!(catalogs.commit(&tenant(), &add(1)).unwrap().version, 2);
    // A compaction swaps its sources for its result.
    let sources: Vec<String> = pinned.blocks.iter().map(|b| b.id().to_owned()).collect();
    let mut result = entry(3);
    result.meta.sources = sources.clone();
    let change = Change {
        add: vec![result],
        remove: sources,
        forget: Vec::new(),
    };
    let compacted = catalogs.commit(&tenant(), &change).unwrap();
    assert_eq!((ids(&compacted), compacted.removed.len()), (vec![3], 2));
    assert_eq!(ids(&pinned), [1, 2], "who holds a version keeps it");
    // What the result stands for is not added again.
    assert_eq!(ids(&catalogs.commit(&tenant(), &add(2)).unwrap()), [3]);
    let again = world.catalogs();
    assert_eq!(again.current(&tenant()).unwrap(), compacted);
    assert_eq!(again.tenants().unwrap(), [tenant()]);
}

#[test]
fn no_commit_is_lost_among_others() {
    let world = World::new();
    // As two processes that share their pointers.
    let pointers = world.pointers();
    let both = [(); 2].map(|()| world.catalogs_of(&pointers));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let catalogs = &both[thread as usize % 2];
            scope.spawn(move || {
                for number in 0..8 {
                    catalogs
                        .commit(&tenant(), &add(thread * 8 + number))
                        .unwrap();
                }
            });
        }
    });
    let all: Vec<u64> = (0..32).collect();
    for catalogs in both.iter().chain([&world.catalogs()]) {
        assert_eq!(ids(&catalogs.current(&tenant()).unwrap()), all);
    }
}

#[test]
fn a_fault_leaves_the_old_version_or_the_new() {
    for fault in [Fault::Before, Fault::After] {
        let world = World::new();
        let catalogs = world.catalogs();
        catalogs.commit(&tenant(), &add(1)).unwrap();
        world.store.fail(&[(0, fault)]);
        assert!(catalogs.commit(&tenant(), &add(2)).is_err());
        assert_eq!(ids(&catalogs.current(&tenant()).unwrap()), [1]);
        assert_eq!(ids(&world.catalogs().current(&tenant()).unwrap()), [1]);
        let done = catalogs.commit(&tenant(), &add(2)).unwrap();
        assert_eq!(ids(&done), [1, 2]);
    }
}

#[test]
fn damage_is_told() {
    let world = World::new();
    let catalogs = world.catalogs();
    catalogs.commit(&tenant(), &add(1)).unwrap();
    let object = catalogs.bucket.list("t/catalog", 10).unwrap().remove(0).key;
    let bytes = catalogs.bucket.get(&object, 1 << 20).unwrap();
    for at in (0..bytes.len()).step_by(7) {
        let mut bad = bytes.to_vec();
        bad[at] ^= 4;
        catalogs.bucket.put(&object, bad.into()).unwrap();
        let error = world.catalogs().current(&tenant()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
    // Trying again does not help: it is told what does.
    let check = |what: &str| {
        let error = world.catalogs().current(&tenant()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
        assert!(error.to_string().contains("catalog rebuild"), "{error}");
    };
    catalogs.bucket.delete(&object).unwrap();
    check("an object that is gone");
    let pointer = world.folder.path().join("p/t.json");
    std::fs::write(&pointer, b"{").unwrap();
    check("a pointer that is none");
    // What can't be read now may be read later.
    std::fs::remove_file(&pointer).unwrap();
    std::fs::create_dir(&pointer).unwrap();
    let again = world.catalogs();
    let error = again.current(&tenant()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let error = again.rebuild(&tenant()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    std::fs::remove_dir(&pointer).unwrap();
    std::fs::write(
        &pointer,
        format!("{{\"version\":1,\"object\":\"{object}\"}}"),
    )
    .unwrap();
    world.store.set_down(true);
    let error = world.catalogs().current(&tenant()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[test]
fn blocks_make_the_catalog_anew() {
    let world = World::new();
    let catalogs = world.catalogs();
    let put = |meta: &mut BlockMeta| {
        let bytes = meta.seal().unwrap();
        let key = block_key("t", &meta.block_id, "meta.json");
        catalogs.bucket.put(&key, bytes.into()).unwrap();
    };
    let mut first = meta(1, &[]);
    put(&mut first);
    put(&mut meta(2, &[]));
    put(&mut meta(3, std::slice::from_ref(&first.block_id)));
    let other = ulid::new(9, 9);
    catalogs
        .bucket
        .put(&block_key("t", &other, "series.parquet"), "x".into())
        .unwrap();
    let broken = ulid::new(8, 8);
    catalogs
        .bucket
        .put(&block_key("t", &broken, "meta.json"), "{}".into())
        .unwrap();
    // The first commit takes in what is there already.
    let first = catalogs.commit(&tenant(), &add(7)).unwrap();
    assert_eq!((first.version, ids(&first)), (2, vec![2, 3, 7]));
    std::fs::write(world.folder.path().join("p/t.json"), b"{").unwrap();
    let fresh = world.catalogs();
    let rebuilt = fresh.rebuild(&tenant()).unwrap();
    assert_eq!(
        (rebuilt.version, rebuilt.blocks, rebuilt.replaced),
        (3, 2, 1)
    );
    assert_eq!((rebuilt.unfinished, rebuilt.unreadable.len()), (1, 1));
    assert_eq!(rebuilt.unreadable[0].block, broken);
    assert_eq!(ids(&fresh.current(&tenant()).unwrap()), [2, 3]);
    assert_eq!(ids(&world.catalogs().current(&tenant()).unwrap()), [2, 3]);
    assert_eq!(fresh.tenants_in_bucket().unwrap(), [tenant()]);
}
