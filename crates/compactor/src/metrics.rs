//! The compactor's part of `/metrics`.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use model::time::TimestampMs;

use crate::clean::Left;

/// What was done so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    done: AtomicU64,
    failed: AtomicU64,
    skipped: AtomicU64,
    last_ms: AtomicI64,
    pending: AtomicU64,
    expired: AtomicU64,
    deleted: AtomicU64,
    deleted_orphans: AtomicU64,
    kept_orphans: AtomicU64,
    deleted_versions: AtomicU64,
}

impl Counters {
    /// A pass went through all tenants.
    pub(crate) fn done(&self, now: TimestampMs, left: Left) {
        self.done.fetch_add(1, Relaxed);
        self.last_ms.store(now, Relaxed);
        self.pending.store(left.removed as u64, Relaxed);
        self.kept_orphans.store(left.kept as u64, Relaxed);
    }

    /// A pass did not, or not for all of them.
    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    /// A pass did nothing, for the clock is not to be trusted.
    pub(crate) fn skipped(&self) {
        self.skipped.fetch_add(1, Relaxed);
    }

    pub(crate) fn expired(&self, blocks: usize) {
        self.expired.fetch_add(blocks as u64, Relaxed);
    }

    pub(crate) fn deleted(&self) {
        self.deleted.fetch_add(1, Relaxed);
    }

    pub(crate) fn deleted_orphan(&self) {
        self.deleted_orphans.fetch_add(1, Relaxed);
    }

    pub(crate) fn deleted_version(&self) {
        self.deleted_versions.fetch_add(1, Relaxed);
    }

    pub(crate) fn render(&self, out: &mut String) {
        let passes = [
            ("done", &self.done),
            ("failed", &self.failed),
            ("skipped", &self.skipped),
        ];
        let name = "tidemark_compactor_passes_total";
        let _ = writeln!(
            out,
            "# HELP {name} Passes over the bucket, by how they ended.\n# TYPE {name} counter"
        );
        for (result, count) in passes {
            let _ = writeln!(out, "{name}{{result=\"{result}\"}} {}", count.load(Relaxed));
        }
        let seconds = self.last_ms.load(Relaxed) as f64 / 1000.0;
        let name = "tidemark_compactor_last_pass_timestamp_seconds";
        let _ = writeln!(
            out,
            "# HELP {name} When the last whole pass began.\n# TYPE {name} gauge\n{name} {seconds}"
        );
        for (name, kind, help, value) in self.plain() {
            let name = format!("tidemark_compactor_{name}");
            let value = value.load(Relaxed);
            let _ = writeln!(
                out,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}"
            );
        }
    }

    fn plain(&self) -> [(&'static str, &'static str, &'static str, &AtomicU64); 6] {
        [
            (
                "removed_blocks",
                "gauge",
                "Blocks that were removed and whose files are still there.",
                &self.pending,
            ),
            (
                "expired_blocks_total",
                "counter",
                "Blocks removed as their retention was over.",
                &self.expired,
            ),
            (
                "deleted_blocks_total",
                "counter",
                "Removed blocks whose files were deleted.",
                &self.deleted,
            ),
            (
                "deleted_orphans_total",
                "counter",
                "Blocks in no catalog whose files were deleted.",
                &self.deleted_orphans,
            ),
            (
                "kept_orphans",
                "gauge",
                "Blocks in no catalog that are left where they are, as something could be lost.",
                &self.kept_orphans,
            ),
            (
                "deleted_catalogs_total",
                "counter",
                "Old versions of catalogs that were deleted.",
                &self.deleted_versions,
            ),
        ]
    }
}
