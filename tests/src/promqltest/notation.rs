//! Series and their values as scripts write them: `metric{a="b"} 0+10x5 _ stale {{count:1}}`.

use super::literal;
use model::Labels;
use model::histogram::FloatHistogram;
use regex::Regex;
use std::sync::LazyLock;

/// One value of a series.
#[derive(Clone, Debug)]
pub enum Value {
    /// A float.
    Float(f64),
    /// The marker that the series has ended.
    Stale,
    /// A native histogram, and whether the script is explicit about its reset hint.
    Histogram(Box<FloatHistogram>, bool),
}

/// A series and a value for each step; `None` where there is none.
#[derive(Clone, Debug)]
pub struct Row {
    /// The labels.
    pub labels: Labels,
    /// The values.
    pub values: Vec<Option<Value>>,
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the patterns of this file are tested")
}

const NUMBER: &str = r"(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|(?i:inf|nan))";

static ITEM: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"^([+-]?{NUMBER})([+-]{NUMBER})?(?:x(\d+))?(?:\s|$)"
    ))
});
static GAP: LazyLock<Regex> = LazyLock::new(|| pattern(r"^_(?:x(\d+))?(?:\s|$)"));
static STALE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^stale(?:x(\d+))?(?:\s|$)"));
static TIMES: LazyLock<Regex> = LazyLock::new(|| pattern(r"^x(\d+)(?:\s|$)"));
static NAME: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[a-zA-Z_:][a-zA-Z0-9_:]*"));
static START: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^([+-]?\d+[a-wyz]*)([+-]\d+[a-wyz]*)?(?:x(\d+))?$"));
static AGAIN: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\*(?:x(\d+))?$"));
static SCALAR: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r"^[+-]?(?:0[xX][0-9a-fA-F]+|{NUMBER})$")));

/// Reads a number as scripts write it; `None` where the text is none.
pub fn parse_number(text: &str) -> Option<f64> {
    let text = text.trim();
    if !SCALAR.is_match(text) {
        return None;
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let hex = digits.strip_prefix("0x").or(digits.strip_prefix("0X"));
    let number = match hex {
        Some(hex) => u64::from_str_radix(hex, 16).ok()? as f64,
        None => digits.parse().ok()?,
    };
    Some(sign * number)
}

/// Reads a duration in milliseconds: `1h30m`, `50ms`, or a bare `0`; units in any order.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let bad = || format!("bad duration {text:?}");
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(0);
    }
    let mut total = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let count: i64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit());
        let (unit, next) = rest.split_at(letters.unwrap_or(rest.len()));
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            "y" => 31_536_000_000,
            _ => return Err(bad()),
        };
        total += count * unit_ms;
        rest = next;
    }
    if text.trim().is_empty() {
        return Err(bad());
    }
    Ok(total)
}

fn parse_signed_duration(text: &str) -> Result<i64, String> {
    match text.strip_prefix('-') {
        Some(rest) => Ok(-parse_duration(rest)?),
        None => parse_duration(text.strip_prefix('+').unwrap_or(text)),
    }
}

/// Decodes a quoted string at the start of `text`; returns it and how long it was.
pub fn unquote(text: &str) -> Result<(String, usize), String> {
    let bad = || format!("bad string at {text:?}");
    let quote = text.chars().next().ok_or_else(bad)?;
    if !matches!(quote, '"' | '\'' | '`') {
        return Err(bad());
    }
    let mut bytes = Vec::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Ok((String::from_utf8(bytes).map_err(|_| bad())?, at + 1));
        }
        if c != '\\' || quote == '`' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let (_, escaped) = chars.next().ok_or_else(bad)?;
        let mut digits = |first: &str, more: usize, radix| {
            let rest = chars.by_ref().take(more).map(|(_, c)| c);
            let digits: String = first.chars().chain(rest).collect();
            u32::from_str_radix(&digits, radix).map_err(|_| bad())
        };
        let c = match escaped {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'v' => '\x0b',
            '\\' | '"' | '\'' => escaped,
            'u' => char::from_u32(digits("", 4, 16)?).ok_or_else(bad)?,
            'U' => char::from_u32(digits("", 8, 16)?).ok_or_else(bad)?,
            'x' => {
                bytes.push(digits("", 2, 16)? as u8);
                continue;
            }
            '0'..='7' => {
                bytes.push(digits(&escaped.to_string(), 2, 8)? as u8);
                continue;
            }
            _ => return Err(bad()),
        };
        bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Err(bad())
}

