//! Queries that would take minutes over one series stop at once when nobody waits for them.

use std::time::{Duration, Instant};

use super::*;

/// One series with a sample every 10 ms from 0 to 10,000 s.
fn long() -> Arc<Api> {
    let points = (0..=1_000_000).map(|i| (i * 10, (i % 1000) as f64));
    let store = Store {
        series: vec![(labels(&[("__name__", "long")]), points.collect())],
        ..store()
    };
    let limits = Limits {
        max_samples_per_query: usize::MAX,
        experimental_promql: true,
        ..Limits::default()
    };
    api_over(Arc::new(store), limits, false)
}

/// Requests that are in the midst of the one series, of a subquery, or of the steps of a scalar.
const ENDLESS: [&str; 4] = [
    "query_range?query=quantile_over_time(0.5,long[1000s])&start=1000&end=10000&step=1",
    "query_range?query=mad_over_time(long[1000s])&start=1000&end=10000&step=1",
    "query?query=max_over_time(quantile_over_time(0.5,long[1000s])[9000s:100ms])&time=10000",
    "query_range?query=quantile_over_time(0.5,vector(time())[9000s:100ms])&start=1000&end=10000&step=1",
];

/// How long something may go on after it was to stop.
const AT_ONCE: Duration = Duration::from_millis(100);
/// How often it may take longer, as other work on the machine may hold it up.
const TRIES: usize = 50;

/// Until so many queries run; how long that took.
async fn until_running(api: &Api, count: usize) -> Duration {
    #[expect(
        clippy::disallowed_methods,
        reason = "what is measured is time as it passes"
    )]
    let begun = Instant::now();
    let waiting = async {
        while api.turns.load().0 != count {
            tokio::task::yield_now().await;
        }
    };
    soon(waiting).await;
    begun.elapsed()
}

/// The first that is at once, or else the least of all tries.
async fn best(mut once: impl AsyncFnMut() -> Duration) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..TRIES {
        best = best.min(once().await);
        if best < AT_ONCE {
            break;
        }
    }
    best
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_series_stops_when_its_client_goes_away() {
    let api = long();
    for path in ENDLESS {
        let took = best(async || {
            let router = api.router();
            let request = get(&format!("/api/v1/{path}"));
            #[expect(clippy::disallowed_methods, reason = "the test aborts it")]
            let mut client = tokio::spawn(async move { router.oneshot(request).await });
            until_running(&api, 1).await;
            let ended = tokio::time::timeout(Duration::from_millis(50), &mut client).await;
            assert!(ended.is_err(), "{path} ended by itself");
            client.abort();
            until_running(&api, 0).await
        });
        let took = took.await;
        assert!(took < AT_ONCE, "{path} went on for {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_series_stops_when_its_time_is_up() {
    let api = long();
    for path in ENDLESS {
        let took = best(async || {
            let request = get(&format!("/api/v1/{path}&timeout=50ms"));
            let (status, kind, text) = refused(&api, request).await;
            assert_eq!((status, kind.as_str()), (503, "timeout"), "{path}: {text}");
            until_running(&api, 0).await
        });
        let took = took.await;
        assert!(took < AT_ONCE, "{path} went on for {took:?}");
    }
}
