//! What float and histogram chunks cost: bytes a sample (printed), nanoseconds to append one,
//! samples a second to decode.
#![expect(
    clippy::print_stderr,
    missing_docs,
    reason = "a bench prints its sizes"
)]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use model::TimeRange;
use model::chunk::{MAX_SAMPLES, OpenChunk, decode_into};
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
            bench.iter_batched(
                || (),
                |()| {
                    for chunk in &chunks {
                        (ts.clear(), values.clear(), starts.clear());
                        let all = TimeRange::all();
                        let outcome = decode_into(chunk, all, &mut ts, &mut values, &mut starts);
                        assert!(black_box(outcome).is_ok());
                    }
                },
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, floats);
criterion_main!(benches);
