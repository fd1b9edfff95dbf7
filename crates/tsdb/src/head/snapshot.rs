//! The state of series in a head snapshot, as bytes.
//!
//! A states frame is a run of entries, all numbers little-endian:
//!
//! ```text
//! │ ref u32 │ newest i64 │ closed u32 │ closed × entry │ open u8 │ open × chunk │
//! entry: │ first_t i64 │ last_t i64 │ file u32 │ offset u32 │ len u32 │ kind u8 │ late u8 │
//! chunk: │ first_t i64 │ last_t i64 │ kind u8 │ len u32 │ bytes │
//! ```
//!
//! Open chunks become closed ones at a restart. Labels, late samples, exemplars and metadata are in frames of
//! the log's own record format, before and behind.

use model::chunk::ChunkKind;
use model::time::TimestampMs;

use super::series::{ClosedChunk, MemSeries, SeriesState};
use crate::chunk_files::{ChunkFiles, ChunkPlace};

/// A frame that is not what a snapshot writer makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("snapshot frame of series states is malformed")]
pub(crate) struct BadStates;

/// Appends the state of one series.
pub(crate) fn encode_state(series: &MemSeries, state: &SeriesState, out: &mut Vec<u8>) {
    out.extend_from_slice(&series.series_ref.to_le_bytes());
    out.extend_from_slice(&state.newest().to_le_bytes());
    out.extend_from_slice(&(state.closed.len() as u32).to_le_bytes());
    for chunk in &state.closed {
        out.extend_from_slice(&chunk.first_t.to_le_bytes());
        out.extend_from_slice(&chunk.last_t.to_le_bytes());
        out.extend_from_slice(&chunk.place.file.to_le_bytes());
        out.extend_from_slice(&chunk.place.offset.to_le_bytes());
        out.extend_from_slice(&chunk.len.to_le_bytes());
        out.push(chunk.kind as u8);
        out.push(u8::from(chunk.out_of_order));
    }
    let floats = state.open.first_t().map(|first_t| OpenState {
        first_t,
        last_t: state.open.last_t(),
        kind: ChunkKind::Float,
        bytes: state.open.bytes(),
    });
    let histograms = state.rare.as_ref().and_then(|rare| rare.open.as_ref());
    let histograms = histograms.map(|open| OpenState {
        first_t: open.first_t(),
        last_t: open.last_t(),
        kind: open.kind(),
        bytes: open.bytes(),
    });
    out.push(u8::from(floats.is_some()) + u8::from(histograms.is_some()));
    for open in floats.into_iter().chain(histograms) {
        out.extend_from_slice(&open.first_t.to_le_bytes());
        out.extend_from_slice(&open.last_t.to_le_bytes());
        out.push(open.kind as u8);
        out.extend_from_slice(&(open.bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(&open.bytes);
    }
}

/// Reads a frame; `restore` gets each series' ref and what is to be put into its state.
pub(crate) fn decode_states(
    mut frame: &[u8],
    mut restore: impl FnMut(u32, RestoredState<'_>),
) -> Result<(), BadStates> {
    let mut closed = Vec::new();
    while !frame.is_empty() {
        let series_ref = u32::from_le_bytes(take(&mut frame)?);
        let newest = TimestampMs::from_le_bytes(take(&mut frame)?);
        let count = u32::from_le_bytes(take(&mut frame)?);
        closed.clear();
        for _ in 0..count {
            closed.push(ClosedChunk {
                first_t: TimestampMs::from_le_bytes(take(&mut frame)?),
                last_t: TimestampMs::from_le_bytes(take(&mut frame)?),
                place: ChunkPlace {
                    file: u32::from_le_bytes(take(&mut frame)?),
                    offset: u32::from_le_bytes(take(&mut frame)?),
                },
                len: u32::from_le_bytes(take(&mut frame)?),
                kind: kind_of(u8::from_le_bytes(take(&mut frame)?))?,
                out_of_order: u8::from_le_bytes(take(&mut frame)?) != 0,
            });
        }
        let mut open = Vec::new();
        for _ in 0..u8::from_le_bytes(take(&mut frame)?) {
            open.push(OpenState {
                first_t: TimestampMs::from_le_bytes(take(&mut frame)?),
                last_t: TimestampMs::from_le_bytes(take(&mut frame)?),
                kind: kind_of(u8::from_le_bytes(take(&mut frame)?))?,
                bytes: take_bytes(&mut frame)?,
            });
        }
        let state = RestoredState {
            newest,
            closed: &closed,
            open,
        };
        restore(series_ref, state);
    }
    Ok(())
}

/// What a snapshot says of a series.
pub(crate) struct RestoredState<'a> {
    newest: TimestampMs,
    closed: &'a [ClosedChunk],
    open: Vec<OpenState<&'a [u8]>>,
}

/// A chunk that was open.
pub(crate) struct OpenState<B> {
    pub(crate) first_t: TimestampMs,
    pub(crate) last_t: TimestampMs,
    pub(crate) kind: ChunkKind,
    pub(crate) bytes: B,
}

impl RestoredState<'_> {
    /// Puts it into a series that holds nothing yet. Closed chunks whose file is gone are left
    /// out; returns how many of them reach to `oldest`, so that retention can't be why.
    pub(crate) fn put_into(
        &self,
        state: &mut SeriesState,
        oldest: TimestampMs,
        files: &ChunkFiles,
    ) -> usize {
        let (kept, gone): (Vec<ClosedChunk>, Vec<ClosedChunk>) =
            self.closed.iter().partition(|chunk| files.has(chunk.place));
        let gone = gone.iter().filter(|chunk| chunk.last_t >= oldest).count();
        state.restore(self.newest, kept);
        for open in &self.open {
            state.restore_open(open, files);
        }
        gone
    }
}

fn kind_of(byte: u8) -> Result<ChunkKind, BadStates> {
    ChunkKind::try_from(byte).or(Err(BadStates))
}

fn take<const N: usize>(frame: &mut &[u8]) -> Result<[u8; N], BadStates> {
    let (head, rest) = frame.split_first_chunk().ok_or(BadStates)?;
    *frame = rest;
    Ok(*head)
}

fn take_bytes<'a>(frame: &mut &'a [u8]) -> Result<&'a [u8], BadStates> {
    let len = u32::from_le_bytes(take(frame)?) as usize;
    let (head, rest) = frame.split_at_checked(len).ok_or(BadStates)?;
    *frame = rest;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use model::fingerprint::Fingerprint;
    use model::sample::Sample;
    use proptest::prelude::*;

    use super::*;
    use crate::chunk_files::ChunkFiles;
    use crate::disk::RealDisk;
    use crate::head::series::AgeLimits;

    /// Version 1 of the frame: what stands here must be readable for ever.
    const GOLDEN: &str = "0700000000badb000000000002000000000000000000000000000000000000000000000010000000\
        05000000010000dd6d000000000000dd6d000000000000000000190000000800000001000100badb\
        000000000000badb00000000000108000000000133b7740010be";

    #[test]
    fn stays_readable() {
        let dir = tempfile::tempdir().unwrap();
        let files = ChunkFiles::open(
            dir.path(),
            7_200_000,
            std::sync::Arc::new(RealDisk::default()),
        )
        .unwrap();
        let series = MemSeries::new(Fingerprint(1), 7, Box::default());
        let mut state = series.state.lock();
        for t in 0..3 {
            state.append(
                Sample {
                    t: t * 3_600_000 * 2,
                    v: 1.5,
                    start: 0,
                },
                AgeLimits::NONE,
                &files,
            );
        }
        let mut bytes = Vec::new();
        encode_state(&series, &state, &mut bytes);
        let shown: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(shown, GOLDEN);
        files.sync().unwrap();
        let again = MemSeries::new(Fingerprint(1), 7, Box::default());
        decode_states(&bytes, |series_ref, restored| {
            assert_eq!((series_ref, restored.open.len()), (7, 1));
            restored.put_into(&mut again.state.lock(), 0, &files);
        })
        .unwrap();
        let again = again.state.lock();
        assert_eq!(again.newest(), state.newest());
        assert_eq!(again.closed[..2], state.closed[..]);
        assert_eq!(again.closed.len(), 3);
    }

    proptest! {
        #[test]
        fn bytes_that_make_no_sense_are_an_error(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
            // Whatever it says, it says it without a panic and without much memory.
            let told = decode_states(&bytes, |_, restored| assert!(restored.closed.len() < 200));
            prop_assert!(told.is_ok() || told == Err(BadStates));
        }
    }
}
