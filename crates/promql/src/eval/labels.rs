//! Functions that change labels: `label_replace` and `label_join`.

use model::labels::{Labels, LabelsBuilder};
use regex::Regex;

use super::column::Steps;
use super::stream::Sink;
use super::tag::{HashedSet, Tag};
use super::{EvalError, Evaluator};
use crate::plan::Node;

/// What a pattern may compile to, in bytes.
const MAX_PATTERN_BYTES: usize = 1 << 20;

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
        let regex = regex::RegexBuilder::new(&format!("^(?s:{pattern})$"))
            .size_limit(MAX_PATTERN_BYTES)
            .build()
            .map_err(|_| {
                let message = format!("invalid regular expression in label_replace(): {pattern}");
                EvalError::Execution(message)
            })?;
        if dst.is_empty() {
            let message = format!("invalid destination label name in label_replace(): {dst}");
            return Err(EvalError::Execution(message));
        }
        self.relabel(input, steps, sink, |labels| {
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
        self.relabel(input, steps, sink, |labels| {
            let values: Vec<&str> = sources
                .iter()
                .map(|name| labels.get(name).unwrap_or_default())
                .collect();
            let mut builder = LabelsBuilder::from(labels);
            builder.set(dst, &values.join(separator));
            Some(builder.build())
        })
    }

    /// Streams series with the labels that `change` makes of theirs; `None`: as they are.
    fn relabel(
        &self,
        input: &Node,
        steps: Steps,
        sink: &mut Sink<'_>,
        change: impl Fn(&Labels) -> Option<Labels>,
    ) -> Result<(), EvalError> {
        let mut seen = HashedSet::default();
        self.stream(input, steps, &mut |tag, column| {
            let labels = tag.to_labels();
            let changed = change(&labels).unwrap_or(labels);
            let tag = Tag::of(&changed);
            if !seen.insert(tag.fingerprint().0) {
                return Err(EvalError::same_labels());
            }
            sink(tag, column)
        })
    }
}

/// What `replacement` becomes where the whole value matches; `None` where it does not.
fn replace(regex: &Regex, value: &str, replacement: &str) -> Option<String> {
    let captures = regex.captures(value)?;
    let mut new = String::new();
    captures.expand(replacement, &mut new);
    Some(new)
}
