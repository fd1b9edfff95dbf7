//! The store against a map: whatever comes in which order, with restarts and snapshots between.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use model::exemplar::Exemplar;
use model::fingerprint::Fingerprint;
use model::histogram::{FloatHistogram, Histogram, HistogramSample, IntHistogram, Span};
use model::labels::Labels;
use model::limits::Limits;
use model::matcher::{MatchOp, Matcher};
use model::quantity::DurationMs;
use model::sample::Sample;
use model::select::{LabelsNeeded, LookupBounds, SelectRequest, SeriesSamples, Skipped};
use model::tenant::TenantId;
use model::time::{ManualClock, TimeRange};
use model::write::{MetricMetadata, SeriesRow, WriteBatch};
use proptest::prelude::*;

use super::*;
use crate::disk::faulty::Faults;
use crate::disk::{FaultyDisk, RealDisk};
use crate::head::lookup::Lookup;

pub(crate) const NOW: i64 = 1_700_000_000_000;
pub(super) const MINUTE: i64 = 60_000;

/// Limits with a day's retention.
fn a_day() -> Limits {
    Limits {
        retention: DurationMs(24 * 60 * MINUTE),
        ..Limits::default()
    }
}

pub(crate) fn open(dir: &Path) -> Store {
    open_with(dir, a_day())
}

/// Opens a store that lives by a clock.
pub(super) fn open_at(dir: &Path, clock: Arc<ManualClock>) -> Store {
    open_by(dir, a_day(), clock)
}

fn open_with(dir: &Path, limits: Limits) -> Store {
    open_by(dir, limits, Arc::new(ManualClock::new(NOW)))
}

fn open_by(dir: &Path, limits: Limits, clock: Arc<ManualClock>) -> Store {
    let mut wal = WalConfig::new(dir.join("wal"));
    wal.min_free_bytes = 0;
    wal.segment_bytes = 64 << 10;
    let config = StoreConfig {
        dir: dir.to_owned(),
        wal,
        block_range_ms: 120 * MINUTE,
    };
    let limits = Arc::new(limits);
    let deps = OpenDeps {
        disk: Arc::new(RealDisk::default()),
        clock,
        limits: Arc::new(move |_: &TenantId| Arc::clone(&limits)),
        instance: 7,
    };
    Store::open(config, deps, &OpenProgress::default())
        .unwrap()
        .0
}

pub(crate) fn tenant() -> TenantId {
    TenantId::new("t").unwrap()
}

pub(crate) fn labels(i: u32) -> Labels {
    Labels::from_pairs([
        ("__name__", format!("m{}", i % 3)),
        ("job", "test".to_owned()),
        ("instance", i.to_string()),
    ])
}

fn lookup<'a>(matcher_sets: &'a [Vec<Matcher>], bounds: &'a LookupBounds) -> Lookup<'a> {
    Lookup {
        matcher_sets,
        range: TimeRange::all(),
        most: 0,
        bounds,
    }
}

#[test]
fn look_ups_keep_within_their_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let rows = (0..9).fold(Builder::default(), |all, i| {
        all.row(labels(i), &[(NOW, 1.0)])
    });
    write(&store, &rows);
    let head = store.head(&tenant()).unwrap();
    let sets = [vec![Matcher::new("job", MatchOp::Equal, "test").unwrap()]];
    let none = LookupBounds::default();
    let two = Lookup {
        most: 2,
        ..lookup(&sets, &none)
    };
    let texts = |texts: [&str; 2]| (texts.map(str::to_owned).to_vec(), true);
    assert_eq!(
        head.label_values("instance", &two).unwrap(),
        texts(["0", "1"])
    );
    assert_eq!(
        head.label_names(&two).unwrap(),
        texts(["__name__", "instance"])
    );
    assert_eq!(head.series_labels(&two).unwrap().0.len(), 2);
    let table = head.cardinality(2, &none).unwrap();
    let row = |name: &str, count| (name.to_owned(), count);
    assert_eq!(table.series_by_metric, [row("m0", 3), row("m1", 3)]);
    assert_eq!(
        table.series_by_pair,
        [row("job=test", 9), row("__name__=m0", 3)]
    );
    assert_eq!(
        table.values_by_label,
        [row("instance", 9), row("__name__", 3)]
    );
    assert_eq!(table.bytes_by_label, [row("job", 36), row("__name__", 18)]);

    let check = |bounds: LookupBounds, expected: &str| {
        let lookup = lookup(&sets, &bounds);
        for error in [
            head.series_labels(&lookup).unwrap_err(),
            head.label_values("instance", &lookup).unwrap_err(),
            head.label_names(&lookup).unwrap_err(),
        ] {
            assert!(error.message.contains(expected), "{error}");
        }
    };
    let few = LookupBounds {
        max_series: 8,
        ..LookupBounds::default()
    };
    check(few, "max_series_per_query");
    let small = LookupBounds {
        max_bytes: 30,
        ..LookupBounds::default()
    };
    check(small, "max_memory_per_query");
    let stopped = LookupBounds {
        stop: Some(Arc::new(|| true)),
        ..LookupBounds::default()
    };
    assert!(head.cardinality(1, &stopped).is_err());
    check(stopped, "stopped");
}

