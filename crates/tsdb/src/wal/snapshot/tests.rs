//! Snapshots that are whole, unfinished, damaged.

use super::*;
use crate::disk::faulty::Faults;
use crate::disk::{DirFile, DiskLock, FaultyDisk, FileMap};

const DIR: &str = "/data";

type Frames = Vec<(RecordKind, Vec<u8>)>;

fn frames() -> Frames {
    let size = |number: u8| usize::from(number) * usize::from(number) * 12;
    let frame = |number: u8| (RecordKind(number), vec![number; size(number)]);
    (0..50).map(frame).collect()
}

fn write(disk: &FaultyDisk, lsn: Lsn, frames: &Frames) -> Result<SnapshotFile, SnapshotError> {
    let mut writer = SnapshotWriter::create(Path::new(DIR), lsn, Arc::new(disk.clone()))?;
    for (kind, payload) in frames {
        writer.frame(*kind, payload)?;
    }
    writer.finish()
}

fn read(disk: &FaultyDisk, file: &SnapshotFile) -> Result<Frames, SnapshotError> {
    let mut reader = SnapshotReader::open(&file.path, disk)?;
    assert_eq!(reader.lsn(), file.lsn);
    let mut found = Vec::new();
    while let Some(frame) = reader.next_frame()? {
        found.push(frame);
    }
    Ok(found)
}

#[test]
fn reads_back_what_was_written() {
    let disk = FaultyDisk::new(1);
    for (number, some) in [vec![], frames()].iter().enumerate() {
        let written = write(&disk, Lsn::new(3, number as u32), some).unwrap();
        disk.restart();
        let newest = latest(Path::new(DIR), &disk).unwrap().unwrap();
        assert_eq!(newest, written);
        assert_eq!(read(&disk, &newest).unwrap(), *some);
    }
    let both = list_snapshots(Path::new(DIR), &disk).unwrap().complete;
    assert_eq!(both.len(), 2);
    remove_before(Path::new(DIR), both[0].lsn, &disk).unwrap();
    let left = list_snapshots(Path::new(DIR), &disk).unwrap();
    assert_eq!((left.complete, left.damaged), (both[..1].to_vec(), vec![]));
}

#[test]
fn power_loss_at_any_operation_leaves_the_old_or_the_new_one() {
    let disk = FaultyDisk::new(0);
    write(&disk, Lsn(5), &frames()).unwrap();
    let operations = disk.operations();
    for at in 1..=operations + 1 {
        let disk = FaultyDisk::new(at);
        let old = write(&disk, Lsn(4), &vec![]).unwrap();
        disk.set_faults(Faults {
            lose_power_at: Some(at),
            ..Faults::default()
        });
        let written = write(&disk, Lsn(5), &frames());
        disk.restart();
        let found = latest(Path::new(DIR), &disk).unwrap().unwrap();
        if found == old {
            assert!(written.is_err());
        } else {
            assert_eq!(read(&disk, &found).unwrap(), frames());
        }
        remove_unfinished(Path::new(DIR), &disk).unwrap();
        let names = disk.list(Path::new(DIR)).unwrap();
        assert!(names.iter().all(|file| !file.name.ends_with(".tmp")));
        // A second try is not in the way of what the first one left.
        let again = write(&disk, Lsn(6), &frames()).unwrap();
        assert_eq!(latest(Path::new(DIR), &disk).unwrap(), Some(again));
        remove_before(Path::new(DIR), Lsn(6), &disk).unwrap();
        assert_eq!(disk.list(Path::new(DIR)).unwrap().len(), 1);
    }
}

#[test]
fn damage_is_found() {
    let disk = FaultyDisk::new(1);
    let small: Frames = frames().into_iter().take(12).collect();
    let written = write(&disk, Lsn(5), &small).unwrap();
    let whole = disk.contents(&written.path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        disk.place(&written.path, bytes);
        let found = read(&disk, &written);
        let in_padding = whole[at] == 0 && found.as_ref().is_ok_and(|found| *found == small);
        assert!(found.is_err() || in_padding, "byte {at}");
        disk.place(&written.path, whole[..at].to_vec());
        assert!(read(&disk, &written).is_err(), "{at} bytes");
    }
}

