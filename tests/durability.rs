//! What was acknowledged is there after any end of the process, with its exact value: kills at
//! random moments, a full disk, a torn end and a flipped bit of the write-ahead log.

#![expect(clippy::panic, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tests::answer::Answer;
use tests::random::Random;
use tests::remote_write::{self, Series, Version};
use tests::servers;
use tests::tidemark::Tidemark;
use tests::wait;

const WRITERS: usize = 4;
const SERIES_PER_WRITER: usize = 25;
const KILLS: usize = 6;

/// One writer: its series, what it sent, and what of that was acknowledged.
#[derive(Default)]
struct Writer {
    name: String,
    version: Option<Version>,
    /// Time of the request to the values of its series. All sent requests, in doubt or not.
    sent: BTreeMap<i64, Vec<f64>>,
    acknowledged: BTreeSet<i64>,
}

impl Writer {
    fn new(number: usize) -> Self {
        Self {
            name: format!("writer{number}"),
            version: Some([Version::V1, Version::V2][number % 2]),
            ..Self::default()
        }
    }

    /// Sends one request after the other, until told to stop or nobody answers.
    fn write(&mut self, tidemark: &Tidemark, random: &mut Random, stop: &AtomicBool) {
        let version = self.version.unwrap_or(Version::V1);
        while !stop.load(Ordering::Relaxed) {
            let last = self.sent.last_key_value().map_or(0, |(t, _)| *t);
            let t = wait::now_ms().max(last + 1);
            let values: Vec<f64> = (0..SERIES_PER_WRITER).map(|_| random.float()).collect();
            let row = |(i, v): (usize, &f64)| series(&self.name, i).sample(t, *v);
            let request: Vec<Series> = values.iter().enumerate().map(row).collect();
            self.sent.insert(t, values);
            match tidemark.push(version, None, &request) {
                Ok(response) if response.status / 100 == 2 => {
                    self.acknowledged.insert(t);
                }
                Ok(response) if response.status == 503 => {}
                Ok(response) => panic!("{} {}", response.status, response.text()),
                // The process is gone.
                Err(_) => return,
            }
        }
    }

    /// Checks that everything acknowledged is there and nothing that was never sent.
    fn check(&self, tidemark: &Tidemark) {
        let found = self.stored(tidemark);
        for (i, stored) in found.iter().enumerate() {
            for t in &self.acknowledged {
                let sent = self.sent[t][i];
                let got = stored.get(t).copied();
                assert_eq!(
                    got.map(f64::to_bits),
                    Some(sent.to_bits()),
                    "{} series {i}: {sent} at {t} was acknowledged, {got:?} is there",
                    self.name
                );
            }
            for (t, v) in stored {
                let sent = self.sent.get(t).map(|values| values[i].to_bits());
                assert_eq!(
                    sent,
                    Some(v.to_bits()),
                    "{} series {i}: {v} at {t}",
                    self.name
                );
            }
        }
    }

    /// What the process has of each series.
    fn stored(&self, tidemark: &Tidemark) -> Vec<BTreeMap<i64, f64>> {
        let answer = everything(tidemark, &format!("kept{{writer=\"{}\"}}", self.name));
        let mut found = vec![BTreeMap::new(); SERIES_PER_WRITER];
        for (key, points) in &answer.series {
            let number: usize = key["series"].parse().expect("a number");
            found[number] = points.floats.iter().copied().collect();
        }
        found
    }
}

fn series(writer: &str, number: usize) -> Series {
    let number = number.to_string();
    Series::new(&[
        ("__name__", "kept"),
        ("series", &number),
        ("writer", writer),
    ])
}

/// All samples of the last hour.
fn everything(tidemark: &Tidemark, selector: &str) -> Answer {
    let query = format!("{selector}[1h]");
    tidemark
        .query_api(None)
        .instant(&query, wait::now_ms() + 60_000)
}

#[test]
fn acknowledged_samples_outlive_kills_at_random_moments() {
    let mut random = Random::from_environment("kills at random moments");
    let mut tidemark = Tidemark::start(&[]);
    let mut writers: Vec<Writer> = (0..WRITERS).map(Writer::new).collect();
    for round in 0..KILLS {
        let moment = Duration::from_millis(100 + random.below(1500));
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for writer in &mut writers {
                let mut random = random.fork();
                let (tidemark, stop) = (&tidemark, &stop);
                scope.spawn(move || writer.write(tidemark, &mut random, stop));
            }
            wait::pause(moment);
            // While they write: that is the point.
            tidemark.kill_in_use();
            stop.store(true, Ordering::Relaxed);
        });
        tidemark.kill();
        tidemark.restart();
        for writer in &writers {
            assert!(
                !writer.acknowledged.is_empty(),
                "nothing was written in round {round}"
            );
            writer.check(&tidemark);
        }
    }
    // Nor does a graceful end lose any.
    let status = tidemark.stop();
    assert!(status.success(), "{}", tests::process::describe(status));
    tidemark.restart();
    writers.iter().for_each(|writer| writer.check(&tidemark));
}

