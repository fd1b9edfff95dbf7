//! The write path as senders see it: status codes, headers, partial writes, tenants, and what
//! happens to input that is wrong, hostile or absurd.

use serde_json::Value;

use tests::http::{self, Response};
use tests::protobuf::Message;
use tests::remote_write::{self, Series, Version};
use tests::tidemark::Tidemark;
use tests::wait;

const BOTH: [Version; 2] = [Version::V1, Version::V2];

/// Far above what an empty process holds, far below what the bombs claim.
const MEMORY_BOUND_BYTES: u64 = 256 << 20;

fn good(t: i64) -> Series {
    Series::new(&[("__name__", "good"), ("job", "a")]).sample(t, 1.0)
}

fn value(tidemark: &Tidemark, tenant: Option<&str>, query: &str) -> Option<f64> {
    let answer = tidemark.query_api(tenant).instant(query, wait::now_ms());
    let mut floats = answer.series.values().flat_map(|points| &points.floats);
    floats.next().map(|(_, v)| *v)
}

#[track_caller]
fn expect(response: &Response, status: u16, what: &str) {
    assert_eq!(response.status, status, "{what}: {}", response.text());
}

#[track_caller]
fn expect_success(response: &Response, what: &str) {
    assert_eq!(
        response.status / 100,
        2,
        "{what}: {} {}",
        response.status,
        response.text()
    );
}

fn written(response: &Response) -> [Option<&str>; 3] {
    let header = |what: &str| {
        let name = format!("x-prometheus-remote-write-{what}-written");
        let found = response.headers.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    };
    [header("samples"), header("histograms"), header("exemplars")]
}

#[test]
fn both_paths_take_both_versions() {
    let tidemark = Tidemark::start(&[]);
    let now = wait::now_ms();
    for (i, version) in BOTH.into_iter().enumerate() {
        for (k, path) in ["/api/v1/push", "/api/v1/write"].into_iter().enumerate() {
            let t = now - 10_000 + (i as i64 * 2 + k as i64) * 1000;
            let body = remote_write::compress(&remote_write::encode(version, &[good(t)]));
            let response = http::send(tidemark.address, "POST", path, &version.headers(), &body);
            let response = response.expect("an answer");
            expect_success(&response, path);
            if version == Version::V2 {
                assert_eq!(response.status, 204);
                assert_eq!(written(&response), [Some("1"), Some("0"), Some("0")]);
            }
        }
    }
    assert_eq!(
        value(&tidemark, None, "count_over_time(good[1m])"),
        Some(4.0)
    );
}

#[test]
fn an_empty_request_is_fine() {
    let tidemark = Tidemark::start(&[]);
    for version in BOTH {
        let response = tidemark.push(version, None, &[]).expect("an answer");
        expect_success(&response, "no series");
        let no_samples = Series::new(&[("__name__", "empty")]);
        let response = tidemark
            .push(version, None, &[no_samples])
            .expect("an answer");
        assert!(response.status < 500, "{}", response.text());
    }
    assert_eq!(value(&tidemark, None, "empty"), None);
}

#[test]
fn identical_duplicates_are_accepted_and_others_are_not() {
    let tidemark = Tidemark::start(&[]);
    let now = wait::now_ms();
    let push = |v: f64, t: i64| {
        let series = Series::new(&[("__name__", "twice")]).sample(t, v);
        tidemark
            .push(Version::V2, None, &[series])
            .expect("an answer")
    };
    expect(&push(1.0, now - 1000), 204, "first");
    let again = push(1.0, now - 1000);
    expect(&again, 204, "again");
    assert_eq!(written(&again)[0], Some("1"));
    expect(
        &push(2.0, now - 1000),
        400,
        "another value at the same time",
    );
    assert_eq!(value(&tidemark, None, "twice"), Some(1.0));
    // Out of order, within the window of 30 minutes, and beyond it.
    expect(&push(5.0, now - 25 * 60_000), 204, "25 minutes late");
    expect(&push(6.0, now - 45 * 60_000), 400, "45 minutes late");
    assert_eq!(
        value(&tidemark, None, "sum_over_time(twice[1h])"),
        Some(6.0)
    );
    expect(&push(7.0, now + 60 * 60_000), 400, "an hour ahead");
}

