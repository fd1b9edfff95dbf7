//! Reads a block from a folder: which series match, then the rows of those series in a range of
//! time, then only the pages that hold these rows.

mod postings;
mod series;
mod plan;
mod rows;
mod set;
mod exemplars;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use model::error::ErrorKind;
use model::labels::Labels;
use model::matcher::Matcher;
use model::select::{LookupBounds, SelectError, SelectRequest, SeriesSet, SharedBytes};

use crate::at_once::at_once;
use crate::decoded::DecodedPages;
use crate::error::{BlockError, Place};
use crate::layout::{EXEMPLARS, POSTINGS, SAMPLES, SERIES, TIMELINES};
use crate::meta::{BlockMeta, FileMeta};
use crate::schema::{
    TableSchema, exemplars_schema, postings_schema, samples_schema, series_schema, timelines_schema,
};
use crate::source::{BlockFiles, FolderFiles};
use crate::table::Table;
use plan::Plan;
use series::LabelFilter;
use set::BlockSeriesSet;

/// An open block. It holds its files' footers and page indexes; everything else is read as asked
/// for.
#[derive(Debug)]
pub struct Block {
    meta: BlockMeta,
    samples: Table,
    timelines: Table,
    series: Table,
    postings: Table,
    exemplars: Option<Table>,
}

impl Block {
    /// Opens the block in a folder: reads `meta.json`, and of each file its footer and page
    /// index, and checks all of it. The files' other bytes are checked page by page as they are
    /// read, or all at once by [`Self::verify`].
    ///
    /// # Errors
    /// Where a file is missing or damaged, or the format's version is not known.
    pub fn open(folder: &Path) -> Result<Self, BlockError> {
        Self::open_in(folder, None)
    }

