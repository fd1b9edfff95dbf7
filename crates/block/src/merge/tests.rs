//! Merged sets against maps.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::histogram::FloatHistogram;
use proptest::prelude::*;

use super::*;

type Points = BTreeMap<TimestampMs, (bool, u64)>;
type All = BTreeMap<u8, Points>;

fn labels(number: u8) -> Labels {
    // In another order by all labels than by name.
    let zone = (9 - number % 10).to_string();
    Labels::from_pairs([("__name__", format!("m{}", number / 2)), ("Zone", zone)])
}

fn samples(points: &Points) -> SeriesSamples {
    let mut samples = SeriesSamples::default();
    for (t, (is_histogram, v)) in points {
        if *is_histogram {
            samples.histograms.push(HistogramPoint {
                t: *t,
                start: 0,
                histogram: Arc::new(FloatHistogram {
                    count: *v as f64,
                    ..FloatHistogram::default()
                }),
            });
        } else {
            samples.ts.push(*t);
            samples.values.push(*v as f64);
            samples.starts.push(*v as i64);
        }
    }
    samples
}

fn points(samples: &SeriesSamples) -> Points {
    let floats = samples.ts.iter().zip(&samples.values);
    let mut points: Points = floats.map(|(t, v)| (*t, (false, *v as u64))).collect();
    for (at, start) in samples.starts.iter().enumerate() {
        assert_eq!(
            *start, samples.values[at] as i64,
            "a start stays with its sample"
        );
    }
    for point in &samples.histograms {
        let before = points.insert(point.t, (true, point.histogram.count as u64));
        assert!(before.is_none(), "a time comes once");
    }
    assert_eq!(points.len(), samples.ts.len() + samples.histograms.len());
    points
}

struct Listed(std::vec::IntoIter<(Labels, SeriesSamples)>);

impl SeriesSet for Listed {
    fn next(&mut self, samples: &mut SeriesSamples) -> Result<Option<Labels>, SelectError> {
        samples.clear();
        Ok(self.0.next().map(|(labels, own)| {
            *samples = own;
            labels
        }))
    }

    fn split(self: Box<Self>, _parts: usize) -> Vec<Box<dyn SeriesSet>> {
        vec![self]
    }
}

fn set(all: &All) -> Box<dyn SeriesSet> {
    let mut listed: Vec<_> = all
        .iter()
        .map(|(n, own)| (labels(*n), samples(own)))
        .collect();
    listed.sort_by(|a, b| SortKey::compare(&a.0, &b.0));
    Box::new(Listed(listed.into_iter()))
}

fn source() -> impl Strategy<Value = All> {
    let points = prop::collection::btree_map(0..40_i64, (any::<bool>(), 0..1000_u64), 1..12);
    prop::collection::btree_map(0..9_u8, points, 0..6)
}

proptest! {
    #[test]
    fn a_merge_is_the_union(sources in prop::collection::vec(source(), 1..4)) {
        let mut expected: BTreeMap<Labels, Points> = BTreeMap::new();
        for (number, own) in sources.iter().flatten() {
            let union = expected.entry(labels(*number)).or_default();
            for (t, point) in own {
                union.entry(*t).or_insert(*point);
            }
        }
        let mut merged = merge(sources.iter().map(set).collect());
        let mut found: BTreeMap<Labels, Points> = BTreeMap::new();
        let mut last: Option<Labels> = None;
        let mut samples = SeriesSamples::default();
        while let Some(labels) = merged.next(&mut samples).unwrap() {
            prop_assert!(last.is_none_or(|last| SortKey::compare(&last, &labels).is_lt()));
            last = Some(labels.clone());
            found.insert(labels, points(&samples));
        }
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn what_is_taken_out_is_what_others_have(a in source(), b in source()) {
        for (number, own) in &a {
            let none = Points::new();
            let others = b.get(number).unwrap_or(&none);
            let mut left = samples(own);
            subtract(&mut left, &samples(others));
            let mut expected = own.clone();
            expected.retain(|t, _| !others.contains_key(t));
            prop_assert_eq!(points(&left), expected);
        }
    }
}
