//! The parameters of a request: of its URL and, with POST, of its form.

use std::num::IntErrorKind;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use http::{Method, header};
use http_body_util::BodyExt as _;
use model::limits::Limits;
use model::time::{TimeRange, TimestampMs};
use percent_encoding::percent_decode;

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
            .is_some_and(is_form_type);
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

/// Whether a content type is that of a form, whatever parameters it has.
fn is_form_type(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default();
    kind.trim()
        .eq_ignore_ascii_case("application/x-www-form-urlencoded")
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

    /// Adds the parameters of a text. Bytes that are no UTF-8 are refused: replaced, they would ask
    /// for something else.
    fn extend(&mut self, text: &[u8]) -> Result<(), ApiError> {
        for pair in text.split(|byte| *byte == b'&') {
            if percent_decode(pair).decode_utf8().is_err() {
                let name = form_urlencoded::parse(pair).next().unwrap_or_default().0;
                return Err(ApiError::parameter(&name, "not valid UTF-8"));
            }
        }
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
        let wrong = || {
            let reason = format!("invalid time value for '{name}': {}", no_timestamp(text));
            ApiError::parameter(name, reason)
        };
        parse_time(text).map(Some).ok_or_else(wrong)
    }

    /// A time that must be there.
    pub fn required_time(&self, name: &str) -> Result<TimestampMs, ApiError> {
        let text = self.get(name).unwrap_or_default();
        parse_time(text).ok_or_else(|| ApiError::parameter(name, no_timestamp(text)))
    }

    /// A duration in milliseconds that may be missing.
    pub fn duration_ms(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.duration(name)
            .map_err(|error| ApiError::parameter(name, error))
    }

    /// A duration in milliseconds that must be there.
    pub fn required_duration_ms(&self, name: &str) -> Result<i64, ApiError> {
        let missing = || ApiError::parameter(name, no_duration(""));
        self.duration_ms(name)?.ok_or_else(missing)
    }

    /// `timeout`: no time at all where it is not above zero.
    pub fn timeout(&self) -> Result<Option<Duration>, ApiError> {
        let ms = self.duration_ms("timeout")?;
        Ok(ms.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0))))
    }

    /// `lookback_delta` in milliseconds; one that is not above zero counts as missing.
    pub fn lookback_ms(&self) -> Result<Option<i64>, ApiError> {
        let ms = self.duration("lookback_delta").map_err(|error| {
            let text = format!("error parsing lookback delta duration: {error}");
            ApiError::new(ErrorType::BadData, text)
        })?;
        Ok(ms.filter(|ms| *ms > 0))
    }

    fn duration(&self, name: &str) -> Result<Option<i64>, String> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        match parse_duration(text) {
            Some(ms) => Ok(Some(ms)),
            None if is_number(text) => Err(format!("{}. It overflows int64", no_duration(text))),
            None => Err(no_duration(text)),
        }
    }

    /// `limit`: how many items to answer with; 0 or missing: all.
    pub fn limit(&self) -> Result<usize, ApiError> {
        let Some(text) = self.get("limit") else {
            return Ok(0);
        };
        let limit: i64 = text.parse().map_err(|error: std::num::ParseIntError| {
            let wrong = match error.kind() {
                IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            // As its clients know it.
            ApiError::parameter("limit", format!("strconv.Atoi: parsing {text:?}: {wrong}"))
        })?;
        usize::try_from(limit)
            .map_err(|_| ApiError::parameter("limit", "limit must be non-negative"))
    }

    /// A number of items, where a negative one means all.
    pub fn count(&self, name: &str) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let wrong = |_| ApiError::new(ErrorType::BadData, format!("{name} must be a number"));
        Ok(usize::try_from(text.parse::<i64>().map_err(wrong)?).ok())
    }

    /// `start` and `end`, both within the range; missing ones are the ends of time. Where the end
    /// lies before the start the range is empty.
    pub fn range(&self) -> Result<TimeRange, ApiError> {
        let start = self.time("start")?.unwrap_or(-FAR_MS);
        let end = self.time("end")?.unwrap_or(FAR_MS);
        Ok(TimeRange::inclusive(start, end.max(start - 1)))
    }
}

fn no_timestamp(text: &str) -> String {
    format!("cannot parse {text:?} to a valid timestamp")
}

fn no_duration(text: &str) -> String {
    format!("cannot parse {text:?} to a valid duration")
}

/// Whether a text is a number, however large.
fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(|number| !number.is_nan())
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
                params.duration_ms("d").err(),
                params.lookback_ms().err(),
                params.limit().err(),
                params.count("n").err(),
            ];
            let messages: Vec<String> = found.into_iter().flatten().map(|e| e.message).collect();
            assert_eq!(messages, [expected], "{text}");
        };
        check(
            "t=x",
            r#"invalid parameter "t": invalid time value for 't': cannot parse "x" to a valid timestamp"#,
        );
        check(
            "d=x",
            r#"invalid parameter "d": cannot parse "x" to a valid duration"#,
        );
        check(
            "d=-1e300",
            r#"invalid parameter "d": cannot parse "-1e300" to a valid duration. It overflows int64"#,
        );
        check(
            "lookback_delta=x",
            r#"error parsing lookback delta duration: cannot parse "x" to a valid duration"#,
        );
        check(
            "limit=-1",
            r#"invalid parameter "limit": limit must be non-negative"#,
        );
        check(
            "limit=1.5",
            r#"invalid parameter "limit": strconv.Atoi: parsing "1.5": invalid syntax"#,
        );
        check(
            "limit=99999999999999999999",
            r#"invalid parameter "limit": strconv.Atoi: parsing "99999999999999999999": value out of range"#,
        );
        check("n=many", "n must be a number");
    }

    #[test]
    fn refuses_what_is_no_utf_8() {
        let check = |text: &[u8], expected: Option<&str>| {
            let found = Params::default().extend(text).err().map(|e| e.message);
            assert_eq!(found.as_deref(), expected, "{text:?}");
        };
        let wrong = Some(r#"invalid parameter "query": not valid UTF-8"#);
        check(b"time=1&query=%22%ff%22", wrong);
        check(b"query=\xc3&time=1", wrong);
        check(b"query=%C3&%A9=", wrong);
        check(b"query=%C3%A9\xc3\xa9+%EF%BF%BD&%zz=%", None);
    }

    #[test]
    fn knows_forms_by_their_type() {
        let check = |text: &str, expected: bool| assert_eq!(is_form_type(text), expected, "{text}");
        check("application/x-www-form-urlencoded", true);
        check("application/x-www-form-urlencoded; charset=UTF-8", true);
        check(" Application/X-WWW-Form-URLEncoded ;", true);
        check("application/x-www-form-urlencoded2", false);
        check("text/plain; application/x-www-form-urlencoded", false);
        check("", false);
    }

    #[test]
    fn what_is_not_above_zero() {
        let params = Params::from_text("timeout=-1&lookback_delta=0&n=-1").unwrap();
        assert_eq!(params.timeout().unwrap(), Some(Duration::ZERO));
        assert_eq!(params.lookback_ms().unwrap(), None);
        assert_eq!(params.count("n").unwrap(), None);
        let params = Params::from_text("start=2&end=1").unwrap();
        assert!(params.range().unwrap().is_empty());
    }
}
