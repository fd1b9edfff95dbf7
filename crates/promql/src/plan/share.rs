//! Finds vectors that a query computes more than once, so that the first can be kept for the
//! others.
//!
//! Two nodes are the same where their texts would be: all of what they compute is equal, and their
//! parts stand equally far from their starts, so that what is said of a part of one holds of the
//! same part of the other.

use std::collections::HashMap;
use std::fmt::Write;

use super::{Node, NodeKind, RangeSource};
use crate::annotations::Pos;
use crate::eval::kernel::Special;

/// Plans nested deeper are left as they are.
const MAX_DEPTH: usize = 200;

/// A digest of a node and how many vectors there are in it, itself included.
type Digests = Vec<(u128, usize)>;

/// Marks the vectors that occur more than once; returns how often each does.
pub(super) fn mark(root: &mut Node, depth: usize) -> Vec<usize> {
    if depth > MAX_DEPTH {
        return Vec::new();
    }
    let mut digests = Digests::new();
    digest(root, &mut digests);
    let mut uses: HashMap<u128, usize> = HashMap::new();
    visit(root, true, &digests, &mut 0, &mut |_, digest| {
        let uses = uses.entry(digest).or_default();
        *uses += 1;
        *uses == 1
    });
    let mut slots: HashMap<u128, usize> = HashMap::new();
    let mut counts = Vec::new();
    visit(root, true, &digests, &mut 0, &mut |node, digest| {
        let count = uses.get(&digest).copied().unwrap_or_default();
        if count < 2 {
            return true;
        }
        let slot = *slots.entry(digest).or_insert(counts.len());
        let is_first = slot == counts.len();
        if is_first {
            counts.push(count);
        }
        node.shared = Some(slot);
        is_first
    });
    counts
}

/// Visits the vectors that may be kept, outer ones first; goes into those of which `see` says so.
/// `whole` is whether the node may be kept itself: functions of the engine look at what their
/// arguments are.
fn visit(
    node: &mut Node,
    whole: bool,
    digests: &Digests,
    at: &mut usize,
    see: &mut dyn FnMut(&mut Node, u128) -> bool,
) {
    let (digest, size) = digests[*at];
    let end = *at + size;
    if whole && is_kept(&node.kind) && !see(node, digest) {
        *at = end;
        return;
    }
    *at += 1;
    let whole = match &node.kind {
        NodeKind::Special(special, _) => *special == Special::Scalar,
        NodeKind::Invariant(_) => whole,
        _ => true,
    };
    for child in children(node) {
        visit(child, whole, digests, at, see);
    }
}

fn is_kept(kind: &NodeKind) -> bool {
    match kind {
        NodeKind::Number(_)
        | NodeKind::String(_)
        | NodeKind::Window(_)
        | NodeKind::ScalarBinary(..)
        | NodeKind::Invariant(_) => false,
        NodeKind::Special(special, _) => matches!(
            special,
            Special::Absent
                | Special::AbsentOverTime
                | Special::HistogramQuantiles
                | Special::Info
                | Special::LabelJoin
                | Special::LabelReplace
                | Special::Timestamp
        ),
        _ => true,
    }
}

/// The nodes below a node, in a fixed order.
fn children(node: &mut Node) -> Vec<&mut Node> {
    fn of_source(source: &mut RangeSource) -> Option<&mut Node> {
        match source {
            RangeSource::Select(..) => None,
            RangeSource::Subquery(subquery) => Some(&mut subquery.input),
        }
    }
    match &mut node.kind {
        NodeKind::Number(_) | NodeKind::String(_) | NodeKind::Select(_) => Vec::new(),
        NodeKind::Window(source) => of_source(source).into_iter().collect(),
        NodeKind::Range(call) => {
            let source = of_source(&mut call.source).into_iter();
            source.chain(&mut call.params).collect()
        }
        NodeKind::Element(call) => std::iter::once(&mut call.input)
            .chain(&mut call.params)
            .collect(),
        NodeKind::Buckets(call) => std::iter::once(&mut call.input)
            .chain(&mut call.params)
            .collect(),
        NodeKind::Special(_, args) => args.iter_mut().collect(),
        NodeKind::Aggregate(aggregate) => {
            let input = std::iter::once(&mut aggregate.input);
            input.chain(&mut aggregate.param).collect()
        }
        NodeKind::ScalarBinary(_, lhs, rhs) => vec![lhs, rhs],
        NodeKind::VectorScalar(binary) => vec![&mut binary.vector, &mut binary.scalar],
        NodeKind::VectorVector(binary) => vec![&mut binary.lhs, &mut binary.rhs],
        NodeKind::Negate(input) | NodeKind::Invariant(input) => vec![input],
    }
}

/// Writes down the digests of a node and of all below it, in the order of [`visit`].
fn digest(node: &mut Node, digests: &mut Digests) -> u128 {
    let at = digests.len();
    digests.push((0, 0));
    let start = node.pos.start;
    let mut text = own_text(node);
    for child in children(node) {
        let from = child.pos.start.wrapping_sub(start);
        let digest = digest(child, digests);
        // Writing to a string can't fail.
        let _ = write!(text, "|{from},{digest:x}");
    }
    let digest = xxhash_rust::xxh3::xxh3_128(text.as_bytes());
    digests[at] = (digest, digests.len() - at);
    digest
}

/// All that a node says of itself, without its place and what is below it.
fn own_text(node: &Node) -> String {
    let start = node.pos.start;
    let place = |pos: &Pos| (pos.start.wrapping_sub(start), pos.end.wrapping_sub(start));
    let places = |all: &[Pos]| all.iter().map(place).collect::<Vec<_>>();
    let length = place(&node.pos).1;
    let own = match &node.kind {
        NodeKind::Number(value) => format!("number {:x}", value.to_bits()),
        NodeKind::String(text) => format!("string {text:?}"),
        NodeKind::Select(select) => format!("{select:?}"),
        NodeKind::Window(source) => format!("window {}", source_text(source)),
        NodeKind::Range(call) => {
            let source = source_text(&call.source);
            format!("range {} {source} {:?}", call.name, places(&call.args))
        }
        NodeKind::Element(call) => format!("element {} {:?}", call.name, places(&call.args)),
        NodeKind::Buckets(call) => {
            let (args, at) = (places(&call.args), call.input_arg);
            format!("buckets {} {args:?} {at}", call.name)
        }
        NodeKind::Special(special, args) => format!("special {special:?} {}", args.len()),
        NodeKind::Aggregate(aggregate) => {
            format!("{:?} {:?}", aggregate.op, aggregate.grouping)
        }
        NodeKind::ScalarBinary(op, ..) => format!("scalars {op:?}"),
        NodeKind::VectorScalar(binary) => format!(
            "vector {:?} {} {}",
            binary.op, binary.return_bool, binary.scalar_left
        ),
        NodeKind::VectorVector(binary) => format!(
            "vectors {:?} {} {:?}",
            binary.op, binary.return_bool, binary.matching
        ),
        NodeKind::Negate(_) => "negate".to_owned(),
        NodeKind::Invariant(_) => "once".to_owned(),
    };
    format!("{length} {own}")
}

fn source_text(source: &RangeSource) -> String {
    match source {
        RangeSource::Select(select, range_ms) => format!("{select:?} {range_ms}"),
        RangeSource::Subquery(subquery) => format!(
            "{} {:?} {} {:?}",
            subquery.range_ms, subquery.step_ms, subquery.offset_ms, subquery.at
        ),
    }
}
