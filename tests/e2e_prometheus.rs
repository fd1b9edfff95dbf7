//! A real Prometheus scrapes a real node exporter and sends all of it to `tidemark`, which is
//! killed twice on the way: both must know the same samples afterwards and give the same answers.

#![expect(clippy::panic, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tests::answer::{Answer, QueryApi};
use tests::remote_write::{self, Metadata, Series, Version};
use tests::servers::{self, NodeExporter, Prometheus};
use tests::tidemark::Tidemark;
use tests::wait;

/// How long is scraped before, between and after the two kills.
const PHASE: Duration = Duration::from_secs(20);

/// What both have of the newest samples before the first is asked for: time for the queue to
/// send what it holds after an outage.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);

/// Relative; the sum of a few hundred floats depends on their order by less.
const TOLERANCE: f64 = 1e-9;

const INSTANT_QUERIES: &[&str] = &[
    "up",
    "sum by (job) (up)",
    "node_load1",
    "node_memory_MemTotal_bytes - node_memory_MemAvailable_bytes",
    "rate(node_cpu_seconds_total[20s])",
    "sum by (mode) (irate(node_cpu_seconds_total[10s]))",
    "100 * (1 - avg without (cpu, mode) (rate(node_cpu_seconds_total{mode=\"idle\"}[30s])))",
    "topk(5, scrape_duration_seconds)",
    "count by (job) ({__name__=~\"node_.+|prometheus_.+\"})",
    "histogram_quantile(0.9, sum by (le) (rate(prometheus_http_request_duration_seconds_bucket[40s])))",
    "label_replace(up, \"port\", \"$1\", \"instance\", \".*:(.*)\")",
    "absent(nothing_of_this_name{job=\"node\"})",
    "max_over_time(sum by (job) (rate(scrape_samples_scraped[10s]))[30s:2s])",
    "{__name__=~\"go_gc_duration_seconds.*\", quantile!=\"0.5\"}",
];

const RANGE_QUERIES: &[&str] = &[
    "scrape_samples_scraped",
    "sum(rate(prometheus_tsdb_head_samples_appended_total[15s]))",
    "avg_over_time(node_load1[10s])",
    "node_filesystem_avail_bytes / on (instance, device, mountpoint, fstype) node_filesystem_size_bytes",
    "increase(prometheus_http_requests_total[20s]) > 0",
    "process_resident_memory_bytes offset 10s",
    "quantile by (job) (0.5, scrape_duration_seconds)",
    "stddev_over_time(node_memory_MemFree_bytes[20s])",
    "delta(node_memory_Active_bytes[15s]) or deriv(node_load5[15s])",
    "changes(process_start_time_seconds[30s]) + resets(node_context_switches_total[30s])",
    "predict_linear(node_memory_MemFree_bytes[20s], 60)",
    "count_over_time(up{job=~\"node|self\"}[5s]) unless on () vector(0) == 1",
];