#[test]
fn an_attempt_that_fails_or_is_given_up_leaves_no_file() {
    let disk = FaultyDisk::new(0);
    let count = || disk.list(Path::new(DIR)).unwrap().len();
    let disk_of = Arc::new(disk.clone());
    drop(SnapshotWriter::create(Path::new(DIR), Lsn(4), disk_of).unwrap());
    assert_eq!(count(), 0);
    disk.set_faults(Faults {
        capacity: Some(1000),
        ..Faults::default()
    });
    assert!(write(&disk, Lsn(5), &frames()).is_err());
    assert_eq!(count(), 0);
    disk.set_faults(Faults::default());
    write(&disk, Lsn(5), &frames()).unwrap();
    assert_eq!(count(), 1);
}

#[test]
fn what_a_crash_left_unfinished_is_removed() {
    let disk = FaultyDisk::new(0);
    let written = write(&disk, Lsn(5), &frames()).unwrap();
    for name in ["snapshot-0000000000000007.tmp", "other.tmp"] {
        disk.place(&Path::new(DIR).join(name), vec![1; 10]);
    }
    assert_eq!(remove_unfinished(Path::new(DIR), &disk).unwrap(), 1);
    assert_eq!(remove_unfinished(Path::new(DIR), &disk).unwrap(), 0);
    assert_eq!(disk.list(Path::new(DIR)).unwrap().len(), 2);
    assert_eq!(latest(Path::new(DIR), &disk).unwrap(), Some(written));
    assert_eq!(remove_unfinished(Path::new("/none"), &disk).unwrap(), 0);
}

#[test]
fn damaged_ones_are_named() {
    let disk = FaultyDisk::new(1);
    let old = write(&disk, Lsn(4), &frames()).unwrap();
    let new = write(&disk, Lsn(5), &frames()).unwrap();
    let bytes = disk.contents(&new.path).unwrap();
    let other = snapshot_path(Path::new(DIR), Lsn(6));
    disk.place(&other, bytes.clone());
    disk.place(&new.path, bytes[..bytes.len() - 1].to_vec());
    let found = list_snapshots(Path::new(DIR), &disk).unwrap();
    assert_eq!(found.complete, [old]);
    assert_eq!(found.damaged, [new.path, other]);
}

#[test]
fn one_of_another_version_is_no_damage() {
    let disk = FaultyDisk::new(1);
    write(&disk, Lsn(4), &frames()).unwrap();
    let new = write(&disk, Lsn(5), &frames()).unwrap();
    let mut bytes = disk.contents(&new.path).unwrap();
    bytes[8] = 2;
    let checksum = crc32c::crc32c(&bytes[..20]);
    bytes[20..24].copy_from_slice(&checksum.to_le_bytes());
    for size in [bytes.len(), HEADER_BYTES] {
        disk.place(&new.path, bytes[..size].to_vec());
        let refused = list_snapshots(Path::new(DIR), &disk).unwrap_err();
        match refused {
            SnapshotError::Version { path, found } => {
                assert_eq!((path, found), (new.path.clone(), 2))
            }
            other => panic!("{other}"),
        }
    }
}

/// A disk whose files are there and cannot be opened.
#[derive(Debug)]
struct Unreadable(FaultyDisk);

impl Disk for Unreadable {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir_all(dir)
    }

    fn create(&self, path: &Path, mode: WriteMode) -> io::Result<Arc<dyn DiskFile>> {
        self.0.create(path, mode)
    }

    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.0.open_append(path)
    }

    fn open_read(&self, _path: &Path) -> io::Result<Box<dyn ReadFile>> {
        Err(io::Error::from_raw_os_error(5))
    }

    fn map(&self, path: &Path, bytes: usize) -> io::Result<Option<FileMap>> {
        self.0.map(path, bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirFile>> {
        self.0.list(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<DiskLock>> {
        self.0.lock(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.0.free_bytes(dir)
    }
}

#[test]
fn one_that_cannot_be_read_is_no_damage() {
    let disk = FaultyDisk::new(1);
    write(&disk, Lsn(4), &frames()).unwrap();
    let refused = list_snapshots(Path::new(DIR), &Unreadable(disk)).unwrap_err();
    assert!(matches!(refused, SnapshotError::Io { .. }), "{refused}");
}

/// Golden bytes: a reader of this version has to read them for ever.
#[test]
fn reads_version_1() {
    let disk = FaultyDisk::new(1);
    let path = snapshot_path(Path::new(DIR), Lsn(5));
    let golden = include_bytes!("../../../testdata/snapshot-v1.bin");
    disk.place(&path, golden.to_vec());
    let found = latest(Path::new(DIR), &disk).unwrap().unwrap();
    let expected: Frames = frames().into_iter().take(12).collect();
    assert_eq!(read(&disk, &found).unwrap(), expected);
}
