//! Label matchers, with the shortcuts that spare a regular expression.

use std::fmt;
use std::sync::Arc;

use regex::Regex;

use crate::go_regex::{self, RegexError};

/// The longest pattern of a matcher, in bytes.
pub const MAX_PATTERN_BYTES: usize = 64 << 10;
/// How much of a pattern an error shows, in characters.
const MAX_SHOWN_CHARS: usize = 256;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

/// One label matcher. A series without the label is matched as if its value were empty.
#[derive(Clone)]
pub struct Matcher {
    /// The label's name.
    pub name: Arc<str>,
    /// How the value is compared.
    pub op: MatchOp,
    /// The value or pattern, as written.
    pub value: Arc<str>,
    pattern: Option<Arc<Pattern>>,
}

/// Why a matcher can't be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    /// The pattern is longer than [`MAX_PATTERN_BYTES`].
    #[error("regular expression of {0} bytes on label {1:?}; the limit is {MAX_PATTERN_BYTES}")]
    TooLong(usize, String),
    /// The pattern does not parse, or compiles to more than is allowed.
    #[error("invalid regular expression on label {0:?}: {1}")]
    Syntax(String, String),
}

impl Matcher {
    /// Makes a matcher; regular expressions are anchored at both ends, as in Prometheus.
    ///
    /// # Errors
    /// Where a pattern is too long, does not parse, or would compile to too much.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, MatcherError> {
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(Arc::new(Pattern::compile(name, value)?)),
        };
        Ok(Self {
            name: Arc::from(name),
            op,
            value: Arc::from(value),
            pattern,
        })
    }

    /// Makes a matcher of exactly these values, as a regular expression would be; of any number, as
    /// nothing is compiled.
    pub fn one_of<'v>(name: &str, values: impl IntoIterator<Item = &'v str>) -> Self {
        let mut values: Vec<String> = values.into_iter().map(str::to_owned).collect();
        values.sort_unstable();
        values.dedup();
        let escaped: Vec<String> = values.iter().map(|value| regex::escape(value)).collect();
        Self {
            name: Arc::from(name),
            op: MatchOp::Regex,
            value: Arc::from(escaped.join("|")),
            pattern: Some(Arc::new(Pattern::Literals(values))),
        }
    }

    /// Whether a value satisfies the matcher.
    pub fn matches(&self, value: &str) -> bool {
        match (&self.pattern, self.op) {
            (Some(pattern), MatchOp::NotRegex) => !pattern.is_match(value),
            (Some(pattern), _) => pattern.is_match(value),
            (None, MatchOp::NotEqual) => *self.value != *value,
            (None, _) => *self.value == *value,
        }
    }

    /// Whether a series without the label satisfies the matcher.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// Whether this is `!=` or `!~`.
    pub fn is_negative(&self) -> bool {
        matches!(self.op, MatchOp::NotEqual | MatchOp::NotRegex)
    }

    /// The shape of the pattern; `None` for `=` and `!=`.
    pub fn pattern(&self) -> Option<&Pattern> {
        self.pattern.as_deref()
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl std::hash::Hash for Matcher {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.name, self.op, &self.value).hash(state);
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        if crate::labels::is_legacy_label_name(&self.name) {
            write!(out, "{}{op}{:?}", self.name, self.value)
        } else {
            write!(out, "{:?}{op}{:?}", self.name, self.value)
        }
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// An anchored regular expression, taken apart as far as an index can use it.
#[derive(Debug)]
pub enum Pattern {
    /// `.*`: everything, the empty value too.
    Everything,
    /// `.+`: everything but the empty value.
    NonEmpty,
    /// A literal, or an alternation of literals: exactly these values, sorted.
    Literals(Vec<String>),
    /// `literal.*`: all values that begin so.
    Prefix(String),
    /// Anything else.
    Other {
        /// What every match begins with; may be empty.
        prefix: String,
        /// The compiled expression.
        regex: Regex,
    },
}

impl Pattern {
    fn compile(name: &str, text: &str) -> Result<Self, MatcherError> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(MatcherError::TooLong(text.len(), name.to_owned()));
        }
        let syntax = |e: RegexError| {
            let shown: String = text.chars().take(MAX_SHOWN_CHARS).collect();
            MatcherError::Syntax(name.to_owned(), format!("{shown:?}: {e}"))
        };
        let translated = go_regex::translate(text).map_err(syntax)?;
        let mut parser = regex_syntax::ParserBuilder::new()
            .dot_matches_new_line(true)
            .nest_limit(go_regex::MAX_NESTING)
            .build();
        let hir = parser
            .parse(&translated)
            .map_err(|e| syntax(RegexError::of(&e)))?;
        if let Some(simple) = shape::simple(&hir) {
            return Ok(simple);
        }
        let regex = go_regex::build(&translated).map_err(syntax)?;
        let prefix = shape::prefix(&hir);
        Ok(Self::Other { prefix, regex })
    }

    /// Whether the whole of `value` matches.
    pub fn is_match(&self, value: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::NonEmpty => !value.is_empty(),
            Self::Literals(all) => all.binary_search_by(|one| one.as_str().cmp(value)).is_ok(),
            Self::Prefix(prefix) => value.starts_with(prefix.as_str()),
            Self::Other { prefix, regex } => {
                value.starts_with(prefix.as_str()) && regex.is_match(value)
            }
        }
    }
}

