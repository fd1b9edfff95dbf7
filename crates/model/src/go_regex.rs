//! Regular expressions as Go's `regexp` package (RE2) reads them, for the engine of the crate
//! `regex`: a translation of the text, and the anchored form that Prometheus uses.
//!
//! The two syntaxes differ in what looks alike: `\w` is ASCII in Go, `{id}` are four literals,
//! `&&` in a class is two, `\s` has no vertical tab. What is translated is spelled so that both
//! mean the same: literals are escaped, classes written out.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

/// What one compiled expression may take, in bytes.
const MAX_PROGRAM_BYTES: usize = 4 << 20;
/// How deep groups may nest.
pub(crate) const MAX_NESTING: u32 = 64;
/// The most repeats of `{n,m}`, also those of nested ones multiplied.
const MAX_REPEAT: u32 = 1000;

/// Why a text is no regular expression, in words like Go's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RegexError(String);

/// Compiles an expression that must match the whole of a value, `.` matching all characters.
///
/// # Errors
/// Where Go would refuse the text, or it compiles to too much.
pub fn compile_anchored(text: &str) -> Result<regex::Regex, RegexError> {
    build(&translate(text)?)
}

/// The same for what is translated already.
pub(crate) fn build(translated: &str) -> Result<regex::Regex, RegexError> {
    regex::RegexBuilder::new(&format!("^(?s:{translated})$"))
        .size_limit(MAX_PROGRAM_BYTES)
        .dfa_size_limit(MAX_PROGRAM_BYTES)
        .nest_limit(MAX_NESTING)
        .build()
        .map_err(|error| RegexError::of(&error))
}

impl RegexError {
    /// The last line of an engine's error, which says what is wrong.
    pub(crate) fn of(error: &dyn std::fmt::Display) -> Self {
        let reason = error.to_string();
        Self(reason.lines().last().unwrap_or_default().trim().to_owned())
    }
}

/// Spells an expression so that the crate `regex` reads it as Go does.
///
/// # Errors
/// Where Go would refuse the text; some of what is wrong is left for the engine to refuse.
pub(crate) fn translate(text: &str) -> Result<String, RegexError> {
    let mut translator = Translator {
        rest: text,
        out: String::with_capacity(text.len() + 16),
        atom: Atom::None,
        levels: vec![1],
    };
    while let Some(c) = translator.peek() {
        translator.item(c)?;
    }
    if translator.levels.len() > 1 {
        return fail(format!("missing closing ): `{text}`"));
    }
    Ok(translator.out)
}

fn fail<T>(message: String) -> Result<T, RegexError> {
    Err(RegexError(message))
}

/// What a repetition would apply to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Atom {
    /// Nothing: the begin of an alternative.
    None,
    /// Something, in which `{n,m}` amount to so many repeats.
    Plain(u32),
    /// Something that is repeated already.
    Repeated(u32),
}

impl Atom {
    fn weight(self) -> u32 {
        match self {
            Self::None => 1,
            Self::Plain(weight) | Self::Repeated(weight) => weight,
        }
    }
}

struct Translator<'t> {
    rest: &'t str,
    out: String,
    atom: Atom,
    /// For each open group the most repeats of what it has so far.
    levels: Vec<u32>,
}

