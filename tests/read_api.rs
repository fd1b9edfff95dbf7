//! The query API as Grafana and scripts see it: envelopes, error types, parameters, limits, the
//! pages for operators, and queries that try to hurt.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use tests::answer::{self, QueryApi};
use tests::http::{self, Response};
use tests::remote_write::{Metadata, Series, Version};
use tests::tidemark::Tidemark;
use tests::wait;

/// What follows at once, on a machine with other work to do.
const SOON: Duration = Duration::from_secs(10);

/// A process with ten minutes of three counters, ten seconds apart, and when they end.
fn with_counters(arguments: &[&str]) -> (Tidemark, i64) {
    let tidemark = Tidemark::start(arguments);
    let end = wait::now_ms() / 10_000 * 10_000;
    let mut counters: Vec<Series> = ["a", "b", "c"]
        .iter()
        .map(|zone| Series {
            metadata: Some(Metadata {
                metric: "requests_total".to_owned(),
                kind: 1,
                help: "Requests.".to_owned(),
                unit: String::new(),
            }),
            ..Series::new(&[
                ("__name__", "requests_total"),
                ("job", "api"),
                ("zone", zone),
            ])
        })
        .collect();
    for (i, counter) in counters.iter_mut().enumerate() {
        let scale = i as f64 + 1.0;
        let samples = (0..=60).map(|n| (end - 600_000 + n * 10_000, n as f64 * scale));
        counter.samples = samples.collect();
    }
    let response = tidemark
        .push(Version::V2, None, &counters)
        .expect("an answer");
    assert_eq!(response.status, 204, "{}", response.text());
    (tidemark, end)
}

fn get(api: &QueryApi, path: &str, parameters: &[(&str, &str)]) -> Response {
    api.get(path, parameters).expect("an answer")
}

#[track_caller]
fn fails(response: &Response, status: u16, kind: &str) -> String {
    assert_eq!(response.status, status, "{}", response.text());
    let answer = response.json();
    assert_eq!(answer["status"], "error", "{answer}");
    assert_eq!(answer["errorType"], kind, "{answer}");
    let text = answer["error"].as_str().expect("a text");
    assert!(!text.is_empty(), "{answer}");
    text.to_owned()
}

#[test]
fn instant_queries_answer_in_every_shape() {
    let (tidemark, end) = with_counters(&[]);
    let api = tidemark.query_api(None);
    let time = answer::seconds(end);
    let data = |query: &str| {
        let response = get(&api, "/api/v1/query", &[("query", query), ("time", &time)]);
        assert_eq!(response.status, 200, "{query}: {}", response.text());
        assert_eq!(response.header("content-type"), Some("application/json"));
        response.json()["data"].clone()
    };
    let at = end / 1000;
    let metric = json!({"__name__": "requests_total", "job": "api", "zone": "a"});
    assert_eq!(
        data("requests_total{zone=\"a\"}"),
        json!({"resultType": "vector", "result": [{"metric": metric, "value": [at, "60"]}]})
    );
    assert_eq!(
        data("1+1"),
        json!({"resultType": "scalar", "result": [at, "2"]})
    );
    assert_eq!(
        data("\"text\""),
        json!({"resultType": "string", "result": [at, "text"]})
    );
    let values = json!([[at - 10, "59"], [at, "60"]]);
    assert_eq!(
        data("requests_total{zone=\"a\"}[15s]"),
        json!({"resultType": "matrix", "result": [{"metric": metric, "values": values}]})
    );
    assert_eq!(data("vector(1/0)")["result"][0]["value"][1], "+Inf");
    assert_eq!(data("vector(-1/0)")["result"][0]["value"][1], "-Inf");
    assert_eq!(data("vector(0/0)")["result"][0]["value"][1], "NaN");
    assert_eq!(data("sum(requests_total)")["result"][0]["value"][1], "360");
    assert_eq!(
        data("nothing"),
        json!({"resultType": "vector", "result": []})
    );
}