#[test]
fn a_full_disk_refuses_writes_and_recovers_by_itself() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = match SmallDisk::mount(&folder.path().join("disk")) {
        Ok(disk) => disk,
        Err(reason) => return servers::skip("a full disk", &reason),
    };
    let mut tidemark = Tidemark::start_on(folder, &disk.0.join("data"), &[]);
    let mut random = Random::from_environment("a full disk");
    let mut writer = Writer::new(0);
    write_once(&mut writer, &tidemark, &mut random);
    assert_eq!(writer.acknowledged.len(), 1);

    let ballast = disk.0.join("ballast");
    fill(&ballast);
    // What the log had reserved is used up first.
    let refused = wait::until("a write to be refused", Duration::from_secs(60), || {
        let (t, body) = large_request(&mut random);
        let response = tidemark
            .push_body(Version::V1, None, &body)
            .expect("an answer");
        if response.status / 100 == 2 {
            let there = everything(&tidemark, "large").series;
            let newest = there.values().filter_map(|points| points.floats.last());
            assert_eq!(newest.map(|(t, _)| *t).max(), Some(t));
            fill(&ballast);
            return None;
        }
        Some(response)
    });
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(
        refused.text().contains("disk") || refused.text().contains("space"),
        "{}",
        refused.text()
    );
    // Reads go on.
    writer.check(&tidemark);
    let large_before = everything(&tidemark, "large").float_count();
    assert!(tidemark.process().exited().is_none(), "it ended");

    fs::remove_file(&ballast).expect("there is a ballast");
    wait::until("writes to be taken again", Duration::from_secs(30), || {
        let before = writer.acknowledged.len();
        write_once(&mut writer, &tidemark, &mut random);
        (writer.acknowledged.len() > before).then_some(())
    });
    writer.check(&tidemark);
    tidemark.kill();
    tidemark.restart();
    writer.check(&tidemark);
    let large_after = everything(&tidemark, "large").float_count();
    assert!(
        large_after >= large_before,
        "{large_after} of {large_before} large ones are left"
    );
}

/// One request of the writer's, acknowledged or refused.
fn write_once(writer: &mut Writer, tidemark: &Tidemark, random: &mut Random) {
    let t = wait::now_ms().max(writer.sent.last_key_value().map_or(0, |(t, _)| *t) + 1);
    let values: Vec<f64> = (0..SERIES_PER_WRITER).map(|_| random.float()).collect();
    let row = |(i, v): (usize, &f64)| series(&writer.name, i).sample(t, *v);
    let request: Vec<Series> = values.iter().enumerate().map(row).collect();
    writer.sent.insert(t, values);
    let response = tidemark
        .push(Version::V1, None, &request)
        .expect("an answer");
    match response.status {
        200..300 => {
            writer.acknowledged.insert(t);
        }
        503 => {}
        status => panic!("{status} {}", response.text()),
    }
}

/// New series whose labels do not compress, about a megabyte of them.
fn large_request(random: &mut Random) -> (i64, Vec<u8>) {
    let t = wait::now_ms();
    let rows: Vec<Series> = (0..700)
        .map(|_| {
            let noise: String = (0..90).map(|_| format!("{:016x}", random.bits())).collect();
            Series::new(&[("__name__", "large"), ("noise", &noise)]).sample(t, 1.0)
        })
        .collect();
    let body = remote_write::encode(Version::V1, &rows);
    (t, remote_write::compress(&body))
}

/// Writes zeros until the disk is full.
fn fill(ballast: &Path) {
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(ballast)
        .expect("a file");
    for size in [1 << 20, 4096, 1] {
        let zeros = vec![0; size];
        while file.write_all(&zeros).is_ok() {}
    }
}

/// A file system in memory, gone when it goes out of scope.
struct SmallDisk(PathBuf);

impl SmallDisk {
    const OPTIONS: &str = "size=192m,mode=0755";

