//! Functions against values worked out by hand, and against each other.

use proptest::prelude::*;

use super::testing::{check_element, check_range, column, show, with_context};
use super::*;
use crate::eval::column::{Column, Steps};
use crate::eval::kernel::BucketGroup;

#[test]
fn the_table_is_sorted_and_found() {
    assert!(FUNCTIONS.windows(2).all(|pair| pair[0].name < pair[1].name));
    assert!(
        FUNCTIONS
            .iter()
            .all(|def| lookup(def.name).is_some_and(|found| found.name == def.name))
    );
    assert!(lookup("holt_winters").is_none());
}

#[test]
fn rates() {
    fn check(kernel: RangeKernel, text: &str, range: i64, at: i64, expected: &str) {
        check_range(kernel, text, range, (at, at, 1), &[], expected);
    }
    check(rate::increase, "0 10 20 30 40", 40, 40, "40");
    check(rate::rate, "0 10 20 30 40", 20, 40, "1");
    // A reset after 5, then from zero to 7; extrapolated to the window's start.
    check(rate::increase, "0 5 2 7", 30, 30, "10.5");
    // Extrapolated to where the counter was zero, not further.
    check(rate::increase, "1 11 21 31", 60, 30, "31");
    check(rate::delta, "1 11 21 31", 60, 30, "35");
    check(rate::increase, "5", 60, 30, "_");
    check(rate::increase, "_ _ _", 60, 30, "_");
    check(
        rate::delta,
        "1 h1",
        60,
        30,
        "_ | warning: encountered a mix of histograms and floats for metric name \"m\"",
    );
    check(
        rate::increase,
        "h1 h3 h2",
        30,
        20,
        "{{count:5 sum:10 counter_reset_hint:gauge offset:1 buckets:[5]}}",
    );
    check(
        rate::increase,
        "h1 h2 c3",
        30,
        20,
        "_ | warning: vector contains a mix of histograms with exponential and custom buckets schemas for metric name \"m\"",
    );
    check(
        rate::rate,
        "g1 g2 g3",
        20,
        20,
        "{{count:0.1 sum:0.2 counter_reset_hint:gauge offset:1 buckets:[0.1]}} | warning: this native histogram metric is not a counter: \"m\"",
    );
    check(rate::delta, "h1 h2", 10, 10, "_");
    check(
        rate::delta,
        "h1 h2 h3",
        20,
        20,
        "{{count:2 sum:4 counter_reset_hint:gauge offset:1 buckets:[2]}} | warning: this native histogram metric is not a gauge: \"m\"",
    );
    check(instant_rate::irate, "0 5 2", 30, 30, "0.2");
    check(instant_rate::idelta, "0 5 2", 30, 30, "-3");
    check(
        instant_rate::idelta,
        "0 5 g2",
        30,
        30,
        "_ | warning: encountered a mix of histograms and floats for metric name \"m\"",
    );
    check(
        instant_rate::idelta,
        "7 g1 g4",
        30,
        30,
        "{{count:3 sum:6 counter_reset_hint:gauge offset:1 buckets:[3]}}",
    );
    check(
        instant_rate::irate,
        "_ h3 h1",
        30,
        30,
        "{{count:0.1 sum:0.2 counter_reset_hint:gauge offset:1 buckets:[0.1]}}",
    );
    check(instant_rate::irate, "h3", 30, 30, "_");
}

#[test]
fn transitions_between_samples() {
    fn check(kernel: RangeKernel, text: &str, range: i64, expected: &str) {
        check_range(kernel, text, range, (0, 40, 10), &[], expected);
    }
    check(transitions::resets, "3 2 1 5 4", 25, "0 1 2 1 1");
    check(transitions::changes, "NaN NaN 1 1 2", 25, "0 0 1 1 1");
    check(transitions::resets, "1 h1 h2 h1 0", 45, "0 1 1 2 3");
    check(transitions::changes, "h1 h1 h2 2 _", 25, "0 0 1 2 1");
}

