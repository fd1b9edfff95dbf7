//! The API, asked as clients ask it.

mod stopping;
mod told;
mod store;

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use model::exemplar::Exemplar;
use model::labels::Labels;
use model::select::{LookupBounds, SelectError, SelectRequest, SeriesSamples, SeriesSet};
use model::time::ManualClock;
use model::write::{MetricMetadata, MetricType};
use serde_json::Value;
use tower::ServiceExt as _;
use wire::service::{Found, HeadStatus, LookupRequest, ReadService};

use super::*;
use crate::BuildInfo;
use store::Store;

/// Now, in seconds.
const NOW: i64 = 1000;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied())
}

/// Three series, a sample every 10 s from 0 to 1000.
fn store() -> Store {
    let points = |scale: f64| {
        (0..=100)
            .map(|i| (i * 10_000, i as f64 * scale))
            .collect::<Vec<_>>()
    };
    Store {
        tenant: TenantId::anonymous(),
        series: vec![
            (labels(&[("__name__", "up"), ("job", "a")]), points(1.0)),
            (labels(&[("__name__", "up"), ("job", "b")]), points(2.0)),
            (
                labels(&[("__name__", "http.requests"), ("http.status", "200")]),
                points(3.0),
            ),
        ],
        metadata: ["up", "down", "sideways"]
            .iter()
            .flat_map(|metric| {
                ["first", "second"].map(|help| MetricMetadata {
                    metric: (*metric).to_owned(),
                    kind: MetricType::Gauge,
                    help: help.to_owned(),
                    unit: "s".to_owned(),
                })
            })
            .collect(),
        exemplars: vec![(
            labels(&[("__name__", "up"), ("job", "a")]),
            vec![Exemplar {
                labels: labels(&[("trace_id", "x")]),
                v: 1.5,
                t: 10_500,
            }],
        )],
    }
}

fn api_over(read: Arc<dyn ReadService>, limits: Limits, multitenancy: bool) -> Arc<Api> {
    let config = Config {
        threads: 2,
        log_slower_than: Duration::ZERO,
        multitenancy,
        max_inflight_response_bytes: 64 << 20,
        build: BuildInfo {
            version: "1.2.3",
            revision: "abc",
        },
    };
    let limits = Arc::new(limits);
    let deps = Deps {
        read,
        limits: Arc::new(move |_| Arc::clone(&limits)),
        clock: Arc::new(ManualClock::new(NOW * 1000)),
    };
    Api::start(config, deps).unwrap()
}

fn api() -> Arc<Api> {
    api_over(Arc::new(store()), Limits::default(), false)
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

fn post(path: &str, form: String) -> Request<Body> {
    Request::post(path)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(form))
        .unwrap()
}