#[test]
fn the_valid_rest_of_a_bad_request_is_written() {
    let tidemark = Tidemark::start(&[]);
    let now = wait::now_ms();
    let long = "v".repeat(10 << 20);
    let many: Vec<(String, String)> = (0..10_000)
        .map(|i| (format!("label{i:05}"), "x".to_owned()))
        .chain([("__name__".to_owned(), "many".to_owned())])
        .collect();
    let mut many_sorted = many.clone();
    many_sorted.sort();
    let bad: [(&str, Series); 9] = [
        (
            "a label value of 10 MiB",
            Series::new(&[("__name__", "bad"), ("long", &long)]),
        ),
        (
            "a label name of 10 MiB",
            Series::new(&[("__name__", "bad"), (&long, "x")]),
        ),
        (
            "10,000 labels",
            Series {
                labels: many_sorted,
                ..Series::default()
            },
        ),
        (
            "unsorted labels",
            Series::new(&[("__name__", "bad"), ("b", "1"), ("a", "2")]),
        ),
        (
            "a label twice",
            Series::new(&[("__name__", "bad"), ("a", "1"), ("a", "2")]),
        ),
        ("no metric name", Series::new(&[("job", "a")])),
        ("no labels", Series::new(&[])),
        (
            "an empty label name",
            Series::new(&[("", "x"), ("__name__", "bad")]),
        ),
        (
            "an empty metric name",
            Series::new(&[("__name__", ""), ("job", "a")]),
        ),
    ];
    for version in BOTH {
        for (i, (what, series)) in bad.iter().enumerate() {
            let t = now - 100_000 + i as i64 * 1000 + i64::from(version == Version::V2) * 500;
            let request = [good(t), series.clone().sample(t, 1.0), good(t + 100)];
            let response = tidemark.push(version, None, &request).expect("an answer");
            expect(&response, 400, what);
            assert!(
                response.text().len() < 4096,
                "{what}: the series is shown shortened"
            );
            if version == Version::V2 {
                assert_eq!(written(&response)[0], Some("2"), "{what}");
            }
            let query = format!(
                "count_over_time(good[500ms] @ {})",
                tests::answer::seconds(t + 150)
            );
            assert_eq!(
                value(&tidemark, None, &query),
                Some(2.0),
                "{what}: the rest is there"
            );
        }
    }
    assert_eq!(
        value(&tidemark, None, "count({__name__=~\"bad|many\"})"),
        None
    );
}

#[test]
fn text_that_is_no_utf8_is_refused() {
    let tidemark = Tidemark::start(&[]);
    let now = wait::now_ms();
    let label = |name: &[u8], value: &[u8]| {
        Message::default()
            .bytes_field(1, name)
            .bytes_field(2, value)
    };
    let sample = Message::default().double(1, 1.0).int(2, now);
    let row = |bad: &Message| {
        let named = Message::default().message(1, &label(b"__name__", b"bad"));
        named.message(1, bad).message(2, &sample)
    };
    for bad in [
        label(b"a", b"\xff\xfe"),
        label(b"\xc3\x28", b"x"),
        label(b"a", b"\xed\xa0\x80"),
    ] {
        let request = Message::default().message(1, &row(&bad)).into_bytes();
        let body = remote_write::compress(&request);
        let response = tidemark
            .push_body(Version::V1, None, &body)
            .expect("an answer");
        expect(&response, 400, "invalid UTF-8");
    }
    // While names beyond ASCII are fine.
    let unicode = Series::new(&[("__name__", "température"), ("größe.m", "✓")]).sample(now, 4.0);
    let response = tidemark
        .push(Version::V2, None, &[unicode])
        .expect("an answer");
    expect(&response, 204, "UTF-8 names");
    let answer = value(&tidemark, None, "{\"température\", \"größe.m\"=\"✓\"}");
    assert_eq!(answer, Some(4.0));
}