#[test]
fn range_queries_take_every_spelling_of_their_parameters() {
    let (tidemark, end) = with_counters(&[]);
    let api = tidemark.query_api(None);
    let (from, to) = (answer::seconds(end - 60_000), answer::seconds(end));
    let by_get = |step: &str| {
        let parameters = [
            ("query", "sum(requests_total)"),
            ("start", from.as_str()),
            ("end", &to),
            ("step", step),
        ];
        let response = get(&api, "/api/v1/query_range", &parameters);
        answer::Answer::of("sum", &response)
    };
    let by_post = api.range("sum(requests_total)", end - 60_000, end, 30_000);
    assert_eq!(by_post.float_count(), 3);
    assert_eq!(by_get("30"), by_post);
    assert_eq!(by_get("30s"), by_post);
    assert_eq!(by_get("30.0"), by_post);
    // The same times as text, by both roots, and by POST with some parameters in the URL.
    let rooted = QueryApi {
        prefix: "",
        ..api.clone()
    };
    assert_eq!(
        rooted.range("sum(requests_total)", end - 60_000, end, 30_000),
        by_post
    );
    let day = get(
        &api,
        "/api/v1/query_range",
        &[
            ("query", "sum(requests_total)"),
            ("start", "2001-09-09T01:46:40Z"),
            ("end", "2001-09-09T01:46:40.5+00:00"),
            ("step", "1m"),
        ],
    );
    assert_eq!(answer::Answer::of("long ago", &day).float_count(), 0);
}

#[test]
fn wrong_parameters_are_bad_data() {
    let (tidemark, end) = with_counters(&[]);
    let api = tidemark.query_api(None);
    let (from, to) = (answer::seconds(end - 60_000), answer::seconds(end));
    let instant = |parameters: &[(&str, &str)]| get(&api, "/api/v1/query", parameters);
    let range = |query: &str, start: &str, end: &str, step: &str| {
        let parameters = [
            ("query", query),
            ("start", start),
            ("end", end),
            ("step", step),
        ];
        get(&api, "/api/v1/query_range", &parameters)
    };
    for (what, response) in [
        ("no query", instant(&[])),
        ("an empty query", instant(&[("query", "")])),
        ("no PromQL", instant(&[("query", "sum(")])),
        (
            "an unknown function",
            instant(&[("query", "frobnicate(up)")]),
        ),
        ("a wrong type", instant(&[("query", "rate(up)")])),
        ("no time", instant(&[("query", "1"), ("time", "noon")])),
        (
            "no timeout",
            instant(&[("query", "1"), ("timeout", "soon")]),
        ),
        ("a step of zero", range("1", &from, &to, "0")),
        ("a negative step", range("1", &from, &to, "-1")),
        ("no step", range("1", &from, &to, "often")),
        ("the end before the start", range("1", &to, &from, "1")),
        ("a range vector", range("up[5m]", &from, &to, "1")),
        ("a million steps", range("1", "0", "1000000", "1")),
        ("11,001 steps", range("1", "0", "11001", "1")),
        ("no matcher", get(&api, "/api/v1/series", &[])),
        (
            "a bad matcher",
            get(&api, "/api/v1/series", &[("match[]", "{")]),
        ),
        (
            "a matcher of nothing",
            get(&api, "/api/v1/series", &[("match[]", "{a=\"\"}")]),
        ),
        (
            "a bad limit",
            get(&api, "/api/v1/labels", &[("limit", "-1")]),
        ),
    ] {
        let text = fails(&response, 400, "bad_data");
        assert!(text.len() < 2000, "{what}: {text}");
    }
    let steps = range("vector(1)", "0", "11000", "1");
    assert_eq!(answer::Answer::of("11,000 steps", &steps).series.len(), 1);
}

