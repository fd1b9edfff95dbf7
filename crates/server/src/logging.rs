//! Log lines: to standard error, as text for people or JSON for machines.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::config::{LogConfig, LogFormat};

/// Understands `info`, or `info,query=debug`.
pub(crate) fn parse_level(text: &str) -> Result<EnvFilter, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for directive in text.split(',') {
        let level = directive
            .rsplit('=')
            .next()
            .unwrap_or_default()
            .trim()
            .to_lowercase();
        if !LEVELS.contains(&level.as_str()) {
            return Err(format!("{level:?} is no level"));
        }
    }
    EnvFilter::builder().parse(text).map_err(|e| e.to_string())
}

/// The time of a line, as RFC 3339 in UTC.
struct Rfc3339;

impl FormatTime for Rfc3339 {
    fn format_time(&self, out: &mut Writer<'_>) -> std::fmt::Result {
        use model::time::Clock as _;
        let now = model::time::SystemClock.now_ms();
        out.write_str(&query::time::format_rfc3339(now))
    }
}

/// Sends all that is logged from here on to standard error. A second call changes nothing, so
/// that several servers can run in one test process.
pub fn init(config: &LogConfig) {
    // The cache tells at its start that it has no disk, in words that worry without need.
    let quieted = format!("foyer_storage=warn,{}", config.level);
    let filter = parse_level(&quieted).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(Rfc3339)
        .with_writer(std::io::stderr);
    let done = match config.format {
        LogFormat::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    // Fails only where a subscriber is set already.
    drop(done);
}