#[test]
fn lines_through_windows() {
    let check = |kernel: RangeKernel, text: &str, params: &[f64], expected: &str| {
        check_range(kernel, text, 100, (40, 40, 1), params, expected);
    };
    check(regression::deriv, "0 10 20 30 40", &[], "1");
    check(regression::deriv, "3 3 3", &[], "0");
    check(regression::deriv, "3", &[], "_");
    check(regression::predict_linear, "0 10 20 30 40", &[60.0], "100");
    check(
        regression::deriv,
        "0 h1 20",
        &[],
        "1 | info: ignored histograms in a range containing both floats and histograms for metric name \"m\"",
    );
    check(
        regression::double_exponential_smoothing,
        "1 2 3 4 5",
        &[0.5, 0.5],
        "5",
    );
    check(
        regression::double_exponential_smoothing,
        "1 2",
        &[f64::NAN, 0.5],
        "NaN",
    );
}

#[test]
fn totals_over_time() {
    let mixed = " | warning: encountered a mix of histograms and floats for metric name \"m\"";
    let check = |kernel: RangeKernel, text: &str, expected: &str| {
        check_range(kernel, text, 100, (60, 60, 1), &[], expected);
    };
    check(over_time::sum, "1 1e100 1 -1e100", "2");
    check(over_time::avg, "1 1e100 1 -1e100", "0.5");
    check(over_time::avg, "1e308 1e308 1e308", "inf");
    check(over_time::count, "1 h1 NaN", "3");
    check(over_time::present, "NaN", "1");
    check(over_time::present, "_", "_");
    check(over_time::sum, "1 h1", &format!("_{mixed}"));
    check(
        over_time::sum,
        "h1 h2",
        "{{count:3 sum:6 offset:1 buckets:[3]}}",
    );
    check(
        over_time::avg,
        "h1 h2",
        "{{count:1.5 sum:3 offset:1 buckets:[1.5]}}",
    );
    check(
        over_time::avg,
        "h1",
        "{{count:1 sum:2 offset:1 buckets:[1]}}",
    );
    check(
        over_time::sum,
        "h1 c2",
        "_ | warning: vector contains a mix of histograms with exponential and custom buckets schemas for metric name \"m\"",
    );
    check(
        over_time::sum,
        "r1 n2",
        "{{count:3 sum:6 offset:1 buckets:[3]}} | warning: conflicting counter resets during histogram aggregation",
    );
    check(over_time::first, "_ 3 h1", "3");
    check(
        over_time::last,
        "_ 3 h1",
        "{{count:1 sum:2 offset:1 buckets:[1]}}",
    );
    check(over_time::last, "h1 3", "3");
    check(over_time::ts_of_first, "_ h1 3", "10");
    check(over_time::ts_of_last, "_ h1 3 _", "20");
}

#[test]
fn spread_over_time() {
    let ignored = " | info: ignored histograms in a range containing both floats and histograms for metric name \"m\"";
    let check = |kernel: RangeKernel, text: &str, params: &[f64], expected: &str| {
        check_range(kernel, text, 100, (70, 70, 1), params, expected);
    };
    check(spread::stdvar, "0 8 8 2 3", &[], "10.56");
    check(
        spread::stddev,
        "1.5990505637277868 1.5990505637277868 1.5990505637277868",
        &[],
        "0",
    );
    check(spread::stddev, "1 1 h1", &[], &format!("0{ignored}"));
    check(spread::stddev, "h1", &[], "_");
    check(spread::mad, "4 6 2 1 999 1 2", &[], "1");
    check(spread::mad, "1 2 NaN 4", &[], "NaN");
    check(spread::quantile, "0 1 4", &[0.75], "2.5");
    check(spread::quantile, "0 1 4", &[0.0], "0");
    check(
        spread::quantile,
        "0 1",
        &[2.0],
        "inf | warning: quantile value should be between 0 and 1, got 2",
    );
    check(extremes::min, "2 NaN 1", &[], "1");
    check(extremes::max, "NaN NaN", &[], "NaN");
    check(extremes::max, "0 1 h2", &[], &format!("1{ignored}"));
    check(extremes::ts_of_min, "1 2 3 0 5 0 2", &[], "50");
    check(extremes::ts_of_max, "6 2 6 1", &[], "20");
}

