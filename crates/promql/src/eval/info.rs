//! `info(v, selector)`: gives series the labels of the info series that describe their target.
//!
//! Which info series describe a target is said by the labels `instance` and `job`; of several of
//! one name, the newest sample at a step counts. As that may change from step to step, one series
//! may become several.

mod described;
mod reference;

use std::collections::HashMap;

use model::labels::{Labels, LabelsBuilder, METRIC_NAME};
use model::matcher::{MatchOp, Matcher};
use model::select::LabelsNeeded;

use super::budget::Held;
use super::collect::{Collected, Kept, Merged};
use super::column::{Column, Steps, is_absent};
use super::select::Yield;
use super::tag::Tag;
use super::{EvalError, Evaluator};
use crate::ast::Edge;
use crate::plan::{Node, NodeKind, Select};
use described::Described;

/// The labels that say which target a series is about.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

impl<'a> Evaluator<'a> {
    /// `info(v, selector)`
    pub(super) fn info<'e>(
        &'e self,
        input: &Node,
        selector: Option<&Node>,
        steps: Steps,
    ) -> Result<Collected<'e, 'a>, EvalError> {
        let wanted = Wanted::of(selector)?;
        let mut base = self.collect(input, steps)?;
        let mut held = self.budget.hold();
        let described = self.describe(&base, &wanted, input, steps, &mut held)?;
        let mut merged = Merged::new(self);
        let mut join = Join {
            described: &described,
            wanted: &wanted,
            part_at: vec![u32::MAX; steps.count],
            parts: Vec::new(),
            known: HashMap::new(),
        };
        held.charge(steps.count * size_of::<u32>())?;
        for kept in base.series.drain(..) {
            self.budget.check()?;
            let goes = kept.goes;
            join.series(kept, &mut |labels, column| {
                self.budget.check()?;
                let kept = Kept {
                    labels,
                    column,
                    goes,
                };
                if kept.column.is_empty() || merged.keep(kept)? {
                    Ok(())
                } else {
                    Err(EvalError::same_labels())
                }
            })?;
        }
        Ok(merged.collected)
    }

    /// Selects the info series of all targets that series are about.
    fn describe(
        &self,
        base: &Collected<'_, '_>,
        wanted: &Wanted,
        input: &Node,
        steps: Steps,
        held: &mut Held<'_>,
    ) -> Result<Described, EvalError> {
        let mut described = Described::of(&base.series, steps);
        held.charge(steps.count)?;
        let mut matchers = wanted.names.clone();
        matchers.extend_from_slice(&wanted.data);
        let identified = matchers.len();
        for label in IDENTIFYING {
            let enriched = base
                .series
                .iter()
                .filter(|kept| !wanted.is_info(&kept.labels));
            let mut values: Vec<&str> =
                enriched.filter_map(|kept| kept.labels.get(label)).collect();
            values.sort_unstable();
            values.dedup();
            if !values.is_empty() {
                // The matcher keeps them twice: as they are, and as a pattern.
                held.charge(values.iter().map(|value| 2 * value.len() + 32).sum())?;
                matchers.push(Matcher::one_of(label, values));
            }
        }
        if matchers.len() == identified {
            return Ok(described);
        }
        let (at, offset_ms) = self.reference(input);
        let select = Select {
            matchers,
            offset_ms,
            at,
            edge: Edge::Open,
            labels: LabelsNeeded::All,
            name: None,
        };
        self.stream_select(&select, steps, Yield::FloatTime, &mut |tag, column| {
            let labels = tag.to_labels();
            if !column.histograms.is_empty() {
                return Err(EvalError::Execution(format!(
                    "this should be an info metric, with float samples: {labels}"
                )));
            }
            described.add(labels, column, held)
        })?;
        Ok(described)
    }
}

/// What is asked of info series.
struct Wanted {
    /// Matchers of their names.
    names: Vec<Matcher>,
    /// Matchers of their other labels, which also say what labels to take; none: all.
    data: Vec<Matcher>,
}

impl Wanted {
    fn of(selector: Option<&Node>) -> Result<Self, EvalError> {
        let matchers = selector.map_or(&[][..], matchers);
        let (mut names, data): (Vec<_>, Vec<_>) = matchers
            .iter()
            .cloned()
            .partition(|matcher| &*matcher.name == METRIC_NAME);
        let named = |op, value| {
            Matcher::new(METRIC_NAME, op, value)
                .map_err(|error| EvalError::Execution(error.to_string()))
        };
        if names.is_empty() {
            names.push(named(MatchOp::Equal, "target_info")?);
        } else if names.iter().all(Matcher::is_negative) {
            // What is left out says nothing of what an info series is.
            names.push(named(MatchOp::Regex, ".+_info")?);
        }
        Ok(Self { names, data })
    }

    /// Whether a series is an info series itself.
    fn is_info(&self, labels: &Labels) -> bool {
        let name = labels.metric_name().unwrap_or_default();
        self.names.iter().all(|matcher| matcher.matches(name))
    }

