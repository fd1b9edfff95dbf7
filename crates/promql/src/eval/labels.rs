//! Functions that change labels: `label_replace` and `label_join`.

use model::labels::{Labels, LabelsBuilder, METRIC_NAME};
use regex::Regex;

use super::column::Steps;
use super::stream::Sink;
use super::tag::Tag;
use super::{EvalError, Evaluator};
use crate::plan::Node;

impl Evaluator<'_> {
    /// `label_replace(v, dst, replacement, src, regex)`
    pub(super) fn label_replace(
        &self,
        args: &[Node],
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let [input, dst, replacement, src, pattern] = args else {
            return Err(EvalError::Execution(
                "label_replace takes five arguments".to_owned(),
            ));
        };
        let (dst, replacement) = (self.text(dst)?, self.text(replacement)?);
        let (src, pattern) = (self.text(src)?, self.text(pattern)?);
        let regex = model::go_regex::compile_anchored(pattern).map_err(|_| {
            let message = format!("invalid regular expression in label_replace(): {pattern}");
            EvalError::Execution(message)
        })?;
        if dst.is_empty() {
            let message = format!("invalid destination label name in label_replace(): {dst}");
            return Err(EvalError::Execution(message));
        }
        self.relabel(input, dst, steps, sink, |labels| {
            let value = labels.get(src).unwrap_or_default();
            replace(&regex, value, replacement).map(|new| labels.with(dst, &new))
        })
    }

    /// `label_join(v, dst, separator, src, …)`
    pub(super) fn label_join(
        &self,
        args: &[Node],
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let [input, dst, separator, sources @ ..] = args else {
            return Err(EvalError::Execution(
                "label_join takes three arguments".to_owned(),
            ));
        };
        let (dst, separator) = (self.text(dst)?, self.text(separator)?);
        let sources: Result<Vec<&str>, _> = sources.iter().map(|src| self.text(src)).collect();
        let sources = sources?;
        if dst.is_empty() {
            let message = format!("invalid destination label name in label_join(): {dst}");
            return Err(EvalError::Execution(message));
        }
        if let Some(bad) = sources.iter().find(|name| name.is_empty()) {
            let message = format!("invalid source label name in label_join(): {bad}");
            return Err(EvalError::Execution(message));
        }
        self.relabel(input, dst, steps, sink, |labels| {
            let values: Vec<&str> = sources
                .iter()
                .map(|name| labels.get(name).unwrap_or_default())
                .collect();
            let mut builder = LabelsBuilder::from(labels);
            builder.set(dst, &values.join(separator));
            Some(builder.build())
        })
    }

    /// Streams series with the labels that `change` makes of theirs by setting `dst`; `None`: as they
    /// are. Those that come to have the same labels are merged. A name that is set stays.
    fn relabel(
        &self,
        input: &Node,
        dst: &str,
        steps: Steps,
        sink: &mut Sink<'_>,
        change: impl Fn(&Labels) -> Option<Labels>,
    ) -> Result<(), EvalError> {
        self.distinct(false, steps, sink, |sink| {
            self.stream(input, steps, &mut |tag, column| {
                let labels = tag.to_labels();
                let changed = change(&labels);
                let goes = tag.goes() && (changed.is_none() || dst != METRIC_NAME);
                let changed = changed.unwrap_or(labels);
                let tag = Tag::of(&changed);
                sink(if goes { tag.without_name(true) } else { tag }, column)
            })
        })
    }
}

/// What `replacement` becomes where the whole value matches; `None` where it does not.
fn replace(regex: &Regex, value: &str, replacement: &str) -> Option<String> {
    let captures = regex.captures(value)?;
    let mut new = String::new();
    let mut rest = replacement;
    while let Some((before, behind)) = rest.split_once('$') {
        new.push_str(before);
        rest = behind;
        if let Some(behind) = rest.strip_prefix('$') {
            new.push('$');
            rest = behind;
        } else if let Some((name, behind)) = reference(rest) {
            new.push_str(referred(&captures, name));
            rest = behind;
        } else {
            new.push('$');
        }
    }
    new.push_str(rest);
    Some(new)
}

/// The name behind a `$`, in braces or not, and what follows it: letters, digits and underscores,
/// as many as there are.
fn reference(text: &str) -> Option<(&str, &str)> {
    let braced = text.strip_prefix('{');
    let body = braced.unwrap_or(text);
    let end = body.find(|c: char| !c.is_alphanumeric() && c != '_');
    let (name, rest) = body.split_at(end.unwrap_or(body.len()));
    let rest = if braced.is_some() {
        rest.strip_prefix('}')?
    } else {
        rest
    };
    (!name.is_empty()).then_some((name, rest))
}

/// What a group matched; empty where there is no such group. A number has no zeros before it.
fn referred<'v>(captures: &regex::Captures<'v>, name: &str) -> &'v str {
    let is_number = name.bytes().all(|c| c.is_ascii_digit());
    let group = match name.parse::<usize>() {
        Ok(index) if is_number && (name == "0" || !name.starts_with('0')) => captures.get(index),
        _ => captures.name(name),
    };
    group.map_or("", |group| group.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_as_go_does() {
        let check = |replacement: &str, expected: &str| {
            let regex = model::go_regex::compile_anchored("(a+)(?P<rest>.*)").expect("a pattern");
            assert_eq!(
                replace(&regex, "aab", replacement).as_deref(),
                Some(expected)
            );
        };
        check("$1", "aa");
        check("${1}x$rest", "aaxb");
        check("$1x", "");
        check("$1é", "");
        check("$1-é", "aa-é");
        check("$$1", "$1");
        check("$", "$");
        check("${1", "${1");
        check("${}-$-", "${}-$-");
        check("$01$7", "");
        check("$0", "aab");
    }
}
