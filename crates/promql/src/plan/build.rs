//! From the tree to the plan.

use std::sync::Arc;

use model::select::LabelsNeeded;

use super::{
    AggregateNode, BucketCall, ElementCall, Node, NodeKind, Plan, RangeCall, RangeSource, Select,
    SubqueryNode, VectorScalar, VectorVector,
};
use crate::annotations::Pos;
use crate::ast::{
    AggregateOp, BinaryOp, Cardinality, Edge, Expr, ExprKind, Grouping, Length, Matching, Selector,
};
use crate::eval::kernel::{FunctionDef, Kernel, Special};
use crate::eval::operator;
use crate::value::ValueType;

/// Plans a checked expression.
pub(super) fn plan(expr: &Expr) -> Plan {
    let (node, invariant) = build(expr);
    let mut root = wrap(node, invariant);
    push_labels(&mut root, None);
    let depth = depth(expr);
    Plan {
        value_type: expr.value_type(),
        depth,
        ordered: is_ordered(&root),
        shared: super::share::mark(&mut root, depth),
        root,
    }
}

/// Functions whose value depends on the step even where their arguments don't.
const STEP_DEPENDENT: &[&str] = &[
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "hour",
    "minute",
    "month",
    "year",
    "predict_linear",
    "time",
    "timestamp",
    "start_timestamp",
    "info",
];

/// Builds a node; says whether its value is the same at every step.
fn build(expr: &Expr) -> (Node, bool) {
    let pos = expr.pos;
    let node = |kind| Node::new(kind, pos);
    match &expr.kind {
        ExprKind::Number(value, _) => (node(NodeKind::Number(*value)), true),
        ExprKind::String(text) => (node(NodeKind::String(Arc::from(text.as_str()))), true),
        ExprKind::Selector(selector) => {
            let invariant = selector.at.is_some();
            (node(NodeKind::Select(select(selector))), invariant)
        }
        ExprKind::Range(..) | ExprKind::Subquery(_) => {
            let (source, invariant) = range_source(expr);
            (node(NodeKind::Window(source)), invariant)
        }
        ExprKind::Paren(inner) => build(inner),
        ExprKind::Plus(inner) => match build(inner) {
            (input, invariant) if matches!(input.kind, NodeKind::Select(_)) => {
                (node(unchanged(input)), invariant)
            }
            built => built,
        },
        ExprKind::Negate(inner) => match build(inner) {
            (
                Node {
                    kind: NodeKind::Number(value),
                    ..
                },
                _,
            ) => (node(NodeKind::Number(-value)), true),
            (input, invariant) => (node(NodeKind::Negate(Box::new(input))), invariant),
        },
        ExprKind::Call(def, args) => call(def, args, pos),
        ExprKind::Aggregate(aggregate) => {
            let (input, input_invariant) = build(&aggregate.expr);
            let param = aggregate.param.as_ref().map(build);
            let param_invariant = param.as_ref().is_none_or(|(_, invariant)| *invariant);
            let invariant = input_invariant && param_invariant;
            let wrapped = |(node, own): (Node, bool)| wrap(node, own && !invariant);
            let input_ordered = is_ordered(&input);
            let built = AggregateNode {
                op: aggregate.op,
                grouping: match &aggregate.grouping {
                    Grouping::By(labels) => Grouping::By(sorted(labels)),
                    Grouping::Without(labels) => Grouping::Without(sorted(labels)),
                },
                param: param.map(wrapped),
                input: wrapped((input, input_invariant)),
                input_ordered,
            };
            (node(NodeKind::Aggregate(Box::new(built))), invariant)
        }
        ExprKind::Binary(binary) => {
            let (lhs, lhs_invariant) = build(&binary.lhs);
            let (rhs, rhs_invariant) = build(&binary.rhs);
            let invariant = lhs_invariant && rhs_invariant;
            if let (NodeKind::Number(l), NodeKind::Number(r)) = (&lhs.kind, &rhs.kind) {
                return (
                    node(NodeKind::Number(operator::scalars(binary.op, *l, *r))),
                    true,
                );
            }
            let lhs = wrap(lhs, lhs_invariant && !invariant);
            let rhs = wrap(rhs, rhs_invariant && !invariant);
            let scalar = |expr: &Expr| expr.value_type() == ValueType::Scalar;
            let (op, return_bool) = (binary.op, binary.return_bool);
            let kind = match (scalar(&binary.lhs), scalar(&binary.rhs)) {
                (true, true) => NodeKind::ScalarBinary(op, Box::new(lhs), Box::new(rhs)),
                (false, false) => NodeKind::VectorVector(Box::new(VectorVector {
                    op,
                    return_bool,
                    matching: Matching {
                        labels: sorted(&binary.matching.labels),
                        include: sorted(&binary.matching.include),
                        ..binary.matching.clone()
                    },
                    lhs,
                    rhs,
                })),
                (scalar_left, _) => {
                    let (scalar, vector) = if scalar_left { (lhs, rhs) } else { (rhs, lhs) };
                    let built = VectorScalar {
                        op,
                        return_bool,
                        vector,
                        scalar,
                        scalar_left,
                    };
                    NodeKind::VectorScalar(Box::new(built))
                }
            };
            (node(kind), invariant)
        }
    }
}