#[test]
fn prometheus_and_tidemark_agree_though_tidemark_is_killed() {
    let programs = ["prometheus", "promtool", "prometheus-node-exporter"];
    if !servers::installed("end to end with Prometheus", &programs) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut tidemark = Tidemark::start(&[]);
    let node = NodeExporter::start(folder.path());
    let write_url = format!("http://{}/api/v1/push", tidemark.address);
    let began = wait::now_ms();
    let prometheus = Prometheus::start(folder.path(), &configuration(&write_url));
    scrape(
        folder.path(),
        &[("node", node.address), ("self", prometheus.address)],
    );

    wait::pause(PHASE);
    tidemark.kill();
    tidemark.restart();
    wait::pause(PHASE);
    tidemark.kill();
    tidemark.restart();
    wait::pause(PHASE);

    // Without targets, Prometheus marks every series as stale and sends nothing more.
    scrape(folder.path(), &[]);
    let sent = all_is_sent(&prometheus);

    let (ours, theirs) = (tidemark.query_api(None), prometheus.query_api());
    let end = wait::now_ms();
    let everything = format!("{{__name__=~\".+\"}}[{}ms]", end - began + 60_000);
    let (stored, scraped) = (
        ours.instant(&everything, end),
        theirs.instant(&everything, end),
    );
    same("every sample", &stored, &scraped, 0.0);

    // Stale markers are sent and stored, but no query shows them.
    let appended = prometheus.own_metric("prometheus_tsdb_head_samples_appended_total");
    let stale_markers = appended - scraped.float_count() as f64;
    assert!(
        stale_markers >= 0.0,
        "{appended} appended, {} shown",
        scraped.float_count()
    );
    let missing = sent - (stored.float_count() as f64 + stale_markers);
    assert!(
        missing <= 0.0,
        "{missing} of the {sent} samples sent are missing"
    );
    assert!(
        sent > 50_000.0,
        "{sent} samples in a minute are too few to mean anything"
    );

    let offset = quiet_offset(&scraped);
    let second = |ms: i64| ms.div_euclid(1000) * 1000 + offset;
    // A rate over a window that reaches back to before a counter's first sample is guessed in
    // another way by newer versions of Prometheus: no window does.
    let (from, to) = (second(began + 28_000), second(began + 55_000));
    for query in INSTANT_QUERIES {
        let answer = ours.instant(query, to);
        assert!(!answer.series.is_empty(), "{query} gave nothing to compare");
        same(query, &answer, &theirs.instant(query, to), TOLERANCE);
    }
    for query in RANGE_QUERIES {
        let answer = ours.range(query, from, to, 1000);
        assert!(!answer.series.is_empty(), "{query} gave nothing to compare");
        same(
            query,
            &answer,
            &theirs.range(query, from, to, 1000),
            TOLERANCE,
        );
    }
    let now = second(end);
    let gone = ours.instant("up", now);
    assert!(
        gone.series.is_empty(),
        "stale markers did not arrive: {gone:?}"
    );

    names_agree(&ours, &theirs, from, to);
    promtool_works(&ours, folder.path(), from, to);
}

fn configuration(write_url: &str) -> String {
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
         remote_write:\n\
         - url: {write_url}\n\
         \x20 send_exemplars: true\n\
         \x20 metadata_config: {{send_interval: 5s}}\n\
         \x20 queue_config: {{batch_send_deadline: 1s, max_backoff: 1s}}\n\
         scrape_configs:\n\
         - job_name: any\n\
         \x20 file_sd_configs: [{{files: [targets.json]}}]\n"
    )
}

/// Has Prometheus scrape these targets, each under the name of its job, and no other.
fn scrape(folder: &Path, targets: &[(&str, SocketAddr)]) {
    let target = |(job, address): &(&str, SocketAddr)| serde_json::json!({"targets": [address.to_string()], "labels": {"job": job}});
    let targets: Vec<_> = targets.iter().map(target).collect();
    // Renamed into place, so that Prometheus never reads half a file.
    let (new, read) = (folder.join("targets.new"), folder.join("targets.json"));
    fs::write(&new, serde_json::json!(targets).to_string()).expect("a file can be written");
    fs::rename(new, read).expect("a file can be renamed");
}

/// Waits until Prometheus has nothing left to send, and returns how many samples it counts as
/// received by the other side.
fn all_is_sent(prometheus: &Prometheus) -> f64 {
    let metric = |name: &str| prometheus.own_metric(&format!("prometheus_remote_storage_{name}"));
    // A few looks in a row, for there are moments in which samples are in nobody's queue.
    let (mut last, mut times) = (-1.0, 0);
    wait::until("Prometheus to have sent everything", DRAIN_LIMIT, || {
        wait::pause(Duration::from_millis(200));
        let read = metric("samples_in_total");
        let appended = prometheus.own_metric("prometheus_tsdb_head_samples_appended_total");
        let up_to_date = metric("highest_timestamp_in_seconds")
            <= metric("queue_highest_sent_timestamp_seconds");
        let quiet = read == last && read == appended && metric("samples_pending") == 0.0;
        last = read;
        times = if quiet && up_to_date { times + 1 } else { 0 };
        // Series are marked stale some scrape intervals after their target is gone.
        (times >= 20).then_some(())
    });
    let (failed, dropped) = (
        metric("samples_failed_total"),
        metric("samples_dropped_total"),
    );
    assert_eq!(failed, 0.0, "Prometheus gave up on samples");
    assert_eq!(dropped, 0.0, "Prometheus dropped samples");
    // Each attempt counts as sent, each one but the last as a retry too.
    metric("samples_total") - metric("samples_retried_total")
}