#[test]
fn math_of_floats() {
    check_element(math::abs, "-1 _ h1 NaN", &[], "1 _ _ NaN");
    check_element(math::sgn, "-inf 0 3 NaN", &[], "-1 0 1 NaN");
    check_element(math::round, "2.5 -2.5 0.49", &[], "3 -2 0");
    check_element(math::round, "17", &[5.0], "15");
    check_element(math::clamp, "-50 0 100", &[-25.0, 75.0], "-25 0 75");
    check_element(math::clamp, "1 2", &[5.0, -5.0], "_ _");
    check_element(math::clamp, "1", &[f64::NAN, 0.0], "NaN");
    check_element(math::clamp_min, "-50 5", &[0.0], "0 5");
    check_element(math::clamp_max, "-50 5", &[0.0], "-50 0");
    check_element(math::deg, "3.141592653589793", &[], "180");
    check_element(math::ln, "0 -1 1", &[], "-inf NaN 0");
    check_element(native::count, "1 h2 _", &[], "_ 2 _");
    check_element(native::avg, "h2", &[], "2");
}

fn check_buckets(
    kernel: BucketKernel,
    classic: &[(f64, &str)],
    native: Option<&str>,
    params: &[f64],
    expected: &str,
) {
    let columns: Vec<_> = classic
        .iter()
        .map(|(bound, text)| (*bound, column(text)))
        .collect();
    let classic: Vec<(f64, &Column)> = columns
        .iter()
        .map(|(bound, column)| (*bound, column))
        .collect();
    let native = native.map(column);
    let group = BucketGroup {
        classic: &classic,
        native: native.as_ref(),
    };
    let params: Vec<_> = params
        .iter()
        .map(|value| ScalarColumn::Const(*value))
        .collect();
    let count = columns
        .first()
        .map(|(_, column)| column.len())
        .or(native.as_ref().map(Column::len))
        .unwrap();
    let steps = Steps {
        start: 0,
        step: 1,
        count,
    };
    let shown = with_context(steps, |context| {
        let mut out = Column::absent(count);
        kernel(&group, &params, &mut out, context);
        show(&out)
    });
    assert_eq!(shown, expected);
}

#[test]
fn buckets_of_classic_histograms() {
    let inf = f64::INFINITY;
    let plain = [
        (0.0, "0 0"),
        (2.0, "1 1"),
        (4.0, "2 2"),
        (6.0, "3 _"),
        (inf, "3 _"),
    ];
    check_buckets(buckets::quantile, &plain, None, &[0.5], "3 NaN");
    check_buckets(buckets::quantile, &plain, None, &[1.0], "6 NaN");
    check_buckets(buckets::quantile, &plain, None, &[-1.0], "-inf -inf");
    check_buckets(buckets::fraction, &plain, None, &[0.0, 3.0], "0.5 NaN");
    let falling = [
        (0.1, "2"),
        (1.0, "1"),
        (10.0, "5"),
        (100.0, "4"),
        (1000.0, "9"),
        (inf, "8"),
    ];
    let forced = " | info: input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile) for metric name \"m\", from buckets 1 to +Inf, with a max diff of 1, over 1 samples from 1970-01-01T00:00:00Z to 1970-01-01T00:00:00Z";
    check_buckets(
        buckets::quantile,
        &falling,
        None,
        &[0.5],
        &format!("8.5{forced}"),
    );
    let twice = [(1.0, "1"), (1.0, "1"), (inf, "2"), (inf, "2")];
    check_buckets(buckets::quantile, &twice, None, &[0.25], "0.5");
    check_buckets(buckets::quantile, &[(inf, "1")], None, &[0.5], "NaN");
    check_buckets(
        buckets::quantile,
        &[(inf, "1 _")],
        Some("h1 h1"),
        &[1.0],
        "_ 2 | warning: vector contains a mix of classic and native histograms for metric name \"m\"",
    );
    check_buckets(buckets::fraction, &[], Some("h1 _"), &[1.0, 2.0], "1 _");
}

#[test]
fn parameters_out_of_range_are_errors() {
    let params = |values: [f64; 2]| values.map(ScalarColumn::Const);
    let check = |values| check_params("double_exponential_smoothing", &params(values), 0);
    assert_eq!(check([0.5, 0.5]), Ok(()));
    assert_eq!(
        check([1.0, 0.5]),
        Err("invalid smoothing factor. Expected: 0 < sf < 1, got: 1.000000".to_owned())
    );
    assert_eq!(
        check([0.5, 0.0]),
        Err("invalid trend factor. Expected: 0 < tf < 1, got: 0.000000".to_owned())
    );
}