#[derive(Default)]
pub(crate) struct Builder(WriteBatch<Labels>);

impl Builder {
    pub(crate) fn row(mut self, labels: Labels, samples: &[(i64, f64)]) -> Self {
        let samples = samples.iter().map(|(t, v)| Sample {
            t: *t,
            v: *v,
            start: 0,
        });
        self.0.samples.extend(samples);
        self.end(labels)
    }

    pub(super) fn histograms(mut self, labels: Labels, samples: &[HistogramSample]) -> Self {
        self.0.histograms.extend_from_slice(samples);
        self.end(labels)
    }

    fn end(mut self, labels: Labels) -> Self {
        let batch = &mut self.0;
        batch.series.push(SeriesRow {
            fingerprint: Fingerprint::of(&labels),
            labels,
            samples_end: batch.samples.len() as u32,
            histograms_end: batch.histograms.len() as u32,
            exemplars_end: batch.exemplars.len() as u32,
        });
        self
    }
}

pub(crate) fn write(store: &Store, batch: &Builder) -> WriteOutcome {
    store.append(&tenant(), &a_day(), &batch.0).unwrap()
}

pub(super) fn read(
    store: &Store,
    matchers: &[(&str, MatchOp, &str)],
) -> BTreeMap<Labels, SeriesSamples> {
    let each = matchers.iter();
    let request = SelectRequest {
        matchers: each
            .map(|(n, op, v)| Matcher::new(n, *op, v).unwrap())
            .collect(),
        ..everything()
    };
    let mut all = BTreeMap::new();
    let Some(head) = store.head(&tenant()) else {
        return all;
    };
    let mut set = head.select(&request).unwrap();
    let mut samples = SeriesSamples::default();
    while let Some(labels) = set.next(&mut samples).unwrap() {
        let before = all.insert(labels, std::mem::take(&mut samples));
        assert!(before.is_none(), "a series comes once");
    }
    all
}

/// All series with all samples.
pub(super) fn everything() -> SelectRequest {
    SelectRequest {
        matchers: Vec::new(),
        range: TimeRange::all(),
        labels: LabelsNeeded::All,
        max_series: 0,
        max_bytes: 0,
        skipped: Skipped::default(),
    }
}

fn floats(samples: &SeriesSamples) -> Vec<(i64, u64)> {
    let values = samples.values.iter().map(|v| v.to_bits());
    samples.ts.iter().copied().zip(values).collect()
}

#[derive(Clone, Debug)]
enum Step {
    /// Some series get a sample at (minute, value).
    Write(Vec<(u32, i64, u8)>),
    Kill,
    Close,
    Snapshot,
    Truncate,
}

