//! `tidemark bucket` and `tidemark catalog` as processes, over what a server left.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tests::binary;
use tests::http::Response;
use tests::remote_write::{Series, Version};
use tests::tidemark::Tidemark;
use tests::wait;

const SERIES: i64 = 10;
const SAMPLES: i64 = 60;
/// A block that never was.
const ABSENT: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

/// A server that wrote its samples to its bucket.
fn server() -> Tidemark {
    let tidemark = Tidemark::start(&[]);
    let begin = wait::now_ms() - SAMPLES * 1_000;
    let one = |i: i64| {
        let one = Series::new(&[("__name__", "m"), ("i", &i.to_string())]);
        (0..SAMPLES).fold(one, |one, n| one.sample(begin + n * 1_000, n as f64))
    };
    let series: Vec<Series> = (0..SERIES).map(one).collect();
    let answer = tidemark.push(Version::V1, None, &series).unwrap();
    assert!(matches!(answer.status, 200 | 204), "{}", answer.text());
    tidemark.flush();
    tidemark
}

fn stopped() -> Tidemark {
    let mut tidemark = server();
    assert!(tidemark.stop().success());
    tidemark
}

fn run(data: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(binary::tidemark());
    command.arg("--data-dir").arg(data).args(words);
    command.output().unwrap()
}

