//! The write path from HTTP to a fake ingester: what comes in, what is answered.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use model::error::ErrorKind;
use model::fingerprint::Fingerprint;
use model::labels::Labels;
use model::quantity::ByteSize;
use model::time::ManualClock;
use model::write::{LabelSource, Rejection, WriteBatch, WriteOutcome};
use parking_lot::Mutex;
use tower::ServiceExt;
use wire::proto::{v1, v2};
use wire::remote_write::RawLabels;
use wire::remote_write::encode::{self, CONTENT_TYPE_V1, CONTENT_TYPE_V2, Symbols};
use wire::service::ServiceError;

use super::*;

/// What an ingester was given: labels, then time and bits of each sample.
type Seen = (String, String, Vec<(i64, u64)>);

/// An ingester that remembers, and answers what it is told to.
#[derive(Default)]
struct Fake {
    seen: Mutex<Vec<Seen>>,
    answer: Mutex<Option<Result<WriteOutcome, ServiceError>>>,
}

impl IngestService for Fake {
    fn push(
        &self,
        tenant: &TenantId,
        _: &Limits,
        batch: &WriteBatch<RawLabels<'_>>,
    ) -> Result<WriteOutcome, ServiceError> {
        let mut from = 0;
        for row in &batch.series {
            let mut pairs = Vec::new();
            row.labels.for_each(&mut |name, value| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                pairs.push((text(name), text(value)));
            });
            let labels = Labels::from_pairs(pairs);
            assert_eq!(row.fingerprint, Fingerprint::of(&labels));
            let samples = &batch.samples[from..row.samples_end as usize];
            from = row.samples_end as usize;
            let samples = samples.iter().map(|s| (s.t, s.v.to_bits())).collect();
            self.seen
                .lock()
                .push((tenant.to_string(), labels.to_string(), samples));
        }
        self.answer.lock().clone().unwrap_or_else(|| {
            Ok(WriteOutcome {
                samples: batch.samples.len(),
                histograms: batch.histograms.len(),
                exemplars: batch.exemplars.len(),
                ..WriteOutcome::default()
            })
        })
    }
}

/// A distributor over a fake ingester.
struct Harness {
    fake: Arc<Fake>,
    clock: Arc<ManualClock>,
    distributor: Arc<Distributor>,
}

/// What was answered.
struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    fn written(&self) -> [&str; 3] {
        ["samples", "histograms", "exemplars"]
            .map(|what| self.header(&format!("x-prometheus-remote-write-{what}-written")))
    }
}

impl Harness {
    fn new(config: Config, limits: Limits) -> Self {
        let fake = Arc::new(Fake::default());
        let clock = Arc::new(ManualClock::new(1_000_000));
        let limits = Arc::new(limits);
        let random = AtomicU64::new(0);
        let deps = Deps {
            ingest: Arc::clone(&fake) as Arc<dyn IngestService>,
            limits: Arc::new(move |_| Arc::clone(&limits)),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            random: Arc::new(move || random.fetch_add(1, Ordering::Relaxed)),
        };
        Self {
            fake,
            clock,
            distributor: start(config, deps),
        }
    }

    fn plain() -> Self {
        Self::new(Config::default(), Limits::default())
    }

