//! One row of the samples' table.

use bytes::Bytes;
use model::labels::Labels;
use model::time::TimestampMs;
use parquet::data_type::ByteArray;

use crate::encode::Encoded;
use crate::error::BlockError;
use crate::histogram::Shape;
use crate::schema::samples;
use crate::table::TableWriter;

/// A row as it is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub(super) slice_start: TimestampMs,
    pub(super) series_id: i32,
    /// The timeline and where in it the row begins.
    pub(super) timeline: (i32, i32),
    pub(super) count: i32,
    pub(super) comp: i32,
    pub(super) bucket: Option<i32>,
    pub(super) encoded: Encoded<'a>,
    pub(super) starts: Option<&'a [TimestampMs]>,
    pub(super) shape: Option<&'a Shape>,
    pub(super) labels: &'a LabelColumns,
}

/// A series' labels as values of columns; copying one only counts a reference.
#[derive(Clone, Debug, Default)]
pub(super) struct LabelColumns {
    pub(super) name: ByteArray,
    pub(super) pairs: Vec<(ByteArray, ByteArray)>,
}

impl LabelColumns {
    pub(super) fn of(labels: &Labels) -> Self {
        let texts = labels.iter().map(|(name, value)| (name.len(), value.len()));
        let bytes = texts.map(|(name, value)| name + value).sum();
        let mut all = Vec::with_capacity(bytes);
        for (name, value) in labels {
            all.extend_from_slice(name.as_bytes());
            all.extend_from_slice(value.as_bytes());
        }
        let mut rest = Bytes::from(all);
        let mut take = |length| ByteArray::from(rest.split_to(length));
        let pairs = labels
            .iter()
            .map(|(name, value)| (take(name.len()), take(value.len())));
        Self {
            pairs: pairs.collect(),
            name: ByteArray::from(labels.metric_name().unwrap_or_default()),
        }
    }
}

/// Appends a row.
pub(super) fn write_row(table: &mut TableWriter, row: &Row<'_>) -> Result<(), BlockError> {
    let encoded = &row.encoded;
    table.text(samples::NAME, row.labels.name.clone());
    table.int64(samples::SLICE_START, row.slice_start);
    table.int32(samples::SERIES_ID, row.series_id);
    table.int32(samples::TIMELINE_ID, row.timeline.0);
    table.int32(samples::T_OFF, row.timeline.1);
    table.int32(samples::N, row.count);
    table.int32(samples::COMP, row.comp);
    table.optional_int32(samples::BUCKET, row.bucket);
    table.int32(samples::KIND, encoded.kind);
    table.int32(samples::EXP, encoded.exp);
    table.int64(samples::MULT, encoded.mult);
    table.optional_double(samples::V_CONST, encoded.constant);
    table.sparse_list_int64(samples::VI, encoded.integers, encoded.present);
    table.sparse_list_double(samples::VF, encoded.doubles, encoded.present);
    table.optional_list_int64(samples::STARTS, row.starts);
    table.optional_int32(samples::H_SCHEMA, row.shape.map(|shape| shape.schema));
    let threshold = row.shape.map(|shape| shape.zero_threshold);
    table.optional_double(samples::H_ZERO_THRESHOLD, threshold);
    let custom = row.shape.map_or(&[][..], |shape| &shape.custom_values);
    table.optional_list_double(samples::H_CUSTOM, custom);
    let pairs = &row.labels.pairs;
    table.list_text(
        samples::LABEL_KEY,
        pairs.iter().map(|(name, _)| name.clone()),
    );
    table.list_text(
        samples::LABEL_VALUE,
        pairs.iter().map(|(_, value)| value.clone()),
    );
    table.end_row()
}
