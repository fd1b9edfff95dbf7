//! What was asked of a bucket.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What is asked of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Write an object.
    Put,
    /// Read an object.
    Get,
    /// Read parts of an object.
    GetRanges,
    /// List objects.
    List,
    /// Delete an object.
    Delete,
}

const OPERATIONS: [Operation; 5] = [
    Operation::Put,
    Operation::Get,
    Operation::GetRanges,
    Operation::List,
    Operation::Delete,
];

impl Operation {
    /// Its name in metrics and errors.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::GetRanges => "get_range",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }
}

/// Counts by operation.
#[derive(Debug, Default)]
pub(super) struct Counters {
    requests: [AtomicU64; 5],
    failures: [AtomicU64; 5],
    micros: [AtomicU64; 5],
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
}

impl Counters {
    pub(super) fn request(&self, operation: Operation) {
        self.requests[operation as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn failed(&self, operation: Operation) {
        self.failures[operation as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn took(&self, operation: Operation, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.micros[operation as usize].fetch_add(micros, Relaxed);
    }

    pub(super) fn sent(&self, bytes: u64) {
        self.sent_bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn received(&self, bytes: u64) {
        self.received_bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.iter().map(|count| count.load(Relaxed)).sum()
    }

    pub(super) fn render(&self, out: &mut String) {
        let families: [(&str, &str, &[AtomicU64; 5]); 2] = [
            ("requests", "Requests to object storage.", &self.requests),
            (
                "failures",
                "Requests to object storage that failed.",
                &self.failures,
            ),
        ];
        for (name, help, counts) in families {
            let name = format!("tidemark_bucket_{name}_total");
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
            for operation in OPERATIONS {
                let count = counts[operation as usize].load(Relaxed);
                let _ = writeln!(out, "{name}{{operation=\"{}\"}} {count}", operation.name());
            }
        }
        let name = "tidemark_bucket_request_seconds_total";
        let help = "Time that requests to object storage took.";
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
        for operation in OPERATIONS {
            let seconds = self.micros[operation as usize].load(Relaxed) as f64 / 1e6;
            let _ = writeln!(
                out,
                "{name}{{operation=\"{}\"}} {seconds}",
                operation.name()
            );
        }
        for (name, help, count) in [
            ("sent", "Bytes written to object storage.", &self.sent_bytes),
            (
                "received",
                "Bytes read from object storage.",
                &self.received_bytes,
            ),
        ] {
            let name = format!("tidemark_bucket_{name}_bytes_total");
            let count = count.load(Relaxed);
            let _ = writeln!(
                out,
                "# HELP {name} {help}\n# TYPE {name} counter\n{name} {count}"
            );
        }
    }
}