fn encode(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

async fn send(api: &Arc<Api>, request: Request<Body>) -> (StatusCode, Value) {
    let response = api.router().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let shown = String::from_utf8_lossy(&body);
    let value = serde_json::from_slice(&body).unwrap_or_else(|e| panic!("{e} in {shown}"));
    (status, value)
}

/// Asks at `/prometheus/api/v1/<path>`: the answer as text.
async fn ask(path: &str) -> String {
    let (status, value) = send(&api(), get(&format!("/prometheus/api/v1/{path}"))).await;
    format!("{} {value}", status.as_u16())
}

async fn refused(api: &Arc<Api>, request: Request<Body>) -> (u16, String, String) {
    let (status, value) = send(api, request).await;
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(value["status"], "error", "{value}");
    (status.as_u16(), text("errorType"), text("error"))
}

#[tokio::test]
async fn instant_queries() {
    let check = async |path: &str, expected: &str| assert_eq!(ask(path).await, expected, "{path}");
    check(
        "query?query=up&time=100.5",
        r#"200 {"data":{"result":[{"metric":{"__name__":"up","job":"a"},"value":[100.5,"10"]},{"metric":{"__name__":"up","job":"b"},"value":[100.5,"20"]}],"resultType":"vector"},"status":"success"}"#,
    )
    .await;
    // No time: now.
    check(
        "query?query=sum(up)",
        r#"200 {"data":{"result":[{"metric":{},"value":[1000,"300"]}],"resultType":"vector"},"status":"success"}"#,
    )
    .await;
    // What Grafana asks first.
    check(
        "query?query=1%2B1&time=4",
        r#"200 {"data":{"result":[4,"2"],"resultType":"scalar"},"status":"success"}"#,
    )
    .await;
    check(
        "query?query=up&limit=1&time=1970-01-01T00:00:10Z",
        r#"200 {"data":{"result":[{"metric":{"__name__":"up","job":"a"},"value":[10,"1"]}],"resultType":"vector"},"status":"success","warnings":["results truncated due to limit"]}"#,
    )
    .await;
    check(
        "query?query=up%7Bjob%3D%22a%22%7D%5B15s%5D&time=20",
        r#"200 {"data":{"result":[{"metric":{"__name__":"up","job":"a"},"values":[[10,"1"],[20,"2"]]}],"resultType":"matrix"},"status":"success"}"#,
    )
    .await;
    check(
        "query?query=%22x%22&time=1",
        r#"200 {"data":{"result":[1,"x"],"resultType":"string"},"status":"success"}"#,
    )
    .await;
    // Milliseconds for seconds, and the end of all numbers: nothing there, but no error.
    for time in ["1792342342342", "1e300", "-1e300"] {
        check(
            &format!("query?query=up&time={time}"),
            r#"200 {"data":{"result":[],"resultType":"vector"},"status":"success"}"#,
        )
        .await;
    }
    // The lookback is the tenant's 5m, unless the request says otherwise.
    check(
        "query?query=count(up)&time=1200&lookback_delta=1m",
        r#"200 {"data":{"result":[],"resultType":"vector"},"status":"success"}"#,
    )
    .await;
}

#[tokio::test]
async fn range_queries() {
    let expected = r#"200 {"data":{"result":[{"metric":{},"values":[[0,"0"],[20,"6"],[40,"12"]]}],"resultType":"matrix"},"status":"success"}"#;
    for step in ["20", "20s", "20.0"] {
        let path = format!("query_range?query=sum(up)&start=0&end=40&step={step}");
        assert_eq!(ask(&path).await, expected);
    }
    let form = "query=sum(up)&start=0&end=40&step=20".to_owned();
    let (status, value) = send(&api(), post("/api/v1/query_range", form)).await;
    assert_eq!(format!("{} {value}", status.as_u16()), expected);
    // 11,000 steps and the first are the most.
    assert!(
        ask("query_range?query=vector(1)&start=0&end=11000&step=1")
            .await
            .starts_with("200")
    );
    let far = ask("query_range?query=up&start=1792342342342&end=1792342342400&step=15").await;
    assert!(
        far.starts_with("200") && far.contains("\"result\":[]"),
        "{far}"
    );
}

#[tokio::test]
async fn wrong_parameters_are_named() {
    let mut shown = String::new();
    for path in [
        "query",
        "query?query=",
        "query?query=sum(",
        "query?query=up&time=now",
        "query?query=up&timeout=0",
        "query?query=up&timeout=x",
        "query?query=up&timeout=x&lookback_delta=y",
        "query?query=sum(&lookback_delta=y",
        "query?query=sum(&limit=-1&time=now",
        "query?query=up&limit=x",
        "query_range?query=up&end=1&step=1",
        "query_range?query=up&start=0&step=1",
        "query_range?query=up&start=0&end=1",
        "query_range?query=up&start=0&end=1&step=0",
        "query_range?query=up&start=0&end=1&step=often",
        "query_range?query=up&start=0&end=1&step=1e300",
        "query_range?query=up&start=2&end=1&step=1",
        "query_range?query=sum(&start=0&end=1&step=1",
        "query_range?query=up&start=0&end=1000000&step=1",
        "query_range?query=up%5B5m%5D&start=0&end=1&step=1",
        "query_exemplars?query=sum(&start=0",
        "query_exemplars?query=up&start=5&end=4",
        "series",
        "series?match[]=%7B",
        "series?match[]=%7Ba%3D%22%22%7D",
        "series?match[]=sum(up)",
        "series?match[]=%7B%7D&match[]=up%7B",
        "series?limit=some",
        "series?match[]=up%7B&start=x",
        "labels?match[]=up%7B",
        "labels?match[]=%7B%7D",
        "label/job/values?match[]=%7B%7D&end=x",
        "labels?limit=-1",
        "label/U__/values",
        "metadata?limit=all",
        "metadata?limit_per_metric=all",
        "status/tsdb?limit=0",
        "status/tsdb?limit=10001",
        "format_query?query=)",
        "parse_query?query=)",
    ] {
        let request = get(&format!("/prometheus/api/v1/{path}"));
        let (status, kind, text) = refused(&api(), request).await;
        shown.push_str(&format!("{path}\n  {status} {kind}: {text}\n"));
    }
    insta::assert_snapshot!(shown);
}

#[tokio::test]
async fn lookups() {
    let mut shown = String::new();
    for path in [
        "series?match[]=up",
        "series?match[]=up&match[]=%7B%22http.requests%22%7D&limit=1",
        "series?match[]=up&start=2000",
        "series?match[]=up&start=5&end=4",
        "labels",
        "labels?match[]=up&limit=40000",
        "labels?limit=1",
        "labels?start=5&end=4",
        "label/job/values",
        "label/nothing/values",
        "label/U__http_2e_status/values",
        "label/__name__/values?match[]=%7Bjob%3D~%22.%2B%22%7D",
        "metadata?limit=1",
        "metadata?limit=0",
        "metadata?limit=-1&limit_per_metric=-1&metric=up",
        "metadata?metric=up&limit_per_metric=1",
        "query_exemplars?query=rate(up%5B5m%5D)",
        "query_exemplars?query=test&start=1792342342342&end=1792345942342",
        "query_exemplars?query=1%2B1",
        "format_query?query=sum(up)by(job)",
        "parse_query?query=sum(up)by(job)",
        "rules",
        "alerts",
        "features",
        "status/buildinfo",
        "status/tsdb?limit=1",
    ] {
        shown.push_str(&format!("{path}\n  {}\n", ask(path).await));
    }
    insta::assert_snapshot!(shown);
}

#[tokio::test]
async fn both_roots_and_methods() {
    let api = api();
    let response = api
        .router()
        .oneshot(get("/api/v1/status/flags"))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    for path in [
        "query",
        "query_range",
        "query_exemplars",
        "series",
        "labels",
        "format_query",
        "parse_query",
    ] {
        let form = "query=up&match[]=up&start=0&end=10&step=5".to_owned();
        let (status, value) = send(&api, post(&format!("/prometheus/api/v1/{path}"), form)).await;
        assert_eq!(status, StatusCode::OK, "{path}: {value}");
    }
    let request = post("/api/v1/label/job/values", String::new());
    let response = api.router().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()[header::ALLOW], "GET,HEAD");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "Method Not Allowed\n");
}

