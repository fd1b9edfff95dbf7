//! What one tenant may do. Zero means 'no limit' wherever a number bounds a count.

use serde::{Deserialize, Serialize};

use crate::quantity::{ByteSize, DurationMs};

/// Which label names are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NameValidation {
    /// Any valid UTF-8.
    #[default]
    Utf8,
    /// `[a-zA-Z_:][a-zA-Z0-9_:]*`, as before Prometheus 3.
    Legacy,
}

/// The limits of one tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Labels a series may have.
    pub max_label_names_per_series: usize,
    /// Bytes of a label name.
    pub max_label_name_length: usize,
    /// Bytes of a label value.
    pub max_label_value_length: usize,
    /// Which names are taken: `utf8` or `legacy`.
    pub name_validation: NameValidation,
    /// How far ahead of now a sample may lie.
    pub creation_grace_period: DurationMs,
    /// How long samples are kept; 0: for ever.
    pub retention: DurationMs,
    /// How far behind the tenant's newest sample an out-of-order sample may lie; 0 takes none.
    pub out_of_order_time_window: DurationMs,
    /// Series in memory; 0: unlimited.
    pub max_series: usize,
    /// Samples a second, averaged; 0: unlimited.
    pub ingestion_rate: f64,
    /// Samples that may come at once above the rate.
    pub ingestion_burst_size: usize,
    /// Exemplars kept, the newest; 0: none are kept.
    pub max_exemplars: usize,
    /// Metrics with metadata; more are dropped silently.
    pub max_metadata: usize,
    /// Buckets of one native histogram.
    pub max_native_histogram_buckets: usize,

    /// How far an instant selector looks back.
    pub lookback_delta: DurationMs,
    /// How long a query may run.
    pub query_timeout: DurationMs,
    /// Bytes of a query's text.
    pub max_query_bytes: ByteSize,
    /// Samples one query may hold at once.
    pub max_samples_per_query: usize,
    /// Series one query may select; 0: unlimited.
    pub max_series_per_query: usize,
    /// Memory one query may hold.
    pub max_memory_per_query: ByteSize,
    /// Queries of the tenant that run at once; more wait.
    pub max_concurrent_queries: usize,
    /// Queries of the tenant that wait; more are refused with 429.
    pub max_outstanding_queries: usize,
    /// Whether a query goes on without blocks that can't be read, and says so in its warnings; else
    /// it fails.
    pub partial_answers: bool,
    /// Experimental PromQL: functions, modifiers, start timestamps in rates.
    pub experimental_promql: bool,
    /// Drop the name of a metric at the end of a query rather than where another quantity is
    /// computed.
    pub delayed_name_removal: bool,
}

impl Limits {
    /// How far behind a tenant's newest sample its samples are kept, in milliseconds: late ones
    /// are taken though retention is shorter.
    #[must_use]
    pub fn kept_ms(&self) -> i64 {
        let retention = match self.retention.0 {
            0 => i64::MAX,
            some => some,
        };
        retention.max(self.out_of_order_time_window.0)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_label_names_per_series: 30,
            max_label_name_length: 1024,
            max_label_value_length: 2048,
            name_validation: NameValidation::Utf8,
            creation_grace_period: DurationMs::minutes(10),
            retention: DurationMs(365 * 86_400_000),
            out_of_order_time_window: DurationMs::minutes(30),
            max_series: 0,
            ingestion_rate: 0.0,
            ingestion_burst_size: 200_000,
            max_exemplars: 100_000,
            max_metadata: 20_000,
            max_native_histogram_buckets: 1_000,
            lookback_delta: DurationMs::minutes(5),
            query_timeout: DurationMs::minutes(2),
            max_query_bytes: ByteSize(32 << 10),
            max_samples_per_query: 50_000_000,
            max_series_per_query: 0,
            max_memory_per_query: ByteSize(1 << 30),
            max_concurrent_queries: 20,
            partial_answers: false,
            max_outstanding_queries: 100,
            experimental_promql: false,
            delayed_name_removal: false,
        }
    }
}