    async fn send(&self, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::post("/api/v1/push");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        let router = self.distributor.router();
        let response: Response<Body> = router.oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    async fn send_v1(&self, request: &v1::WriteRequest) -> Answer {
        self.send(&V1, encode::body(request)).await
    }

    /// Sends a body that must be refused as a whole, with this status and id.
    async fn check(&self, headers: &[(&str, &str)], body: Vec<u8>, status: u16, id: &str) {
        let answer = self.send(headers, body).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
        assert!(
            answer.body.ends_with(&format!("({id})\n")),
            "{}",
            answer.body
        );
        assert!(answer.body.len() < 1000, "{}", answer.body);
        assert_eq!(answer.written(), ["0"; 3]);
        assert_eq!(*self.fake.seen.lock(), []);
    }
}

const V1: [(&str, &str); 2] = [
    ("content-type", CONTENT_TYPE_V1),
    ("content-encoding", "snappy"),
];
const V2: [(&str, &str); 2] = [
    ("content-type", CONTENT_TYPE_V2),
    ("content-encoding", "snappy"),
];

fn series(pairs: &[(&str, &str)], samples: &[(i64, f64)]) -> v1::TimeSeries {
    let label = |(name, value): &(&str, &str)| v1::Label {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    let sample = |&(timestamp, value): &(i64, f64)| v1::Sample { value, timestamp };
    v1::TimeSeries {
        labels: pairs.iter().map(label).collect(),
        samples: samples.iter().map(sample).collect(),
        ..v1::TimeSeries::default()
    }
}

fn request(timeseries: Vec<v1::TimeSeries>) -> v1::WriteRequest {
    v1::WriteRequest {
        timeseries,
        metadata: Vec::new(),
    }
}

fn one() -> v1::WriteRequest {
    request(vec![series(&[("__name__", "up")], &[(1, 1.0)])])
}

fn one_v2() -> v2::Request {
    let mut symbols = Symbols::default();
    let labels_refs = symbols.places([("__name__", "up")]);
    let sample = v2::Sample {
        value: 1.0,
        timestamp: 1,
        start_timestamp: 0,
    };
    v2::Request {
        timeseries: vec![v2::TimeSeries {
            labels_refs,
            samples: vec![sample],
            ..v2::TimeSeries::default()
        }],
        symbols: symbols.into_texts(),
    }
}

#[tokio::test]
async fn takes_both_versions() {
    let harness = Harness::plain();
    let answer = harness.send_v1(&one()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.written(), ["1", "0", "0"]);
    let answer = harness.send(&V2, encode::body(&one_v2())).await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.written(), ["1", "0", "0"]);
    // Old senders name no type.
    let answer = harness.send(&[], encode::body(&one())).await;
    assert_eq!(answer.status, 200);
    let seen = harness.fake.seen.lock();
    let expected: Seen = (
        "anonymous".to_owned(),
        "up".to_owned(),
        vec![(1, 1.0f64.to_bits())],
    );
    assert_eq!(*seen, vec![expected; 3]);
}

#[tokio::test]
async fn keeps_every_bit_of_values_and_times() {
    let harness = Harness::plain();
    let nans = [
        model::STALE_NAN_BITS,
        0x7ff8_0000_0000_0001,
        0xfff8_dead_beef_0001,
    ];
    let mut samples: Vec<(i64, f64)> = nans.iter().map(|n| (5, f64::from_bits(*n))).collect();
    samples.extend([
        (i64::MIN, f64::NEG_INFINITY),
        (i64::MAX, f64::INFINITY),
        (0, 5e-324),
    ]);
    let answer = harness
        .send_v1(&request(vec![series(&[("__name__", "x")], &samples)]))
        .await;
    assert_eq!(answer.written(), ["6", "0", "0"]);
    let expected: Vec<(i64, u64)> = samples.iter().map(|(t, v)| (*t, v.to_bits())).collect();
    assert_eq!(harness.fake.seen.lock()[0].2, expected);
}

#[tokio::test]
async fn empty_requests_succeed() {
    let harness = Harness::plain();
    assert_eq!(harness.send(&V1, encode::compress(&[])).await.status, 200);
    assert_eq!(harness.send(&V2, encode::compress(&[])).await.status, 204);
    harness.check(&V1, Vec::new(), 400, "body-not-snappy").await;
}

#[tokio::test]
async fn refuses_other_types_and_encodings() {
    let harness = Harness::plain();
    let body = encode::body(&one());
    let refused = "unsupported-media-type";
    for headers in [
        [
            ("content-type", "application/json"),
            ("content-encoding", "snappy"),
        ],
        [
            ("content-type", CONTENT_TYPE_V1),
            ("content-encoding", "zstd"),
        ],
        [
            ("content-type", "application/x-protobuf;proto=a.b"),
            ("content-encoding", "snappy"),
        ],
    ] {
        harness.check(&headers, body.clone(), 415, refused).await;
    }
}

#[tokio::test]
async fn refuses_bodies_that_are_broken() {
    let harness = Harness::plain();
    let good = encode::body(&one());
    harness
        .check(&V1, good[..good.len() - 3].to_vec(), 400, "body-not-snappy")
        .await;
    harness
        .check(&V1, b"not snappy at all".to_vec(), 400, "body-not-snappy")
        .await;
    let message = prost_bytes(&one());
    let cut = encode::compress(&message[..message.len() - 3]);
    harness.check(&V1, cut, 400, "body-not-protobuf").await;
    let wrong_wire_type = encode::compress(&[0x08, 0x01]);
    harness
        .check(&V1, wrong_wire_type, 400, "body-not-protobuf")
        .await;
    let mut no_empty_symbol = one_v2();
    no_empty_symbol.symbols.remove(0);
    harness
        .check(
            &V2,
            encode::body(&no_empty_symbol),
            400,
            "first-symbol-not-empty",
        )
        .await;
}

fn prost_bytes(request: &v1::WriteRequest) -> Vec<u8> {
    let body = encode::body(request);
    let mut memory = Vec::new();
    let unpacked = wire::remote_write::snappy::decompress(&body, 1 << 30, &mut memory);
    unpacked.unwrap().to_vec()
}

#[tokio::test]
async fn refuses_what_is_too_large_before_it_takes_memory() {
    let config = Config {
        max_body_size: ByteSize(1_000),
        ..Config::default()
    };
    let harness = Harness::new(config, Limits::default());
    let claims_a_gibibyte = vec![0x80, 0x80, 0x80, 0x80, 0x04, 0x00, b'x'];
    harness
        .check(&V1, claims_a_gibibyte, 413, "decoded-body-too-large")
        .await;
    let announced = [V1[0], V1[1], ("content-length", "99999999999")];
    harness
        .check(&announced, Vec::new(), 413, "body-too-large")
        .await;
    // Nothing announced: the body is read no further than its bound.
    harness
        .check(&V1, vec![0; 1_001], 413, "body-too-large")
        .await;
    let dense: Vec<u8> = std::iter::repeat_n([0x0a, 0x02, 0x12, 0x00], 1000)
        .flatten()
        .collect();
    let config = Config {
        max_decoded_body_size: ByteSize(5_000),
        ..Config::default()
    };
    let harness = Harness::new(config, Limits::default());
    let series = series(&[("__name__", "x")], &[(0, 0.0); 2_000]);
    let body = encode::body(&request(vec![series]));
    assert!(body.len() < 5_000);
    harness
        .check(&V1, body, 413, "decoded-body-too-dense")
        .await;
    // Rows that are refused give their memory back.
    let answer = harness.send(&V1, encode::compress(&dense[..400])).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn writes_the_good_rows_of_a_request_and_tells_the_first_bad_one() {
    let harness = Harness::plain();
    let huge = "x".repeat(10 << 20);
    let names: Vec<String> = (0..10_000).map(|i| format!("l{i:05}")).collect();
    let mut many: Vec<(&str, &str)> = vec![("__name__", "many")];
    many.extend(names.iter().map(|name| (name.as_str(), "1")));
    let good = [("__name__", "up"), ("a", "1")];
    for (bad, id) in [
        (
            vec![("__name__", "b"), ("z", "1"), ("a", "1")],
            "labels-not-sorted",
        ),
        (
            vec![("__name__", "b"), ("a", "1"), ("a", "1")],
            "duplicate-label",
        ),
        (vec![("a", "1")], "missing-metric-name"),
        (
            vec![("__name__", "b"), ("a", huge.as_str())],
            "label-value-too-long",
        ),
        (many, "max-label-names-per-series"),
    ] {
        let rows = [&good[..], &bad, &good].map(|pairs| series(pairs, &[(1, 1.0)]));
        let answer = harness.send_v1(&request(rows.to_vec())).await;
        assert_eq!(answer.status, 400);
        assert!(
            answer.body.ends_with(&format!("({id})\n")),
            "{}",
            answer.body
        );
        assert!(answer.body.len() < 500, "{}", answer.body);
        assert_eq!(answer.written(), ["2", "0", "0"], "{id}");
    }
    assert_eq!(harness.fake.seen.lock().len(), 10);
}

#[tokio::test]
async fn tells_what_the_ingester_refused() {
    let harness = Harness::plain();
    let answer_with = |kind, id| {
        let rejection = Rejection {
            kind,
            id,
            message: "series up: too much".to_owned(),
        };
        *harness.fake.answer.lock() = Some(Ok(WriteOutcome {
            samples: 3,
            rejected: 1,
            first_rejection: Some(rejection),
            ..WriteOutcome::default()
        }));
    };
    answer_with(ErrorKind::Invalid, "sample-too-old");
    let answer = harness.send_v1(&one()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after")),
        (400, "")
    );
    assert_eq!(answer.body, "series up: too much (sample-too-old)\n");
    assert_eq!(answer.written(), ["3", "0", "0"]);
    answer_with(ErrorKind::TooMany, "max-series");
    let answer = harness.send_v1(&one()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after")),
        (429, "6")
    );
    let failed = ServiceError {
        kind: ErrorKind::Unavailable,
        id: "disk-full",
        message: "no space".to_owned(),
    };
    *harness.fake.answer.lock() = Some(Err(failed));
    let again = [V2[0], V2[1], ("retry-attempt", "2")];
    let answer = harness.send(&again, encode::body(&one_v2())).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after")),
        (503, "24")
    );
    assert_eq!(answer.written(), ["0"; 3]);
}

#[tokio::test]
async fn takes_the_tenant_from_the_header_only_with_multitenancy() {
    let harness = Harness::plain();
    let named = [V1[0], V1[1], ("x-scope-orgid", "team-a")];
    harness.send(&named, encode::body(&one())).await;
    assert_eq!(harness.fake.seen.lock().remove(0).0, "anonymous");
    let config = Config {
        multitenancy: true,
        ..Config::default()
    };
    let harness = Harness::new(config, Limits::default());
    harness
        .check(&V1, encode::body(&one()), 401, "tenant-missing")
        .await;
    let bad = [V1[0], V1[1], ("x-scope-orgid", "a|b")];
    harness
        .check(&bad, encode::body(&one()), 401, "tenant-invalid")
        .await;
    assert_eq!(harness.send(&named, encode::body(&one())).await.status, 200);
    assert_eq!(harness.fake.seen.lock().remove(0).0, "team-a");
}

#[tokio::test]
async fn bounds_the_rate_of_a_tenant() {
    let limits = Limits {
        ingestion_rate: 1.0,
        ingestion_burst_size: 2,
        ..Limits::default()
    };
    let harness = Harness::new(Config::default(), limits);
    for _ in 0..2 {
        assert_eq!(harness.send_v1(&one()).await.status, 200);
    }
    let answer = harness.send_v1(&one()).await;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.written(), ["0"; 3]);
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 6);
    assert!(
        answer.body.ends_with("(ingestion-rate)\n"),
        "{}",
        answer.body
    );
    harness.clock.set(1_001_000);
    assert_eq!(harness.send_v1(&one()).await.status, 200);
}

