//! Write records of any bytes: an error or rows, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tsdb::wal::record::Record;

fuzz_target!(|bytes: &[u8]| {
    let Ok(record) = Record::parse(bytes) else {
        return;
    };
    let count = record.sample_count();
    let mut samples = 0;
    if record.each_sample(|_, _| samples += 1).is_ok() {
        assert_eq!(count, Ok(samples));
    }
    let _ = record.each_series(|_, _, labels| drop(labels.to_vec()));
    let _ = record.each_histogram(|_, histogram| drop(histogram));
    let _ = record.each_exemplar(|_, exemplar| drop(exemplar));
    let _ = record.each_metadata(|metadata| drop(metadata));
});
