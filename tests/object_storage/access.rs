//! An S3 server that checks keys and policies: what a bucket and a `tidemark` do where access is
//! denied, from the start or later.

use std::path::Path;
use std::process::Command;

use block::bucket::{Bucket, BucketError};
use bytes::Bytes;
use tests::process::{self, Process};
use tests::remote_write::{Series, Version};
use tests::servers::{Keys, S3};
use tests::tidemark::Tidemark;
use tests::{binary, wait};

use super::{LIMIT, config_with, s3};

const ALL: &[&str] = &["s3:*"];

/// Asks everything of a bucket that needs access, and a large file too; what it says to each, and
/// of what it should speak.
fn refusals(bucket: &Bucket, large: &Path) -> Vec<(String, BucketError)> {
    let refused = |what: &str, error: Option<BucketError>| {
        let error = error.expect("what is denied is refused");
        (what.to_owned(), error)
    };
    let hello = Bytes::from_static(b"hello");
    vec![
        refused(r#"put of "a/key""#, bucket.put("a/key", hello).err()),
        refused(
            r#"put of "a/large""#,
            bucket.put_file("a/large", large).err(),
        ),
        refused(r#"get of "a/key""#, bucket.get("a/key", 10).err()),
        refused(
            r#"get_range of "a/key""#,
            bucket.get_ranges("a/key", &[0..1, 1..2]).err(),
        ),
        refused(r#"list of "a""#, bucket.list("a", 10).err()),
        refused(r#"list of "a""#, bucket.list_folders("a").err()),
        refused(r#"delete of "a/key""#, bucket.delete("a/key").err()),
        refused(r#"put of "tidemark-probe-1""#, bucket.check("1").err()),
    ]
}

/// Sees that an error says all that somebody needs to mend it, and no key.
fn assert_denied(error: &BucketError, operation: &str) {
    let text = error.to_string();
    assert!(!error.is_not_found(), "{text}");
    assert!(error.is_denied(), "{text}");
    for part in [
        "s3://blocks/some/prefix",
        operation,
        "access is denied",
        "check the keys and the policy",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    assert!(!text.contains("tried"), "{text}");
    assert!(!text.contains("hush-hush"), "{text}");
}

#[test]
fn wrong_keys_are_told_at_once_with_bucket_operation_key_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let Some(s3) = s3(folder.path()) else {
        return;
    };
    let keys = s3.user("tidemark");
    s3.allow("tidemark", ALL);
    let open = |keys: &Keys| Bucket::open(&config_with(&s3, "s3://blocks/some/prefix", keys));
    open(&keys).unwrap().check("1").unwrap();
    let large = folder.path().join("large");
    std::fs::write(&large, vec![7; 9 << 20]).unwrap();
    let secret = || "hush-hush".to_owned();
    let wrong_secret = Keys {
        secret: secret(),
        ..keys.clone()
    };
    let unknown_key = Keys {
        id: "AKIAUNKNOWN".to_owned(),
        secret: secret(),
    };
    for keys in [wrong_secret, unknown_key] {
        let bucket = open(&keys).unwrap();
        let refusals = refusals(&bucket, &large);
        for (operation, error) in &refusals {
            assert_denied(error, operation);
        }
        // Another try would be denied as well.
        assert_eq!(bucket.requests(), refusals.len() as u64);
        let mut metrics = String::new();
        bucket.render_metrics(&mut metrics);
        for line in [
            "tidemark_bucket_failures_total{operation=\"put\"} 3",
            "tidemark_bucket_failures_total{operation=\"list\"} 2",
            "tidemark_bucket_failures_total{operation=\"delete\"} 1",
        ] {
            assert!(metrics.contains(line), "{line:?} is not in {metrics}");
        }
    }
}

#[test]
fn what_a_policy_does_not_allow_is_told_and_a_bucket_is_checked_for_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let Some(s3) = s3(folder.path()) else {
        return;
    };
    let keys = s3.user("tidemark");
    let bucket = Bucket::open(&config_with(&s3, "s3://blocks/some/prefix", &keys)).unwrap();
    let needed = [
        ("s3:PutObject", "put"),
        ("s3:ListBucket", "list"),
        ("s3:GetObject", "get"),
        ("s3:DeleteObject", "delete"),
    ];
    for (left_out, operation) in needed {
        let actions = needed.map(|(action, _)| action);
        let allowed: Vec<&str> = actions.into_iter().filter(|&one| one != left_out).collect();
        s3.allow("tidemark", &allowed);
        let before = bucket.requests();
        let error = bucket.check(operation).unwrap_err();
        assert_denied(
            &error,
            &format!("{operation} of \"tidemark-probe-{operation}\""),
        );
        assert!(bucket.requests() - before <= 4, "{error}");
        // All else is as it was.
        let put = bucket.put("key", Bytes::from_static(b"value"));
        let got = bucket.get("key", 10);
        assert_eq!(put.is_err(), operation == "put", "{put:?}");
        assert_eq!(got.is_err(), ["put", "get"].contains(&operation), "{got:?}");
        assert_eq!(bucket.list("x", 10).is_err(), operation == "list");
    }
    s3.allow("tidemark", &needed.map(|(action, _)| action));
    bucket.check("3").unwrap();
    // A check leaves nothing behind, but where it may not delete.
    let left = bucket.list("", 100).unwrap();
    let left: Vec<&str> = left.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(left, ["key", "tidemark-probe-delete"]);
}

/// The arguments of a `tidemark` with these keys, whose blocks lie on the server only.
fn arguments(s3: &S3, keys: &Keys) -> Vec<String> {
    let settings = [
        "storage.bucket.url=s3://blocks/tidemark".to_owned(),
        format!("storage.bucket.endpoint={}", s3.endpoint()),
        format!("storage.bucket.access_key_id={}", keys.id),
        format!("storage.bucket.secret_access_key={}", keys.secret),
        "storage.local_block_retention=0s".to_owned(),
    ];
    let arguments = settings
        .into_iter()
        .flat_map(|one| ["--set".to_owned(), one]);
    arguments.collect()
}

#[test]
fn a_process_whose_access_is_denied_does_not_start_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let Some(s3) = s3(folder.path()) else {
        return;
    };
    let reader = s3.user("reader");
    s3.allow("reader", &["s3:GetObject", "s3:ListBucket"]);
    let wrong_secret = Keys {
        secret: "hush-hush".to_owned(),
        ..reader.clone()
    };
    for (name, keys) in [("wrong", wrong_secret), ("reader", reader)] {
        let mut command = Command::new(binary::tidemark());
        command
            .arg("--data-dir")
            .arg(folder.path().join(name))
            .args(["--http-listen", &process::free_address().to_string()])
            .args(["--grpc-listen", &process::free_address().to_string()])
            .args(arguments(&s3, &keys));
        let log = folder.path().join(format!("{name}.log"));
        let mut process = Process::start(&mut command, &log);
        let status = wait::until("tidemark to end", LIMIT, || process.exited());
        let said = process.log();
        assert_eq!(status.code(), Some(1), "{said}");
        for part in ["s3://blocks/tidemark", "access is denied", "check the keys"] {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
        assert!(!said.contains(&keys.secret), "{said}");
    }
}

#[test]
fn a_session_of_the_environment_does_not_go_with_keys_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let Some(s3) = s3(folder.path()) else {
        return;
    };
    let keys = s3.user("tidemark");
    s3.allow("tidemark", ALL);
    // Looks through the bucket, with a session in the environment that is not valid.
    let look = |keys: &Keys| {
        let done = Command::new(binary::tidemark())
            .args(["catalog", "rebuild", "--data-dir"])
            .arg(folder.path())
            .args(arguments(&s3, keys))
            .env("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN")
            .env("AWS_SECRET_ACCESS_KEY", "hush-hush")
            .env("AWS_SESSION_TOKEN", "of-another")
            .output()
            .unwrap();
        (done.status, String::from_utf8(done.stderr).unwrap())
    };
    let (status, said) = look(&keys);
    assert!(status.success(), "{said}");
    let none = Keys {
        id: String::new(),
        secret: String::new(),
    };
    let (status, said) = look(&none);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("access is denied") && !said.contains("tried"),
        "{said}"
    );
    assert!(!said.contains("hush-hush"), "{said}");
}

/// 20 samples of each of 50 series, a minute apart and the newest now.
fn series(name: &str, now: i64) -> Vec<Series> {
    let one = |i: i64| {
        let one = Series::new(&[("__name__", name), ("i", &i.to_string())]);
        (0..20).fold(one, |one, minute| {
            one.sample(now - (19 - minute) * 60_000, minute as f64)
        })
    };
    (0..50).map(one).collect()
}

#[test]
fn access_that_is_taken_away_and_given_back_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(s3) = s3(folder.path()) else {
        return;
    };
    let keys = s3.user("tidemark");
    s3.allow("tidemark", ALL);
    let arguments = arguments(&s3, &keys);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut tidemark = Tidemark::start(&arguments);
    let now = wait::now_ms();
    let push = |tidemark: &Tidemark, name: &str| {
        let answer = tidemark
            .push(Version::V1, None, &series(name, now))
            .unwrap();
        assert!(matches!(answer.status, 200 | 204), "{}", answer.text());
    };
    let ask = |tidemark: &Tidemark, name: &str| {
        let query = format!("sum(count_over_time({name}[2h]))");
        let time = tests::answer::seconds(now);
        let parameters = [("query", query.as_str()), ("time", time.as_str())];
        let answer = tidemark.query_api(None).get("/api/v1/query", &parameters);
        answer.unwrap()
    };
    push(&tidemark, "before");
    wait::until("the local copies to go", LIMIT, || {
        tidemark.flush();
        let metrics = tidemark.get("/metrics").text();
        metrics
            .contains("tidemark_ingester_local_blocks 0")
            .then_some(())
    });

    s3.allow("tidemark", &["s3:ListAllMyBuckets"]);
    push(&tidemark, "meanwhile");
    for _ in 0..3 {
        let answer = ask(&tidemark, "before");
        assert_eq!(answer.status, 503, "{}", answer.text());
        let text = answer.text();
        for part in ["block", "s3://blocks/tidemark", "access is denied"] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
    }
    let flushed = tests::http::send(tidemark.address, "POST", "/ingester/flush", &[], b"").unwrap();
    assert_eq!(flushed.status, 503, "{}", flushed.text());
    for part in [
        "anonymous",
        "s3://blocks/tidemark",
        "put of",
        "access is denied",
    ] {
        let text = flushed.text();
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    push(&tidemark, "later");

    s3.allow("tidemark", ALL);
    for name in ["before", "meanwhile", "later"] {
        let answer = ask(&tidemark, name);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let value = &answer.json()["data"]["result"][0]["value"][1];
        assert_eq!(value, "1000", "{name}: {}", answer.text());
    }
    tidemark.flush();
    tidemark.kill();
    tidemark.restart();
    for name in ["before", "meanwhile", "later"] {
        let answer = ask(&tidemark, name);
        let value = &answer.json()["data"]["result"][0]["value"][1];
        assert_eq!(value, "1000", "{name}: {}", answer.text());
    }
    let log = tidemark.process().log();
    assert!(!log.contains(&keys.secret), "{log}");
}
