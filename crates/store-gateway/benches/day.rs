//! A day of two-hour blocks in a local folder, read through the gateway: cold (nothing is in
//! memory) and warm. Time is that of one thread by the clock.
//!
//!     cargo bench -p store-gateway --bench day

#![expect(clippy::unwrap_used, reason = "a panic is how a benchmark fails")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use block::bucket::{Bucket, BucketConfig};
use block::catalog::{BlockEntry, Catalogs, Change, LocalPointers, block_key};
use block::families::{Fleet, HOUR, RANGE, SEED};
use block::{BlockSpec, BlockWriter, DecodedPages, ulid};
use model::matcher::{MatchOp, Matcher};
use model::select::{LabelsNeeded, SelectRequest, SeriesSamples, Skipped};
use model::tenant::TenantId;
use model::time::{Clock, ManualClock, TimeRange};
use store_gateway::{Config, Deps, StoreGateway};
use tokio::time::Instant;
use wire::service::BlockReadService;

/// How often each read is measured; the least counts.
const RUNS: usize = 7;

#[expect(clippy::print_stdout, reason = "a table for people")]
fn main() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::open(&BucketConfig::folder(&folder.path().join("bucket"))).unwrap();
    let pointers = LocalPointers::open(&folder.path().join("catalog")).unwrap();
    let clock = Arc::new(ManualClock::new(1)) as Arc<dyn Clock>;
    let random = AtomicU64::new(0);
    let random = move || random.fetch_add(1, Ordering::Relaxed);
    let catalogs = Catalogs::new(bucket, Arc::new(pointers), clock, Arc::new(random));
    let catalogs = Arc::new(catalogs);
    let tenant = TenantId::new("bench").unwrap();
    let metric = write(&catalogs, &tenant, folder.path());
    let hour = TimeRange {
        start: RANGE.start + 13 * HOUR,
        end: RANGE.start + 14 * HOUR,
    };
    println!("| read | series | samples | cold ms | requests | bytes | warm ms |");
    println!("|-|-|-|-|-|-|-|");
    for (what, name, range) in [
        ("one metric, one hour", Some(&metric), hour),
        ("one metric, the day", Some(&metric), RANGE),
        ("all series, one hour", None, hour),
        ("all series, the day", None, RANGE),
    ] {
        let (blocks, request) = request(&catalogs, &tenant, name, range);
        let read = |gateway: &StoreGateway| {
            let began = Instant::now();
            let found = read(gateway, &tenant, &blocks, &request);
            (began.elapsed().as_secs_f64() * 1e3, found)
        };
        let (mut cold, mut warm, mut row) = (f64::MAX, f64::MAX, String::new());
        for _ in 0..RUNS {
            let gateway = start(&catalogs);
            let before = counted(&catalogs);
            let (took, (series, samples)) = read(&gateway);
            let after = counted(&catalogs);
            cold = cold.min(took);
            let (requests, bytes) = (after.0 - before.0, after.1 - before.1);
            row = format!("{what} | {series} | {samples} | {cold:.1} | {requests} | {bytes}");
            warm = warm.min(read(&gateway).0);
        }
        println!("| {row} | {warm:.1} |");
    }
}

fn start(catalogs: &Arc<Catalogs>) -> Arc<StoreGateway> {
    let deps = Deps {
        catalogs: Arc::clone(catalogs),
        decoded: Arc::new(DecodedPages::new(128 << 20)),
        clock: Arc::new(ManualClock::new(1)),
    };
    store_gateway::start(&Config::default(), deps).unwrap()
}

/// Requests made so far, and bytes received.
fn counted(catalogs: &Catalogs) -> (u64, u64) {
    let mut text = String::new();
    catalogs.bucket().render_metrics(&mut text);
    let line = "tidemark_bucket_received_bytes_total ";
    let bytes = text
        .lines()
        .find_map(|one| one.strip_prefix(line)?.parse().ok());
    (catalogs.bucket().requests(), bytes.unwrap_or_default())
}

fn request(
    catalogs: &Catalogs,
    tenant: &TenantId,
    name: Option<&String>,
    range: TimeRange,
) -> (Vec<String>, SelectRequest) {
    let catalog = catalogs.current(tenant).unwrap();
    let blocks = catalog.blocks.iter().filter(|block| block.overlaps(range));
    let is = |name: &String| Matcher::new("__name__", MatchOp::Equal, name).unwrap();
    let request = SelectRequest {
        matchers: name.map(is).into_iter().collect(),
        range,
        labels: LabelsNeeded::All,
        max_series: 0,
        skipped: Skipped::default(),
    };
    (blocks.map(|block| block.id().to_owned()).collect(), request)
}

fn read(
    gateway: &StoreGateway,
    tenant: &TenantId,
    blocks: &[String],
    request: &SelectRequest,
) -> (usize, usize) {
    let mut set = gateway.select(tenant, blocks, request).unwrap();
    let mut samples = SeriesSamples::default();
    let (mut series, mut count) = (0, 0);
    while set.next(&mut samples).unwrap().is_some() {
        series += 1;
        count += samples.ts.len();
    }
    (series, count)
}

/// Writes and commits a day; says a metric it has.
#[expect(clippy::print_stdout, reason = "a table for people")]
fn write(catalogs: &Catalogs, tenant: &TenantId, folder: &Path) -> String {
    let fleet = Fleet::of(SEED);
    let mut bytes = 0;
    for number in 0..12 {
        let start = RANGE.start + number * 2 * HOUR;
        let range = TimeRange {
            start,
            end: start + 2 * HOUR,
        };
        let id = ulid::new(number + 1, number as u128);
        let place = folder.join(&id);
        let spec = BlockSpec {
            id: id.clone(),
            tenant: tenant.clone(),
            range,
            slice_ms: 2 * HOUR,
            level: 0,
            sources: Vec::new(),
        };
        let mut writer = BlockWriter::create(&place, spec).unwrap();
        for series in &fleet.series {
            let ts = &fleet.timelines[series.target];
            let from = ts.partition_point(|t| *t < range.start);
            let to = ts.partition_point(|t| *t < range.end);
            let samples = SeriesSamples {
                ts: ts[from..to].to_vec(),
                values: series.values[from..to].to_vec(),
                ..SeriesSamples::default()
            };
            writer.push(&series.labels, &samples).unwrap();
        }
        let meta = writer.finish().unwrap();
        for file in &meta.files {
            let key = block_key(tenant.as_str(), &id, &file.name);
            bytes += catalogs
                .bucket()
                .put_file(&key, &place.join(&file.name))
                .unwrap();
        }
        let change = Change {
            add: vec![BlockEntry {
                meta,
                metric_names: None,
            }],
            ..Change::default()
        };
        catalogs.commit(tenant, &change).unwrap();
    }
    let count = fleet.series.len();
    println!("12 blocks of {count} series, {:.1} MB", bytes as f64 / 1e6);
    let middle = &fleet.series[count / 2].labels;
    middle.metric_name().unwrap_or_default().to_owned()
}
