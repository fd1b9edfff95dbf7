//! Histograms against plain maps of buckets.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Spans and counts of buckets given by index.
fn side(buckets: &BTreeMap<i32, f64>) -> (Vec<Span>, Vec<f64>) {
    let mut side = layout::Side::default();
    for (index, count) in buckets {
        side.push(*index, *count);
    }
    (side.spans, side.counts)
}

fn exponential(schema: i32, positive: &[(i32, f64)], negative: &[(i32, f64)]) -> FloatHistogram {
    let (positive_spans, positive_buckets) = side(&positive.iter().copied().collect());
    let (negative_spans, negative_buckets) = side(&negative.iter().copied().collect());
    let count = positive_buckets.iter().chain(&negative_buckets).sum();
    FloatHistogram {
        schema,
        count,
        positive_spans,
        positive_buckets,
        negative_spans,
        negative_buckets,
        ..FloatHistogram::default()
    }
}

fn custom(bounds: &[f64], counts: &[f64]) -> FloatHistogram {
    FloatHistogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        count: counts.iter().sum(),
        positive_spans: vec![Span {
            offset: 0,
            length: counts.len() as u32,
        }],
        positive_buckets: counts.to_vec(),
        custom_values: bounds.to_vec(),
        ..FloatHistogram::default()
    }
}

fn with_zero(mut histogram: FloatHistogram, threshold: f64, count: f64) -> FloatHistogram {
    histogram.zero_threshold = threshold;
    histogram.zero_count = count;
    histogram.count += count;
    histogram
}

/// Populated buckets by index.
fn map(buckets: Indexed<'_>) -> BTreeMap<i32, f64> {
    buckets.filter(|(_, count)| *count != 0.0).collect()
}

fn any_side() -> impl Strategy<Value = BTreeMap<i32, f64>> {
    prop::collection::btree_map(-40..40i32, (0..1000u32).prop_map(f64::from), 0..12)
}

fn any_exponential() -> impl Strategy<Value = FloatHistogram> {
    (-4..=8i32, any_side(), any_side(), 0..50u32).prop_map(|(schema, positive, negative, zero)| {
        let pairs = |side: BTreeMap<i32, f64>| side.into_iter().collect::<Vec<_>>();
        with_zero(
            exponential(schema, &pairs(positive), &pairs(negative)),
            0.0,
            f64::from(zero),
        )
    })
}

fn any_threshold() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), Just(1e-3), 0.0..4.0f64]
}

fn any_custom() -> impl Strategy<Value = FloatHistogram> {
    let bounds = prop::collection::btree_set(0..12i32, 0..8);
    (bounds, prop::collection::vec(0..100u32, 9)).prop_map(|(bounds, counts)| {
        let bounds: Vec<f64> = bounds.into_iter().map(f64::from).collect();
        let counts: Vec<f64> = counts[..bounds.len() + 1]
            .iter()
            .map(|c| f64::from(*c))
            .collect();
        custom(&bounds, &counts)
    })
}

