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

/// Pieces are handed on at this size, in bytes.
const PIECE: usize = 64 << 10;

/// Collects an answer.
#[derive(Debug)]
pub(crate) struct BodyBuilder {
    /// What is written now; [`BodyBuilder::flush_full`] empties it.
    pub(crate) text: Vec<u8>,
    pieces: VecDeque<Bytes>,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

/// The finished pieces of an answer.
#[derive(Debug)]
pub(crate) struct Pieces {
    pieces: VecDeque<Bytes>,
    /// Bytes still to come.
    left: usize,
    /// Whether they are gzip.
    pub(crate) gzip: bool,
}

impl BodyBuilder {
    pub(crate) fn new(gzip: bool) -> Self {
        Self {
            text: Vec::with_capacity(1024),
            pieces: VecDeque::new(),
            encoder: gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast())),
        }
    }

    /// Hands the text on if there is enough of it. Call it between two items.
    pub(crate) fn flush_full(&mut self) {
        if self.text.len() >= PIECE {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let Some(encoder) = &mut self.encoder else {
            let text = mem::replace(&mut self.text, Vec::with_capacity(PIECE + PIECE / 4));
            self.pieces.push_back(Bytes::from(text));
            return;
        };
        encoder
            .write_all(&self.text)
            .expect("writing into memory can't fail");
        self.text.clear();
        if encoder.get_ref().len() >= PIECE {
            let piece = mem::take(encoder.get_mut());
            self.pieces.push_back(Bytes::from(piece));
        }
    }

    /// Ends the answer.
    pub(crate) fn finish(mut self) -> Pieces {
        self.flush();
        let gzip = self.encoder.is_some();
        if let Some(encoder) = self.encoder.take() {
            let rest = encoder.finish().expect("writing into memory can't fail");
            self.pieces.push_back(Bytes::from(rest));
        }
        let left = self.pieces.iter().map(Bytes::len).sum();
        let pieces = self.pieces;
        Pieces { pieces, left, gzip }
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
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use std::io::Read as _;

    async fn built(gzip: bool, lines: usize) -> (Vec<u8>, usize) {
        let mut builder = BodyBuilder::new(gzip);
        for at in 0..lines {
            builder
                .text
                .extend_from_slice(format!("line {at}\n").as_bytes());
            builder.flush_full();
        }
        let pieces = builder.finish();
        let len = pieces.len();
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
