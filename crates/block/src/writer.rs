//! Writes a block: takes series in the order of names and labels, cuts each into slices, and
//! writes rows in the order of the samples' table.
//!
//! Memory does not grow with the samples: a row group's compressed pages are held, and rows of
//! later slices of the current metric, which go to files beyond a bound. It grows with the series:
//! a posting of 4 bytes for each label of a series, and each distinct value once;
//! [`MAX_BLOCK_SERIES`] bounds them.

mod rows;
mod spill;
mod series;
mod postings;
mod exemplars;

use std::cmp::Ordering;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use model::exemplar::Exemplar;
use model::labels::Labels;
use model::select::{HistogramPoint, SeriesSamples};
use model::time::TimestampMs;
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::KeyValue;

use crate::encode::ValueEncoder;
use crate::error::{BlockError, Place};
use crate::histogram::{self, COUNT, FLOAT};
use crate::layout::{
    BlockSpec, FORMAT_VERSION, META, POSTINGS, SAMPLES, SERIES, TIMELINES, is_ulid,
};
use crate::meta::{BlockMeta, Statistics};
use crate::schema::timelines_schema;
use crate::schema::{TableSchema, postings_schema, samples_schema, series_schema, timelines};
use crate::table::TableWriter;
use crate::timeline::{TimelineBook, target_of};
use exemplars::ExemplarsBuilder;
use postings::PostingsBuilder;
use rows::{LabelColumns, Row, write_row};
use series::SeriesLog;
use spill::Later;

/// The most series of a block.
pub const MAX_BLOCK_SERIES: usize = 4 << 20;

/// The order in which series are written: by name, then by all labels.
pub struct SortKey;

impl SortKey {
    /// Compares two series.
    #[must_use]
    pub fn compare(a: &Labels, b: &Labels) -> Ordering {
        let (first, second) = (a.metric_name(), b.metric_name());
        let names = first.unwrap_or_default().cmp(second.unwrap_or_default());
        names.then_with(|| a.cmp(b))
    }
}

/// Writes one block into a folder.
pub struct BlockWriter {
    spec: BlockSpec,
    folder: PathBuf,
    samples: TableWriter,
    timelines: TableWriter,
    book: TimelineBook,
    encoder: ValueEncoder,
    later: Later,
    series: SeriesLog,
    postings: PostingsBuilder,
    exemplars: ExemplarsBuilder,
    last: Option<Labels>,
    statistics: Statistics,
    /// Whether a series was refused, or written in part.
    failed: bool,
}

impl BlockWriter {
    /// Begins a block in a folder, which is made and must not exist. Without a call of
    /// [`Self::finish`] it never becomes a block: the caller removes it.
    ///
    /// # Errors
    /// Where the specification contradicts itself or the folder can't be made.
    pub fn create(folder: &Path, spec: BlockSpec) -> Result<Self, BlockError> {
        let invalid = |what| BlockError::Invalid {
            block: spec.id.clone(),
            what,
        };
        if let Some(fault) = spec.fault() {
            return Err(invalid(fault));
        }
        if let Some(source) = spec.sources.iter().find(|source| !is_ulid(source)) {
            return Err(invalid(format!("the source {source:?} is no ULID")));
        }
        let place = |file: &str| Place::new(&spec.id, file);
        fs::create_dir(folder).map_err(|e| place(".").io(e))?;
        let schema = schema_of(&spec, SAMPLES, &samples_schema)?;
        let samples = TableWriter::create(folder, place(SAMPLES), &schema)?;
        let schema = schema_of(&spec, TIMELINES, &timelines_schema)?;
        let timelines = TableWriter::create(folder, place(TIMELINES), &schema)?;
        Ok(Self {
            folder: folder.to_owned(),
            samples,
            timelines,
            book: TimelineBook::default(),
            encoder: ValueEncoder::default(),
            later: Later::new(folder, &spec.id),
            series: SeriesLog::create(folder, &spec.id)?,
            postings: PostingsBuilder::default(),
            exemplars: ExemplarsBuilder::default(),
            last: None,
            statistics: Statistics {
                first_t: i64::MAX,
                last_t: i64::MIN,
                ..Statistics::default()
            },
            spec,
            failed: false,
        })
    }

