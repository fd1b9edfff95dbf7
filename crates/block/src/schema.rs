//! The Parquet schemas of a block's tables, and how their columns are written.

use std::sync::Arc;

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::Result;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{
    DeltaBinaryPackedEncoderOptions, EnabledStatistics, WriterProperties, WriterPropertiesBuilder,
    WriterPropertiesPtr,
};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnPath, TypePtr};

/// The level at which the measurements of the format were made.
const ZSTD_LEVEL: i32 = 3;
/// A reader of few series fetches and unpacks little more than their samples.
const PAGE_BYTES: usize = 64 << 10;
/// Rows of a page, for columns of which a page would hold very many.
const PAGE_ROWS: usize = 4096;

const SAMPLES: &str = "message samples {
  required binary __name__ (STRING);
  required int64 slice_start (TIMESTAMP(MILLIS,true));
  required int32 series_id;
  required int32 timeline_id;
  required int32 t_off;
  required int32 n;
  required int32 comp (INTEGER(8,true));
  optional int32 bucket;
  required int32 kind (INTEGER(8,true));
  required int32 exp (INTEGER(8,true));
  required int64 mult;
  optional double v_const;
  optional group vi (LIST) { repeated group list { optional int64 element; } }
  optional group vf (LIST) { repeated group list { optional double element; } }
  optional group starts (LIST) { repeated group list { required int64 element; } }
  optional int32 h_schema;
  optional double h_zero_threshold;
  optional group h_custom (LIST) { repeated group list { required double element; } }
  required group labels (MAP) { repeated group key_value {
    required binary key (STRING); required binary value (STRING); } }
}";

const TIMELINES: &str = "message timelines {
  required int32 timeline_id;
  required int64 slice_start (TIMESTAMP(MILLIS,true));
  required group ts (LIST) { repeated group list { required int64 element; } }
}";

const POSTINGS: &str = "message postings {
  required binary name (STRING);
  required binary value (STRING);
  required int32 n;
  required group series_ids (LIST) { repeated group list { required int32 element; } }
}";

const EXEMPLARS: &str = "message exemplars {
  required int32 series_id;
  required int64 ts (TIMESTAMP(MILLIS,true));
  required double value;
  required group labels (MAP) { repeated group key_value {
    required binary key (STRING); required binary value (STRING); } }
}";

/// The columns of the samples, by their place in the schema.
pub(crate) mod samples {
    pub(crate) const NAME: usize = 0;
    pub(crate) const SLICE_START: usize = 1;
    pub(crate) const SERIES_ID: usize = 2;
    pub(crate) const TIMELINE_ID: usize = 3;
    pub(crate) const T_OFF: usize = 4;
    pub(crate) const N: usize = 5;
    pub(crate) const COMP: usize = 6;
    pub(crate) const BUCKET: usize = 7;
    pub(crate) const KIND: usize = 8;
    pub(crate) const EXP: usize = 9;
    pub(crate) const MULT: usize = 10;
    pub(crate) const V_CONST: usize = 11;
    pub(crate) const VI: usize = 12;
    pub(crate) const VF: usize = 13;
    pub(crate) const STARTS: usize = 14;
    pub(crate) const H_SCHEMA: usize = 15;
    pub(crate) const H_ZERO_THRESHOLD: usize = 16;
    pub(crate) const H_CUSTOM: usize = 17;
    pub(crate) const LABEL_KEY: usize = 18;
    pub(crate) const LABEL_VALUE: usize = 19;
}

/// The columns of the timelines, by their place in the schema.
pub(crate) mod timelines {
    pub(crate) const TIMELINE_ID: usize = 0;
    pub(crate) const SLICE_START: usize = 1;
    pub(crate) const TS: usize = 2;
}

/// The columns of the series, by their place in the schema; promoted labels come between.
pub(crate) mod series {
    pub(crate) const SERIES_ID: usize = 0;
    pub(crate) const HASH: usize = 1;
    pub(crate) const NAME: usize = 2;
    pub(crate) const PROMOTED: usize = 3;
}

/// The columns of the postings, by their place in the schema.
pub(crate) mod postings {
    pub(crate) const NAME: usize = 0;
    pub(crate) const VALUE: usize = 1;
    pub(crate) const N: usize = 2;
    pub(crate) const SERIES_IDS: usize = 3;
}

/// The columns of the exemplars, by their place in the schema.
pub(crate) mod exemplars {
    pub(crate) const SERIES_ID: usize = 0;
    pub(crate) const TS: usize = 1;
    pub(crate) const VALUE: usize = 2;
    pub(crate) const LABEL_KEY: usize = 3;
    pub(crate) const LABEL_VALUE: usize = 4;
}

/// A table's schema and how it is written.
#[derive(Clone, Debug)]
pub(crate) struct TableSchema {
    pub(crate) root: TypePtr,
    pub(crate) properties: WriterPropertiesPtr,
}

pub(crate) fn samples_schema(keys: Vec<KeyValue>) -> Result<TableSchema> {
    let element = |name: &str| path(&[name, "list", "element"]);
    let mut properties = base(keys, &[0, 1, 2])?;
    for name in ["__name__", "slice_start", "series_id"] {
        properties =
            properties.set_column_statistics_enabled(path(&[name]), EnabledStatistics::Page);
    }
    for name in ["series_id", "timeline_id"] {
        properties = delta(properties, path(&[name]))?;
    }
    for name in ["vi", "starts"] {
        properties = delta(properties, element(name))?
            .set_column_statistics_enabled(element(name), EnabledStatistics::Page);
    }
    let properties = properties
        .set_column_dictionary_enabled(element("vf"), false)
        .set_column_encoding(element("vf"), Encoding::BYTE_STREAM_SPLIT)
        .set_column_statistics_enabled(element("vf"), EnabledStatistics::Page);
    table(SAMPLES, properties)
}