/// Labels in order, each once.
fn sorted(labels: &[Arc<str>]) -> Vec<Arc<str>> {
    let mut labels = labels.to_vec();
    labels.sort();
    labels.dedup();
    labels
}

/// `+v`: the same vector, but no selector any more to functions that look at what they are given.
fn unchanged(input: Node) -> NodeKind {
    NodeKind::Element(Box::new(ElementCall {
        name: "+",
        kernel: |_, _, _| {},
        keeps_name: true,
        input,
        params: Vec::new(),
        args: Vec::new(),
    }))
}

/// Wraps a node so that it is computed once, where that makes a difference.
fn wrap(node: Node, invariant: bool) -> Node {
    let plain = matches!(
        node.kind,
        NodeKind::Number(_) | NodeKind::String(_) | NodeKind::Window(_)
    );
    if !invariant || plain {
        return node;
    }
    let pos = node.pos;
    Node::new(NodeKind::Invariant(Box::new(node)), pos)
}

fn select(selector: &Selector) -> Select {
    Select {
        matchers: selector.matchers.clone(),
        offset_ms: selector.offset.ms(),
        at: selector.at,
        edge: selector.edge,
        labels: LabelsNeeded::All,
        name: selector.pinned_name().cloned(),
    }
}

fn range_source(expr: &Expr) -> (RangeSource, bool) {
    match &expr.unparen().kind {
        ExprKind::Range(selector, range) => {
            let invariant = selector.at.is_some();
            (RangeSource::Select(select(selector), range.ms()), invariant)
        }
        ExprKind::Subquery(subquery) => {
            let (input, inner) = build(&subquery.expr);
            let built = SubqueryNode {
                input: wrap(input, inner),
                range_ms: subquery.range.ms(),
                step_ms: subquery.step.as_ref().map(Length::ms),
                offset_ms: subquery.offset.ms(),
                at: subquery.at,
            };
            (
                RangeSource::Subquery(Box::new(built)),
                subquery.at.is_some(),
            )
        }
        // The check of types lets nothing else through.
        _ => (RangeSource::Select(Select::nothing(), 1), true),
    }
}

impl Select {
    fn nothing() -> Self {
        Self {
            matchers: Vec::new(),
            offset_ms: 0,
            at: None,
            edge: Edge::Open,
            labels: LabelsNeeded::All,
            name: None,
        }
    }
}

