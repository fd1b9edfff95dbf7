//! The series a select yields: read in batches of rows, put together from slices and components.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use model::labels::Labels;
use model::select::{LabelsNeeded, SelectError, SelectRequest, SeriesSamples, SeriesSet};
use model::time::{TimeRange, TimestampMs};
use parquet::data_type::Int64Type;

use super::Block;
use super::plan::Plan;
use super::rows::{DecodedRow, DecodedRows, RowValues, WantedRows};
use super::series::{LabelFilter, SERIES_AT_ONCE};
use crate::error::BlockError;
use crate::histogram::{Component, FLOAT, join_run};
use crate::schema::timelines;

/// The samples of a batch, of all sets that are read in step.
const BATCH_SAMPLES: usize = 256 << 10;
/// The least samples of a batch: below, reading by rows would cost more than it gives.
const LEAST_BATCH_SAMPLES: usize = 4 << 10;
/// How many timestamps of timelines are kept for the batches to come, of all sets that are read in
/// step.
const MAX_HELD_TIMESTAMPS: usize = 4 << 20;
/// Timelines of a block are kept for other selects where, on average, so many series share one.
const SHARED_BY: u64 = 2;
/// The labels of so many series are read together at least.
const LEAST_LABELS: usize = 64;
/// How many each set may keep at least.
const LEAST_HELD_TIMESTAMPS: usize = 8 << 10;

/// Yields the series of a plan.
pub(super) struct BlockSeriesSet {
    block: Arc<Block>,
    plan: Arc<Plan>,
    range: TimeRange,
    needed: LabelsNeeded,
    /// Which series of the plan are still to come.
    left: Range<usize>,
    /// A batch ends with the series that brings it to so many samples.
    batch_samples: usize,
    /// The labels of so many series are read together.
    labels_at_once: usize,
    /// Beyond so many timestamps, those of earlier batches are let go.
    max_held: usize,
    labels: Vec<Labels>,
    /// Which series of the plan `labels` are of.
    labels_at: Range<usize>,
    batch: Batch,
    timelines: HashMap<i32, Arc<[TimestampMs]>>,
    held: usize,
}

/// The rows of some series, decoded.
#[derive(Default)]
struct Batch {
    /// Which series of the plan it holds.
    series: Range<usize>,
    groups: Vec<DecodedRows>,
    /// For each row of the plan in the batch: which group of `groups`, and which row of it.
    places: Vec<(usize, usize)>,
}

impl BlockSeriesSet {
    /// A set over a plan; `together` is how many sets are read in step and share memory.
    pub(super) fn new(
        block: Arc<Block>,
        plan: Arc<Plan>,
        request: &SelectRequest,
        together: usize,
    ) -> Self {
        Self {
            block,
            range: request.range,
            needed: request.labels.clone(),
            left: 0..plan.ids.len(),
            batch_samples: (BATCH_SAMPLES / together.max(1)).max(LEAST_BATCH_SAMPLES),
            labels_at_once: (SERIES_AT_ONCE / together.max(1)).max(LEAST_LABELS),
            max_held: (MAX_HELD_TIMESTAMPS / together.max(1)).max(LEAST_HELD_TIMESTAMPS),
            plan,
            labels: Vec::new(),
            labels_at: 0..0,
            batch: Batch::default(),
            timelines: HashMap::new(),
            held: 0,
        }
    }

    fn part(&self, left: Range<usize>) -> Self {
        Self {
            block: Arc::clone(&self.block),
            plan: Arc::clone(&self.plan),
            range: self.range,
            needed: self.needed.clone(),
            left,
            batch_samples: self.batch_samples,
            labels_at_once: self.labels_at_once,
            max_held: self.max_held,
            labels: Vec::new(),
            labels_at: 0..0,
            batch: Batch::default(),
            timelines: HashMap::new(),
            held: 0,
        }
    }

    fn labels_of(&mut self, series: usize) -> Result<Labels, BlockError> {
        if matches!(&self.needed, LabelsNeeded::Only(names) if names.is_empty()) {
            return Ok(Labels::empty());
        }
        if !self.labels_at.contains(&series) {
            let end = self.left.end.min(series + self.labels_at_once);
            let wanted = match &self.needed {
                LabelsNeeded::All => LabelFilter::All,
                LabelsNeeded::Only(names) => LabelFilter::Only(names),
            };
            self.labels = self
                .block
                .read_labels(&self.plan.ids[series..end], wanted)?;
            self.labels_at = series..end;
        }
        Ok(self.labels[series - self.labels_at.start].clone())
    }

