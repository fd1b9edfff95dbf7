//! What errors may not show: a line, a flag or a variable that speaks of a secret. Rather too much
//! is held back than too little.

/// Words by which the name of a secret is known.
const WORDS: [&str; 6] = ["secret", "key", "password", "passwd", "token", "credential"];

/// Whether a text mentions a secret.
pub(crate) fn names_secret(text: &str) -> bool {
    let text = text.to_lowercase();
    WORDS.iter().any(|word| text.contains(word))
}

/// Whether a line (from 1) of a file may hold a secret: it mentions one, or goes on with the value
/// of a key above it that does.
pub(super) fn may_hold_secret(text: &str, line: usize) -> bool {
    // The indentation of the key whose value is being read.
    let mut open: Option<usize> = None;
    for line in text.lines().take(line) {
        let content = line.trim_start();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let indent = line.len() - content.len();
        if is_key(content) && open.is_some_and(|above| indent <= above) {
            open = None;
        }
        if open.is_none() && names_secret(content) {
            open = Some(indent);
        }
    }
    open.is_some()
}

/// Whether a line begins with a key such as there are in a configuration.
fn is_key(content: &str) -> bool {
    let name = content.split_once(':').map(|(name, _)| name);
    name.is_some_and(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
}

/// An assignment as errors show it: where it mentions a secret, its value is left out.
pub(crate) fn without_secret(assignment: &str) -> String {
    if !names_secret(assignment) {
        return assignment.to_owned();
    }
    let end = assignment.find(|c: char| c == '=' || c == ':' || c.is_whitespace());
    match end {
        Some(end) => format!("{}=***", &assignment[..end]),
        None => assignment.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_go_on_for_lines() {
        let text = "log:\n  level: info\nstorage:\n  bucket:\n    secret_access_key: |\n      a\n\n    B: other form\n    region: x\n# a key\n  wal: {}\n";
        let held: Vec<usize> = (1..=11)
            .filter(|line| may_hold_secret(text, *line))
            .collect();
        assert_eq!(held, [5, 6, 7, 8]);
    }

    #[test]
    fn values_are_left_out() {
        let check = |text: &str, shown: &str| assert_eq!(without_secret(text), shown);
        check("limits.max_series=5", "limits.max_series=5");
        check("a.secret_access_key=b=c", "a.secret_access_key=***");
        check("a.Password x", "a.Password=***");
        check("overrides={a: {token: b}}", "overrides=***");
        check("a.token", "a.token");
    }
}
