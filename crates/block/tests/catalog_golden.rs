//! The golden catalog: version 1 of the format stays readable, and what is written today has the
//! same bytes. `docs/formats/catalog.md` describes it.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use block::BlockMeta;
use block::bucket::Bucket;
use block::catalog::{BlockEntry, Catalogs, Change, LocalPointers, NameFilter};
use block::ulid;
use bytes::Bytes;
use model::tenant::TenantId;
use model::time::ManualClock;

const NOW: i64 = 1_767_225_600_000;
const OBJECT: &str = "00000000000000000002-01KDVDNA05009000000000000K.json";
const POINTER: &str = "anonymous.json";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/catalog-v1")
}

/// Catalogs over a bucket, with pointers in a folder, and with the same chance at each run.
fn catalogs(bucket: &Arc<Bucket>, folder: &Path) -> Catalogs {
    let pointers = LocalPointers::open(folder).unwrap();
    let numbers = AtomicU64::new(16);
    let random = move || numbers.fetch_add(1, Ordering::Relaxed);
    Catalogs::new(
        Arc::clone(bucket),
        Arc::new(pointers),
        Arc::new(ManualClock::new(NOW + 5)),
        Arc::new(random),
    )
}

fn entry(number: u128, sources: &[u128], names: Option<&[&str]>) -> BlockEntry {
    let id = |n: &u128| ulid::new(NOW, *n);
    let block = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/block-v1/meta.json");
    let mut meta = BlockMeta::from_json(&fs::read(block).unwrap(), "golden").unwrap();
    meta.block_id = id(&number);
    meta.sources = sources.iter().map(id).collect();
    let names = names.map(|names| NameFilter::of(names.iter().copied()));
    BlockEntry {
        meta,
        metric_names: names,
    }
}

/// Version 1 has three blocks; in version 2, two of them have become one.
fn commit(catalogs: &Catalogs) {
    let tenant = TenantId::anonymous();
    let names: &[&str] = &["up", "go_goroutines", "http_requests_total"];
    let first = Change {
        add: vec![
            entry(1, &[], Some(names)),
            entry(2, &[], Some(&[])),
            entry(3, &[], None),
        ],
        ..Change::default()
    };
    catalogs.commit(&tenant, &first).unwrap();
    let second = Change {
        add: vec![entry(4, &[1, 2], Some(names))],
        remove: [1, 2].map(|n| ulid::new(NOW, n)).to_vec(),
        ..Change::default()
    };
    catalogs.commit(&tenant, &second).unwrap();
}

#[test]
fn it_is_read() {
    let bucket = Bucket::in_memory();
    let folder = tempfile::tempdir().unwrap();
    fs::copy(golden().join(POINTER), folder.path().join(POINTER)).unwrap();
    let bytes = fs::read(golden().join(OBJECT)).unwrap();
    let key = format!("anonymous/catalog/{OBJECT}");
    bucket.put(&key, Bytes::from(bytes)).unwrap();
    let catalogs = catalogs(&bucket, folder.path());
    let catalog = catalogs.current(&TenantId::anonymous()).unwrap();
    assert_eq!((catalog.version, catalog.created_ms), (2, NOW + 5));
    let names: &[&str] = &["up", "go_goroutines", "http_requests_total"];
    let expected = [entry(3, &[], None), entry(4, &[1, 2], Some(names))].map(Arc::new);
    assert_eq!(catalog.blocks, expected);
    let filter = catalog.blocks[1].metric_names.as_ref().unwrap();
    assert!(names.iter().all(|name| filter.may_contain(name)));
    assert!(!filter.may_contain("down"));
    let removed = catalog.removed.iter().map(|r| (r.id.clone(), r.at_ms));
    let expected = [1, 2].map(|n| (ulid::new(NOW, n), NOW + 5));
    assert_eq!(removed.collect::<Vec<_>>(), expected);
}

#[test]
fn it_is_what_is_written_today() {
    let bucket = Bucket::in_memory();
    let folder = tempfile::tempdir().unwrap();
    commit(&catalogs(&bucket, folder.path()));
    let objects = bucket.list("anonymous/catalog", 10).unwrap();
    let newest = objects.last().unwrap();
    let object = bucket.get(&newest.key, 1 << 20).unwrap();
    let pointer = fs::read(folder.path().join(POINTER)).unwrap();
    if !golden().join(POINTER).exists() {
        // Only where a new version of the format has no golden files yet.
        let name = newest.key.rsplit('/').next().unwrap();
        fs::write(golden().join(name), &object).unwrap();
        fs::write(golden().join(POINTER), &pointer).unwrap();
        panic!("golden files were written: look at them, and run again");
    }
    assert!(newest.key.ends_with(OBJECT), "{}", newest.key);
    assert_eq!(pointer, fs::read(golden().join(POINTER)).unwrap());
    assert_eq!(object, fs::read(golden().join(OBJECT)).unwrap());
}
