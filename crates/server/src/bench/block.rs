//! `tidemark bench block`: how large blocks are, column by column, and how fast they are written
//! and read, by one thread and by the clock.

use std::fs;
use std::hint::black_box;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use block::families::{Family, Fleet, FleetSeries, RANGE, STEP, TARGETS};
use block::sizes::file_bytes;
use block::{Block, BlockSpec, BlockWriter, slice_ms_for};
use model::labels::Labels;
use model::select::{LabelsNeeded, SelectRequest, SeriesSamples, Skipped};
use model::tenant::TenantId;
use tokio::time::Instant;

use super::report::Report;
use crate::args::BenchBlock;

/// A block is read until so much time has gone.
const READ_FOR: Duration = Duration::from_millis(500);
/// How often something is said while it goes on.
const SAY_EVERY: Duration = Duration::from_secs(2);
/// Series that are made before the clock is asked.
const SERIES_AT_ONCE: usize = 256;
/// The id of all blocks that are made here.
const ID: &str = "01HF7YAT00AAAAAAAAAAAAAAAA";

/// Measures, and gives the tables to print.
///
/// # Errors
/// Where a block can't be read or written, or the folder has none.
pub fn run(bench: &BenchBlock) -> anyhow::Result<String> {
    match &bench.folder {
        Some(folder) => stored(folder),
        None => synthetic(bench.seed),
    }
}

/// Measures the blocks of a folder, all together.
fn stored(folder: &Path) -> anyhow::Result<String> {
    let blocks = blocks_in(folder)?;
    let mut report = Report::new(format!("{}: {} blocks", folder.display(), blocks.len()));
    let mut said = Instant::now();
    for (number, path) in blocks.iter().enumerate() {
        if said.elapsed() >= SAY_EVERY {
            said = Instant::now();
            say(&format!("block {} of {}", number + 1, blocks.len()));
        }
        measure(path, &mut report)?;
    }
    Ok(report.text())
}

/// The folder itself, if it is a block, or the blocks directly in it.
fn blocks_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let is_block = |path: &Path| path.join("meta.json").is_file();
    if is_block(folder) {
        return Ok(vec![folder.to_owned()]);
    }
    let mut blocks = Vec::new();
    let reading = || format!("can't read {}", folder.display());
    for entry in fs::read_dir(folder).with_context(reading)? {
        let path = entry.with_context(reading)?.path();
        if is_block(&path) {
            blocks.push(path);
        }
    }
    blocks.sort();
    if blocks.is_empty() {
        anyhow::bail!(
            "{} is no block and has none: a block is a folder with a meta.json",
            folder.display()
        );
    }
    Ok(blocks)
}

/// Writes blocks of synthetic series, and measures each.
fn synthetic(seed: u64) -> anyhow::Result<String> {
    let folder = tempfile::tempdir().context("can't make a temporary folder")?;
    say(&format!(
        "making series of {TARGETS} targets from the seed {seed}"
    ));
    let mut fleet = Fleet::of(seed);
    let mut text = format!("seed {seed}: 24 h at 15 s of {TARGETS} targets, ±20 ms of jitter\n");
    let families = [
        ("all families of floats", None),
        ("constants", Some(Family::Constants)),
        ("buckets of classic histograms", Some(Family::Buckets)),
        ("counters", Some(Family::Counters)),
        ("gauges", Some(Family::Gauges)),
    ];
    for (name, family) in families {
        let wanted = |series: &&FleetSeries| family.is_none_or(|family| series.family == family);
        let series = fleet.series.iter().filter(wanted).map(|series| {
            let samples = SeriesSamples {
                ts: fleet.timelines[series.target].clone(),
                values: series.values.clone(),
                ..SeriesSamples::default()
            };
            (series.labels.clone(), samples)
        });
        text += &made(name, folder.path(), series)?;
    }
    let native = (0..TARGETS).map(|target| {
        let labels = [
            ("__name__", "latency"),
            ("instance", &format!("{target:02}")),
        ];
        let samples = SeriesSamples {
            histograms: fleet.native(target),
            ..SeriesSamples::default()
        };
        (Labels::from_pairs(labels), samples)
    });
    text += &made("native histograms of 24 buckets", folder.path(), native)?;
    Ok(text)
}