/// What a function is over each window on its own.
fn check_sliding(kernel: RangeKernel, values: &[Option<i32>], range: i64, step: i64) {
    use crate::eval::kernel::{RangeInput, Windows};
    let words: Vec<_> = values
        .iter()
        .map(|v| v.map_or("_".to_owned(), |v| v.to_string()))
        .collect();
    let samples = testing::samples(&words.join(" "));
    let run = |steps: Steps| {
        let mut windows = Windows {
            steps,
            range_ms: range,
            offset_ms: 0,
            at_ms: None,
            edge: crate::ast::Edge::Open,
            lookback_ms: 0,
            windows: Vec::new(),
        };
        windows.place(&samples);
        let input = RangeInput {
            samples: &samples,
            windows: &windows,
            params: &[],
            interrupt: &crate::eval::kernel::Interrupt::never(),
        };
        let mut out = Column::absent(steps.count);
        with_context(steps, |context| {
            kernel(&input, &mut out, context);
            std::string::String::new()
        });
        out.floats
    };
    let all = Steps::range(0, values.len() as i64 * 10_000 + 20_000, step);
    for (t, value) in all.times().zip(run(all)) {
        let alone = run(Steps::instant(t))[0];
        assert_eq!(
            value.to_bits(),
            alone.to_bits(),
            "at {t}: {value}, alone {alone}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn steps_do_not_depend_on_each_other(
        values in prop::collection::vec(prop::option::weighted(0.9, 0..20i32), 0..40),
        range in 1..200_000i64,
        step in 1_000..60_000i64,
    ) {
        for kernel in [
            rate::rate, rate::delta, instant_rate::irate, transitions::resets, transitions::changes,
            over_time::sum, over_time::avg, extremes::min, extremes::max, extremes::ts_of_min,
            extremes::ts_of_max, spread::stddev, spread::mad, regression::deriv,
        ] {
            check_sliding(kernel, &values, range, step);
        }
    }
}

/// The increase of a counter over samples within a window, sample by sample.
fn naive_increase(samples: &[(i64, f64)], start: i64, end: i64) -> Option<f64> {
    let (first, last) = (samples.first()?, samples.last()?);
    if samples.len() < 2 {
        return None;
    }
    let mut change = last.1 - first.1;
    for pair in samples.windows(2) {
        if pair[1].1 < pair[0].1 {
            change += pair[0].1;
        }
    }
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let sampled = seconds(last.0 - first.0);
    let average = sampled / (samples.len() - 1) as f64;
    let mut before = seconds(first.0 - start);
    let mut after = seconds(end - last.0);
    if before >= average * 1.1 {
        before = average / 2.0;
    }
    if change > 0.0 && first.1 >= 0.0 {
        before = before.min(sampled * (first.1 / change));
    }
    if after >= average * 1.1 {
        after = average / 2.0;
    }
    Some(change * ((sampled + before + after) / sampled))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn increase_is_that_of_all_samples(
        values in prop::collection::vec((1..30_000i64, 0..50u32), 0..60),
        range in 1..200_000i64,
        step in 1_000..60_000i64,
    ) {
        use crate::eval::kernel::{RangeInput, Windows};
        let mut samples = model::select::SeriesSamples::default();
        let mut t = 0;
        for (gap, value) in values {
            t += gap;
            samples.ts.push(t);
            samples.values.push(f64::from(value));
        }
        let steps = Steps::range(0, t + 50_000, step);
        let mut windows = Windows { steps, range_ms: range, offset_ms: 0, at_ms: None, edge: crate::ast::Edge::Open, lookback_ms: 0, windows: Vec::new() };
        windows.place(&samples);
        let input = RangeInput { samples: &samples, windows: &windows, params: &[], interrupt: &crate::eval::kernel::Interrupt::never() };
        let mut out = Column::absent(steps.count);
        with_context(steps, |context| {
            rate::increase(&input, &mut out, context);
            std::string::String::new()
        });
        for (step, end) in steps.times().enumerate() {
            let pairs = samples.ts.iter().copied().zip(samples.values.iter().copied());
            let within: Vec<_> = pairs.filter(|(t, _)| *t > end - range && *t <= end).collect();
            let expected = naive_increase(&within, end - range, end);
            prop_assert_eq!(out.float(step), expected, "at {}", end);
        }
    }
}
