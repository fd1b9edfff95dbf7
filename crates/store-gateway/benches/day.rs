//! A day of blocks in a local folder, read through the gateway: twelve of two hours, and one of 24
//! with four times as many series. Cold: nothing is in memory. Known: another metric of that hour
//! was read before. Warm: the same was read before. Time is the processor's, of all threads, and
//! the clock's. Once more the twelve, in a bucket that takes 20 ms for a request.
//!
//!     cargo bench -p store-gateway --bench day

#![expect(clippy::unwrap_used, reason = "a panic is how a benchmark fails")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use block::bucket::{Bucket, BucketConfig};
use block::catalog::{BlockEntry, Catalogs, Change, LocalPointers, block_key};
use block::families::{Fleet, HOUR, JITTER, RANGE, SEED, STEP};
use block::{BlockSpec, BlockWriter, DecodedPages, slice_ms_for, ulid};
use mimalloc::MiMalloc;
use model::matcher::{MatchOp, Matcher};
use model::select::{LabelsNeeded, SelectRequest, SeriesSamples, Skipped};
use model::tenant::TenantId;
use model::time::{Clock, ManualClock, TimeRange};
use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use rustix::time::{ClockId, clock_gettime};
use store_gateway::{Config, Deps, StoreGateway};
use tempfile::TempDir;
use wire::service::BlockReadService;

/// That of the binary.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How often each read is measured; the least counts.
const RUNS: usize = 15;
/// Likewise where most of it is waiting.
const FAR_RUNS: usize = 3;
/// How long a request to a bucket far away takes.
const FAR: Duration = Duration::from_millis(20);
/// The metric that is read to make a block known.
const OTHER: &str = "cpu_seconds_total";

fn main() {
    let fleet = Fleet::of(SEED);
    let middle = &fleet.series[fleet.series.len() / 2].labels;
    let metric = middle.metric_name().unwrap().to_owned();
    let hour = hour_from(13 * HOUR);
    let store = Store::of(&fleet, 12);
    let reads = [
        ("one metric, one hour", Some(metric.as_str()), hour),
        ("one metric, the day", Some(metric.as_str()), RANGE),
        ("all series, one hour", None, hour),
        ("all series, the day", None, RANGE),
    ];
    store.measure(&reads, RUNS);
    drop(store);
    let far = Far::new();
    let store = Store::in_bucket(far.bucket(), &fleet, 12);
    drop(fleet);
    far.take_time();
    store.measure(&reads, FAR_RUNS);
    drop((store, far));

    let fleet = Fleet::of_targets(SEED, 64, JITTER);
    let store = Store::of(&fleet, 1);
    drop(fleet);
    // Constants, slow counters and fast counters, 128 series each; the hour lies in one slice.
    let hour = hour_from(10 * HOUR + HOUR / 2);
    let reads = [
        (
            "app_info_state_00, one hour",
            Some("app_info_state_00"),
            hour,
        ),
        (
            "requests_total_00, one hour",
            Some("requests_total_00"),
            hour,
        ),
        (
            "network_bytes_total_0, one hour",
            Some("network_bytes_total_0"),
            hour,
        ),
        (
            "network_bytes_total_0, the day",
            Some("network_bytes_total_0"),
            RANGE,
        ),
    ];
    store.measure(&reads, RUNS);
}

fn hour_from(offset: i64) -> TimeRange {
    TimeRange {
        start: RANGE.start + offset,
        end: RANGE.start + offset + HOUR,
    }
}

/// A bucket with a day in it.
struct Store {
    catalogs: Arc<Catalogs>,
    tenant: TenantId,
    _folder: TempDir,
    _bucket: Option<TempDir>,
}

/// A bucket in memory that can take its time as one far away does.
struct Far {
    store: Arc<ThrottledStore<InMemory>>,
}

impl Far {
    fn new() -> Self {
        let store = ThrottledStore::new(InMemory::new(), ThrottleConfig::default());
        Self {
            store: Arc::new(store),
        }
    }

    fn bucket(&self) -> Arc<Bucket> {
        Bucket::with_store(Arc::clone(&self.store) as _, &BucketConfig::default()).unwrap()
    }

    /// From now on.
    fn take_time(&self) {
        self.store
            .config_mut(|config| config.wait_get_per_call = FAR);
    }
}

impl Store {
    /// Writes and commits a day in so many blocks.
    fn of(fleet: &Fleet, blocks: i64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bucket = BucketConfig::folder(folder.path());
        let store = Self::in_bucket(Bucket::open(&bucket).unwrap(), fleet, blocks);
        Self {
            _bucket: Some(folder),
            ..store
        }
    }

