//! Decoding held against prost on arbitrary requests, and what becomes of bad ones.

use std::collections::BTreeMap;

use model::exemplar::Exemplar;
use model::fingerprint::Fingerprint;
use model::histogram::{FloatHistogram, Histogram, HistogramSample, IntHistogram, ResetHint, Span};
use model::labels::Labels;
use model::limits::Limits;
use model::sample::Sample;
use model::write::{LabelSource, MetricMetadata, MetricType};
use proptest::prelude::*;
use prost::Message;

use super::{DecodeError, Decoded, Decoder, Rejected, Version};
use crate::proto::{v1, v2};
use crate::remote_write::encode::Symbols;

/// A decoded request with everything owned.
#[derive(Clone, Debug, Default, PartialEq)]
struct Owned {
    rows: Vec<Row>,
    metadata: Vec<MetricMetadata>,
    rejected: Rejected,
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    labels: Labels,
    samples: Vec<(i64, u64, i64)>,
    histograms: Vec<HistogramSample>,
    exemplars: Vec<Exemplar>,
}

fn own(decoded: &Decoded<'_>) -> Owned {
    let batch = &decoded.batch;
    let mut rows = Vec::new();
    let (mut samples, mut histograms, mut exemplars) = (0, 0, 0);
    for series in &batch.series {
        let mut pairs = Vec::new();
        series.labels.for_each(&mut |name, value| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            pairs.push((text(name), text(value)));
        });
        let labels = Labels::from_pairs(pairs);
        assert_eq!(series.fingerprint, Fingerprint::of(&labels));
        let ends = [
            series.samples_end,
            series.histograms_end,
            series.exemplars_end,
        ];
        let [s, h, e] = ends.map(|end| end as usize);
        let bits = |s: &Sample| (s.t, s.v.to_bits(), s.start);
        rows.push(Row {
            labels,
            samples: batch.samples[samples..s].iter().map(bits).collect(),
            histograms: batch.histograms[histograms..h].to_vec(),
            exemplars: batch.exemplars[exemplars..e].to_vec(),
        });
        (samples, histograms, exemplars) = (s, h, e);
    }
    assert_eq!(samples, batch.samples.len());
    assert_eq!(histograms, batch.histograms.len());
    assert_eq!(exemplars, batch.exemplars.len());
    Owned {
        rows,
        metadata: batch.metadata.clone(),
        rejected: decoded.rejected.clone(),
    }
}

fn decode(version: Version, body: &[u8]) -> Result<Owned, DecodeError> {
    decode_with(version, body, &Limits::default())
}

fn decode_with(version: Version, body: &[u8], limits: &Limits) -> Result<Owned, DecodeError> {
    Decoder::default().decode(version, body, 1 << 20, limits, own)
}

fn owned_histogram(h: &v2::Histogram) -> HistogramSample {
    let spans = |spans: &[v2::BucketSpan]| {
        let span = |s: &v2::BucketSpan| Span {
            offset: s.offset,
            length: s.length,
        };
        spans.iter().map(span).collect::<Vec<_>>()
    };
    let reset_hint = match h.reset_hint {
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    };
    let histogram = match h.count.unwrap_or(v2::Count::Int(0)) {
        v2::Count::Int(count) => Histogram::Int(Box::new(IntHistogram {
            reset_hint,
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            zero_count: match h.zero_count {
                Some(v2::ZeroCount::Int(count)) => count,
                _ => 0,
            },
            count,
            sum: h.sum,
            positive_spans: spans(&h.positive_spans),
            negative_spans: spans(&h.negative_spans),
            positive_deltas: h.positive_deltas.clone(),
            negative_deltas: h.negative_deltas.clone(),
            custom_values: h.custom_values.clone(),
        })),
        v2::Count::Float(count) => Histogram::Float(Box::new(FloatHistogram {
            reset_hint,
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            zero_count: match h.zero_count {
                Some(v2::ZeroCount::Float(count)) => count,
                _ => 0.0,
            },
            count,
            sum: h.sum,
            positive_spans: spans(&h.positive_spans),
            negative_spans: spans(&h.negative_spans),
            positive_buckets: h.positive_counts.clone(),
            negative_buckets: h.negative_counts.clone(),
            custom_values: h.custom_values.clone(),
        })),
    };
    HistogramSample {
        t: h.timestamp,
        start: h.start_timestamp,
        histogram,
    }
}