    /// Adds the next series with its samples in the block's range. Series come in the order of
    /// [`SortKey`], each once; one without samples is left out.
    ///
    /// # Errors
    /// Where the order is not kept, samples are out of order or outside of the range, a bound is
    /// passed, or a file can't be written. No block comes of the writer then.
    pub fn push(&mut self, labels: &Labels, samples: &SeriesSamples) -> Result<(), BlockError> {
        let pushed = self.push_series(labels, samples);
        self.failed |= pushed.is_err();
        pushed
    }

    fn push_series(&mut self, labels: &Labels, samples: &SeriesSamples) -> Result<(), BlockError> {
        self.check(labels, samples)?;
        if samples.is_empty() {
            return Ok(());
        }
        let id = self.statistics.series;
        if id >= MAX_BLOCK_SERIES as u64 {
            return Err(BlockError::TooMany {
                block: self.spec.id.clone(),
                what: format!("more series than max_block_series of {MAX_BLOCK_SERIES}"),
            });
        }
        let id = id as i32;
        let same_metric = |last: &Labels| last.metric_name() == labels.metric_name();
        if !self.last.as_ref().is_some_and(same_metric) {
            self.write_later()?;
        }
        self.last = Some(labels.clone());
        self.statistics.series += 1;
        self.series.push(labels)?;
        self.postings.push(id, labels);
        self.push_slices(id, labels, samples)
    }

    /// Adds exemplars in the block's range, in the order of time, to the series that was pushed
    /// last. Those of a series that was left out are left out as well.
    ///
    /// # Errors
    /// Where the series comes before the last one, exemplars are out of order or outside of the
    /// range, or a file can't be written. No block comes of the writer then.
    pub fn push_exemplars(
        &mut self,
        labels: &Labels,
        exemplars: &[Exemplar],
    ) -> Result<(), BlockError> {
        let order = self
            .last
            .as_ref()
            .map(|last| SortKey::compare(last, labels));
        let pushed = match order {
            None | Some(Ordering::Less) => Ok(()),
            Some(Ordering::Equal) => {
                let id = self.statistics.series as i32 - 1;
                self.exemplars.push(&self.folder, &self.spec, id, exemplars)
            }
            Some(Ordering::Greater) => {
                Err(self.invalid(format!("exemplars of {labels} came out of order")))
            }
        };
        self.failed |= pushed.is_err();
        pushed
    }

    fn push_slices(
        &mut self,
        id: i32,
        labels: &Labels,
        samples: &SeriesSamples,
    ) -> Result<(), BlockError> {
        let columns = LabelColumns::of(labels);
        let target = target_of(labels);
        let (mut float, mut points) = (0, samples.histograms.as_slice());
        loop {
            let next = [
                samples.ts.get(float).copied(),
                points.first().map(|point| point.t),
            ];
            let Some(first) = next.into_iter().flatten().min() else {
                return Ok(());
            };
            let slice = self.spec.slice_of(first);
            let end = self.spec.slice_start(slice + 1);
            let floats = float + samples.ts[float..].partition_point(|t| *t < end);
            if floats > float {
                let ts = &samples.ts[float..floats];
                let part = self.place(target, slice, ts)?;
                let encoded = self.encoder.encode(&samples.values[float..floats]);
                let row = Row {
                    slice_start: self.spec.slice_start(slice),
                    series_id: id,
                    timeline: part,
                    count: ts.len() as i32,
                    comp: FLOAT,
                    bucket: None,
                    encoded,
                    starts: known_starts(samples.starts.get(float..floats).unwrap_or_default()),
                    shape: None,
                    labels: &columns,
                };
                put(&mut self.samples, &mut self.later, slice, &row)?;
                float = floats;
            }
            let inside = points.partition_point(|point| point.t < end);
            let (run, rest) = points.split_at(inside);
            self.push_histograms(id, slice, target, &columns, run)?;
            points = rest;
        }
    }