    /// Decodes the rows of the series from `series` on.
    fn load(&mut self, series: usize) -> Result<(), BlockError> {
        let first = self.plan.start(series);
        let (mut end, mut samples) = (series, 0);
        while end < self.left.end && samples < self.batch_samples {
            let rows = &self.plan.rows[self.plan.start(end)..self.plan.ends[end]];
            samples += rows.iter().map(|row| row.count as usize).sum::<usize>();
            end += 1;
        }
        let rows = &self.plan.rows[first..self.plan.start(end)];
        let mut batch = Batch {
            series: series..end,
            groups: Vec::new(),
            places: vec![(0, 0); rows.len()],
        };
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_unstable_by_key(|at| (rows[*at].group, rows[*at].row));
        let mut wanted = Vec::new();
        for group in order.chunk_by(|a, b| rows[*a].group == rows[*b].group) {
            for (row, at) in group.iter().enumerate() {
                batch.places[*at] = (wanted.len(), row);
            }
            wanted.push(WantedRows::of(group.iter().map(|at| &rows[*at])));
        }
        let samples = &self.block.samples;
        let pages = samples.fetch_parts(wanted.iter().flat_map(|rows| rows.parts(samples)))?;
        for rows in &wanted {
            batch.groups.push(self.block.read_rows(&pages, rows)?);
        }
        self.batch = batch;
        self.load_timelines()
    }

    /// Reads the timelines of the batch that are not held.
    fn load_timelines(&mut self) -> Result<(), BlockError> {
        let rows = self.batch.groups.iter().flat_map(|group| &group.rows);
        let needed: BTreeSet<i32> = rows.map(|row| row.timeline).collect();
        if self.held > self.max_held {
            self.timelines.clear();
            self.held = 0;
        }
        let table = &self.block.timelines;
        // Where hardly any two rows share a timeline, keeping them would only push others out.
        let statistics = &self.block.meta.statistics;
        let is_shared = statistics.timelines.saturating_mul(SHARED_BY) <= statistics.series;
        let decoded = table.decoded().filter(|_| is_shared);
        let mut missing: Vec<i32> = Vec::new();
        for id in needed {
            if self.timelines.contains_key(&id) {
                continue;
            }
            match decoded.and_then(|(decoded, file)| decoded.timeline(file, id)) {
                Some(ts) => {
                    self.held += ts.len();
                    self.timelines.insert(id, ts);
                }
                None => missing.push(id),
            }
        }
        let exists = |id: &i32| u64::try_from(*id).is_ok_and(|id| id < statistics.timelines);
        if !missing.iter().all(exists) {
            return Err(table.corrupt("a row names a timeline that does not exist"));
        }
        let mut ids = missing.iter();
        let places = table.locate(missing.iter().map(|id| *id as usize));
        let rows = places
            .iter()
            .map(|(group, ranges)| (*group, ranges.as_slice()));
        let pages = table.fetch(rows, [timelines::TS])?;
        for (group, ranges) in places {
            let cells = table.read_cells::<Int64Type>(&pages, group, timelines::TS, &ranges)?;
            if cells.values.len() != cells.repetitions.len() {
                return Err(table.corrupt("a timeline is empty"));
            }
            let mut rest = cells.values.as_slice();
            let lists = cells.repetitions.chunk_by(|_, next| *next != 0);
            for (list, id) in lists.zip(ids.by_ref()) {
                let (ts, others) = rest.split_at(list.len());
                rest = others;
                if ts.windows(2).any(|two| two[0] >= two[1]) {
                    return Err(table.corrupt("the timestamps of a timeline do not ascend"));
                }
                self.held += ts.len();
                let ts = Arc::from(ts);
                if let Some((decoded, file)) = decoded {
                    decoded.keep_timeline(file, *id, &ts);
                }
                self.timelines.insert(*id, ts);
            }
        }
        Ok(())
    }

    /// The timestamps of a row.
    fn ts_of(&self, row: &DecodedRow) -> Result<&[TimestampMs], BlockError> {
        let timeline = self.timelines.get(&row.timeline);
        let end = row.offset.checked_add(row.count);
        let ts = timeline
            .zip(end)
            .and_then(|(timeline, end)| timeline.get(row.offset..end));
        ts.ok_or_else(|| {
            self.block
                .samples
                .corrupt("a row lies outside of its timeline")
        })
    }