/// What a command prints that does what it is asked for.
fn good(data: &Path, words: &[&str]) -> String {
    let output = run(data, words);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{words:?}: {errors}");
    assert_eq!(errors, "", "{words:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The one line in which a command says why it can't.
fn refused(data: &Path, words: &[&str], code: i32) -> String {
    let output = run(data, words);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
    assert_eq!(output.stdout, b"", "{words:?}");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.starts_with("tidemark: "), "{words:?}: {errors}");
    assert_eq!(errors.lines().count(), 1, "{words:?}: {errors}");
    errors
}

/// The blocks that are listed, and the number of samples in them.
fn listed(data: &Path) -> (Vec<String>, i64) {
    let json = good(data, &["bucket", "ls", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let rows = json.as_array().unwrap();
    let id = |row: &serde_json::Value| row["block"].as_str().unwrap().to_owned();
    let samples = rows.iter().map(|row| row["samples"].as_i64().unwrap());
    (rows.iter().map(id).collect(), samples.sum())
}

fn file_of(data: &Path, block: &str, file: &str) -> PathBuf {
    let folder = data.join("bucket/anonymous/blocks").join(block);
    folder.join(file)
}

#[test]
fn what_a_server_wrote_is_shown_and_checked() {
    let tidemark = stopped();
    let data = tidemark.data();
    let (blocks, samples) = listed(data);
    assert_eq!(samples, SERIES * SAMPLES);
    let table = good(data, &["bucket", "ls", "--tenant", "anonymous"]);
    let checked = good(data, &["bucket", "verify"]);
    let mut points = 0;
    for block in &blocks {
        assert!(table.contains(block), "{table}");
        let line = format!("good     anonymous {block}");
        assert!(checked.contains(&line), "{checked}");
        assert!(good(data, &["bucket", "verify", block]).contains(&line));
        let inspected = good(data, &["bucket", "inspect", block]);
        for part in [block, "samples-raw.parquet", "postings.parquet"] {
            assert!(inspected.contains(part), "{part}: {inspected}");
        }
        let text = good(data, &["bucket", "cat", block, "m{i=\"3\"}"]);
        let (samples, series): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.starts_with("  "));
        assert!(series.iter().all(|line| line.contains("i=\"3\"")), "{text}");
        points += samples.len() as i64;
    }
    assert_eq!(points, SAMPLES);
}

#[test]
fn a_catalog_is_made_anew_when_the_server_is_stopped() {
    let mut tidemark = server();
    let error = refused(tidemark.data(), &["catalog", "rebuild"], 1);
    assert!(error.contains("stop the server first"), "{error}");
    assert!(tidemark.stop().success());
    let data = tidemark.data();
    let before = listed(data);
    std::fs::remove_file(data.join("catalog/anonymous.json")).unwrap();
    assert_eq!(listed(data), (Vec::new(), 0));
    let text = good(data, &["catalog", "rebuild"]);
    assert!(text.starts_with("anonymous: version "), "{text}");
    assert_eq!(listed(data), before);
}

#[test]
fn a_byte_that_changed_is_found_and_named() {
    let tidemark = stopped();
    let data = tidemark.data();
    let (blocks, _) = listed(data);
    let block = &blocks[0];
    for file in ["samples-raw.parquet", "series.parquet", "meta.json"] {
        let path = file_of(data, block, file);
        let whole = std::fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        bytes[20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        for words in [&["bucket", "verify"][..], &["bucket", "verify", block]] {
            let output = run(data, words);
            assert_eq!(output.status.code(), Some(1), "{file}: {output:?}");
            let text = String::from_utf8(output.stdout).unwrap();
            let damaged = text.lines().filter(|line| line.starts_with("damaged"));
            let damaged: Vec<&str> = damaged.collect();
            assert_eq!(damaged.len(), 1, "{text}");
            assert!(damaged[0].contains(block), "{text}");
            assert!(damaged[0].contains(file), "{file}: {text}");
        }
        std::fs::write(&path, &whole).unwrap();
        good(data, &["bucket", "verify"]);
    }
}

#[test]
fn a_block_without_a_file_fails_in_one_line() {
    let tidemark = stopped();
    let data = tidemark.data();
    let (blocks, _) = listed(data);
    let block = &blocks[0];
    std::fs::remove_file(file_of(data, block, "series.parquet")).unwrap();
    for verb in ["cat", "inspect"] {
        let error = refused(data, &["bucket", verb, block], 1);
        assert!(error.contains(block.as_str()), "{error}");
        assert!(error.contains("series.parquet"), "{error}");
    }
}

#[test]
fn what_is_not_there_is_named() {
    let tidemark = stopped();
    let data = tidemark.data();
    let (blocks, _) = listed(data);
    let block = &blocks[0];
    for verb in ["inspect", "verify", "cat"] {
        let error = refused(data, &["bucket", verb, ABSENT], 1);
        assert!(
            error.contains(ABSENT) && error.contains("bucket ls"),
            "{error}"
        );
        let error = refused(data, &["bucket", verb, "x"], 2);
        assert!(error.contains("\"x\" is no id of a block"), "{error}");
    }
    let other = ["--tenant", "nobody"];
    for words in [
        &["bucket", "ls"][..],
        &["bucket", "verify"],
        &["bucket", "cat", block],
        &["catalog", "rebuild"],
    ] {
        let error = refused(data, &[words, &other].concat(), 1);
        assert!(error.contains("there is no tenant nobody"), "{error}");
        assert!(!data.join("catalog/nobody.json").exists());
        let absent = data.join("absent");
        let url = format!("file://{}", absent.display());
        let error = refused(data, &[words, &["--bucket-url", &url]].concat(), 1);
        assert!(error.contains(absent.to_str().unwrap()), "{error}");
        let error = refused(&absent, words, 1);
        assert!(error.contains("there is no data directory"), "{error}");
        assert!(!absent.exists());
    }
}

/// Takes a damaged block from the error to the warning to the way out.
#[test]
fn a_damaged_block_fails_queries_or_is_left_out_until_it_is_removed() {
    const HOUR: i64 = 3_600_000;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let start = |settings: &[&str]| {
        let settings = settings.iter().chain(&["storage.local_block_retention=0s"]);
        let arguments: Vec<&str> = settings.flat_map(|one| ["--set", *one]).collect();
        Tidemark::start_on(tempfile::tempdir().unwrap(), &data, &arguments)
    };
    let now = wait::now_ms();
    let mut tidemark = start(&[]);
    for t in [now - 5 * HOUR, now - 60_000] {
        let series = [Series::new(&[("__name__", "m")]).sample(t, 1.0)];
        let answer = tidemark.push(Version::V1, None, &series).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    wait::until("the local copies to go", Duration::from_secs(60), || {
        tidemark.flush();
        let metrics = tidemark.get("/metrics").text();
        let gone = metrics.contains("tidemark_ingester_local_blocks 0");
        gone.then_some(())
    });
    assert!(tidemark.stop().success());
    let (blocks, samples) = listed(&data);
    assert_eq!((blocks.len(), samples), (2, 2));
    let damaged = &blocks[0];
    let file = file_of(&data, damaged, "samples-raw.parquet");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.iter_mut().step_by(20).for_each(|byte| *byte ^= 0x10);
    std::fs::write(&file, bytes).unwrap();

    let ask = |tidemark: &Tidemark| {
        let query = ("query", "sum(count_over_time(m[6h]))");
        let api = tidemark.query_api(None);
        api.get("/api/v1/query", &[query]).unwrap()
    };
    let tidemark = start(&[]);
    let answer = ask(&tidemark);
    assert_eq!(answer.status, 500, "{}", answer.text());
    assert!(answer.text().contains(damaged), "{}", answer.text());
    drop(tidemark);

    let tidemark = start(&["limits.partial_answers=true"]);
    let value = |answer: &Response| answer.json()["data"]["result"][0]["value"][1].clone();
    let limit = Duration::from_secs(60);
    // Again, until it is known to be damaged; then wherever else it is asked for.
    wait::until("the block to be known as damaged", limit, || {
        let answer = ask(&tidemark);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(value(&answer), "1", "{}", answer.text());
        let warnings = answer.json()["warnings"].to_string();
        assert!(warnings.contains(damaged), "{warnings}");
        let metrics = tidemark.get("/metrics").text();
        metrics.contains("quarantined_blocks 1").then_some(())
    });
    let (start_s, end_s) = ((now / 1000 - 18_000).to_string(), (now / 1000).to_string());
    let times = [("start", start_s.as_str()), ("end", end_s.as_str())];
    let range = [("query", "m"), times[0], times[1], ("step", "60")];
    let series = [("match[]", "m"), times[0], times[1]];
    let exemplars = [("query", "m"), times[0], times[1]];
    for (path, parameters) in [
        ("query_range", &range[..]),
        ("labels", &times[..]),
        ("label/__name__/values", &times[..]),
        ("series", &series[..]),
        ("query_exemplars", &exemplars[..]),
    ] {
        let api = tidemark.query_api(None);
        let answer = api.get(&format!("/api/v1/{path}"), parameters).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let warnings = answer.json()["warnings"].to_string();
        assert!(warnings.contains(damaged), "{path}: {}", answer.text());
    }
    let error = refused(&data, &["bucket", "remove", damaged], 1);
    assert!(error.contains("stop the server first"), "{error}");
    drop(tidemark);

    let said = good(&data, &["bucket", "remove", damaged]);
    assert!(
        said.contains(damaged) && said.contains("1 samples"),
        "{said}"
    );
    assert_eq!(listed(&data), (vec![blocks[1].clone()], 1));
    refused(&data, &["bucket", "remove", damaged], 1);
    refused(&data, &["bucket", "remove", ABSENT], 1);
    let answer = ask(&start(&[]));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(value(&answer), "1", "{}", answer.text());
    assert_eq!(answer.json().get("warnings"), None, "{}", answer.text());
}