/// A form's parameters come first, those of the URL behind them; of a list all count.
#[tokio::test]
async fn parameters_given_twice() {
    let vector = async |path: &str, form: &str| {
        let (status, value) = send(&api(), post(path, form.to_owned())).await;
        assert_eq!(status, StatusCode::OK, "{value}");
        value["data"]["result"][0]["value"][1].to_string()
    };
    let path = "/api/v1/query?query=vector(1)&query=vector(2)";
    assert_eq!(vector(path, "").await, "\"1\"");
    assert_eq!(vector(path, "query=vector(3)").await, "\"3\"");
    let form = "match[]=up".to_owned();
    let path = "/api/v1/series?match[]=%7B%22http.requests%22%7D&match[]=up";
    let (_, value) = send(&api(), post(path, form)).await;
    assert_eq!(value["data"].as_array().map(Vec::len), Some(3), "{value}");
}

#[tokio::test]
async fn annotations_are_told_up_to_ten() {
    let calls: Vec<String> = (2..=14).map(|q| format!("quantile({q}, up)")).collect();
    let path = format!("/api/v1/query?query={}", encode(&calls.join(" or ")));
    let (status, value) = send(&api(), get(&path)).await;
    assert_eq!(status, StatusCode::OK, "{value}");
    let warnings = value["warnings"].as_array().expect("warnings");
    assert_eq!(warnings.len(), 11, "{value}");
    assert_eq!(warnings[10], "3 more warning annotations omitted");
    assert!(value.get("infos").is_none(), "{value}");
}

