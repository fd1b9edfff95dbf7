//! What a distributor counts, in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use model::tenant::TenantId;
use parking_lot::Mutex;

use crate::Distributor;

/// Tenants that have a series of their own; what others send counts under the empty name,
/// which is no tenant's.
const MAX_TENANTS: usize = 1_000;

/// Upper bounds of the buckets of request durations, in seconds.
const DURATION_BOUNDS_S: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The counters of a distributor.
#[derive(Default)]
pub struct Metrics {
    received: DashMap<TenantId, u64>,
    received_other: AtomicU64,
    by_code: Mutex<BTreeMap<u16, u64>>,
    /// By error id, of which there are as many as docs/errors.md explains.
    rejected: Mutex<BTreeMap<&'static str, u64>>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
    durations: [AtomicU64; DURATION_BOUNDS_S.len() + 1],
    duration_sum_us: AtomicU64,
}

impl Metrics {
    pub(crate) fn received(&self, tenant: &TenantId, samples: usize) {
        let samples = samples as u64;
        if let Some(mut count) = self.received.get_mut(tenant) {
            *count += samples;
        } else if self.received.len() < MAX_TENANTS {
            *self.received.entry(tenant.clone()).or_default() += samples;
        } else {
            self.received_other.fetch_add(samples, Ordering::Relaxed);
        }
    }

    pub(crate) fn rejected(&self, by_id: &[(&'static str, usize)]) {
        if by_id.is_empty() {
            return;
        }
        let mut rejected = self.rejected.lock();
        for (id, count) in by_id {
            *rejected.entry(id).or_default() += *count as u64;
        }
    }

    pub(crate) fn refused(&self, id: &'static str) {
        *self.refused.lock().entry(id).or_default() += 1;
    }

    pub(crate) fn answered(&self, code: u16, duration: Duration) {
        *self.by_code.lock().entry(code).or_default() += 1;
        let seconds = duration.as_secs_f64();
        let bucket = DURATION_BOUNDS_S.partition_point(|bound| *bound < seconds);
        self.durations[bucket].fetch_add(1, Ordering::Relaxed);
        let micros = duration.as_micros() as u64;
        self.duration_sum_us.fetch_add(micros, Ordering::Relaxed);
    }

    /// Appends all series.
    fn render(&self, out: &mut String) {
        head(
            out,
            "received_samples_total",
            "counter",
            "Samples and histograms received, by tenant.",
        );
        for entry in &self.received {
            line(
                out,
                "received_samples_total",
                &[("tenant", entry.key().as_str())],
                *entry.value(),
            );
        }
        let other = self.received_other.load(Ordering::Relaxed);
        if other > 0 {
            line(out, "received_samples_total", &[("tenant", "")], other);
        }
        head(
            out,
            "requests_total",
            "counter",
            "Write requests, by status of the answer.",
        );
        for (code, count) in self.by_code.lock().iter() {
            line(
                out,
                "requests_total",
                &[("code", &code.to_string())],
                *count,
            );
        }
        let what = "Samples, histograms, exemplars and metadata refused, by error id.";
        head(out, "rejected_samples_total", "counter", what);
        for (id, count) in self.rejected.lock().iter() {
            line(out, "rejected_samples_total", &[("reason", id)], *count);
        }
        let what = "Requests refused as a whole, by error id.";
        head(out, "refused_requests_total", "counter", what);
        for (id, count) in self.refused.lock().iter() {
            line(out, "refused_requests_total", &[("reason", id)], *count);
        }
        self.render_durations(out);
    }

    fn render_durations(&self, out: &mut String) {
        let what = "How long write requests took.";
        head(out, "request_duration_seconds", "histogram", what);
        let mut sum = 0;
        for (i, count) in self.durations.iter().enumerate() {
            sum += count.load(Ordering::Relaxed);
            let bound = DURATION_BOUNDS_S.get(i).map(f64::to_string);
            let le = bound.as_deref().unwrap_or("+Inf");
            line(out, "request_duration_seconds_bucket", &[("le", le)], sum);
        }
        let seconds = self.duration_sum_us.load(Ordering::Relaxed) as f64 / 1e6;
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "tidemark_distributor_request_duration_seconds_sum {seconds}"
        );
        line(out, "request_duration_seconds_count", &[], sum);
    }
}

impl Distributor {
    /// Appends what the distributor counts, in the text format of Prometheus.
    pub fn render_metrics(&self, out: &mut String) {
        self.metrics.render(out);
        head(
            out,
            "inflight_requests",
            "gauge",
            "Write requests under way.",
        );
        line(
            out,
            "inflight_requests",
            &[],
            self.inflight.requests() as u64,
        );
        head(
            out,
            "inflight_bytes",
            "gauge",
            "Bytes that write requests under way hold.",
        );
        line(out, "inflight_bytes", &[], self.inflight.bytes() as u64);
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP tidemark_distributor_{name} {help}");
    let _ = writeln!(out, "# TYPE tidemark_distributor_{name} {kind}");
}

fn line(out: &mut String, name: &str, labels: &[(&str, &str)], value: u64) {
    let _ = write!(out, "tidemark_distributor_{name}");
    for (i, (label, text)) in labels.iter().enumerate() {
        let open = if i == 0 { '{' } else { ',' };
        let _ = write!(out, "{open}{label}=\"{text}\"");
    }
    let close = if labels.is_empty() { "" } else { "}" };
    let _ = writeln!(out, "{close} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_tenants_beyond_the_most_under_a_name_that_none_has() {
        let metrics = Metrics::default();
        for n in 0..MAX_TENANTS + 2 {
            let name = if n == 0 {
                "other".to_owned()
            } else {
                format!("t{n}")
            };
            metrics.received(&TenantId::new(&name).unwrap(), 3);
        }
        let mut out = String::new();
        metrics.render(&mut out);
        let name = "tidemark_distributor_received_samples_total";
        for line in ["{tenant=\"other\"} 3\n", "{tenant=\"\"} 6\n"] {
            assert!(out.contains(&format!("{name}{line}")), "{out}");
        }
    }
}
