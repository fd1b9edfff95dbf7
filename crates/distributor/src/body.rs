//! Reading a body within its bounds: what it announces is checked before anything is allocated,
//! what it does not announce while it comes in, and all of it must be there in time.

use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, header};
use http_body_util::BodyExt;

use crate::answer::Refusal;
use crate::inflight::Place;

/// Bytes that are allocated on the word of `Content-Length` alone.
const TRUSTED_BYTES: usize = 1 << 20;

/// What a body is held to.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) max_bytes: usize,
    /// From its first byte to its last, so that trickling does not help.
    pub(crate) timeout: Duration,
}

/// Reads a body to the end of `into`, which it clears first.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    bounds: Bounds,
    place: &mut Place,
    into: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let Bounds { max_bytes, timeout } = bounds;
    let reading = read_all(headers, body, max_bytes, place, into);
    match tokio::time::timeout(timeout, reading).await {
        Ok(read) => read,
        Err(_) => Err(Refusal::overload(
            "body-read-timeout",
            format!(
                "the body was not all there after {} s, which is body_read_timeout; \
                 send smaller requests or raise the limit",
                timeout.as_secs_f64()
            ),
        )),
    }
}

async fn read_all(
    headers: &HeaderMap,
    mut body: Body,
    max_bytes: usize,
    place: &mut Place,
    into: &mut Vec<u8>,
) -> Result<(), Refusal> {
    into.clear();
    let announced = headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|text| text.to_str().ok()?.parse::<u64>().ok());
    if let Some(bytes) = announced {
        if bytes > max_bytes as u64 {
            return Err(too_large(bytes, max_bytes));
        }
        into.reserve((bytes as usize).min(TRUSTED_BYTES));
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Refusal::invalid("body-unreadable", format!("the body broke off: {error}"))
        })?;
        let Ok(bytes) = frame.into_data() else {
            continue;
        };
        let total = into.len() + bytes.len();
        if total > max_bytes {
            return Err(too_large(total as u64, max_bytes));
        }
        place.grow(bytes.len())?;
        into.extend_from_slice(&bytes);
    }
    Ok(())
}

fn too_large(bytes: u64, max_bytes: usize) -> Refusal {
    Refusal::too_large(
        "body-too-large",
        format!(
            "the body has {bytes} bytes or more, and max_body_size is {max_bytes}; \
             send smaller requests or raise the limit"
        ),
    )
}