fn any_step() -> impl Strategy<Value = Step> {
    let row = (0u32..6, 0i64..400, 0u8..4);
    prop_oneof![
        12 => prop::collection::vec(row, 1..40).prop_map(Step::Write),
        1 => Just(Step::Kill),
        1 => Just(Step::Close),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Truncate),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn holds_what_was_acknowledged_through_restarts(
        steps in prop::collection::vec(any_step(), 1..40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let wide = Limits { out_of_order_time_window: DurationMs(1000 * MINUTE), ..Limits::default() };
        let mut store = open_with(dir.path(), wide.clone());
        let mut expected: BTreeMap<Labels, BTreeMap<i64, u64>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Write(rows) => for (i, minute, v) in rows {
                    let (t, v) = (NOW - 400 * MINUTE + minute * MINUTE, f64::from(v));
                    let batch = Builder::default().row(labels(i), &[(t, v)]);
                    let outcome = store.append(&tenant(), &wide, &batch.0).unwrap();
                    let series = expected.entry(labels(i)).or_default();
                    let known = *series.entry(t).or_insert(v.to_bits());
                    prop_assert_eq!(outcome.samples == 1, known == v.to_bits());
                    if known != v.to_bits() {
                        prop_assert_eq!(outcome.first_rejection.unwrap().id, "duplicate-timestamp");
                    }
                },
                Step::Kill => {
                    drop(store);
                    store = open_with(dir.path(), wide.clone());
                }
                Step::Close => {
                    store.close().unwrap();
                    drop(store);
                    store = open_with(dir.path(), wide.clone());
                }
                Step::Snapshot => store.snapshot().unwrap(),
                Step::Truncate => store.truncate(),
            }
            let found = read(&store, &[("job", MatchOp::Equal, "test")]);
            let found: BTreeMap<_, _> = found.iter().map(|(l, s)| (l.clone(), floats(s))).collect();
            let all = expected.iter().map(|(l, s)| (l.clone(), s.clone().into_iter().collect::<Vec<_>>()));
            prop_assert_eq!(found, all.collect::<BTreeMap<_, _>>());
        }
    }
}

#[test]
fn fills_chunks_and_reads_them_back_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let value = |i: i64, t: i64| (t / 1000 * i) as f64 / 3.0;
    for step in 0..1_000 {
        let t = NOW - 5 * 3_600_000 + step * 15_000;
        let rows = (0..5).fold(Builder::default(), |b, i| {
            b.row(labels(i), &[(t, value(i64::from(i), t))])
        });
        assert_eq!(write(&store, &rows).samples, 5);
    }
    let check = |store: &Store| {
        let found = read(store, &[]);
        assert_eq!(found.len(), 5);
        for samples in found.values() {
            assert_eq!(samples.ts.len(), 1_000);
            assert!(
                samples
                    .ts
                    .windows(2)
                    .all(|pair| pair[1] - pair[0] == 15_000)
            );
            assert!(samples.starts.is_empty());
        }
    };
    check(&store);
    store.snapshot().unwrap();
    drop(store);
    let store = open(dir.path());
    check(&store);
    store.close().unwrap();
    let refused = store.append(&tenant(), &a_day(), &Builder::default().0);
    assert!(matches!(refused, Err(AppendError::Closed)));
    drop(store);
    check(&open(dir.path()));
}

pub(super) fn histogram(t: i64, count: u64) -> HistogramSample {
    let span = Span {
        offset: 0,
        length: 2,
    };
    HistogramSample {
        t,
        start: 0,
        histogram: Histogram::Int(Box::new(IntHistogram {
            count: 3 * count,
            sum: count as f64,
            positive_spans: vec![span],
            positive_deltas: vec![count as i64, count as i64],
            ..IntHistogram::default()
        })),
    }
}

