//! `tidemark bucket ls`: the blocks that the catalogs list.

use std::io::Write;

use block::catalog::{BlockEntry, Catalog};
use model::tenant::TenantId;
use serde::Serialize;

use super::table::{Table, count, per_sample, time};
use super::{Outcome, View};

/// A block, as JSON has it.
#[derive(Serialize)]
struct Row<'a> {
    tenant: &'a str,
    block: &'a str,
    min_time: i64,
    max_time: i64,
    level: u32,
    sources: &'a [String],
    series: u64,
    samples: u64,
    histograms: u64,
    bytes: u64,
    catalog_version: u64,
}

pub(super) fn run(view: &View, json: bool, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let mut catalogs = Vec::new();
    for tenant in view.tenants()? {
        let catalog = view.catalogs.current(&tenant)?;
        catalogs.push((tenant, catalog));
    }
    if json {
        let rows = catalogs.iter().flat_map(|(tenant, catalog)| {
            let blocks = catalog.blocks.iter();
            blocks.map(move |entry| as_json(tenant, catalog, entry))
        });
        serde_json::to_writer(&mut *out, &rows.collect::<Vec<_>>())?;
        writeln!(out)?;
        return Ok(Outcome::Good);
    }
    let headings = [
        "TENANT",
        "BLOCK",
        "FROM",
        "TO",
        ">LEVEL",
        ">SERIES",
        ">SAMPLES",
        ">BYTES",
        ">B/SAMPLE",
    ];
    let mut table = Table::new(&headings);
    let (mut blocks, mut bytes, mut samples, mut removed) = (0, 0, 0, 0);
    for (tenant, catalog) in &catalogs {
        for entry in &catalog.blocks {
            blocks += 1;
            bytes += size(entry);
            samples += samples_of(entry);
            table.row(as_cells(tenant, entry));
        }
        removed += catalog.removed.len() as u64;
    }
    if blocks > 0 {
        table.write(out)?;
    }
    writeln!(
        out,
        "{} blocks, {} samples, {} bytes, {} bytes a sample, in {}",
        count(blocks),
        count(samples),
        count(bytes),
        per_sample(bytes, samples),
        view.bucket.describe()
    )?;
    if removed > 0 {
        writeln!(
            out,
            "{} more blocks are removed; their files are deleted after a delay",
            count(removed)
        )?;
    }
    Ok(Outcome::Good)
}

fn as_json<'a>(tenant: &'a TenantId, catalog: &Catalog, entry: &'a BlockEntry) -> Row<'a> {
    let meta = &entry.meta;
    Row {
        tenant: tenant.as_str(),
        block: entry.id(),
        min_time: meta.min_time,
        max_time: meta.max_time,
        level: meta.level,
        sources: &meta.sources,
        series: meta.statistics.series,
        samples: meta.statistics.samples,
        histograms: meta.statistics.histograms,
        bytes: size(entry),
        catalog_version: catalog.version,
    }
}

fn as_cells(tenant: &TenantId, entry: &BlockEntry) -> Vec<String> {
    let meta = &entry.meta;
    vec![
        tenant.to_string(),
        entry.id().to_owned(),
        time(meta.min_time),
        time(meta.max_time),
        meta.level.to_string(),
        count(meta.statistics.series),
        count(samples_of(entry)),
        count(size(entry)),
        per_sample(size(entry), samples_of(entry)),
    ]
}

fn size(entry: &BlockEntry) -> u64 {
    let sizes = entry.meta.files.iter().map(|file| file.size);
    sizes.fold(0, u64::saturating_add)
}

fn samples_of(entry: &BlockEntry) -> u64 {
    let statistics = &entry.meta.statistics;
    statistics.samples.saturating_add(statistics.histograms)
}
