//! The lexical pass in front of the grammar: it bounds what the grammar sees, and notes what the
//! grammar forgets.
//!
//! The parser's crate keeps no positions, aborts on deep nesting, and reads some literals
//! otherwise than Prometheus does. So the text is scanned once: nesting and operators are
//! counted, literals are decoded here and replaced (a string by its index in a table, a number or
//! duration by a plain decimal), and the start of each operand is noted in the order of the text,
//! which is the order in which the tree is walked afterwards.

use super::literal::{self, parse_duration_ms, parse_number};
use super::{ParseError, ParseOptions};

/// Stands first in every pair of braces. The grammar refuses selectors all of whose matchers
/// match an empty value, which it can't tell once strings are indices: `a!=""` would be one. The
/// conversion drops it again, and the check of types has that rule.
const NEUTRAL_MATCHER: &str = "\"#\"=\"#\",";
/// The name in it: no text of a user's comes out as this.
pub(super) const NEUTRAL_LABEL: &str = "#";

/// One operand: where it starts, and where the signs in front of it start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operand {
    /// The first byte.
    pub start: u32,
    /// The first sign in front of it, or `start`.
    pub signed_start: u32,
    /// Whether it is a number written as a duration.
    pub is_duration: bool,
}

/// What the scan found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// The text for the grammar.
    pub rewritten: String,
    /// The decoded string literals.
    pub strings: Vec<String>,
    /// The operands, in the order of the text.
    pub operands: Vec<Operand>,
    /// For each `<` and `>` of the rewritten text, whether it stands for `</` or `>/`, which the
    /// grammar does not know.
    pub trims: Vec<bool>,
    /// How deep brackets nest, and how many operators there are.
    pub complexity: usize,
}

/// Scans a query.
pub(super) fn scan(text: &str, options: &ParseOptions) -> Result<Scan, ParseError> {
    let mut scanner = Scanner {
        text,
        at: 0,
        options,
        out: Scan::default(),
        depth: 0,
        deepest: 0,
        operators: 0,
        sign: None,
        operand_next: true,
        duration_next: false,
        modifier_list: false,
    };
    scanner.run()?;
    scanner.out.complexity = scanner.deepest.max(scanner.operators);
    Ok(scanner.out)
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    options: &'a ParseOptions,
    out: Scan,
    depth: usize,
    deepest: usize,
    operators: usize,
    /// Where the first of the signs before the next operand stands.
    sign: Option<usize>,
    /// Whether an operand is due, rather than an operator.
    operand_next: bool,
    /// Whether a duration or timestamp is due: after `offset` and `@`.
    duration_next: bool,
    /// Whether the next parenthesis holds names: after `by`, `on` and the like.
    modifier_list: bool,
}