#[test]
fn keeps_histograms_floats_between_and_late_ones() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let at = |m: i64| NOW - 200 * MINUTE + m * MINUTE;
    let int: Vec<_> = (0..50).map(|m| histogram(at(m), m as u64 + 1)).collect();
    write(&store, &Builder::default().histograms(labels(1), &int));
    write(&store, &Builder::default().row(labels(1), &[(at(60), 1.0)]));
    let float = HistogramSample {
        t: at(61),
        start: 5,
        histogram: Histogram::Float(Box::new(FloatHistogram {
            count: 2.5,
            sum: 1.0,
            ..FloatHistogram::default()
        })),
    };
    write(
        &store,
        &Builder::default().histograms(labels(1), &[float.clone(), histogram(at(62), 9)]),
    );
    // The same again is taken; something else at the same time is not.
    let again = write(
        &store,
        &Builder::default().histograms(labels(1), &[float, histogram(at(62), 9)]),
    );
    assert_eq!((again.histograms, again.rejected), (2, 0));
    let other = write(
        &store,
        &Builder::default().histograms(labels(1), &[histogram(at(62), 8)]),
    );
    assert_eq!(other.first_rejection.unwrap().id, "duplicate-timestamp");
    let late = write(
        &store,
        &Builder::default().histograms(labels(1), &[histogram(at(55), 4)]),
    );
    assert_eq!(late.histograms, 1);
    let check = |store: &Store| {
        let found = read(store, &[("__name__", MatchOp::Equal, "m1")]);
        let samples = &found[&labels(1)];
        assert_eq!(samples.ts, [at(60)]);
        let times: Vec<i64> = samples.histograms.iter().map(|p| p.t).collect();
        let expected: Vec<i64> = (0..50).chain([55, 61, 62]).map(at).collect();
        assert_eq!(times, expected);
        assert_eq!(samples.histograms[51].histogram.count, 2.5);
        assert_eq!(
            samples.histograms[49].histogram.positive_buckets,
            [50.0, 100.0]
        );
    };
    check(&store);
    drop(store);
    let store = open(dir.path());
    check(&store);
    store.snapshot().unwrap();
    drop(store);
    check(&open(dir.path()));
}

#[test]
fn exemplars_and_metadata_survive_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let exemplar = Exemplar {
        labels: Labels::from_pairs([("trace_id", "1")]),
        v: 2.0,
        t: NOW,
    };
    let mut batch = Builder::default();
    batch.0.exemplars.push(exemplar.clone());
    batch = batch.row(labels(1), &[(NOW, 1.0)]);
    batch.0.metadata.push(MetricMetadata {
        metric: "m1".to_owned(),
        help: "Help.".to_owned(),
        ..MetricMetadata::default()
    });
    assert_eq!(write(&store, &batch).exemplars, 1);
    let check = |store: &Store| {
        let head = store.head(&tenant()).unwrap();
        let all = [vec![Matcher::new("job", MatchOp::Equal, "test").unwrap()]];
        assert_eq!(
            head.exemplars(&lookup(&all, &LookupBounds::default()))
                .unwrap(),
            [(labels(1), vec![exemplar.clone()])]
        );
        assert_eq!(head.metadata(Some("m1"))[0].help, "Help.");
    };
    check(&store);
    drop(store);
    let store = open(dir.path());
    check(&store);
    store.close().unwrap();
    drop(store);
    check(&open(dir.path()));
}

#[test]
fn refuses_with_the_limit_and_the_series_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, &Builder::default().row(labels(1), &[(NOW, 1.0)]));
    let check = |t: i64, id: &str| {
        let outcome = write(
            &store,
            &Builder::default()
                .row(labels(1), &[(t, 2.0)])
                .row(labels(2), &[(NOW, 1.0)]),
        );
        let rejection = outcome.first_rejection.unwrap();
        assert_eq!(
            (rejection.id, outcome.samples, outcome.rejected),
            (id, 1, 1)
        );
        assert!(
            rejection.message.contains("m1{instance=\"1\""),
            "{}",
            rejection.message
        );
    };
    check(NOW, "duplicate-timestamp");
    check(NOW - 31 * MINUTE, "sample-too-old");
    check(NOW + 11 * MINUTE, "sample-too-far-in-future");
    check(i64::MIN, "sample-too-old");
    check(i64::MAX, "sample-too-far-in-future");

    let strict = Limits {
        out_of_order_time_window: DurationMs(0),
        max_series: 2,
        ..Limits::default()
    };
    let late = Builder::default()
        .row(labels(1), &[(NOW - 1, 2.0)])
        .row(labels(3), &[(NOW, 1.0)]);
    let outcome = store.append(&tenant(), &strict, &late.0).unwrap();
    assert_eq!(outcome.rejected, 2);
    let ids: Vec<_> = outcome.first_rejection.iter().map(|r| r.id).collect();
    assert_eq!(ids, ["max-series"]);
}

