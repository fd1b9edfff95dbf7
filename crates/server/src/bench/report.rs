//! What was measured of one block or of several, as a table.

use std::fmt::Write as _;
use std::time::Duration;

use block::meta::Statistics;
use block::sizes::FileBytes;

/// Sums over blocks.
#[derive(Debug)]
pub(super) struct Report {
    title: String,
    series: u64,
    samples: u64,
    files: Vec<FileBytes>,
    written: Option<Duration>,
    read_samples: u64,
    read: Duration,
}

impl Report {
    pub(super) fn new(title: String) -> Self {
        Self {
            title,
            series: 0,
            samples: 0,
            files: Vec::new(),
            written: None,
            read_samples: 0,
            read: Duration::ZERO,
        }
    }

    /// How long it took to write all samples.
    pub(super) fn written_in(&mut self, time: Duration) {
        self.written = Some(time);
    }

    /// How long it took to read so many samples.
    pub(super) fn read_in(&mut self, samples: u64, time: Duration) {
        self.read_samples += samples;
        self.read += time;
    }

    /// Adds a block's sizes to those of the others, file by file and column by column.
    pub(super) fn sizes(&mut self, statistics: &Statistics, files: &[FileBytes]) {
        self.series += statistics.series;
        self.samples += statistics.samples + statistics.histograms;
        for file in files {
            let Some(sum) = self.files.iter_mut().find(|sum| sum.name == file.name) else {
                self.files.push(file.clone());
                continue;
            };
            sum.bytes += file.bytes;
            sum.rest += file.rest;
            for (name, bytes) in &file.columns {
                match sum.columns.iter_mut().find(|(own, _)| own == name) {
                    Some((_, sum)) => *sum += bytes,
                    None => sum.columns.push((name.clone(), *bytes)),
                }
            }
        }
    }

    /// The table.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "{}: {} series, {} samples\n",
            self.title, self.series, self.samples
        );
        let speed = |samples: u64, time: Duration| samples as f64 / time.as_secs_f64() / 1e6;
        if let Some(time) = self.written {
            line(
                &mut text,
                "encode, M samples/s",
                &format!("{:.1}", speed(self.samples, time)),
            );
        }
        let read = speed(self.read_samples, self.read);
        line(&mut text, "decode, M samples/s", &format!("{read:.1}"));
        line(&mut text, "", "bytes/sample  bytes");
        let total: u64 = self.files.iter().map(|file| file.bytes).sum();
        self.bytes(&mut text, "all files", total);
        for file in &self.files {
            self.bytes(&mut text, &file.name, file.bytes);
            for (name, bytes) in &file.columns {
                self.bytes(&mut text, &format!("  {name}"), *bytes);
            }
            self.bytes(&mut text, "  page indexes and footer", file.rest);
        }
        text
    }

    fn bytes(&self, text: &mut String, name: &str, bytes: u64) {
        let each = bytes as f64 / self.samples.max(1) as f64;
        line(text, name, &format!("{each:<14.4}{bytes}"));
    }
}

fn line(text: &mut String, name: &str, value: &str) {
    writeln!(text, "  {name:<28}{value}").expect("a String takes all there is memory for");
}
