//! What went wrong with a request, in the terms of Prometheus's HTTP API.

use http::StatusCode;
use model::error::ErrorKind;
use model::select::SelectError;

/// The `errorType` of an answer; each has one status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorType {
    /// A parameter is missing or wrong.
    BadData,
    /// No tenant, or not a valid one.
    Unauthorized,
    /// The query can't be evaluated, or is over a limit of its own.
    Execution,
    /// Nobody waits for the answer any more.
    Canceled,
    /// The query took too long.
    Timeout,
    /// Not now: starting, or storage is away.
    Unavailable,
    /// A fault of ours.
    Internal,
    /// What was asked for does not exist.
    NotFound,
    /// The queue of the tenant is full.
    TooManyRequests,
    /// The body is larger than is taken.
    TooLargeEntry,
}

impl ErrorType {
    /// The name in the answer.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Unauthorized => "unauthorized",
            Self::Execution => "execution",
            Self::Canceled => "canceled",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
            Self::NotFound => "not_found",
            Self::TooManyRequests => "too_many_requests",
            Self::TooLargeEntry => "too_large_entry",
        }
    }

    /// The status code.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadData => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            // Not registered: nginx's 'client closed request'.
            Self::Canceled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            Self::Timeout | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLargeEntry => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }
}

/// A failed request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Of which type.
    pub kind: ErrorType,
    /// What failed and what to do.
    pub message: String,
}

impl ApiError {
    /// An error of a type.
    pub fn new(kind: ErrorType, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { kind, message }
    }

    /// A parameter that is wrong.
    pub fn parameter(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::new(
            ErrorType::BadData,
            format!("invalid parameter {name:?}: {reason}"),
        )
    }
}

impl From<SelectError> for ApiError {
    fn from(error: SelectError) -> Self {
        Self::new(error_type(error.kind), error.message)
    }
}

/// The type for a failure of storage or of a limit while a query ran.
pub fn error_type(kind: ErrorKind) -> ErrorType {
    match kind {
        ErrorKind::Invalid | ErrorKind::TooMany | ErrorKind::Conflict => ErrorType::Execution,
        ErrorKind::NotFound => ErrorType::NotFound,
        ErrorKind::Unavailable => ErrorType::Unavailable,
        ErrorKind::Corrupt | ErrorKind::Internal => ErrorType::Internal,
    }
}
