//! What a sender is told: a status it acts rightly upon, counts of what was written, and a text
//! that says what to do.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use model::error::ErrorKind;
use model::write::Rejection;
use wire::remote_write::{DecodeError, Version};
use wire::service::ServiceError;
use wire::status::{http_status, retry_after};
use wire::tenant::TenantError;

/// A request that is refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) id: &'static str,
    pub(crate) message: String,
}

impl Refusal {
    fn new(status: u16, id: &'static str, message: String) -> Self {
        Self {
            status,
            id,
            message,
        }
    }

    pub(crate) fn invalid(id: &'static str, message: String) -> Self {
        Self::new(400, id, message)
    }

    pub(crate) fn unsupported(message: String) -> Self {
        Self::new(415, "unsupported-media-type", message)
    }

    pub(crate) fn too_large(id: &'static str, message: String) -> Self {
        Self::new(413, id, message)
    }

    pub(crate) fn overload(id: &'static str, message: String) -> Self {
        Self::new(503, id, message)
    }

    pub(crate) fn too_fast(message: String) -> Self {
        Self::new(429, "ingestion-rate", message)
    }

    /// A fault of ours.
    pub(crate) fn internal(message: String) -> Self {
        Self::new(500, "internal", message)
    }
}

impl From<TenantError> for Refusal {
    fn from(error: TenantError) -> Self {
        Self::new(401, error.id(), error.to_string())
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        let status = if error.is_too_large() {
            413
        } else {
            http_status(error.kind())
        };
        let limit = match error {
            DecodeError::TooLarge { .. } => " (max_decoded_body_size)",
            _ => "",
        };
        Self::new(status, error.id(), format!("{error}{limit}"))
    }
}

impl From<ServiceError> for Refusal {
    fn from(error: ServiceError) -> Self {
        Self::new(http_status(error.kind), error.id, error.message)
    }
}

/// What was written of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) samples: usize,
    pub(crate) histograms: usize,
    pub(crate) exemplars: usize,
    /// The first of what was not.
    pub(crate) first_rejection: Option<Rejection>,
}

/// The answer to a request that was understood: 200 (1.0) or 204 (2.0) where all was written,
/// else the status of the first refusal.
pub(crate) fn written(
    version: Version,
    written: &Written,
    headers: &HeaderMap,
    random: u64,
) -> Response {
    let mut response = match &written.first_rejection {
        None if version == Version::V2 => StatusCode::NO_CONTENT.into_response(),
        None => StatusCode::OK.into_response(),
        Some(rejection) => {
            let status = http_status(rejection.kind);
            failure(status, &rejection.message, rejection.id, headers, random)
        }
    };
    count(&mut response, written);
    response
}

/// The answer to a request of which nothing was written.
pub(crate) fn refused(refusal: &Refusal, headers: &HeaderMap, random: u64) -> Response {
    let Refusal {
        status,
        id,
        message,
    } = refusal;
    let mut response = failure(*status, message, id, headers, random);
    count(&mut response, &Written::default());
    response
}

/// What kinds of refusal a sender may try again after a pause.
fn is_temporary(status: u16) -> bool {
    status == http_status(ErrorKind::TooMany) || status == http_status(ErrorKind::Unavailable)
}

fn failure(status: u16, message: &str, id: &str, headers: &HeaderMap, random: u64) -> Response {
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let text = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    let mut response = (code, text, format!("{message} ({id})\n")).into_response();
    if is_temporary(status) {
        let attempt = headers
            .get("retry-attempt")
            .and_then(|text| text.to_str().ok());
        let pause = retry_after(attempt, random).as_secs();
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(pause));
    }
    response
}

fn count(response: &mut Response, written: &Written) {
    let counts = [
        ("x-prometheus-remote-write-samples-written", written.samples),
        (
            "x-prometheus-remote-write-histograms-written",
            written.histograms,
        ),
        (
            "x-prometheus-remote-write-exemplars-written",
            written.exemplars,
        ),
    ];
    for (name, count) in counts {
        response
            .headers_mut()
            .insert(name, HeaderValue::from(count as u64));
    }
}
