//! On which line of a file a key stands, for errors that the YAML parser does not find.

/// The line (from 1) of a dotted key, or of the nearest section above it that the text has.
/// Knows block mappings, which is how people write configuration; inside a flow mapping the
/// line of the section is given.
pub(super) fn line_of(text: &str, key: &str) -> Option<usize> {
    let wanted: Vec<&str> = key.split('.').collect();
    let mut found: Option<(usize, usize)> = None;
    // The path of the line at hand: indentation and name of each level.
    let mut path: Vec<(usize, &str)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let content = line.trim_start();
        let Some((name, _)) = content
            .split_once(':')
            .filter(|_| !content.starts_with('#'))
        else {
            continue;
        };
        let indent = line.len() - content.len();
        path.retain(|(level, _)| *level < indent);
        path.push((indent, name.trim_matches(['"', '\'', ' '])));
        let depth = path.len();
        let on_the_way = depth <= wanted.len()
            && path
                .iter()
                .map(|(_, n)| *n)
                .eq(wanted[..depth].iter().copied());
        if on_the_way && found.is_none_or(|(known, _)| depth > known) {
            found = Some((depth, at + 1));
        }
    }
    found.map(|(_, line)| line)
}

#[cfg(test)]
mod tests {
    use super::line_of;

    #[test]
    fn finds_keys() {
        let text = "# server:\nserver:\n  # x\n  http_listen: a:1\n\nstorage:\n  wal:\n    fsync: always\n  retention: 1d\nlimits: {max_series: 1}\n";
        let check = |key: &str, line: Option<usize>| assert_eq!(line_of(text, key), line, "{key}");
        check("server.http_listen", Some(4));
        check("storage.wal.fsync", Some(8));
        check("storage.retention", Some(9));
        check("storage.wal.segment_size", Some(7));
        check("limits.max_series", Some(10));
        check("log.level", None);
    }
}