fn call(def: &'static FunctionDef, args: &[Expr], pos: Pos) -> (Node, bool) {
    let node = |kind| Node::new(kind, pos);
    let places: Vec<Pos> = args.iter().map(|arg| arg.unparen().pos).collect();
    let built: Vec<(Node, bool)> = args
        .iter()
        .map(|arg| {
            if arg.value_type() == ValueType::Matrix {
                window(arg)
            } else {
                build(arg)
            }
        })
        .collect();
    // Left out arguments mean `vector(time())`, so they depend on the step.
    let step_dependent = STEP_DEPENDENT.contains(&def.name);
    let invariant = !step_dependent && built.iter().all(|(_, invariant)| *invariant);
    let input_arg = args
        .iter()
        .position(|arg| matches!(arg.value_type(), ValueType::Matrix | ValueType::Vector));
    let mut nodes: Vec<Node> = built
        .into_iter()
        .map(|(node, own)| wrap(node, own && !invariant))
        .collect();
    let kind = match def.kernel {
        Kernel::Special(special) => NodeKind::Special(special, nodes),
        Kernel::Range(kernel) => {
            let at = input_arg.unwrap_or_default();
            let source = match nodes.remove(at).kind {
                NodeKind::Window(source) => source,
                // The check of types lets nothing else through.
                _ => RangeSource::Select(Select::nothing(), 1),
            };
            NodeKind::Range(Box::new(RangeCall {
                name: def.name,
                kernel,
                keeps_name: def.keeps_name,
                source,
                params: nodes,
                args: places,
            }))
        }
        Kernel::Element(kernel) => {
            let input = match input_arg {
                Some(at) => nodes.remove(at),
                None => {
                    let time = node(NodeKind::Special(Special::Time, Vec::new()));
                    node(NodeKind::Special(Special::Vector, vec![time]))
                }
            };
            NodeKind::Element(Box::new(ElementCall {
                name: def.name,
                kernel,
                keeps_name: def.keeps_name,
                input,
                params: nodes,
                args: places,
            }))
        }
        Kernel::Buckets(kernel) => {
            let input_arg = input_arg.unwrap_or_default();
            NodeKind::Buckets(Box::new(BucketCall {
                name: def.name,
                kernel,
                input: nodes.remove(input_arg),
                input_arg,
                params: nodes,
                args: places,
            }))
        }
    };
    (node(kind), invariant)
}

fn window(arg: &Expr) -> (Node, bool) {
    let (source, invariant) = range_source(arg);
    (Node::new(NodeKind::Window(source), arg.pos), invariant)
}

/// Tells selectors which labels are needed of them. `wanted` are the labels that the nodes above
/// look at, where an aggregation above folds series one by one; `None`: all.
fn push_labels(node: &mut Node, wanted: Option<&[Arc<str>]>) {
    match &mut node.kind {
        NodeKind::Number(_) | NodeKind::String(_) => {}
        NodeKind::Select(select) => need(select, wanted),
        NodeKind::Window(source) => push_source(source, None),
        NodeKind::Range(call) => {
            push_source(&mut call.source, wanted);
            call.params
                .iter_mut()
                .for_each(|param| push_labels(param, None));
        }
        NodeKind::Element(call) => {
            push_labels(&mut call.input, wanted);
            call.params
                .iter_mut()
                .for_each(|param| push_labels(param, None));
        }
        NodeKind::Negate(input) | NodeKind::Invariant(input) => push_labels(input, wanted),
        NodeKind::VectorScalar(binary) => {
            push_labels(&mut binary.vector, wanted);
            push_labels(&mut binary.scalar, None);
        }
        NodeKind::Aggregate(aggregate) => {
            let folds = !matches!(
                aggregate.op,
                AggregateOp::Topk
                    | AggregateOp::Bottomk
                    | AggregateOp::Limitk
                    | AggregateOp::LimitRatio
            );
            let wanted = match &aggregate.grouping {
                Grouping::By(labels) if folds => Some(labels.as_slice()),
                _ => None,
            };
            push_labels(&mut aggregate.input, wanted);
            if let Some(param) = &mut aggregate.param {
                push_labels(param, None);
            }
        }
        NodeKind::Buckets(call) => {
            push_labels(&mut call.input, None);
            call.params
                .iter_mut()
                .for_each(|param| push_labels(param, None));
        }
        // These see only whether there is anything, or what the one value is.
        NodeKind::Special(Special::Absent | Special::AbsentOverTime | Special::Scalar, args) => {
            for arg in args {
                match &mut arg.kind {
                    NodeKind::Window(source) => push_source(source, Some(&[])),
                    _ => push_labels(arg, Some(&[])),
                }
            }
        }
        NodeKind::Special(_, args) => args.iter_mut().for_each(|arg| push_labels(arg, None)),
        NodeKind::ScalarBinary(_, lhs, rhs) => {
            push_labels(lhs, None);
            push_labels(rhs, None);
        }
        NodeKind::VectorVector(binary) => {
            push_labels(&mut binary.lhs, None);
            push_labels(&mut binary.rhs, None);
        }
    }
}

