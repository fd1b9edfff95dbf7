//! The ingester's part of `/metrics`.

use std::fmt::{Display, Write};
use std::sync::atomic::Ordering;

use tsdb::head::TenantHead;
use tsdb::store::Store;

use crate::ship::Shipper;

/// Tenants shown by name; the rest is summed under the empty name, to bound the page.
const SHOWN_TENANTS: usize = 200;

/// Name, type, help, and how a head gives the value.
type TenantMetric = (
    &'static str,
    &'static str,
    &'static str,
    fn(&TenantHead) -> u64,
);

/// How shipping goes.
pub(crate) fn render_shipping(shipper: &Shipper, out: &mut String) {
    let counters = &shipper.counters;
    let totals = [
        (
            "shipped_blocks_total",
            "Blocks committed.",
            &counters.blocks,
        ),
        (
            "shipped_samples_total",
            "Samples of blocks committed.",
            &counters.samples,
        ),
        (
            "shipped_bytes_total",
            "Bytes of blocks uploaded.",
            &counters.bytes,
        ),
        (
            "ship_failures_total",
            "Passes of shipping that failed for a tenant.",
            &counters.failures,
        ),
        (
            "unreadable_chunks_total",
            "Chunks that could not be read and stay in the head, by attempt to ship them.",
            &counters.unreadable_chunks,
        ),
        (
            "damaged_local_blocks_total",
            "Blocks on this disk that were set aside because they can't be read.",
            &counters.damaged_blocks,
        ),
    ];
    for (name, help, count) in totals {
        header(out, name, "counter", help);
        line(out, name, count.load(Ordering::Relaxed));
    }
    let (blocks, waiting) = shipper.local.counts();
    let name = "local_blocks";
    header(out, name, "gauge", "Blocks on this disk.");
    line(out, name, blocks as u64);
    let name = "unshipped_blocks";
    header(
        out,
        name,
        "gauge",
        "Blocks on this disk that the catalog has not yet.",
    );
    line(out, name, waiting as u64);
    let name = "last_shipped_timestamp_seconds";
    header(
        out,
        name,
        "gauge",
        "When a block was committed last; 0: not since the start.",
    );
    let last_ms = counters.last_ms.load(Ordering::Relaxed);
    line(out, name, u64::try_from(last_ms / 1000).unwrap_or_default());
}

pub(crate) fn render(store: &Store, out: &mut String) {
    let mut heads = store.heads();
    // Counts change while we sort: each is read once.
    heads.sort_by_cached_key(|head| std::cmp::Reverse(head.series_count()));
    let per_tenant: [TenantMetric; 5] = [
        ("memory_series", "gauge", "Series in memory.", |head| {
            head.series_count() as u64
        }),
        (
            "appended_samples_total",
            "counter",
            "Samples and histograms appended.",
            |head| head.counters().appended.load(Ordering::Relaxed),
        ),
        (
            "rejected_samples_total",
            "counter",
            "Samples and histograms refused.",
            |head| head.counters().rejected.load(Ordering::Relaxed),
        ),
        ("created_series_total", "counter", "Series made.", |head| {
            head.counters().series_created.load(Ordering::Relaxed)
        }),
        (
            "removed_series_total",
            "counter",
            "Series that left memory.",
            |head| head.counters().series_removed.load(Ordering::Relaxed),
        ),
    ];
    for (name, kind, help, value) in per_tenant {
        header(out, name, kind, help);
        for head in heads.iter().take(SHOWN_TENANTS) {
            line(
                out,
                &format!("{name}{{tenant=\"{}\"}}", head.tenant()),
                value(head),
            );
        }
        if let Some(rest) = heads.get(SHOWN_TENANTS..) {
            let sum: u64 = rest.iter().map(|head| value(head)).sum();
            line(out, &format!("{name}{{tenant=\"\"}}"), sum);
        }
    }
    let wal = store.wal().stats();
    let (files, buffered) = store.chunk_file_stats();
    let process: [(&str, &str, &str, u64); 10] = [
        (
            "tenants",
            "gauge",
            "Tenants with a head.",
            heads.len() as u64,
        ),
        (
            "wal_records_total",
            "counter",
            "Records committed to the log.",
            wal.records,
        ),
        (
            "wal_payload_bytes_total",
            "counter",
            "Bytes of records before compression.",
            wal.payload_bytes,
        ),
        (
            "wal_written_bytes_total",
            "counter",
            "Bytes written to the log.",
            wal.written_bytes,
        ),
        ("wal_syncs_total", "counter", "Syncs of the log.", wal.syncs),
        (
            "wal_disk_full_total",
            "counter",
            "Batches refused for want of disk space.",
            wal.disk_full,
        ),
        (
            "wal_pending_bytes",
            "gauge",
            "Bytes that wait for the disk.",
            wal.pending_bytes,
        ),
        (
            "wal_segment",
            "gauge",
            "Number of the log's current segment.",
            u64::from(wal.segment),
        ),
        (
            "chunk_files",
            "gauge",
            "Files of closed chunks.",
            files as u64,
        ),
        (
            "chunk_buffer_bytes",
            "gauge",
            "Bytes of closed chunks that wait to be written.",
            buffered as u64,
        ),
    ];
    for (name, kind, help, value) in process {
        header(out, name, kind, help);
        line(out, name, value);
    }
}

fn header(out: &mut String, name: &str, kind: &str, help: &str) {
    write_to(
        out,
        format_args!(
            "# HELP tidemark_ingester_{name} {help}\n# TYPE tidemark_ingester_{name} {kind}\n"
        ),
    );
}

fn line(out: &mut String, name: &str, value: u64) {
    write_to(out, format_args!("tidemark_ingester_{name} {value}\n"));
}

fn write_to(out: &mut String, text: impl Display) {
    write!(out, "{text}").expect("a string takes every text");
}
