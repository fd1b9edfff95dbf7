//! Cuts: what goes to blocks and what stays are together what there was, each sample in one of
//! them, whatever comes in between.

use std::collections::BTreeMap;

use model::labels::Labels;
use model::select::SeriesSamples;
use model::time::ManualClock;
use proptest::prelude::*;

use super::tests::{
    Builder, MINUTE, NOW, everything, histogram, labels, open, open_at, read, tenant, write,
};
use super::*;

type Points = BTreeMap<(Labels, i64), u64>;

fn add(points: &mut Points, labels: &Labels, samples: &SeriesSamples) {
    let floats = samples.ts.iter().zip(&samples.values);
    let histograms = samples.histograms.iter();
    let all = floats.map(|(t, v)| (*t, v.to_bits()));
    for (t, v) in all.chain(histograms.map(|point| (point.t, point.histogram.count.to_bits()))) {
        let before = points.insert((labels.clone(), t), v);
        assert!(before.is_none(), "{labels} at {t} comes once");
    }
}

fn in_head(store: &Store) -> Points {
    let mut points = Points::new();
    for (labels, samples) in read(store, &[]) {
        add(&mut points, &labels, &samples);
    }
    points
}

/// What a cut hands out, in which order, and that each range has its own samples only.
fn cut(store: &Store, before: i64, meanwhile: impl FnOnce()) -> (Points, CutMark) {
    let head = store.head(&tenant()).unwrap();
    store.cut(&head, before, |cut| {
        meanwhile();
        let mut points = Points::new();
        for range in cut.ranges() {
            let mut last: Option<Labels> = None;
            let sink = |labels: &Labels,
                        samples: &SeriesSamples,
                        _: &[_]|
             -> Result<(), std::convert::Infallible> {
                let key =
                    |labels: &Labels| (labels.metric_name().map(str::to_owned), labels.clone());
                assert!(last.as_ref().is_none_or(|last| key(last) < key(labels)));
                last = Some(labels.clone());
                let ts = samples.ts.iter().copied();
                let mut all = ts.chain(samples.histograms.iter().map(|point| point.t));
                assert!(all.all(|t| range.contains(t)), "{labels} in {range:?}");
                add(&mut points, labels, samples);
                Ok(())
            };
            cut.each(*range, sink).unwrap();
        }
        (points, cut.mark())
    })
}

fn rows() -> impl Strategy<Value = Vec<(u32, i64, bool)>> {
    prop::collection::vec((0..6_u32, -300..0_i64, prop::bool::weighted(0.2)), 1..120)
}

fn append(store: &Store, rows: &[(u32, i64, bool)]) {
    for (series, minutes, is_histogram) in rows {
        let t = NOW + minutes * MINUTE;
        let rows = if *is_histogram {
            let sample = histogram(t, minutes.unsigned_abs());
            Builder::default().histograms(labels(series + 100), &[sample])
        } else {
            Builder::default().row(labels(*series), &[(t, *minutes as f64)])
        };
        write(store, &rows);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_sample_is_in_the_blocks_or_in_the_head(
        first in rows(), second in rows(), third in rows(), back in 0..6_i64,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        append(&store, &first);
        append(&store, &second);
        let all = in_head(&store);
        let before = (NOW - back * 60 * MINUTE).div_euclid(120 * MINUTE) * 120 * MINUTE;
        // What comes while blocks are built is in the head and in no block.
        let (cut_away, mark) = cut(&store, before, || append(&store, &third));
        let grown = in_head(&store);
        let head = store.head(&tenant()).unwrap();
        let reader = head.next_reader();
        prop_assert!(head.readers_are_done_before(reader));
        store.drop_cut(&head, &mark);
        let left = in_head(&store);
        prop_assert!(left.keys().all(|key| !cut_away.contains_key(key)));
        let mut together = cut_away.clone();
        together.extend(left.clone());
        prop_assert_eq!(&together, &grown);
        prop_assert!(all.iter().filter(|((_, t), _)| *t < before).all(|(key, _)| cut_away.contains_key(key)));
        // A restart brings back no less.
        store.snapshot().unwrap();
        store.truncate();
        store.remove_unused_files();
        prop_assert_eq!(&in_head(&store), &left);
        drop(store);
        prop_assert_eq!(&in_head(&open(dir.path())), &left);
    }
}

#[test]
fn a_select_that_runs_keeps_its_samples() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    append(&store, &[(1, -200, false), (2, -100, false)]);
    let head = store.head(&tenant()).unwrap();
    let request = everything();
    let set = head.select(&request).unwrap();
    let reader = head.next_reader();
    assert!(!head.readers_are_done_before(reader));
    drop(set);
    assert!(head.readers_are_done_before(reader));
}

#[test]
fn files_stay_as_long_as_a_reader_may_need_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    append(&store, &[(1, -200, false), (2, -100, false)]);
    store.close().unwrap();
    drop(store);
    // What was closed lies in a file that is not written to any more.
    let store = open(dir.path());
    append(&store, &[(1, -50, false)]);
    let head = store.head(&tenant()).unwrap();
    store.cut(&head, NOW, |_| ());
    store.snapshot().unwrap();
    let (files, _) = store.chunk_file_stats();
    let set = head.select(&everything()).unwrap();
    let (_, mark) = cut(&store, NOW - 60 * MINUTE, || ());
    assert_eq!(store.drop_cut(&head, &mark), 2);
    store.snapshot().unwrap();
    for _ in 0..2 {
        store.remove_unused_files();
        assert_eq!(store.chunk_file_stats().0, files);
    }
    drop(set);
    store.remove_unused_files();
    assert_eq!(store.chunk_file_stats().0, files - 1);
}

#[test]
fn a_sample_of_a_wrong_clock_makes_nothing_old() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW + 400 * 24 * 60 * MINUTE));
    let store = open_at(dir.path(), Arc::clone(&clock));
    let row = |i, t| Builder::default().row(labels(i), &[(t, 1.0)]);
    write(&store, &row(1, clock.now_ms()));
    clock.set(NOW);
    write(&store, &row(2, NOW));
    store.truncate();
    assert_eq!(in_head(&store).len(), 2);
}
