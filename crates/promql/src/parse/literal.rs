//! Literals: strings as Go quotes them, numbers, durations.

/// Decodes the string literal at the start of `text`; returns it and its length in bytes.
pub(crate) fn parse_string(text: &str) -> Result<(String, usize), String> {
    let quote = text.chars().next().ok_or("unterminated quoted string")?;
    let body = &text[1..];
    if quote == '`' {
        let end = body.find('`').ok_or("unterminated raw string")?;
        return Ok((body[..end].to_owned(), end + 2));
    }
    let mut bytes = Vec::new();
    let mut chars = body.char_indices();
    loop {
        let (at, c) = chars.next().ok_or("unterminated quoted string")?;
        match c {
            c if c == quote => {
                let decoded =
                    String::from_utf8(bytes).map_err(|_| "string is not valid UTF-8".to_owned())?;
                return Ok((decoded, at + 2));
            }
            '\n' => return Err("unterminated quoted string".to_owned()),
            '\\' => escape(&mut chars, quote, &mut bytes)?,
            c => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Decodes what follows a backslash.
fn escape(
    chars: &mut std::str::CharIndices<'_>,
    quote: char,
    bytes: &mut Vec<u8>,
) -> Result<(), String> {
    let (_, c) = chars.next().ok_or("escape sequence not terminated")?;
    let simple = match c {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        c if c == quote => c as u8,
        'x' => {
            let value = digits(chars, 0, 2, 16)?;
            u8::try_from(value).map_err(|_| "escape sequence is an invalid byte".to_owned())?
        }
        '0'..='7' => {
            let value = digits(chars, c as u32 - '0' as u32, 2, 8)?;
            u8::try_from(value).map_err(|_| "escape sequence is an invalid byte".to_owned())?
        }
        'u' | 'U' => {
            let value = digits(chars, 0, if c == 'u' { 4 } else { 8 }, 16)?;
            let c =
                char::from_u32(value).ok_or("escape sequence is an invalid Unicode code point")?;
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(());
        }
        c => {
            let code = u32::from(c);
            return Err(format!("unknown escape sequence U+{code:04X} '{c}'"));
        }
    };
    bytes.push(simple);
    Ok(())
}

fn digits(
    chars: &mut std::str::CharIndices<'_>,
    first: u32,
    count: usize,
    radix: u32,
) -> Result<u32, String> {
    let mut value = first;
    for _ in 0..count {
        let (_, c) = chars.next().ok_or("escape sequence not terminated")?;
        let digit = c
            .to_digit(radix)
            .ok_or("illegal character in escape sequence")?;
        value = value.wrapping_mul(radix).wrapping_add(digit);
    }
    Ok(value)
}

/// How many bytes at the start of `text` belong to one number or duration.
pub(crate) fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let hex = bytes.len() > 1 && bytes[0] == b'0' && matches!(bytes[1], b'x' | b'X');
    let mut at = 0;
    while at < bytes.len() {
        let c = bytes[at];
        let exponent_sign = matches!(c, b'+' | b'-')
            && !hex
            && at > 0
            && matches!(bytes[at - 1], b'e' | b'E')
            && bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
        if !(c.is_ascii_alphanumeric() || c == b'.' || c == b'_' || exponent_sign) {
            break;
        }
        at += 1;
    }
    at
}

/// Reads a number as Go does: decimal, hexadecimal, octal with a leading zero, `Inf`, `NaN`;
/// underscores may stand between digits.
pub(crate) fn parse_number(word: &str) -> Option<f64> {
    let lower = without_underscores(&word.to_ascii_lowercase())?;
    if let Some(hex) = lower.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok().map(|value| value as f64);
    }
    let octal = lower.len() > 1 && lower.starts_with('0');
    if octal && lower.bytes().all(|c| (b'0'..=b'7').contains(&c)) {
        return i64::from_str_radix(&lower, 8)
            .ok()
            .map(|value| value as f64);
    }
    match lower.as_str() {
        "inf" | "+inf" => Some(f64::INFINITY),
        "-inf" => Some(f64::NEG_INFINITY),
        "nan" => Some(f64::NAN),
        _ if lower
            .bytes()
            .all(|c| c.is_ascii_digit() || matches!(c, b'.' | b'e' | b'+' | b'-')) =>
        {
            lower.parse().ok()
        }
        _ => None,
    }
}

/// Takes out underscores, each of which must stand between two digits.
fn without_underscores(lower: &str) -> Option<String> {
    let bytes = lower.as_bytes();
    let hex = lower.starts_with("0x");
    let digit = |at: Option<usize>| {
        let c = at.and_then(|at| bytes.get(at));
        c.is_some_and(|c| c.is_ascii_digit() || (hex && c.is_ascii_alphanumeric()))
    };
    let apart = |(at, _): (usize, char)| digit(at.checked_sub(1)) && digit(Some(at + 1));
    let mut underscores = lower.char_indices().filter(|(_, c)| *c == '_');
    underscores.all(apart).then(|| lower.replace('_', ""))
}

/// Whether a word looks like a duration, if perhaps one of wrong units or too long.
pub(crate) fn is_duration(word: &str) -> bool {
    let starts = word.starts_with(|c: char| c.is_ascii_digit());
    let known = |c: char| c.is_ascii_digit() || "smhdwy".contains(c);
    starts && word.chars().all(known) && word.ends_with(|c: char| c.is_ascii_alphabetic())
}

/// Reads a float as label values have it: signs and infinities allowed, nothing else than Go takes.
pub(crate) fn parse_float(word: &str) -> Option<f64> {
    match word.strip_prefix(['+', '-']) {
        Some(rest) if rest.starts_with(['+', '-']) => None,
        Some(rest) if word.starts_with('-') => parse_unsigned_float(rest).map(|value| -value),
        Some(rest) => parse_unsigned_float(rest),
        None => parse_unsigned_float(word),
    }
}

fn parse_unsigned_float(word: &str) -> Option<f64> {
    match word.to_ascii_lowercase().as_str() {
        "inf" | "infinity" => Some(f64::INFINITY),
        "nan" => Some(f64::NAN),
        word if word.starts_with(|c: char| c.is_ascii_digit() || c == '.') => word.parse().ok(),
        _ => None,
    }
}

/// Units of durations, in the order in which they must come, in milliseconds.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads a duration such as `1h30m`, in milliseconds.
pub fn parse_duration_ms(word: &str) -> Option<i64> {
    let (mut rest, mut total, mut next_unit) = (word, 0i64, 0);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let found = UNITS[next_unit..]
            .iter()
            .position(|(unit, _)| *unit == &rest[..end])?;
        total = total.checked_add(count.checked_mul(UNITS[next_unit + found].1)?)?;
        next_unit += found + 1;
        rest = &rest[end..];
    }
    Some(total)
}