#[test]
fn absurd_times_are_empty_and_no_error() {
    let (tidemark, _) = with_counters(&[]);
    let api = tidemark.query_api(None);
    for time in ["0", "-1", "-9223372036854775", "9223372036854775", "1e12"] {
        let response = get(
            &api,
            "/api/v1/query",
            &[("query", "requests_total"), ("time", time)],
        );
        assert_eq!(response.status, 200, "{time}: {}", response.text());
        assert_eq!(response.json()["data"]["result"], json!([]), "{time}");
        let range = [
            ("start", time),
            ("end", time),
            ("match[]", "requests_total"),
        ];
        let response = get(&api, "/api/v1/series", &range);
        assert_eq!(response.status, 200, "{time}: {}", response.text());
    }
    let (min, max) = (
        "-292273086-05-16T16:47:06Z",
        "+292277025-08-18T07:12:54.999999999Z",
    );
    let response = get(&api, "/api/v1/labels", &[("start", min), ("end", max)]);
    assert_eq!(
        response.status,
        200,
        "the ends of time: {}",
        response.text()
    );
    assert_eq!(response.json()["data"], json!(["__name__", "job", "zone"]));
}

#[test]
fn names_and_series_can_be_browsed() {
    let (tidemark, end) = with_counters(&[]);
    let api = tidemark.query_api(None);
    let data = |path: &str, parameters: &[(&str, &str)]| {
        let response = get(&api, path, parameters);
        assert_eq!(response.status, 200, "{path}: {}", response.text());
        response.json()["data"].clone()
    };
    assert_eq!(
        data("/api/v1/labels", &[]),
        json!(["__name__", "job", "zone"])
    );
    assert_eq!(
        data("/api/v1/label/zone/values", &[]),
        json!(["a", "b", "c"])
    );
    let matched = [
        ("match[]", "{zone=~\"a|c\"}"),
        ("match[]", "{zone=\"b\", job=\"x\"}"),
    ];
    assert_eq!(
        data("/api/v1/label/zone/values", &matched),
        json!(["a", "c"])
    );
    assert_eq!(data("/api/v1/label/nothing/values", &[]), json!([]));
    assert_eq!(
        data(
            "/api/v1/series",
            &[("match[]", "{zone!=\"a\", job=\"api\"}")]
        )
        .as_array()
        .map(Vec::len),
        Some(2)
    );
    // A label name that was escaped for tools that know no UTF-8.
    assert_eq!(
        data("/api/v1/label/U__zone/values", &[]),
        json!(["a", "b", "c"])
    );

    let cut = get(&api, "/api/v1/label/zone/values", &[("limit", "2")]).json();
    assert_eq!(cut["data"], json!(["a", "b"]));
    assert_eq!(cut["warnings"].as_array().map(Vec::len), Some(1), "{cut}");
    let cut = get(
        &api,
        "/api/v1/series",
        &[("match[]", "requests_total"), ("limit", "1")],
    )
    .json();
    assert_eq!(cut["data"].as_array().map(Vec::len), Some(1));
    assert!(cut["warnings"].is_array(), "{cut}");

    // Before the first sample there was nothing.
    let early = answer::seconds(end - 86_400_000);
    let earlier = answer::seconds(end - 90_000_000);
    let before = [
        ("start", earlier.as_str()),
        ("end", early.as_str()),
        ("match[]", "requests_total"),
    ];
    assert_eq!(data("/api/v1/series", &before), json!([]));

    let metadata = data("/api/v1/metadata", &[]);
    let known = json!([{"type": "counter", "help": "Requests.", "unit": ""}]);
    assert_eq!(metadata, json!({"requests_total": known}));
    assert_eq!(
        data("/api/v1/metadata", &[("metric", "nothing")]),
        json!({})
    );
}