#[test]
fn idle_series_leave_memory_and_their_labels_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let old = NOW - 48 * 3_600_000;
    write(&store, &Builder::default().row(labels(1), &[(old, 1.0)]));
    write(
        &store,
        &Builder::default().row(labels(2), &[(old, 1.0), (NOW, 1.0)]),
    );
    store.truncate();
    let head = store.head(&tenant()).unwrap();
    assert_eq!(head.series_count(), 1);
    let bounds = LookupBounds::default();
    let (values, _) = head
        .label_values("instance", &lookup(&[], &bounds))
        .unwrap();
    assert_eq!(values, ["2"]);
    let found = read(&store, &[]);
    assert_eq!(found[&labels(2)].ts, [NOW]);
    // It may come back, under another number, and that survives too.
    write(&store, &Builder::default().row(labels(1), &[(NOW, 3.0)]));
    drop(store);
    let store = open(dir.path());
    let found = read(&store, &[("instance", MatchOp::Equal, "1")]);
    assert_eq!(found[&labels(1)].values.last(), Some(&3.0));
}

#[test]
fn writers_and_readers_at_once_see_whole_samples() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    std::thread::scope(|scope| {
        for writer in 0..4_u32 {
            let store = &store;
            scope.spawn(move || {
                for step in 0..150 {
                    let t = NOW - 3_000_000 + step * 15_000;
                    let rows = (0..20).fold(Builder::default(), |b, i| {
                        b.row(labels(writer * 20 + i), &[(t, t as f64)])
                    });
                    assert_eq!(write(store, &rows).samples, 20);
                }
            });
        }
        let store = &store;
        scope.spawn(move || {
            for _ in 0..50 {
                for samples in read(store, &[("__name__", MatchOp::Regex, "m.")]).values() {
                    let same = samples
                        .ts
                        .iter()
                        .zip(&samples.values)
                        .all(|(t, v)| *t as f64 == *v);
                    assert!(same && samples.ts.is_sorted());
                }
            }
        });
        scope.spawn(move || (0..5).for_each(|_| store.snapshot().unwrap()));
    });
    drop(store);
    let found = read(&open(dir.path()), &[]);
    assert_eq!(found.len(), 80);
    assert!(found.values().all(|samples| samples.ts.len() == 150));
}

/// Writes, snapshots, truncates, reopens; stops at the first fault. Returns what was
/// acknowledged.
fn life(dir: &Path, disk: &Arc<FaultyDisk>) -> BTreeMap<Labels, BTreeMap<i64, u64>> {
    let mut acknowledged: BTreeMap<Labels, BTreeMap<i64, u64>> = BTreeMap::new();
    let mut round = 0_i64;
    for _ in 0..2 {
        let Ok(store) = try_open(dir, Arc::clone(disk) as Arc<dyn Disk>) else {
            return acknowledged;
        };
        for step in 0..60 {
            let t = NOW - 2 * 3_600_000 + round * MINUTE;
            round += 1;
            for i in 0..2 {
                let v = (round * i64::from(i + 3)) as f64;
                let batch = Builder::default().row(labels(i), &[(t, v)]);
                match store.append(&tenant(), &a_day(), &batch.0) {
                    Ok(outcome) => {
                        assert_eq!(outcome.samples, 1);
                        acknowledged
                            .entry(labels(i))
                            .or_default()
                            .insert(t, v.to_bits());
                    }
                    Err(_) => return acknowledged,
                }
            }
            if step % 25 == 20 {
                store.truncate();
                if store.snapshot().is_err() {
                    return acknowledged;
                }
            }
        }
        if store.close().is_err() {
            return acknowledged;
        }
    }
    acknowledged
}

fn try_open(dir: &Path, disk: Arc<dyn Disk>) -> Result<Store, OpenError> {
    let mut wal = WalConfig::new(dir.join("wal"));
    wal.min_free_bytes = 0;
    wal.segment_bytes = 4 << 10;
    let config = StoreConfig {
        dir: dir.to_owned(),
        wal,
        block_range_ms: 120 * MINUTE,
    };
    let limits = Arc::new(a_day());
    let deps = OpenDeps {
        disk,
        clock: Arc::new(ManualClock::new(NOW)),
        limits: Arc::new(move |_: &TenantId| Arc::clone(&limits)),
        instance: 7,
    };
    Store::open(config, deps, &OpenProgress::default()).map(|(store, _)| store)
}

