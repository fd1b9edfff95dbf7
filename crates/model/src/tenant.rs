//! Who owns a series.

use std::fmt;
use std::sync::Arc;

/// The longest tenant id, in bytes.
pub const MAX_TENANT_ID_BYTES: usize = 150;

/// A checked tenant id. Every store, log record and cache key carries one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

/// Why a text is no tenant id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenantIdError {
    /// There is no text.
    #[error("tenant id is empty: send the header X-Scope-OrgID")]
    Empty,
    /// The text is too long.
    #[error("tenant id is {0} bytes long, the limit is {MAX_TENANT_ID_BYTES}")]
    TooLong(usize),
    /// A character that is not allowed.
    #[error("tenant id has the character {0:?}; allowed are letters, digits and !-_.*'()")]
    BadCharacter(char),
    /// A name that means something else.
    #[error("tenant id {0:?} is reserved")]
    Reserved(String),
}

impl TenantId {
    /// Checks a text.
    ///
    /// # Errors
    /// Where the text is empty, over 150 bytes, has a character outside `[0-9A-Za-z!_.*'()-]`,
    /// or is `.` or `..`.
    pub fn new(text: &str) -> Result<Self, TenantIdError> {
        if text.is_empty() {
            return Err(TenantIdError::Empty);
        }
        if text.len() > MAX_TENANT_ID_BYTES {
            return Err(TenantIdError::TooLong(text.len()));
        }
        let allowed = |c: &char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(*c);
        if let Some(bad) = text.chars().find(|c| !allowed(c)) {
            return Err(TenantIdError::BadCharacter(bad));
        }
        if text == "." || text == ".." {
            return Err(TenantIdError::Reserved(text.to_owned()));
        }
        Ok(Self(Arc::from(text)))
    }

    /// The tenant of a process without multi-tenancy.
    pub fn anonymous() -> Self {
        Self(Arc::from("anonymous"))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "TenantId({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_is_documented_and_nothing_else() {
        for good in ["a", "team-1", "A!b_c.d*e'f(g)", "...", &"x".repeat(150)] {
            assert!(TenantId::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a|b", "ä", "a b", &"x".repeat(151)] {
            assert!(TenantId::new(bad).is_err(), "{bad}");
        }
    }
}