    fn in_bucket(bucket: Arc<Bucket>, fleet: &Fleet, blocks: i64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pointers = LocalPointers::open(&folder.path().join("catalog")).unwrap();
        let clock = Arc::new(ManualClock::new(1)) as Arc<dyn Clock>;
        let random = AtomicU64::new(0);
        let random = move || random.fetch_add(1, Ordering::Relaxed);
        let catalogs = Catalogs::new(bucket, Arc::new(pointers), clock, Arc::new(random));
        let tenant = TenantId::new("bench").unwrap();
        write(&catalogs, &tenant, folder.path(), fleet, blocks);
        Self {
            catalogs: Arc::new(catalogs),
            tenant,
            _folder: folder,
            _bucket: None,
        }
    }

    /// Prints what these reads cost: what each is called, the metric, the range.
    #[expect(clippy::print_stdout, reason = "a table for people")]
    fn measure(&self, reads: &[(&str, Option<&str>, TimeRange)], runs: usize) {
        println!("| read | series | samples | state | requests | bytes | CPU ms | ms |");
        println!("|-|-|-|-|-|-|-|-|");
        for (what, name, range) in reads {
            let wanted = self.request(*name, *range);
            let other = self.request(Some(OTHER), *range);
            for (state, before) in [
                ("cold", None),
                ("known", Some(&other)),
                ("warm", Some(&wanted)),
            ] {
                let (mut least, mut least_wall) = (f64::MAX, f64::MAX);
                let (mut found, mut cost) = ((0, 0), (0, 0));
                for _ in 0..runs {
                    let gateway = start(&self.catalogs);
                    if let Some(before) = before {
                        self.read(&gateway, before);
                    }
                    let counted = counted(&self.catalogs);
                    let (began, began_wall) = (busy_ns(), wall_ns());
                    found = self.read(&gateway, &wanted);
                    least_wall = least_wall.min((wall_ns() - began_wall) as f64 / 1e6);
                    least = least.min((busy_ns() - began) as f64 / 1e6);
                    let now = self::counted(&self.catalogs);
                    cost = (now.0 - counted.0, now.1 - counted.1);
                }
                let ((series, samples), (requests, bytes)) = (found, cost);
                println!(
                    "| {what} | {series} | {samples} | {state} | {requests} | {bytes} | {least:.1} | {least_wall:.1} |"
                );
            }
        }
    }

    fn request(&self, name: Option<&str>, range: TimeRange) -> (Vec<String>, SelectRequest) {
        let catalog = self.catalogs.current(&self.tenant).unwrap();
        let blocks = catalog.blocks.iter().filter(|block| block.overlaps(range));
        let is = |name: &str| Matcher::new("__name__", MatchOp::Equal, name).unwrap();
        let request = SelectRequest {
            matchers: name.map(is).into_iter().collect(),
            range,
            labels: LabelsNeeded::All,
            max_series: 0,
            max_bytes: 0,
            skipped: Skipped::default(),
        };
        (blocks.map(|block| block.id().to_owned()).collect(), request)
    }

    fn read(
        &self,
        gateway: &StoreGateway,
        wanted: &(Vec<String>, SelectRequest),
    ) -> (usize, usize) {
        let mut set = gateway.select(&self.tenant, &wanted.0, &wanted.1).unwrap();
        let mut samples = SeriesSamples::default();
        let (mut series, mut count) = (0, 0);
        while set.next(&mut samples).unwrap().is_some() {
            series += 1;
            count += samples.ts.len();
        }
        (series, count)
    }
}

/// How long the process has had processors.
fn busy_ns() -> i64 {
    ns_of(ClockId::ProcessCPUTime)
}

/// The time that passes.
fn wall_ns() -> i64 {
    ns_of(ClockId::Monotonic)
}

fn ns_of(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
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

/// Writes and commits a day.
#[expect(clippy::print_stdout, reason = "a table for people")]
fn write(catalogs: &Catalogs, tenant: &TenantId, folder: &Path, fleet: &Fleet, blocks: i64) {
    let mut bytes = 0;
    let span = 24 * HOUR / blocks;
    for number in 0..blocks {
        let start = RANGE.start + number * span;
        let range = TimeRange {
            start,
            end: start + span,
        };
        let id = ulid::new(number + 1, number as u128);
        let place = folder.join(&id);
        let spec = BlockSpec {
            id: id.clone(),
            tenant: tenant.clone(),
            range,
            slice_ms: slice_ms_for(range, STEP),
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
    println!(
        "\n{blocks} blocks of {count} series, {:.1} MB",
        bytes as f64 / 1e6
    );
}
