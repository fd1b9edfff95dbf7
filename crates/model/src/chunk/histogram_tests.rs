//! Round trips of histogram chunks, and what garbage does.

use super::{
    AppendResult, ChunkError, ChunkKind, OpenHistogramChunk, decode_histogram_samples_into,
    decode_histograms_into,
};
use crate::histogram::{FloatHistogram, Histogram, HistogramSample, IntHistogram, ResetHint, Span};
use crate::sample::{is_stale, stale_nan};
use crate::time::TimeRange;
use proptest::prelude::*;

fn decode(kind: ChunkKind, bytes: &[u8]) -> Result<Vec<HistogramSample>, ChunkError> {
    let mut out = Vec::new();
    let outcome = decode_histogram_samples_into(kind, bytes, TimeRange::all(), &mut out);
    assert!(
        outcome.is_ok() || out.is_empty(),
        "a damaged chunk adds nothing"
    );
    let mut points = Vec::new();
    let floats = decode_histograms_into(kind, bytes, TimeRange::all(), &mut points);
    assert_eq!((floats, points.len()), (outcome, out.len()));
    for (point, sample) in points.iter().zip(&out) {
        assert_eq!((point.t, point.start), (sample.t, sample.start));
        let expected = match &sample.histogram {
            Histogram::Int(int) => FloatHistogram::from(&**int),
            Histogram::Float(float) => (**float).clone(),
        };
        assert_eq!(format!("{:?}", *point.histogram), format!("{expected:?}"));
    }
    outcome.map(|()| out)
}

/// What a chunk keeps of a sample, with NaNs told apart.
fn kept(sample: &HistogramSample) -> String {
    let (sum, hint) = match &sample.histogram {
        Histogram::Int(int) => (int.sum, int.reset_hint),
        Histogram::Float(float) => (float.sum, float.reset_hint),
    };
    if is_stale(sum) {
        return format!("{} {} stale {hint:?}", sample.t, sample.start);
    }
    format!("{sample:?} {:x}", sum.to_bits())
}

/// Appends all samples, cutting chunks as asked; decodes them; returns the chunks' bytes.
fn check(samples: &[HistogramSample]) -> Vec<Box<[u8]>> {
    let mut chunks = Vec::new();
    let mut open = OpenHistogramChunk::new(&samples[0]);
    for sample in &samples[1..] {
        if open.append(sample) == AppendResult::NewChunkNeeded {
            chunks.push((open.kind(), open.close()));
            open = OpenHistogramChunk::new(sample);
        }
        assert_eq!((open.last_t(), open.last_start()), (sample.t, sample.start));
        assert!(open.last_is(&sample.histogram));
    }
    chunks.push((open.kind(), open.close()));
    let decoded = chunks
        .iter()
        .flat_map(|(kind, bytes)| decode(*kind, bytes).unwrap());
    let decoded: Vec<_> = decoded.map(|sample| kept(&sample)).collect();
    assert_eq!(decoded, samples.iter().map(kept).collect::<Vec<_>>());
    chunks.into_iter().map(|(_, bytes)| bytes).collect()
}

fn growing(i: u64) -> IntHistogram {
    let bucket = |b: u64| (i * (b + 3) * 7 / 5) as i64;
    let absolute: Vec<i64> = (0..12).map(bucket).collect();
    let mut before = 0;
    let delta = |now: &i64| now - std::mem::replace(&mut before, *now);
    IntHistogram {
        schema: 3,
        zero_threshold: 1e-128,
        zero_count: i / 9,
        count: i / 9 + absolute.iter().sum::<i64>() as u64,
        sum: i as f64 * 0.37,
        positive_spans: vec![
            Span {
                offset: -3,
                length: 8,
            },
            Span {
                offset: 5,
                length: 4,
            },
        ],
        positive_deltas: absolute.iter().map(delta).collect(),
        ..IntHistogram::default()
    }
}

fn sample(i: i64, histogram: Histogram) -> HistogramSample {
    HistogramSample {
        t: 1_700_000_000_000 + i * 15_000,
        start: 0,
        histogram,
    }
}

fn ints(histogram: impl Fn(u64) -> IntHistogram) -> Vec<HistogramSample> {
    let int = |i| sample(i, Histogram::Int(Box::new(histogram(i as u64))));
    (0..120).map(int).collect()
}

