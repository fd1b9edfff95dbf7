//! What tests with random queries share: how many and from which seed, and a word about each run.

#![expect(clippy::panic, reason = "a panic is how a test fails")]

use std::io::Write;

/// The number in an environment variable, where it is set.
///
/// # Panics
/// Where it is no number.
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let parsed = text.parse();
    Some(parsed.unwrap_or_else(|_| panic!("{name} is no number: {text:?}")))
}

/// Says something even where the test passes: the harness swallows what `eprintln!` prints then.
pub fn say(line: &str) {
    // Whom nobody hears has nothing to say.
    let _ = writeln!(std::io::stderr(), "{line}");
}
