//! Records of all sorts, there and back.

use model::histogram::{FloatHistogram, Histogram, IntHistogram, ResetHint, Span};
use model::sample::stale_nan;
use proptest::prelude::*;

use super::*;

/// The rows of a record, with floats by their bits.
#[derive(Clone, Debug, Default, PartialEq)]
struct Rows {
    series: Vec<(u32, Fingerprint, Labels)>,
    samples: Vec<(u32, i64, u64, i64)>,
    histograms: Vec<(u32, HistogramSample)>,
    exemplars: Vec<(u32, Exemplar)>,
    metadata: Vec<MetricMetadata>,
}

fn encode(encoder: &mut RecordEncoder, tenant: &TenantId, rows: &Rows) -> Vec<u8> {
    encoder.begin(tenant);
    for (series_ref, fingerprint, labels) in &rows.series {
        encoder.series(*series_ref, *fingerprint, labels);
    }
    for (series_ref, t, v, start) in &rows.samples {
        encoder.sample(*series_ref, *t, f64::from_bits(*v), *start);
    }
    for (series_ref, histogram) in &rows.histograms {
        encoder.histogram(*series_ref, histogram);
    }
    for (series_ref, exemplar) in &rows.exemplars {
        encoder.exemplar(*series_ref, exemplar);
    }
    for metadata in &rows.metadata {
        encoder.metadata(metadata);
    }
    assert_eq!(encoder.is_empty(), *rows == Rows::default());
    let bound = encoder.size();
    let bytes = encoder.finish().to_vec();
    assert!(bytes.len() <= bound, "{} bytes, {bound} said", bytes.len());
    assert!(
        bound <= bytes.len() + 450,
        "{} bytes, {bound} said",
        bytes.len()
    );
    bytes
}

fn decode(bytes: &[u8]) -> Result<(TenantId, Rows), RecordError> {
    let record = Record::parse(bytes)?;
    let mut rows = Rows::default();
    record.each_series(|series_ref, fingerprint, labels| {
        let labels = Labels::from_sorted(labels.iter().copied());
        rows.series.push((series_ref, fingerprint, labels));
    })?;
    record.each_sample(|series_ref, Sample { t, v, start }| {
        rows.samples.push((series_ref, t, v.to_bits(), start));
    })?;
    assert_eq!(record.sample_count()?, rows.samples.len());
    record.each_histogram(|series_ref, histogram| rows.histograms.push((series_ref, histogram)))?;
    record.each_exemplar(|series_ref, exemplar| rows.exemplars.push((series_ref, exemplar)))?;
    record.each_metadata(|metadata| rows.metadata.push(metadata))?;
    Ok((record.tenant().clone(), rows))
}

fn check(encoder: &mut RecordEncoder, rows: &Rows) {
    let tenant = TenantId::anonymous();
    let bytes = encode(encoder, &tenant, rows);
    let (found, decoded) = decode(&bytes).unwrap();
    assert_eq!(found, tenant);
    assert_eq!(decoded, *rows);
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        any::<u64>().prop_map(f64::from_bits),
        any::<i64>().prop_map(|whole| whole as f64),
        (-5000_i64..5000).prop_map(|whole| whole as f64),
        (any::<i32>(), 0..12_i32)
            .prop_map(|(whole, places)| f64::from(whole) / 10_f64.powi(places)),
        any::<u32>().prop_map(|pages| f64::from(pages) * 4096.0),
        Just(0.0),
        Just(-0.0),
        Just(f64::INFINITY),
        Just(f64::NAN),
        Just(stale_nan()),
        Just(9_223_372_036_854_775_807.0),
        Just(-9_223_372_036_854_775_808.0),
    ]
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![
        any::<i64>(),
        1_790_000_000_000..1_790_000_000_003_i64,
        Just(0)
    ]
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![any::<u32>(), 0..9_u32]
}

fn labels() -> impl Strategy<Value = Labels> {
    let pairs = prop::collection::btree_map("[a-d]{1,2}", "[x-z\u{e9}]{1,3}", 0..6);
    pairs.prop_map(|pairs| Labels::from_pairs(pairs.iter()))
}

fn spans() -> impl Strategy<Value = Vec<Span>> {
    let span = (any::<i32>(), 0..5_u32).prop_map(|(offset, length)| Span { offset, length });
    prop::collection::vec(span, 0..3)
}

