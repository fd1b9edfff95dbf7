//! Buckets of a real S3 server: the same demands as of a folder, and a `tidemark` whose blocks lie
//! there.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "object_storage/access.rs"]
mod access;
#[path = "object_storage/azure.rs"]
mod azure;
#[path = "object_storage/google.rs"]
mod google;

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use block::bucket::{Bucket, BucketConfig, Secret, suite};
use tests::process;
use tests::remote_write::{Series, Version};
use tests::servers::{Keys, S3};
use tests::tidemark::Tidemark;
use tests::wait;

/// Waiting for what takes a moment on an idle machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A running S3 server with one bucket.
fn s3(folder: &Path) -> Option<S3> {
    S3::start("object_storage", folder)
}

/// A bucket of that server, with keys that it does not look at.
fn config(s3: &S3, url: &str) -> BucketConfig {
    let keys = Keys {
        id: "id".to_owned(),
        secret: "secret".to_owned(),
    };
    config_with(s3, url, &keys)
}

fn config_with(s3: &S3, url: &str, keys: &Keys) -> BucketConfig {
    BucketConfig {
        url: url.to_owned(),
        endpoint: s3.endpoint(),
        access_key_id: keys.id.clone(),
        secret_access_key: Secret(keys.secret.clone()),
        ..BucketConfig::default()
    }
}

#[test]
fn an_s3_server_does_what_a_folder_does() {
    let folder = tempfile::tempdir().unwrap();
    let Some(s3) = s3(folder.path()) else {
        return;
    };
    let bucket = Bucket::open(&config(&s3, "s3://blocks/some/prefix")).unwrap();
    suite::check(&bucket, folder.path());
    // The prefix is above all keys, and another one sees nothing of them.
    let whole = Bucket::open(&config(&s3, "s3://blocks")).unwrap();
    assert_eq!(whole.list_folders("").unwrap(), ["some"]);
    let missing = Bucket::open(&config(&s3, "s3://not-there")).unwrap();
    let error = missing.check("1").unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

#[test]
fn blocks_go_to_an_s3_server_and_are_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let Some(s3) = s3(folder.path()) else {
        return;
    };
    let endpoint = format!("storage.bucket.endpoint=http://{}", s3.address);
    let settings = [
        "storage.bucket.url=s3://blocks/tidemark",
        endpoint.as_str(),
        "storage.bucket.access_key_id=id",
        "storage.bucket.secret_access_key=hush-hush",
        "storage.local_block_retention=0s",
    ];
    let arguments: Vec<&str> = settings.iter().flat_map(|one| ["--set", one]).collect();
    let mut tidemark = Tidemark::start(&arguments);
    let now = wait::now_ms();
    let begin = now - 3_600_000;
    let series: Vec<Series> = (0..100_i64)
        .map(|i| {
            let number = i.to_string();
            let one = Series::new(&[("__name__", "m"), ("i", &number)]);
            (0..60).fold(one, |one, minute| {
                one.sample(begin + minute * 60_000, minute as f64)
            })
        })
        .collect();
    let answer = tidemark.push(Version::V1, None, &series).unwrap();
    assert!(matches!(answer.status, 200 | 204), "{}", answer.text());
    let count = |tidemark: &Tidemark| {
        let counted = tidemark
            .query_api(None)
            .instant("sum(count_over_time(m[2h]))", now);
        counted.only_value()
    };
    assert_eq!(count(&tidemark), 6_000.0);
    tidemark.flush();
    assert_eq!(count(&tidemark), 6_000.0);
    // No copy is kept here: the answer comes from the server, at the latest after the next pass.
    wait::until("the local copies to go", LIMIT, || {
        tidemark.flush();
        let metrics = tidemark.get("/metrics").text();
        metrics
            .contains("tidemark_ingester_local_blocks 0")
            .then_some(())
    });
    assert_eq!(count(&tidemark), 6_000.0);
    tidemark.kill();
    tidemark.restart();
    assert_eq!(count(&tidemark), 6_000.0);
    let metrics = tidemark.get("/metrics").text();
    assert!(metrics.contains("tidemark_bucket_requests_total{operation=\"get_range\"}"));
    // Nobody is told the key.
    let shown = [tidemark.get("/config").text(), tidemark.process().log()];
    assert!(shown.iter().all(|text| !text.contains("hush-hush")));
    // A bucket that is not there keeps a process from starting.
    let bad = Command::new(tests::binary::tidemark())
        .args(["--data-dir"])
        .arg(folder.path().join("other"))
        .args(["--http-listen", &process::free_address().to_string()])
        .args([
            "--set",
            "storage.bucket.url=s3://not-there",
            "--set",
            &endpoint,
        ])
        .args(["--set", "storage.bucket.access_key_id=id"])
        .args(["--set", "storage.bucket.secret_access_key=x"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&bad.stderr);
    assert_eq!(bad.status.code(), Some(1), "{said}");
    assert!(said.contains("s3://not-there"), "{said}");
}

/// How what is sent gets through.
#[derive(Default)]
struct Wire {
    /// Nothing does.
    hangs: AtomicBool,
    /// Each piece takes so long, in milliseconds.
    delay_ms: AtomicU64,
}

/// Hands what comes to one address on to another, from now on, as the wire that it returns is set.
fn forward(from: SocketAddr, to: SocketAddr) -> Arc<Wire> {
    let listener = TcpListener::bind(from).unwrap();
    let wire = Arc::new(Wire::default());
    let set = Arc::clone(&wire);
    thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), Ok(server)) = (client, TcpStream::connect(to)) else {
                continue;
            };
            for (from, to) in [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server, client),
            ] {
                let wire = Arc::clone(&wire);
                // A connection that breaks is the asker's to open again.
                thread::spawn(move || drop(pass_on(from, to, &wire)));
            }
        }
    });
    set
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, wire: &Wire) -> io::Result<()> {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut bytes)?;
        wait::pause(Duration::from_millis(wire.delay_ms.load(Ordering::Relaxed)));
        while wire.hangs.load(Ordering::Relaxed) {
            wait::pause(Duration::from_millis(5));
        }
        if count == 0 {
            return to.shutdown(Shutdown::Write);
        }
        to.write_all(&bytes[..count])?;
    }
}

