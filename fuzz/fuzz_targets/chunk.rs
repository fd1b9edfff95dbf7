//! Chunks from a damaged disk or a strange peer: any bytes decode to samples or to an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::TimeRange;
use model::chunk::{ChunkKind, OpenChunk, decode_into};
use model::chunk::{decode_histogram_samples_into, decode_histograms_into};

fuzz_target!(|data: &[u8]| {
    let Some((first, bytes)) = data.split_first() else {
        return;
    };
    let (all, some) = (
        TimeRange::all(),
        TimeRange {
            start: 0,
            end: 1 << 41,
        },
    );
    match ChunkKind::try_from(first % 4) {
        Ok(ChunkKind::Float) => {
            let (mut ts, mut values, mut starts) = (vec![], vec![], vec![]);
            if decode_into(bytes, all, &mut ts, &mut values, &mut starts).is_ok() {
                again(&ts, &values, &starts);
            }
            let _ = decode_into(bytes, some, &mut ts, &mut values, &mut starts);
            assert_eq!((ts.len(), values.len()), (values.len(), starts.len()));
        }
        Ok(kind) => {
            let (mut samples, mut points) = (vec![], vec![]);
            let exact = decode_histogram_samples_into(kind, bytes, all, &mut samples);
            let floats = decode_histograms_into(kind, bytes, all, &mut points);
            assert_eq!((exact, samples.len()), (floats, points.len()));
        }
        Err(_) => {}
    }
});

/// What was decoded survives a round trip of our own.
fn again(ts: &[i64], values: &[f64], starts: &[i64]) {
    let mut open = OpenChunk::new();
    for ((t, v), start) in ts.iter().zip(values).zip(starts) {
        let _ = open.append(*t, *v, *start);
    }
    let (mut ts2, mut values2, mut starts2) = (vec![], vec![], vec![]);
    let outcome = decode_into(
        &open.bytes(),
        TimeRange::all(),
        &mut ts2,
        &mut values2,
        &mut starts2,
    );
    assert_eq!(outcome, Ok(()));
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(ts[..open.count()], ts2);
    assert_eq!(bits(&values[..open.count()]), bits(&values2));
    assert_eq!(starts[..open.count()], starts2);
}
