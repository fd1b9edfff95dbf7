//! Where the bytes of a block lie: by file, and by column of each.

use std::fs::File;
use std::path::Path;

use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};

use crate::error::{BlockError, Place};
use crate::reader::Block;

/// The bytes of one file of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileBytes {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// The compressed pages of each column, in the order of the schema.
    pub columns: Vec<(String, u64)>,
    /// All else: page indexes and footer.
    pub rest: u64,
}

/// Tells where the bytes of an open block lie.
///
/// # Errors
/// Where a file can't be read.
pub fn file_bytes(folder: &Path, block: &Block) -> Result<Vec<FileBytes>, BlockError> {
    let meta = block.meta();
    let mut files = Vec::with_capacity(meta.files.len());
    for known in &meta.files {
        let place = Place::new(&meta.block_id, &known.name);
        let file = File::open(folder.join(&known.name)).map_err(|e| place.io(e))?;
        let mut reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Skip);
        let parsed = reader.try_parse(&file).and_then(|()| reader.finish());
        let parsed = parsed.map_err(|e| place.reading(e))?;
        let mut columns: Vec<(String, u64)> = Vec::new();
        for column in parsed.row_groups().iter().flat_map(|group| group.columns()) {
            // Of a list or a map the column's own name is the first part of the path.
            let name = column.column_path().parts().first();
            let name = name.map(String::as_str).unwrap_or_default();
            let bytes = u64::try_from(column.compressed_size()).unwrap_or_default();
            match columns.iter_mut().find(|(own, _)| own == name) {
                Some((_, sum)) => *sum = sum.saturating_add(bytes),
                None => columns.push((name.to_owned(), bytes)),
            }
        }
        let in_columns = columns
            .iter()
            .fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes));
        files.push(FileBytes {
            name: known.name.clone(),
            bytes: known.size,
            rest: known.size.saturating_sub(in_columns),
            columns,
        });
    }
    Ok(files)
}

/// Of what a file of a block consists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableLayout {
    /// The file's name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// How many row groups they are in.
    pub row_groups: usize,
    /// Its columns, in the order of the schema.
    pub columns: Vec<ColumnLayout>,
    /// Bytes of all else: page indexes and footer.
    pub rest: u64,
}

/// A column of a file: of lists and maps, one for each leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnLayout {
    /// Its path in the schema.
    pub name: String,
    /// Its compressed pages.
    pub bytes: u64,
    /// The encodings of its values and levels, each once.
    pub encodings: Vec<String>,
}

/// Tells of what the files of an open block consist. All of it is in memory.
#[must_use]
pub fn table_layouts(block: &Block) -> Vec<TableLayout> {
    let layouts = block.tables().map(|(name, table)| {
        let metadata = table.metadata();
        let mut columns: Vec<ColumnLayout> = Vec::new();
        for group in metadata.row_groups() {
            for (at, column) in group.columns().iter().enumerate() {
                if at == columns.len() {
                    columns.push(ColumnLayout {
                        name: column.column_path().string(),
                        bytes: 0,
                        encodings: Vec::new(),
                    });
                }
                let layout = &mut columns[at];
                let bytes = u64::try_from(column.compressed_size()).unwrap_or_default();
                layout.bytes = layout.bytes.saturating_add(bytes);
                for encoding in column.encodings().map(|encoding| encoding.to_string()) {
                    if !layout.encodings.contains(&encoding) {
                        layout.encodings.push(encoding);
                    }
                }
            }
        }
        let known = block.meta().file(name);
        let bytes = known.map_or(0, |file| file.size);
        let pages = columns.iter().map(|column| column.bytes);
        TableLayout {
            name: name.to_owned(),
            bytes,
            rows: known.map_or(0, |file| file.rows),
            row_groups: metadata.num_row_groups(),
            rest: bytes.saturating_sub(pages.fold(0, u64::saturating_add)),
            columns,
        }
    });
    layouts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_agree_with_the_bytes_of_files() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/block-v1");
        let block = Block::open(&folder).unwrap();
        let layouts = table_layouts(&block);
        let files = file_bytes(&folder, &block).unwrap();
        for file in files {
            let layout = layouts.iter().find(|layout| layout.name == file.name);
            let layout = layout.unwrap();
            assert_eq!((layout.bytes, layout.rest), (file.bytes, file.rest));
            assert!(layout.row_groups > 0 || layout.rows == 0);
        }
        let samples = &layouts[0].columns;
        let vf = samples.iter().find(|c| c.name.starts_with("vf"));
        assert!(
            vf.unwrap()
                .encodings
                .contains(&"BYTE_STREAM_SPLIT".to_owned())
        );
    }

    #[test]
    fn columns_and_the_rest_make_up_a_file() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/block-v1");
        let block = Block::open(&folder).unwrap();
        let files = file_bytes(&folder, &block).unwrap();
        assert_eq!(files.len(), block.meta().files.len());
        for (file, known) in files.iter().zip(&block.meta().files) {
            let columns: u64 = file.columns.iter().map(|(_, bytes)| bytes).sum();
            assert_eq!(columns + file.rest, known.size, "{}", file.name);
            assert!(file.rest > known.size - known.tail_offset, "{}", file.name);
        }
        let names: Vec<&str> = files[1]
            .columns
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, ["timeline_id", "slice_start", "ts"]);
    }
}
