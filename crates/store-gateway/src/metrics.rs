//! The store-gateway's part of `/metrics`.

use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;

use crate::open::OpenBlocks;

pub(crate) fn render(open: &OpenBlocks, out: &mut String) {
    let pages = &open.pages;
    let (blocks, bytes) = open.size();
    let families = [
        (
            "page_cache_hits_total",
            "counter",
            "Pages found in the cache.",
            pages.hits.load(Relaxed),
        ),
        (
            "page_cache_misses_total",
            "counter",
            "Pages fetched.",
            pages.misses.load(Relaxed),
        ),
        (
            "page_cache_bytes",
            "gauge",
            "Pages in memory.",
            pages.memory_bytes(),
        ),
        (
            "decoded_pages_bytes",
            "gauge",
            "Decompressed pages in memory, of local blocks too.",
            pages.decoded.bytes(),
        ),
        (
            "open_blocks",
            "gauge",
            "Blocks whose indexes are in memory.",
            blocks as u64,
        ),
        (
            "open_blocks_bytes",
            "gauge",
            "What these indexes take, about.",
            bytes,
        ),
        (
            "quarantined_blocks",
            "gauge",
            "Damaged blocks in the bucket that are not read for a while.",
            open.quarantined() as u64,
        ),
    ];
    for (name, kind, help, value) in families {
        let name = format!("tidemark_store_gateway_{name}");
        let _ = writeln!(
            out,
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}"
        );
    }
}