/// Reads from a parsed expression what an index can use instead of running it.
mod shape {
    use regex_syntax::hir::{Class, Hir, HirKind, Repetition};

    use super::Pattern;

    /// How many literals an alternation may have.
    const MAX_LITERALS: usize = 16 << 10;
    /// How many literals may come of parts that multiply, such as `(?i)` and classes.
    const MAX_PRODUCT: usize = 1024;
    /// How long all literals may be together, in bytes.
    const MAX_LITERAL_BYTES: usize = 1 << 20;

    pub(super) fn simple(hir: &Hir) -> Option<Pattern> {
        if let Some(min) = any_run(hir) {
            return match min {
                0 => Some(Pattern::Everything),
                1 => Some(Pattern::NonEmpty),
                _ => None,
            };
        }
        if let Some(mut literals) = literals(hir) {
            literals.sort();
            literals.dedup();
            return Some(Pattern::Literals(literals));
        }
        if let HirKind::Concat(parts) = hir.kind()
            && let [head, tail] = parts.as_slice()
            && any_run(tail) == Some(0)
            && let Some(prefix) = one_literal(head)
        {
            return Some(Pattern::Prefix(prefix));
        }
        None
    }

    pub(super) fn prefix(hir: &Hir) -> String {
        match hir.kind() {
            HirKind::Literal(_) => one_literal(hir).unwrap_or_default(),
            HirKind::Capture(group) => prefix(&group.sub),
            HirKind::Concat(parts) => parts.first().map(prefix).unwrap_or_default(),
            _ => String::new(),
        }
    }

    /// `.*` and `.+`, captured or not: the least number of characters.
    fn any_run(hir: &Hir) -> Option<u32> {
        match hir.kind() {
            HirKind::Capture(group) => any_run(&group.sub),
            HirKind::Repetition(Repetition {
                min,
                max: None,
                sub,
                ..
            }) if *min <= 1 => is_any_char(sub).then_some(*min),
            _ => None,
        }
    }

    fn is_any_char(hir: &Hir) -> bool {
        match hir.kind() {
            HirKind::Class(Class::Unicode(class)) => {
                let covered = class.iter().map(|r| r.len()).sum::<usize>();
                covered >= 0x0011_0000 - 0x800
            }
            HirKind::Capture(group) => is_any_char(&group.sub),
            _ => false,
        }
    }

    fn one_literal(hir: &Hir) -> Option<String> {
        match hir.kind() {
            HirKind::Literal(literal) => String::from_utf8(literal.0.to_vec()).ok(),
            HirKind::Capture(group) => one_literal(&group.sub),
            _ => None,
        }
    }

    fn bytes(all: &[String]) -> usize {
        all.iter().map(String::len).sum()
    }

