//! Functions of whole vectors: `absent`, the `sort` family.

use std::cmp::Ordering;

use model::labels::{Labels, LabelsBuilder, METRIC_NAME};
use model::matcher::{MatchOp, Matcher};

use super::collect::Collected;
use super::column::{ABSENT, Column, Steps, is_absent};
use super::kernel::Special;
use super::smooth::check_edge;
use super::{EvalError, Evaluator};
use crate::annotations::Note;
use crate::plan::{Node, NodeKind, RangeSource};

impl<'a> Evaluator<'a> {
    /// Evaluates a function that needs its whole input.
    pub(super) fn special<'e>(
        &'e self,
        node: &Node,
        special: Special,
        args: &[Node],
        steps: Steps,
    ) -> Result<Collected<'e, 'a>, EvalError> {
        match (special, args) {
            (Special::Absent, [input]) => {
                let mut seen = Column::absent(steps.count);
                self.stream(input, steps, &mut |_, column| {
                    mark(&mut seen, column);
                    Ok(())
                })?;
                self.absent(&seen, absent_labels(input))
            }
            (Special::AbsentOverTime, [input]) => {
                let mut seen = Column::absent(steps.count);
                if let NodeKind::Window(source) = &input.kind {
                    check_edge("absent_over_time", source)?;
                    self.stream_windows(source, steps, &mut |_, _, windows| {
                        for (step, window) in windows.windows.iter().enumerate() {
                            if !window.is_empty() {
                                seen.floats[step] = 1.0;
                            }
                        }
                        Ok(())
                    })?;
                }
                self.absent(&seen, absent_labels(input))
            }
            (
                Special::Sort | Special::SortDesc | Special::SortByLabel | Special::SortByLabelDesc,
                [input, names @ ..],
            ) => {
                let mut collected = self.collect(input, steps)?;
                if matches!(special, Special::Sort | Special::SortDesc) {
                    drop_histograms(&mut collected);
                }
                // Also within the subquery of an instant query.
                if steps.count > 1 {
                    self.annotations
                        .borrow_mut()
                        .add(node.pos, &Note::SortInRangeQuery);
                    return Ok(collected);
                }
                let names: Result<Vec<&str>, _> =
                    names.iter().map(|name| self.text(name)).collect();
                sort(special, &mut collected, &names?)?;
                Ok(collected)
            }
            (Special::HistogramQuantiles, [input, label, quantiles @ ..]) => {
                self.histogram_quantiles(input, label, quantiles, steps)
            }
            (Special::Info, [input, selector @ ..]) => self.info(input, selector.first(), steps),
            _ => Err(EvalError::Execution(format!(
                "{special:?} can't be evaluated here"
            ))),
        }
    }

    /// One series that is there where nothing was seen.
    fn absent<'e>(&'e self, seen: &Column, labels: Labels) -> Result<Collected<'e, 'a>, EvalError> {
        let missing = |value: &f64| if is_absent(*value) { 1.0 } else { ABSENT };
        let column = Column {
            floats: seen.floats.iter().map(missing).collect(),
            histograms: Vec::new(),
        };
        let mut collected = Collected::new(self);
        if !column.is_empty() {
            collected.push(labels, column)?;
        }
        Ok(collected)
    }
}

/// Notes where a column has a value.
fn mark(seen: &mut Column, column: &Column) {
    for (seen, value) in seen.floats.iter_mut().zip(&column.floats) {
        if !is_absent(*value) {
            *seen = 1.0;
        }
    }
    for (step, _) in &column.histograms {
        seen.floats[*step as usize] = 1.0;
    }
}

/// The labels that a missing series would have had: those asked for by equality, once.
fn absent_labels(input: &Node) -> Labels {
    let matchers: &[Matcher] = match &input.kind {
        NodeKind::Select(select) | NodeKind::Window(RangeSource::Select(select, _)) => {
            &select.matchers
        }
        NodeKind::Invariant(inner) => return absent_labels(inner),
        _ => &[],
    };
    let mut labels = LabelsBuilder::default();
    let mut set: Vec<&str> = Vec::new();
    for matcher in matchers
        .iter()
        .filter(|matcher| &*matcher.name != METRIC_NAME)
    {
        if matcher.op == MatchOp::Equal && !set.contains(&&*matcher.name) {
            labels.set(&matcher.name, &matcher.value);
            set.push(&matcher.name);
        } else {
            labels.remove(&matcher.name);
        }
    }
    labels.build()
}

/// Only floats have an order.
fn drop_histograms(collected: &mut Collected<'_, '_>) {
    collected.series.retain_mut(|kept| {
        kept.column.histograms.clear();
        !kept.column.is_empty()
    });
}

fn sort(
    special: Special,
    collected: &mut Collected<'_, '_>,
    names: &[&str],
) -> Result<(), EvalError> {
    collected.sort()?;
    match special {
        Special::Sort | Special::SortDesc => {
            let descending = special == Special::SortDesc;
            collected.sort_by(|a, b| {
                let (a, b) = (a.column.floats[0], b.column.floats[0]);
                by_value(a, b, descending)
            })
        }
        _ => {
            collected.sort_by(|a, b| {
                for name in names {
                    let (a, b) = (a.labels.get(name), b.labels.get(name));
                    let order = natural(a.unwrap_or_default(), b.unwrap_or_default());
                    if order != Ordering::Equal {
                        return order;
                    }
                }
                a.labels.cmp(&b.labels)
            })?;
            if special == Special::SortByLabelDesc {
                collected.series.reverse();
            }
            Ok(())
        }
    }
}

/// By value, NaN last in either direction.
pub(super) fn by_value(a: f64, b: f64, descending: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => {
            let order = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
            if descending { order.reverse() } else { order }
        }
    }
}

/// The order in which people count: runs of digits compare as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (x, rest_a) = split_run(a);
        let (y, rest_b) = split_run(b);
        if x.is_empty() || y.is_empty() {
            return x.len().cmp(&y.len());
        }
        let digits = |run: &str| run.as_bytes()[0].is_ascii_digit();
        let order = if digits(x) && digits(y) {
            let (short_x, short_y) = (x.trim_start_matches('0'), y.trim_start_matches('0'));
            let by_size = short_x
                .len()
                .cmp(&short_y.len())
                .then_with(|| short_x.cmp(short_y));
            by_size.then_with(|| x.len().cmp(&y.len()))
        } else {
            x.cmp(y)
        };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
}

/// The first run of digits, or of other characters.
fn split_run(text: &str) -> (&str, &str) {
    let digit = text.bytes().next().is_some_and(|c| c.is_ascii_digit());
    let end = text
        .bytes()
        .position(|c| c.is_ascii_digit() != digit)
        .unwrap_or(text.len());
    text.split_at(end)
}