/// Reads `name{label="value", …}` at the start of a line; returns the labels and what follows.
fn parse_metric(line: &str) -> Result<(Labels, &str), String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut rest = line.trim_start();
    if let Some(name) = NAME.find(rest) {
        pairs.push(("__name__".to_owned(), name.as_str().to_owned()));
        rest = &rest[name.end()..];
    }
    let after = rest.trim_start();
    if !after.starts_with('{') || after.starts_with("{{") {
        if pairs.is_empty() {
            return Err(format!("no metric in {line:?}"));
        }
        return Ok((Labels::from_pairs(pairs), rest));
    }
    rest = after[1..].trim_start();
    loop {
        if let Some(behind) = rest.strip_prefix('}') {
            return Ok((Labels::from_pairs(pairs), behind));
        }
        if let Some(behind) = rest.strip_prefix(',') {
            rest = behind.trim_start();
            continue;
        }
        let quoted = rest.starts_with(['"', '\'', '`']);
        let (name, length) = match NAME.find(rest) {
            Some(name) if !quoted => (name.as_str().to_owned(), name.end()),
            _ => unquote(rest)?,
        };
        rest = rest[length..].trim_start();
        if let Some(behind) = rest.strip_prefix('=') {
            let behind = behind.trim_start();
            let (value, length) = unquote(behind)?;
            pairs.push((name, value));
            rest = behind[length..].trim_start();
        } else if quoted {
            pairs.push(("__name__".to_owned(), name));
        } else {
            return Err(format!("label without a value at {rest:?}"));
        }
    }
}

/// Reads a line: a series and its values.
pub fn parse_row(line: &str) -> Result<Row, String> {
    let (labels, rest) = parse_metric(line)?;
    let values = parse_values(rest)?;
    Ok(Row { labels, values })
}

fn times(captured: Option<regex::Match<'_>>) -> Result<usize, String> {
    captured.map_or(Ok(0), |digits| {
        digits
            .as_str()
            .parse()
            .map_err(|_| format!("bad repetition {}", digits.as_str()))
    })
}

fn parse_values(text: &str) -> Result<Vec<Option<Value>>, String> {
    let mut values = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(found) = GAP.captures(rest) {
            let gaps = found.get(1).map_or(Ok(1), |_| times(found.get(1)))?;
            values.extend((0..gaps).map(|_| None));
            rest = &rest[found[0].len()..];
        } else if let Some(found) = STALE.captures(rest) {
            let markers = times(found.get(1))? + 1;
            values.extend((0..markers).map(|_| Some(Value::Stale)));
            rest = &rest[found[0].len()..];
        } else if rest.starts_with("{{") {
            rest = parse_histograms(rest, &mut values)?;
        } else if let Some(found) = ITEM.captures(rest) {
            let number =
                |text: &str| parse_number(text).ok_or_else(|| format!("bad number {text:?}"));
            let mut value = number(&found[1])?;
            let step = found.get(2).map_or(Ok(0.0), |step| number(step.as_str()))?;
            if found.get(2).is_some() && found.get(3).is_none() {
                return Err(format!("step without repetition: {}", &found[0]));
            }
            for _ in 0..=times(found.get(3))? {
                values.push(Some(Value::Float(value)));
                value += step;
            }
            rest = &rest[found[0].len()..];
        } else {
            return Err(format!("bad value at {rest:?}"));
        }
        rest = rest.trim_start();
    }
    Ok(values)
}

/// Reads `{{…}}`, `{{…}}xN` or `{{…}}+{{…}}xN` at the start of `text`; returns what follows.
fn parse_histograms<'a>(text: &'a str, values: &mut Vec<Option<Value>>) -> Result<&'a str, String> {
    let (mut histogram, mut explicit, mut rest) = literal::parse(text)?;
    let mut step = None;
    if let Some(sign @ ('+' | '-')) = rest.chars().next()
        && rest[1..].starts_with("{{")
    {
        let (increment, hinted, behind) = literal::parse(&rest[1..])?;
        step = Some((sign, increment));
        explicit = hinted;
        rest = behind;
    }
    let repeated = TIMES.captures(rest);
    if step.is_some() && repeated.is_none() {
        return Err(format!("histogram increment without repetition: {text:?}"));
    }
    let count = match &repeated {
        Some(found) => times(found.get(1))?,
        None => 0,
    };
    if let Some(found) = repeated {
        rest = &rest[found[0].len()..];
    }
    values.push(Some(Value::Histogram(
        Box::new(histogram.clone()),
        explicit,
    )));
    for _ in 0..count {
        let sum = match &step {
            Some(('+', increment)) => histogram.add(increment),
            Some((_, increment)) => histogram.sub(increment),
            None => Ok(Default::default()),
        };
        sum.map_err(|error| error.to_string())?;
        values.push(Some(Value::Histogram(
            Box::new(histogram.clone()),
            explicit,
        )));
    }
    Ok(rest)
}