#[test]
fn absurd_samples_harm_nobody() {
    let tidemark = Tidemark::start(&[]);
    let now = wait::now_ms();
    expect_success(
        &tidemark
            .push(Version::V2, None, &[good(now - 2000)])
            .expect("an answer"),
        "good",
    );
    for t in [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX] {
        let series = Series::new(&[("__name__", "absurd")]).sample(t, 1.0);
        let response = tidemark.push(Version::V2, None, &[series, good(now - 2000)]);
        let response = response.expect("an answer");
        expect(&response, 400, &format!("a sample at {t}"));
        assert_eq!(
            written(&response)[0],
            Some("1"),
            "the good one of the two at {t}"
        );
    }
    // NaN with a payload, infinities, the smallest and the largest.
    let payload = f64::from_bits(0x7ff8_dead_beef_0001);
    let values = [
        payload,
        f64::INFINITY,
        f64::NEG_INFINITY,
        5e-324,
        f64::MAX,
        -0.0,
    ];
    for (i, v) in values.into_iter().enumerate() {
        let t = now - 1000 + i as i64;
        let series = Series::new(&[("__name__", "extreme")]).sample(t, v);
        expect(
            &tidemark
                .push(Version::V2, None, &[series])
                .expect("an answer"),
            204,
            "extreme",
        );
        let query = format!("extreme @ {}", tests::answer::seconds(t));
        let back = value(&tidemark, None, &query).expect("a value");
        assert!(
            back == v || back.is_nan() && v.is_nan(),
            "{v} came back as {back}"
        );
    }
    assert_eq!(value(&tidemark, None, "good"), Some(1.0));
}

#[test]
fn broken_bodies_are_refused_and_cost_no_memory() {
    let mut tidemark = Tidemark::start(&[]);
    let now = wait::now_ms();
    for version in BOTH {
        let plain = remote_write::encode(version, &[good(now)]);
        let whole = remote_write::compress(&plain);
        let send = |body: &[u8]| tidemark.push_body(version, None, body).expect("an answer");
        for end in 0..whole.len() {
            let response = send(&whole[..end]);
            // An empty body may pass for an empty request, but nothing else may pass.
            assert!(
                end == 0 || response.status == 400,
                "cut at {end}: {}",
                response.status
            );
        }
        expect(&send(b"this is no snappy at all"), 400, "no snappy");
        let cut = remote_write::compress(&plain[..plain.len() - 3]);
        expect(&send(&cut), 400, "truncated protobuf");
        for (what, wrong) in wrong_messages() {
            let response = send(&remote_write::compress(&wrong));
            assert!(
                (400..500).contains(&response.status),
                "{what}: {}",
                response.status
            );
        }
        // A body of a few bytes that claims to be of 1 GiB, and one of 4 GiB less a byte.
        for claimed in [1_u64 << 30, u64::from(u32::MAX)] {
            let mut bomb = Message::default();
            bomb.varint(claimed);
            let mut bomb = bomb.into_bytes();
            bomb.extend_from_slice(&[0xfe, 1, 0, 0xfe, 1, 0]);
            expect(&send(&bomb), 413, "a bomb");
        }
        // One that really is that large: 300 MiB of zeros.
        let zeros = remote_write::compress(&vec![0; 300 << 20]);
        expect(&send(&zeros), 413, "300 MiB of zeros");
        // A head that announces more than is ever taken.
        let response = http::announce(
            tidemark.address,
            "/api/v1/push",
            &version.headers(),
            10 << 30,
        );
        expect(&response.expect("an answer"), 413, "a length of 10 GiB");
        expect_success(&send(&whole), "the whole");
    }
    let peak = tidemark.process().peak_memory_bytes();
    assert!(
        peak < MEMORY_BOUND_BYTES,
        "{peak} bytes of memory at the peak"
    );
}

