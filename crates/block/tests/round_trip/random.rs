//! Blocks of random series.

use std::sync::Arc;

use block::{Block, SortKey};
use model::histogram::CUSTOM_BUCKETS_SCHEMA;
use model::sample::stale_nan;
use model::select::SeriesSamples;
use model::time::TimeRange;
use proptest::prelude::*;

use crate::series::{
    HOUR, ID, START, Series, histogram, labels, request, select, shown, spec, write,
};

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (0..5_i64).prop_map(|i| i as f64),
        2 => (-50_000..50_000_i64).prop_map(|i| i as f64 / 100.0),
        1 => any::<u64>().prop_map(f64::from_bits),
        1 => Just(stale_nan()),
        1 => Just(-0.0),
    ]
}

fn any_series() -> impl Strategy<Value = SeriesSamples> {
    let times = prop::collection::btree_set(0..4 * HOUR, 0..30);
    let shared =
        prop::sample::subsequence((0..40_i64).map(|i| i * 300_000).collect::<Vec<_>>(), 0..40);
    let ts = prop_oneof![
        times.prop_map(|ts| ts.into_iter().collect::<Vec<_>>()),
        shared
    ];
    (
        ts,
        prop::collection::vec(any_value(), 40),
        any::<bool>(),
        0..8_i32,
        0..40_usize,
    )
        .prop_map(|(ts, values, starts, kind, cut)| {
            let ts: Vec<i64> = ts
                .into_iter()
                .map(|t| t + START)
                .filter(|t| *t < START + 4 * HOUR)
                .collect();
            let cut = if kind < 5 {
                ts.len()
            } else {
                cut.min(ts.len())
            };
            let mut samples = SeriesSamples {
                values: values[..cut].to_vec(),
                ts: ts[..cut].to_vec(),
                starts: if starts {
                    ts[..cut].iter().map(|t| t / 60_000).collect()
                } else {
                    Vec::new()
                },
                histograms: Vec::new(),
            };
            for (at, t) in ts[cut..].iter().enumerate() {
                let schema = if kind == 7 {
                    CUSTOM_BUCKETS_SCHEMA
                } else {
                    at as i32 / 9
                };
                samples.histograms.push(histogram(*t, at as i32, schema));
            }
            samples
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_block_gives_back_what_was_written(
        series in prop::collection::vec((0..4_u8, "[a-c]{0,2}", "[x-zß]{0,2}", any_series()), 1..12),
        slice_minutes in 20..400_i64,
        from in 0..4 * HOUR,
        length in 0..4 * HOUR,
    ) {
        let mut all: Vec<Series> = Vec::new();
        for (metric, instance, other, samples) in series {
            let name = format!("m{metric}");
            all.push((labels(&name, &[("instance", &instance), ("l", &other)]), samples));
        }
        all.sort_by(|a, b| SortKey::compare(&a.0, &b.0));
        all.dedup_by(|a, b| a.0 == b.0);
        prop_assume!(all.iter().any(|(_, samples)| !samples.is_empty()));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(ID);
        write(&path, spec((slice_minutes * 60_000).min(4 * HOUR), 4), &all);
        let block = Arc::new(Block::open(&path).unwrap());
        for range in [TimeRange::all(), TimeRange { start: START + from, end: START + from + length }] {
            let found = select(&block, &request(Vec::new(), range)).unwrap();
            prop_assert_eq!(shown(&found, range), shown(&all, range));
        }
    }
}