/// Whether a line of a `load` gives start timestamps: to the line that follows, or to all that
/// follow.
pub fn is_start_row(line: &str) -> bool {
    let rest = parse_metric(line).map_or(line.trim_start(), |(_, rest)| rest);
    rest.starts_with("@st")
}

/// Reads such a line: for each step how far from the sample its start lies, in milliseconds;
/// without labels where it is for all lines.
pub fn parse_start_row(line: &str) -> Result<(Option<Labels>, Vec<Option<i64>>), String> {
    let (labels, rest) = match parse_metric(line) {
        Ok((labels, rest)) => (Some(labels), rest),
        Err(_) => (None, line.trim_start()),
    };
    let rest = rest.strip_prefix("@st").ok_or("no @st")?;
    let mut starts: Vec<Option<i64>> = Vec::new();
    for item in rest.split_whitespace() {
        if let Some(found) = GAP.captures(item) {
            let gaps = found.get(1).map_or(Ok(1), |_| times(found.get(1)))?;
            starts.extend((0..gaps).map(|_| None));
            continue;
        }
        if let Some(found) = AGAIN.captures(item) {
            let last = starts.iter().rev().find_map(|start| *start).unwrap_or(0);
            starts.extend((0..=times(found.get(1))?).map(|_| Some(last)));
            continue;
        }
        let found = START
            .captures(item)
            .ok_or_else(|| format!("bad start {item:?}"))?;
        let mut offset = parse_signed_duration(&found[1])?;
        let step = found
            .get(2)
            .map_or(Ok(0), |step| parse_signed_duration(step.as_str()))?;
        for _ in 0..=times(found.get(3))? {
            starts.push(Some(offset));
            offset += step;
        }
    }
    Ok((labels, starts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(line: &str) -> String {
        let row = parse_row(line).expect("the line is good");
        let value = |value: &Option<Value>| match value {
            None => "_".to_owned(),
            Some(Value::Stale) => "stale".to_owned(),
            Some(Value::Float(v)) => v.to_string(),
            Some(Value::Histogram(h, _)) => format!("h{}", h.count),
        };
        let values: Vec<_> = row.values.iter().map(value).collect();
        format!("{} {}", row.labels, values.join(" "))
    }

    #[test]
    fn rows_unfold() {
        let check = |line: &str, unfolded: &str| assert_eq!(floats(line), unfolded, "{line}");
        check(
            "m 1+2x2 _x2 -0.5x1 Inf NaN stale",
            "m 1 3 5 _ _ -0.5 -0.5 inf NaN stale",
        );
        check("m{a=\"b c\"} 1e2-1x1", "m{a=\"b c\"} 100 99");
        check(
            "{\"odd name\", x='y'} 7",
            "{__name__=\"odd name\", x=\"y\"} 7",
        );
        check("{} {{count:1}}+{{count:2}}x2 _", "{} h1 h3 h5 _");
        check("m {{count:1}}x1 {{count:4}}", "m h1 h1 h4");
        assert!(parse_row("m 1+2").is_err());
        assert!(parse_row("m 1x").is_err());
    }

    #[test]
    fn starts_unfold() {
        assert!(is_start_row("m{a=\"b\"}@st -1m _"));
        assert!(!is_start_row("m{a=\"@st\"} 1"));
        let (_, starts) = parse_start_row("m@st _x2 -30s-1mx1 0").expect("the line is good");
        assert_eq!(starts, [None, None, Some(-30_000), Some(-90_000), Some(0)]);
        assert!(is_start_row("@st -1m"));
        let (labels, starts) = parse_start_row("@st * -1s _ *x1").expect("the line is good");
        assert_eq!(labels, None);
        assert_eq!(
            starts,
            [Some(0), Some(-1000), None, Some(-1000), Some(-1000)]
        );
    }
}