#[track_caller]
fn same(what: &str, ours: &Answer, theirs: &Answer, tolerance: f64) {
    if let Err(differences) = ours.same_as(theirs, tolerance) {
        panic!("{what}: Tidemark (left) and Prometheus (right) disagree: {differences}");
    }
}

/// A millisecond of the second far from every scrape: newer versions of Prometheus leave the
/// sample at the very start of a range out and older ones do not, so that none may lie there.
fn quiet_offset(answer: &Answer) -> i64 {
    let points = answer.series.values().flat_map(|points| &points.floats);
    let taken: BTreeSet<i64> = points.map(|(t, _)| t.rem_euclid(1000)).collect();
    let distance = |ms: i64| {
        let apart = taken.iter().map(|other| (ms - other).abs());
        apart
            .map(|apart| apart.min(1000 - apart))
            .min()
            .unwrap_or(0)
    };
    let best = (0..1000).max_by_key(|ms| distance(*ms));
    best.filter(|ms| distance(*ms) > 0)
        .expect("scrapes are a second apart")
}

/// Label names, values, series and metadata are the same.
fn names_agree(ours: &QueryApi, theirs: &QueryApi, from: i64, to: i64) {
    let (start, end) = (tests::answer::seconds(from), tests::answer::seconds(to));
    let range = [("start", start.as_str()), ("end", end.as_str())];
    let matched = [
        range[0],
        range[1],
        ("match[]", "{job=\"node\", __name__=~\"node_[a-m].*\"}"),
    ];
    for (path, parameters) in [
        ("/api/v1/labels", &range[..]),
        ("/api/v1/labels", &matched[..]),
        ("/api/v1/label/__name__/values", &range[..]),
        ("/api/v1/label/mode/values", &matched[..]),
        ("/api/v1/series", &matched[..]),
    ] {
        let sorted = |api: &QueryApi| {
            let answer = api.get(path, parameters).expect("an answer").json();
            let items = answer["data"].as_array().expect("a list").iter();
            let items: BTreeSet<String> = items.map(ToString::to_string).collect();
            items
        };
        assert_eq!(sorted(ours), sorted(theirs), "{path} {parameters:?}");
        assert!(
            !sorted(ours).is_empty(),
            "{path} {parameters:?} gave nothing to compare"
        );
    }
    let known = |api: &QueryApi, metric: &str| {
        let answer = api
            .get("/api/v1/metadata", &[("metric", metric)])
            .expect("an answer");
        answer.json()["data"][metric][0].clone()
    };
    // Prometheus forgets the metadata of targets that are gone, so it is spelled out here.
    let load = known(ours, "node_load1");
    assert_eq!(load["type"], "gauge", "{load}");
    assert_eq!(load["help"], "1m load average.", "{load}");
}

/// The command-line tool of Prometheus understands every answer.
fn promtool_works(ours: &QueryApi, folder: &Path, from: i64, to: i64) {
    let url = format!("http://{}{}", ours.address, ours.prefix);
    let (start, end) = ((from / 1000).to_string(), (to / 1000).to_string());
    let check = |arguments: &[&str], expected: &str| {
        let mut command = Command::new("promtool");
        let output = command
            .arg("query")
            .args(arguments)
            .current_dir(folder)
            .output();
        let output = output.expect("promtool runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {text}{error}");
        assert!(text.contains(expected), "{command:?} printed {text}{error}");
    };
    let (start_flag, end_flag) = (format!("--start={start}"), format!("--end={end}"));
    check(
        &["instant", &format!("--time={end}"), &url, "up"],
        "job=\"node\"",
    );
    check(
        &[
            "range",
            &start_flag,
            &end_flag,
            "--step=5s",
            &url,
            "node_load1",
        ],
        "node_load1{",
    );
    check(&["labels", &start_flag, &end_flag, &url, "job"], "node");
    check(
        &["series", &start_flag, &end_flag, "--match=up", &url],
        "job=\"self\"",
    );
}

