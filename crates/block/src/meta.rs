//! `meta.json`: what a block holds, and sizes and checksums of its files. It is written last: a
//! folder without it is no block.

use std::fs;
use std::path::Path;

use model::time::TimeRange;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{BlockError, Place};
use crate::layout::{FORMAT_VERSION, META, SERIES, TABLES};
use crate::writer::MAX_BLOCK_SERIES;

/// The longest `meta.json` that is read, in bytes.
pub(crate) const MAX_META_BYTES: u64 = 16 << 20;

/// What `meta.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockMeta {
    /// The version of the format.
    pub format_version: u32,
    /// Whose block it is.
    pub tenant: String,
    /// The block's ULID.
    pub block_id: String,
    /// Where the block's range begins, in milliseconds.
    pub min_time: i64,
    /// Where it ends: the first instant behind it.
    pub max_time: i64,
    /// How long a slice is, in milliseconds.
    pub slice_ms: i64,
    /// How often the samples have been compacted.
    pub level: u32,
    /// The blocks this one was made of.
    pub sources: Vec<String>,
    /// Labels that have a column of their own among the series.
    pub promoted_labels: Vec<String>,
    /// How much there is.
    pub statistics: Statistics,
    /// The Parquet files.
    pub files: Vec<FileMeta>,
    /// The checksum of this document with an empty text in this place.
    pub checksum: String,
}

/// How much a block holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statistics {
    /// Series.
    pub series: u64,
    /// Float samples.
    pub samples: u64,
    /// Histogram samples.
    pub histograms: u64,
    /// Timelines: distinct runs of timestamps.
    pub timelines: u64,
    /// The first timestamp, in milliseconds.
    pub first_t: i64,
    /// The last timestamp.
    pub last_t: i64,
}

/// One file of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileMeta {
    /// Its name in the folder.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its rows.
    pub rows: u64,
    /// Where the page indexes begin; from there to the end is what a reader fetches first.
    pub tail_offset: u64,
    /// How long the Parquet footer is, magic and length included.
    pub footer_bytes: u64,
    /// The xxh3-64 of the whole file, in 16 hexadecimal digits.
    pub checksum: String,
    /// The xxh3-64 of what lies from `tail_offset` to the end.
    pub tail_checksum: String,
}

impl BlockMeta {
    /// The block's range.
    #[must_use]
    pub fn range(&self) -> TimeRange {
        TimeRange {
            start: self.min_time,
            end: self.max_time,
        }
    }