impl Scanner<'_> {
    fn run(&mut self) -> Result<(), ParseError> {
        while let Some(c) = self.peek() {
            match c {
                c if c.is_whitespace() => self.copy(c.len_utf8()),
                '#' => self.comment(),
                '"' | '\'' | '`' => {
                    self.operand(false);
                    self.string()?;
                    self.operand_next = false;
                }
                '0'..='9' | '.' => self.number(false)?,
                '(' => self.open_paren()?,
                ')' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.operand_next = false;
                    self.copy(1);
                }
                '{' => self.braces()?,
                '[' => self.brackets()?,
                ',' => {
                    self.operand_next = true;
                    self.copy(1);
                }
                '@' => {
                    self.duration_next = true;
                    self.copy(1);
                }
                '+' | '-' if self.operand_next || self.duration_next => {
                    self.count_operator()?;
                    if !self.duration_next {
                        self.sign.get_or_insert(self.at);
                    }
                    self.copy(1);
                }
                '+' | '-' | '*' | '/' | '%' | '^' | '<' | '>' | '=' | '!' => self.operator()?,
                c if c.is_ascii_alphabetic() || c == '_' || c == ':' => self.word()?,
                c => return Err(self.error(format!("unexpected character: {c:?}"))),
            }
        }
        Ok(())
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn error(&self, message: String) -> ParseError {
        ParseError::at(self.text, self.at, message)
    }

    fn copy(&mut self, bytes: usize) {
        self.out
            .rewritten
            .push_str(&self.text[self.at..self.at + bytes]);
        self.at += bytes;
    }

    fn comment(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.find(['\n', '\r']).unwrap_or(rest.len());
        self.out.rewritten.push(' ');
    }

    fn operand(&mut self, is_duration: bool) {
        let start = self.at;
        let signed = self.sign.take().unwrap_or(start);
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        self.out.operands.push(Operand {
            start: offset(start),
            signed_start: offset(signed),
            is_duration,
        });
    }

    fn count_operator(&mut self) -> Result<(), ParseError> {
        self.operators += 1;
        if self.operators > self.options.max_operators {
            let limit = self.options.max_operators;
            return Err(self.error(format!("query has more than {limit} operators; split it")));
        }
        Ok(())
    }

    fn deepen(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        if self.depth > self.options.max_depth {
            let limit = self.options.max_depth;
            return Err(self.error(format!("query nests deeper than {limit} levels")));
        }
        Ok(())
    }

    fn operator(&mut self) -> Result<(), ParseError> {
        self.count_operator()?;
        let rest = &self.text.as_bytes()[self.at..];
        let two = matches!(rest, [b'=' | b'!' | b'<' | b'>', b'=', ..]);
        self.operand_next = true;
        if matches!(rest, [b'<' | b'>', ..]) && !two {
            let trim = rest.get(1) == Some(&b'/');
            self.out.trims.push(trim);
            self.copy(1);
            self.at += usize::from(trim);
            return Ok(());
        }
        self.copy(if two { 2 } else { 1 });
        Ok(())
    }

    /// A string literal: into the table, its index into the text.
    fn string(&mut self) -> Result<(), ParseError> {
        let (decoded, len) =
            literal::parse_string(&self.text[self.at..]).map_err(|message| self.error(message))?;
        let index = self.out.strings.len();
        self.out.rewritten.push_str(&format!("\"{index}\""));
        self.out.strings.push(decoded);
        self.at += len;
        Ok(())
    }

    /// A number or duration, by itself or in brackets.
    fn number(&mut self, in_brackets: bool) -> Result<(), ParseError> {
        let rest = &self.text[self.at..];
        let len = literal::number_length(rest);
        let word = &rest[..len];
        let (value, is_duration) = match parse_number(word) {
            Some(value) => (value, false),
            None => {
                let bad = || self.error(format!("bad number or duration syntax: {word:?}"));
                let ms = parse_duration_ms(word).ok_or_else(bad)?;
                (ms as f64 / 1000.0, true)
            }
        };
        let is_length = in_brackets || self.duration_next;
        if is_length && (!value.is_finite() || value.abs() >= MAX_SECONDS) {
            return Err(self.error("duration out of range".to_owned()));
        }
        if in_brackets && value <= 0.0 {
            return Err(self.error("duration must be greater than 0".to_owned()));
        }
        if !is_length {
            self.operand(is_duration);
        }
        let text = if value == 0.0 {
            "0".to_owned()
        } else {
            format!("{value:e}")
        };
        let text = if value.is_infinite() {
            "Inf".to_owned()
        } else {
            text
        };
        self.out.rewritten.push_str(&text);
        self.at += len;
        self.operand_next = false;
        self.duration_next = false;
        Ok(())
    }

    fn open_paren(&mut self) -> Result<(), ParseError> {
        self.deepen()?;
        if std::mem::take(&mut self.modifier_list) {
            self.depth -= 1;
            return self.names();
        }
        if self.operand_next {
            self.operand(false);
        }
        self.operand_next = true;
        self.copy(1);
        Ok(())
    }

    /// A list of names in parentheses, up to its end.
    fn names(&mut self) -> Result<(), ParseError> {
        while let Some(c) = self.peek() {
            match c {
                '"' | '\'' | '`' => self.string()?,
                '#' => self.comment(),
                ')' => {
                    self.copy(1);
                    return Ok(());
                }
                c => self.copy(c.len_utf8()),
            }
        }
        Err(self.error("unclosed left parenthesis".to_owned()))
    }

    /// Matchers in braces, up to their end.
    fn braces(&mut self) -> Result<(), ParseError> {
        if self.operand_next {
            self.operand(false);
        }
        self.operand_next = false;
        self.copy(1);
        self.out.rewritten.push_str(NEUTRAL_MATCHER);
        while let Some(c) = self.peek() {
            match c {
                '"' | '\'' | '`' => self.string()?,
                '#' => self.comment(),
                '}' => {
                    self.copy(1);
                    return Ok(());
                }
                c => self.copy(c.len_utf8()),
            }
        }
        Err(self.error("unexpected end of input inside braces".to_owned()))
    }

    /// A range or a subquery's range and step, up to their end.
    fn brackets(&mut self) -> Result<(), ParseError> {
        self.count_operator()?;
        self.operand_next = false;
        self.copy(1);
        while let Some(c) = self.peek() {
            match c {
                '0'..='9' | '.' => self.number(true)?,
                '#' => self.comment(),
                ']' => {
                    self.copy(1);
                    return Ok(());
                }
                c if c.is_whitespace() || c == ':' => self.copy(c.len_utf8()),
                c => {
                    let message = format!("unexpected character in duration expression: {c:?}");
                    return Err(self.error(message));
                }
            }
        }
        Err(self.error("unexpected end of input inside brackets".to_owned()))
    }

    /// A keyword, a metric or a function.
    fn word(&mut self) -> Result<(), ParseError> {
        let rest = &self.text[self.at..];
        let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let len = rest.find(|c| !part(c)).unwrap_or(rest.len());
        let word = rest[..len].to_ascii_lowercase();
        let called = rest[len..].trim_start().starts_with('(');
        if std::mem::take(&mut self.duration_next) {
            if word == "inf" || word == "nan" {
                return Err(self.error("duration out of range".to_owned()));
            }
            // `@ start()` and `@ end()`: their parentheses are not an operand's.
            self.copy(len);
            if called {
                self.modifier_list = true;
            }
            return Ok(());
        }
        match word.as_str() {
            "by" | "without" if called => self.modifier_list = true,
            "bool" | "on" | "ignoring" | "group_left" | "group_right" if self.operand_next => {
                self.modifier_list = called && word != "bool";
            }
            "fill" | "fill_left" | "fill_right" if self.operand_next && called => {
                self.modifier_list = true;
            }
            "offset" if !self.operand_next => self.duration_next = true,
            "and" | "or" | "unless" | "atan2" if !self.operand_next => {
                self.count_operator()?;
                self.operand_next = true;
            }
            _ => {
                if self.operand_next {
                    self.operand(false);
                }
                self.operand_next = false;
            }
        }
        self.copy(len);
        Ok(())
    }
}

/// The longest duration there can be, in seconds: its milliseconds must fit a float exactly.
const MAX_SECONDS: f64 = 9.0e12;