#[tokio::test]
async fn hostile_queries_are_refused() {
    let api = api();
    let deep = |open: &str, close: &str| open.repeat(10_000) + "1" + &close.repeat(10_000);
    let queries = [
        deep("(", ")"),
        deep("abs(", ")"),
        deep("-", ""),
        deep("", "+1"),
        "{".repeat(10_000),
        "x".repeat(1_000_000),
        "up{job=~\"(((a{100}){100}){100}){100}\"}".to_owned(),
        format!("up{{job=~\"{}\"}}", "a".repeat(70_000)),
        format!("up{{job=~\"{}a{}\"}}", "(".repeat(500), ")".repeat(500)),
    ];
    for query in queries {
        for path in [
            "/api/v1/query",
            "/api/v1/format_query",
            "/api/v1/parse_query",
            "/api/v1/query_exemplars",
        ] {
            let request = post(path, format!("query={}", encode(&query)));
            let (status, kind, text) = refused(&api, request).await;
            let start: String = query.chars().take(40).collect();
            assert_eq!(
                (status, kind.as_str()),
                (400, "bad_data"),
                "{path} {start}: {text}"
            );
            assert!(text.len() < 6_000, "{start}: {} bytes", text.len());
        }
    }
    let form = format!("query=1&x={}", "x".repeat(1 << 20));
    let (status, kind, _) = refused(&api, post("/api/v1/query", form)).await;
    assert_eq!((status, kind.as_str()), (413, "too_large_entry"));
    let form = "match[]=up&".repeat(101);
    let (status, _, text) = refused(&api, post("/api/v1/series", form)).await;
    assert_eq!(status, 400, "{text}");
    let (status, _, _) = refused(&api, post("/api/v1/series", "a&".repeat(20_000))).await;
    assert_eq!(status, 400);
}

/// What is just within the limits is printed, told and evaluated on the stack there is.
#[tokio::test]
async fn the_deepest_queries_are_answered() {
    let api = api();
    let nested = |open: &str, close: &str| open.repeat(99) + "up" + &close.repeat(99);
    let queries = [
        nested("(", ")"),
        nested("abs(", ")"),
        nested("-", ""),
        "up".to_owned() + &"+up".repeat(999),
        "up".to_owned() + &"^1".repeat(999),
    ];
    for query in queries {
        for path in ["query", "format_query", "parse_query"] {
            let form = format!("query={}&explain=1", encode(&query));
            let request = post(&format!("/api/v1/{path}"), form);
            // The trees are deeper than what reads JSON here would go.
            let response = api.router().oneshot(request).await.unwrap();
            let start: String = query.chars().take(10).collect();
            assert_eq!(response.status(), StatusCode::OK, "{path} {start}");
        }
    }
}