    /// What is known of a file.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&FileMeta> {
        self.files.iter().find(|file| file.name == name)
    }

    /// Reads and checks the bytes of the document of a block.
    ///
    /// # Errors
    /// Where they are not what was written, or the version is not known.
    pub fn from_json(bytes: &[u8], block: &str) -> Result<Self, BlockError> {
        Self::parse(bytes, &Place::new(block, META))
    }

    /// The document as it is written: the same bytes as in the file that it was read from.
    ///
    /// # Errors
    /// Never, in practice.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        self.clone().seal()
    }

    /// The document's bytes, with its checksum.
    pub(crate) fn seal(&mut self) -> serde_json::Result<Vec<u8>> {
        self.checksum = String::new();
        self.checksum = hex(xxh3_64(&serde_json::to_vec(self)?));
        serde_json::to_vec(self)
    }

    /// Reads and checks the document of a block.
    pub(crate) fn read(folder: &Path) -> Result<Self, BlockError> {
        let place = Place::new(&folder.display().to_string(), META);
        let path = folder.join(META);
        let size = fs::metadata(&path).map_err(|e| place.io(e))?.len();
        if size > MAX_META_BYTES {
            let limit = format!("{size} bytes, more than max_meta_bytes of {MAX_META_BYTES}");
            return Err(place.corrupt(limit));
        }
        let bytes = fs::read(&path).map_err(|e| place.io(e))?;
        Self::parse(&bytes, &place)
    }

    /// Reads and checks the bytes of a document.
    pub(crate) fn parse(bytes: &[u8], place: &Place) -> Result<Self, BlockError> {
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let not_json = |e: serde_json::Error| place.corrupt(e.to_string());
        let version: Version = serde_json::from_slice(bytes).map_err(not_json)?;
        if version.format_version != FORMAT_VERSION {
            return Err(BlockError::UnknownVersion {
                block: place.block.clone(),
                found: version.format_version,
                known: FORMAT_VERSION,
            });
        }
        let found: Self = serde_json::from_slice(bytes).map_err(not_json)?;
        let mut sealed = found.clone();
        if sealed.seal().map_err(not_json)? != bytes {
            return Err(place.corrupt("it does not fit its checksum"));
        }
        if let Some(missing) = TABLES.iter().find(|name| found.file(name).is_none()) {
            return Err(place.corrupt(format!("it does not list {missing}")));
        }
        for file in &found.files {
            let tail = file.size.checked_sub(file.tail_offset);
            if tail.is_none_or(|tail| tail < file.footer_bytes || file.footer_bytes < 12) {
                return Err(place.corrupt(format!("the sizes of {} contradict", file.name)));
            }
        }
        let series = found.statistics.series;
        if found.file(SERIES).is_none_or(|file| file.rows != series) {
            return Err(place.corrupt("it says two numbers of series"));
        }
        if series > MAX_BLOCK_SERIES as u64 {
            let limit = format!("more than max_block_series of {MAX_BLOCK_SERIES}");
            return Err(place.corrupt(format!("it has {series} series, {limit}")));
        }
        if found.range().is_empty() || found.slice_ms <= 0 {
            return Err(place.corrupt("its range or slice is empty"));
        }
        Ok(found)
    }
}

/// A checksum as text.
pub(crate) fn hex(sum: u64) -> String {
    format!("{sum:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> BlockMeta {
        let file = |name: &&str| FileMeta {
            name: (*name).to_owned(),
            size: 1000,
            rows: 1,
            tail_offset: 800,
            footer_bytes: 100,
            checksum: hex(1),
            tail_checksum: hex(2),
        };
        BlockMeta {
            format_version: FORMAT_VERSION,
            tenant: "t".to_owned(),
            block_id: "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(),
            min_time: 0,
            max_time: 10,
            slice_ms: 10,
            level: 0,
            sources: Vec::new(),
            promoted_labels: vec!["job".to_owned()],
            statistics: Statistics {
                series: 1,
                ..Statistics::default()
            },
            files: TABLES.iter().map(file).collect(),
            checksum: String::new(),
        }
    }

    #[test]
    fn a_changed_byte_never_passes() {
        let mut meta = sample();
        let bytes = meta.seal().unwrap();
        let place = Place::new("b", META);
        assert_eq!(BlockMeta::parse(&bytes, &place).unwrap(), meta);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                assert!(
                    BlockMeta::parse(&bad, &place).is_err(),
                    "byte {at} bit {bit}"
                );
            }
            assert!(
                BlockMeta::parse(&bytes[..at], &place).is_err(),
                "{at} bytes"
            );
        }
    }

    /// A reader takes memory by the number of series.
    #[test]
    fn series_are_counted_once_and_bounded() {
        let check = |series: u64, rows: u64, expected: &str| {
            let mut meta = sample();
            meta.statistics.series = series;
            meta.files.iter_mut().for_each(|file| file.rows = rows);
            let bytes = meta.seal().unwrap();
            let error = BlockMeta::parse(&bytes, &Place::new("b", META)).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(2, 1, "two numbers");
        check(1 << 40, 1 << 40, "max_block_series");
    }

    #[test]
    fn versions_to_come_are_told_apart_from_damage() {
        let mut meta = sample();
        meta.format_version = FORMAT_VERSION + 1;
        let bytes = meta.seal().unwrap();
        let error = BlockMeta::parse(&bytes, &Place::new("b", META)).unwrap_err();
        assert!(matches!(error, BlockError::UnknownVersion { found: 2, .. }));
    }
}
