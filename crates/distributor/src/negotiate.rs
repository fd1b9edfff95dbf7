//! Which message a body is, by its headers.

use http::{HeaderMap, header};
use wire::remote_write::Version;

use crate::answer::Refusal;

/// The version of remote write that `Content-Type` names; its parameter `proto` decides, and
/// without one it is 1.0, as senders of old say nothing else.
pub(crate) fn version(headers: &HeaderMap) -> Result<Version, Refusal> {
    let encoding = text(headers, &header::CONTENT_ENCODING);
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("snappy") {
        return Err(Refusal::unsupported(format!(
            "content encoding {encoding:?} is not taken; send snappy"
        )));
    }
    let content_type = text(headers, &header::CONTENT_TYPE);
    version_of(content_type).ok_or_else(|| {
        Refusal::unsupported(format!(
            "content type {content_type:?} is not taken; send application/x-protobuf, \
             for 2.0 with ;proto=io.prometheus.write.v2.Request"
        ))
    })
}

fn version_of(content_type: &str) -> Option<Version> {
    let mut parts = content_type.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    if !media.is_empty() && !media.eq_ignore_ascii_case("application/x-protobuf") {
        return None;
    }
    let mut version = Version::V1;
    for part in parts {
        let (key, value) = part.split_once('=')?;
        if key.trim().eq_ignore_ascii_case("proto") {
            version = match value.trim().trim_matches('"') {
                "prometheus.WriteRequest" => Version::V1,
                "io.prometheus.write.v2.Request" => Version::V2,
                _ => return None,
            };
        }
    }
    Some(version)
}

fn text<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> &'h str {
    // What is not text is shown as '?' and taken by nobody.
    let value = headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    value.unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_content_types_of_both_versions() {
        let check = |text: &str, expected| assert_eq!(version_of(text), expected, "{text}");
        check("", Some(Version::V1));
        check("application/x-protobuf", Some(Version::V1));
        check("Application/X-Protobuf; charset=utf-8", Some(Version::V1));
        check(
            "application/x-protobuf;proto=prometheus.WriteRequest",
            Some(Version::V1),
        );
        let v2 = "application/x-protobuf; proto=\"io.prometheus.write.v2.Request\"";
        check(v2, Some(Version::V2));
        check(
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            Some(Version::V2),
        );
        check(
            "application/x-protobuf;proto=io.prometheus.write.v3.Request",
            None,
        );
        check("application/x-protobuf;", None);
        check("application/json", None);
        check("text/plain", None);
    }
}