#[test]
fn sizes_stay_what_they_are() {
    let idle = check(&ints(|_| growing(1_000)));
    assert_eq!(idle.len(), 1);
    assert!(idle[0].len() < 120, "{}", idle[0].len());
    let busy = check(&ints(growing));
    assert_eq!(busy.len(), 1);
    assert!(busy[0].len() < 120 * 13, "{}", busy[0].len());
}

#[test]
fn another_layout_or_kind_asks_for_a_chunk() {
    let mut samples = ints(growing);
    samples[7].histogram = Histogram::Int(Box::new(IntHistogram {
        schema: 2,
        ..growing(7)
    }));
    let float = FloatHistogram::from(&growing(20));
    samples[20].histogram = Histogram::Float(Box::new(float));
    assert_eq!(check(&samples).len(), 5);
}

#[test]
fn stale_markers_fit_any_chunk() {
    let mut samples = ints(growing);
    let stale = IntHistogram {
        sum: stale_nan(),
        ..IntHistogram::default()
    };
    let float = FloatHistogram {
        sum: stale_nan(),
        ..FloatHistogram::default()
    };
    samples[7].histogram = Histogram::Int(Box::new(stale));
    samples[8].histogram = Histogram::Float(Box::new(float));
    assert_eq!(check(&samples).len(), 1);
    samples.drain(..7);
    assert_eq!(check(&samples).len(), 2, "a marker in front has no layout");
}

/// The bytes that version 1 of the format writes, kept for ever.
#[test]
fn golden_bytes() {
    let mut samples = ints(growing);
    let stale = IntHistogram {
        sum: stale_nan(),
        ..IntHistogram::default()
    };
    samples[19].histogram = Histogram::Int(Box::new(stale));
    samples[10].start = 1_690_000_000_000;
    samples.truncate(20);
    let int = check(&samples).remove(0);
    assert_eq!(
        int[..],
        include_bytes!("../../testdata/chunk-int-histogram-v1.bin")[..]
    );
    for sample in &mut samples {
        if let Histogram::Int(int) = &sample.histogram {
            sample.histogram = Histogram::Float(Box::new(FloatHistogram::from(&**int)));
        }
    }
    let float = check(&samples).remove(0);
    assert_eq!(
        float[..],
        include_bytes!("../../testdata/chunk-float-histogram-v1.bin")[..]
    );
}

#[test]
fn hints_and_starts_come_back() {
    let mut samples = ints(growing);
    for (i, sample) in samples.iter_mut().enumerate() {
        let Histogram::Int(int) = &mut sample.histogram else {
            continue;
        };
        int.reset_hint = [ResetHint::Reset, ResetHint::NotReset, ResetHint::Gauge][i / 50];
        sample.start = [0, sample.t - 15_000, 1_690_000_000_000][i / 40];
    }
    assert_eq!(check(&samples).len(), 1);
}

#[test]
fn equal_neighbours_share_a_histogram() {
    let samples = ints(|i| growing(i / 60));
    let bytes = &check(&samples)[0];
    let mut points = Vec::new();
    let range = TimeRange {
        start: samples[50].t,
        end: samples[70].t,
    };
    decode_histograms_into(ChunkKind::IntHistogram, bytes, range, &mut points).unwrap();
    assert_eq!(points.len(), 20);
    assert!(std::sync::Arc::ptr_eq(
        &points[0].histogram,
        &points[9].histogram
    ));
    assert!(!std::sync::Arc::ptr_eq(
        &points[9].histogram,
        &points[10].histogram
    ));
}

#[test]
fn a_few_bytes_cannot_fill_the_memory() {
    let chunk = check(&ints(growing)).remove(0);
    let mut many = chunk.into_vec();
    many[..2].copy_from_slice(&0x7fff_u16.to_be_bytes());
    many.resize(many.len() + 100_000, 0);
    assert!(decode(ChunkKind::IntHistogram, &many).is_ok());
    let buckets = vec![0; 65_536];
    let wide = IntHistogram {
        positive_deltas: buckets,
        ..IntHistogram::default()
    };
    let mut chunk = OpenHistogramChunk::new(&sample(0, Histogram::Int(Box::new(wide)))).bytes();
    chunk[..2].copy_from_slice(&0x7fff_u16.to_be_bytes());
    assert!(decode(ChunkKind::IntHistogram, &chunk).is_err());
}

