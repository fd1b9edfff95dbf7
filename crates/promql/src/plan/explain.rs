//! The plan as a tree of descriptions, with what an evaluation has told of each node.

use std::fmt::{self, Write};
use std::time::Duration;

use super::{Node, NodeKind, Plan, RangeSource, Select, SubqueryNode};
use crate::annotations::Pos;
use crate::ast::{At, Grouping};
use crate::eval::Observer;
use crate::parse::format_duration_ms;

/// Deeper levels are indented no further: a chain of operators is as deep as it is long.
const MAX_INDENT: usize = 60;

/// A node of a plan, in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// What it computes.
    pub what: String,
    /// Where it stands in the query's text; selectors of ranges and subqueries have no place of
    /// their own.
    pub pos: Option<Pos>,
    /// Whether it is the same at every step, so that it is computed once.
    pub once: bool,
    /// Of vectors that the query has more than once: which of them it is.
    pub shared: Option<usize>,
    /// What it took, where that was measured and it was evaluated.
    pub took: Option<Took>,
    /// What it is computed from.
    pub children: Vec<Self>,
}

/// What a node took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Took {
    /// Series that came in: from storage for a selector, else out of the nodes below.
    pub series_in: u64,
    /// Series that came out.
    pub series_out: u64,
    /// Values that came out, of all series and steps.
    pub values: u64,
    /// Samples loaded from storage; a histogram counts for as many as take its memory.
    pub samples: u64,
    /// Time spent in it and below it, on all threads.
    pub total: Duration,
    /// How much of that on others than the query's own.
    pub helped: Duration,
    /// Time spent in it alone.
    pub own: Duration,
    /// Threads that it ran on.
    pub threads: usize,
    /// Whether it was not computed: it had been kept where the query has it first.
    pub reused: bool,
}

impl Plan {
    /// The plan in words, with what `observer` saw of each node.
    pub fn explained(&self, observer: &Observer<'_>) -> Explained {
        explain(&self.root, observer, false)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.explained(&Observer::new()))
    }
}

/// One node a line, each below the one it is for.
impl fmt::Display for Explained {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write_at(0, &mut text)?;
        out.write_str(text.trim_end())
    }
}

impl Explained {
    fn write_at(&self, level: usize, out: &mut String) -> fmt::Result {
        write!(out, "{}{}", "  ".repeat(level.min(MAX_INDENT)), self.what)?;
        if self.once {
            out.push_str(" (once)");
        }
        if let Some(slot) = self.shared {
            write!(out, " (kept: {slot})")?;
        }
        if let Some(took) = &self.took {
            write!(out, ": {took}")?;
        }
        out.push('\n');
        self.children
            .iter()
            .try_for_each(|child| child.write_at(level + 1, out))
    }
}

impl fmt::Display for Took {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.series_in > 0 {
            write!(out, "{} series in, ", self.series_in)?;
        }
        if self.samples > 0 {
            write!(out, "{} samples, ", self.samples)?;
        }
        if self.series_out > 0 {
            write!(
                out,
                "{} series of {} values, ",
                self.series_out, self.values
            )?;
        }
        write!(out, "{:.1?} alone, {:.1?} in all", self.own, self.total)?;
        if self.reused {
            out.write_str(", reused")?;
        }
        if self.threads > 1 {
            write!(out, ", on {} threads", self.threads)?;
        }
        Ok(())
    }
}

/// Explains a node; `once`: it stands within one that is computed once.
fn explain(node: &Node, observer: &Observer<'_>, once: bool) -> Explained {
    if let NodeKind::Invariant(input) = &node.kind {
        let mut inner = explain(input, observer, true);
        // What repeating its value took is little, and is no node to whoever reads this.
        if let (Some(took), Some(seen)) = (&mut inner.took, observer.node(node)) {
            took.helped = took.helped.max(seen.helped);
            took.total = seen.time + took.helped;
            (took.series_out, took.values) = (seen.series, seen.points);
        }
        return inner;
    }
    let below = |nodes: &mut dyn Iterator<Item = &Node>| -> Vec<Explained> {
        nodes.map(|node| explain(node, observer, once)).collect()
    };
    let (what, children) = match &node.kind {
        NodeKind::Number(value) => (format!("number {value}"), Vec::new()),
        NodeKind::String(text) => (format!("string {text:?}"), Vec::new()),
        NodeKind::Select(select) => (format!("select {}", describe(select)), Vec::new()),
        NodeKind::Window(source) => {
            let source = explain_source(source, observer, once);
            ("window".to_owned(), vec![source])
        }
        NodeKind::Range(call) => {
            let mut children = vec![explain_source(&call.source, observer, once)];
            children.append(&mut below(&mut call.params.iter()));
            (format!("range function {}", call.name), children)
        }
        NodeKind::Element(call) => {
            let children = below(&mut [&call.input].into_iter().chain(&call.params));
            (format!("function {}", call.name), children)
        }
        NodeKind::Buckets(call) => {
            let children = below(&mut [&call.input].into_iter().chain(&call.params));
            (format!("histogram function {}", call.name), children)
        }
        NodeKind::Special(special, args) => {
            (format!("function {special:?}"), below(&mut args.iter()))
        }
        NodeKind::Aggregate(aggregate) => {
            let grouping = match &aggregate.grouping {
                Grouping::By(labels) if labels.is_empty() => String::new(),
                Grouping::By(labels) => format!(" by {}", labels.join(", ")),
                Grouping::Without(labels) => format!(" without {}", labels.join(", ")),
            };
            let inputs = &mut [&aggregate.input].into_iter().chain(&aggregate.param);
            let what = format!("aggregate {}{grouping}", aggregate.op.name());
            (what, below(inputs))
        }
        NodeKind::ScalarBinary(op, lhs, rhs) => {
            let children = below(&mut [&**lhs, &**rhs].into_iter());
            (format!("scalars {}", op.symbol()), children)
        }
        NodeKind::VectorScalar(binary) => {
            let children = below(&mut [&binary.vector, &binary.scalar].into_iter());
            (format!("vector {} scalar", binary.op.symbol()), children)
        }
        NodeKind::VectorVector(binary) => {
            let children = below(&mut [&binary.lhs, &binary.rhs].into_iter());
            (format!("vectors {}", binary.op.symbol()), children)
        }
        NodeKind::Negate(input) => ("negate".to_owned(), below(&mut [&**input].into_iter())),
        NodeKind::Invariant(_) => (String::new(), Vec::new()),
    };
    let took = took(node, observer, &children);
    Explained {
        what,
        pos: Some(node.pos),
        once,
        shared: node.shared,
        took,
        children,
    }
}

