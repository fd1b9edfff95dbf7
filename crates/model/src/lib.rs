//! The nouns every other crate speaks of, and the chunk codecs.
//!
//! Nothing here does I/O and nothing is async: labels, samples, native histograms, matchers,
//! tenants, limits, time as an argument, and the bytes a chunk is made of.

pub mod labels;
pub mod fingerprint;
pub mod sample;
pub mod histogram;
pub mod exemplar;
pub mod go_float;
pub mod go_regex;
pub mod matcher;
pub mod time;
pub mod quantity;
pub mod tenant;
pub mod limits;
pub mod error;
pub mod write;
pub mod validate;
pub mod select;
pub mod skipped;
pub mod asker;
pub mod chunk;

pub use error::ErrorKind;
pub use exemplar::Exemplar;
pub use fingerprint::Fingerprint;
pub use labels::Labels;
pub use limits::Limits;
pub use matcher::{MatchOp, Matcher};
pub use sample::{STALE_NAN_BITS, Sample, is_stale};
pub use tenant::TenantId;
pub use time::{Clock, TimeRange, TimestampMs};