    fn push_histograms(
        &mut self,
        id: i32,
        slice: i64,
        target: u64,
        labels: &LabelColumns,
        points: &[HistogramPoint],
    ) -> Result<(), BlockError> {
        let mut rest = points;
        loop {
            let before = rest;
            let run = histogram::take_run(&mut rest).map_err(|what| self.invalid(what))?;
            let Some((shape, components, length)) = run else {
                return Ok(());
            };
            let run = &before[..length];
            let ts: Vec<TimestampMs> = run.iter().map(|point| point.t).collect();
            let starts: Vec<TimestampMs> = run.iter().map(|point| point.start).collect();
            let part = self.place(target, slice, &ts)?;
            for component in &components {
                let row = Row {
                    slice_start: self.spec.slice_start(slice),
                    series_id: id,
                    timeline: part,
                    count: length as i32,
                    comp: component.comp,
                    bucket: component.bucket,
                    encoded: self.encoder.encode(&component.values),
                    starts: known_starts(&starts).filter(|_| component.comp == COUNT),
                    shape: Some(&shape),
                    labels,
                };
                put(&mut self.samples, &mut self.later, slice, &row)?;
            }
        }
    }

    /// Where timestamps lie; they are stored where they are new.
    fn place(
        &mut self,
        target: u64,
        slice: i64,
        ts: &[TimestampMs],
    ) -> Result<(i32, i32), BlockError> {
        let placed = self.book.place(target, slice, ts);
        let placed = placed.ok_or_else(|| self.invalid("more timelines than 2^31".to_owned()))?;
        if placed.is_new {
            let start = self.spec.slice_start(slice);
            self.timelines.int32(timelines::TIMELINE_ID, placed.id);
            self.timelines.int64(timelines::SLICE_START, start);
            self.timelines.list_int64(timelines::TS, ts);
            self.timelines.end_row()?;
        }
        Ok((placed.id, placed.offset))
    }

    /// Writes the rows of later slices: all series of the metric have come.
    fn write_later(&mut self) -> Result<(), BlockError> {
        let samples = &mut self.samples;
        self.later.drain(|row| write_row(samples, row))
    }

    fn check(&mut self, labels: &Labels, samples: &SeriesSamples) -> Result<(), BlockError> {
        let in_order = |last: &Labels| SortKey::compare(last, labels) == Ordering::Less;
        if !self.last.as_ref().is_none_or(in_order) {
            return Err(self.invalid(format!("the series {labels} came out of order")));
        }
        let ascends = samples.ts.windows(2).all(|pair| pair[0] < pair[1])
            && samples
                .histograms
                .windows(2)
                .all(|pair| pair[0].t < pair[1].t);
        let starts = samples.starts.len();
        if !ascends
            || samples.ts.len() != samples.values.len()
            || (starts != 0 && starts != samples.ts.len())
        {
            return Err(self.invalid(format!("the samples of {labels} are out of order")));
        }
        let ends = [samples.ts.first(), samples.ts.last()]
            .into_iter()
            .flatten()
            .copied();
        let points = [samples.histograms.first(), samples.histograms.last()];
        for t in ends.chain(points.into_iter().flatten().map(|point| point.t)) {
            if !self.spec.range.contains(t) {
                let range = self.spec.range;
                let what = format!(
                    "a sample of {labels} at {t} lies outside of {}..{}",
                    range.start, range.end
                );
                return Err(self.invalid(what));
            }
            self.statistics.first_t = self.statistics.first_t.min(t);
            self.statistics.last_t = self.statistics.last_t.max(t);
        }
        self.statistics.samples += samples.ts.len() as u64;
        self.statistics.histograms += samples.histograms.len() as u64;
        Ok(())
    }