/// Queries that Grafana sends when a data source is added, and on every dashboard.
#[test]
fn grafana_finds_what_it_probes_for() {
    let (tidemark, end) = with_counters(&[]);
    let api = tidemark.query_api(None);
    let health = api
        .post("/api/v1/query", &[("query", "1+1"), ("time", "4")])
        .expect("an answer");
    assert_eq!(health.status, 200, "{}", health.text());
    assert_eq!(
        health.json()["data"],
        json!({"resultType": "scalar", "result": [4, "2"]})
    );
    let build = get(&api, "/api/v1/status/buildinfo", &[]).json();
    assert_eq!(build["status"], "success", "{build}");
    assert!(build["data"]["version"].is_string(), "{build}");
    // With flags there, Grafana takes us for a plain Prometheus.
    assert_eq!(get(&api, "/api/v1/status/flags", &[]).status, 404);
    let (start, stop) = (
        format!("{}.123", end / 1000 - 3600),
        format!("{}.456", end / 1000),
    );
    let probe = [
        ("query", "requests_total"),
        ("start", start.as_str()),
        ("end", &stop),
    ];
    let exemplars = get(&api, "/api/v1/query_exemplars", &probe).json();
    assert_eq!(exemplars, json!({"status": "success", "data": []}));
    let names = [
        ("start", start.as_str()),
        ("end", &stop),
        ("limit", "40000"),
    ];
    let names = get(&api, "/api/v1/label/__name__/values", &names).json();
    assert_eq!(names["data"], json!(["requests_total"]), "{names}");
    assert!(names["warnings"].is_null(), "{names}");
    let status = get(&api, "/api/v1/status/tsdb", &[]).json();
    assert_eq!(status["data"]["headStats"]["numSeries"], 3, "{status}");
    let formatted = get(
        &api,
        "/api/v1/format_query",
        &[("query", "sum  by(zone)(up)")],
    )
    .json();
    assert_eq!(formatted["data"], "sum by (zone) (up)", "{formatted}");
}

#[test]
fn answers_are_compressed_on_request() {
    let (tidemark, _) = with_counters(&[]);
    let target = "/prometheus/api/v1/query?query=requests_total%5B1h%5D";
    let plain = tidemark.get(target);
    let headers = [("Accept-Encoding", "gzip, deflate")];
    let packed = http::send(tidemark.address, "GET", target, &headers, b"").expect("an answer");
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.body.len() * 2 < plain.body.len());
    assert_eq!(packed.json()["data"]["resultType"], "matrix");
    assert_eq!(packed.text().len(), plain.text().len());
}

#[test]
fn hostile_queries_end_in_an_error_and_bounded_memory() {
    let (mut tidemark, end) = with_counters(&["--set", "limits.max_memory_per_query=16MiB"]);
    let api = tidemark.query_api(None);
    let time = answer::seconds(end);
    let ask = |query: &str| {
        let parameters = [
            ("query", query),
            ("time", time.as_str()),
            ("timeout", "10s"),
        ];
        api.post("/api/v1/query", &parameters).expect("an answer")
    };
    let deep = |open: &str, close: &str| open.repeat(10_000) + "1" + &close.repeat(10_000);
    for (what, query) in [
        ("parentheses", deep("(", ")")),
        ("functions", deep("abs(", ")")),
        ("minuses", deep("-", "")),
        ("sums", deep("", "+1")),
        ("powers", deep("1^", "")),
        (
            "aggregations",
            "sum(".repeat(10_000) + "up" + &")".repeat(10_000),
        ),
        ("subqueries", "up".to_owned() + &"[1h:1s]".repeat(10_000)),
        ("a megabyte", "1+".repeat(500_000) + "1"),
        ("braces", "{".repeat(10_000)),
    ] {
        let response = ask(&query);
        assert!(
            // 413: the form does not fit, whatever the query in it.
            matches!(response.status, 400 | 413 | 422),
            "{what}: {} {}",
            response.status,
            response.text().len()
        );
        assert!(
            response.text().len() < 5000,
            "{what}: the query is not sent back whole"
        );
    }
    // Small nests are fine.
    let nested = "(".repeat(50) + "1" + &")".repeat(50);
    assert_eq!(ask(&nested).status, 200, "{}", ask(&nested).text());

    for expression in [
        "(a{1000}){1000}",
        "(((a{100}){100}){100}){100}",
        "\\\\pL{5000}",
    ] {
        let query = format!("requests_total{{zone=~\"{expression}\"}}");
        fails(&ask(&query), 400, "bad_data");
    }
    for expression in ["(x+x+)+y", "(a|aa)+$", "(.*)*(.*)*(.*)*b", "(a|b|ab)*c"] {
        let query = format!("requests_total{{zone=~\"{expression}\"}}");
        assert_eq!(
            ask(&query).status,
            200,
            "{expression}: {}",
            ask(&query).text()
        );
    }
    // As many points as there may be, of as many series as fit: over the memory of one query.
    let huge = "count_over_time(vector(1)[1y:1s])";
    let response = ask(huge);
    fails(&response, 422, "execution");
    assert!(tidemark.process().exited().is_none());
    let peak = tidemark.process().peak_memory_bytes();
    assert!(peak < 256 << 20, "{peak} bytes of memory at the peak");
    assert_eq!(ask("1+1").status, 200);
}