#[test]
fn a_new_machine_whose_bucket_is_out_of_reach_does_not_answer_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let Some(s3) = s3(folder.path()) else {
        return;
    };
    let arguments = |address: SocketAddr| {
        let endpoint = format!("storage.bucket.endpoint=http://{address}");
        let settings = [
            "storage.bucket.url=s3://blocks",
            endpoint.as_str(),
            "storage.bucket.access_key_id=id",
            "storage.bucket.secret_access_key=x",
        ];
        let arguments = settings.iter().flat_map(|one| ["--set", one]);
        arguments.map(str::to_owned).collect::<Vec<_>>()
    };
    let start = |arguments: &[String]| {
        Tidemark::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let first = start(&arguments(s3.address));
    let now = wait::now_ms();
    let sample = |value: f64| [Series::new(&[("__name__", "m")]).sample(now - 60_000, value)];
    let answer = first.push(Version::V1, None, &sample(1.0)).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    first.flush();
    drop(first);

    let behind = process::free_address();
    let mut second = start(&arguments(behind));
    // It takes writes, but does not know which blocks there are.
    let other = [Series::new(&[("__name__", "n")]).sample(now, 5.0)];
    let answer = second.push(Version::V1, None, &other).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let ask = |tidemark: &Tidemark| {
        let query = ("query", "sum({__name__=~'m|n'})");
        tidemark.query_api(None).get("/api/v1/query", &[query])
    };
    let answer = ask(&second).unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("not known yet"), "{}", answer.text());
    let wire = forward(behind, s3.address);
    let answer = wait::until("the blocks to be found", LIMIT, || {
        let answer = ask(&second).unwrap();
        (answer.status == 200).then_some(answer)
    });
    let value = &answer.json()["data"]["result"][0]["value"][1];
    assert_eq!(value, "6", "{}", answer.text());
    // From here on it is known, whether the bucket is there or not.
    second.kill();
    second.restart();
    // A bucket that hangs holds up who asks no longer than he waits, and no thread either.
    wire.hangs.store(true, Ordering::Relaxed);
    let pairs = [("query", "m"), ("timeout", "300ms")];
    let answer = second.query_api(None).get("/api/v1/query", &pairs).unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("timed out"), "{}", answer.text());
    wait::until("the query to end", LIMIT, || {
        let metrics = second.get("/metrics").text();
        metrics
            .contains("tidemark_query_queries_running 0")
            .then_some(())
    });
    wire.hangs.store(false, Ordering::Relaxed);
    assert_eq!(ask(&second).unwrap().status, 200);
    // A bucket that takes long to be looked through does not hold up the start of a machine.
    wire.delay_ms.store(400, Ordering::Relaxed);
    let third = start(&arguments(behind));
    let answer = ask(&third).unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("not known yet"), "{}", answer.text());
    wait::until("the blocks to be found", LIMIT, || {
        (ask(&third).unwrap().status == 200).then_some(())
    });
}