fn span() -> impl Strategy<Value = Span> {
    (any::<i32>(), any::<u32>()).prop_map(|(offset, length)| Span { offset, length })
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        (-9..99_i32).prop_map(f64::from)
    ]
}

fn histogram() -> impl Strategy<Value = Histogram> {
    let spans = prop::collection::vec(span(), 0..3);
    let hint = prop_oneof![
        Just(ResetHint::Unknown),
        Just(ResetHint::Reset),
        Just(ResetHint::NotReset),
        Just(ResetHint::Gauge)
    ];
    let numbers = (any::<u64>(), any::<u64>(), float(), float());
    let buckets = prop::collection::vec(prop_oneof![any::<i64>(), -9..9_i64], 0..5);
    let custom = prop::collection::vec(float(), 0..3);
    (spans, hint, -9..9, numbers, buckets, custom, any::<bool>()).prop_map(
        |(spans, reset_hint, schema, numbers, buckets, custom_values, is_int)| {
            let (count, zero_count, sum, zero_threshold) = numbers;
            let floats = buckets.iter().map(|b| *b as f64 / 3.0).collect();
            if is_int {
                Histogram::Int(Box::new(IntHistogram {
                    reset_hint,
                    schema,
                    zero_threshold,
                    zero_count,
                    count,
                    sum,
                    positive_spans: spans,
                    negative_spans: vec![],
                    positive_deltas: buckets.clone(),
                    negative_deltas: buckets,
                    custom_values,
                }))
            } else {
                Histogram::Float(Box::new(FloatHistogram {
                    reset_hint,
                    schema,
                    zero_threshold,
                    zero_count: zero_count as f64,
                    count: count as f64,
                    sum,
                    positive_spans: vec![],
                    negative_spans: spans,
                    positive_buckets: floats,
                    negative_buckets: vec![],
                    custom_values,
                }))
            }
        },
    )
}

/// Histograms of few layouts with numbers of any kind.
fn samples() -> impl Strategy<Value = Vec<HistogramSample>> {
    let mould = prop::collection::vec(histogram(), 1..3);
    let t = prop_oneof![any::<i64>(), Just(15_000_i64)];
    let change = (any::<bool>(), any::<i64>(), 0..40_u64, float());
    let step = (t, any::<prop::sample::Index>(), change, 0..3_i64);
    (mould, prop::collection::vec(step, 1..150)).prop_map(|(mut moulds, steps)| {
        let mut now = 1_700_000_000_000_i64;
        let sample =
            |(t, index, (changes, wild, tame, sum), start): (i64, prop::sample::Index, _, _)| {
                now = now.wrapping_add(t);
                let mould = index.get(&moulds).clone();
                let at = index.index(moulds.len());
                if changes {
                    match &mut moulds[at] {
                        Histogram::Int(int) => {
                            int.count = int.count.wrapping_add(tame);
                            int.sum = sum;
                            for delta in &mut int.positive_deltas {
                                *delta = delta.wrapping_add(tame as i64);
                            }
                            for delta in &mut int.negative_deltas {
                                *delta = wild;
                            }
                        }
                        Histogram::Float(float) => {
                            float.count += tame as f64;
                            float.sum = sum;
                            for bucket in &mut float.positive_buckets {
                                *bucket += tame as f64;
                            }
                        }
                    }
                }
                HistogramSample {
                    t: now,
                    start: start * 77,
                    histogram: mould,
                }
            };
        steps.into_iter().map(sample).collect()
    })
}

fn kinds() -> impl Strategy<Value = ChunkKind> {
    prop_oneof![
        Just(ChunkKind::IntHistogram),
        Just(ChunkKind::FloatHistogram)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn round_trip(samples in samples()) {
        check(&samples);
    }

    #[test]
    fn garbage_gives_an_error_or_samples(
        kind in kinds(),
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let _ = decode(kind, &bytes);
    }

    #[test]
    fn flipped_bits_give_an_error_or_samples(
        kind in kinds(),
        samples in samples(),
        at in any::<usize>(),
        bit in 0..8_u8,
    ) {
        let mut bytes = check(&samples).remove(0);
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let _ = decode(kind, &bytes);
    }
}
