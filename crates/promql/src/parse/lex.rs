//! Text to tokens, as upstream's lexer cuts it: what a word is depends on whether braces or
//! brackets are open.

use super::ParseError;
use super::literal;
use crate::ast::{AggregateOp, BinaryOp};

/// One token: what it is and where it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Token {
    pub kind: TokenKind,
    /// The first byte.
    pub start: usize,
    /// The first byte behind.
    pub end: usize,
}

/// What a token is. Words of the language are known in any case, outside braces only.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum TokenKind {
    EndOfInput,
    /// None that the language knows; the lexer's error says why.
    Bad,
    /// A word without a colon.
    Identifier,
    /// A word with a colon.
    MetricIdentifier,
    Number,
    Duration,
    String,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    /// `=`
    Assign,
    /// `=~`
    Matches,
    /// `!~`
    MatchesNot,
    /// `@`
    At,
    Operator(BinaryOp),
    Aggregate(AggregateOp),
    Keyword(Keyword),
}

/// Words with a meaning of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    Offset,
    Anchored,
    Smoothed,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Bool,
    Start,
    End,
    Step,
    Range,
    MinOf,
    MaxOf,
}

const KEYWORDS: [(&str, Keyword); 19] = [
    ("offset", Keyword::Offset),
    ("anchored", Keyword::Anchored),
    ("smoothed", Keyword::Smoothed),
    ("by", Keyword::By),
    ("without", Keyword::Without),
    ("on", Keyword::On),
    ("ignoring", Keyword::Ignoring),
    ("group_left", Keyword::GroupLeft),
    ("group_right", Keyword::GroupRight),
    ("fill", Keyword::Fill),
    ("fill_left", Keyword::FillLeft),
    ("fill_right", Keyword::FillRight),
    ("bool", Keyword::Bool),
    ("start", Keyword::Start),
    ("end", Keyword::End),
    ("step", Keyword::Step),
    ("range", Keyword::Range),
    ("min_of", Keyword::MinOf),
    ("max_of", Keyword::MaxOf),
];

impl Keyword {
    /// Whether it also names a function.
    pub(super) fn is_function(self) -> bool {
        matches!(
            self,
            Self::Start | Self::End | Self::Step | Self::Range | Self::MinOf | Self::MaxOf
        )
    }

    /// Whether a metric may have it as its name.
    pub(super) fn is_metric_name(self) -> bool {
        self.is_function()
            || matches!(
                self,
                Self::Offset | Self::By | Self::Without | Self::Anchored | Self::Smoothed
            )
    }

    fn is_fill(self) -> bool {
        matches!(self, Self::Fill | Self::FillLeft | Self::FillRight)
    }
}

impl Token {
    /// As error texts name it.
    pub(super) fn describe(self, text: &str) -> String {
        let word = &text[self.start..self.end];
        match self.kind {
            TokenKind::EndOfInput => "end of input".to_owned(),
            TokenKind::Identifier => format!("identifier {word:?}"),
            TokenKind::MetricIdentifier => format!("metric identifier {word:?}"),
            TokenKind::Number => format!("number {}", shortened(word)),
            TokenKind::Duration => format!("duration {}", shortened(word)),
            TokenKind::String => format!("string {}", shortened(word)),
            TokenKind::Operator(_) | TokenKind::At | TokenKind::Matches | TokenKind::MatchesNot => {
                format!("<op:{word}>")
            }
            TokenKind::Aggregate(_) => format!("<aggr:{word}>"),
            TokenKind::Keyword(keyword) if !keyword.is_function() => format!("<{word}>"),
            _ => format!("{word:?}"),
        }
    }
}

fn shortened(word: &str) -> String {
    if word.len() <= 10 {
        return format!("{word:?}");
    }
    let start: String = word.chars().take(10).collect();
    format!("{start:?}...")
}

/// What in brackets was read last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bracket {
    Closed,
    /// A length of time is due, or an operator within one.
    Open,
    /// A number or duration stood before: a colon may come.
    AfterNumber,
}