fn push_source(source: &mut RangeSource, wanted: Option<&[Arc<str>]>) {
    match source {
        RangeSource::Select(select, _) => need(select, wanted),
        RangeSource::Subquery(subquery) => push_labels(&mut subquery.input, wanted),
    }
}

/// Only where all series have one name: without it, that two series become one when their names
/// are dropped could not be noticed any more.
fn need(select: &mut Select, wanted: Option<&[Arc<str>]>) {
    if let (Some(wanted), true) = (wanted, select.name.is_some()) {
        let mut labels: Vec<Arc<str>> = wanted.to_vec();
        labels.sort();
        labels.dedup();
        select.labels = LabelsNeeded::Only(labels);
    }
}

/// How deep a tree nests.
pub(super) fn depth(expr: &Expr) -> usize {
    1 + match &expr.kind {
        ExprKind::Number(..)
        | ExprKind::String(_)
        | ExprKind::Selector(_)
        | ExprKind::Range(..) => 0,
        ExprKind::Subquery(subquery) => depth(&subquery.expr),
        ExprKind::Call(_, args) => args.iter().map(depth).max().unwrap_or(0),
        ExprKind::Aggregate(aggregate) => {
            depth(&aggregate.expr).max(aggregate.param.as_ref().map_or(0, depth))
        }
        ExprKind::Binary(binary) => depth(&binary.lhs).max(depth(&binary.rhs)),
        ExprKind::Negate(expr) | ExprKind::Plus(expr) | ExprKind::Paren(expr) => depth(expr),
    }
}

/// Whether the order of the vector's elements is one that the query asked for.
fn is_ordered(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Special(special, args) => match special {
            Special::Sort | Special::SortDesc | Special::SortByLabel | Special::SortByLabelDesc => {
                true
            }
            Special::LabelReplace | Special::LabelJoin => args.first().is_some_and(is_ordered),
            _ => false,
        },
        NodeKind::Aggregate(aggregate) => match aggregate.op {
            AggregateOp::Topk | AggregateOp::Bottomk => true,
            AggregateOp::Limitk | AggregateOp::LimitRatio => is_ordered(&aggregate.input),
            _ => false,
        },
        NodeKind::Element(call) => is_ordered(&call.input),
        NodeKind::Negate(input) | NodeKind::Invariant(input) => is_ordered(input),
        NodeKind::VectorScalar(binary) => is_ordered(&binary.vector),
        // The right side of an `or` comes behind the left one.
        NodeKind::VectorVector(binary) if binary.op == BinaryOp::Or => {
            is_ordered(&binary.lhs) || is_ordered(&binary.rhs)
        }
        NodeKind::VectorVector(binary) => is_ordered(match binary.matching.cardinality {
            Cardinality::OneToMany => &binary.rhs,
            _ => &binary.lhs,
        }),
        _ => false,
    }
}
