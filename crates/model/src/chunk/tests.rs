//! Round trips of float chunks, and what garbage does.

use super::{AppendResult, ChunkError, MAX_SAMPLES, OpenChunk, decode_into};
use crate::time::TimeRange;
use proptest::prelude::*;

type Row = (i64, u64, i64);

fn encode(rows: &[Row]) -> OpenChunk {
    let mut open = OpenChunk::new();
    for (t, v, start) in rows {
        let appended = open.append(*t, f64::from_bits(*v), *start);
        assert_eq!(appended, AppendResult::Appended);
    }
    open
}

fn decode(bytes: &[u8], range: TimeRange) -> Result<Vec<Row>, ChunkError> {
    let (mut ts, mut values, mut starts) = (vec![7], vec![7.0], vec![7]);
    let outcome = decode_into(bytes, range, &mut ts, &mut values, &mut starts);
    assert_eq!((ts.len(), values.len()), (values.len(), starts.len()));
    assert_eq!(
        (ts[0], values[0], starts[0]),
        (7, 7.0, 7),
        "what was there stays"
    );
    if outcome.is_err() {
        assert_eq!(ts.len(), 1, "a damaged chunk adds nothing");
    }
    let rows = ts.iter().zip(&values).zip(&starts).skip(1);
    outcome.map(|()| rows.map(|((t, v), s)| (*t, v.to_bits(), *s)).collect())
}

fn check(rows: &[Row]) -> usize {
    let open = encode(rows);
    let (first, last) = (rows[0], rows[rows.len() - 1]);
    assert_eq!(open.count(), rows.len());
    assert_eq!(open.first_t(), Some(first.0));
    assert_eq!((open.last_t(), open.last_start()), (last.0, last.2));
    assert_eq!(open.last_value().to_bits(), last.1);
    let bytes = open.bytes();
    assert_eq!(decode(&bytes, TimeRange::all()).as_deref(), Ok(rows));
    assert_eq!(open.close()[..], bytes[..]);
    bytes.len()
}

fn floats(values: impl IntoIterator<Item = f64>) -> usize {
    let rows = values.into_iter().zip(0..);
    let rows: Vec<Row> = rows
        .map(|(v, i)| (1_700_000_000_000 + i * 15_000, v.to_bits(), 0))
        .collect();
    check(&rows)
}

#[test]
fn an_open_chunk_is_small() {
    assert!(size_of::<OpenChunk>() <= 56);
    assert_eq!(OpenChunk::new().heap_bytes(), 0);
    assert_eq!(OpenChunk::new().bytes(), []);
    assert_eq!(OpenChunk::new().first_t(), None);
}

#[test]
fn sizes_stay_what_they_are() {
    let sizes = [
        floats([0.0; 120]),
        floats((0..120).map(f64::from)),
        floats((0..120).map(|i| f64::from(i * i % 97) / 100.0)),
        floats((0..120).map(|i| 1e9 + 4096.0 * f64::from(i % 7))),
        floats((0..120).map(|i| 4096.0 * f64::from(i % 7))),
        floats((0..120).map(|i| f64::from(i).sqrt())),
    ];
    assert_eq!(sizes, [28, 60, 170, 180, 176, 862]);
}

#[test]
fn odd_values_keep_their_bits() {
    let nan = f64::from_bits(0x7ff8_dead_beef_0001);
    let stale = crate::sample::stale_nan();
    let infinite = f64::INFINITY;
    floats([
        1.0, nan, 2.0, stale, stale, 3.0, -0.0, 0.0, infinite, -infinite, 4.0,
    ]);
    floats([nan, 1.0, 2.0, 3.0]);
    floats([stale, 1.5, 0.25, 1e300, 5e-324, 7.0]);
    floats([-0.0, 0.0, -1.0, -4096.0, f64::MAX, f64::MIN_POSITIVE]);
    floats([4096.0, 8192.0, 8193.0, 0.1, 0.12, 0.1 + 0.2]);
    floats([
        2_251_799_813_685_247.0,
        2_251_799_813_685_248.0,
        -9_007_199_254_740_993.0,
    ]);
}

/// The bytes that version 1 of the format writes, kept for ever: each mode, each way to change
/// it, a late scrape, start timestamps.
#[test]
fn golden_bytes() {
    let values = [
        0.0,
        1.0,
        3.0,
        3.0,
        1e6,
        0.25,
        0.5,
        1e9,
        -0.0,
        f64::NAN,
        7.75,
        8.0,
        0.1 + 0.2,
    ];
    let more = [
        0.3,
        0.3,
        std::f64::consts::PI,
        f64::INFINITY,
        4096.0,
        8192.0,
        3.0 * 4096.0,
    ];
    let values = values.iter().chain(&more).zip(0..);
    let rows: Vec<Row> = values
        .map(|(v, i)| {
            let t = 1_700_000_000_000 + i * 15_000 + [0, 3, 0, 9_000][i as usize % 4];
            (
                t,
                v.to_bits(),
                [0, 1_600_000_000_000, t - 1][i as usize / 7],
            )
        })
        .collect();
    check(&rows);
    let bytes = encode(&rows).close();
    assert_eq!(
        bytes[..],
        include_bytes!("../../testdata/chunk-float-v1.bin")[..]
    );
}

