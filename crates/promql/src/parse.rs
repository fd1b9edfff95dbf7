//! Text to expression tree: a lexical guard, the grammar of the crate `promql-parser`, and the
//! conversion into our own tree, with all checks of types.
//!
//! The rest of the engine knows our tree only, so that the grammar can be replaced.

mod check;
mod convert;
pub(crate) mod literal;
mod scan;

use std::fmt;

use model::ErrorKind;
use model::matcher::Matcher;

use crate::ast::{Expr, ExprKind};

pub use literal::{format_duration_ms, parse_duration_ms};

/// What a query may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseOptions {
    /// The longest text, in bytes.
    pub max_bytes: usize,
    /// How deep parentheses may nest.
    pub max_depth: usize,
    /// How many operators there may be.
    pub max_operators: usize,
    /// Whether experimental functions, aggregations and modifiers are allowed.
    pub experimental: bool,
}

impl Default for ParseOptions {
    fn default() -> Self {
        Self {
            max_bytes: 32 << 10,
            max_depth: 100,
            max_operators: 1_000,
            experimental: false,
        }
    }
}

/// Why a text is no query. Printed as upstream does: `1:5: parse error: …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Line and column, both from 1, where they are known.
    pub place: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
    /// Invalid, unless the text was not read for a reason that is not in it.
    pub kind: ErrorKind,
}

impl ParseError {
    pub(crate) fn at(text: &str, offset: usize, message: String) -> Self {
        let start = u32::try_from(offset).unwrap_or(u32::MAX);
        let pos = crate::annotations::Pos { start, end: start };
        Self {
            place: Some(pos.line_column(text)),
            message,
            kind: ErrorKind::Invalid,
        }
    }

    pub(crate) fn anywhere(message: String) -> Self {
        Self {
            place: None,
            message,
            kind: ErrorKind::Invalid,
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.place {
            write!(out, "{line}:{column}: ")?;
        }
        write!(out, "parse error: {}", self.message)
    }
}

impl std::error::Error for ParseError {}

/// Above so many levels or operators, a query is parsed on a thread with a large stack.
const SMALL: usize = 60;
/// That stack, in bytes: the grammar's actions and the checks recurse with the tree.
pub(crate) const LARGE_STACK_BYTES: usize = 64 << 20;

/// Parses a query.
///
/// # Errors
/// Where the text is over a limit, is no PromQL, or its types don't fit.
pub fn parse(text: &str, options: &ParseOptions) -> Result<Expr, ParseError> {
    if text.len() > options.max_bytes {
        let (len, limit) = (text.len(), options.max_bytes);
        return Err(ParseError::anywhere(format!(
            "query of {len} bytes is longer than the limit of {limit} bytes \
             (max_query_bytes); shorten it or raise the limit"
        )));
    }
    let scan = scan::scan(text, options)?;
    if scan.operands.is_empty() {
        return Err(ParseError::anywhere(
            "no expression found in input".to_owned(),
        ));
    }
    if scan.complexity <= SMALL {
        return parse_scanned(text, &scan, options);
    }
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().stack_size(LARGE_STACK_BYTES);
        let run = || parse_scanned(text, &scan, options);
        let thread = builder
            .spawn_scoped(scope, run)
            .map_err(|error| ParseError {
                kind: ErrorKind::Unavailable,
                ..ParseError::anywhere(format!("no thread to parse a complex query: {error}"))
            })?;
        thread.join().unwrap_or_else(|_| Err(panicked()))
    })
}

fn parse_scanned(
    text: &str,
    scan: &scan::Scan,
    options: &ParseOptions,
) -> Result<Expr, ParseError> {
    // The grammar's crate is not ours: should it panic on some text, that fails one query.
    let run = || {
        let parsed = promql_parser::parser::parse(&scan.rewritten)
            .map_err(|message| ParseError::anywhere(scan.restore_message(&message)))?;
        let expr = convert::convert(&parsed, text, scan)?;
        check::check(&expr, text, options)?;
        Ok(expr)
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or_else(|_| Err(panicked()))
}

fn panicked() -> ParseError {
    ParseError {
        kind: ErrorKind::Internal,
        ..ParseError::anywhere("query can't be parsed: this is a fault of the server".to_owned())
    }
}

/// Parses a series selector, as the API's `match[]` takes it.
///
/// # Errors
/// Where the text is not an instant selector without modifiers.
pub fn parse_selector(text: &str, options: &ParseOptions) -> Result<Vec<Matcher>, ParseError> {
    match parse(text, options)?.kind {
        ExprKind::Selector(selector) if selector.offset_ms == 0 && selector.at.is_none() => {
            Ok(selector.matchers)
        }
        _ => Err(ParseError::anywhere(
            "expected a series selector".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests;