/// Writes a duration in its shortest form, as `1h30m`.
pub fn format_duration_ms(ms: i64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut text = if ms < 0 {
        "-".to_owned()
    } else {
        String::new()
    };
    let mut rest = ms.unsigned_abs();
    for (unit, size) in UNITS {
        let size = size.unsigned_abs();
        // Years and weeks only where nothing is left over: 90d reads better than 12w6d.
        let exact = unit == "y" || unit == "w";
        if rest < size || (exact && !rest.is_multiple_of(size)) {
            continue;
        }
        text.push_str(&format!("{}{unit}", rest / size));
        rest %= size;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print() {
        let check = |text: &str, ms: Option<i64>| assert_eq!(parse_duration_ms(text), ms, "{text}");
        check("5m", Some(300_000));
        check("1h30m", Some(5_400_000));
        check("1y2w3d4h5m6s7ms", Some(33_019_506_007));
        check("5", None);
        check("1m1h", None);
        check("99999999999999999999s", None);
        assert_eq!(format_duration_ms(5_400_000), "1h30m");
        assert_eq!(format_duration_ms(90 * 86_400_000), "90d");
        assert_eq!(format_duration_ms(14 * 86_400_000), "2w");
        assert_eq!(format_duration_ms(-1_500), "-1s500ms");
    }

    #[test]
    fn numbers_read_as_in_go() {
        let check = |text: &str, value: f64| assert_eq!(parse_number(text), Some(value), "{text}");
        check("0x1F", 31.0);
        check("0755", 493.0);
        check("0e5", 0.0);
        check("1e-3", 0.001);
        check(".5", 0.5);
        check("5.", 5.0);
        check("1_000_000", 1e6);
        check("0x_53_AB", 21_419.0);
        check(".123_4", 0.1234);
        assert_eq!(parse_number("1__0"), None);
        assert_eq!(parse_number("1_"), None);
        assert_eq!(parse_number("5m"), None);
    }

    #[test]
    fn strings_decode() {
        let check = |text: &str, decoded: &str| {
            assert_eq!(
                parse_string(text),
                Ok((decoded.to_owned(), text.len())),
                "{text}"
            );
        };
        check(r#""a\"b""#, "a\"b");
        check(r"`a\.b`", r"a\.b");
        check(r"'\x41\u00e4\101\n'", "AäA\n");
        assert!(parse_string("\"abc").is_err());
        assert!(parse_string(r#""\q""#).is_err());
        assert!(parse_string(r#""\xff""#).is_err());
    }
}