/// Messages that are wrong in their fields, for either version.
fn wrong_messages() -> Vec<(&'static str, Vec<u8>)> {
    let mut overlong = Message::default();
    overlong.key(1, 2);
    overlong.varint(u64::MAX);
    let mut group = Message::default();
    group.key(1, 3);
    let mut endless = Message::default();
    endless.key(5, 0);
    let mut endless = endless.into_bytes();
    endless.extend_from_slice(&[0xff; 11]);
    let wrong = |field: u32| Message::default().uint(field, 7).into_bytes();
    let both = [wrong(1), wrong(5)].concat();
    vec![
        ("wrong wire type", both),
        ("a length beyond the end", overlong.into_bytes()),
        ("a group", group.into_bytes()),
        ("a number without end", endless),
        ("field number 0", vec![0x02, 0x00]),
    ]
}

#[test]
fn references_beyond_the_symbols_are_refused() {
    let tidemark = Tidemark::start(&[]);
    let now = wait::now_ms();
    let sample = Message::default().double(1, 1.0).int(2, now);
    let request = |symbols: &[&str], refs: &[u64]| {
        let mut request = Message::default();
        for symbol in symbols {
            request = request.bytes_field(4, symbol.as_bytes());
        }
        let row = Message::default()
            .packed_uint(1, refs.iter().copied())
            .message(2, &sample);
        remote_write::compress(request.message(5, &row).bytes())
    };
    let known = ["", "__name__", "symbolic"];
    for (what, refs) in [
        ("beyond the end", &[1, 3][..]),
        ("far beyond", &[1, u64::from(u32::MAX)]),
        ("an odd number", &[1, 2, 1]),
    ] {
        let body = request(&known, refs);
        let response = tidemark
            .push_body(Version::V2, None, &body)
            .expect("an answer");
        expect(&response, 400, what);
    }
    let body = request(&["first", "__name__", "symbolic"], &[1, 2]);
    let response = tidemark
        .push_body(Version::V2, None, &body)
        .expect("an answer");
    expect(&response, 400, "symbol 0 is not empty");
    let body = request(&known, &[1, 2]);
    let response = tidemark
        .push_body(Version::V2, None, &body)
        .expect("an answer");
    expect(&response, 204, "right");
}

#[test]
fn other_types_and_encodings_are_not_supported() {
    let tidemark = Tidemark::start(&[]);
    let body = remote_write::compress(&remote_write::encode(Version::V1, &[good(wait::now_ms())]));
    let send = |kind: &str, encoding: &str| {
        let headers = [("Content-Type", kind), ("Content-Encoding", encoding)];
        let response = http::send(tidemark.address, "POST", "/api/v1/push", &headers, &body);
        response.expect("an answer").status
    };
    let v1 = Version::V1.content_type();
    assert_eq!(send("application/json", "snappy"), 415);
    assert_eq!(send("text/plain", "snappy"), 415);
    assert_eq!(
        send(
            "application/x-protobuf;proto=io.prometheus.write.v3.Request",
            "snappy"
        ),
        415
    );
    assert_eq!(send(v1, "gzip"), 415);
    assert_eq!(send(v1, "zstd"), 415);
    assert_eq!(
        send(
            "application/x-protobuf;proto=prometheus.WriteRequest",
            "snappy"
        ) / 100,
        2
    );
    assert_eq!(
        send(
            "application/x-protobuf; proto=prometheus.WriteRequest",
            "snappy"
        ) / 100,
        2
    );
    let get = tidemark.get("/api/v1/push");
    assert_eq!(get.status, 405, "{}", get.text());
}

