//! The body of an answer, built in pieces: a large one is never one allocation, and is
//! compressed as it grows, on the thread that evaluates.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Write as _;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body::{Frame, SizeHint};
use promql::eval::CancelFlag;

use crate::front::HeldBytes;

/// Pieces are handed on at this size, in bytes.
const PIECE: usize = 64 << 10;

/// What an answer must keep within while it is written.
#[derive(Debug)]
pub(crate) struct Bounds {
    /// The most bytes of its own; `None`: any number.
    pub(crate) most: Option<usize>,
    /// The bytes all answers hold.
    pub(crate) held: HeldBytes,
    /// Raised when nobody waits for the answer.
    pub(crate) cancel: CancelFlag,
}

/// Why an answer was not written to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stopped {
    /// It is larger than it may be.
    #[error("the answer is larger than it may be")]
    TooLarge,
    /// All answers together hold too much.
    #[error("too many answers are being sent")]
    Full,
    /// Nobody waits for it.
    #[error("the query was canceled")]
    Canceled,
}

/// Collects an answer.
#[derive(Debug)]
pub(crate) struct BodyBuilder {
    /// What is written now; [`BodyBuilder::flush_full`] empties it.
    pub(crate) text: Vec<u8>,
    pieces: VecDeque<Bytes>,
    encoder: Option<GzEncoder<Vec<u8>>>,
    bounds: Bounds,
    /// Bytes in `pieces`.
    done: usize,
    stopped: Option<Stopped>,
}

/// The finished pieces of an answer.
#[derive(Debug)]
pub(crate) struct Pieces {
    pieces: VecDeque<Bytes>,
    /// Bytes still to come.
    left: usize,
    /// Held until they are sent.
    held: HeldBytes,
    /// Whether they are gzip.
    pub(crate) gzip: bool,
}

impl BodyBuilder {
    pub(crate) fn new(gzip: bool, bounds: Bounds) -> Self {
        Self {
            text: Vec::with_capacity(1024),
            pieces: VecDeque::new(),
            encoder: gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast())),
            bounds,
            done: 0,
            stopped: None,
        }
    }

    /// Hands the text on if there is enough of it, and says whether to go on: not when a bound
    /// is hit or nobody waits. Call it between two items.
    pub(crate) fn flush_full(&mut self) -> bool {
        if self.text.len() >= PIECE {
            self.flush();
        }
        self.stopped.is_none()
    }

    fn flush(&mut self) {
        if self.stopped.is_none() {
            self.stopped = self.charge().err();
        }
        if self.stopped.is_some() {
            self.pieces.clear();
            self.text.clear();
            return;
        }
        let Some(encoder) = &mut self.encoder else {
            let text = mem::replace(&mut self.text, Vec::with_capacity(PIECE + PIECE / 4));
            self.push(text);
            return;
        };
        encoder
            .write_all(&self.text)
            .expect("writing into memory can't fail");
        self.text.clear();
        if encoder.get_ref().len() >= PIECE {
            let piece = mem::take(encoder.get_mut());
            self.push(piece);
        }
    }

    fn push(&mut self, piece: Vec<u8>) {
        self.done += piece.len();
        self.pieces.push_back(Bytes::from(piece));
    }

    /// Charges what there is now, the text that was not handed on as if it did not shrink.
    fn charge(&mut self) -> Result<(), Stopped> {
        if self.bounds.cancel.is_canceled() {
            return Err(Stopped::Canceled);
        }
        let packed = self.encoder.as_ref().map_or(0, |e| e.get_ref().len());
        let bytes = self.done + packed + self.text.len();
        if self.bounds.most.is_some_and(|most| bytes > most) {
            return Err(Stopped::TooLarge);
        }
        self.bounds.held.resize(bytes).map_err(|_| Stopped::Full)
    }

    /// Ends the answer.
    ///
    /// # Errors
    /// Where it was stopped before its end.
    pub(crate) fn finish(mut self) -> Result<Pieces, Stopped> {
        self.flush();
        if let Some(stopped) = self.stopped {
            return Err(stopped);
        }
        let gzip = self.encoder.is_some();
        if let Some(encoder) = self.encoder.take() {
            let rest = encoder.finish().expect("writing into memory can't fail");
            self.push(rest);
        }
        let mut held = self.bounds.held;
        held.resize(self.done).map_err(|_| Stopped::Full)?;
        Ok(Pieces {
            pieces: self.pieces,
            left: self.done,
            held,
            gzip,
        })
    }
}

