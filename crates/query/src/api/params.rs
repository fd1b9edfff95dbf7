//! The parameters of a request: of its URL and, with POST, of its form.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use http::{Method, header};
use http_body_util::BodyExt as _;
use model::limits::Limits;
use model::time::{TimeRange, TimestampMs};

use super::error::{ApiError, ErrorType};
use super::{Api, tenant_of};
use crate::front::ByteGate;
use crate::time::{FAR_MS, parse_duration, parse_time};

/// A form of so many bytes is taken, however short a tenant's queries have to be: a look-up may
/// have many selectors.
const MIN_FORM_BYTES: usize = 1 << 20;
/// How long a client may take to send its form.
const FORM_TIMEOUT: Duration = Duration::from_secs(30);
/// Parameters a request may have; each takes memory.
const MAX_PARAMS: usize = 10_000;

/// All parameters, those of the form first: they win over the URL's.
#[derive(Clone, Debug, Default)]
pub struct Params(Vec<(String, String)>);

impl FromRequest<Arc<Api>> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, ApiError> {
        let mut params = Self::default();
        let (parts, body) = request.into_parts();
        let is_form = parts
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|v| {
                v.trim_start()
                    .starts_with("application/x-www-form-urlencoded")
            });
        if parts.method == Method::POST && is_form {
            let tenant = tenant_of(&parts.headers, api.config.multitenancy)?;
            let most = max_form_bytes(&(api.deps.limits)(&tenant));
            let reading = read_form(body, most, &api.forms, &mut params);
            tokio::time::timeout(FORM_TIMEOUT, reading)
                .await
                .map_err(|_| {
                    let text = format!("the form did not come within {FORM_TIMEOUT:?}");
                    ApiError::new(ErrorType::SlowRequest, text)
                })??;
        }
        params.extend(parts.uri.query().unwrap_or_default().as_bytes())?;
        Ok(params)
    }
}

/// The largest form taken: a percent-encoded query is up to three times its length.
fn max_form_bytes(limits: &Limits) -> usize {
    let query = usize::try_from(limits.max_query_bytes.0).unwrap_or(usize::MAX);
    query.saturating_mul(4).max(MIN_FORM_BYTES)
}

/// Reads a form of at most so many bytes, as long as all forms being read are within the gate.
async fn read_form(
    mut body: Body,
    most: usize,
    gate: &ByteGate,
    params: &mut Params,
) -> Result<(), ApiError> {
    let mut held = gate.hold();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            ApiError::new(ErrorType::BadData, format!("can't read the form: {error}"))
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if data.len() > most - text.len() {
            return Err(ApiError::new(
                ErrorType::TooLargeEntry,
                format!(
                    "the form is larger than {most} bytes (four times the limit max_query_bytes, at least {MIN_FORM_BYTES})"
                ),
            ));
        }
        held.resize(text.len() + data.len()).map_err(|_| {
            ApiError::new(
                ErrorType::Unavailable,
                "too many forms are being read at once; try again",
            )
        })?;
        text.extend_from_slice(&data);
    }
    params.extend(&text)
}

impl Params {
    /// Reads the parameters of a text as it stands in a URL.
    pub fn from_text(text: &str) -> Result<Self, ApiError> {
        let mut params = Self::default();
        params.extend(text.as_bytes())?;
        Ok(params)
    }

    fn extend(&mut self, text: &[u8]) -> Result<(), ApiError> {
        for (name, value) in form_urlencoded::parse(text) {
            if self.0.len() == MAX_PARAMS {
                let message = format!("more than {MAX_PARAMS} parameters");
                return Err(ApiError::new(ErrorType::BadData, message));
            }
            self.0.push((name.into_owned(), value.into_owned()));
        }
        Ok(())
    }

    /// The value of a parameter; an empty one counts as missing.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(known, _)| known == name);
        named.map(|(_, value)| value.as_str())
    }

    /// A time that may be missing.
    pub fn time(&self, name: &str) -> Result<Option<TimestampMs>, ApiError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let wrong =
            || ApiError::parameter(name, format!("cannot parse {text:?} to a valid timestamp"));
        parse_time(text).map(Some).ok_or_else(wrong)
    }

    /// A time that must be there.
    pub fn required_time(&self, name: &str) -> Result<TimestampMs, ApiError> {
        let missing = || ApiError::parameter(name, "cannot parse \"\" to a valid timestamp");
        self.time(name)?.ok_or_else(missing)
    }

    /// A duration in milliseconds that may be missing.
    pub fn duration_ms(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let wrong =
            || ApiError::parameter(name, format!("cannot parse {text:?} to a valid duration"));
        parse_duration(text).map(Some).ok_or_else(wrong)
    }

    /// A duration above zero that may be missing.
    pub fn positive_duration(&self, name: &str) -> Result<Option<Duration>, ApiError> {
        match self.duration_ms(name)? {
            Some(ms) if ms <= 0 => Err(ApiError::parameter(name, "must be above zero")),
            Some(ms) => Ok(Some(Duration::from_millis(ms.unsigned_abs()))),
            None => Ok(None),
        }
    }

    /// `limit`: how many items to answer with; 0 or missing: all.
    pub fn limit(&self) -> Result<usize, ApiError> {
        let Some(text) = self.get("limit") else {
            return Ok(0);
        };
        let wrong = || ApiError::parameter("limit", format!("{text:?} is not a number from 0"));
        let limit: u64 = text.parse().map_err(|_: std::num::ParseIntError| wrong())?;
        Ok(usize::try_from(limit).unwrap_or(usize::MAX))
    }

    /// `start` and `end`, both within the range; missing ones are the ends of time.
    pub fn range(&self) -> Result<TimeRange, ApiError> {
        let start = self.time("start")?.unwrap_or(-FAR_MS);
        let end = self.time("end")?.unwrap_or(FAR_MS);
        if end < start {
            return Err(ApiError::parameter(
                "end",
                "end timestamp must not be before start timestamp",
            ));
        }
        Ok(TimeRange::inclusive(start, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_urls() {
        let params = Params::from_text("match[]=a&match%5B%5D=b%2Bc&x=&y=1+2&y=3").unwrap();
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["a", "b+c"]);
        assert_eq!(
            (params.get("x"), params.get("y"), params.get("z")),
            (None, Some("1 2"), None)
        );
    }

    #[test]
    fn refuses_wrong_values() {
        let check = |text: &str, expected: &str| {
            let params = Params::from_text(text).unwrap();
            let found = [
                params.time("t").err(),
                params.positive_duration("d").err(),
                params.limit().err(),
                params.range().err(),
            ];
            let messages: Vec<String> = found.into_iter().flatten().map(|e| e.message).collect();
            assert_eq!(messages, [expected], "{text}");
        };
        check(
            "t=x",
            r#"invalid parameter "t": cannot parse "x" to a valid timestamp"#,
        );
        check(
            "d=x",
            r#"invalid parameter "d": cannot parse "x" to a valid duration"#,
        );
        check("d=0", r#"invalid parameter "d": must be above zero"#);
        check(
            "limit=-1",
            r#"invalid parameter "limit": "-1" is not a number from 0"#,
        );
        check(
            "start=2&end=1",
            r#"invalid parameter "end": end timestamp must not be before start timestamp"#,
        );
    }
}
