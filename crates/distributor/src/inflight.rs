//! How much is under way at once, so that a flood is refused while there is still memory to
//! answer with.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::quantity::ByteSize;

use crate::answer::Refusal;

/// The requests under way, and their bytes.
pub(crate) struct Inflight {
    max_requests: usize,
    max_bytes: usize,
    now: Arc<Now>,
}

#[derive(Default)]
struct Now {
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

/// One request under way; what it holds is given back when it is dropped.
pub(crate) struct Place {
    now: Arc<Now>,
    bytes: usize,
    max_bytes: usize,
}

impl Inflight {
    pub(crate) fn new(max_requests: usize, max_bytes: ByteSize) -> Self {
        let bound = |limit: usize| if limit == 0 { usize::MAX } else { limit };
        Self {
            max_requests: bound(max_requests),
            max_bytes: bound(max_bytes.0 as usize),
            now: Arc::default(),
        }
    }

    /// A place for one more request.
    pub(crate) fn enter(&self) -> Result<Place, Refusal> {
        let place = Place {
            now: Arc::clone(&self.now),
            bytes: 0,
            max_bytes: self.max_bytes,
        };
        // Dropping the place takes it back where it is one too many.
        let before = self.now.requests.fetch_add(1, Ordering::Relaxed);
        if before >= self.max_requests {
            return Err(Refusal::overload(
                "max-inflight-requests",
                format!(
                    "{before} write requests are under way, and max_inflight_requests is {}",
                    self.max_requests
                ),
            ));
        }
        Ok(place)
    }

    /// Requests under way.
    pub(crate) fn requests(&self) -> usize {
        self.now.requests.load(Ordering::Relaxed)
    }

    /// Bytes they hold.
    pub(crate) fn bytes(&self) -> usize {
        self.now.bytes.load(Ordering::Relaxed)
    }
}

impl Place {
    /// Takes so many bytes more.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let before = self.now.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before.saturating_add(bytes) > self.max_bytes {
            return Err(Refusal::overload(
                "max-inflight-bytes",
                format!(
                    "write requests under way hold {before} bytes, and max_inflight_bytes is {}",
                    self.max_bytes
                ),
            ));
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.now.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.now.requests.fetch_sub(1, Ordering::Relaxed);
    }
}