pub(crate) fn timelines_schema(keys: Vec<KeyValue>) -> Result<TableSchema> {
    let mut properties = base(keys, &[0])?;
    for column in [
        path(&["timeline_id"]),
        path(&["slice_start"]),
        path(&["ts", "list", "element"]),
    ] {
        properties = delta(properties, column)?;
    }
    table(TIMELINES, properties)
}

pub(crate) fn postings_schema(keys: Vec<KeyValue>) -> Result<TableSchema> {
    let mut properties = base(keys, &[0, 1])?;
    for name in ["name", "value"] {
        properties =
            properties.set_column_statistics_enabled(path(&[name]), EnabledStatistics::Page);
    }
    // Values differ in every row of a label; what they share, they share with their neighbour.
    properties = properties
        .set_column_dictionary_enabled(path(&["value"]), false)
        .set_column_encoding(path(&["value"]), Encoding::DELTA_BYTE_ARRAY);
    properties = delta(properties, path(&["series_ids", "list", "element"]))?;
    table(POSTINGS, properties)
}

pub(crate) fn exemplars_schema(keys: Vec<KeyValue>) -> Result<TableSchema> {
    let mut properties = base(keys, &[0, 1])?;
    for name in ["series_id", "ts"] {
        properties = delta(properties, path(&[name]))?
            .set_column_statistics_enabled(path(&[name]), EnabledStatistics::Page);
    }
    let properties = properties
        .set_column_dictionary_enabled(path(&["value"]), false)
        .set_column_encoding(path(&["value"]), Encoding::BYTE_STREAM_SPLIT);
    table(EXEMPLARS, properties)
}

/// The schema of the series, with a column `l_<label>` for each promoted label.
pub(crate) fn series_schema(promoted: &[String], keys: Vec<KeyValue>) -> Result<TableSchema> {
    use parquet::basic::{LogicalType, Repetition, Type as Physical};
    use parquet::schema::types::Type;

    let text = |name: &str, repetition: Repetition| {
        let column = Type::primitive_type_builder(name, Physical::BYTE_ARRAY)
            .with_repetition(repetition)
            .with_logical_type(Some(LogicalType::String));
        Ok::<_, parquet::errors::ParquetError>(Arc::new(column.build()?))
    };
    let number = |name: &str, physical: Physical| {
        let column =
            Type::primitive_type_builder(name, physical).with_repetition(Repetition::REQUIRED);
        Ok::<_, parquet::errors::ParquetError>(Arc::new(column.build()?))
    };
    let mut fields = vec![
        number("series_id", Physical::INT32)?,
        number("hash", Physical::INT64)?,
        text("__name__", Repetition::REQUIRED)?,
    ];
    for name in promoted {
        fields.push(text(&promoted_column(name), Repetition::OPTIONAL)?);
    }
    let pair = Type::group_type_builder("key_value")
        .with_repetition(Repetition::REPEATED)
        .with_fields(vec![
            text("key", Repetition::REQUIRED)?,
            text("value", Repetition::REQUIRED)?,
        ]);
    let labels = Type::group_type_builder("labels")
        .with_repetition(Repetition::REQUIRED)
        .with_logical_type(Some(LogicalType::Map))
        .with_fields(vec![Arc::new(pair.build()?)]);
    fields.push(Arc::new(labels.build()?));
    let root = Type::group_type_builder("series").with_fields(fields);

    let mut properties = delta(base(keys, &[0])?, path(&["series_id"]))?
        .set_column_dictionary_enabled(path(&["hash"]), false)
        .set_column_encoding(path(&["hash"]), Encoding::PLAIN);
    for name in ["series_id", "__name__"] {
        properties =
            properties.set_column_statistics_enabled(path(&[name]), EnabledStatistics::Page);
    }
    Ok(TableSchema {
        root: Arc::new(root.build()?),
        properties: Arc::new(properties.build()),
    })
}

/// What the column of a promoted label is called.
pub(crate) fn promoted_column(label: &str) -> String {
    format!("l_{label}")
}

fn table(message: &str, properties: WriterPropertiesBuilder) -> Result<TableSchema> {
    Ok(TableSchema {
        root: Arc::new(parse_message_type(message)?),
        properties: Arc::new(properties.build()),
    })
}

fn base(keys: Vec<KeyValue>, sorted_by: &[i32]) -> Result<WriterPropertiesBuilder> {
    let sorting = sorted_by.iter().map(|&column_idx| SortingColumn {
        column_idx,
        descending: false,
        nulls_first: false,
    });
    Ok(WriterProperties::builder()
        .set_created_by("tidemark".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_data_page_size_limit(PAGE_BYTES)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_dictionary_enabled(true)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_sorting_columns(Some(sorting.collect()))
        .set_key_value_metadata(Some(keys)))
}

fn delta(
    properties: WriterPropertiesBuilder,
    column: ColumnPath,
) -> Result<WriterPropertiesBuilder> {
    let options = DeltaBinaryPackedEncoderOptions::try_new(128, 4)?;
    Ok(properties
        .set_column_dictionary_enabled(column.clone(), false)
        .set_column_encoding(column.clone(), Encoding::DELTA_BINARY_PACKED)
        .set_column_delta_binary_packed_encoder_options(column, options))
}

fn path(parts: &[&str]) -> ColumnPath {
    ColumnPath::new(parts.iter().map(|part| (*part).to_owned()).collect())
}