/// The model of a coarser schema: indices halved, rounded up, once per step.
fn reduced(buckets: &BTreeMap<i32, f64>, steps: i32) -> BTreeMap<i32, f64> {
    let mut coarse = BTreeMap::new();
    for (&index, &count) in buckets {
        let mut index = index;
        for _ in 0..steps {
            index = (index + 1).div_euclid(2);
        }
        *coarse.entry(index).or_insert(0.0) += count;
    }
    coarse.retain(|_, count| *count != 0.0);
    coarse
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn addition_is_that_of_buckets_by_index(a in any_exponential(), b in any_exponential()) {
        let schema = a.schema.min(b.schema);
        let expected = |a_side: Indexed<'_>, b_side: Indexed<'_>, sign: f64| {
            let mut sum = reduced(&map(a_side), a.schema - schema);
            for (index, count) in reduced(&map(b_side), b.schema - schema) {
                *sum.entry(index).or_insert(0.0) += sign * count;
            }
            sum.retain(|_, count| *count != 0.0);
            sum
        };
        for sign in [1.0, -1.0] {
            let mut sum = a.clone();
            if sign > 0.0 { sum.add(&b) } else { sum.sub(&b) }.unwrap();
            prop_assert_eq!(sum.schema, schema);
            prop_assert_eq!(map(sum.positive()), expected(a.positive(), b.positive(), sign));
            prop_assert_eq!(map(sum.negative()), expected(a.negative(), b.negative(), sign));
            prop_assert_eq!(sum.count, a.count + sign * b.count);
            prop_assert_eq!(sum.zero_count, a.zero_count + sign * b.zero_count);
            sum.compact();
            prop_assert!(sum.positive_buckets.iter().all(|count| *count != 0.0));
        }
    }

    #[test]
    fn additions_with_zero_buckets_lose_nothing_and_commute(
        a in any_exponential(), b in any_exponential(), at in any_threshold(), bt in any_threshold(),
    ) {
        let (mut a, mut b) = (a, b);
        a.widen_zero_bucket(at);
        b.widen_zero_bucket(bt);
        let (mut ab, mut ba) = (a.clone(), b.clone());
        ab.add(&b).unwrap();
        ba.add(&a).unwrap();
        ab.compact();
        ba.compact();
        prop_assert!(ab.same_as(&ba), "{ab} and {ba}");
        let total = |h: &FloatHistogram| h.zero_count + h.positive_buckets.iter().chain(&h.negative_buckets).sum::<f64>();
        prop_assert_eq!(total(&ab), total(&a) + total(&b));
        prop_assert!(ab.zero_threshold >= a.zero_threshold.max(b.zero_threshold));

        let mut compensated = CompensatedHistogram::new(a.clone());
        compensated.add(&b).unwrap();
        let mut compensated = compensated.total();
        compensated.compact();
        prop_assert!(compensated.same_as(&ab), "{compensated} and {ab}");
        prop_assert!(!ab.detect_reset(&a), "{ab} after {a}");
    }

    #[test]
    fn custom_buckets_meet_at_shared_bounds(a in any_custom(), b in any_custom()) {
        let cumulative = |h: &FloatHistogram, bound: f64| -> f64 {
            h.buckets().filter(|bucket| bucket.upper <= bound).map(|bucket| bucket.count).sum()
        };
        let mut sum = a.clone();
        let combined = sum.add(&b).unwrap();
        prop_assert_eq!(combined.bounds_reconciled, a.custom_values != b.custom_values);
        for bound in sum.custom_values.iter().copied().chain([f64::INFINITY]) {
            prop_assert_eq!(cumulative(&sum, bound), cumulative(&a, bound) + cumulative(&b, bound));
        }
        prop_assert!(sum.validate().is_ok());
        let mut compensated = CompensatedHistogram::new(a.clone());
        compensated.add(&b).unwrap();
        let mut compensated = compensated.total();
        compensated.compact();
        sum.compact();
        prop_assert!(compensated.same_as(&sum), "{compensated} and {sum}");
        prop_assert!(!sum.detect_reset(&a));
    }

    #[test]
    fn buckets_are_the_same_from_either_end(h in any_exponential(), threshold in any_threshold()) {
        let mut h = h;
        h.widen_zero_bucket(threshold);
        let forward: Vec<_> = h.buckets().collect();
        let mut backward: Vec<_> = h.buckets().rev().collect();
        backward.reverse();
        prop_assert_eq!(&forward, &backward);
        prop_assert!(forward.windows(2).all(|pair| pair[0].upper <= pair[1].lower));
        prop_assert!(h.validate().is_ok());
    }

    #[test]
    fn a_lower_count_is_a_reset(h in any_exponential()) {
        if let Some(bucket) = h.positive_buckets.iter().position(|count| *count > 0.0) {
            let mut lower = h.clone();
            lower.positive_buckets[bucket] -= 1.0;
            prop_assert!(lower.detect_reset(&h));
            prop_assert!(!h.detect_reset(&lower));
        }
        prop_assert!(!h.detect_reset(&h));
        prop_assert!(!h.copy_to_schema(-4).detect_reset(&h));
    }

    #[test]
    fn fraction_is_the_inverse_of_quantile(h in any_exponential(), q in 0.01..0.99f64) {
        let (value, _) = h.quantile(q);
        if h.count > 0.0 && value != 0.0 {
            let (fraction, _) = h.fraction(f64::NEG_INFINITY, value);
            prop_assert!((fraction - q).abs() < 1e-9, "{h}: {value} at {q} has {fraction}");
        }
    }

    #[test]
    fn both_halves_of_a_trim_make_the_whole(h in any_exponential(), limit in -9.0..9.0f64) {
        let below = h.trim(Keep::Below, limit);
        let above = h.trim(Keep::Above, limit);
        prop_assert!((below.count + above.count - h.count).abs() < 1e-9 * h.count.max(1.0));
        prop_assert!(below.buckets().all(|bucket| bucket.lower <= limit));
        if h.count > 0.0 && limit != 0.0 {
            let (fraction, _) = h.fraction(f64::NEG_INFINITY, limit);
            prop_assert!((fraction * h.count - below.count).abs() < 1e-6, "{h} at {limit}: {below}");
        }
    }
}

