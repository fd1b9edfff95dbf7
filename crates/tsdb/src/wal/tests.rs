//! The log on disks that work, fill up, fail, and lose power.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::AtomicUsize;

use model::ErrorKind;
use model::time::{ManualClock, SystemClock};

use super::segment::{FIRST_FRAME, SegmentHeader, list_segments, segment_path};
use super::*;
use crate::disk::faulty::Faults;
use crate::disk::{FaultyDisk, RealDisk};

const DIR: &str = "/data/wal";

type Found = Vec<(Lsn, Vec<u8>)>;

fn config() -> WalConfig {
    WalConfig {
        segment_bytes: 8 << 10,
        min_free_bytes: 0,
        ..WalConfig::new(DIR)
    }
}

fn read(disk: &dyn Disk, from: Lsn) -> Result<(Found, ReplayReport), WalError> {
    read_in(Path::new(DIR), disk, from)
}

fn read_in(dir: &Path, disk: &dyn Disk, from: Lsn) -> Result<(Found, ReplayReport), WalError> {
    let options = ReplayOptions {
        dir: dir.to_owned(),
        from,
        max_record_bytes: 32 << 20,
    };
    let mut found = Vec::new();
    let mut sink = |lsn, kind: RecordKind, payload: Vec<u8>| {
        assert_eq!(kind, RecordKind(7));
        found.push((lsn, payload));
        ControlFlow::Continue(())
    };
    let progress = ReplayProgress::default();
    let report = replay(&options, disk, &progress, &mut sink)?;
    let load = |of: &AtomicU64| of.load(Ordering::Relaxed);
    assert_eq!(load(&progress.bytes_done), load(&progress.bytes_total));
    assert!(found.is_sorted_by_key(|(lsn, _)| *lsn));
    assert_eq!(report.records, found.len() as u64);
    Ok((found, report))
}

fn open_with(config: WalConfig, disk: &FaultyDisk) -> Result<Wal, WalError> {
    let (_, report) = read(disk, Lsn(0))?;
    let clock = Arc::new(ManualClock::new(0));
    Wal::open(config, Arc::new(disk.clone()), clock, 0xfeed, &report)
}

fn open(disk: &FaultyDisk) -> Result<Wal, WalError> {
    open_with(config(), disk)
}

/// A payload that tells which it is; some compress, some do not, one is larger than a segment.
fn payload(number: u64) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    let size = match number % 5 {
        0 => 0,
        1 => 30,
        2 => 700,
        3 => 3000,
        _ => 9000,
    };
    let mut word = number;
    bytes.extend((0..size).map(|_| {
        word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        if number.is_multiple_of(2) {
            (word >> 56) as u8
        } else {
            7
        }
    }));
    bytes
}

/// Commits numbered payloads until one fails. Returns those that were acknowledged.
fn commit_all(wal: &Wal, numbers: std::ops::Range<u64>) -> Vec<(Lsn, Vec<u8>)> {
    let commit = |number| {
        let bytes = payload(number);
        let lsn = wal.commit(RecordKind(7), &bytes).ok()?;
        Some((lsn, bytes))
    };
    numbers.map_while(commit).collect()
}

/// Every acknowledged record was found, where and in the order it was acknowledged.
fn assert_holds(found: &Found, acknowledged: &Found) {
    let mut rest = found.iter();
    for record in acknowledged {
        assert!(
            rest.any(|one| one == record),
            "lost the record at {}",
            record.0
        );
    }
}

#[test]
fn reads_back_what_was_committed() {
    let disk = FaultyDisk::new(1);
    let mut acknowledged = Vec::new();
    for start in [0, 40] {
        let wal = open(&disk).unwrap();
        acknowledged.extend(commit_all(&wal, start..start + 40));
    }
    let (found, report) = read(&disk, Lsn(0)).unwrap();
    assert_eq!(found, acknowledged);
    assert_eq!((report.truncated_tail, report.damaged.len()), (0, 0));
    assert_eq!(report.missing, []);

    let middle = acknowledged[33].0;
    assert_eq!(read(&disk, middle).unwrap().0, acknowledged[33..]);
}

#[test]
fn works_on_the_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::default());
    let mut acknowledged = Vec::new();
    for fsync in [
        FsyncPolicy::Always,
        FsyncPolicy::Interval(Duration::from_millis(1)),
    ] {
        let config = WalConfig {
            dir: dir.path().join("wal"),
            segment_bytes: 64 << 10,
            fsync,
            min_free_bytes: 0,
            ..config()
        };
        let (_, report) = read_in(&config.dir, &*disk, Lsn(0)).unwrap();
        let clock = Arc::new(SystemClock);
        let wal = Wal::open(config, Arc::clone(&disk), clock, 3, &report).unwrap();
        acknowledged.extend(commit_all(&wal, 0..50));
        wal.sync().unwrap();
    }
    let (found, report) = read_in(&dir.path().join("wal"), &*disk, Lsn(0)).unwrap();
    assert_eq!(found, acknowledged);
    assert_eq!(report.damaged, []);
}