/// Debian's Prometheus speaks version 1 only, so that version 2 gets a sender of our own.
#[test]
fn version_two_of_remote_write_arrives_whole() {
    let mut tidemark = Tidemark::start(&[]);
    let now = wait::now_ms();
    let counter = Series {
        start: now - 60_000,
        metadata: Some(Metadata {
            metric: "jobs_total".to_owned(),
            kind: 1,
            help: "Jobs done.".to_owned(),
            unit: "jobs".to_owned(),
        }),
        ..Series::new(&[("__name__", "jobs_total"), ("job", "a"), ("zone", "a")])
            .sample(now - 2000, 1.0)
            .sample(now - 1000, 2.5)
            .exemplar(&[("trace_id", "4bf92f35")], 0.5, now - 1000)
    };
    let sizes = Series::new(&[("__name__", "sizes"), ("job", "a")])
        .histogram(remote_write::exponential_histogram(now - 2000, 1))
        .histogram(remote_write::exponential_histogram(now - 1000, 3));
    let waits = Series::new(&[("__name__", "waits"), ("job", "a")])
        .histogram(remote_write::float_histogram(now - 1000, 2.5));
    let bounds = Series::new(&[("__name__", "bounds"), ("job", "a")])
        .histogram(remote_write::custom_histogram(now - 1000));
    let request = [counter, sizes, waits, bounds];
    let response = tidemark
        .push(Version::V2, None, &request)
        .expect("an answer");
    assert_eq!(response.status, 204, "{}", response.text());
    let written = |what: &str| {
        let name = format!("x-prometheus-remote-write-{what}-written");
        response.header(&name).unwrap_or("missing").to_owned()
    };
    assert_eq!(
        [
            written("samples"),
            written("histograms"),
            written("exemplars")
        ],
        ["2", "4", "1"]
    );

    let is_all_there = |tidemark: &Tidemark| {
        let api = tidemark.query_api(None);
        let value = |query: &str| api.instant(query, now).only_value();
        assert_eq!(value("jobs_total{zone=\"a\"}"), 2.5);
        assert_eq!(value("count_over_time(jobs_total[1m])"), 2.0);
        assert_eq!(value("count_over_time(sizes[1m])"), 2.0);
        assert_eq!(value("histogram_count(sizes)"), 15.0);
        assert_eq!(value("histogram_sum(sizes)"), 19.5);
        assert_eq!(value("histogram_count(waits)"), 12.5);
        assert_eq!(value("histogram_sum(waits)"), 16.25);
        assert_eq!(value("histogram_count(bounds)"), 10.0);
        let quantile = value("histogram_quantile(0.3, bounds)");
        assert!(
            (quantile - 1.0).abs() < 1e-9,
            "3 of 10 are at most 1: {quantile}"
        );
        let sizes = api.instant("sizes", now);
        let points = sizes.series.values().next().expect("one series");
        let histogram = &points.histograms[0].1;
        assert_eq!(histogram["count"], "15", "{histogram}");
        assert_eq!(
            histogram["buckets"].as_array().map(Vec::len),
            Some(4),
            "{histogram}"
        );

        let metadata = api.get("/api/v1/metadata", &[]).expect("an answer").json();
        let known = &metadata["data"]["jobs_total"][0];
        assert_eq!(
            (
                known["type"].as_str(),
                known["help"].as_str(),
                known["unit"].as_str()
            ),
            (Some("counter"), Some("Jobs done."), Some("jobs")),
            "{metadata}"
        );
        let (start, end) = (
            tests::answer::seconds(now - 60_000),
            tests::answer::seconds(now),
        );
        let parameters = [("query", "jobs_total"), ("start", &start), ("end", &end)];
        let exemplars = api
            .get("/api/v1/query_exemplars", &parameters)
            .expect("an answer");
        let exemplars = exemplars.json();
        let first = &exemplars["data"][0]["exemplars"][0];
        assert_eq!(first["labels"]["trace_id"], "4bf92f35", "{exemplars}");
    };
    is_all_there(&tidemark);
    tidemark.kill();
    tidemark.restart();
    is_all_there(&tidemark);
}