#[test]
fn start_timestamps_cost_little() {
    let base = 1_700_000_000_000;
    let rows = |start: fn(i64, i64) -> i64| -> Vec<Row> {
        let ts = (0..120).map(move |i| base + i * 15_000);
        ts.map(|t| (t, 1.0_f64.to_bits(), start(base, t))).collect()
    };
    let none = check(&rows(|_, _| 0));
    let constant = check(&rows(|base, _| base - 1_000));
    let delta = check(&rows(|_, t| t - 15_000));
    assert!(constant <= none + 4, "{constant} {none}");
    assert!(delta <= none + 100, "{delta} {none}");
    let late = check(&rows(|base, t| if t > base + 600_000 { base } else { 0 }));
    assert!(late <= none + 12, "{late} {none}");
    check(&rows(|base, t| {
        if t > base + 600_000 {
            0
        } else {
            i64::MIN + base
        }
    }));
}

#[test]
fn a_full_chunk_takes_no_more() {
    let mut open = encode(&[(1, 2, 3); MAX_SAMPLES]);
    let bytes = open.bytes();
    assert!(open.is_full());
    assert_eq!(open.append(9, 9.0, 9), AppendResult::NewChunkNeeded);
    assert_eq!((open.bytes(), open.last_t()), (bytes, 1));
}

#[test]
fn the_worst_chunk_fits_its_counters() {
    let odd = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let row = |i| (odd(i) as i64, odd(i + 1_000), odd(i + 2_000) as i64);
    let bytes = check(&(0..120).map(row).collect::<Vec<_>>());
    assert!(bytes < 120 * 27, "{bytes}");
}

#[test]
fn a_range_keeps_its_samples_only() {
    let rows: Vec<Row> = (0..100).map(|i| (i * 10, 3, i)).collect();
    let bytes = encode(&rows).close();
    let kept = decode(
        &bytes,
        TimeRange {
            start: 95,
            end: 200,
        },
    );
    assert_eq!(kept.as_deref(), Ok(&rows[10..20]));
    let none = decode(
        &bytes,
        TimeRange {
            start: 5_000,
            end: 6_000,
        },
    );
    assert_eq!(none, Ok(vec![]));
}

#[test]
fn ends_of_chunks_are_missed() {
    let rows: Vec<Row> = (0..50)
        .map(|i| (i * i, (i as f64).sqrt().to_bits(), 0))
        .collect();
    let bytes = encode(&rows).close();
    for len in 0..bytes.len() {
        assert!(decode(&bytes[..len], TimeRange::all()).is_err(), "{len}");
    }
}

fn value_bits() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        any::<f64>().prop_map(f64::to_bits),
        (-50_i32..50).prop_map(|n| f64::from(n).to_bits()),
        any::<i64>().prop_map(|n| (n as f64).to_bits()),
        (any::<i32>(), 0..10).prop_map(|(n, d)| (f64::from(n) / 10_f64.powi(d)).to_bits()),
        (0..90_u32).prop_map(|n| f64::from(n * 4096).to_bits()),
        Just(crate::sample::STALE_NAN_BITS),
    ]
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let t = prop_oneof![any::<i64>(), Just(15_000), -40..40_i64, 0..2_000_000_i64];
    let start = prop_oneof![4 => Just(0_i64), 1 => any::<i64>(), 2 => 0..3_i64];
    let row = (t, value_bits(), start, 0..4_u8, any::<bool>());
    prop::collection::vec(row, 1..=MAX_SAMPLES).prop_map(|steps| {
        let (mut t, mut v, mut start) = (1_700_000_000_000_i64, 0, 0);
        let row = |(step, value, began, how, relative)| {
            t = t.wrapping_add(step);
            match how {
                0 => v = value,
                1 => v = (f64::from_bits(v) + f64::from_bits(value)).to_bits(),
                2 => {
                    start = if relative {
                        t.wrapping_sub(step)
                    } else {
                        began
                    }
                }
                _ => {}
            }
            (t, v, start)
        };
        steps.into_iter().map(row).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn round_trip(rows in rows()) {
        check(&rows);
    }

    #[test]
    fn garbage_gives_an_error_or_samples(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes, TimeRange::all());
    }

    #[test]
    fn flipped_bits_give_an_error_or_samples(rows in rows(), at in any::<usize>(), bit in 0..8_u8) {
        let mut bytes = encode(&rows).close();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let _ = decode(&bytes, TimeRange::all());
    }
}