#[test]
fn concurrent_committers_share_syncs_and_lose_nothing() {
    let disk = FaultyDisk::new(2);
    let wal = open(&disk).unwrap();
    let acknowledged = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (wal, acknowledged) = (&wal, &acknowledged);
            scope.spawn(move || {
                let own = commit_all(wal, thread * 1000..thread * 1000 + 60);
                assert_eq!(own.len(), 60);
                assert!(own.is_sorted_by_key(|(lsn, _)| *lsn));
                acknowledged.lock().extend(own);
            });
        }
        scope.spawn(|| {
            for _ in 0..10 {
                wal.cut().unwrap();
            }
        });
    });
    let stats = wal.stats();
    assert_eq!(stats.records, 480);
    assert!(stats.syncs <= stats.batches + 20, "{stats:?}");
    disk.restart();
    let mut acknowledged = acknowledged.into_inner();
    acknowledged.sort();
    assert_eq!(read(&disk, Lsn(0)).unwrap().0, acknowledged);
}

#[test]
fn truncates_whole_segments_below_a_cut() {
    let disk = FaultyDisk::new(3);
    let wal = open(&disk).unwrap();
    let before = commit_all(&wal, 0..40);
    let base = wal.cut().unwrap();
    let after = commit_all(&wal, 40..50);
    assert!(before.iter().all(|(lsn, _)| *lsn < base));
    assert!(after.iter().all(|(lsn, _)| *lsn > base));
    wal.truncate_before(base).unwrap();
    assert_eq!(wal.stats().oldest_segment, base.segment());
    disk.restart();
    assert_eq!(read(&disk, Lsn(0)).unwrap().0, after);
    assert_eq!(read(&disk, base).unwrap().0, after);
    // The segment that is being written stays.
    wal.truncate_before(Lsn(u64::MAX)).unwrap();
    assert_eq!(list_segments(Path::new(DIR), &disk).unwrap().len(), 1);
}

#[test]
fn goes_on_behind_the_snapshot_where_all_segments_are_gone() {
    let disk = FaultyDisk::new(3);
    let from = Lsn::new(17, 0);
    let (found, report) = read(&disk, from).unwrap();
    assert_eq!((found.len(), report.next_segment), (0, 18));
}

#[test]
fn names_segments_that_are_missing() {
    let disk = FaultyDisk::new(3);
    let wal = open(&disk).unwrap();
    for _ in 0..5 {
        wal.cut().unwrap();
    }
    for number in [1, 3, 4] {
        disk.remove(&segment_path(Path::new(DIR), number)).unwrap();
    }
    for from in [Lsn::new(1, 0), Lsn(0)] {
        let report = read(&disk, from).unwrap().1;
        assert_eq!(report.missing, [(1, 1), (3, 4)], "from {from}");
    }
}

#[test]
fn the_number_of_a_segment_that_was_never_begun_is_used_again() {
    for last in [1, 3] {
        let disk = FaultyDisk::new(3);
        let wal = open(&disk).unwrap();
        for _ in 1..last {
            wal.cut().unwrap();
        }
        drop(wal);
        let path = segment_path(Path::new(DIR), last);
        disk.place(&path, vec![0; 100]);
        let (_, report) = read(&disk, Lsn(0)).unwrap();
        assert_eq!((report.truncated_tail, report.next_segment), (100, last));
        let acknowledged = commit_all(&open(&disk).unwrap(), 0..3);
        let (found, report) = read(&disk, Lsn(0)).unwrap();
        assert_eq!((found, report.missing), (acknowledged, vec![]));
    }
}

/// Bytes that do not compress.
fn noise(count: usize) -> Vec<u8> {
    let mut word = 1_u64;
    let next = |_| {
        word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (word >> 56) as u8
    };
    (0..count).map(next).collect()
}

/// Bytes that compress, to a frame whose body size is a multiple of 256.
fn packed_to_256() -> Vec<u8> {
    let mut encoder = frame::FrameEncoder::default();
    let made = (300..9000).map(|count| [noise(count), vec![7; 500]].concat());
    let mut fits = |bytes: &Vec<u8>| {
        let frame = encoder.encode(RecordKind(7), bytes);
        frame[9] == frame::FLAG_ZSTD
            && (frame.len() - frame::FRAME_HEADER_BYTES).is_multiple_of(256)
    };
    made.into_iter()
        .find_map(|bytes| fits(&bytes).then_some(bytes))
        .unwrap()
}