#[test]
fn integers_become_floats() {
    let int = IntHistogram {
        count: 6,
        zero_count: 1,
        sum: 3.5,
        positive_spans: vec![
            Span {
                offset: 1,
                length: 2,
            },
            Span {
                offset: 1,
                length: 1,
            },
        ],
        positive_deltas: vec![1, 1, -1],
        negative_spans: vec![Span {
            offset: 0,
            length: 1,
        }],
        negative_deltas: vec![1],
        ..IntHistogram::default()
    };
    assert_eq!(int.validate(), Ok(()));
    let float = FloatHistogram::from(&int);
    assert_eq!(float.positive_buckets, [1.0, 2.0, 1.0]);
    assert_eq!(map(float.positive()), [(1, 1.0), (2, 2.0), (4, 1.0)].into());
    assert_eq!(
        float.to_string(),
        "{{count:6 sum:3.5 z_bucket:1 offset:1 buckets:[1 2 0 1] n_buckets:[1]}}"
    );
}

#[test]
fn contradictions_are_refused() {
    fn check(change: impl FnOnce(&mut FloatHistogram), expected: &str) {
        let mut h = with_zero(exponential(0, &[(0, 1.0), (3, 2.0)], &[(1, 1.0)]), 0.1, 1.0);
        change(&mut h);
        let error = h.validate().expect_err(expected).to_string();
        assert!(error.contains(expected), "{error} does not say {expected}");
    }
    check(|h| h.schema = 9, "unknown schema 9");
    check(
        |h| h.positive_buckets.truncate(1),
        "need 2 buckets, it has 1",
    );
    check(|h| h.positive_spans[1].offset = -1, "span number 2");
    check(|h| h.negative_spans[0].offset = i32::MAX, "span number 1");
    check(|h| h.negative_spans[0].length = u32::MAX, "more than 65536");
    check(|h| h.positive_buckets[1] = -1.0, "bucket number 2");
    check(|h| h.zero_count = -1.0, "zero bucket");
    check(|h| h.count = -1.0, "observation count -1");
    check(|h| h.zero_threshold = f64::NAN, "zero threshold");
    check(|h| h.custom_values = vec![1.0], "custom bounds");
    check(|h| h.schema = CUSTOM_BUCKETS_SCHEMA, "a zero bucket");

    let mut h = custom(&[1.0, 2.0], &[1.0, 2.0, 3.0]);
    assert_eq!(h.validate(), Ok(()));
    h.custom_values = vec![2.0, 1.0];
    assert_eq!(
        h.validate(),
        Err(HistogramError::CustomBounds {
            number: 2,
            bound: 1.0
        })
    );
    h.custom_values = vec![f64::NEG_INFINITY, 2.0];
    assert_eq!(h.validate(), Ok(()));
    h.custom_values = vec![1.0, f64::INFINITY];
    assert!(h.validate().is_err());
    h.custom_values = vec![1.0, f64::NAN];
    assert!(h.validate().is_err());
    h.custom_values = vec![2.0];
    assert_eq!(
        h.validate(),
        Err(HistogramError::CustomIndex {
            bounds: 1,
            index: 2
        })
    );

    let int = IntHistogram {
        count: 3,
        positive_spans: vec![Span {
            offset: 0,
            length: 2,
        }],
        positive_deltas: vec![1, -2],
        ..IntHistogram::default()
    };
    assert!(matches!(
        int.validate(),
        Err(HistogramError::NegativeBucket { number: 2, .. })
    ));
    let int = IntHistogram {
        positive_deltas: vec![1, 0],
        ..int
    };
    assert_eq!(
        int.validate(),
        Err(HistogramError::CountMismatch {
            buckets: 2,
            count: 3
        })
    );
}

