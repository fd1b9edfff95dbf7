//! Label names in a path: `U__http_2e_status` stands for `http.status`.

/// Reads the escaped form. A text without the prefix, or one that is not well formed, means
/// itself.
pub(crate) fn unescape(text: &str) -> String {
    let Some(escaped) = text.strip_prefix("U__") else {
        return text.to_owned();
    };
    decode(escaped).unwrap_or_else(|| text.to_owned())
}

fn decode(escaped: &str) -> Option<String> {
    let mut out = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if let Some(after) = tail.strip_prefix('_') {
            // Doubled: itself.
            out.push('_');
            rest = after;
            continue;
        }
        let (code, after) = tail.split_once('_')?;
        if code.is_empty()
            || code.len() > 6
            || !code
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        {
            return None;
        }
        out.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn reads_escapes() {
        let check = |text: &str, expected: &str| assert_eq!(unescape(text), expected);
        check("job", "job");
        check("U__http_2e_status__code", "http.status_code");
        check("U___e4_", "ä");
        check("U__plain", "plain");
        check("U__broken_zz_", "U__broken_zz_");
        check("U__open_2e", "U__open_2e");
        check("U___d800_", "U___d800_");
        check("U__a_1f600_b", "a😀b");
        check("U__", "");
    }
}