/// A query of minutes, over no stored sample at all.
const LONG_QUERY: &str = "/api/v1/query_range?query=quantile_over_time(0.5,vector(time())\
    %5B9000s:100ms%5D)&start=1000&end=10000&step=1";

#[test]
fn a_query_ends_when_its_client_hangs_up() {
    let tidemark = Tidemark::start(&[]);
    let has = |line: &str| {
        let metrics = tidemark.get("/metrics").text();
        metrics.lines().any(|known| known == line).then_some(())
    };
    let mut client = TcpStream::connect(tidemark.address).expect("a connection");
    let head = format!("GET {LONG_QUERY} HTTP/1.1\r\nHost: tidemark\r\n\r\n");
    client.write_all(head.as_bytes()).expect("it is sent");
    wait::until("the query to run", SOON, || {
        has("tidemark_query_queries_running 1")
    });
    drop(client);
    wait::until("the query to end", SOON, || {
        has("tidemark_query_queries_running 0")
    });
    wait::until("it to be counted as given up", SOON, || {
        has("tidemark_query_requests_total{endpoint=\"query_range\",code=\"499\"} 1")
    });
}

#[test]
fn plans_and_trees_are_told() {
    let (tidemark, end) = with_counters(&[]);
    let api = tidemark.query_api(None);
    let query = "sum(rate(requests_total[1m]))";
    let parameters = [
        ("query", query),
        ("start", &answer::seconds(end - 60_000)),
        ("end", &answer::seconds(end)),
        ("step", "30"),
        ("stats", "all"),
        ("explain", "1"),
    ];
    let data = get(&api, "/api/v1/query_range", &parameters).json()["data"].clone();
    // Three series, of which each window of a minute has six samples.
    let samples = &data["stats"]["samples"];
    assert_eq!(samples["totalQueryableSamples"], 54, "{data}");
    let steps = [end - 60_000, end - 30_000, end].map(|t| json!([t / 1000, 18]));
    assert_eq!(
        samples["totalQueryableSamplesPerStep"],
        json!(steps),
        "{data}"
    );
    let plan = &data["explain"];
    assert_eq!(plan["node"], "aggregate sum", "{data}");
    assert_eq!(
        (&plan["seriesIn"], &plan["seriesOut"]),
        (&json!(3), &json!(1)),
        "{data}"
    );
    let tree = get(&api, "/api/v1/parse_query", &[("query", query)]).json();
    assert_eq!(tree["data"]["type"], "aggregation", "{tree}");
    let text = get(&api, "/api/v1/format_query", &[("query", "sum(up)by(job)")]).json();
    assert_eq!(text["data"], "sum by (job) (up)", "{text}");
}

#[test]
fn limits_of_a_query_are_named() {
    let limits = [
        "--set",
        "limits.max_samples_per_query=50",
        "--set",
        "limits.max_series_per_query=2",
        "--set",
        "limits.max_query_bytes=100",
    ];
    let (tidemark, end) = with_counters(&limits);
    let api = tidemark.query_api(None);
    let time = answer::seconds(end);
    let ask = |query: &str| get(&api, "/api/v1/query", &[("query", query), ("time", &time)]);
    let text = fails(&ask("requests_total"), 422, "execution");
    assert!(text.contains("max_series_per_query"), "{text}");
    let text = fails(
        &ask("rate(requests_total{zone=\"a\"}[10m])"),
        422,
        "execution",
    );
    assert!(text.contains("max_samples_per_query"), "{text}");
    let text = fails(&ask(&format!("1{}", "+1".repeat(60))), 400, "bad_data");
    assert!(text.contains("max_query_bytes"), "{text}");
    assert_eq!(ask("rate(requests_total{zone=\"a\"}[1m])").status, 200);
}

