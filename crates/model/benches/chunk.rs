//! What float and histogram chunks cost: bytes a sample (printed), nanoseconds to append one,
//! samples a second to decode.
#![expect(clippy::print_stderr, reason = "a bench prints its sizes")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use model::TimeRange;
use model::chunk::{ChunkKind, MAX_SAMPLES, OpenChunk, OpenHistogramChunk};
use model::chunk::{decode_histograms_into, decode_into};
use model::histogram::{Histogram, HistogramSample, IntHistogram, Span};
use std::hint::black_box;

const SERIES: usize = 1_000;

/// A made-up series: the value at a scrape, given noise from 0 to 1 and the value before.
type Next = fn(f64, f64) -> f64;

const SHAPES: [(&str, Next); 6] = [
    ("constant", |_, before| before),
    ("counter", |noise, before| before + (noise * 120.0).floor()),
    ("seldom", |noise, before| {
        if noise < 0.06 {
            before + (noise * 1e3).floor()
        } else {
            before
        }
    }),
    ("pages", |noise, before| {
        before + 4096.0 * (noise * 64.0 - 30.0).floor()
    }),
    ("decimals", |noise, before| {
        ((before + noise * 7.0) * 100.0).round() / 100.0
    }),
    ("mantissa", |noise, before| before + noise.sqrt()),
];

/// Noise from 0 to 1, the same in every run.
fn noise(seed: u64) -> f64 {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 29;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 32;
    (x >> 11) as f64 / (1_u64 << 53) as f64
}

fn series(next: Next, id: usize) -> Vec<(i64, f64)> {
    let mut v = (noise(id as u64) * 1e6).floor();
    let row = |i| {
        v = next(noise((id * 1_000 + i) as u64), v);
        (1_700_000_000_000 + i as i64 * 15_000, v)
    };
    (0..MAX_SAMPLES).map(row).collect()
}

fn encode(rows: &[(i64, f64)]) -> OpenChunk {
    let mut open = OpenChunk::new();
    for (t, v) in rows {
        let _ = open.append(*t, *v, 0);
    }
    open
}

fn floats(criterion: &mut Criterion) {
    for (name, next) in SHAPES {
        let all: Vec<_> = (0..SERIES).map(|id| series(next, id)).collect();
        let chunks: Vec<_> = all.iter().map(|rows| encode(rows).close()).collect();
        let samples = SERIES * MAX_SAMPLES;
        let bytes: usize = chunks.iter().map(|chunk| chunk.len()).sum();
        eprintln!(
            "{name}: {:.3} bytes a sample",
            bytes as f64 / samples as f64
        );

        let mut group = criterion.benchmark_group(format!("float/{name}"));
        group
            .sample_size(20)
            .throughput(Throughput::Elements(samples as u64));
        group.bench_function("append", |bench| {
            bench.iter(|| {
                all.iter()
                    .map(|rows| black_box(encode(rows)).heap_bytes())
                    .sum::<usize>()
            });
        });
        group.bench_function("decode", |bench| {
            let (mut ts, mut values, mut starts) = (vec![], vec![], vec![]);
            bench.iter(|| {
                for chunk in &chunks {
                    ts.clear();
                    values.clear();
                    starts.clear();
                    let all = TimeRange::all();
                    let outcome = decode_into(chunk, all, &mut ts, &mut values, &mut starts);
                    assert!(black_box(outcome).is_ok());
                }
            });
        });
        group.finish();
    }
}

/// An integer histogram of twelve buckets, as busy as a service's latencies.
fn histogram(i: u64) -> IntHistogram {
    let observed = |b: u64| {
        (0..i)
            .map(|j| (noise(j * 31 + b) * (b % 5 * 9) as f64) as i64)
            .sum()
    };
    let absolute: Vec<i64> = (0..12).map(observed).collect();
    let mut before = 0;
    let delta = |now: &i64| now - std::mem::replace(&mut before, *now);
    IntHistogram {
        schema: 3,
        zero_threshold: 1e-128,
        count: absolute.iter().sum::<i64>().unsigned_abs(),
        sum: (0..i).map(|j| noise(j).sqrt()).sum(),
        positive_spans: vec![Span {
            offset: -3,
            length: 12,
        }],
        positive_deltas: absolute.iter().map(delta).collect(),
        ..IntHistogram::default()
    }
}

fn histograms(criterion: &mut Criterion) {
    let sample = |i: i64| HistogramSample {
        t: 1_700_000_000_000 + i * 15_000,
        start: 0,
        histogram: Histogram::Int(Box::new(histogram(i.unsigned_abs()))),
    };
    let samples: Vec<_> = (0..MAX_SAMPLES as i64).map(sample).collect();
    let encode = || {
        let mut open = OpenHistogramChunk::new(&samples[0]);
        for sample in &samples[1..] {
            let _ = open.append(sample);
        }
        open
    };
    let chunk = encode().close();
    let bytes = chunk.len() as f64 / samples.len() as f64;
    eprintln!("histogram of 12 buckets: {bytes:.1} bytes a sample");

    let mut group = criterion.benchmark_group("histogram/int");
    group.throughput(Throughput::Elements(samples.len() as u64));
    group.bench_function("append", |bench| bench.iter(|| black_box(encode()).count()));
    group.bench_function("decode", |bench| {
        let mut points = vec![];
        bench.iter(|| {
            points.clear();
            let all = TimeRange::all();
            let outcome = decode_histograms_into(ChunkKind::IntHistogram, &chunk, all, &mut points);
            assert!(black_box(outcome).is_ok());
        });
    });
    group.finish();
}

criterion_group!(benches, floats, histograms);
criterion_main!(benches);
