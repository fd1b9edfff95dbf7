//! A day of samples on its way through the head, the hand-over and the bucket, beside a real
//! Prometheus that holds it in memory: the answers are the same all the time.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::atomic::{AtomicBool, Ordering};

use tests::answer::QueryApi;
use tests::http;
use tests::remote_write::{self, Series, Version};
use tests::servers::{self, Prometheus};
use tests::tidemark::Tidemark;
use tests::wait;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const SERIES: i64 = 24;
/// Between samples of a series.
const INTERVAL: i64 = 30_000;

/// What is asked of both.
const QUERIES: [&str; 9] = [
    "sum by (job) (rate(requests_total[5m]))",
    "requests_total",
    "count({__name__=~'.+'})",
    "max_over_time(temperature[3h])",
    "avg without (instance) (temperature)",
    "requests_total unless on (instance) temperature > 50",
    "sum(count_over_time({job=~'a|b'}[1d]))",
    "topk(3, increase(requests_total[2h]))",
    "quantile_over_time(0.9, temperature[59m30s:5m])",
];

struct Day {
    end: i64,
}

impl Day {
    /// A day that ends now, at a full minute.
    fn new() -> Self {
        Self {
            end: wait::now_ms() / MINUTE * MINUTE,
        }
    }

    fn begin(&self) -> i64 {
        self.end - DAY
    }

    /// The samples of a part of the day.
    fn part(&self, from: i64, to: i64) -> Vec<Series> {
        let one = |i: i64| {
            let job = ["a", "b", "c"][(i % 3) as usize];
            let instance = format!("host-{:02}", i / 2);
            let name = if i % 2 == 0 {
                "requests_total"
            } else {
                "temperature"
            };
            let mut series =
                Series::new(&[("__name__", name), ("instance", &instance), ("job", job)]);
            for t in (from..to).step_by(INTERVAL as usize) {
                let minutes = (t - self.begin()) / MINUTE;
                // Some series end and begin again.
                if i % 5 == 4 && (minutes / 200) % 2 == 1 {
                    continue;
                }
                let v = match i % 2 {
                    0 => (100_000 + minutes * (i + 1) % 7_000) as f64,
                    _ => ((minutes * 37 + i * 11) % 100) as f64 + 0.25,
                };
                series = series.sample(t + i + 1, v);
            }
            series
        };
        let all = (0..SERIES).map(one);
        all.filter(|series| !series.samples.is_empty()).collect()
    }
}

fn push(addresses: &[(std::net::SocketAddr, &str)], series: &[Series]) {
    let body = remote_write::compress(&remote_write::encode(Version::V1, series));
    for (address, path) in addresses {
        let answer = http::send(*address, "POST", path, &Version::V1.headers(), &body).unwrap();
        assert!(
            matches!(answer.status, 200 | 204),
            "{path}: {}",
            answer.text()
        );
    }
}

fn compare(when: &str, ours: &QueryApi, theirs: &QueryApi, day: &Day) {
    for query in QUERIES {
        let ends = [day.end, day.begin() + 7 * HOUR + 13 * MINUTE];
        for t in ends {
            let (a, b) = (ours.instant(query, t), theirs.instant(query, t));
            let same = a.same_as(&b, 1e-12);
            assert!(same.is_ok(), "{when}: {query} at {t}: {same:?}");
        }
        let ranges = [
            (day.begin(), day.end, 10 * MINUTE),
            (day.begin() + 5 * HOUR, day.begin() + 6 * HOUR, MINUTE),
        ];
        for (start, end, step) in ranges {
            let a = ours.range(query, start, end, step);
            let b = theirs.range(query, start, end, step);
            let same = a.same_as(&b, 1e-12);
            assert!(same.is_ok(), "{when}: {query} from {start}: {same:?}");
        }
    }
    for path in [
        "/api/v1/labels",
        "/api/v1/label/instance/values",
        "/api/v1/series",
    ] {
        let (start, end) = (
            tests::answer::seconds(day.begin()),
            tests::answer::seconds(day.end),
        );
        let parameters = [("match[]", "{job!=''}"), ("start", &start), ("end", &end)];
        let [a, b] = [ours, theirs].map(|api| {
            let mut data = api.get(path, &parameters).unwrap().json()["data"].clone();
            let found = data.as_array_mut().unwrap();
            found.sort_by_key(ToString::to_string);
            data
        });
        assert_eq!(a, b, "{when}: {path}");
    }
}