impl Translator<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    /// Ends the atom there is; another begins.
    fn begin(&mut self, weight: u32) {
        self.end();
        self.atom = Atom::Plain(weight);
    }

    fn end(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            *level = (*level).max(self.atom.weight());
        }
        self.atom = Atom::None;
    }

    fn item(&mut self, c: char) -> Result<(), RegexError> {
        match c {
            '(' => self.open()?,
            ')' => {
                self.end();
                let weight = self.levels.pop().unwrap_or(1);
                if self.levels.is_empty() {
                    return fail("unexpected )".to_owned());
                }
                self.out.push(')');
                self.skip(1);
                self.atom = Atom::Plain(weight);
            }
            '|' => {
                self.end();
                self.out.push('|');
                self.skip(1);
            }
            '.' | '^' | '$' => {
                self.begin(1);
                self.out.push(c);
                self.skip(1);
            }
            '*' | '+' | '?' => {
                self.skip(1);
                self.repeat(&c.to_string(), 1)?;
            }
            '{' => self.brace()?,
            '[' => {
                self.begin(1);
                self.class()?;
            }
            '\\' => self.escape()?,
            literal => {
                self.begin(1);
                push_literal(&mut self.out, literal);
                self.skip(literal.len_utf8());
            }
        }
        Ok(())
    }

    /// Repeats the atom, lazily where `?` follows.
    fn repeat(&mut self, op: &str, times: u32) -> Result<(), RegexError> {
        match self.atom {
            Atom::None => fail(format!("missing argument to repetition operator: `{op}`")),
            Atom::Repeated(_) => fail(format!("invalid nested repetition operator: `{op}`")),
            Atom::Plain(weight) => {
                let weight = weight.saturating_mul(times.max(1));
                if times > 1 && weight > MAX_REPEAT {
                    return fail(format!("invalid repeat count: `{op}`"));
                }
                self.out.push_str(op);
                if self.rest.starts_with('?') {
                    self.out.push('?');
                    self.skip(1);
                }
                self.atom = Atom::Repeated(weight);
                Ok(())
            }
        }
    }

    /// `{n}`, `{n,}` and `{n,m}`; any other brace is a literal.
    fn brace(&mut self) -> Result<(), RegexError> {
        let Some((min, max, length)) = repeat_count(self.rest) else {
            self.begin(1);
            self.out.push_str("\\{");
            self.skip(1);
            return Ok(());
        };
        let text = self.rest[..length].to_owned();
        self.skip(length);
        let over = min > MAX_REPEAT || max.is_some_and(|max| max > MAX_REPEAT || min > max);
        if over {
            return fail(format!("invalid repeat count: `{text}`"));
        }
        self.repeat(&text, max.unwrap_or(min))
    }

    /// `(`, `(?:`, `(?flags:`, `(?flags)`, `(?P<name>` or `(?<name>`.
    fn open(&mut self) -> Result<(), RegexError> {
        let Some(flags) = self.rest.strip_prefix("(?") else {
            self.skip(1);
            self.push_group("(");
            return Ok(());
        };
        let named = flags.strip_prefix("P<").or_else(|| flags.strip_prefix('<'));
        if let Some(named) = named {
            let name = named.split_once('>').map(|(name, _)| name);
            let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let Some(name) = name.filter(|name| !name.is_empty() && name.chars().all(valid)) else {
                return fail("invalid named capture".to_owned());
            };
            self.rest = &named[name.len() + 1..];
            self.push_group(&format!("(?P<{name}>"));
            return Ok(());
        }
        let (mut on, mut off, mut minus) = (String::new(), String::new(), false);
        for (at, c) in flags.char_indices() {
            match c {
                'i' | 'm' | 's' | 'U' => {
                    on.retain(|known| known != c);
                    off.retain(|known| known != c);
                    if minus { &mut off } else { &mut on }.push(c);
                }
                '-' if !minus => minus = true,
                ':' | ')' if !minus || !off.is_empty() => {
                    let minus = if minus { "-" } else { "" };
                    self.rest = &flags[at + 1..];
                    if c == ':' {
                        self.push_group(&format!("(?{on}{minus}{off}:"));
                    } else {
                        if self.atom != Atom::None && self.rest.starts_with(['*', '+', '?', '{']) {
                            return fail("repetition behind flags".to_owned());
                        }
                        if !on.is_empty() || !off.is_empty() {
                            let _ = write!(self.out, "(?{on}{minus}{off})");
                        }
                    }
                    return Ok(());
                }
                _ => break,
            }
        }
        let shown: String = self.rest.chars().take(4).collect();
        fail(format!("invalid or unsupported Perl syntax: `{shown}`"))
    }

    fn push_group(&mut self, text: &str) {
        self.end();
        self.levels.push(1);
        self.out.push_str(text);
    }

    /// A backslash outside of a class.
    fn escape(&mut self) -> Result<(), RegexError> {
        if let Some(quoted) = self.rest.strip_prefix("\\Q") {
            let (literal, rest) = quoted.split_once("\\E").unwrap_or((quoted, ""));
            for c in literal.chars() {
                self.begin(1);
                push_literal(&mut self.out, c);
            }
            self.rest = rest;
            return Ok(());
        }
        let known = match self.rest.as_bytes().get(1) {
            Some(b'A') => Some("\\A"),
            Some(b'z') => Some("\\z"),
            Some(b'b') => Some("(?-u:\\b)"),
            Some(b'B') => Some("(?-u:\\B)"),
            _ => None,
        };
        self.begin(1);
        if let Some(known) = known {
            self.out.push_str(known);
            self.skip(2);
            return Ok(());
        }
        if let Some(class) = self.class_escape()? {
            self.out.push_str(&class);
            return Ok(());
        }
        let c = self.char_escape()?;
        push_literal(&mut self.out, c);
        Ok(())
    }

    /// `\d`, `\s`, `\w`, `\p…` and their opposites, as classes written out; `None` where another
    /// escape is next.
    fn class_escape(&mut self) -> Result<Option<String>, RegexError> {
        let mut chars = self.rest.chars();
        chars.next();
        let ranges = match chars.next() {
            Some('d' | 'D') => "0-9",
            Some('s' | 'S') => "\\t\\n\\x0C\\r\\x20",
            Some('w' | 'W') => "0-9A-Za-z_",
            Some('p' | 'P') => return self.unicode_class().map(Some),
            _ => return Ok(None),
        };
        let not = if self.rest.as_bytes()[1].is_ascii_uppercase() {
            "^"
        } else {
            ""
        };
        self.skip(2);
        Ok(Some(format!("[{not}{ranges}]")))
    }

    /// `\pN`, `\p{Greek}`, `\p{^Greek}`, `\P…`: general categories and scripts.
    fn unicode_class(&mut self) -> Result<String, RegexError> {
        let mut negated = self.rest.starts_with("\\P");
        let body = &self.rest[2..];
        let (name, length) = match body.strip_prefix('{') {
            Some(braced) => match braced.split_once('}') {
                Some((name, _)) => (name, name.len() + 2),
                None => return fail("invalid character class range".to_owned()),
            },
            None => {
                let length = body.chars().next().map_or(0, char::len_utf8);
                (&body[..length], length)
            }
        };
        let plain = name.strip_prefix('^').unwrap_or(name);
        negated ^= plain.len() < name.len();
        let valid = plain.starts_with(|c: char| c.is_ascii_uppercase())
            && plain.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
        if !valid {
            return fail(format!("invalid character class range: `{name}`"));
        }
        let sign = if negated { 'P' } else { 'p' };
        let class = if plain.len() <= 2 || plain == "Any" {
            format!("\\{sign}{{{plain}}}")
        } else {
            format!("\\{sign}{{sc={plain}}}")
        };
        self.skip(2 + length);
        Ok(class)
    }

    /// An escape that stands for one character.
    fn char_escape(&mut self) -> Result<char, RegexError> {
        let before = self.rest;
        let mut chars = self.rest.chars().peekable();
        chars.next();
        let Some(c) = chars.next() else {
            return fail("trailing backslash at end of expression".to_owned());
        };
        let octal_follows = chars.peek().is_some_and(|c| ('0'..='7').contains(c));
        let value = match c {
            '0' => Some(octal(c, &mut chars)),
            '1'..='7' if octal_follows => Some(octal(c, &mut chars)),
            'x' => hexadecimal(&mut chars),
            'a' => Some(7),
            'f' => Some(12),
            'n' => Some(10),
            'r' => Some(13),
            't' => Some(9),
            'v' => Some(11),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(c as u32),
            _ => None,
        };
        let left: usize = chars.map(char::len_utf8).sum();
        self.rest = &before[before.len() - left..];
        match value.and_then(char::from_u32) {
            Some(c) => Ok(c),
            None => {
                let shown = &before[..before.len() - left];
                fail(format!("invalid escape sequence: `{shown}`"))
            }
        }
    }

    /// A class in brackets.
    fn class(&mut self) -> Result<(), RegexError> {
        let missing = || RegexError(String::from("missing closing ]"));
        self.skip(1);
        self.out.push('[');
        if self.rest.starts_with('^') {
            self.out.push('^');
            self.skip(1);
        }
        let mut first = true;
        loop {
            let c = self.peek().ok_or_else(missing)?;
            if c == ']' && !first {
                self.out.push(']');
                self.skip(1);
                return Ok(());
            }
            first = false;
            if self.rest.starts_with("[:")
                && let Some(end) = self.rest[2..].find(":]")
            {
                let name = &self.rest[..end + 4];
                let plain = self.rest[2..end + 2].trim_start_matches('^');
                if !POSIX.contains(&plain) || name.len() - plain.len() > 5 {
                    return fail(format!("invalid character class range: `{name}`"));
                }
                self.out.push_str(name);
                self.skip(name.len());
                continue;
            }
            if c == '\\'
                && let Some(class) = self.class_escape()?
            {
                self.out.push_str(&class);
                continue;
            }
            let low = self.class_char()?;
            let mut high = low;
            if self.rest.len() >= 2 && self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.skip(1);
                high = self.class_char()?;
                if high < low {
                    return fail(format!("invalid character class range: `{low}-{high}`"));
                }
            }
            push_class_char(&mut self.out, low);
            if high > low {
                self.out.push('-');
                push_class_char(&mut self.out, high);
            }
        }
    }

    fn class_char(&mut self) -> Result<char, RegexError> {
        match self.peek() {
            None => fail("missing closing ]".to_owned()),
            Some('\\') => self.char_escape(),
            Some(c) => {
                self.skip(c.len_utf8());
                Ok(c)
            }
        }
    }
}

