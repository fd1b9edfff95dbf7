//! The postings' table: for each label name and value, the series that have it.

use std::collections::HashMap;

use model::labels::Labels;
use parquet::data_type::ByteArray;

use crate::error::BlockError;
use crate::meta::FileMeta;
use crate::schema::postings;
use crate::table::TableWriter;

/// Collects the series of each label.
#[derive(Debug, Default)]
pub(super) struct PostingsBuilder {
    names: HashMap<String, HashMap<String, Vec<i32>>>,
}

impl PostingsBuilder {
    /// Adds a series; ids ascend.
    pub(super) fn push(&mut self, id: i32, labels: &Labels) {
        for (name, value) in labels {
            if !self.names.contains_key(name) {
                self.names.insert(name.to_owned(), HashMap::new());
            }
            let Some(values) = self.names.get_mut(name) else {
                continue;
            };
            match values.get_mut(value) {
                Some(ids) => ids.push(id),
                None => {
                    values.insert(value.to_owned(), vec![id]);
                }
            }
        }
    }

    /// Writes the table, by name and value.
    pub(super) fn write(self, mut table: TableWriter) -> Result<FileMeta, BlockError> {
        let mut names: Vec<_> = self.names.into_iter().collect();
        names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (name, values) in names {
            let name = ByteArray::from(name.as_str());
            let mut values: Vec<_> = values.into_iter().collect();
            values.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            for (value, ids) in values {
                table.text(postings::NAME, name.clone());
                table.text(postings::VALUE, ByteArray::from(value.as_str()));
                table.int32(postings::N, ids.len() as i32);
                table.list_int32(postings::SERIES_IDS, &ids);
                table.end_row()?;
            }
        }
        table.finish()
    }
}