/// Floats that equal themselves, as histograms are compared with `==`.
fn plain() -> impl Strategy<Value = f64> {
    prop::num::f64::NORMAL
}

fn histogram() -> impl Strategy<Value = Histogram> {
    let hint = prop::sample::select(vec![
        ResetHint::Unknown,
        ResetHint::Reset,
        ResetHint::NotReset,
        ResetHint::Gauge,
    ]);
    let layout = || {
        (
            prop_oneof![Just(3), any::<i32>()],
            plain(),
            spans(),
            spans(),
        )
    };
    let floats = || prop::collection::vec(plain(), 0..4);
    let deltas = || prop::collection::vec(any::<i64>(), 0..4);
    let int = (
        hint.clone(),
        layout(),
        any::<(u64, u64)>(),
        plain(),
        deltas(),
        deltas(),
        floats(),
    );
    let float = (
        hint,
        layout(),
        plain(),
        plain(),
        floats(),
        floats(),
        floats(),
    );
    let int = int.prop_map(
        |(reset_hint, layout, counts, sum, positive, negative, custom)| {
            Histogram::Int(Box::new(IntHistogram {
                reset_hint,
                schema: layout.0,
                zero_threshold: layout.1,
                zero_count: counts.0,
                count: counts.1,
                sum,
                positive_spans: layout.2,
                negative_spans: layout.3,
                positive_deltas: positive,
                negative_deltas: negative,
                custom_values: custom,
            }))
        },
    );
    let float = float.prop_map(
        |(reset_hint, layout, count, sum, positive, negative, custom)| {
            Histogram::Float(Box::new(FloatHistogram {
                reset_hint,
                schema: layout.0,
                zero_threshold: layout.1,
                zero_count: count,
                count,
                sum,
                positive_spans: layout.2,
                negative_spans: layout.3,
                positive_buckets: positive,
                negative_buckets: negative,
                custom_values: custom,
            }))
        },
    );
    prop_oneof![int, float]
}

fn rows() -> impl Strategy<Value = Rows> {
    let series = (number(), any::<u128>(), labels());
    let series = series.prop_map(|(number, hash, labels)| (number, Fingerprint(hash), labels));
    let sample = (
        number(),
        time(),
        value().prop_map(f64::to_bits),
        prop_oneof![Just(0), time()],
    );
    let histogram = (number(), time(), time(), histogram(), any::<bool>());
    let exemplar = (number(), labels(), plain(), time());
    let metadata = (0..8_usize, ".{0,9}", ".{0,9}", ".{0,9}");
    let metadata = metadata.prop_map(|(kind, metric, help, unit)| MetricMetadata {
        metric,
        kind: MetricType::ALL[kind],
        help,
        unit,
    });
    let all = (
        prop::collection::vec(series, 0..8),
        prop::collection::vec(sample, 0..40),
        prop::collection::vec(histogram, 0..5),
        prop::collection::vec(exemplar, 0..5),
        prop::collection::vec(metadata, 0..5),
    );
    all.prop_map(|(series, samples, histograms, exemplars, metadata)| {
        let mut made: Vec<(u32, HistogramSample)> = Vec::new();
        for (number, t, start, histogram, twice) in histograms {
            let sample = HistogramSample {
                t,
                start,
                histogram,
            };
            made.push((number, sample.clone()));
            if twice {
                made.push((number, sample));
            }
        }
        let exemplar = |(number, labels, v, t)| (number, Exemplar { labels, v, t });
        Rows {
            series,
            samples,
            histograms: made,
            exemplars: exemplars.into_iter().map(exemplar).collect(),
            metadata,
        }
    })
}

