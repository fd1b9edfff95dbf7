//! What went wrong with a request, in the terms of Prometheus's HTTP API.

use http::StatusCode;
use model::error::ErrorKind;
use model::select::SelectError;
use promql::parse::ParseError;
pub use wire::api_json::ErrorType;

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

    /// Its status code.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// A text that can't be read as PromQL.
    pub fn promql(error: &ParseError) -> Self {
        match error.kind {
            ErrorKind::Invalid => Self::new(ErrorType::BadData, error.to_string()),
            kind => Self::new(error_type(kind), error.message.clone()),
        }
    }

    /// The parameter `query` that can't be read as PromQL.
    pub fn query(error: &ParseError) -> Self {
        match error.kind {
            ErrorKind::Invalid => Self::parameter("query", error),
            _ => Self::promql(error),
        }
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