// Arbitrary requests, sound ones: what is refused has tests of its own.

type Pairs = BTreeMap<String, String>;

fn labels() -> impl Strategy<Value = Pairs> {
    let name = "[a-z_.ä]{1,12}|[a-z]{100,140}";
    let value = "[ -~ü]{0,20}|[a-z]{100,300}";
    let metric = "[a-z_:]{1,30}";
    (prop::collection::btree_map(name, value, 0..12), metric).prop_map(|(mut pairs, metric)| {
        pairs.insert("__name__".to_owned(), metric);
        pairs
    })
}

fn any_bits() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        Just(f64::from_bits(model::STALE_NAN_BITS)),
        any::<i16>().prop_map(f64::from),
    ]
}

fn any_time() -> impl Strategy<Value = i64> {
    prop_oneof![
        any::<i64>(),
        1_700_000_000_000..1_800_000_000_000i64,
        Just(i64::MIN),
        Just(0)
    ]
}

fn samples() -> impl Strategy<Value = Vec<(f64, i64, i64)>> {
    prop::collection::vec((any_bits(), any_time(), any_time()), 1..4)
}

fn histogram() -> impl Strategy<Value = v2::Histogram> {
    let runs = prop::collection::vec((0..9i32, 1..4u32), 0..4);
    let shape = (any::<bool>(), runs.clone(), runs, -4..9i32, 0..4i32);
    (shape, any_time(), any_time(), 0..9u64).prop_map(
        |((float, positive, negative, schema, reset_hint), t, start, zero)| {
            let spans = |runs: &[(i32, u32)]| {
                let span = |&(offset, length): &(i32, u32)| v2::BucketSpan { offset, length };
                runs.iter().map(span).collect::<Vec<_>>()
            };
            let buckets = |runs: &[(i32, u32)]| runs.iter().map(|r| r.1 as usize).sum::<usize>();
            let (p, n) = (buckets(&positive), buckets(&negative));
            let deltas = |n: usize| (0..n).map(|i| if i % 2 == 0 { 5 } else { -5 }).collect();
            let total = |n: usize| 5 * n.div_ceil(2) as u64;
            let mut h = v2::Histogram {
                sum: 1.5,
                schema,
                zero_threshold: 1e-9,
                reset_hint,
                timestamp: t,
                start_timestamp: start,
                positive_spans: spans(&positive),
                negative_spans: spans(&negative),
                ..v2::Histogram::default()
            };
            if float {
                h.count = Some(v2::Count::Float(99.5));
                h.zero_count = Some(v2::ZeroCount::Float(zero as f64));
                h.positive_counts = vec![2.5; p];
                h.negative_counts = vec![0.0; n];
            } else {
                h.count = Some(v2::Count::Int(total(p) + total(n) + zero));
                h.zero_count = Some(v2::ZeroCount::Int(zero));
                h.positive_deltas = deltas(p);
                h.negative_deltas = deltas(n);
            }
            h
        },
    )
}

#[derive(Clone, Debug)]
struct Series {
    labels: Pairs,
    samples: Vec<(f64, i64, i64)>,
    histograms: Vec<v2::Histogram>,
    exemplars: Vec<(Pairs, f64, i64)>,
    help: String,
    kind: i32,
}

fn series() -> impl Strategy<Value = Series> {
    let trace = prop::collection::btree_map("[a-z_]{1,8}", "[0-9a-f]{1,16}", 0..3);
    let exemplars = prop::collection::vec((trace, -9.0..9.0f64, 1..9_000i64), 0..3);
    let values = prop_oneof![
        samples().prop_map(|samples| (samples, Vec::new())),
        prop::collection::vec(histogram(), 1..3).prop_map(|h| (Vec::new(), h)),
    ];
    (labels(), values, exemplars, "[a-z ]{0,200}", 0..8i32).prop_map(
        |(labels, (samples, histograms), exemplars, help, kind)| Series {
            labels,
            samples,
            histograms,
            exemplars,
            help,
            kind,
        },
    )
}