/// The names of classes like `[:alpha:]`.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

fn push_literal(out: &mut String, c: char) {
    if regex_syntax::is_meta_character(c) {
        out.push('\\');
    }
    out.push(c);
}

/// Nothing in a class is left to be special: `&&`, `~~`, `--`, `[` and `^` are but characters.
fn push_class_char(out: &mut String, c: char) {
    if c.is_alphanumeric() {
        out.push(c);
    } else {
        let _ = write!(out, "\\x{{{:X}}}", c as u32);
    }
}

/// The least and the most of `{n}`, `{n,}`, `{n,m}`, and the length of it; `None` where the text
/// is no repeat.
fn repeat_count(text: &str) -> Option<(u32, Option<u32>, usize)> {
    let body = text.strip_prefix('{')?;
    let (body, _) = body.split_once('}')?;
    let number = |digits: &str| {
        let valid = !digits.is_empty()
            && digits.bytes().all(|c| c.is_ascii_digit())
            && (digits.len() == 1 || !digits.starts_with('0'));
        valid.then(|| digits.parse::<u32>().unwrap_or(u32::MAX))
    };
    let (min, max) = match body.split_once(',') {
        None => {
            let count = number(body)?;
            (count, Some(count))
        }
        Some((min, "")) => (number(min)?, None),
        Some((min, max)) => (number(min)?, Some(number(max)?)),
    };
    Some((min, max, body.len() + 2))
}

