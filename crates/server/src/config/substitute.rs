//! `${VAR}` and `${VAR:default}` in the text of a configuration file.

/// A reference that can't be replaced, by its line (from 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SubstituteError {
    pub(super) line: usize,
    pub(super) message: String,
}

/// Replaces every reference by the variable's value, or by its default where the variable is
/// unset or empty. `$$` stands for one dollar sign. Comments are left alone. Lines keep their
/// numbers: a value that holds a line break is refused.
pub(super) fn substitute(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<String, SubstituteError> {
    let mut out = String::with_capacity(text.len());
    for (at, line) in text.split_inclusive('\n').enumerate() {
        if line.trim_start().starts_with('#') {
            out.push_str(line);
            continue;
        }
        let fail = |message| SubstituteError {
            line: at + 1,
            message,
        };
        substitute_line(line, env, &mut out).map_err(fail)?;
    }
    Ok(out)
}

fn substitute_line(
    line: &str,
    env: &dyn Fn(&str) -> Option<String>,
    out: &mut String,
) -> Result<(), String> {
    let mut rest = line;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if let Some(after) = tail.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(inside) = tail.strip_prefix('{') {
            let Some(end) = inside.find('}') else {
                return Err(
                    "has \"${\" without \"}\"; close it, or write $$ for a dollar sign".to_owned(),
                );
            };
            out.push_str(&value_of(&inside[..end], env)?);
            rest = &inside[end + 1..];
        } else {
            out.push('$');
            rest = tail;
        }
    }
    out.push_str(rest);
    Ok(())
}

fn value_of(reference: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (name, default) = match reference.split_once(':') {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    if !model::labels::is_legacy_label_name(name) {
        return Err(
            "has \"${\" before what is no name of an environment variable; use letters, digits and _"
                .to_owned(),
        );
    }
    let value = env(name).filter(|value| !value.is_empty());
    let Some(value) = value.or_else(|| default.map(str::to_owned)) else {
        return Err(format!(
            "uses the environment variable {name}, which is not set; set it, or give a default: ${{{name}:value}}"
        ));
    };
    if value.contains(['\n', '\r']) {
        return Err(format!(
            "uses the environment variable {name}, whose value has a line break; use a value of one line"
        ));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "PORT" => Some("9000".to_owned()),
            "EMPTY" => Some(String::new()),
            "BREAK" => Some("a\nb".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn replaces_references() {
        let check = |text: &str, expected: &str| {
            assert_eq!(substitute(text, &env).unwrap(), expected);
        };
        check("a: ${PORT}\nb: ${NONE:x:y}\n", "a: 9000\nb: x:y\n");
        check("a: ${EMPTY:d}", "a: d");
        check("a: ${NONE:}", "a: ");
        check("a: $$5 $HOME $", "a: $5 $HOME $");
        check("# ${NONE}\n", "# ${NONE}\n");
    }

    #[test]
    fn refuses_with_the_line() {
        let check = |text: &str, line: usize, part: &str| {
            let error = substitute(text, &env).unwrap_err();
            assert_eq!(error.line, line, "{text}");
            assert!(error.message.contains(part), "{}", error.message);
        };
        check("a: 1\nb: ${NONE}", 2, "which is not set");
        check("${PORT", 1, "without");
        check("${a b}", 1, "letters, digits");
        check("${BREAK}", 1, "line break");
    }
}
