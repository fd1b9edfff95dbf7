//! Label sets: sorted by name, immutable, one allocation, cheap to clone.
//!
//! A label set is one string. Before each name and each value stands its length in bytes, as
//! groups of six bits, low group first, each in a byte below 0x80 (bit 6 says that another group
//! follows), so that the whole stays valid UTF-8 and slicing it needs no `unsafe`.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// The label that holds a series' metric name.
pub const METRIC_NAME: &str = "__name__";
/// The label that says of what type a series' metric is.
pub const METRIC_TYPE: &str = "__type__";
/// The label that says in what unit a series' metric is.
pub const METRIC_UNIT: &str = "__unit__";

/// Whether a label says what the metric is: its name, type or unit. What is computed from a series
/// is another quantity, so that PromQL drops the three together.
pub fn is_metadata_label(name: &str) -> bool {
    matches!(name, METRIC_NAME | METRIC_TYPE | METRIC_UNIT)
}

/// A set of labels, sorted by name, without empty values and without duplicate names.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels(Arc<str>);

impl Labels {
    /// The label set without labels.
    pub fn empty() -> Self {
        Self(Arc::from(""))
    }

    /// Builds a set from pairs in any order. Empty values are dropped, as they mean 'no such
    /// label'; of a name that is given twice, the last value stays.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.build()
    }

    /// Builds a set from pairs that are sorted by name already, without duplicates and without
    /// empty values: the caller vouches for that.
    pub fn from_sorted<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut text = String::with_capacity(256);
        for (name, value) in pairs {
            push_text(&mut text, name);
            push_text(&mut text, value);
        }
        Self(Arc::from(text))
    }

    /// The pairs, in the order of their names.
    pub fn iter(&self) -> LabelsIter<'_> {
        LabelsIter { rest: &self.0 }
    }

    /// The value of a label.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// The value of `__name__`.
    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The set of those labels whose name the predicate keeps.
    #[must_use]
    pub fn retain(&self, mut keep: impl FnMut(&str) -> bool) -> Self {
        Self::from_sorted(self.iter().filter(|(name, _)| keep(name)))
    }

    /// The set with one label set, or removed where the value is empty.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut builder = LabelsBuilder::from(self);
        builder.set(name, value);
        builder.build()
    }

    /// The set without what says what the metric is: name, type and unit.
    #[must_use]
    pub fn without_metadata(&self) -> Self {
        self.retain(|name| !is_metadata_label(name))
    }

    /// Bytes the set holds on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.0.len() + 2 * size_of::<usize>()
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    /// Label by label: name, then value; a prefix comes first.
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

/// As Prometheus prints a series: `name{a="b", c="d"}`.
impl fmt::Display for Labels {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self
            .metric_name()
            .filter(|name| is_legacy_metric_name(name));
        out.write_str(name.unwrap_or_default())?;
        let mut rest = self
            .iter()
            .filter(|(label, _)| name.is_none() || *label != METRIC_NAME)
            .peekable();
        if rest.peek().is_none() && name.is_some() {
            return Ok(());
        }
        out.write_str("{")?;
        for (i, (label, value)) in rest.enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            if is_legacy_label_name(label) {
                write!(out, "{comma}{label}={value:?}")?;
            } else {
                write!(out, "{comma}{label:?}={value:?}")?;
            }
        }
        out.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// Iterates over the pairs of a [`Labels`].
#[derive(Clone)]
pub struct LabelsIter<'a> {
    rest: &'a str,
}

impl<'a> Iterator for LabelsIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        Some((take_text(&mut self.rest), take_text(&mut self.rest)))
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = LabelsIter<'a>;

    fn into_iter(self) -> LabelsIter<'a> {
        self.iter()
    }
}

/// Collects labels in any order.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.pairs.retain(|(known, _)| known != name);
        if !value.is_empty() {
            self.pairs.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Removes a label.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.set(name, "")
    }

    /// The value set for a name so far.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Sorts what was collected into a set.
    pub fn build(&mut self) -> Labels {
        self.pairs.sort();
        Labels::from_sorted(self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())))
    }
}

impl From<&Labels> for LabelsBuilder {
    fn from(labels: &Labels) -> Self {
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            pairs: labels.iter().map(own).collect(),
        }
    }
}

/// Whether a name is one that Prometheus took before UTF-8 names: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub fn is_legacy_metric_name(name: &str) -> bool {
    is_identifier(name, b":_")
}

/// Whether a label name is one of before UTF-8 names: `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_legacy_label_name(name: &str) -> bool {
    is_identifier(name, b"_")
}

fn is_identifier(name: &str, extra: &[u8]) -> bool {
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || extra.contains(byte);
    let starts = name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    starts && name.as_bytes().iter().all(word)
}

fn push_text(text: &mut String, part: &str) {
    let mut rest = part.len();
    loop {
        let group = (rest & 0x3f) as u8;
        rest >>= 6;
        if rest == 0 {
            text.push(char::from(group));
            break;
        }
        text.push(char::from(group | 0x40));
    }
    text.push_str(part);
}

fn take_text<'a>(rest: &mut &'a str) -> &'a str {
    let bytes = rest.as_bytes();
    let (mut len, mut at) = (0, 0);
    loop {
        let group = bytes[at];
        len |= usize::from(group & 0x3f) << (6 * at);
        at += 1;
        if group & 0x40 == 0 {
            break;
        }
    }
    let (head, tail) = rest[at..].split_at(len);
    *rest = tail;
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prints_as_prometheus_does() {
        let check = |pairs: &[(&str, &str)], expected: &str| {
            let labels = Labels::from_pairs(pairs.iter().copied());
            assert_eq!(labels.to_string(), expected);
        };
        check(&[], "{}");
        check(&[("__name__", "up")], "up");
        check(&[("job", "a"), ("__name__", "up")], "up{job=\"a\"}");
        check(&[("b", "2"), ("a", "1")], "{a=\"1\", b=\"2\"}");
        check(&[("a.b", "1")], "{\"a.b\"=\"1\"}");
    }

    proptest! {
        #[test]
        fn keeps_what_was_put_in(pairs in prop::collection::btree_map(".{0,90}", ".{1,9000}", 0..12)) {
            let labels = Labels::from_pairs(pairs.iter());
            let back: Vec<_> = labels.iter().collect();
            let given: Vec<_> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            prop_assert_eq!(back, given);
        }
    }
}