/// Writes a block, measures it, and removes it.
fn made(
    name: &str,
    folder: &Path,
    series: impl Iterator<Item = (Labels, SeriesSamples)>,
) -> anyhow::Result<String> {
    say(&format!("writing and reading {name}"));
    let path = folder.join(ID);
    let mut report = Report::new(name.to_owned());
    report.written_in(write(&path, series)?);
    measure(&path, &mut report)?;
    fs::remove_dir_all(&path).context("can't remove the block that was made")?;
    Ok(format!("\n{}", report.text()))
}

/// Writes a block; how long that took, without the making of its series.
fn write(
    folder: &Path,
    mut series: impl Iterator<Item = (Labels, SeriesSamples)>,
) -> anyhow::Result<Duration> {
    let spec = BlockSpec {
        id: ID.to_owned(),
        tenant: TenantId::anonymous(),
        range: RANGE,
        slice_ms: slice_ms_for(RANGE, STEP),
        level: 0,
        sources: Vec::new(),
    };
    let mut writer = BlockWriter::create(folder, spec)?;
    let mut busy = Duration::ZERO;
    loop {
        let part: Vec<_> = series.by_ref().take(SERIES_AT_ONCE).collect();
        if part.is_empty() {
            break;
        }
        let before = Instant::now();
        for (labels, samples) in &part {
            writer.push(labels, samples)?;
        }
        busy += before.elapsed();
    }
    let before = Instant::now();
    writer.finish()?;
    Ok(busy + before.elapsed())
}

/// Adds a block to a report: checks all of it, looks where its bytes lie, and reads it all.
fn measure(folder: &Path, report: &mut Report) -> anyhow::Result<()> {
    let block = Arc::new(Block::open(folder)?);
    block.verify()?;
    report.sizes(&block.meta().statistics, &file_bytes(folder, &block)?);
    let request = SelectRequest {
        matchers: Vec::new(),
        range: block.meta().range(),
        labels: LabelsNeeded::All,
        max_series: 0,
        max_bytes: 0,
        skipped: Skipped::default(),
    };
    let began = Instant::now();
    let mut samples = SeriesSamples::default();
    while began.elapsed() < READ_FOR {
        let mut count = 0;
        let before = Instant::now();
        let mut set = block.select(&request)?;
        while let Some(labels) = set.next(&mut samples)? {
            count += samples.ts.len() + samples.histograms.len();
            black_box((&labels, &samples));
        }
        report.read_in(count as u64, before.elapsed());
    }
    Ok(())
}

/// Tells how far it is. Where nobody reads that, nothing is lost.
fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_blocks_is_measured_together() {
        let folder = tempfile::tempdir().unwrap();
        let bench = BenchBlock {
            folder: Some(folder.path().to_owned()),
            seed: 0,
        };
        let error = run(&bench).unwrap_err();
        assert!(error.to_string().contains("is no block"), "{error}");
        let ts: Vec<i64> = (0..100).map(|i| RANGE.start + i * STEP).collect();
        for name in ["a", "b"] {
            let samples = SeriesSamples {
                values: ts.iter().map(|t| *t as f64).collect(),
                ts: ts.clone(),
                ..SeriesSamples::default()
            };
            let series = (Labels::from_pairs([("__name__", "up")]), samples);
            write(&folder.path().join(name), std::iter::once(series)).unwrap();
        }
        let text = run(&bench).unwrap();
        assert!(text.contains("2 blocks"), "{text}");
        assert!(text.contains("2 series, 200 samples"), "{text}");
        assert!(text.contains("timelines-raw.parquet"), "{text}");
    }
}