/// Segment 1 with these batches of payloads, and where its records are.
fn segment_of(batches: &[&[Vec<u8>]]) -> (Vec<u8>, Found) {
    let header = SegmentHeader {
        number: 1,
        instance: 0xfeed,
    };
    let mut bytes = header.encode_padded(512);
    let mut records = Vec::new();
    let mut encoder = frame::FrameEncoder::default();
    for batch in batches {
        for payload in *batch {
            records.push((Lsn::new(1, bytes.len() as u32), payload.clone()));
            let frame = encoder.encode_sealed(RecordKind(7), payload, header.seed());
            bytes.extend_from_slice(frame);
        }
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    (bytes, records)
}

/// A payload whose frame, the first of a batch, ends so many bytes in front of a block's end.
fn up_to(left: usize) -> Vec<u8> {
    noise(512 - left - frame::FRAME_HEADER_BYTES - 2)
}

#[test]
fn a_size_of_zeros_up_to_the_end_of_a_block_is_no_padding() {
    let path = segment_path(Path::new(DIR), 1);
    let sizes = [(1, 1 << 8), (1, 1 << 16), (2, 1 << 16), (3, 1 << 24)];
    let noisy = sizes.map(|(left, body)| (left, noise(body - 2)));
    for (left, second) in noisy.into_iter().chain([(1, packed_to_256())]) {
        let batch = [up_to(left), second, payload(3)];
        let later = [payload(2)];
        for batches in [
            &[&batch[..2]][..],
            &[&batch, &later],
            &[&batch[..2], &later],
        ] {
            let disk = FaultyDisk::new(1);
            let (bytes, records) = segment_of(batches);
            assert_eq!(records[1].0.offset() as usize % 512, 512 - left);
            disk.place(&path, bytes.clone());
            let (found, report) = read(&disk, Lsn(0)).unwrap();
            assert!(found == records, "{left} bytes, {report:?}");
            assert_eq!((report.damaged.len(), report.truncated_tail), (0, 0));
            assert_eq!(disk.contents(&path).unwrap().len(), bytes.len());
            // The same behind damage, where it has to be searched for.
            let mut damaged = bytes.clone();
            damaged[FIRST_FRAME as usize + 20] ^= 1;
            disk.place(&path, damaged);
            let (found, report) = read(&disk, Lsn(0)).unwrap();
            assert!(found == records[1..], "{left} bytes, {report:?}");
            assert_eq!((report.damaged.len(), report.truncated_tail), (1, 0));
            // Where it is damaged itself, it is the only one that is lost.
            let mut damaged = bytes;
            damaged[records[1].0.offset() as usize + 20] ^= 1;
            disk.place(&path, damaged);
            let (found, report) = read(&disk, Lsn(0)).unwrap();
            assert_eq!(found.len(), records.len() - 1, "{report:?}");
            let last = records.len() == 2;
            assert_eq!(
                (report.damaged.is_empty(), report.truncated_tail > 0),
                (last, last)
            );
        }
    }
}

#[test]
fn padding_of_a_few_bytes_is_none_of_a_size() {
    let path = segment_path(Path::new(DIR), 1);
    for left in 1..4 {
        for next in [noise(254), noise(0), packed_to_256(), payload(3)] {
            let disk = FaultyDisk::new(1);
            let (bytes, records) = segment_of(&[&[up_to(left)], &[next, payload(1)]]);
            disk.place(&path, bytes);
            let (found, report) = read(&disk, Lsn(0)).unwrap();
            assert!(found == records, "{left} bytes, {report:?}");
            assert_eq!((report.damaged.len(), report.truncated_tail), (0, 0));
        }
    }
}

/// What a process does between two starts: it commits, cuts, truncates. Returns what must be
/// found, and what was truncated.
fn live(disk: &FaultyDisk) -> (Found, Lsn) {
    let mut acknowledged = Vec::new();
    let Ok(wal) = open(disk) else {
        return (acknowledged, Lsn(0));
    };
    acknowledged.extend(commit_all(&wal, 0..6));
    let base = wal.cut();
    acknowledged.extend(commit_all(&wal, 6..9));
    let mut truncated = Lsn(0);
    if let Ok(base) = base {
        // Also where that fails, some segments may be gone.
        truncated = base;
        drop(wal.truncate_before(base));
    }
    acknowledged.extend(commit_all(&wal, 9..12));
    (acknowledged, truncated)
}

#[test]
fn power_loss_at_any_operation_loses_nothing_acknowledged() {
    let disk = FaultyDisk::new(0);
    live(&disk);
    let operations = disk.operations();
    assert!(operations > 40);
    for seed in 0..6 {
        for at in 1..=operations {
            crash_at(at, at * 31 + seed);
        }
    }
}

fn crash_at(at: u64, seed: u64) {
    let disk = FaultyDisk::new(seed);
    let lose_power = |at| Faults {
        lose_power_at: Some(at),
        ..Faults::default()
    };
    disk.set_faults(lose_power(at));
    let (mut kept, truncated) = live(&disk);
    kept.retain(|(lsn, _)| *lsn >= truncated);
    disk.restart();

    // The next start may lose power too.
    disk.set_faults(lose_power(1 + seed % 4));
    if let Ok(wal) = open(&disk) {
        kept.extend(commit_all(&wal, 100..103));
    }
    disk.restart();
    let wal = open(&disk).unwrap();
    kept.extend(commit_all(&wal, 200..203));
    drop(wal);
    disk.restart();
    let (found, report) = read(&disk, truncated).unwrap();
    assert_holds(&found, &kept);
    assert_eq!(report.truncated_tail, 0, "operation {at}, seed {seed}");
    assert_eq!(report.missing, []);
}

#[test]
fn cuts_an_interrupted_write_and_counts_it() {
    let disk = FaultyDisk::new(4);
    let wal = open(&disk).unwrap();
    let acknowledged = commit_all(&wal, 0..3);
    drop(wal);
    let path = segment_path(Path::new(DIR), 1);
    let mut bytes = disk.contents(&path).unwrap();
    let whole = bytes.len();
    bytes.extend_from_slice(&[0x40, 0, 0, 0, 1, 2, 3, 4, 5]);
    disk.place(&path, bytes);
    let (found, report) = read(&disk, Lsn(0)).unwrap();
    assert_eq!((found, report.truncated_tail), (acknowledged.clone(), 9));
    assert_eq!(disk.contents(&path).unwrap().len(), whole);
    let (found, report) = read(&disk, Lsn(0)).unwrap();
    assert_eq!((found, report.truncated_tail), (acknowledged, 0));
}

#[test]
fn damage_anywhere_costs_only_the_record_it_hits() {
    let disk = FaultyDisk::new(5);
    let wal = open(&disk).unwrap();
    let acknowledged = commit_all(&wal, 0..12);
    drop(wal);
    let path = segment_path(Path::new(DIR), 1);
    let whole = disk.contents(&path).unwrap();
    let next_segment = disk.contents(&segment_path(Path::new(DIR), 2)).is_some();
    assert!(next_segment);
    for at in (0..whole.len()).step_by(7).chain(0..1100) {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            disk.place(&path, bytes);
            let (found, report) = read(&disk, Lsn(0)).unwrap();
            let lost: Vec<_> = acknowledged
                .iter()
                .filter(|one| !found.contains(one))
                .collect();
            assert!(lost.len() <= 1, "byte {at}: lost {}", lost.len());
            assert!(found.iter().all(|one| acknowledged.contains(one)));
            assert!(
                lost.is_empty() || report.damaged.len() == 1,
                "byte {at}: {report:?}"
            );
            assert_eq!(report.truncated_tail, 0);
        }
    }
}

