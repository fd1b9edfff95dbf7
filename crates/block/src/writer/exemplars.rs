//! The exemplars' table: begun with the first exemplar, so that a block without any has none.

use std::path::Path;

use model::exemplar::Exemplar;
use model::time::TimestampMs;
use parquet::data_type::ByteArray;

use super::schema_of;
use crate::error::{BlockError, Place};
use crate::layout::{BlockSpec, EXEMPLARS};
use crate::meta::FileMeta;
use crate::schema::{exemplars, exemplars_schema};
use crate::table::TableWriter;

/// Writes exemplars as they come.
#[derive(Default)]
pub(super) struct ExemplarsBuilder {
    table: Option<TableWriter>,
    /// The series of the last one, and its time.
    last: Option<(i32, TimestampMs)>,
}

impl ExemplarsBuilder {
    /// Adds exemplars of a series; ids ascend.
    pub(super) fn push(
        &mut self,
        folder: &Path,
        spec: &BlockSpec,
        id: i32,
        exemplars: &[Exemplar],
    ) -> Result<(), BlockError> {
        for exemplar in exemplars {
            let here = (id, exemplar.t);
            let in_order = self.last.is_none_or(|last| last <= here);
            if !in_order || !spec.range.contains(exemplar.t) {
                let what = format!(
                    "the exemplar of series {id} at {} is out of order or outside of {}..{}",
                    exemplar.t, spec.range.start, spec.range.end
                );
                let block = spec.id.clone();
                return Err(BlockError::Invalid { block, what });
            }
            self.last = Some(here);
            write_row(self.table(folder, spec)?, id, exemplar)?;
        }
        Ok(())
    }

    fn table(&mut self, folder: &Path, spec: &BlockSpec) -> Result<&mut TableWriter, BlockError> {
        let begun = match self.table.take() {
            Some(table) => table,
            None => {
                let schema = schema_of(spec, EXEMPLARS, &exemplars_schema)?;
                TableWriter::create(folder, Place::new(&spec.id, EXEMPLARS), &schema)?
            }
        };
        Ok(self.table.insert(begun))
    }

    /// Ends the table, if there is one.
    pub(super) fn finish(self) -> Result<Option<FileMeta>, BlockError> {
        self.table.map(TableWriter::finish).transpose()
    }
}

fn write_row(table: &mut TableWriter, id: i32, exemplar: &Exemplar) -> Result<(), BlockError> {
    let labels: Vec<(&str, &str)> = exemplar.labels.iter().collect();
    let texts = |column, of: fn(&(&str, &str)) -> ByteArray, table: &mut TableWriter| {
        table.list_text(column, labels.iter().map(of));
    };
    table.int32(exemplars::SERIES_ID, id);
    table.int64(exemplars::TS, exemplar.t);
    table.double(exemplars::VALUE, exemplar.v);
    texts(exemplars::LABEL_KEY, |pair| ByteArray::from(pair.0), table);
    texts(
        exemplars::LABEL_VALUE,
        |pair| ByteArray::from(pair.1),
        table,
    );
    table.end_row()
}