/// Up to three octal digits, of which the first is taken.
fn octal(first: char, chars: &mut Peekable<Chars<'_>>) -> u32 {
    let mut value = first.to_digit(8).unwrap_or(0);
    for _ in 0..2 {
        match chars.next_if(|c| ('0'..='7').contains(c)) {
            Some(digit) => value = value * 8 + digit.to_digit(8).unwrap_or(0),
            None => break,
        }
    }
    value
}

/// `41` or `{10FFFF}`, behind `\x`.
fn hexadecimal(chars: &mut Peekable<Chars<'_>>) -> Option<u32> {
    if chars.next_if_eq(&'{').is_none() {
        let (high, low) = (chars.next()?.to_digit(16)?, chars.next()?.to_digit(16)?);
        return Some(high * 16 + low);
    }
    let (mut value, mut digits) = (0u32, 0);
    loop {
        match chars.next()? {
            '}' => return (digits > 0).then_some(value),
            c => {
                value = value.checked_mul(16)?.checked_add(c.to_digit(16)?)?;
                digits += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Patterns with values that Go's `regexp` matches and does not match.
    #[test]
    fn answers_as_go_does() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            (r"\w+", &["az_09"], &["é", "ſ"]),
            (r"\W", &["é", "-"], &["a"]),
            (r"\d", &["7"], &["٣"]),
            (r"\D", &["٣"], &["7"]),
            (r"\s", &[" ", "\t", "\n", "\x0c", "\r"], &["\x0b", "\u{a0}"]),
            (r"\S", &["\x0b", "\u{a0}"], &[" "]),
            (r"[\w-]+", &["a-b"], &["é"]),
            (r"[^\d]", &["é"], &["1"]),
            (r"[\Wa]", &["é", "a"], &["b"]),
            (r"é\b.*", &[], &["é", "é "]),
            (r"é\B.*", &["é", "é "], &["éa"]),
            (r"[a&&b]", &["a", "b", "&"], &["c"]),
            (r"[a~~b]", &["~", "a"], &["c"]),
            (r"[+--a]", &["+", ",", "-", "a"], &["."]),
            (r"[[a]", &["[", "a"], &["]"]),
            (r"[]a]", &["]", "a"], &["[", "]a"]),
            (r"[^]a]", &["b"], &["]", "a"]),
            (r"[a-]", &["a", "-"], &["b"]),
            (r"[\d-z]", &["1", "-", "z"], &["a"]),
            (r"[[:alpha:]_]+", &["ab_"], &["a1", "é"]),
            (r"[[:^alpha:]]", &["1", "é"], &["a"]),
            (r"[[:space:]]", &["\x0b", " "], &["a"]),
            (r"/users/{id}", &["/users/{id}"], &["/users/id"]),
            (r"a{,2}", &["a{,2}"], &["a", "aa"]),
            (r"a{2,3}", &["aa", "aaa"], &["a", "a{2,3}"]),
            (r"a{02}", &["a{02}"], &["aa"]),
            (r"{", &["{"], &[]),
            (r"a{2}{", &["aa{"], &[]),
            (r"\Qa.b*\E+", &["a.b*", "a.b**"], &["aXb*"]),
            (r"\Qa.b", &["a.b"], &["aXb"]),
            (r"\<a\>", &["<a>"], &["a"]),
            (r"\07", &["\x07"], &[]),
            (r"\12", &["\n"], &[]),
            (r"\x41\x{e9}", &["Aé"], &[]),
            (r"\_\-\/\#\ ", &["_-/# "], &[]),
            (r"a # b", &["a # b"], &["a"]),
            (r"(?i)straße", &["STRAßE"], &["strasse"]),
            (r"(?i:a)b", &["Ab"], &["aB"]),
            (r"(?)a(?ii)b", &["aB"], &["AB"]),
            (r"(?P<x>a)(?<y>b)", &["ab"], &[]),
            (r"a.b", &["a\nb"], &[]),
            (r"(?-s)a.b", &["axb"], &["a\nb"]),
            (r"^a$|b", &["a", "b"], &[]),
            (r"a*?", &["", "aa"], &[]),
            (r"\pL\p{Greek}\P{Lu}\p{^Lu}", &["xαyz"], &["1αyz"]),
            (r"a||b", &["", "a", "b"], &[]),
            (r"(a{2}){3}", &["aaaaaa"], &[]),
            (r"\w{1,30}", &["abc"], &["", "é"]),
            (r"[\x00-\x7f]", &["a"], &["é"]),
            (r"a]b}", &["a]b}"], &[]),
        ];
        for (text, matched, unmatched) in cases {
            let regex = compile_anchored(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            for value in *matched {
                assert!(regex.is_match(value), "{text} on {value:?}");
            }
            for value in *unmatched {
                assert!(!regex.is_match(value), "{text} on {value:?}");
            }
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in [
            "(?x)a",
            r"\u0061",
            "a**",
            "a+*",
            "a???",
            "a{2}{3}",
            "*a",
            "(*a)",
            "|*",
            "a{1001}",
            "a{3,2}",
            "(a{100}){100}",
            "a{99999999999}",
            r"\8",
            r"\1",
            r"\y",
            r"\C",
            r"\Z",
            r"\é",
            r"[\b]",
            r"[a-\d]",
            "[z-a]",
            "[a",
            "[[:foo:]]",
            r"\x{}",
            r"\x4",
            r"\x{110000}",
            "(a",
            "a)",
            "(?P<>a)",
            "(?P<a-b>c)",
            "(?=a)",
            "(?<=a)b",
            "(?-)",
            "(?i-)",
            r"\p{sc=Greek}",
            r"\pé",
            "\\",
        ] {
            assert!(compile_anchored(text).is_err(), "{text}");
        }
    }
}