/// Cuts a text into tokens.
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// How many parentheses are open.
    parens: usize,
    in_braces: bool,
    bracket: Bracket,
    had_colon: bool,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            parens: 0,
            in_braces: false,
            bracket: Bracket::Closed,
            had_colon: false,
        }
    }

    /// The next token; [`TokenKind::EndOfInput`] for ever after the last.
    pub(super) fn next(&mut self) -> Result<Token, ParseError> {
        self.skip_blanks();
        let start = self.at;
        let Some(c) = self.peek() else {
            self.check_closed()?;
            return Ok(self.token(TokenKind::EndOfInput, start));
        };
        let kind = if self.in_braces {
            self.in_braces(c)?
        } else if self.bracket == Bracket::Closed {
            self.statement(c)?
        } else {
            self.in_brackets(c)?
        };
        Ok(self.token(kind, start))
    }

    fn token(&self, kind: TokenKind, start: usize) -> Token {
        Token {
            kind,
            start,
            end: self.at,
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn error<T>(&self, message: String) -> Result<T, ParseError> {
        Err(ParseError::at(self.text, self.at, message))
    }

    /// Blanks and comments.
    fn skip_blanks(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let blanks = rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
            self.at += blanks;
            let rest = &rest[blanks..];
            if !rest.starts_with('#') {
                return;
            }
            self.at += rest.find(['\n', '\r']).unwrap_or(rest.len());
        }
    }

    fn check_closed(&self) -> Result<(), ParseError> {
        if self.in_braces {
            return self.error("unexpected end of input inside braces".to_owned());
        }
        if self.bracket == Bracket::Open {
            return self.error("unexpected end of input in duration expression".to_owned());
        }
        if self.parens > 0 {
            return self.error("unclosed left parenthesis".to_owned());
        }
        if self.bracket != Bracket::Closed {
            return self.error("unclosed left bracket".to_owned());
        }
        Ok(())
    }

    fn take(&mut self, bytes: usize, kind: TokenKind) -> TokenKind {
        self.at += bytes;
        kind
    }

    fn operator(&mut self, op: BinaryOp) -> TokenKind {
        self.take(op.symbol().len(), TokenKind::Operator(op))
    }

    fn statement(&mut self, c: char) -> Result<TokenKind, ParseError> {
        let second = self.text.as_bytes().get(self.at + 1).copied();
        Ok(match c {
            ',' => self.take(1, TokenKind::Comma),
            '@' => self.take(1, TokenKind::At),
            '+' | '-' | '*' | '/' | '%' | '^' => self.arithmetic(c),
            '=' => match second {
                Some(b'=') => self.operator(BinaryOp::Eq),
                Some(b'~') => return self.error("unexpected character after '=': '~'".to_owned()),
                _ => self.take(1, TokenKind::Assign),
            },
            '!' => match self.text[self.at + 1..].chars().next() {
                Some('=') => self.operator(BinaryOp::Ne),
                Some(c) => return self.error(format!("unexpected character after '!': {c:?}")),
                None => return self.error("unexpected end of input after '!'".to_owned()),
            },
            '<' => match second {
                Some(b'=') => self.operator(BinaryOp::Le),
                Some(b'/') => self.operator(BinaryOp::TrimUpper),
                _ => self.operator(BinaryOp::Lt),
            },
            '>' => match second {
                Some(b'=') => self.operator(BinaryOp::Ge),
                Some(b'/') => self.operator(BinaryOp::TrimLower),
                _ => self.operator(BinaryOp::Gt),
            },
            '"' | '\'' | '`' => self.string()?,
            '(' | ')' => self.paren(c)?,
            '{' => {
                self.in_braces = true;
                self.take(1, TokenKind::LeftBrace)
            }
            '[' => {
                self.bracket = Bracket::Open;
                self.had_colon = false;
                self.take(1, TokenKind::LeftBracket)
            }
            ']' => return self.error("unexpected right bracket ']'".to_owned()),
            c if c.is_ascii_digit() || (c == '.' && second.is_some_and(|c| c.is_ascii_digit())) => {
                self.number()?
            }
            c if is_word_start(c) || c == ':' => self.word(),
            c => return self.error(format!("unexpected character: {c:?}")),
        })
    }

    fn arithmetic(&mut self, c: char) -> TokenKind {
        self.operator(match c {
            '+' => BinaryOp::Add,
            '-' => BinaryOp::Sub,
            '*' => BinaryOp::Mul,
            '/' => BinaryOp::Div,
            '%' => BinaryOp::Mod,
            _ => BinaryOp::Pow,
        })
    }

    fn paren(&mut self, c: char) -> Result<TokenKind, ParseError> {
        if c == '(' {
            self.parens += 1;
            return Ok(self.take(1, TokenKind::LeftParen));
        }
        let Some(parens) = self.parens.checked_sub(1) else {
            let message = "unexpected right parenthesis ')'".to_owned();
            return Err(ParseError::at(self.text, self.at + 1, message));
        };
        self.parens = parens;
        Ok(self.take(1, TokenKind::RightParen))
    }

    fn in_braces(&mut self, c: char) -> Result<TokenKind, ParseError> {
        let second = self.text.as_bytes().get(self.at + 1).copied();
        Ok(match c {
            ',' => self.take(1, TokenKind::Comma),
            '"' | '\'' | '`' => self.string()?,
            '=' if second == Some(b'~') => self.take(2, TokenKind::Matches),
            '=' => self.take(1, TokenKind::Assign),
            '!' => match self.text[self.at + 1..].chars().next() {
                Some('~') => self.take(2, TokenKind::MatchesNot),
                Some('=') => self.operator(BinaryOp::Ne),
                other => {
                    let shown = other.map_or("end of input".to_owned(), |c| format!("{c:?}"));
                    let message = format!("unexpected character after '!' inside braces: {shown}");
                    return self.error(message);
                }
            },
            '{' => return self.error("unexpected left brace '{'".to_owned()),
            '}' => {
                self.in_braces = false;
                self.take(1, TokenKind::RightBrace)
            }
            c if is_word_start(c) => {
                let rest = &self.text[self.at..];
                let len = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                self.take(len, TokenKind::Identifier)
            }
            c => return self.error(format!("unexpected character inside braces: {c:?}")),
        })
    }

    fn in_brackets(&mut self, c: char) -> Result<TokenKind, ParseError> {
        let second = self.text.as_bytes().get(self.at + 1).copied();
        let after_number = self.bracket == Bracket::AfterNumber;
        Ok(match c {
            ']' => {
                self.bracket = Bracket::Closed;
                self.take(1, TokenKind::RightBracket)
            }
            ':' if !after_number => {
                let message = "unexpected colon before duration in duration expression";
                return self.error(message.to_owned());
            }
            ':' if self.had_colon => return self.error("unexpected colon ':'".to_owned()),
            ':' => {
                self.had_colon = true;
                self.take(1, TokenKind::Colon)
            }
            '[' => return self.error("unexpected left bracket '['".to_owned()),
            ',' => self.take(1, TokenKind::Comma),
            '+' | '-' | '*' | '/' | '%' | '^' => self.arithmetic(c),
            '(' | ')' => self.paren(c)?,
            c if c.is_ascii_digit() || (c == '.' && second.is_some_and(|c| c.is_ascii_digit())) => {
                self.bracket = Bracket::AfterNumber;
                self.number()?
            }
            c if is_word_start(c) => {
                let start = self.at;
                match self.word() {
                    TokenKind::Keyword(
                        keyword
                        @ (Keyword::Step | Keyword::Range | Keyword::MinOf | Keyword::MaxOf),
                    ) => {
                        self.bracket = Bracket::AfterNumber;
                        TokenKind::Keyword(keyword)
                    }
                    _ => {
                        self.at = start;
                        return self.unexpected_in_brackets(c, after_number);
                    }
                }
            }
            c => return self.unexpected_in_brackets(c, after_number),
        })
    }

    fn unexpected_in_brackets<T>(&self, c: char, after_number: bool) -> Result<T, ParseError> {
        if after_number {
            return self.error(format!("unexpected character: {c:?}, expected ':'"));
        }
        self.error(format!(
            "unexpected character in duration expression: {c:?}"
        ))
    }

    fn string(&mut self) -> Result<TokenKind, ParseError> {
        let (_, len) =
            literal::parse_string(&self.text[self.at..]).or_else(|message| self.error(message))?;
        Ok(self.take(len, TokenKind::String))
    }

    fn number(&mut self) -> Result<TokenKind, ParseError> {
        let rest = &self.text[self.at..];
        let len = literal::number_length(rest);
        let word = &rest[..len];
        if literal::parse_number(word).is_some() {
            return Ok(self.take(len, TokenKind::Number));
        }
        if literal::is_duration(word) {
            return Ok(self.take(len, TokenKind::Duration));
        }
        self.error(format!("bad number or duration syntax: {word:?}"))
    }

    /// A word, which may have colons.
    fn word(&mut self) -> TokenKind {
        let rest = &self.text[self.at..];
        let len = rest.find(|c| !is_word(c) && c != ':').unwrap_or(rest.len());
        let word = &rest[..len];
        self.at += len;
        let lower = word.to_ascii_lowercase();
        if let Some(kind) = self.known(&lower) {
            return kind;
        }
        if word.contains(':') {
            TokenKind::MetricIdentifier
        } else {
            TokenKind::Identifier
        }
    }

    /// A word of the language; `fill` and the like only in front of a parenthesis, as metrics may
    /// have these names.
    fn known(&self, lower: &str) -> Option<TokenKind> {
        match lower {
            "and" => return Some(TokenKind::Operator(BinaryOp::And)),
            "or" => return Some(TokenKind::Operator(BinaryOp::Or)),
            "unless" => return Some(TokenKind::Operator(BinaryOp::Unless)),
            "atan2" => return Some(TokenKind::Operator(BinaryOp::Atan2)),
            "inf" | "nan" => return Some(TokenKind::Number),
            _ => {}
        }
        if let Some(op) = AggregateOp::from_name(lower) {
            return Some(TokenKind::Aggregate(op));
        }
        let (_, keyword) = KEYWORDS.iter().find(|(word, _)| *word == lower)?;
        let rest = self.text[self.at..].trim_start_matches([' ', '\t', '\n', '\r']);
        if keyword.is_fill() && !rest.starts_with('(') {
            return None;
        }
        Some(TokenKind::Keyword(*keyword))
    }
}

fn is_word_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