fn expected_row(series: &Series, has_starts: bool) -> Row {
    let start = |start: i64| if has_starts { start } else { 0 };
    let sample = |&(v, t, s): &(f64, i64, i64)| (t, v.to_bits(), start(s));
    let exemplar = |(labels, v, t): &(Pairs, f64, i64)| Exemplar {
        labels: Labels::from_pairs(labels),
        v: *v,
        t: *t,
    };
    Row {
        labels: Labels::from_pairs(&series.labels),
        samples: series.samples.iter().map(sample).collect(),
        histograms: series.histograms.iter().map(owned_histogram).collect(),
        exemplars: series.exemplars.iter().map(exemplar).collect(),
    }
}

fn encode_v1(series: &[Series]) -> v1::WriteRequest {
    let labels = |pairs: &Pairs| {
        let label = |(name, value): (&String, &String)| v1::Label {
            name: name.clone(),
            value: value.clone(),
        };
        pairs.iter().map(label).collect::<Vec<_>>()
    };
    let one = |series: &Series| v1::TimeSeries {
        labels: labels(&series.labels),
        samples: series
            .samples
            .iter()
            .map(|&(value, timestamp, _)| v1::Sample { value, timestamp })
            .collect(),
        exemplars: series
            .exemplars
            .iter()
            .map(|(pairs, value, timestamp)| v1::Exemplar {
                labels: labels(pairs),
                value: *value,
                timestamp: *timestamp,
            })
            .collect(),
        histograms: series.histograms.clone(),
    };
    let metadata = |series: &Series| v1::MetricMetadata {
        r#type: series.kind,
        metric_family_name: series.labels["__name__"].clone(),
        help: series.help.clone(),
        unit: String::new(),
    };
    v1::WriteRequest {
        timeseries: series.iter().map(one).collect(),
        metadata: series.iter().map(metadata).collect(),
    }
}

