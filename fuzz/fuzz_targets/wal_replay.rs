//! A log whose bytes were damaged in any way: replay ends without a panic, and a second one finds
//! the same. (What it finds is held against what was committed by the tests of `tsdb`: a fuzzer
//! may guess a checksum.)
#![no_main]

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use model::time::ManualClock;
use tsdb::disk::{Disk, FaultyDisk};
use tsdb::wal::segment::segment_path;
use tsdb::wal::{
    Lsn, RecordKind, ReplayOptions, ReplayProgress, ReplayReport, Wal, WalConfig, replay,
};

const DIR: &str = "/wal";

fuzz_target!(|edits: &[u8]| {
    let disk = FaultyDisk::new(1);
    fill(&disk);
    let path = segment_path(Path::new(DIR), 1);
    let mut bytes = disk.contents(&path).unwrap_or_default();
    // The first byte says where the file is cut, then come edits: place, place, new byte.
    let (cut, edits) = edits.split_first().unwrap_or((&255, &[]));
    bytes.truncate(bytes.len() * (usize::from(*cut) + 1) / 256);
    for edit in edits.chunks_exact(3) {
        let place = usize::from(u16::from_le_bytes([edit[0], edit[1]]));
        match bytes.get_mut(place) {
            Some(byte) => *byte = edit[2],
            None => bytes.push(edit[2]),
        }
    }
    disk.place(&path, bytes);
    let first = read(&disk);
    assert_eq!(read(&disk), first);
});

fn fill(disk: &FaultyDisk) {
    let config = WalConfig {
        min_free_bytes: 0,
        ..WalConfig::new(DIR)
    };
    let clock = Arc::new(ManualClock::new(0));
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let wal = Wal::open(config, shared, clock, 5, &ReplayReport::default());
    let wal = wal.expect("an empty disk without faults");
    for number in 0..8 {
        let payload = vec![number; usize::from(number) * 40];
        let committed = wal.commit(RecordKind(1), &payload);
        committed.expect("a disk without faults");
    }
}

fn read(disk: &FaultyDisk) -> Vec<Vec<u8>> {
    let options = ReplayOptions {
        dir: DIR.into(),
        from: Lsn(0),
        max_record_bytes: 1 << 20,
    };
    let mut records = Vec::new();
    let mut sink = |_, _, payload| {
        records.push(payload);
        ControlFlow::Continue(())
    };
    let progress = ReplayProgress::default();
    let report = replay(&options, disk, &progress, &mut sink);
    report.expect("a disk without faults");
    records
}