#[test]
fn a_day_goes_through_head_and_bucket_with_the_same_answers() {
    if !servers::installed("blocks", &["prometheus"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let arguments = [
        "--set",
        "limits.out_of_order_time_window=10m",
        "--set",
        "storage.snapshot_interval=10s",
    ];
    let log = tempfile::tempdir().unwrap();
    let mut tidemark = Tidemark::start_on(log, &data, &arguments);
    let configuration = "global: {evaluation_interval: 1m}\n";
    let flags = ["--web.enable-remote-write-receiver"];
    let prometheus = Prometheus::start_with(folder.path(), configuration, &flags);
    let receivers = [
        (tidemark.address, "/api/v1/push"),
        (prometheus.query_api().address, "/api/v1/write"),
    ];
    let day = Day::new();
    let theirs = prometheus.query_api();
    let part = 30 * MINUTE;
    for (number, from) in (day.begin()..day.end).step_by(part as usize).enumerate() {
        let ours = tidemark.query_api(None);
        let series = day.part(from, from + part);
        // Nobody sees less, or more, than what was there before and what is being written.
        let before = 2 * (from - day.begin()) / MINUTE * SERIES;
        watch(&ours, day.end, before, || {
            push(&receivers, &series);
            if number % 7 == 6 {
                tidemark.flush();
            }
        });
        if number % 16 == 15 {
            compare(&format!("after part {number}"), &ours, &theirs, &day);
        }
        if number == 20 || number == 37 {
            tidemark.kill();
            tidemark.restart();
        }
    }
    let ours = tidemark.query_api(None);
    compare("at the end", &ours, &theirs, &day);
    tidemark.flush();
    compare("with all in blocks", &ours, &theirs, &day);
    tidemark.kill();
    tidemark.restart();
    compare("after a restart", &ours, &theirs, &day);
    // A new machine finds all in the bucket.
    tidemark.stop();
    for gone in ["wal", "chunks", "blocks", "catalog"] {
        std::fs::remove_dir_all(data.join(gone)).unwrap();
    }
    for entry in std::fs::read_dir(&data).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with("snapshot") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    tidemark.restart();
    compare(
        "from the bucket alone",
        &tidemark.query_api(None),
        &theirs,
        &day,
    );
}

/// Counts all samples again and again while something happens: no fewer than there were, nor more
/// than there can be, and never fewer than at the look before.
fn watch(api: &QueryApi, end: i64, before: i64, happens: impl FnOnce()) {
    let done = AtomicBool::new(false);
    let count = || {
        let found = api.instant("sum(count_over_time({__name__=~'.+'}[2d]))", end);
        if found.float_count() == 0 {
            0.0
        } else {
            found.only_value()
        }
    };
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut last = count();
            while !done.load(Ordering::Acquire) {
                let now = count();
                assert!(now >= last, "{now} samples, there were {last}");
                assert!(
                    now <= (before + 60 * SERIES) as f64,
                    "{now} samples are too many"
                );
                last = now;
            }
        });
        happens();
        done.store(true, Ordering::Release);
        watcher.join().unwrap();
    });
}

#[test]
fn a_process_that_dies_at_any_step_of_shipping_loses_nothing() {
    for step in [
        "build", "finish", "upload", "commit", "mark", "drop", "snapshot",
    ] {
        let mut tidemark = Tidemark::start(&["--set", "storage.block_duration=1h"]);
        let day = Day::new();
        let begin = day.end - 3 * HOUR;
        push(
            &[(tidemark.address, "/api/v1/push")],
            &day.part(begin, day.end),
        );
        let end = day.end;
        let count = |tidemark: &Tidemark| {
            let api = tidemark.query_api(None);
            api.instant("sum(count_over_time({job=~'.+'}[4h]))", end)
                .only_value()
        };
        let expected = count(&tidemark);
        tidemark.kill();
        tidemark.abort_at(Some(step));
        tidemark.restart();
        let flushed = http::send(tidemark.address, "POST", "/ingester/flush", &[], b"");
        assert!(flushed.is_err(), "{step}: it lives on");
        let process = tidemark.process();
        wait::until(
            "the process to be gone",
            std::time::Duration::from_secs(20),
            || process.exited(),
        );
        tidemark.abort_at(None);
        tidemark.restart();
        assert_eq!(count(&tidemark), expected, "{step}: after the crash");
        tidemark.flush();
        assert_eq!(count(&tidemark), expected, "{step}: with all in blocks");
        tidemark.kill();
        let verified = std::process::Command::new(tests::binary::tidemark())
            .arg("bucket")
            .arg("verify")
            .arg("--data-dir")
            .arg(tidemark.data())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&verified.stdout).into_owned();
        assert!(verified.status.success(), "{step}: {said}");
        tidemark.restart();
        assert_eq!(count(&tidemark), expected, "{step}: after another start");
    }
}
