//! What an append costs once a request is decoded: known series, new series, and the read back.
//!
//! `cargo bench -p tsdb --bench append`

#![expect(clippy::unwrap_used, reason = "a bench fails by a panic")]

use std::path::Path;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use model::fingerprint::Fingerprint;
use model::labels::Labels;
use model::limits::Limits;
use model::matcher::{MatchOp, Matcher};
use model::sample::Sample;
use model::select::{LabelsNeeded, SelectRequest, SeriesSamples, Skipped};
use model::tenant::TenantId;
use model::time::{ManualClock, TimeRange};
use model::write::{SeriesRow, WriteBatch};
use tsdb::disk::RealDisk;
use tsdb::store::{OpenDeps, OpenProgress, Store, StoreConfig};
use tsdb::wal::{FsyncPolicy, WalConfig};

const NOW: i64 = 1_700_000_000_000;
const ROWS: usize = 2000;
const SERIES: usize = 100_000;

fn open(dir: &Path) -> Store {
    let mut wal = WalConfig::new(dir.join("wal"));
    wal.fsync = FsyncPolicy::Always;
    let limits = Arc::new(Limits::default());
    let deps = OpenDeps {
        disk: Arc::new(RealDisk::default()),
        clock: Arc::new(ManualClock::new(NOW)),
        limits: Arc::new(move |_: &TenantId| Arc::clone(&limits)),
        instance: 1,
    };
    let config = StoreConfig {
        dir: dir.to_owned(),
        wal,
        block_range_ms: 7_200_000,
    };
    Store::open(config, deps, &OpenProgress::default())
        .unwrap()
        .0
}

/// Ten labels, about 220 bytes, as scraped targets have them.
fn labels(i: usize, generation: usize) -> Labels {
    let (target, metric) = (i / 500, i % 500);
    Labels::from_pairs([
        (
            "__name__",
            format!("http_request_duration_seconds_bucket_{}", metric / 12),
        ),
        ("cluster", "production-eu-west-1".to_owned()),
        ("namespace", format!("namespace-{}", target % 17)),
        ("job", format!("application-{}", target % 40)),
        (
            "instance",
            format!("10.12.{}.{}:9090", target / 250, target % 250),
        ),
        (
            "pod",
            format!(
                "application-{}-7f9c4d8b6-{target:05}-{generation}",
                target % 40
            ),
        ),
        ("container", "application".to_owned()),
        ("method", ["GET", "POST", "PUT"][metric % 3].to_owned()),
        ("path", format!("/api/v1/resource/{}", metric % 4)),
        ("le", format!("{}", (metric % 12) as f64 * 0.5)),
    ])
}

/// Requests of one scrape of all series; 44 % counters of buckets, more than half unchanged.
fn requests(generation: usize) -> Vec<WriteBatch<Labels>> {
    let all: Vec<usize> = (0..SERIES).collect();
    let batch = |rows: &[usize]| {
        let mut batch = WriteBatch::default();
        for (end, i) in (1..).zip(rows) {
            let labels = labels(*i, generation);
            batch.samples.push(Sample::default());
            batch.series.push(SeriesRow {
                fingerprint: Fingerprint::of(&labels),
                labels,
                samples_end: end,
                histograms_end: 0,
                exemplars_end: 0,
            });
        }
        batch
    };
    all.chunks(ROWS).map(batch).collect()
}

fn set_round(batch: &mut WriteBatch<Labels>, round: i64) {
    for (i, sample) in batch.samples.iter_mut().enumerate() {
        sample.t = NOW - 6 * 3_600_000 + round * 15_000;
        sample.v = match i % 9 {
            0..5 => (i % 100) as f64,
            5..8 => (round * (i as i64 % 50)) as f64,
            _ => round as f64 * 0.731 + i as f64,
        };
    }
}

fn append(c: &mut Criterion) {
    let tenant = TenantId::anonymous();
    let limits = Limits::default();
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut group = c.benchmark_group("append");
    group.throughput(Throughput::Elements(ROWS as u64));

    let mut known = requests(0);
    let (mut round, mut at) = (0, 0);
    group.bench_function("known series", |b| {
        b.iter(|| {
            set_round(&mut known[at], round);
            let outcome = store.append(&tenant, &limits, &known[at]).unwrap();
            assert_eq!(outcome.samples, ROWS);
            at += 1;
            if at == known.len() {
                (at, round) = (0, round + 1);
            }
        });
    });

    let mut generation = 0;
    let mut fresh = Vec::new();
    group.bench_function("new series", |b| {
        let next = || {
            if fresh.is_empty() {
                generation += 1;
                fresh = requests(generation);
            }
            let mut batch = fresh.pop().unwrap();
            set_round(&mut batch, round);
            batch
        };
        let write = |batch| store.append(&tenant, &limits, &batch).unwrap();
        b.iter_batched(next, write, BatchSize::LargeInput);
    });
    group.finish();

    let head = store.head(&tenant).unwrap();
    let request = SelectRequest {
        matchers: vec![Matcher::new("job", MatchOp::Equal, "application-1").unwrap()],
        range: TimeRange::all(),
        labels: LabelsNeeded::All,
        max_series: 0,
        max_bytes: 0,
        skipped: Skipped::default(),
    };
    c.bench_function("select one job", |b| {
        b.iter(|| {
            let mut set = head.select(&request).unwrap();
            let mut samples = SeriesSamples::default();
            let mut count = 0;
            while set.next(&mut samples).unwrap().is_some() {
                count += samples.ts.len();
            }
            count
        });
    });
}

criterion_group!(benches, append);
criterion_main!(benches);