    /// As [`Self::open`], with a place where pages are kept once they are decompressed.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_in(folder: &Path, decoded: Option<Arc<DecodedPages>>) -> Result<Self, BlockError> {
        let meta = BlockMeta::read(folder)?;
        Self::open_from(meta, Arc::new(FolderFiles::new(folder, decoded)))
    }

    /// Opens a block of which `meta.json` is known already, from wherever its files are.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_from(meta: BlockMeta, files: Arc<dyn BlockFiles>) -> Result<Self, BlockError> {
        let promoted = &meta.promoted_labels;
        let open = |(file, schema): (&str, parquet::errors::Result<TableSchema>)| {
            let place = Place::new(&meta.block_id, file);
            let schema = schema.map_err(|e| place.reading(e))?;
            let expected = expected(&meta, file)?;
            Table::open(Arc::clone(&files), place, expected, &schema.root)
        };
        let mut wanted = vec![
            (SAMPLES, samples_schema(Vec::new())),
            (TIMELINES, timelines_schema(Vec::new())),
            (SERIES, series_schema(promoted, Vec::new())),
            (POSTINGS, postings_schema(Vec::new())),
        ];
        if meta.file(EXEMPLARS).is_some() {
            wanted.push((EXEMPLARS, exemplars_schema(Vec::new())));
        }
        let mut tables: Vec<Option<Table>> = wanted.iter().map(|_| None).collect();
        at_once(wanted, open, |at, table| {
            tables[at] = Some(table?);
            Ok::<_, BlockError>(())
        })?;
        let mut tables = tables.into_iter().flatten();
        let mut next = |file: &str| {
            let table = tables.next();
            table.ok_or_else(|| Place::new(&meta.block_id, file).corrupt("it was not opened"))
        };
        Ok(Self {
            samples: next(SAMPLES)?,
            timelines: next(TIMELINES)?,
            series: next(SERIES)?,
            postings: next(POSTINGS)?,
            exemplars: tables.next(),
            meta,
        })
    }

    /// What `meta.json` says.
    #[must_use]
    pub fn meta(&self) -> &BlockMeta {
        &self.meta
    }

    /// Tells the block's source of a failure that is the block's fault.
    pub(crate) fn note(&self, error: &SelectError) {
        if error.kind == ErrorKind::Corrupt {
            self.samples.files().damaged(&error.message);
        }
    }

    /// Reads all files and compares their checksums.
    ///
    /// # Errors
    /// Where a file is not what it was when it was written.
    pub fn verify(&self) -> Result<(), BlockError> {
        for (file, table) in self.tables() {
            table.verify(expected(&self.meta, file)?)?;
        }
        Ok(())
    }

    /// All tables, by the names of their files.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (&'static str, &Table)> {
        let tables = [
            (SAMPLES, &self.samples),
            (TIMELINES, &self.timelines),
            (SERIES, &self.series),
            (POSTINGS, &self.postings),
        ];
        let exemplars = self.exemplars.iter().map(|table| (EXEMPLARS, table));
        tables.into_iter().chain(exemplars)
    }

    /// Selects series with their samples.
    ///
    /// # Errors
    /// Where a file is damaged, or more is selected than allowed.
    pub fn select(
        self: &Arc<Self>,
        request: &SelectRequest,
    ) -> Result<Box<dyn SeriesSet>, SelectError> {
        self.select_among(request, 1, &SharedBytes::default())
    }

    /// As [`Self::select`], for so many sets that are read in step: up to some 60 of them hold together
    /// no more memory than one would, beyond each adds about 100 KB. What their plans take is in
    /// `shared`.
    ///
    /// # Errors
    /// As of [`Self::select`].
    pub fn select_among(
        self: &Arc<Self>,
        request: &SelectRequest,
        together: usize,
        shared: &SharedBytes,
    ) -> Result<Box<dyn SeriesSet>, SelectError> {
        let range = request.range;
        let bounds = LookupBounds {
            max_series: request.max_series,
            ..LookupBounds::default()
        };
        if range.is_empty() || !range.overlaps(self.meta.min_time, self.meta.max_time - 1) {
            let nothing = Arc::new(Plan::default());
            return Ok(Box::new(BlockSeriesSet::new(
                Arc::clone(self),
                nothing,
                request,
                together,
            )));
        }
        let ids = self.matching(&request.matchers, &bounds)?;
        bounds.series(ids.len() as u64)?;
        let plan = Arc::new(Plan::of(self, &ids, range, request.max_bytes, shared)?);
        Ok(Box::new(BlockSeriesSet::new(
            Arc::clone(self),
            plan,
            request,
            together,
        )))
    }

    /// The label sets of series, sorted by name and labels.
    ///
    /// # Errors
    /// Where a file is damaged, or more is found than allowed.
    pub fn series(
        &self,
        matchers: &[Matcher],
        bounds: &LookupBounds,
    ) -> Result<Vec<Labels>, SelectError> {
        let ids = self.matching(matchers, bounds)?;
        bounds.series(ids.len() as u64)?;
        let mut found = Vec::new();
        let mut bytes = 0;
        for part in ids.chunks(series::SERIES_AT_ONCE) {
            bounds.go_on()?;
            for labels in self.read_labels(part, LabelFilter::All)? {
                bytes += labels.heap_bytes();
                found.push(labels);
            }
            bounds.bytes(bytes)?;
        }
        Ok(found)
    }

    /// The names of the labels that matching series have, sorted.
    ///
    /// # Errors
    /// Where a file is damaged, or more is found than allowed.
    pub fn label_names(
        &self,
        matchers: &[Matcher],
        bounds: &LookupBounds,
    ) -> Result<Vec<String>, SelectError> {
        let mut names = BTreeSet::new();
        if matchers.is_empty() {
            self.each_posting(None, bounds, |name, _| {
                if !names.contains(name) {
                    names.insert(name.to_owned());
                }
            })?;
            return Ok(names.into_iter().collect());
        }
        let ids = self.matching(matchers, bounds)?;
        bounds.series(ids.len() as u64)?;
        for part in ids.chunks(series::SERIES_AT_ONCE) {
            bounds.go_on()?;
            let known = names.clone();
            self.each_labels(part, LabelFilter::Except(&known), |pairs| {
                for (name, _) in pairs {
                    if !names.contains(*name) {
                        names.insert((*name).to_owned());
                    }
                }
                Ok(())
            })?;
        }
        Ok(names.into_iter().collect())
    }

    /// The values that a label has among matching series, sorted.
    ///
    /// # Errors
    /// Where a file is damaged, or more is found than allowed.
    pub fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        bounds: &LookupBounds,
    ) -> Result<Vec<String>, SelectError> {
        let mut values = BTreeSet::new();
        let only = [Arc::from(name)];
        let mut bytes = 0;
        if matchers.is_empty() {
            self.each_posting(Some(name), bounds, |_, value| {
                bytes += value.len();
                values.insert(value.to_owned());
            })?;
            bounds.bytes(bytes)?;
            return Ok(values.into_iter().collect());
        }
        let ids = self.matching(matchers, bounds)?;
        bounds.series(ids.len() as u64)?;
        for part in ids.chunks(series::SERIES_AT_ONCE) {
            bounds.go_on()?;
            self.each_labels(part, LabelFilter::Only(&only), |pairs| {
                for (_, value) in pairs {
                    if !values.contains(*value) {
                        bytes += value.len();
                        values.insert((*value).to_owned());
                    }
                }
                Ok(())
            })?;
            bounds.bytes(bytes)?;
        }
        Ok(values.into_iter().collect())
    }
}

fn expected<'m>(meta: &'m BlockMeta, file: &str) -> Result<&'m FileMeta, BlockError> {
    let known = meta.file(file);
    known.ok_or_else(|| Place::new(&meta.block_id, file).corrupt("meta.json does not list it"))
}