#[test]
fn spans_and_counts_that_differ_do_not_panic() {
    let spans = [
        Span {
            offset: 2,
            length: 2,
        },
        Span {
            offset: 1,
            length: 0,
        },
        Span {
            offset: 0,
            length: 2,
        },
    ];
    let full = [1.0, 2.0, 3.0, 4.0];
    for counts in 0..=4 {
        let expected: Vec<_> = [2, 3, 5, 6].into_iter().zip(full).take(counts).collect();
        let walk = Indexed::new(&spans, &full[..counts]);
        assert_eq!(walk.clone().collect::<Vec<_>>(), expected);
        assert_eq!(
            walk.rev().collect::<Vec<_>>(),
            expected.into_iter().rev().collect::<Vec<_>>()
        );
    }
    assert_eq!(Indexed::new(&spans[..1], &full).count(), 2);
    assert_eq!(Indexed::new(&[], &full).rev().count(), 0);
}

#[test]
fn reset_hints_combine() {
    use ResetHint::{Gauge, NotReset, Reset, Unknown};
    fn check(a: ResetHint, b: ResetHint, expected: ResetHint, collided: bool) {
        for (a, b) in [(a, b), (b, a)] {
            let mut sum = FloatHistogram {
                reset_hint: a,
                ..FloatHistogram::default()
            };
            let other = FloatHistogram {
                reset_hint: b,
                ..FloatHistogram::default()
            };
            assert_eq!(
                sum.add(&other).unwrap().reset_hints_collided,
                collided,
                "{a:?} and {b:?}"
            );
            assert_eq!(sum.reset_hint, expected, "{a:?} and {b:?}");
        }
    }
    check(Reset, Reset, Reset, false);
    check(NotReset, NotReset, NotReset, false);
    check(Gauge, Reset, Gauge, false);
    check(Unknown, Reset, Unknown, false);
    check(Unknown, Gauge, Gauge, false);
    check(Reset, NotReset, Unknown, true);
}

#[test]
fn quantiles_of_known_histograms() {
    fn check(h: &FloatHistogram, q: f64, expected: f64) {
        let (value, _) = h.quantile(q);
        let close = (value - expected).abs() <= 1e-12 * expected.abs() || value == expected;
        assert!(
            close || value.is_nan() && expected.is_nan(),
            "{h} at {q}: {value}, not {expected}"
        );
    }
    let mirrored = with_zero(
        exponential(
            0,
            &[(0, 2.0), (1, 3.0), (3, 1.0), (4, 4.0)],
            &[(0, 2.0), (1, 3.0), (3, 1.0), (4, 4.0)],
        ),
        0.001,
        4.0,
    );
    check(&mirrored, 1.0, 16.0);
    check(&mirrored, 0.9, 10.556063286183155);
    check(&mirrored, 0.7, 1.2030250360821164);
    check(&mirrored, 0.55, 0.0006000000000000005);
    check(&mirrored, 0.1, -10.556063286183155);
    check(&mirrored, -0.5, f64::NEG_INFINITY);
    check(&mirrored, f64::NAN, f64::NAN);
    check(&FloatHistogram::default(), 0.5, f64::NAN);
    let bounded = custom(&[5.0, 10.0], &[1.0, 2.0, 1.0]);
    check(&bounded, 0.5, 7.5);
    check(&bounded, 0.1, 2.0);
    check(&bounded, 1.0, 10.0);
    let with_nan = FloatHistogram {
        count: 15.0,
        sum: f64::NAN,
        ..exponential(0, &[(0, 12.0)], &[])
    };
    assert_eq!(with_nan.quantile(0.8), (1.0, NanEffect::Skewed));
    assert_eq!(with_nan.quantile(0.81).1, NanEffect::Result);
    assert_eq!(
        with_nan.fraction(f64::NEG_INFINITY, f64::INFINITY),
        (0.8, NanEffect::Skewed)
    );
}

