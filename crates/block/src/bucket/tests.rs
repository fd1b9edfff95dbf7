//! The bucket over stores in memory, in a folder, and over one that fails.

use std::sync::Arc;

use model::error::ErrorKind;
use model::quantity::DurationMs;
use object_store::memory::InMemory;

use super::faulty::{Fault, FaultyStore};
use super::*;

fn quick() -> BucketConfig {
    BucketConfig {
        timeout: DurationMs(200),
        max_retries: 2,
        ..BucketConfig::default()
    }
}

/// What every kind of bucket does alike.
fn suite(bucket: &Bucket) {
    bucket.check("1").unwrap();
    let get = |key: &str| bucket.get(key, 1 << 20);
    bucket
        .put("t!_.*'()-/a/one", Bytes::from_static(b"first"))
        .unwrap();
    bucket
        .put("t!_.*'()-/a/one", Bytes::from_static(b"second"))
        .unwrap();
    assert_eq!(get("t!_.*'()-/a/one").unwrap(), "second");
    assert!(get("t!_.*'()-/a/two").unwrap_err().is_not_found());
    let long = bucket.get("t!_.*'()-/a/one", 3).unwrap_err();
    assert!(long.to_string().contains("6 bytes"), "{long}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large");
    let bytes: Vec<u8> = (0..20_u32 << 18).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&file, &bytes).unwrap();
    assert_eq!(
        bucket.put_file("t/large", &file).unwrap(),
        bytes.len() as u64
    );
    let ranges = [0..4, 4..10, 1000..1004, 19 << 20..(19 << 20) + 7];
    let got = bucket.get_ranges("t/large", &ranges).unwrap();
    for (range, got) in ranges.iter().zip(got) {
        assert_eq!(got, bytes[range.start as usize..range.end as usize]);
    }
    assert_eq!(bucket.get("t/large", 1 << 30).unwrap(), bytes);
    let end = bytes.len() as u64;
    assert!(bucket.get_ranges("t/large", &[end - 3..end + 3]).is_err());
    assert!(
        bucket
            .get_ranges("t/none", &[0..1])
            .unwrap_err()
            .is_not_found()
    );

    for number in 0..1_100 {
        bucket
            .put(&format!("many/{number:04}"), Bytes::new())
            .unwrap();
    }
    let listed = bucket.list("many", 2_000).unwrap();
    assert_eq!(listed.len(), 1_100);
    assert!(listed.is_sorted_by(|a, b| a.key < b.key));
    assert_eq!(listed[7].key, "many/0007");
    assert!(bucket.list("many", 1_000).is_err());
    assert!(bucket.list("nothing", 10).unwrap().is_empty());
    assert_eq!(bucket.list_folders("").unwrap(), ["many", "t", "t!_.*'()-"]);
    assert_eq!(bucket.list_folders("t!_.*'()-").unwrap(), ["a"]);
    bucket.delete("t!_.*'()-/a/one").unwrap();
    bucket.delete("t!_.*'()-/a/one").unwrap();
    assert!(get("t!_.*'()-/a/one").unwrap_err().is_not_found());
}

#[test]
fn memory() {
    suite(&Bucket::in_memory());
}

#[test]
fn a_local_folder() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("not/there/yet");
    suite(&Bucket::open(&BucketConfig::folder(&below)).unwrap());
}

#[test]
fn faults_are_survived_or_told() {
    let store = FaultyStore::new(Arc::new(InMemory::new()));
    let bucket = Bucket::with_store(Arc::clone(&store) as _, &quick()).unwrap();
    for fault in [Fault::Before, Fault::After, Fault::Hang] {
        store.fail(&[(0, fault), (1, fault)]);
        bucket.put("key", Bytes::from_static(b"value")).unwrap();
        assert_eq!(store.requests(), 3, "{fault:?}");
        store.fail(&[(0, fault)]);
        assert_eq!(bucket.get("key", 10).unwrap(), "value");
    }
    store.fail(&[(0, Fault::Short), (1, Fault::Short)]);
    assert_eq!(bucket.get("key", 10).unwrap(), "value");
    store.fail(&[(0, Fault::Short)]);
    assert_eq!(bucket.get_ranges("key", &[1..3]).unwrap(), ["al"]);
    store.fail(&[0, 1, 2].map(|at| (at, Fault::Short)));
    let error = bucket.get("key", 10).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("tried 3 times"), "{error}");
    store.set_down(true);
    let error = bucket.get("key", 10).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(bucket.list("x", 1).is_err());
    assert!(bucket.delete("key").is_err());
    store.set_down(false);
    assert_eq!(bucket.get("key", 10).unwrap(), "value");
}

#[test]
fn secrets_are_not_shown() {
    let config = BucketConfig {
        secret_access_key: Secret("hush".to_owned()),
        ..BucketConfig::default()
    };
    let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn neighbours_are_fetched_together() {
    let far = COALESCE_BYTES + 1;
    assert_eq!(coalesce(&[0..10, 10..20, 30..40]), [0..40]);
    assert_eq!(
        coalesce(&[0..10, 10 + far..20 + far]),
        [0..10, 10 + far..20 + far]
    );
    let long = REQUEST_BYTES;
    assert_eq!(
        coalesce(&[0..long, long..long + 1]),
        [0..long, long..long + 1]
    );
    assert!(coalesce(&[]).is_empty());
}
