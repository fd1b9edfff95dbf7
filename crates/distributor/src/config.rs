//! What a distributor is told.

use model::quantity::{ByteSize, DurationMs};
use serde::{Deserialize, Serialize};

/// The bounds of the write path of one process. A tenant's limits are [`model::Limits`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether the header X-Scope-OrgID names the tenant; else all is `anonymous`.
    #[serde(skip)]
    pub multitenancy: bool,
    /// Bytes of a request's body as it comes in; more is refused with 413.
    pub max_body_size: ByteSize,
    /// Bytes of a request's body once it is unpacked; more is refused with 413.
    pub max_decoded_body_size: ByteSize,
    /// How long a request's body may take to come in; then it is refused with 503.
    pub body_read_timeout: DurationMs,
    /// Write requests at once, waiting ones included; more are refused with 503. 0: unlimited.
    pub max_inflight_requests: usize,
    /// Bytes of all their bodies, packed and unpacked; more are refused with 503. 0: unlimited.
    pub max_inflight_bytes: ByteSize,
    /// Requests that are decoded or wait for the disk at once, each on a thread; others queue.
    pub push_concurrency: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            multitenancy: false,
            max_body_size: ByteSize(16 << 20),
            max_decoded_body_size: ByteSize(64 << 20),
            body_read_timeout: DurationMs(30_000),
            max_inflight_requests: 2_000,
            max_inflight_bytes: ByteSize(512 << 20),
            push_concurrency: 64,
        }
    }
}