#[test]
fn fractions_of_custom_buckets_know_no_ends() {
    let h = custom(&[-3.0, -2.0, -1.0], &[10.0, 2.0, 3.0, 85.0]);
    assert_eq!(h.fraction(-4.0, -2.0).0, 0.02);
    assert_eq!(h.fraction(f64::NEG_INFINITY, -1.5).0, 0.135);
    assert_eq!(h.fraction(0.0, 1.0).0, 0.0);
    assert_eq!(h.fraction(0.0, f64::INFINITY).0, 0.85);
}

#[test]
fn trimming_custom_buckets() {
    fn check(h: &FloatHistogram, keep: Keep, limit: f64, count: f64, sum: f64) {
        let trimmed = h.trim(keep, limit);
        assert!(
            (trimmed.count - count).abs() < 1e-9 && (trimmed.sum - sum).abs() < 1e-9,
            "{limit}: {trimmed}"
        );
    }
    let h = FloatHistogram {
        sum: 172.5,
        ..custom(&[5.0, 10.0, 15.0, 20.0], &[1.0, 6.0, 4.0, 3.0, 1.0])
    };
    check(&h, Keep::Below, 13.0, 9.4, 75.1);
    check(&h, Keep::Above, 13.0, 5.6, 94.9);
    check(&h, Keep::Below, 50.0, 14.0, 150.0);
    check(&h, Keep::Below, f64::INFINITY, 15.0, 172.5);
    check(&h, Keep::Above, 0.0, 15.0, 172.5);
    check(&h, Keep::Below, 0.0, 0.0, 0.0);
    check(&h, Keep::Above, f64::INFINITY, 0.0, 0.0);
    let h = FloatHistogram {
        sum: 33.0,
        ..custom(&[-5.0], &[1.0, 100.0])
    };
    check(&h, Keep::Below, -10.0, 1.0, -10.0);
    check(&h, Keep::Above, -2.0, 100.0, -200.0);
    let h = FloatHistogram {
        sum: 100.0,
        ..custom(&[], &[100.0])
    };
    check(&h, Keep::Below, 10.0, 0.0, 0.0);
    check(&h, Keep::Above, f64::NEG_INFINITY, 100.0, 100.0);
}

#[test]
fn compensation_keeps_small_numbers() {
    let sums = |number: f64| FloatHistogram {
        count: 1.0,
        sum: number,
        ..FloatHistogram::default()
    };
    let mut total = CompensatedHistogram::new(sums(1.0));
    for number in [1e100, 1.0, -1e100] {
        total.add(&sums(number)).unwrap();
    }
    assert_eq!(total.total().sum, 2.0);
    assert_eq!(total_of(&[1.0, 1e100, 1.0, -1e100]), 2.0);
    assert_eq!(total_of(&[f64::MAX, f64::MAX, 1.0]), f64::INFINITY);
}

fn total_of(numbers: &[f64]) -> f64 {
    let mut total = CompensatedFloat::default();
    numbers.iter().for_each(|number| total.add(*number));
    total.total()
}

#[test]
fn variance_of_buckets() {
    let h = FloatHistogram {
        sum: 10.0,
        ..exponential(2, &[(0, 1.0), (4, 1.0), (7, 1.0), (8, 1.0)], &[])
    };
    assert!(
        (h.variance() - 1.163807968526718).abs() < 1e-12,
        "{}",
        h.variance()
    );
}