#[tokio::test]
async fn refuses_floods_with_503() {
    let config = Config {
        max_inflight_bytes: ByteSize(20),
        ..Config::default()
    };
    let harness = Harness::new(config, Limits::default());
    harness
        .check(&V1, encode::body(&one()), 503, "max-inflight-bytes")
        .await;
    let config = Config {
        max_inflight_requests: 1,
        ..Config::default()
    };
    let harness = Harness::new(config, Limits::default());
    let place = harness.distributor.inflight.enter().ok();
    assert!(place.is_some());
    harness
        .check(&V1, encode::body(&one()), 503, "max-inflight-requests")
        .await;
    drop(place);
    assert_eq!(harness.send_v1(&one()).await.status, 200);
    assert_eq!(
        (
            harness.distributor.inflight.requests(),
            harness.distributor.inflight.bytes()
        ),
        (0, 0)
    );
}

#[tokio::test]
async fn counts_what_it_does() {
    let harness = Harness::plain();
    harness.send_v1(&one()).await;
    harness
        .send_v1(&request(vec![series(&[("a", "1")], &[(1, 1.0)])]))
        .await;
    harness.send(&V1, "no".to_owned()).await;
    let mut text = String::new();
    harness.distributor.render_metrics(&mut text);
    for line in [
        "tidemark_distributor_received_samples_total{tenant=\"anonymous\"} 2",
        "tidemark_distributor_requests_total{code=\"200\"} 1",
        "tidemark_distributor_requests_total{code=\"400\"} 2",
        "tidemark_distributor_rejected_samples_total{reason=\"missing-metric-name\"} 1",
        "tidemark_distributor_refused_requests_total{reason=\"body-not-snappy\"} 1",
        "tidemark_distributor_request_duration_seconds_bucket{le=\"+Inf\"} 3",
        "tidemark_distributor_request_duration_seconds_count 3",
        "tidemark_distributor_inflight_requests 0",
        "tidemark_distributor_inflight_bytes 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn gives_up_on_bodies_that_do_not_come() {
    let config = Config {
        max_inflight_requests: 1,
        ..Config::default()
    };
    let harness = Harness::new(config, Limits::default());
    // The front of a request, and then silence.
    let answer = harness.send(&V1, stalled_body()).await;
    assert_eq!(answer.status.as_u16(), 503, "{}", answer.body);
    assert!(
        answer.body.ends_with("(body-read-timeout)\n"),
        "{}",
        answer.body
    );
    assert_eq!(answer.header("retry-after"), "6");
    let inflight = &harness.distributor.inflight;
    assert_eq!((inflight.requests(), inflight.bytes()), (0, 0));
    assert_eq!(harness.send_v1(&one()).await.status, 200);
}

/// A body of which four bytes come, and no more.
fn stalled_body() -> Body {
    struct Stalled(Option<axum::body::Bytes>);
    impl axum::body::HttpBody for Stalled {
        type Data = axum::body::Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
            match self.0.take() {
                Some(bytes) => std::task::Poll::Ready(Some(Ok(http_body::Frame::data(bytes)))),
                None => std::task::Poll::Pending,
            }
        }
    }
    Body::new(Stalled(Some(axum::body::Bytes::from_static(b"abcd"))))
}
