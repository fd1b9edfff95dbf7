//! Writing all heads down.
//!
//! Frames of a snapshot, in this order for each tenant: [`HEAD_FRAME`], then for runs of series
//! a record that defines them, a [`STATES_FRAME`], a record with their late samples; then records
//! with exemplars and metadata. At the very end a [`FILES_FRAME`].

use std::sync::Arc;

use model::time::TimestampMs;

use super::{SnapshotError, Store, WRITE_RECORD};
use crate::head::TenantHead;
use crate::head::series::MemSeries;
use crate::head::snapshot::encode_state;
use crate::wal::RecordKind;
use crate::wal::record::RecordEncoder;
use crate::wal::snapshot::{SnapshotWriter, list_snapshots, remove_before};

/// `newest i64 │ oldest i64 │ next ref u32 │ tenant`: what follows belongs to this tenant.
pub(super) const HEAD_FRAME: RecordKind = RecordKind(2);
/// See `head::snapshot`.
pub(super) const STATES_FRAME: RecordKind = RecordKind(3);
/// `last u32`: chunk files up to this one were synced.
pub(super) const FILES_FRAME: RecordKind = RecordKind(4);

/// Snapshots that are kept, so that damage to the newest loses nothing.
const KEPT: usize = 2;
/// Series of one run.
const RUN: usize = 512;
/// Bytes of states after which a frame is written.
const STATES_BYTES: usize = 1 << 20;
/// Bytes of a record after which another is begun.
const RECORD_BYTES: usize = 4 << 20;

impl Store {
    /// Writes a snapshot. With `closing`, every chunk is closed first, and no append may come.
    pub(super) fn write_snapshot(&self, closing: bool) -> Result<(), SnapshotError> {
        let (lsn, heads) = {
            // What the log has below the cut is applied once no append is under way.
            let _no_append = self.appends.write();
            let lsn = self.wal.cut()?;
            let heads = self.heads().into_iter().map(|head| {
                let newest = head.newest();
                (head, newest)
            });
            (lsn, heads.collect::<Vec<_>>())
        };
        let dir = &self.config.dir;
        let mut writer = SnapshotWriter::create(dir, lsn, Arc::clone(&self.disk))?;
        for (head, newest) in &heads {
            write_head(head, *newest, closing, &mut writer)?;
        }
        // The states name places in the chunk files: those must be on disk first.
        let last = self.files.sync()?;
        writer.frame(FILES_FRAME, &last.to_le_bytes())?;
        writer.finish()?;
        let kept = list_snapshots(dir, &*self.disk)?.complete;
        if let Some(oldest) = kept.get(KEPT - 1) {
            remove_before(dir, oldest.lsn, &*self.disk)?;
            self.wal.truncate_before(oldest.lsn)?;
        }
        Ok(())
    }
}

fn write_head(
    head: &TenantHead,
    newest: TimestampMs,
    closing: bool,
    writer: &mut SnapshotWriter,
) -> Result<(), SnapshotError> {
    let mut intro = newest.to_le_bytes().to_vec();
    intro.extend_from_slice(&head.oldest().to_le_bytes());
    intro.extend_from_slice(&head.series.read().next_ref().to_le_bytes());
    intro.extend_from_slice(head.tenant.as_str().as_bytes());
    writer.frame(HEAD_FRAME, &intro)?;

    let mut encoder = RecordEncoder::default();
    let mut from = Some(0);
    while let Some(at) = from {
        let (run, next) = head.series.read().scan(at, RUN);
        if !run.is_empty() {
            write_run(head, &run, closing, &mut encoder, writer)?;
        }
        from = next;
    }

    encoder.begin(&head.tenant);
    let exemplars: Vec<_> = head.exemplars.lock().iter().cloned().collect();
    for (series_ref, exemplar) in &exemplars {
        encoder.exemplar(*series_ref, exemplar);
        next_record(head, &mut encoder, writer, RECORD_BYTES)?;
    }
    // Oldest first: the last one set is the newest again.
    for one in head.metadata(None).iter().rev() {
        encoder.metadata(one);
        next_record(head, &mut encoder, writer, RECORD_BYTES)?;
    }
    next_record(head, &mut encoder, writer, 0)
}

/// Writes the record and begins another, if there is one and it has grown to `bytes`.
fn next_record(
    head: &TenantHead,
    encoder: &mut RecordEncoder,
    writer: &mut SnapshotWriter,
    bytes: usize,
) -> Result<(), SnapshotError> {
    if !encoder.is_empty() && encoder.size() >= bytes {
        writer.frame(WRITE_RECORD, encoder.finish())?;
        encoder.begin(&head.tenant);
    }
    Ok(())
}

fn write_run(
    head: &TenantHead,
    run: &[Arc<MemSeries>],
    closing: bool,
    encoder: &mut RecordEncoder,
    writer: &mut SnapshotWriter,
) -> Result<(), SnapshotError> {
    encoder.begin(&head.tenant);
    for series in run {
        let labels = head.index.read().labels(&series.labels);
        encoder.series(series.series_ref, series.fingerprint, &labels);
        next_record(head, encoder, writer, RECORD_BYTES)?;
    }
    next_record(head, encoder, writer, 0)?;

    // A late sample is either in a closed chunk of its series' state or in the record: both are
    // taken under one lock. The record comes behind the states, as it is appended to them.
    let mut states = Vec::new();
    encoder.begin(&head.tenant);
    for series in run {
        let mut state = series.state.lock();
        if closing {
            state.close_all(&head.files);
        }
        encode_state(series, &state, &mut states);
        if let Some(rare) = &state.rare {
            for sample in &rare.floats {
                encoder.sample(series.series_ref, sample.t, sample.v, sample.start);
            }
            for sample in &rare.histograms {
                encoder.histogram(series.series_ref, sample);
            }
        }
        drop(state);
        if states.len() >= STATES_BYTES || encoder.size() >= RECORD_BYTES {
            writer.frame(STATES_FRAME, &states)?;
            states.clear();
            next_record(head, encoder, writer, 0)?;
        }
    }
    if !states.is_empty() {
        writer.frame(STATES_FRAME, &states)?;
    }
    next_record(head, encoder, writer, 0)
}