#[test]
fn operators_find_their_pages() {
    let (mut tidemark, _) = with_counters(&[]);
    for path in [
        "/ready",
        "/-/ready",
        "/-/healthy",
        "/config",
        "/services",
        "/metrics",
    ] {
        let page = tidemark.get(path);
        assert_eq!(page.status, 200, "{path}: {}", page.text());
        assert!(!page.text().is_empty(), "{path} is empty");
    }
    assert_eq!(tidemark.get("/prometheus/-/healthy").status, 200);
    let missing = tidemark.get("/no/such/path");
    assert_eq!(
        (missing.status, missing.text().as_str()),
        (404, "404 page not found\n")
    );
    let metrics = tidemark.get("/metrics").text();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a name and a value");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let name = series.split('{').next().unwrap_or_default();
        let known = ["tidemark_", "process_"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        assert!(known, "{line}: named after the product");
    }
    let status = tidemark.process().stop(Duration::from_secs(20));
    assert!(status.success(), "{}", tests::process::describe(status));
}

#[test]
fn a_wrong_configuration_is_refused_with_its_remedy() {
    let check = |arguments: &[&str], expected: &str| {
        let mut command = std::process::Command::new(tests::binary::tidemark());
        let output = command.args(arguments).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{arguments:?} was taken");
        assert!(
            output.status.code().is_some(),
            "{arguments:?} ended by a signal: {text}"
        );
        assert!(text.contains(expected), "{arguments:?}: {text}");
    };
    check(&["--no-such-flag"], "--no-such-flag");
    check(&["--set", "limits.no_such_key=1"], "no_such_key");
    check(&["--set", "limits.query_timeout=soon"], "query_timeout");
    check(&["--http-listen", "nowhere"], "nowhere");
    check(&["--target", "none"], "none");
    check(&["--config", "/no/such/file.yaml"], "/no/such/file.yaml");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("tidemark.yaml");
    std::fs::write(&file, "limits:\n  no_such_limit: 3\n").expect("it can be written");
    let path = file.to_str().expect("a path in UTF-8");
    check(&["config", "check", "--config", path], "no_such_limit");
    check(&["--config", path], "2");

    let mut command = std::process::Command::new(tests::binary::tidemark());
    let defaults = command
        .args(["config", "print-defaults"])
        .output()
        .expect("it runs");
    assert!(defaults.status.success());
    std::fs::write(&file, &defaults.stdout).expect("it can be written");
    let mut command = std::process::Command::new(tests::binary::tidemark());
    let checked = command
        .args(["config", "check", "--config", path])
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "the defaults are valid: {text}");
}

#[test]
fn numbers_are_written_as_prometheus_does() {
    let tidemark = Tidemark::start(&[]);
    let now = wait::now_ms() / 1000 * 1000;
    let check = |i: i64, v: f64, expected: &str| {
        let t = now - 100_000 + i * 1000;
        let series = Series::new(&[("__name__", "number")]).sample(t, v);
        let response = tidemark
            .push(Version::V1, None, &[series])
            .expect("an answer");
        assert_eq!(response.status / 100, 2, "{}", response.text());
        let time = answer::seconds(t);
        let parameters = [("query", "number"), ("time", time.as_str())];
        let answer = get(&tidemark.query_api(None), "/api/v1/query", &parameters).json();
        assert_eq!(
            answer["data"]["result"][0]["value"][1], expected,
            "{answer}"
        );
    };
    let cases: [(f64, &str); 12] = [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (0.1, "0.1"),
        (1e6, "1000000"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (1e-6, "0.000001"),
        (1e-7, "1e-07"),
        (f64::INFINITY, "+Inf"),
        (f64::NAN, "NaN"),
    ];
    for (i, (v, expected)) in cases.into_iter().enumerate() {
        check(i as i64, v, expected);
    }
}