#[tokio::test]
async fn limits_are_422() {
    let limited = |limits: Limits| api_over(Arc::new(store()), limits, false);
    let few = limited(Limits {
        max_samples_per_query: 50,
        ..Limits::default()
    });
    let (status, kind, text) = refused(&few, get("/api/v1/query?query=up%5B10m%5D")).await;
    assert_eq!((status, kind.as_str()), (422, "execution"), "{text}");
    let small = limited(Limits {
        max_memory_per_query: model::quantity::ByteSize(1000),
        ..Limits::default()
    });
    let path = "/api/v1/query_range?query=up&start=0&end=1000&step=1";
    let (status, kind, text) = refused(&small, get(path)).await;
    assert_eq!((status, kind.as_str()), (422, "execution"), "{text}");
}

#[tokio::test]
async fn answers_are_bounded() {
    let matrix = "/api/v1/query_range?query=up/7&start=0&end=1000&step=1";
    // Enough for the samples and the result, not for its text as well.
    let small = Limits {
        max_memory_per_query: model::quantity::ByteSize(80_000),
        ..Limits::default()
    };
    let small = api_over(Arc::new(store()), small, false);
    let (status, kind, text) = refused(&small, get(matrix)).await;
    assert_eq!((status, kind.as_str()), (422, "execution"), "{text}");
    assert!(
        text.contains("answer") && text.contains("max_memory_per_query"),
        "{text}"
    );
    // What a client does not read keeps others from being answered.
    let api = api();
    let mut held = api.answers.hold();
    held.resize(api.answers.free()).unwrap();
    let (status, kind, text) = refused(&api, get(matrix)).await;
    assert_eq!((status, kind.as_str()), (503, "unavailable"), "{text}");
    drop(held);
    let response = api.router().oneshot(get(matrix)).await.unwrap();
    assert!(api.answers.free() < 64 << 20);
    drop(response);
    assert_eq!(api.answers.free(), 64 << 20);
}

#[tokio::test(start_paused = true)]
async fn forms_are_bounded() {
    let api = api();
    let mut request = post("/api/v1/query", String::new());
    *request.body_mut() = Body::new(Silent);
    let (status, kind, text) = refused(&api, request).await;
    assert_eq!((status, kind.as_str()), (408, "timeout"), "{text}");
    let mut held = api.forms.hold();
    held.resize(api.forms.free()).unwrap();
    let request = || post("/api/v1/query", "query=1".to_owned());
    let (status, kind, _) = refused(&api, request()).await;
    assert_eq!((status, kind.as_str()), (503, "unavailable"));
    drop(held);
    tokio::time::resume();
    assert_eq!(send(&api, request()).await.0, StatusCode::OK);
}

/// A body that never comes.
struct Silent;

