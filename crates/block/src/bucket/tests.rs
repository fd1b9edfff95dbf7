//! The bucket over stores in memory, in a folder, and over one that fails.

use std::sync::Arc;

use model::asker;
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

#[test]
fn memory() {
    let folder = tempfile::tempdir().unwrap();
    suite::check(&Bucket::in_memory(), folder.path());
}

#[test]
fn a_local_folder() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("not/there/yet");
    let bucket = Bucket::open(&BucketConfig::folder(&below)).unwrap();
    suite::check(&bucket, folder.path());
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
    assert_eq!(bucket.get_ranges("key", &[1..2, 2..3]).unwrap(), ["a", "l"]);
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
fn a_denial_is_seen_in_what_the_library_says_of_lists_and_deletes() {
    let list = |status: &str| {
        format!(
            "Error performing list request: Error performing GET http://a/?prefix=403%20 in 1ms - \
             Server returned non-2xx status code: {status}"
        )
    };
    let delete = |code: &str| {
        format!("DeleteObjects request failed for key (code: AccessDenied): no (code: {code})")
    };
    for (what, denied) in [
        (list("403 Forbidden: <Error/>"), true),
        (list("401 Unauthorized: "), true),
        (list("400 Bad Request: <Code>ExpiredToken</Code>"), true),
        (list("400 Bad Request: <Code>InvalidRequest</Code>"), false),
        (list("503 Slow Down: status code: 403 Forbidden"), false),
        (list("404 Not Found: (code: NoSuchBucket)"), false),
        (delete("AccessDenied"), true),
        (delete("InternalError"), false),
    ] {
        let source = what.clone().into();
        let store = "S3";
        let failure = request::Failure::Store(object_store::Error::Generic { store, source });
        assert_eq!(request::judge(failure).kind.is_none(), denied, "{what}");
    }
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
    let one: Vec<_> = std::iter::once(0..40).collect();
    assert_eq!(coalesce(&[0..10, 10..20, 30..40]), one);
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

#[test]
fn a_request_ends_when_nobody_waits_for_it() {
    let store = FaultyStore::new(Arc::new(InMemory::new()));
    let config = BucketConfig {
        timeout: DurationMs(3_600_000),
        max_concurrency: 1,
        ..BucketConfig::default()
    };
    let bucket = Bucket::with_store(Arc::clone(&store) as _, &config).unwrap();
    bucket.put("key", Bytes::from_static(b"value")).unwrap();
    store.fail(&[(0, Fault::Hang)]);
    // It has come to the store when the asker goes.
    let asked = Arc::clone(&store);
    let has_gone = move || asked.requests() == 1;
    let error = asker::work_for(Some(Arc::new(has_gone)), || bucket.get("key", 10)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("nobody waits"), "{error}");
    // Nor does one begin for who has gone already.
    let before = store.requests();
    let late = asker::work_for(Some(Arc::new(|| true)), || bucket.get("key", 10));
    assert!(late.is_err() && store.requests() == before);
    // Its turn is free again, and who does wait gets an answer.
    let waits = || bucket.get("key", 10);
    let answer = asker::work_for(Some(Arc::new(|| false)), waits);
    assert_eq!(answer.unwrap(), "value");
}