    fn mount(at: &Path) -> Result<Self, String> {
        fs::create_dir(at).map_err(|error| error.to_string())?;
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", Self::OPTIONS, "tmpfs"])
            .arg(at);
        let output = command
            .output()
            .map_err(|error| format!("no command mount: {error}"))?;
        if output.status.success() {
            Ok(Self(at.to_owned()))
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, for the process that uses it may outlive this.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_torn_end_of_the_log_costs_nothing_that_was_acknowledged() {
    let mut random = Random::from_environment("a torn end");
    let mut tidemark = Tidemark::start(&[]);
    let mut writer = Writer::new(0);
    for _ in 0..20 {
        write_once(&mut writer, &tidemark, &mut random);
    }
    for garbage_bytes in [1, 7, 100, 70_000] {
        tidemark.kill();
        let segment = written_segment(tidemark.data());
        // What a crash in the middle of a write leaves: some bytes of a record, not all.
        let garbage: Vec<u8> = (0..garbage_bytes).map(|_| random.bits() as u8).collect();
        append(&segment.path, &garbage);
        tidemark.restart();
        writer.check(&tidemark);
        write_once(&mut writer, &tidemark, &mut random);
        assert_eq!(writer.acknowledged.len(), writer.sent.len());
        writer.check(&tidemark);
    }

    // Cut within the last record, it loses that one only.
    tidemark.kill();
    let segment = written_segment(tidemark.data());
    let file = File::options()
        .write(true)
        .open(&segment.path)
        .expect("a segment");
    file.set_len(segment.used - 3).expect("it can be cut");
    let last = writer.acknowledged.pop_last().expect("some");
    tidemark.restart();
    writer.check(&tidemark);
    assert!(
        tidemark.process().log().contains("interrupted write"),
        "the log says so"
    );
    write_once(&mut writer, &tidemark, &mut random);
    assert!(!writer.acknowledged.contains(&last));
    writer.check(&tidemark);
}

#[test]
fn a_flipped_bit_costs_one_record_and_is_reported() {
    let mut random = Random::from_environment("a flipped bit");
    let mut tidemark = Tidemark::start(&[]);
    let mut writer = Writer::new(0);
    for _ in 0..200 {
        write_once(&mut writer, &tidemark, &mut random);
    }
    assert_eq!(writer.acknowledged.len(), 200);
    tidemark.kill();
    let segment = written_segment(tidemark.data());
    let mut bytes = fs::read(&segment.path).expect("a segment");
    let middle = usize::try_from(segment.used / 2 + random.below(segment.used / 4));
    let rest = &mut bytes[middle.expect("small")..];
    // Not in the zeros between records.
    let byte = rest
        .iter_mut()
        .find(|byte| **byte != 0)
        .expect("bytes in use");
    *byte ^= 1 << random.below(8);
    fs::write(&segment.path, bytes).expect("a segment can be written");

    tidemark.restart();
    let stored = writer.stored(&tidemark);
    let complete = writer.acknowledged.iter().filter(|t| {
        let all = stored.iter().enumerate();
        all.clone()
            .all(|(i, one)| one.get(*t).is_some_and(|v| *v == writer.sent[*t][i]))
    });
    // One request is one record here, as nobody else writes.
    assert!(complete.count() >= 199, "only the damaged record is lost");
    let log = tidemark.process().log();
    assert!(
        log.contains("damage") || log.contains("corrupt"),
        "the log says so: {log}"
    );
    write_once(&mut writer, &tidemark, &mut random);
    assert_eq!(writer.acknowledged.len(), 201, "writes go on");
}

/// The segment that is written, and up to where.
struct Segment {
    path: PathBuf,
    used: u64,
}

fn written_segment(data: &Path) -> Segment {
    let entries = fs::read_dir(data.join("wal")).expect("a folder for the log");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let is_segment = |path: &PathBuf| {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        name.len() == 8 && name.bytes().all(|byte| byte.is_ascii_digit())
    };
    let path = paths.filter(is_segment).max().expect("a segment");
    let bytes = fs::read(&path).expect("a segment");
    // Behind the last record there may be zeros, up to the end of a block.
    let last = bytes.iter().rposition(|byte| *byte != 0).expect("a header");
    Segment {
        path,
        used: last as u64 + 1,
    }
}

fn append(path: &Path, bytes: &[u8]) {
    let mut file = File::options().append(true).open(path).expect("a segment");
    file.write_all(bytes).expect("it can be written");
}