impl http_body::Body for Silent {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

#[tokio::test]
async fn a_label_name_that_is_no_text_is_refused() {
    let (status, kind, text) = refused(&api(), get("/api/v1/label/%ff/values")).await;
    assert_eq!((status, kind.as_str()), (400, "bad_data"), "{text}");
}

#[tokio::test]
async fn selectors_are_within_the_limits() {
    let long = format!("match[]=%7Ba%3D%22{}%22%7D", "x".repeat(40_000));
    let (status, _, text) = refused(&api(), post("/api/v1/series", long)).await;
    assert_eq!(status, 400, "{text}");
}

#[tokio::test]
async fn tenants_are_apart() {
    let api = api_over(Arc::new(store()), Limits::default(), true);
    let ask = async |tenant: Option<&str>| {
        let mut request = get("/api/v1/query?query=count(up)");
        if let Some(tenant) = tenant {
            request
                .headers_mut()
                .insert(TENANT_HEADER, tenant.parse().unwrap());
        }
        send(&api, request).await
    };
    for bad in [None, Some(""), Some("a/b"), Some("..")] {
        let (status, value) = ask(bad).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{bad:?}: {value}");
    }
    let mut twice = get("/api/v1/query?query=1");
    for tenant in ["anonymous", "other"] {
        let value = http::HeaderValue::from_static(tenant);
        twice.headers_mut().append(TENANT_HEADER, value);
    }
    assert_eq!(refused(&api, twice).await.0, 401);
    let (_, value) = ask(Some("other")).await;
    assert_eq!(value["data"]["result"], Value::Array(Vec::new()));
    let (_, value) = ask(Some("anonymous")).await;
    assert_eq!(value["data"]["result"][0]["value"][1], "2");
}

#[tokio::test]
async fn gzip_where_it_is_taken() {
    let api = api();
    let check = async |accepted: &str, expected: Option<&str>| {
        let mut request = get("/api/v1/query?query=up");
        request
            .headers_mut()
            .insert(header::ACCEPT_ENCODING, accepted.parse().unwrap());
        let response = api.router().oneshot(request).await.unwrap();
        let coding = response.headers().get(header::CONTENT_ENCODING);
        assert_eq!(coding.map(|v| v.to_str().unwrap()), expected, "{accepted}");
        let body = response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .to_vec();
        let body = if expected.is_some() {
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*body), &mut text)
                .unwrap();
            text
        } else {
            body
        };
        let value: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["status"], "success");
    };
    check("gzip", Some("gzip")).await;
    check("deflate, GZIP;q=0.5", Some("gzip")).await;
    check("gzip;q=0", None).await;
    check("identity", None).await;
}

/// Waits for what must happen, so that a fault fails the test instead of hanging it.
async fn soon<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), event)
        .await
        .expect("it happens soon")
}

/// A source whose series never end: it is read until the query is stopped.
struct Endless {
    store: Store,
    read: Arc<AtomicUsize>,
    ended: Arc<tokio::sync::Notify>,
    begun: Arc<tokio::sync::Notify>,
}

struct EndlessSet {
    read: Arc<AtomicUsize>,
    ended: Arc<tokio::sync::Notify>,
}

impl SeriesSet for EndlessSet {
    fn next(&mut self, samples: &mut SeriesSamples) -> Result<Option<Labels>, SelectError> {
        samples.clear();
        samples.ts.push(NOW * 1000);
        samples.values.push(1.0);
        let n = self.read.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Labels::from_pairs([("n", n.to_string())])))
    }

    fn split(self: Box<Self>, _parts: usize) -> Vec<Box<dyn SeriesSet>> {
        vec![self]
    }
}

impl Drop for EndlessSet {
    fn drop(&mut self) {
        self.ended.notify_one();
    }
}

impl ReadService for Endless {
    fn select(&self, _: &TenantId, _: &SelectRequest) -> Result<Box<dyn SeriesSet>, SelectError> {
        self.begun.notify_one();
        Ok(Box::new(EndlessSet {
            read: Arc::clone(&self.read),
            ended: Arc::clone(&self.ended),
        }))
    }

    fn select_sorted(
        &self,
        t: &TenantId,
        r: &SelectRequest,
    ) -> Result<Box<dyn SeriesSet>, SelectError> {
        self.select(t, r)
    }

    fn series(&self, t: &TenantId, r: &LookupRequest) -> Result<Found<Labels>, SelectError> {
        self.store.series(t, r)
    }

    fn label_names(&self, t: &TenantId, r: &LookupRequest) -> Result<Found<String>, SelectError> {
        self.store.label_names(t, r)
    }

    fn label_values(
        &self,
        t: &TenantId,
        n: &str,
        r: &LookupRequest,
    ) -> Result<Found<String>, SelectError> {
        self.store.label_values(t, n, r)
    }

    fn metadata(&self, t: &TenantId, m: Option<&str>) -> Result<Vec<MetricMetadata>, SelectError> {
        self.store.metadata(t, m)
    }

