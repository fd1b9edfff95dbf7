//! Which build this is.

/// The version, as in Cargo.toml.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit it was built from, where the build said so (`TIDEMARK_REVISION`).
pub fn revision() -> &'static str {
    option_env!("TIDEMARK_REVISION").unwrap_or("unknown")
}

/// What `--version` prints.
pub fn line() -> String {
    format!("tidemark {VERSION} ({})", revision())
}
