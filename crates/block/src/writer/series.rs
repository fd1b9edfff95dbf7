//! The series' table: which labels get a column of their own is known only after the last series,
//! so that labels go to a file first.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use model::fingerprint::Fingerprint;
use model::labels::{Labels, METRIC_NAME};
use parquet::data_type::ByteArray;

use crate::error::{BlockError, Place};
use crate::meta::FileMeta;
use crate::schema::series;
use crate::table::TableWriter;

/// The most labels that get a column of their own.
const MAX_PROMOTED: usize = 64;
/// A label gets a column if one series in so many has it.
const PROMOTED_SHARE: u64 = 50;

/// The labels of all series, in a file.
pub(super) struct SeriesLog {
    path: PathBuf,
    place: Place,
    file: BufWriter<File>,
    counts: HashMap<String, u64>,
    series: u64,
}

impl SeriesLog {
    pub(super) fn create(folder: &Path, block: &str) -> Result<Self, BlockError> {
        let name = "series.part";
        let place = Place::new(block, name);
        let path = folder.join(name);
        let options = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path);
        Ok(Self {
            file: BufWriter::new(options.map_err(|e| place.io(e))?),
            path,
            place,
            counts: HashMap::new(),
            series: 0,
        })
    }

    pub(super) fn push(&mut self, labels: &Labels) -> Result<(), BlockError> {
        self.series += 1;
        for (name, _) in labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
            match self.counts.get_mut(name) {
                Some(count) => *count += 1,
                None => {
                    self.counts.insert(name.to_owned(), 1);
                }
            }
        }
        put_labels(&mut self.file, labels).map_err(|e| self.place.io(e))
    }

    /// The labels that get a column, the most frequent of those that are frequent, by name.
    pub(super) fn promoted(&self) -> Vec<String> {
        let enough = |(_, count): &(&String, &u64)| **count * PROMOTED_SHARE >= self.series;
        let mut frequent: Vec<_> = self.counts.iter().filter(enough).collect();
        frequent.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
        let names = frequent.into_iter().take(MAX_PROMOTED);
        let mut names: Vec<String> = names.map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// Writes the table and removes the file.
    pub(super) fn write(
        self,
        mut table: TableWriter,
        promoted: &[String],
    ) -> Result<FileMeta, BlockError> {
        let place = self.place;
        let file = self
            .file
            .into_inner()
            .map_err(|e| place.io(e.into_error()))?;
        drop(file);
        let file = File::open(&self.path).map_err(|e| place.io(e))?;
        let mut file = BufReader::with_capacity(256 << 10, file);
        for id in 0..self.series {
            let labels = take_labels(&mut file).map_err(|e| place.io(e))?;
            table.int32(series::SERIES_ID, id as i32);
            table.int64(series::HASH, Fingerprint::of(&labels).0 as i64);
            table.text(
                series::NAME,
                ByteArray::from(labels.metric_name().unwrap_or_default()),
            );
            for (column, name) in (series::PROMOTED..).zip(promoted) {
                table.optional_text(column, labels.get(name).map(ByteArray::from));
            }
            let is_rest = |(name, _): &(&str, &str)| {
                *name != METRIC_NAME && promoted.binary_search_by(|p| p.as_str().cmp(name)).is_err()
            };
            let rest: Vec<(&str, &str)> = labels.iter().filter(is_rest).collect();
            let keys = series::PROMOTED + promoted.len();
            table.list_text(keys, rest.iter().map(|(name, _)| ByteArray::from(*name)));
            table.list_text(
                keys + 1,
                rest.iter().map(|(_, value)| ByteArray::from(*value)),
            );
            table.end_row()?;
        }
        fs::remove_file(&self.path).map_err(|e| place.io(e))?;
        table.finish()
    }
}

fn put_labels(out: &mut impl Write, labels: &Labels) -> io::Result<()> {
    out.write_all(&(labels.len() as u32).to_le_bytes())?;
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        out.write_all(&(text.len() as u32).to_le_bytes())?;
        out.write_all(text.as_bytes())?;
    }
    Ok(())
}

fn take_labels(from: &mut impl Read) -> io::Result<Labels> {
    let mut pairs = Vec::new();
    for _ in 0..take_length(from)? {
        pairs.push((take_text(from)?, take_text(from)?));
    }
    let pairs = pairs
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    Ok(Labels::from_sorted(pairs))
}

fn take_length(from: &mut impl Read) -> io::Result<usize> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    Ok(u32::from_le_bytes(length) as usize)
}

fn take_text(from: &mut impl Read) -> io::Result<String> {
    let mut text = vec![0; take_length(from)?];
    from.read_exact(&mut text)?;
    String::from_utf8(text).map_err(io::Error::other)
}
