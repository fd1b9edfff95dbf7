//! The plan as text, one node a line, for people.

use std::fmt::{self, Write};

use super::{Node, NodeKind, Plan, RangeSource, Select};
use crate::ast::{At, Grouping};
use crate::parse::format_duration_ms;

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        explain(&self.root, 0, &mut text);
        out.write_str(text.trim_end())
    }
}

/// Writes a node and those below it.
fn explain(node: &Node, level: usize, out: &mut String) {
    let mut line = |text: String| {
        // Writing to a string can't fail.
        let _ = writeln!(out, "{}{text}", "  ".repeat(level));
    };
    match &node.kind {
        NodeKind::Number(value) => line(format!("number {value}")),
        NodeKind::String(text) => line(format!("string {text:?}")),
        NodeKind::Select(select) => line(format!("select {}", describe(select))),
        NodeKind::Window(source) => {
            line("window".to_owned());
            explain_source(source, level + 1, out);
        }
        NodeKind::Range(call) => {
            line(format!("range function {}", call.name));
            explain_source(&call.source, level + 1, out);
            call.params
                .iter()
                .for_each(|param| explain(param, level + 1, out));
        }
        NodeKind::Element(call) => {
            line(format!("function {}", call.name));
            explain(&call.input, level + 1, out);
            call.params
                .iter()
                .for_each(|param| explain(param, level + 1, out));
        }
        NodeKind::Buckets(call) => {
            line(format!("histogram function {}", call.name));
            explain(&call.input, level + 1, out);
            call.params
                .iter()
                .for_each(|param| explain(param, level + 1, out));
        }
        NodeKind::Special(special, args) => {
            line(format!("function {special:?}"));
            args.iter().for_each(|arg| explain(arg, level + 1, out));
        }
        NodeKind::Aggregate(aggregate) => {
            let grouping = match &aggregate.grouping {
                Grouping::By(labels) if labels.is_empty() => String::new(),
                Grouping::By(labels) => format!(" by {}", labels.join(", ")),
                Grouping::Without(labels) => format!(" without {}", labels.join(", ")),
            };
            line(format!("aggregate {}{grouping}", aggregate.op.name()));
            explain(&aggregate.input, level + 1, out);
            if let Some(param) = &aggregate.param {
                explain(param, level + 1, out);
            }
        }
        NodeKind::ScalarBinary(op, lhs, rhs) => {
            line(format!("scalars {}", op.symbol()));
            explain(lhs, level + 1, out);
            explain(rhs, level + 1, out);
        }
        NodeKind::VectorScalar(binary) => {
            line(format!("vector {} scalar", binary.op.symbol()));
            explain(&binary.vector, level + 1, out);
            explain(&binary.scalar, level + 1, out);
        }
        NodeKind::VectorVector(binary) => {
            line(format!("vectors {}", binary.op.symbol()));
            explain(&binary.lhs, level + 1, out);
            explain(&binary.rhs, level + 1, out);
        }
        NodeKind::Negate(input) => {
            line("negate".to_owned());
            explain(input, level + 1, out);
        }
        NodeKind::Invariant(input) => {
            line("once".to_owned());
            explain(input, level + 1, out);
        }
    }
}

fn explain_source(source: &RangeSource, level: usize, out: &mut String) {
    match source {
        RangeSource::Select(select, range_ms) => {
            let (what, range) = (describe(select), format_duration_ms(*range_ms));
            let _ = writeln!(out, "{}select {what} [{range}]", "  ".repeat(level));
        }
        RangeSource::Subquery(subquery) => {
            let range = format_duration_ms(subquery.range_ms);
            let step = subquery.step_ms.map(format_duration_ms).unwrap_or_default();
            let _ = writeln!(out, "{}subquery [{range}:{step}]", "  ".repeat(level));
            explain(&subquery.input, level + 1, out);
        }
    }
}

fn describe(select: &Select) -> String {
    let mut text = select.describe();
    match select.at {
        Some(At::Time(t)) => text.push_str(&format!(" @ {}", t as f64 / 1000.0)),
        Some(At::Start) => text.push_str(" @ start()"),
        Some(At::End) => text.push_str(" @ end()"),
        None => {}
    }
    if select.offset_ms != 0 {
        text.push_str(&format!(" offset {}", format_duration_ms(select.offset_ms)));
    }
    if let model::select::LabelsNeeded::Only(labels) = &select.labels {
        text.push_str(&format!(" labels {labels:?}"));
    }
    text
}
