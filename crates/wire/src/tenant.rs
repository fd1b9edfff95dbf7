//! Who a request belongs to: the header `X-Scope-OrgID`, the same for reads and writes.

use model::tenant::{TenantId, TenantIdError};

/// The header's name, in the lower case of HTTP libraries.
pub const TENANT_HEADER: &str = "x-scope-orgid";

/// Why a request has no tenant; the status is 401.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// The header is missing or empty.
    #[error("no tenant: send its id in the header X-Scope-OrgID")]
    Missing,
    /// The header is there more than once: proxies might have looked at another than we do.
    #[error("more than one header X-Scope-OrgID: send one")]
    Several,
    /// The header is not a tenant's id.
    #[error("the header X-Scope-OrgID is no tenant id: {0}")]
    Invalid(#[source] TenantIdError),
    /// The header is not even ASCII.
    #[error("the header X-Scope-OrgID is no tenant id: it is not ASCII")]
    NotAscii,
}

impl TenantError {
    /// The id under which docs/errors.md explains it.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Missing => "tenant-missing",
            Self::Several | Self::Invalid(_) | Self::NotAscii => "tenant-invalid",
        }
    }
}

/// The tenant of a request, by all values that the header has. Without multi-tenancy it is
/// `anonymous`, whatever the header says.
///
/// # Errors
/// Where the header is needed, and missing, there more than once, or no tenant's id.
pub fn tenant_of<'a>(
    headers: impl IntoIterator<Item = &'a [u8]>,
    multitenancy: bool,
) -> Result<TenantId, TenantError> {
    if !multitenancy {
        return Ok(TenantId::anonymous());
    }
    let mut headers = headers.into_iter();
    let header = headers.next();
    if headers.next().is_some() {
        return Err(TenantError::Several);
    }
    let header = header
        .filter(|text| !text.is_empty())
        .ok_or(TenantError::Missing)?;
    let text = str::from_utf8(header).map_err(|_| TenantError::NotAscii)?;
    TenantId::new(text).map_err(TenantError::Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_header_only_with_multitenancy() {
        let off = tenant_of([&b"a/b"[..]], false);
        assert_eq!(off, Ok(TenantId::anonymous()));
        assert_eq!(tenant_of([&b"a"[..]], true).unwrap().as_str(), "a");
        assert_eq!(tenant_of(None, true), Err(TenantError::Missing));
        assert_eq!(tenant_of([&b""[..]], true), Err(TenantError::Missing));
        let several = tenant_of([&b"a"[..], b"a"], true).unwrap_err();
        assert_eq!(several.id(), "tenant-invalid");
        assert!(tenant_of([&b"a"[..], b"b"], false).is_ok());
        for bad in [&b"a|b"[..], b"..", b"\xff"] {
            assert_eq!(tenant_of([bad], true).unwrap_err().id(), "tenant-invalid");
        }
    }
}
