//! From a body to the ingester's answer, on a thread that may block, in memory used before.

use model::tenant::TenantId;
use parking_lot::Mutex;
use wire::remote_write::{Decoded, Decoder, Version, snappy};

use crate::Distributor;
use crate::answer::{Refusal, Written};
use crate::inflight::Place;

/// Buffers that grew beyond so many bytes are given back after the request.
const KEEP_BYTES: usize = 4 << 20;

/// The memory of one request: its body, packed and unpacked, and the columns of its batch.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) body: Vec<u8>,
    unpacked: Vec<u8>,
    decoder: Decoder,
}

/// Memory of requests that are done, for those to come.
pub(crate) struct ScratchPool {
    idle: Mutex<Vec<Scratch>>,
    max_idle: usize,
}

impl ScratchPool {
    pub(crate) fn new(max_idle: usize) -> Self {
        Self {
            idle: Mutex::default(),
            max_idle,
        }
    }

    /// The memory that was used last, as it may still be in a cache.
    pub(crate) fn take(&self) -> Scratch {
        self.idle.lock().pop().unwrap_or_default()
    }

    pub(crate) fn give_back(&self, mut scratch: Scratch) {
        for buffer in [&mut scratch.body, &mut scratch.unpacked] {
            if buffer.capacity() > KEEP_BYTES {
                *buffer = Vec::new();
            }
        }
        let mut idle = self.idle.lock();
        if idle.len() < self.max_idle {
            idle.push(scratch);
        }
    }
}

/// Decodes the body in `scratch` and pushes what it holds.
pub(crate) fn ingest(
    distributor: &Distributor,
    tenant: &TenantId,
    version: Version,
    scratch: &mut Scratch,
    place: &mut Place,
) -> Result<Written, Refusal> {
    let limits = (distributor.deps.limits)(tenant);
    let max_bytes = distributor.config.max_decoded_body_size.0 as usize;
    place.grow(snappy::claimed_len(&scratch.body, max_bytes)?)?;
    let unpacked = snappy::decompress(&scratch.body, max_bytes, &mut scratch.unpacked)?;
    let push = |decoded: &Decoded<'_>| {
        let Decoded { batch, rejected } = decoded;
        let metrics = &distributor.metrics;
        metrics.rejected(&rejected.by_id);
        let samples = batch.samples.len() + batch.histograms.len();
        metrics.received(tenant, samples + rejected.samples + rejected.histograms);
        let now_ms = distributor.deps.clock.now_ms();
        if !distributor.rates.take(tenant, &limits, samples, now_ms) {
            metrics.rejected(&[("ingestion-rate", samples)]);
            return Err(Refusal::too_fast(format!(
                "tenant {tenant} writes faster than ingestion_rate, {} samples a second, with \
                 bursts of ingestion_burst_size, {}; send less or raise the limits",
                limits.ingestion_rate, limits.ingestion_burst_size
            )));
        }
        let mut written = Written::default();
        if !batch.series.is_empty() || !batch.metadata.is_empty() {
            let outcome = distributor.deps.ingest.push(tenant, &limits, batch)?;
            if let Some(rejection) = &outcome.first_rejection {
                metrics.rejected(&[(rejection.id, outcome.rejected.max(1))]);
            }
            written = Written {
                samples: outcome.samples,
                histograms: outcome.histograms,
                exemplars: outcome.exemplars,
                first_rejection: outcome.first_rejection,
            };
        }
        // What the decoder refused came before what the ingester did.
        if let Some(first) = &rejected.first {
            written.first_rejection = Some(first.clone());
        }
        Ok(written)
    };
    scratch
        .decoder
        .decode(version, unpacked, max_bytes, &limits, push)?
}