#[test]
fn keeps_a_damaged_segment_aside() {
    let disk = FaultyDisk::new(5);
    let wal = open(&disk).unwrap();
    commit_all(&wal, 0..12);
    drop(wal);
    let path = segment_path(Path::new(DIR), 1);
    let mut bytes = disk.contents(&path).unwrap();
    bytes[1100] ^= 1;
    disk.place(&path, bytes);
    let wal = open(&disk).unwrap();
    let base = wal.cut().unwrap();
    wal.truncate_before(base).unwrap();
    let names: Vec<_> = disk.list(Path::new(DIR)).unwrap();
    let names: Vec<_> = names.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names[0], "00000001.damaged");
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn any_bytes_at_all_are_read_without_panic() {
    let disk = FaultyDisk::new(6);
    let wal = open(&disk).unwrap();
    commit_all(&wal, 0..4);
    drop(wal);
    let path = segment_path(Path::new(DIR), 1);
    let whole = disk.contents(&path).unwrap();
    for length in (0..whole.len()).step_by(61) {
        disk.place(&path, whole[..length].to_vec());
        read(&disk, Lsn(0)).unwrap();
        let mut torn = whole.clone();
        torn[length..].fill(0xff);
        disk.place(&path, torn);
        read(&disk, Lsn(0)).unwrap();
    }
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    for capacity in (0..40_000).step_by(997) {
        let disk = FaultyDisk::new(capacity);
        disk.set_faults(Faults {
            capacity: Some(capacity),
            ..Faults::default()
        });
        let wal = open(&disk).unwrap();
        let mut acknowledged = Vec::new();
        let mut refused = 0;
        for number in 0..40 {
            match wal.commit(RecordKind(7), &payload(number)) {
                Ok(lsn) => acknowledged.push((lsn, payload(number))),
                Err(CommitError::DiskFull { .. }) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert!(refused > 0);
        assert!(!wal.is_poisoned());
        disk.set_faults(Faults::default());
        let again = commit_all(&wal, 100..110);
        assert_eq!(again.len(), 10);
        acknowledged.extend(again);
        drop(wal);
        let (found, report) = read(&disk, Lsn(0)).unwrap();
        assert_eq!(found, acknowledged);
        assert_eq!((report.damaged, report.truncated_tail), (vec![], 0));
    }
}

#[test]
fn little_free_space_refuses_before_anything_is_written() {
    let disk = FaultyDisk::new(1);
    let tight = WalConfig {
        min_free_bytes: 10_000,
        ..config()
    };
    disk.set_faults(Faults {
        capacity: Some(9_000),
        ..Faults::default()
    });
    let wal = open_with(tight, &disk).unwrap();
    let before = disk.operations();
    let refused = wal.commit(RecordKind(7), &payload(1)).unwrap_err();
    assert!(matches!(refused, CommitError::DiskFull { .. }));
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert_eq!(disk.operations(), before);
    assert_eq!(wal.stats().disk_full, 1);
    disk.set_faults(Faults::default());
    wal.commit(RecordKind(7), &payload(1)).unwrap();
}

#[test]
fn a_failed_sync_ends_it_for_good() {
    let disk = FaultyDisk::new(1);
    let wal = open(&disk).unwrap();
    let acknowledged = commit_all(&wal, 0..4);
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    wal.on_poison(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    disk.set_faults(Faults {
        fail_sync_at: Some(1),
        ..Faults::default()
    });
    for number in 0..3 {
        let failed = wal.commit(RecordKind(7), &payload(number));
        assert_eq!(failed, Err(CommitError::Failed));
    }
    assert!(wal.is_poisoned());
    assert!(matches!(wal.cut(), Err(WalError::Poisoned)));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    drop(wal);
    disk.restart();
    let wal = open(&disk).unwrap();
    let later = commit_all(&wal, 4..6);
    let (found, _) = read(&disk, Lsn(0)).unwrap();
    assert_holds(&found, &[acknowledged, later].concat());
}

#[test]
fn limits_the_size_of_a_record() {
    let disk = FaultyDisk::new(1);
    let small = WalConfig {
        max_record_bytes: 100,
        ..config()
    };
    let wal = open_with(small, &disk).unwrap();
    let expected = CommitError::TooLarge {
        bytes: 101,
        limit: 100,
    };
    assert_eq!(wal.commit(RecordKind(7), &[0; 101]), Err(expected));
    wal.commit(RecordKind(7), &[0; 100]).unwrap();
}

/// Golden bytes: a reader of this version has to read them for ever.
#[test]
fn reads_segments_of_version_1() {
    let golden = include_bytes!("../../testdata/wal-segment-v1.bin");
    let disk = FaultyDisk::new(1);
    let path = segment_path(Path::new(DIR), 1);
    disk.place(&path, golden.to_vec());
    let (found, report) = read(&disk, Lsn(0)).unwrap();
    assert_eq!((report.damaged.len(), report.truncated_tail), (0, 0));
    assert_eq!(found.len(), 4);
    for (number, (_, bytes)) in found.iter().enumerate() {
        assert_eq!(*bytes, payload(number as u64));
    }
    assert_eq!(found[0].0, Lsn::new(1, FIRST_FRAME as u32));

    // What is written now is laid out the same; what zstd makes of it may change.
    let header = SegmentHeader {
        number: 1,
        instance: 0xfeed,
    };
    assert_eq!(golden[..FIRST_FRAME as usize], header.encode_padded(512));
    let mut encoder = frame::FrameEncoder::default();
    let first = encoder.encode_sealed(RecordKind(7), &payload(0), header.seed());
    assert!(golden[FIRST_FRAME as usize..].starts_with(first));
}
