//! What the read path counts about itself.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the duration buckets, in seconds.
const BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0];

/// The endpoints that are counted apart.
pub const ENDPOINTS: [&str; 8] = [
    "query",
    "query_range",
    "series",
    "labels",
    "label_values",
    "metadata",
    "query_exemplars",
    "other",
];

/// How requests end, as counted.
const CODES: [u16; 11] = [200, 400, 401, 404, 408, 413, 422, 429, 499, 500, 503];

/// Counters of the read path.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: [[AtomicU64; CODES.len()]; ENDPOINTS.len()],
    buckets: [[AtomicU64; BUCKETS.len()]; ENDPOINTS.len()],
    count: [AtomicU64; ENDPOINTS.len()],
    sum_us: [AtomicU64; ENDPOINTS.len()],
    wait_us: AtomicU64,
    samples: AtomicU64,
    slow: AtomicU64,
    response_bytes: AtomicU64,
}

fn place<T: PartialEq + Copy>(all: &[T], one: T) -> usize {
    all.iter()
        .position(|known| *known == one)
        .unwrap_or(all.len() - 1)
}

impl Metrics {
    /// A request that was answered with `status`, or given up by its client (499).
    pub fn answered(&self, endpoint: &str, status: u16, took: Duration) {
        let at = ENDPOINTS
            .iter()
            .position(|known| *known == endpoint)
            .unwrap_or(ENDPOINTS.len() - 1);
        self.requests[at][place(&CODES, status)].fetch_add(1, Ordering::Relaxed);
        self.count[at].fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum_us[at].fetch_add(us, Ordering::Relaxed);
        if let Some(bucket) = BUCKETS
            .iter()
            .position(|bound| took.as_secs_f64() <= *bound)
        {
            self.buckets[at][bucket].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How long a query waited for its turn.
    pub fn waited(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.wait_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Samples that queries looked at.
    pub fn loaded(&self, samples: u64) {
        self.samples.fetch_add(samples, Ordering::Relaxed);
    }

    /// A query that was slow enough for the log.
    pub fn slow(&self) {
        self.slow.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes of an answer, compressed if they were.
    pub fn sent(&self, bytes: usize) {
        self.response_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Writes all in the text format of Prometheus. `load` is how many queries run and wait.
    pub fn render(&self, load: (usize, usize), out: &mut String) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        header(
            out,
            "requests_total",
            "counter",
            "Requests answered, by endpoint and status code.",
        );
        for (at, endpoint) in ENDPOINTS.iter().enumerate() {
            for (code, counter) in CODES.iter().zip(&self.requests[at]) {
                if read(counter) > 0 {
                    let labels = format!("endpoint=\"{endpoint}\",code=\"{code}\"");
                    line(out, "requests_total", &labels, read(counter));
                }
            }
        }
        header(
            out,
            "request_duration_seconds",
            "histogram",
            "Time to answer, waiting included.",
        );
        for (at, endpoint) in ENDPOINTS
            .iter()
            .enumerate()
            .filter(|(at, _)| read(&self.count[*at]) > 0)
        {
            let mut below = 0;
            for (bound, counter) in BUCKETS.iter().zip(&self.buckets[at]) {
                below += read(counter);
                let labels = format!("endpoint=\"{endpoint}\",le=\"{bound}\"");
                line(out, "request_duration_seconds_bucket", &labels, below);
            }
            let count = read(&self.count[at]);
            let labels = format!("endpoint=\"{endpoint}\"");
            line(
                out,
                "request_duration_seconds_bucket",
                &format!("{labels},le=\"+Inf\""),
                count,
            );
            line(
                out,
                "request_duration_seconds_sum",
                &labels,
                read(&self.sum_us[at]) as f64 / 1e6,
            );
            line(out, "request_duration_seconds_count", &labels, count);
        }
        let plain = [
            (
                "queue_wait_seconds_total",
                "counter",
                "Time queries waited for their turn.",
                read(&self.wait_us) as f64 / 1e6,
            ),
            (
                "samples_loaded_total",
                "counter",
                "Samples that queries looked at.",
                read(&self.samples) as f64,
            ),
            (
                "slow_queries_total",
                "counter",
                "Queries that took longer than query.log_slower_than.",
                read(&self.slow) as f64,
            ),
            (
                "response_bytes_total",
                "counter",
                "Bytes of answers, as sent.",
                read(&self.response_bytes) as f64,
            ),
            (
                "queries_running",
                "gauge",
                "Queries that run now.",
                load.0 as f64,
            ),
            (
                "queries_waiting",
                "gauge",
                "Queries that wait for their turn now.",
                load.1 as f64,
            ),
        ];
        for (name, kind, help, value) in plain {
            header(out, name, kind, help);
            line(out, name, "", value);
        }
    }
}

// Writing into a string can't fail.
fn header(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(
        out,
        "# HELP tidemark_query_{name} {help}\n# TYPE tidemark_query_{name} {kind}"
    );
}

fn line(out: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    let _ = if labels.is_empty() {
        writeln!(out, "tidemark_query_{name} {value}")
    } else {
        writeln!(out, "tidemark_query_{name}{{{labels}}} {value}")
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_what_was_counted() {
        let metrics = Metrics::default();
        metrics.answered("query", 200, Duration::from_millis(30));
        metrics.answered("nowhere", 418, Duration::from_secs(500));
        let mut out = String::new();
        metrics.render((1, 2), &mut out);
        for expected in [
            "tidemark_query_requests_total{endpoint=\"query\",code=\"200\"} 1\n",
            "tidemark_query_requests_total{endpoint=\"other\",code=\"503\"} 1\n",
            "tidemark_query_request_duration_seconds_bucket{endpoint=\"query\",le=\"0.025\"} 0\n",
            "tidemark_query_request_duration_seconds_bucket{endpoint=\"query\",le=\"0.05\"} 1\n",
            "tidemark_query_request_duration_seconds_bucket{endpoint=\"other\",le=\"+Inf\"} 1\n",
            "tidemark_query_queries_waiting 2\n",
        ] {
            assert!(out.contains(expected), "{expected} in\n{out}");
        }
    }
}