    fn exemplars(
        &self,
        t: &TenantId,
        r: &LookupRequest,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError> {
        self.store.exemplars(t, r)
    }

    fn head_status(
        &self,
        t: &TenantId,
        limit: usize,
        bounds: &LookupBounds,
    ) -> Result<HeadStatus, SelectError> {
        self.begun.notify_one();
        while bounds.go_on().is_ok() {
            std::thread::yield_now();
        }
        self.ended.notify_one();
        self.store.head_status(t, limit, bounds)
    }
}

fn endless(limits: Limits) -> (Arc<Api>, Arc<tokio::sync::Notify>, Arc<tokio::sync::Notify>) {
    let (begun, ended) = (Arc::default(), Arc::default());
    let source = Endless {
        store: store(),
        read: Arc::default(),
        ended: Arc::clone(&ended),
        begun: Arc::clone(&begun),
    };
    let limits = Limits {
        max_samples_per_query: usize::MAX,
        ..limits
    };
    (api_over(Arc::new(source), limits, false), begun, ended)
}

#[tokio::test]
async fn a_query_stops_when_its_client_goes_away() {
    let (api, begun, ended) = endless(Limits::default());
    let router = api.router();
    #[expect(clippy::disallowed_methods, reason = "the test aborts it")]
    let client = tokio::spawn(async move {
        router
            .oneshot(get("/api/v1/query?query=count(%7Bn!%3D%22%22%7D)"))
            .await
    });
    soon(begun.notified()).await;
    client.abort();
    soon(ended.notified()).await;
    assert!(client.await.is_err());
    let mut out = String::new();
    api.render_metrics(&mut out);
    assert!(
        out.contains("endpoint=\"query\",code=\"499\"} 1\n"),
        "{out}"
    );
}

#[tokio::test]
async fn a_look_up_stops_when_its_client_goes_away() {
    let (api, begun, ended) = endless(Limits::default());
    let router = api.router();
    #[expect(clippy::disallowed_methods, reason = "the test aborts it")]
    let client = tokio::spawn(async move { router.oneshot(get("/api/v1/status/tsdb")).await });
    soon(begun.notified()).await;
    client.abort();
    soon(ended.notified()).await;
}

#[tokio::test]
async fn look_ups_are_within_the_limits() {
    let check = async |limits: Limits, name: &str| {
        let api = api_over(Arc::new(store()), limits, false);
        let (status, kind, text) = refused(&api, get("/api/v1/series?match[]=up")).await;
        assert_eq!((status, kind.as_str()), (422, "execution"), "{text}");
        assert!(text.contains(name), "{text}");
    };
    let max_series_per_query = 1;
    let few = Limits {
        max_series_per_query,
        ..Limits::default()
    };
    check(few, "max_series_per_query").await;
    let small = Limits {
        max_memory_per_query: model::quantity::ByteSize(10),
        ..Limits::default()
    };
    check(small, "max_memory_per_query").await;
}

#[tokio::test]
async fn a_query_stops_when_its_time_is_up() {
    let (api, _, ended) = endless(Limits::default());
    let path = "/api/v1/query?query=count(%7Bn!%3D%22%22%7D)&timeout=50ms";
    let (status, kind, text) = refused(&api, get(path)).await;
    assert_eq!((status, kind.as_str()), (503, "timeout"), "{text}");
    assert!(text.contains("query_timeout"), "{text}");
    soon(ended.notified()).await;
}

#[tokio::test]
async fn a_full_queue_is_429() {
    let limits = Limits {
        max_concurrent_queries: 1,
        max_outstanding_queries: 0,
        ..Limits::default()
    };
    let (api, begun, _) = endless(limits);
    let router = api.router();
    #[expect(clippy::disallowed_methods, reason = "the test aborts it")]
    let client = tokio::spawn(async move {
        router
            .oneshot(get("/api/v1/query?query=count(%7Bn!%3D%22%22%7D)"))
            .await
    });
    soon(begun.notified()).await;
    let response = api
        .router()
        .oneshot(get("/api/v1/query?query=1"))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    client.abort();
}