proptest! {
    #[test]
    fn gives_back_what_was_put_in(first in rows(), second in rows()) {
        let mut encoder = RecordEncoder::default();
        check(&mut encoder, &first);
        check(&mut encoder, &second);
    }

    #[test]
    fn malformed_bytes_are_refused_without_panic(rows in rows(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = encode(&mut RecordEncoder::default(), &TenantId::anonymous(), &rows);
        let at = at.index(bytes.len());
        prop_assert!(decode(&bytes[..at]).is_err());
        bytes[at] = byte;
        drop(decode(&bytes));
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut record = vec![1, 1, b'a'];
        record.extend_from_slice(&bytes);
        drop(decode(&record));
    }
}

#[test]
fn size_follows_what_is_added() {
    let mut encoder = RecordEncoder::default();
    encoder.begin(&TenantId::anonymous());
    let text = |number: u32| format!("{number}{}", "x".repeat(number as usize % 400));
    for number in 0..2000 {
        let before = encoder.size();
        let labels = Labels::from_pairs([("job", text(number).as_str())]);
        encoder.series(number * number, Fingerprint(1), &labels);
        assert!(encoder.size() > before);
    }
    let bound = encoder.size();
    let size = encoder.finish().len();
    assert!(size <= bound && bound < size + size / 50, "{size}, {bound}");
}

#[test]
fn shrink_gives_back_only_much_memory() {
    let mut encoder = RecordEncoder::default();
    let rows = golden_rows();
    check(&mut encoder, &rows);
    let held = encoder.capacity();
    assert!(held > 0);
    encoder.shrink(held);
    assert_eq!(encoder.capacity(), held);
    encoder.shrink(held - 1);
    assert_eq!(encoder.capacity(), 0);
    check(&mut encoder, &rows);
}

#[test]
fn scraped_values_take_few_bytes() {
    let check = |values: &[f64], most: usize| {
        let mut column = ValueEncoder::default();
        values.iter().for_each(|value| column.push(*value));
        let mut bytes = Vec::new();
        column.write(&mut bytes);
        assert!(bytes.len() <= most, "{values:?}: {} bytes", bytes.len());
    };
    // A tag each, the size of the whole numbers, and what follows.
    check(&[0.0; 10], 10 + 1);
    check(&[123_456.0, 123_456.0, 123_460.0, 123_470.0], 4 + 1 + 3 + 2);
    check(&[1.5, 0.25, 12.75], 3 + 1 + 1 + 1 + 2);
    check(&[f64::from(1 << 30)], 1 + 1 + 3);
    check(&[stale_nan()], 1 + 1);
}

fn golden_rows() -> Rows {
    let labels =
        |le: &str| Labels::from_pairs([("__name__", "d_bucket"), ("job", "é"), ("le", le)]);
    let value = |v: f64| v.to_bits();
    let layout = IntHistogram {
        reset_hint: ResetHint::NotReset,
        schema: 3,
        zero_threshold: 1e-128,
        zero_count: 2,
        count: 9,
        sum: 12.5,
        positive_spans: vec![Span {
            offset: -2,
            length: 2,
        }],
        positive_deltas: vec![4, -1],
        ..IntHistogram::default()
    };
    let histogram = |t| HistogramSample {
        t,
        start: 900,
        histogram: Histogram::Int(Box::new(layout.clone())),
    };
    let series = |number: u32, le: &str| (number, Fingerprint::of(&labels(le)), labels(le));
    Rows {
        series: vec![series(7, "0.5"), series(8, "1"), series(11, "+Inf")],
        samples: vec![
            (7, 1000, value(17.0), 900),
            (8, 1000, value(300.0), 900),
            (11, 1000, value(305.0), 900),
            (12, 1005, value(0.125), 0),
            (13, 1005, value(std::f64::consts::PI), 0),
            (14, 1005, value(8192.0 * 4096.0), 0),
            (15, 1005, value(stale_nan()), 0),
            (16, 1005, value(-3.0), 0),
        ],
        histograms: vec![(20, histogram(1000)), (20, histogram(1015))],
        exemplars: vec![(
            8,
            Exemplar {
                labels: Labels::from_pairs([("trace_id", "abc")]),
                v: 0.75,
                t: 999,
            },
        )],
        metadata: vec![MetricMetadata {
            metric: "d".to_owned(),
            kind: MetricType::Histogram,
            help: "How long.".to_owned(),
            unit: "s".to_owned(),
        }],
    }
}

/// Golden bytes: a reader of this version has to read them for ever.
#[test]
fn reads_records_of_version_1() {
    let golden = include_bytes!("../../../testdata/wal-record-v1.bin");
    let tenant = TenantId::new("team-1").unwrap();
    assert_eq!(decode(golden).unwrap(), (tenant.clone(), golden_rows()));
    let written = encode(&mut RecordEncoder::default(), &tenant, &golden_rows());
    assert_eq!(written, golden);
}