impl Pieces {
    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.left
    }

    pub(crate) fn into_body(self) -> Body {
        Body::new(self)
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.pop_front();
        self.left -= piece.as_ref().map_or(0, Bytes::len);
        // What the connection takes over is bounded by its own buffer. Less is always granted.
        let left = self.left;
        let _ = self.held.resize(left);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::ByteGate;
    use http_body_util::BodyExt as _;
    use std::io::Read as _;

    fn bounds(gate: &ByteGate, most: Option<usize>) -> Bounds {
        Bounds {
            most,
            held: gate.hold(),
            cancel: CancelFlag::default(),
        }
    }

    /// Writes a MiB unless it is stopped; the bytes written.
    fn write(builder: &mut BodyBuilder) -> usize {
        for at in 0..1024 {
            builder.text.extend_from_slice(&[b'x'; 1024]);
            if !builder.flush_full() {
                return at << 10;
            }
        }
        1 << 20
    }

    #[tokio::test]
    async fn bounds_stop_an_answer() {
        let gate = ByteGate::new(1 << 20);
        let mut own = BodyBuilder::new(false, bounds(&gate, Some(200 << 10)));
        assert!(write(&mut own) < 300 << 10);
        assert_eq!(own.finish().unwrap_err(), Stopped::TooLarge);
        assert_eq!(gate.free(), 1 << 20);

        let mut first = BodyBuilder::new(false, bounds(&gate, None));
        assert_eq!(write(&mut first), 1 << 20);
        let mut body = first.finish().unwrap().into_body();
        let mut second = BodyBuilder::new(false, bounds(&gate, None));
        assert!(write(&mut second) < 100 << 10);
        assert_eq!(second.finish().unwrap_err(), Stopped::Full);
        // What is sent is free again, and the rest when the client goes away.
        body.frame().await.unwrap().unwrap();
        assert!(gate.free() >= PIECE);
        drop(body);
        assert_eq!(gate.free(), 1 << 20);

        let bounds = bounds(&gate, None);
        bounds.cancel.cancel();
        let mut canceled = BodyBuilder::new(true, bounds);
        assert!(write(&mut canceled) < 100 << 10);
        assert_eq!(canceled.finish().unwrap_err(), Stopped::Canceled);
    }

    async fn built(gzip: bool, lines: usize) -> (Vec<u8>, usize) {
        let gate = ByteGate::new(4 << 20);
        let mut builder = BodyBuilder::new(gzip, bounds(&gate, None));
        for at in 0..lines {
            builder
                .text
                .extend_from_slice(format!("line {at}\n").as_bytes());
            assert!(builder.flush_full());
        }
        let pieces = builder.finish().unwrap();
        let len = pieces.len();
        assert!((4 << 20) - gate.free() >= len);
        (
            pieces
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .to_vec(),
            len,
        )
    }

    #[tokio::test]
    async fn pieces_make_the_whole() {
        for lines in [0, 1, 100_000] {
            let (plain, len) = built(false, lines).await;
            assert_eq!(plain.len(), len);
            assert_eq!(plain.iter().filter(|b| **b == b'\n').count(), lines);
            let (packed, _) = built(true, lines).await;
            let mut unpacked = Vec::new();
            flate2::read::GzDecoder::new(packed.as_slice())
                .read_to_end(&mut unpacked)
                .unwrap();
            assert_eq!(unpacked, plain);
        }
    }
}