/// What a node took, given what those below it took.
fn took(node: &Node, observer: &Observer<'_>, children: &[Explained]) -> Option<Took> {
    let loaded = match &node.kind {
        NodeKind::Select(select) => observer.select(select),
        _ => None,
    };
    let seen = observer.node(node).or_else(|| loaded.clone())?;
    let below = || children.iter().filter_map(|child| child.took.as_ref());
    // Where helpers computed what is below, what is above was on the query's thread alone.
    let helped_below: Duration = below().map(|took| took.helped).sum();
    let here_below = below().map(|took| took.total).sum::<Duration>() - helped_below;
    let helped = seen.helped.max(helped_below);
    let loaded = loaded.unwrap_or_default();
    Some(Took {
        series_in: loaded.series + below().map(|took| took.series_out).sum::<u64>(),
        series_out: seen.series,
        values: seen.points,
        samples: loaded.samples,
        total: seen.time + helped,
        helped,
        own: seen.time.saturating_sub(here_below) + seen.helped.saturating_sub(helped_below),
        threads: seen.threads.len(),
        reused: seen.reused,
    })
}

fn explain_source(source: &RangeSource, observer: &Observer<'_>, once: bool) -> Explained {
    match source {
        RangeSource::Select(select, range_ms) => {
            let took = observer.select(select).map(|seen| Took {
                series_in: seen.series,
                series_out: seen.series,
                values: 0,
                samples: seen.samples,
                total: seen.time + seen.helped,
                helped: seen.helped,
                own: seen.time + seen.helped,
                threads: seen.threads.len(),
                reused: false,
            });
            Explained {
                what: format!(
                    "select {} [{}]",
                    describe(select),
                    format_duration_ms(*range_ms)
                ),
                pos: None,
                once,
                shared: None,
                took,
                children: Vec::new(),
            }
        }
        RangeSource::Subquery(subquery) => explain_subquery(subquery, observer, once),
    }
}

fn explain_subquery(subquery: &SubqueryNode, observer: &Observer<'_>, once: bool) -> Explained {
    let range = format_duration_ms(subquery.range_ms);
    let step = subquery.step_ms.map(format_duration_ms).unwrap_or_default();
    let input = explain(&subquery.input, observer, once);
    // It hands on what comes out of its expression: all time is spent below.
    let took = input.took.as_ref().map(|took| Took {
        series_in: took.series_out,
        samples: 0,
        own: Duration::ZERO,
        ..took.clone()
    });
    Explained {
        what: format!(
            "subquery [{range}:{step}]{}",
            modifiers(subquery.at, subquery.offset_ms)
        ),
        pos: None,
        once,
        shared: None,
        took,
        children: vec![input],
    }
}

fn describe(select: &Select) -> String {
    let mut text = select.describe();
    text.push_str(&modifiers(select.at, select.offset_ms));
    if let model::select::LabelsNeeded::Only(labels) = &select.labels {
        text.push_str(&format!(" labels {labels:?}"));
    }
    text
}

fn modifiers(at: Option<At>, offset_ms: i64) -> String {
    let mut text = match at {
        Some(At::Time(t)) => format!(" @ {}", t as f64 / 1000.0),
        Some(At::Start) => " @ start()".to_owned(),
        Some(At::End) => " @ end()".to_owned(),
        None => String::new(),
    };
    if offset_ms != 0 {
        text.push_str(&format!(" offset {}", format_duration_ms(offset_ms)));
    }
    text
}