fn check_all_there(
    dir: &Path,
    disk: &Arc<FaultyDisk>,
    acknowledged: &BTreeMap<Labels, BTreeMap<i64, u64>>,
    case: &str,
) {
    let store = try_open(dir, Arc::clone(disk) as Arc<dyn Disk>).unwrap();
    let found = read(&store, &[]);
    for (labels, samples) in acknowledged {
        let found: BTreeMap<i64, u64> = found
            .get(labels)
            .map(floats)
            .unwrap_or_default()
            .into_iter()
            .collect();
        for (t, v) in samples {
            assert_eq!(found.get(t), Some(v), "{case}: {labels} at {t}");
        }
        let found = read(&store, &[]);
        assert!(
            found[labels].ts.windows(2).all(|pair| pair[0] < pair[1]),
            "{case}"
        );
    }
}

#[test]
fn power_lost_at_any_operation_loses_nothing_acknowledged() {
    let dir = Path::new("/store");
    let disk = Arc::new(FaultyDisk::new(1));
    life(dir, &disk);
    let total = disk.operations();
    assert!(total > 200);
    for at in (1..=total).step_by(3) {
        let disk = Arc::new(FaultyDisk::new(at));
        disk.set_faults(Faults {
            lose_power_at: Some(at),
            ..Faults::default()
        });
        let acknowledged = life(dir, &disk);
        disk.restart();
        check_all_there(
            dir,
            &disk,
            &acknowledged,
            &format!("power lost at operation {at}"),
        );
    }
}

#[test]
fn a_failing_operation_loses_nothing_acknowledged_after_a_restart() {
    let dir = Path::new("/store");
    let disk = Arc::new(FaultyDisk::new(1));
    life(dir, &disk);
    let (total, mut at) = (disk.operations(), 1);
    while at <= total {
        let disk = Arc::new(FaultyDisk::new(at));
        disk.set_faults(Faults {
            fail_at: Some(at),
            ..Faults::default()
        });
        let acknowledged = life(dir, &disk);
        disk.restart();
        check_all_there(dir, &disk, &acknowledged, &format!("operation {at} failed"));
        at += 7;
    }
}

#[test]
fn a_full_disk_refuses_writes_answers_reads_and_recovers() {
    let dir = Path::new("/store");
    let disk = Arc::new(FaultyDisk::new(3));
    let store = try_open(dir, Arc::clone(&disk) as Arc<dyn Disk>).unwrap();
    let row = |step: i64| {
        Builder::default().row(labels(1), &[(NOW - 3_600_000 + step * 1000, step as f64)])
    };
    disk.set_faults(Faults {
        capacity: Some(60_000),
        ..Faults::default()
    });
    let mut taken = 0;
    let error = loop {
        match store.append(&tenant(), &a_day(), &row(taken).0) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 10_000, "the disk never gets full");
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(read(&store, &[])[&labels(1)].ts.len() as i64, taken);
    disk.set_faults(Faults::default());
    // What was refused is sent again, and is durable this time.
    write(&store, &row(taken));
    drop(store);
    let store = try_open(dir, Arc::clone(&disk) as Arc<dyn Disk>).unwrap();
    assert_eq!(read(&store, &[])[&labels(1)].ts.len() as i64, taken + 1);
}

fn one(store: &Store, series: u32) -> Vec<i64> {
    let found = read(store, &[("instance", MatchOp::Equal, &series.to_string())]);
    found
        .get(&labels(series))
        .map(|samples| samples.ts.clone())
        .unwrap_or_default()
}

#[test]
fn late_samples_in_a_snapshot_come_back_however_old_they_are_by_then() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let at = |m: i64| NOW - 120 * MINUTE + m * MINUTE;
    write(
        &store,
        &Builder::default().row(labels(1), &[(at(0), 1.0), (at(20), 2.0)]),
    );
    write(&store, &Builder::default().row(labels(1), &[(at(5), 3.0)]));
    write(
        &store,
        &Builder::default().row(labels(1), &[(at(100), 4.0)]),
    );
    let expected = [at(0), at(5), at(20), at(100)];
    assert_eq!(one(&store, 1), expected);
    store.snapshot().unwrap();
    drop(store);
    let none = Limits {
        out_of_order_time_window: DurationMs(0),
        ..Limits::default()
    };
    let store = open_with(dir.path(), none.clone());
    assert_eq!(one(&store, 1), expected);
    store.snapshot().unwrap();
    drop(store);
    assert_eq!(one(&open_with(dir.path(), none), 1), expected);
}