    fn invalid(&self, what: String) -> BlockError {
        BlockError::Invalid {
            block: self.spec.id.clone(),
            what,
        }
    }

    /// Ends the block: writes what is left, and `meta.json` last.
    ///
    /// # Errors
    /// Where a series was refused, there is no sample, or a file can't be written.
    pub fn finish(mut self) -> Result<BlockMeta, BlockError> {
        if self.failed {
            return Err(self.invalid("a series was refused or written in part".to_owned()));
        }
        if self.statistics.series == 0 {
            return Err(self.invalid("there are no samples".to_owned()));
        }
        self.write_later()?;
        self.later.remove()?;
        let spec = &self.spec;
        let place = |file: &str| Place::new(&spec.id, file);
        let promoted = self.series.promoted();
        let schema = schema_of(spec, SERIES, &|keys| series_schema(&promoted, keys))?;
        let series = TableWriter::create(&self.folder, place(SERIES), &schema)?;
        let series = self.series.write(series, &promoted)?;
        let schema = schema_of(spec, POSTINGS, &postings_schema)?;
        let postings = TableWriter::create(&self.folder, place(POSTINGS), &schema)?;
        let postings = self.postings.write(postings)?;
        let exemplars = self.exemplars.finish()?;
        self.statistics.timelines = self.book.count();
        let mut meta = BlockMeta {
            format_version: FORMAT_VERSION,
            tenant: spec.tenant.as_str().to_owned(),
            block_id: spec.id.clone(),
            min_time: spec.range.start,
            max_time: spec.range.end,
            slice_ms: spec.slice_ms,
            level: spec.level,
            sources: spec.sources.clone(),
            promoted_labels: promoted,
            statistics: self.statistics,
            files: [
                self.samples.finish()?,
                self.timelines.finish()?,
                series,
                postings,
            ]
            .into_iter()
            .chain(exemplars)
            .collect(),
            checksum: String::new(),
        };
        let bytes = meta.seal().map_err(|e| place(META).io(e.into()))?;
        write_synced(&self.folder, META, &bytes).map_err(|e| place(META).io(e))?;
        Ok(meta)
    }
}

/// Writes a small file so that it is whole or not there at all.
fn write_synced(folder: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let partial = folder.join(format!("{name}.part"));
    fs::write(&partial, bytes)?;
    File::open(&partial)?.sync_all()?;
    fs::rename(partial, folder.join(name))?;
    File::open(folder)?.sync_all()
}

/// Rows of the first slice are written at once; those of others wait for the metric's end.
fn put(
    samples: &mut TableWriter,
    later: &mut Later,
    slice: i64,
    row: &Row<'_>,
) -> Result<(), BlockError> {
    if slice == 0 {
        write_row(samples, row)
    } else {
        later.push(slice, row)
    }
}

/// Start timestamps, unless none is known.
fn known_starts(starts: &[TimestampMs]) -> Option<&[TimestampMs]> {
    starts.iter().any(|start| *start != 0).then_some(starts)
}

fn schema_of(
    spec: &BlockSpec,
    file: &str,
    schema: &dyn Fn(Vec<KeyValue>) -> ParquetResult<TableSchema>,
) -> Result<TableSchema, BlockError> {
    let key = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    let keys = vec![
        key("format_version", FORMAT_VERSION.to_string()),
        key("tenant", spec.tenant.to_string()),
        key("block_id", spec.id.clone()),
        key("min_time", spec.range.start.to_string()),
        key("max_time", spec.range.end.to_string()),
        key("slice_ms", spec.slice_ms.to_string()),
        key("resolution_ms", "0".to_owned()),
    ];
    schema(keys).map_err(|e| Place::new(&spec.id, file).writing(e))
}