#[test]
fn errors_say_what_and_where_it_is_explained() {
    let tidemark = Tidemark::start(&[]);
    let now = wait::now_ms();
    let future =
        Series::new(&[("__name__", "early_bird"), ("job", "a")]).sample(now + 3_600_000, 1.0);
    let response = tidemark
        .push(Version::V1, None, &[future])
        .expect("an answer");
    expect(&response, 400, "an hour ahead");
    let text = response.text();
    assert!(text.contains("early_bird"), "names the series: {text}");
    assert!(
        text.contains("creation_grace_period"),
        "names the limit: {text}"
    );
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");
    let page = std::fs::read_to_string(page).expect("a page about errors");
    let id = text
        .split(|c: char| !(c.is_ascii_lowercase() || c == '-'))
        .find(|word| word.contains('-') && page.contains(&format!("## {word}")));
    assert!(
        id.is_some(),
        "an id with a heading in docs/errors.md: {text}"
    );
}

#[test]
fn tenants_see_only_their_own() {
    let tidemark = Tidemark::start(&["--multitenancy"]);
    let now = wait::now_ms();
    for (tenant, v) in [("team-a", 1.0), ("team-b", 2.0)] {
        let series = Series::new(&[("__name__", "mine"), ("owner", tenant)]).sample(now, v);
        let response = tidemark
            .push(Version::V2, Some(tenant), &[series])
            .expect("an answer");
        expect(&response, 204, tenant);
    }
    for (tenant, v) in [("team-a", 1.0), ("team-b", 2.0)] {
        assert_eq!(value(&tidemark, Some(tenant), "sum(mine)"), Some(v));
        let api = tidemark.query_api(Some(tenant));
        let owners = api
            .get("/api/v1/label/owner/values", &[])
            .expect("an answer");
        assert_eq!(owners.json()["data"], Value::from(vec![tenant]));
        let series = api
            .get("/api/v1/series", &[("match[]", "mine")])
            .expect("an answer");
        assert_eq!(series.json()["data"].as_array().map(Vec::len), Some(1));
    }
    assert_eq!(value(&tidemark, Some("team-c"), "mine"), None);

    for bad in [
        None,
        Some(""),
        Some("a/b"),
        Some(".."),
        Some("a|b"),
        Some("a b"),
    ] {
        let response = tidemark
            .push(Version::V1, bad, &[good(now)])
            .expect("an answer");
        expect(&response, 401, &format!("writing as {bad:?}"));
        let answer = tidemark
            .query_api(bad)
            .get("/api/v1/query", &[("query", "mine")]);
        expect(
            &answer.expect("an answer"),
            401,
            &format!("reading as {bad:?}"),
        );
    }
    let long = "x".repeat(151);
    let response = tidemark
        .push(Version::V1, Some(&long), &[good(now)])
        .expect("an answer");
    expect(&response, 401, "a long tenant");
}

#[test]
fn a_bad_neighbour_harms_nobody() {
    let tidemark = Tidemark::start(&["--multitenancy"]);
    let now = wait::now_ms();
    for i in 0..50 {
        let t = now - 50_000 + i * 1000;
        let body = remote_write::compress(&[0xff; 1000]);
        let response = tidemark
            .push_body(Version::V1, Some("bad"), &body)
            .expect("an answer");
        expect(&response, 400, "noise");
        let response = tidemark
            .push(Version::V1, Some("good"), &[good(t)])
            .expect("an answer");
        expect_success(&response, "the neighbour's");
    }
    assert_eq!(
        value(&tidemark, Some("good"), "count_over_time(good[2m])"),
        Some(50.0)
    );
    assert_eq!(
        value(&tidemark, Some("bad"), "count({__name__=~\".+\"})"),
        None
    );
}

#[test]
fn without_multitenancy_everything_is_one_tenants() {
    let tidemark = Tidemark::start(&[]);
    let now = wait::now_ms();
    expect_success(
        &tidemark
            .push(Version::V1, None, &[good(now)])
            .expect("an answer"),
        "no header",
    );
    assert_eq!(value(&tidemark, None, "good"), Some(1.0));
}
