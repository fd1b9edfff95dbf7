//! Text to expression tree: tokens, a parser by recursive descent, and the checks of types.

mod lex;
mod grammar;
mod selector;
mod modifiers;
mod duration;
pub(crate) mod literal;
mod check;

use std::fmt;

use model::ErrorKind;
use model::matcher::Matcher;

use crate::ast::Expr;
use crate::stack::on_large_stack;

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

/// Above so many levels, a query is parsed on a thread with a large stack: the parser and the
/// checks recurse with the tree.
const SMALL: usize = 120;

/// At most how deep the tree of a text can be. Each level has a byte that is not part of a word:
/// an operator of signs, a bracket, or what parts an operator of letters from its sides.
fn most_levels(text: &str) -> usize {
    let parts = |c: &u8| !c.is_ascii_alphanumeric() && *c != b'_';
    text.bytes().filter(parts).count()
}

/// Parses a query.
///
/// # Errors
/// Where the text is over a limit, is no PromQL, or its types don't fit.
pub fn parse(text: &str, options: &ParseOptions) -> Result<Expr, ParseError> {
    check_length(text, options)?;
    let run = || {
        let expr = grammar::Parser::new(text, options).query()?;
        check::check(&expr, text, options)?;
        Ok(expr)
    };
    if most_levels(text) <= SMALL {
        return run();
    }
    let joined = on_large_stack(run).map_err(|error| ParseError {
        kind: ErrorKind::Unavailable,
        ..ParseError::anywhere(format!("no thread to parse a complex query: {error}"))
    })?;
    joined.unwrap_or_else(|_| Err(panicked()))
}

fn panicked() -> ParseError {
    ParseError {
        kind: ErrorKind::Internal,
        ..ParseError::anywhere("query can't be parsed: this is a fault of the server".to_owned())
    }
}

/// Parses a series selector, as the API's `match[]` takes it. It may select all series: whether
/// that is allowed is for the caller to say.
///
/// # Errors
/// Where the text is too long, or not an instant selector without modifiers.
pub fn parse_selector(text: &str, options: &ParseOptions) -> Result<Vec<Matcher>, ParseError> {
    check_length(text, options)?;
    let selector = grammar::Parser::new(text, options).whole_selector()?;
    Ok(selector.matchers)
}

fn check_length(text: &str, options: &ParseOptions) -> Result<(), ParseError> {
    let (len, limit) = (text.len(), options.max_bytes);
    if len <= limit {
        return Ok(());
    }
    Err(ParseError::anywhere(format!(
        "query of {len} bytes is longer than the limit of {limit} bytes (max_query_bytes); \
         shorten it or raise the limit"
    )))
}

#[cfg(test)]
mod tests;