    /// All texts the expression can match, where they are few.
    fn literals(hir: &Hir) -> Option<Vec<String>> {
        match hir.kind() {
            HirKind::Empty => Some(vec![String::new()]),
            HirKind::Literal(_) => one_literal(hir).map(|text| vec![text]),
            HirKind::Capture(group) => literals(&group.sub),
            HirKind::Class(Class::Unicode(class)) => {
                let count: usize = class.iter().map(|r| r.len()).sum();
                if count > 64 {
                    return None;
                }
                let chars = class.iter().flat_map(|r| r.start()..=r.end());
                Some(chars.map(String::from).collect())
            }
            HirKind::Repetition(Repetition {
                min: 0,
                max: Some(1),
                sub,
                ..
            }) => {
                let mut all = literals(sub)?;
                all.push(String::new());
                Some(all)
            }
            HirKind::Alternation(parts) => {
                let mut all = Vec::new();
                for part in parts {
                    all.extend(literals(part)?);
                    if all.len() > MAX_LITERALS {
                        return None;
                    }
                }
                Some(all)
            }
            HirKind::Concat(parts) => {
                let mut all = vec![String::new()];
                for part in parts {
                    let tails = literals(part)?;
                    let product = all.len() * tails.len();
                    let multiplies = all.len() > 1 && tails.len() > 1;
                    let bytes = bytes(&all) * tails.len() + bytes(&tails) * all.len();
                    if product > MAX_LITERALS
                        || (multiplies && product > MAX_PRODUCT)
                        || bytes > MAX_LITERAL_BYTES
                    {
                        return None;
                    }
                    let join = |head: &String| {
                        let head = head.clone();
                        tails
                            .iter()
                            .map(move |tail| format!("{head}{tail}"))
                            .collect::<Vec<_>>()
                    };
                    all = all.iter().flat_map(join).collect();
                }
                Some(all)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_many_values_matches_as_a_pattern_of_them_would() {
        let values = ["b:1", "a.c", "a.c", ""];
        let matcher = Matcher::one_of("l", values);
        let pattern = Matcher::new("l", MatchOp::Regex, &matcher.value).unwrap();
        for value in ["a.c", "abc", "b:1", "b", "", "a.c|b:1"] {
            assert_eq!(matcher.matches(value), values.contains(&value), "{value}");
            assert_eq!(pattern.matches(value), matcher.matches(value), "{value}");
        }
        let many: Vec<String> = (0..100_000).map(|n| n.to_string()).collect();
        let matcher = Matcher::one_of("l", many.iter().map(String::as_str));
        assert!(matcher.matches("99999") && !matcher.matches("100000"));
    }

    #[test]
    fn takes_patterns_apart() {
        let check = |text: &str, expected: &str| {
            let matcher = Matcher::new("l", MatchOp::Regex, text).unwrap();
            let shown = match matcher.pattern().unwrap() {
                Pattern::Other { prefix, .. } => format!("Other({prefix:?})"),
                simple => format!("{simple:?}"),
            };
            assert_eq!(shown, expected, "{text}");
        };
        check(".*", "Everything");
        check("(.*)", "Everything");
        check(".+", "NonEmpty");
        check("abc", "Literals([\"abc\"])");
        check("b|a", "Literals([\"a\", \"b\"])");
        check("foo(bar|baz)", "Literals([\"foobar\", \"foobaz\"])");
        check("a[bc]?", "Literals([\"a\", \"ab\", \"ac\"])");
        check("", "Literals([\"\"])");
        check("foo.*", "Prefix(\"foo\")");
        check("foo.+", "Other(\"foo\")");
        check("foo.*bar", "Other(\"foo\")");
        check(
            "(?i)foo",
            "Literals([\"FOO\", \"FOo\", \"FoO\", \"Foo\", \"fOO\", \"fOo\", \"foO\", \"foo\"])",
        );
    }

    #[test]
    fn agrees_with_the_plain_expression() {
        let patterns = [
            ".*", ".+", "a|b", "a.*", "a.+c", "(a|b)?c", "[ab]c", "", "a{2,3}", "^a$", "a|",
            "a\\.b", "(?i)ab",
        ];
        let values = [
            "", "a", "b", "c", "ac", "bc", "abc", "aa", "aaa", "a\nb", "a.b", "AB", "\n",
        ];
        for text in patterns {
            let matcher = Matcher::new("l", MatchOp::Regex, text).unwrap();
            let plain = Regex::new(&format!("^(?s:{text})$")).unwrap();
            for value in values {
                assert_eq!(
                    matcher.matches(value),
                    plain.is_match(value),
                    "{text} on {value:?}"
                );
            }
        }
    }

    #[test]
    fn long_alternations_stay_literals() {
        let hosts = |n: usize| -> Vec<String> {
            (0..n).map(|i| format!("host-{i:05}.example.org")).collect()
        };
        for count in [140, 2000] {
            let matcher = Matcher::new(
                "l",
                MatchOp::Regex,
                &hosts(count).join("|").replace('.', "\\."),
            )
            .unwrap();
            let Pattern::Literals(all) = matcher.pattern().unwrap() else {
                panic!("no literals of {count}");
            };
            assert_eq!(*all, hosts(count));
        }
        let text = format!("({})-.*", hosts(140).join("|"));
        let matcher = Matcher::new("l", MatchOp::Regex, &text).unwrap();
        assert!(matcher.matches("host-00007.example.org-x"));
        let matcher = Matcher::new("l", MatchOp::Regex, "/users/{id}").unwrap();
        assert!(matches!(matcher.pattern(), Some(Pattern::Literals(_))));
    }

    #[test]
    fn refuses_what_would_explode() {
        for text in [
            "(((((a{100}){100}){100}){100}){100})",
            "\\pL{5000}",
            &"(".repeat(500),
            "a**b(",
            &"a".repeat(MAX_PATTERN_BYTES + 1),
        ] {
            assert!(Matcher::new("l", MatchOp::Regex, text).is_err(), "{text}");
        }
    }
}