    /// Puts the samples of a series together.
    fn assemble(&self, series: usize, samples: &mut SeriesSamples) -> Result<(), BlockError> {
        let first = self.plan.start(self.batch.series.start);
        let places =
            &self.batch.places[self.plan.start(series) - first..self.plan.ends[series] - first];
        let row_at = |place: &(usize, usize)| {
            let group = &self.batch.groups[place.0];
            (&group.rows[place.1], group.values.as_slice())
        };
        let mut at = 0;
        while let Some(place) = places.get(at) {
            let (row, values) = row_at(place);
            if row.comp == FLOAT {
                self.add_floats(row, values, samples)?;
                at += 1;
                continue;
            }
            let of_run = |place: &&(usize, usize)| {
                let other = row_at(place).0;
                other.comp != FLOAT
                    && (other.timeline, other.offset, other.count)
                        == (row.timeline, row.offset, row.count)
            };
            let run = places[at..].iter().take_while(of_run).map(row_at);
            at += self.add_histograms(run, samples)?;
        }
        if samples.ts.windows(2).any(|two| two[0] >= two[1]) {
            return Err(self.block.samples.corrupt("the slices of a series overlap"));
        }
        Ok(())
    }

    fn add_floats(
        &self,
        row: &DecodedRow,
        values: &[f64],
        samples: &mut SeriesSamples,
    ) -> Result<(), BlockError> {
        let ts = self.ts_of(row)?;
        let inside = within(ts, self.range);
        let before = samples.ts.len();
        samples.ts.extend_from_slice(&ts[inside.clone()]);
        match &row.values {
            RowValues::Constant(value) => samples.values.resize(samples.ts.len(), *value),
            RowValues::Stored(at) => samples
                .values
                .extend_from_slice(&values[at.clone()][inside.clone()]),
        }
        if !row.starts.is_empty() {
            samples.starts.resize(before, 0);
            samples.starts.extend_from_slice(&row.starts[inside]);
        } else if !samples.starts.is_empty() {
            samples.starts.resize(samples.ts.len(), 0);
        }
        Ok(())
    }

    /// Adds the histograms of a run; says how many rows it has.
    fn add_histograms<'r>(
        &self,
        run: impl Iterator<Item = (&'r DecodedRow, &'r [f64])>,
        samples: &mut SeriesSamples,
    ) -> Result<usize, BlockError> {
        let corrupt = |what: String| self.block.samples.corrupt(what);
        let mut components: Vec<Component> = Vec::new();
        let mut shared: Option<&DecodedRow> = None;
        let mut rows = 0;
        let mut inside = 0..0;
        for (row, values) in run {
            if shared.is_none() {
                inside = within(self.ts_of(row)?, self.range);
            }
            rows += 1;
            components.push(Component {
                comp: row.comp,
                bucket: row.bucket,
                values: match &row.values {
                    RowValues::Constant(value) => vec![*value; inside.len()],
                    RowValues::Stored(at) => values[at.clone()][inside.clone()].to_vec(),
                },
            });
            shared = shared.or(Some(row));
        }
        if let Some(first) = shared {
            let shape = first.shape.as_ref();
            let shape = shape.ok_or_else(|| corrupt("a histogram lacks its schema".to_owned()))?;
            let ts = &self.ts_of(first)?[inside.clone()];
            let starts = first.starts.get(inside).unwrap_or_default();
            join_run(shape, &components, ts, starts, &mut samples.histograms).map_err(corrupt)?;
        }
        Ok(rows)
    }
}

impl BlockSeriesSet {
    fn next_series(&mut self, samples: &mut SeriesSamples) -> Result<Option<Labels>, SelectError> {
        samples.clear();
        while !self.left.is_empty() {
            let series = self.left.start;
            if !self.batch.series.contains(&series) {
                self.load(series)?;
            }
            self.assemble(series, samples)?;
            let labels = (!samples.is_empty()).then(|| self.labels_of(series));
            self.left.start += 1;
            if let Some(labels) = labels {
                return Ok(Some(labels?));
            }
        }
        Ok(None)
    }
}

impl SeriesSet for BlockSeriesSet {
    fn next(&mut self, samples: &mut SeriesSamples) -> Result<Option<Labels>, SelectError> {
        let next = self.next_series(samples);
        next.inspect_err(|error| self.block.note(error))
    }

    fn remaining(&self) -> Option<usize> {
        Some(self.left.len())
    }

    fn split(self: Box<Self>, parts: usize) -> Vec<Box<dyn SeriesSet>> {
        let length = self.left.len().div_ceil(parts.max(1)).max(1);
        let starts = self.left.clone().step_by(length);
        let part = |start: usize| {
            let end = self.left.end.min(start + length);
            Box::new(self.part(start..end)) as Box<dyn SeriesSet>
        };
        starts.map(part).collect()
    }
}

/// Which of these instants lie in a range.
fn within(ts: &[TimestampMs], range: TimeRange) -> Range<usize> {
    let start = ts.partition_point(|t| *t < range.start);
    start..ts.partition_point(|t| *t < range.end).max(start)
}