#[test]
fn the_log_gives_back_late_samples_whatever_the_limits_are_now() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(
        &store,
        &Builder::default().row(labels(1), &[(NOW - 20 * MINUTE, 1.0), (NOW, 2.0)]),
    );
    write(
        &store,
        &Builder::default().row(labels(1), &[(NOW - 10 * MINUTE, 3.0)]),
    );
    drop(store);
    let none = Limits {
        out_of_order_time_window: DurationMs(0),
        ..a_day()
    };
    let expected = [NOW - 20 * MINUTE, NOW - 10 * MINUTE, NOW];
    assert_eq!(one(&open_with(dir.path(), none), 1), expected);
}

#[test]
fn a_retention_of_zero_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let for_ever = || Limits {
        retention: DurationMs(0),
        ..Limits::default()
    };
    let keep = |dir: &Path| {
        let mut wal = WalConfig::new(dir.join("wal"));
        wal.min_free_bytes = 0;
        let config = StoreConfig {
            dir: dir.to_owned(),
            wal,
            block_range_ms: 120 * MINUTE,
        };
        let deps = OpenDeps {
            disk: Arc::new(RealDisk::default()),
            clock: Arc::new(ManualClock::new(NOW)),
            limits: Arc::new(move |_: &TenantId| Arc::new(for_ever())),
            instance: 7,
        };
        Store::open(config, deps, &OpenProgress::default())
            .unwrap()
            .0
    };
    let store = keep(dir.path());
    let year = 365 * 24 * 60 * MINUTE;
    for rows in [
        Builder::default().row(labels(1), &[(NOW - year, 1.0), (NOW, 2.0)]),
        Builder::default().row(labels(2), &[(NOW - 2 * year, 1.0)]),
    ] {
        store.append(&tenant(), &for_ever(), &rows.0).unwrap();
    }
    store.truncate();
    store.snapshot().unwrap();
    store.truncate();
    assert_eq!((one(&store, 1).len(), one(&store, 2).len()), (2, 1));
    drop(store);
    let store = keep(dir.path());
    assert_eq!((one(&store, 1).len(), one(&store, 2).len()), (2, 1));
}

#[test]
fn a_directory_belongs_to_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let second = try_open(dir.path(), Arc::new(RealDisk::default()));
    assert!(matches!(second, Err(OpenError::InUse(_))));
    drop(store);
    open(dir.path());
}

#[test]
fn refuses_to_start_without_its_past() {
    let dir = Path::new("/store");
    let disk = Arc::new(FaultyDisk::new(5));
    life(dir, &disk);
    let damage = |names: &[String]| {
        for name in names {
            let path = dir.join(name);
            let mut bytes = disk.contents(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0xff;
            disk.place(&path, bytes);
        }
    };
    let files = disk.list(dir).unwrap();
    let snapshots: Vec<String> = files
        .into_iter()
        .map(|file| file.name)
        .filter(|name| name.starts_with("snapshot-"))
        .collect();
    assert_eq!(snapshots.len(), 2);
    // The older one and the log behind it are as good as the newer one.
    let whole = read(
        &try_open(dir, Arc::clone(&disk) as Arc<dyn Disk>).unwrap(),
        &[],
    );
    damage(&snapshots[1..]);
    let again = read(
        &try_open(dir, Arc::clone(&disk) as Arc<dyn Disk>).unwrap(),
        &[],
    );
    let shown = |all: &BTreeMap<Labels, SeriesSamples>| {
        all.iter()
            .map(|(l, s)| (l.clone(), floats(s)))
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(&whole), shown(&again));
    damage(&snapshots[..1]);
    let refused = try_open(dir, Arc::clone(&disk) as Arc<dyn Disk>);
    assert!(matches!(refused, Err(OpenError::NoWholeSnapshot(_))));
}

#[test]
fn a_head_that_was_only_named_goes_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, &Builder::default());
    assert!(store.head(&tenant()).is_some());
    store.truncate();
    assert!(store.head(&tenant()).is_none());
}