    /// Whether a label of info series is to be taken.
    fn takes(&self, label: &str) -> bool {
        let listed = |matcher: &Matcher| *matcher.name == *label;
        label != METRIC_NAME && (self.data.is_empty() || self.data.iter().any(listed))
    }

    /// Whether a series without info is to be kept.
    fn may_miss(&self) -> bool {
        self.data.iter().all(Matcher::matches_empty)
    }
}

/// The matchers of a selector.
fn matchers(node: &Node) -> &[Matcher] {
    match &node.kind {
        NodeKind::Select(select) => &select.matchers,
        NodeKind::Invariant(inner) => matchers(inner),
        _ => &[],
    }
}

/// Gives series their labels, one series after the other.
struct Join<'j> {
    described: &'j Described,
    wanted: &'j Wanted,
    /// Which of the parts each step of the series belongs to.
    part_at: Vec<u32>,
    /// Steps that have the same info series belong together.
    parts: Vec<Part>,
    /// Them by the info series they have.
    known: HashMap<Vec<u32>, usize>,
}

/// Steps of a series with the same info series.
struct Part {
    /// Which info series of each name; none: [`described::NONE`].
    chosen: Vec<u32>,
    /// The labels; `None`: the series is left out.
    labels: Option<Labels>,
}

impl Join<'_> {
    fn series(
        &mut self,
        kept: Kept,
        keep: &mut dyn FnMut(Labels, Column) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        if self.wanted.is_info(&kept.labels) {
            return keep(kept.labels, kept.column);
        }
        self.divide(&kept)?;
        let Kept { column, .. } = kept;
        if let [part] = self.parts.as_mut_slice() {
            return match part.labels.take() {
                Some(labels) => keep(labels, column),
                None => Ok(()),
            };
        }
        for (part, at) in self.parts.iter_mut().zip(0..) {
            let Some(labels) = part.labels.take() else {
                continue;
            };
            let mut own = Column::absent(column.len());
            for (step, value) in column.floats.iter().enumerate() {
                if self.part_at[step] == at {
                    own.floats[step] = *value;
                }
            }
            let histograms = column.histograms.iter();
            let histograms = histograms.filter(|(step, _)| self.part_at[*step as usize] == at);
            own.histograms.extend(histograms.cloned());
            keep(labels, own)?;
        }
        Ok(())
    }

    /// Divides a series by the info series that hold at its steps.
    fn divide(&mut self, kept: &Kept) -> Result<(), EvalError> {
        self.parts.clear();
        self.known.clear();
        let target = target_of(&Tag::of(&kept.labels));
        let newest = self.described.of_target(target);
        let mut last = u32::MAX;
        for step in 0..kept.column.len() {
            self.part_at[step] = u32::MAX;
            let float = !is_absent(kept.column.floats[step]);
            if !float && kept.column.histogram(step).is_none() {
                continue;
            }
            let same = |part: &Part| {
                let chosen = newest.iter().map(|newest| newest.chosen[step]);
                chosen.eq(part.chosen.iter().copied())
            };
            let known = self.parts.get(last as usize).is_some_and(same);
            if !known {
                let chosen: Vec<u32> = newest.iter().map(|one| one.chosen[step]).collect();
                let at = match self.known.get(&chosen) {
                    Some(at) => *at,
                    None => {
                        let labels = self.enrich(&kept.labels, &chosen)?;
                        self.known.insert(chosen.clone(), self.parts.len());
                        self.parts.push(Part { chosen, labels });
                        self.parts.len() - 1
                    }
                };
                last = u32::try_from(at).unwrap_or(u32::MAX);
            }
            self.part_at[step] = last;
        }
        Ok(())
    }

    /// The labels of a series together with those of its info series; `None` where it is to be left
    /// out for want of any.
    fn enrich(&self, labels: &Labels, chosen: &[u32]) -> Result<Option<Labels>, EvalError> {
        let mut added = LabelsBuilder::default();
        let mut found = false;
        for info in chosen.iter().filter_map(|at| self.described.series(*at)) {
            found = true;
            for (name, value) in info.iter().filter(|(name, _)| self.wanted.takes(name)) {
                if added.get(name).is_some_and(|known| known != value) {
                    return Err(EvalError::Execution(format!("conflicting label: {name}")));
                }
                if labels.get(name).is_none() {
                    added.set(name, value);
                }
            }
        }
        if !found && !self.wanted.may_miss() {
            return Ok(None);
        }
        let added = added.build();
        if added.is_empty() {
            return Ok(Some(labels.clone()));
        }
        let mut all = LabelsBuilder::from(labels);
        for (name, value) in &added {
            all.set(name, value);
        }
        Ok(Some(all.build()))
    }
}

/// The hash of what a series is about.
fn target_of(tag: &Tag<'_>) -> u128 {
    tag.hash(|name| IDENTIFYING.contains(&name))
}