fn encode_v2(series: &[Series]) -> v2::Request {
    let mut symbols = Symbols::default();
    let pairs = |pairs: &Pairs, symbols: &mut Symbols| {
        symbols.places(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())))
    };
    let one = |series: &Series, symbols: &mut Symbols| v2::TimeSeries {
        labels_refs: pairs(&series.labels, symbols),
        samples: series
            .samples
            .iter()
            .map(|&(value, timestamp, start_timestamp)| v2::Sample {
                value,
                timestamp,
                start_timestamp,
            })
            .collect(),
        histograms: series.histograms.clone(),
        exemplars: series
            .exemplars
            .iter()
            .map(|(labels, value, timestamp)| v2::Exemplar {
                labels_refs: pairs(labels, symbols),
                value: *value,
                timestamp: *timestamp,
            })
            .collect(),
        metadata: Some(v2::Metadata {
            r#type: series.kind,
            help_ref: symbols.place(&series.help),
            unit_ref: 0,
        }),
        created_timestamp: 0,
    };
    let timeseries = series.iter().map(|s| one(s, &mut symbols)).collect();
    v2::Request {
        symbols: symbols.into_texts(),
        timeseries,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn v1_gives_what_prost_wrote(series in prop::collection::vec(series(), 0..6)) {
        let mut series = series;
        series.iter_mut().flat_map(|s| &mut s.histograms).for_each(|h| h.start_timestamp = 0);
        let body = encode_v1(&series).encode_to_vec();
        let owned = decode(Version::V1, &body).unwrap();
        let rows: Vec<Row> = series.iter().map(|s| expected_row(s, false)).collect();
        prop_assert_eq!(&owned.rows, &rows);
        prop_assert_eq!(&owned.rejected, &Rejected::default());
        prop_assert_eq!(owned.metadata.len(), series.len());
        for (found, series) in owned.metadata.iter().zip(&series) {
            prop_assert_eq!(&found.metric, &series.labels["__name__"]);
            prop_assert_eq!(&found.help, &series.help);
            prop_assert_eq!(found.kind, MetricType::ALL[series.kind as usize]);
        }
    }

    #[test]
    fn v2_gives_what_prost_wrote(series in prop::collection::vec(series(), 0..6)) {
        let body = encode_v2(&series).encode_to_vec();
        let owned = decode(Version::V2, &body).unwrap();
        let rows: Vec<Row> = series.iter().map(|s| expected_row(s, true)).collect();
        prop_assert_eq!(&owned.rows, &rows);
        prop_assert_eq!(&owned.rejected, &Rejected::default());
    }

    #[test]
    fn every_cut_of_a_request_is_refused_or_shorter(
        series in prop::collection::vec(series(), 1..3),
        cut in any::<prop::sample::Index>(),
    ) {
        for (version, body) in [
            (Version::V1, encode_v1(&series).encode_to_vec()),
            (Version::V2, encode_v2(&series).encode_to_vec()),
        ] {
            let cut = cut.index(body.len());
            if let Ok(owned) = decode(version, &body[..cut]) {
                prop_assert!(owned.rows.len() < series.len() || owned.metadata.len() < series.len());
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(mut body in prop::collection::vec(any::<u8>(), 0..300), at in 0..5u8) {
        // A head that leads into the messages, as pure noise seldom gets far.
        if body.len() > 4 {
            body[0] = [0x0a, 0x1a, 0x22, 0x2a, 0x0a][usize::from(at)];
            body[1] = body.len().saturating_sub(2).min(127) as u8;
        }
        for version in [Version::V1, Version::V2] {
            let result = Decoder::default().decode(version, &body, 1 << 20, &Limits::default(), |decoded| {
                for row in &decoded.batch.series {
                    row.labels.for_each(&mut |_, _| ());
                }
            });
            drop(result);
        }
    }
}

// What is refused, row by row.

fn v1_row(pairs: &[(&str, &str)]) -> v1::TimeSeries {
    let label = |(name, value): &(&str, &str)| v1::Label {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    v1::TimeSeries {
        labels: pairs.iter().map(label).collect(),
        samples: vec![v1::Sample {
            value: 1.0,
            timestamp: 1000,
        }],
        ..v1::TimeSeries::default()
    }
}

/// Sends a row between two sound ones, in both versions: they stay, it is refused with this id.
fn check_row(pairs: &[(&str, &str)], id: Option<&str>) {
    let sound = &[("__name__", "up"), ("job", "a")];
    let rows = [sound.as_slice(), pairs, sound];
    let request = v1::WriteRequest {
        timeseries: rows.iter().map(|pairs| v1_row(pairs)).collect(),
        metadata: Vec::new(),
    };
    let mut symbols = Symbols::default();
    let v2_row = |pairs: &&[(&str, &str)]| v2::TimeSeries {
        labels_refs: symbols.places(pairs.iter().copied()),
        samples: vec![v2::Sample {
            value: 1.0,
            timestamp: 1000,
            start_timestamp: 0,
        }],
        ..v2::TimeSeries::default()
    };
    let timeseries = rows.iter().map(v2_row).collect();
    let request_v2 = v2::Request {
        symbols: symbols.into_texts(),
        timeseries,
    };
    for (version, body) in [
        (Version::V1, request.encode_to_vec()),
        (Version::V2, request_v2.encode_to_vec()),
    ] {
        let limits = Limits {
            max_label_names_per_series: 4,
            max_label_name_length: 20,
            max_label_value_length: 300,
            ..Limits::default()
        };
        let owned = decode_with(version, &body, &limits).unwrap();
        let first = owned.rejected.first.as_ref();
        assert_eq!(first.map(|r| r.id), id, "{version:?} {pairs:?}");
        let rows = if id.is_none() { 3 } else { 2 };
        assert_eq!(owned.rows.len(), rows, "{version:?} {pairs:?}");
        assert_eq!(owned.rejected.samples, 3 - rows);
        if let Some(rejection) = first {
            assert!(rejection.message.len() < 600, "{}", rejection.message);
            assert_eq!(owned.rejected.by_id, [(rejection.id, 1)]);
        }
    }
}

#[test]
fn refuses_rows_one_by_one() {
    let name = ("__name__", "up");
    check_row(&[name], None);
    check_row(&[], Some("missing-metric-name"));
    check_row(&[("a", "1")], Some("missing-metric-name"));
    check_row(&[("__name__", ""), ("a", "1")], Some("missing-metric-name"));
    check_row(
        &[("__name_", "up"), ("a", "1")],
        Some("missing-metric-name"),
    );
    check_row(&[("", "1"), name], Some("empty-label-name"));
    check_row(&[name, ("b", "1"), ("a", "1")], Some("labels-not-sorted"));
    check_row(
        &[name, ("abcdefgh_b", "1"), ("abcdefgh_a", "1")],
        Some("labels-not-sorted"),
    );
    check_row(&[name, ("abcdefgh_a", "1"), ("abcdefgh_b", "1")], None);
    check_row(&[name, ("abcdefgh", "1"), ("abcdefgh\0", "1")], None);
    check_row(&[name, ("a", "1"), ("a", "2")], Some("duplicate-label"));
    check_row(&[name, ("a", ""), ("a", "2")], Some("duplicate-label"));
    check_row(&[name, ("a", ""), ("b", "2")], None);
    check_row(
        &[name, ("abcdefghijklmnopqrstu", "1")],
        Some("label-name-too-long"),
    );
    check_row(&[name, ("a", &"x".repeat(300))], None);
    check_row(
        &[name, ("a", &"x".repeat(301))],
        Some("label-value-too-long"),
    );
    let five = [name, ("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")];
    check_row(&five, Some("max-label-names-per-series"));
    check_row(&five[..4], None);
}

#[test]
fn refuses_huge_labels_and_names_them_shortly() {
    let huge = "x".repeat(900_000);
    check_row(
        &[("__name__", "up"), ("a", &huge)],
        Some("label-value-too-long"),
    );
    check_row(&[("__name__", &huge)], Some("label-value-too-long"));
    let names: Vec<String> = (0..10_000).map(|i| format!("l{i:05}")).collect();
    let mut pairs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    pairs.insert(0, ("__name__", "up"));
    check_row(&pairs, Some("max-label-names-per-series"));
}

#[test]
fn zero_limits_are_no_limits() {
    let limits = Limits {
        max_label_names_per_series: 0,
        max_label_name_length: 0,
        max_label_value_length: 0,
        max_native_histogram_buckets: 0,
        ..Limits::default()
    };
    let row = v1_row(&[("__name__", "up"), (&"n".repeat(5000), &"v".repeat(5000))]);
    let request = v1::WriteRequest {
        timeseries: vec![row],
        metadata: Vec::new(),
    };
    let owned = decode_with(Version::V1, &request.encode_to_vec(), &limits).unwrap();
    assert_eq!((owned.rows.len(), owned.rejected), (1, Rejected::default()));
}

fn v2_request(symbols: &[&str], timeseries: Vec<v2::TimeSeries>) -> Vec<u8> {
    let symbols = symbols.iter().map(|s| (*s).to_owned()).collect();
    v2::Request {
        symbols,
        timeseries,
    }
    .encode_to_vec()
}

fn v2_row(labels_refs: &[u32]) -> v2::TimeSeries {
    v2::TimeSeries {
        labels_refs: labels_refs.to_vec(),
        samples: vec![v2::Sample {
            value: 1.0,
            timestamp: 1000,
            start_timestamp: 0,
        }],
        ..v2::TimeSeries::default()
    }
}

#[test]
fn refuses_references_that_lead_nowhere() {
    let symbols = ["", "__name__", "up"];
    let check = |refs: &[u32], id: &str| {
        let body = v2_request(&symbols, vec![v2_row(refs), v2_row(&[1, 2])]);
        let owned = decode(Version::V2, &body).unwrap();
        assert_eq!(owned.rows.len(), 1);
        assert_eq!(owned.rejected.first.unwrap().id, id);
    };
    check(&[1, 3], "symbol-out-of-range");
    check(&[u32::MAX, 2], "symbol-out-of-range");
    check(&[1, 2, 1], "odd-label-references");
    check(&[1], "odd-label-references");
    check(&[], "missing-metric-name");
    check(&[0, 2], "empty-label-name");
}

#[test]
fn refuses_a_series_with_samples_and_histograms() {
    let mut row = v2_row(&[1, 2]);
    row.histograms.push(v2::Histogram::default());
    let body = v2_request(&["", "__name__", "up"], vec![row]);
    let owned = decode(Version::V2, &body).unwrap();
    assert_eq!(owned.rejected.first.unwrap().id, "samples-and-histograms");
    assert_eq!((owned.rejected.samples, owned.rejected.histograms), (1, 1));
}

#[test]
fn refuses_a_request_whose_first_symbol_is_not_empty() {
    let body = v2_request(&["__name__", "up"], vec![v2_row(&[0, 1])]);
    let error = decode(Version::V2, &body).unwrap_err();
    assert_eq!(error.id(), "first-symbol-not-empty");
}

#[test]
fn takes_references_unpacked_and_in_several_lists() {
    let symbols = v2_request(&["", "__name__", "up", "a", "b"], Vec::new());
    let sample = [0x12, 0x0b, 0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x10, 0x07];
    let of = |refs: &[u8]| {
        let series = [refs, &sample].concat();
        let request = [symbols.as_slice(), &[0x2a, series.len() as u8], &series].concat();
        decode(Version::V2, &request).unwrap()
    };
    let packed = of(&[0x0a, 4, 1, 2, 3, 4]);
    assert_eq!(packed.rows.len(), 1);
    assert_eq!(of(&[0x08, 1, 0x08, 2, 0x08, 3, 0x08, 4]), packed);
    assert_eq!(of(&[0x0a, 3, 1, 2, 3, 0x0a, 1, 4]), packed);
    assert_eq!(of(&[0x0a, 2, 1, 2, 0x08, 3, 0x08, 4]), packed);
    // A reference of which more than the low 32 bits are set means what prost takes it for.
    assert_eq!(
        of(&[0x0a, 8, 0x81, 0x80, 0x80, 0x80, 0x10, 2, 3, 4]),
        packed
    );
    let odd = of(&[0x08, 1, 0x08, 2, 0x08, 3]);
    assert_eq!(odd.rejected.first.unwrap().id, "odd-label-references");
}

#[test]
fn takes_fields_in_any_order_and_skips_unknown_ones() {
    let request = v1::WriteRequest {
        timeseries: vec![v1_row(&[("__name__", "up"), ("a", "b")])],
        metadata: Vec::new(),
    };
    let expected = decode(Version::V1, &request.encode_to_vec()).unwrap();
    let name = [0x0a, 14, 0x12, 2, b'u', b'p', 0x0a, 8];
    let name = [name.as_slice(), b"__name__"].concat();
    let sample = [
        0x12, 14, 0x10, 0xe8, 0x07, 0x38, 0x01, 0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f,
    ];
    let a = [0x0a, 6, 0x0a, 1, b'a', 0x12, 1, b'b'];
    let unknown = [
        0x7a, 2, 9, 9, 0x78, 0x80, 0x01, 0x7d, 1, 2, 3, 4, 0x79, 1, 2, 3, 4, 5, 6, 7, 8,
    ];
    let series = [unknown.as_slice(), &name, &sample, &a, &unknown].concat();
    let body = [&unknown, [0x0a, series.len() as u8].as_slice(), &series].concat();
    assert_eq!(decode(Version::V1, &body).unwrap(), expected);
}

#[test]
fn a_start_of_the_series_holds_for_samples_without_their_own() {
    let mut row = v2_row(&[1, 2]);
    row.created_timestamp = 77;
    row.samples.push(v2::Sample {
        value: 2.0,
        timestamp: 2000,
        start_timestamp: 88,
    });
    let body = v2_request(&["", "__name__", "up"], vec![row]);
    let owned = decode(Version::V2, &body).unwrap();
    let starts: Vec<i64> = owned.rows[0].samples.iter().map(|s| s.2).collect();
    assert_eq!(starts, [77, 88]);
}

#[test]
fn tells_metadata_of_2_0_once_and_by_family() {
    let mut rows = Vec::new();
    for (metric, kind) in [(2, 3), (3, 3), (2, 3), (4, 1), (5, 5)] {
        let mut row = v2_row(&[1, metric]);
        row.metadata = Some(v2::Metadata {
            r#type: kind,
            help_ref: 6,
            unit_ref: 0,
        });
        rows.push(row);
    }
    let symbols = [
        "", "__name__", "a_bucket", "a_sum", "c_total", "s_count", "Help.",
    ];
    let owned = decode(Version::V2, &v2_request(&symbols, rows)).unwrap();
    let found: Vec<_> = owned
        .metadata
        .iter()
        .map(|m| (m.metric.as_str(), m.kind))
        .collect();
    let histogram = MetricType::Histogram;
    let expected = [
        ("a", histogram),
        ("a", histogram),
        ("c_total", MetricType::Counter),
        ("s", MetricType::Summary),
    ];
    assert_eq!(found, expected);
    assert!(owned.metadata.iter().all(|m| m.help == "Help."));
}

#[test]
fn refuses_single_histograms_and_exemplars_of_a_row_that_stays() {
    let mut row = v1_row(&[("__name__", "up")]);
    let bad = v2::Histogram {
        schema: 99,
        ..v2::Histogram::default()
    };
    let good = v2::Histogram {
        timestamp: 5,
        ..v2::Histogram::default()
    };
    row.histograms = vec![bad.clone(), good, bad];
    let exemplar = |value: &str| v1::Exemplar {
        labels: vec![v1::Label {
            name: "trace_id".to_owned(),
            value: value.to_owned(),
        }],
        value: 1.0,
        timestamp: 0,
    };
    row.exemplars = vec![
        exemplar("ok"),
        exemplar(&"x".repeat(121)),
        exemplar(&"x".repeat(120)),
    ];
    let request = v1::WriteRequest {
        timeseries: vec![row],
        metadata: Vec::new(),
    };
    let owned = decode(Version::V1, &request.encode_to_vec()).unwrap();
    assert_eq!(owned.rows[0].histograms.len(), 1);
    assert_eq!(owned.rows[0].histograms[0].t, 5);
    assert_eq!(owned.rows[0].exemplars.len(), 2);
    assert_eq!(owned.rows[0].exemplars[0].t, 1000, "that of the sample");
    let rejected = owned.rejected;
    assert_eq!(
        (rejected.histograms, rejected.exemplars, rejected.samples),
        (2, 1, 0)
    );
    assert_eq!(
        rejected.by_id,
        [("exemplar-labels-too-long", 1), ("invalid-histogram", 2)]
    );
}

#[test]
fn collects_no_more_parts_of_a_histogram_than_are_allowed() {
    let limits = Limits {
        max_native_histogram_buckets: 3,
        ..Limits::default()
    };
    let empty = v2::BucketSpan {
        offset: 0,
        length: 0,
    };
    let large = |sum: f64, count: v2::Count| v2::Histogram {
        timestamp: 7,
        reset_hint: 3,
        sum,
        count: Some(count),
        zero_count: Some(v2::ZeroCount::Int(5)),
        schema: -53,
        zero_threshold: 0.5,
        positive_spans: vec![empty; 10_000],
        negative_spans: vec![empty; 10_000],
        positive_deltas: vec![1; 10_000],
        negative_deltas: vec![1; 10_000],
        positive_counts: vec![1.0; 10_000],
        negative_counts: vec![1.0; 10_000],
        custom_values: vec![1.0; 10_000],
        ..v2::Histogram::default()
    };
    let stale = f64::from_bits(model::STALE_NAN_BITS);
    let mut row = v1_row(&[("__name__", "up")]);
    row.histograms = vec![
        large(0.0, v2::Count::Int(1)),
        large(stale, v2::Count::Int(1)),
        large(stale, v2::Count::Float(1.0)),
    ];
    let request = v1::WriteRequest {
        timeseries: vec![row],
        metadata: Vec::new(),
    };
    // Were all parts kept, they would take far more than this bound on the body allows.
    let body = request.encode_to_vec();
    let decoded = Decoder::default().decode(Version::V1, &body, 1_000, &limits, own);
    let owned = decoded.unwrap();
    assert_eq!(owned.rejected.by_id, [("max-native-histogram-buckets", 1)]);
    let marker = |count| v2::Histogram {
        timestamp: 7,
        reset_hint: 3,
        sum: stale,
        count: Some(count),
        ..v2::Histogram::default()
    };
    let markers = [v2::Count::Int(0), v2::Count::Float(0.0)].map(|c| owned_histogram(&marker(c)));
    // The sums are NaN, which compares unequal.
    let shown = |histograms: &[HistogramSample]| format!("{histograms:?}");
    assert_eq!(shown(&owned.rows[0].histograms), shown(&markers));
}

#[test]
fn refuses_many_empty_spans_and_custom_bounds() {
    let limits = Limits {
        max_native_histogram_buckets: 3,
        ..Limits::default()
    };
    let id = |positive: usize, negative: usize, bounds: usize| {
        let empty = v2::BucketSpan {
            offset: 0,
            length: 0,
        };
        let mut row = v1_row(&[("__name__", "up")]);
        row.histograms = vec![v2::Histogram {
            schema: if bounds > 0 { -53 } else { 0 },
            positive_spans: vec![empty; positive],
            negative_spans: vec![empty; negative],
            custom_values: (1..=bounds).map(|n| n as f64).collect(),
            ..v2::Histogram::default()
        }];
        let request = v1::WriteRequest {
            timeseries: vec![row],
            metadata: Vec::new(),
        };
        let owned = decode_with(Version::V1, &request.encode_to_vec(), &limits).unwrap();
        owned.rejected.first.map(|first| first.id)
    };
    let refused = Some("max-native-histogram-buckets");
    assert_eq!(id(4, 4, 0), None);
    assert_eq!(id(5, 0, 0), refused);
    assert_eq!(id(0, 1_000, 0), refused);
    assert_eq!(id(0, 0, 3), None);
    assert_eq!(id(0, 0, 4), refused);
}

#[test]
fn bounds_the_memory_of_dense_bodies() {
    let series = |field: u8, count: usize| {
        let mut series = vec![0x0a, 14, 0x0a, 8];
        series.extend_from_slice(b"__name__\x12\x02up");
        series.extend(std::iter::repeat_n([field, 0], count).flatten());
        let mut body = vec![0x0a];
        prost::encoding::encode_varint(series.len() as u64, &mut body);
        body.extend(series);
        body
    };
    for field in [0x12, 0x1a, 0x22] {
        let limits = Limits::default();
        let decode =
            |body: &[u8]| Decoder::default().decode(Version::V1, body, 1 << 20, &limits, own);
        assert!(decode(&series(field, 1000)).is_ok());
        let error = decode(&series(field, 500_000)).unwrap_err();
        assert_eq!(error.id(), "decoded-body-too-dense");
    }
    let symbols: Vec<u8> = std::iter::repeat_n([0x22, 0], 500_000).flatten().collect();
    let error = decode(Version::V2, &symbols).unwrap_err();
    assert_eq!(error.id(), "decoded-body-too-dense");
}

#[test]
fn refuses_bodies_that_are_no_such_message() {
    let check = |version, body: &[u8], fault: &str| {
        let error = decode(version, body).unwrap_err();
        assert_eq!(error.id(), "body-not-protobuf");
        let text = error.to_string();
        assert!(text.contains(fault), "{text}");
    };
    use Version::{V1, V2};
    check(V1, &[0x0a], "ends within a field");
    check(V1, &[0x0a, 5, 1], "ends within a field");
    check(V1, &[0x0a, 2, 0x0a, 9], "ends within a field");
    check(V1, &[0x0b, 0x0c], "wire type");
    check(V1, &[0x08, 1], "field 1 has a wire type");
    check(V1, &[0x0a, 2, 0x08, 1], "field 1 has a wire type");
    check(V1, &[0x0a, 2, 0x10, 1], "field 2 has a wire type");
    check(V1, &[0x0a, 4, 0x12, 2, 0x08, 1], "field 1 has a wire type");
    check(V1, &[0x02, 1, 1], "field number");
    check(V1, &[0xff; 12], "varint is longer");
    check(V2, &[0x20, 1], "field 4 has a wire type");
    check(V2, &[0x28, 1], "field 5 has a wire type");
    check(V2, &[0x2a, 3, 0x0a, 5, 1], "ends within a field");
    check(V2, &[0x2a, 3, 0x0a, 1, 0x80], "ends within a field");
    check(V2, &[0x2a, 2, 0x0d, 1], "field 1 has a wire type");
    // A 1.0 body under the name of 2.0 is an empty request, as the reserved numbers make it.
    let v1 = v1::WriteRequest {
        timeseries: vec![v1_row(&[("__name__", "up")])],
        metadata: Vec::new(),
    };
    assert_eq!(decode(V2, &v1.encode_to_vec()).unwrap(), Owned::default());
    for version in [V1, V2] {
        assert_eq!(decode(version, &[]).unwrap(), Owned::default());
    }
}

#[test]
fn keeps_its_memory_from_request_to_request() {
    let row = v1_row(&[("__name__", "up"), ("job", "a")]);
    let request = v1::WriteRequest {
        timeseries: vec![row; 500],
        metadata: Vec::new(),
    };
    let body = request.encode_to_vec();
    let mut decoder = Decoder::default();
    let mut place = || {
        let limits = Limits::default();
        let column = |decoded: &Decoded<'_>| {
            let batch = &decoded.batch;
            (
                batch.series.as_ptr() as usize,
                batch.samples.as_ptr() as usize,
            )
        };
        decoder
            .decode(Version::V1, &body, 1 << 20, &limits, column)
            .unwrap()
    };
    let first = place();
    assert_eq!(place(), first);
    assert_eq!(place(), first);
}
