//! The tree of a query as JSON, as Prometheus's `parse_query` tells it.

use promql::ast::{
    Aggregate, At, Binary, BinaryOp, Cardinality, DurationExpr, Edge, Expr, ExprKind, Grouping,
    Length, Selector, Subquery,
};
use promql::value::ValueType;
use serde_json::{Value, json};

/// The tree of an expression.
pub(super) fn tree(expr: &Expr) -> Value {
    match &expr.kind {
        ExprKind::Number(value, _) => json!({"type": "numberLiteral", "val": number(*value)}),
        ExprKind::String(text) => json!({"type": "stringLiteral", "val": text}),
        ExprKind::Selector(selector) => selected("vectorSelector", selector),
        ExprKind::Range(selector, range) => {
            let mut node = selected("matrixSelector", selector);
            node["range"] = milliseconds(range);
            node["rangeExpr"] = length_expr(range);
            node
        }
        ExprKind::Subquery(subquery) => self::subquery(subquery),
        ExprKind::Call(def, args) => {
            let types = def.args.iter().map(|arg| arg.api_name());
            let func = json!({
                "name": def.name,
                "argTypes": types.collect::<Vec<_>>(),
                "variadic": def.variadic,
                "returnType": def.returns.api_name(),
            });
            let args = args.iter().map(tree).collect();
            with(json!({"type": "call", "func": func}), [("args", args)])
        }
        ExprKind::Aggregate(aggregate) => self::aggregate(aggregate),
        ExprKind::Binary(binary) => self::binary(binary),
        ExprKind::Negate(inner) => unary("-", inner),
        ExprKind::Plus(inner) => unary("+", inner),
        ExprKind::Paren(inner) => with(json!({"type": "parenExpr"}), [("expr", tree(inner))]),
    }
}

/// A node with what stands below it. Written into the literal, each would be copied at each level.
fn with<const N: usize>(mut node: Value, below: [(&str, Value); N]) -> Value {
    for (name, child) in below {
        node[name] = child;
    }
    node
}

fn unary(op: &str, inner: &Expr) -> Value {
    let node = json!({"type": "unaryExpr", "op": op});
    with(node, [("expr", tree(inner))])
}

fn selected(kind: &str, selector: &Selector) -> Value {
    let matchers = selector.matchers.iter().map(|matcher| {
        let op = match matcher.op {
            model::MatchOp::Equal => "=",
            model::MatchOp::NotEqual => "!=",
            model::MatchOp::Regex => "=~",
            model::MatchOp::NotRegex => "!~",
        };
        json!({"name": &*matcher.name, "value": &*matcher.value, "type": op})
    });
    let (timestamp, start_or_end) = at(selector.at);
    json!({
        "type": kind,
        "name": selector.name.as_deref().unwrap_or_default(),
        "offset": milliseconds(&selector.offset),
        "offsetExpr": length_expr(&selector.offset),
        "matchers": matchers.collect::<Vec<_>>(),
        "timestamp": timestamp,
        "startOrEnd": start_or_end,
        "anchored": selector.edge == Edge::Anchored,
        "smoothed": selector.edge == Edge::Smoothed,
    })
}

fn subquery(subquery: &Subquery) -> Value {
    let step = subquery.step.as_ref().unwrap_or(&Length::ZERO);
    let (timestamp, start_or_end) = at(subquery.at);
    let node = json!({
        "type": "subquery",
        "range": milliseconds(&subquery.range),
        "rangeExpr": length_expr(&subquery.range),
        "offset": milliseconds(&subquery.offset),
        "offsetExpr": length_expr(&subquery.offset),
        "step": milliseconds(step),
        "stepExpr": length_expr(step),
        "timestamp": timestamp,
        "startOrEnd": start_or_end,
    });
    with(node, [("expr", tree(&subquery.expr))])
}

fn aggregate(aggregate: &Aggregate) -> Value {
    let (names, without) = match &aggregate.grouping {
        Grouping::By(names) => (names, false),
        Grouping::Without(names) => (names, true),
    };
    let node = json!({
        "type": "aggregation",
        "op": aggregate.op.name(),
        "grouping": strings(names),
        "without": without,
    });
    let param = aggregate.param.as_ref().map_or(Value::Null, tree);
    with(node, [("expr", tree(&aggregate.expr)), ("param", param)])
}

fn binary(binary: &Binary) -> Value {
    let is_vector = |side: &Expr| side.value_type() == ValueType::Vector;
    let matching = (is_vector(&binary.lhs) && is_vector(&binary.rhs)).then(|| {
        let matching = &binary.matching;
        let card = match matching.cardinality {
            Cardinality::OneToOne => "one-to-one",
            Cardinality::ManyToOne => "many-to-one",
            Cardinality::OneToMany => "one-to-many",
            Cardinality::ManyToMany => "many-to-many",
        };
        json!({
            "card": card,
            "labels": strings(&matching.labels),
            "on": matching.on,
            "include": strings(&matching.include),
            "fillValues": {
                "lhs": matching.fill_left.map(json_number),
                "rhs": matching.fill_right.map(json_number),
            },
        })
    });
    let node = json!({
        "type": "binaryExpr",
        "op": binary.op.symbol(),
        "matching": matching,
        "bool": binary.return_bool,
    });
    with(
        node,
        [("lhs", tree(&binary.lhs)), ("rhs", tree(&binary.rhs))],
    )
}

/// `timestamp` and `startOrEnd`.
fn at(at: Option<At>) -> (Option<i64>, Option<&'static str>) {
    match at {
        None => (None, None),
        Some(At::Time(t)) => (Some(t), None),
        Some(At::Start) => (None, Some("start")),
        Some(At::End) => (None, Some("end")),
    }
}

/// A length that is known; 0 where it is computed.
fn milliseconds(length: &Length) -> Value {
    match length {
        Length::Fixed(ms) => json!(ms),
        Length::Computed(expr) => match literal(expr) {
            Some((seconds, _)) => json!((seconds * 1000.0).round() as i64),
            None => json!(0),
        },
    }
}

/// How a length is computed; null where it is known.
fn length_expr(length: &Length) -> Value {
    match length {
        Length::Computed(expr) if literal(expr).is_none() => duration(expr, false),
        Length::Fixed(_) | Length::Computed(_) => Value::Null,
    }
}

/// A number, with parentheses around it or without.
fn literal(expr: &DurationExpr) -> Option<(f64, bool)> {
    match expr {
        DurationExpr::Number(seconds, is_duration) => Some((*seconds, *is_duration)),
        DurationExpr::Paren(inner) => literal(inner),
        _ => None,
    }
}

/// `wrapped` is whether it stands in parentheses, which are no node of their own.
fn duration(expr: &DurationExpr, wrapped: bool) -> Value {
    if let Some((seconds, is_duration)) = literal(expr) {
        let val = number(seconds);
        return json!({"type": "numberLiteral", "val": val, "duration": is_duration});
    }
    let node = |op: &str, lhs: Option<&DurationExpr>, rhs: Option<&DurationExpr>| {
        let side =
            |side: Option<&DurationExpr>| side.map_or(Value::Null, |expr| duration(expr, false));
        let node = json!({"type": "durationExpr", "op": op, "wrapped": wrapped});
        with(node, [("lhs", side(lhs)), ("rhs", side(rhs))])
    };
    match expr {
        DurationExpr::Paren(inner) => duration(inner, true),
        DurationExpr::Step => node("step", None, None),
        DurationExpr::Range => node("range", None, None),
        DurationExpr::MinOf(a, b) => node("min_of", Some(a), Some(b)),
        DurationExpr::MaxOf(a, b) => node("max_of", Some(a), Some(b)),
        DurationExpr::Binary(op, lhs, rhs) => node(op.symbol(), Some(lhs), Some(rhs)),
        DurationExpr::Negate(inner) => node(BinaryOp::Sub.symbol(), None, Some(inner)),
        DurationExpr::Number(..) => Value::Null,
    }
}

fn strings(names: &[std::sync::Arc<str>]) -> Value {
    names.iter().map(|name| Value::from(&**name)).collect()
}

/// A number as text, without an exponent.
fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    value.to_string()
}

/// A number as JSON: a whole one without a fraction, one that JSON doesn't know as null.
fn json_number(value: f64) -> Value {
    let whole = value as i64;
    if whole as f64 == value && whole.unsigned_abs() < 1 << 53 {
        return json!(whole);
    }
    json!(value)
}

#[cfg(test)]
mod tests {
    use promql::parse::{ParseOptions, parse};

    use super::*;

    #[track_caller]
    fn parsed(query: &str) -> Value {
        let options = ParseOptions {
            experimental: true,
            ..ParseOptions::default()
        };
        match parse(query, &options) {
            Ok(expr) => tree(&expr),
            Err(error) => panic!("{query}: {error}"),
        }
    }

    /// The trees of one query of each kind.
    #[test]
    fn every_kind_of_node() {
        let queries = [
            "foo",
            "{__name__=\"foo\",a!=\"b\",c=~\"d\",e!~\"f\"}",
            "foo{a=\"b\"} @ 1.5 offset -5m",
            "foo[5m] @ end()",
            "foo @ start() anchored",
            "rate(foo[1m] smoothed)",
            "max_over_time(foo[1h:1m] @ start() offset 1m)",
            "foo[1h:]",
            "sum(foo)",
            "topk without (a, b) (3, foo)",
            "count_values by (a) (\"b\", foo)",
            "-foo",
            "+foo",
            "-1e-7",
            "(1h30m)",
            "+Inf",
            "\"text\"",
            "1 + 2",
            "foo > bool 1",
            "foo - bar",
            "foo / on (a) group_left (b) bar",
            "foo * ignoring () group_right () bar",
            "foo and on () bar",
            "foo + fill_left (-2) fill_right (0.5) bar",
            "round(foo)",
            "time()",
            "label_join(foo, \"a\", \"b\", \"c\", \"d\")",
        ];
        let mut shown = String::new();
        for query in queries {
            shown.push_str(&format!("{query}\n  {}\n", parsed(query)));
        }
        insta::assert_snapshot!(shown);
    }

    fn literal(val: &str, duration: bool) -> Value {
        json!({"type": "numberLiteral", "val": val, "duration": duration})
    }

    fn computed(op: &str, lhs: Value, rhs: Value, wrapped: bool) -> Value {
        json!({"type": "durationExpr", "op": op, "lhs": lhs, "rhs": rhs, "wrapped": wrapped})
    }

    #[track_caller]
    fn check(query: &str, fields: &[(&str, Value)]) {
        let node = parsed(query);
        for (name, expected) in fields {
            assert_eq!(node.get(*name), Some(expected), "{query}: {name}");
        }
    }

    #[test]
    fn lengths_that_are_computed() {
        let sum = computed("+", literal("300", true), literal("60", true), false);
        check(
            "a[5m]",
            &[("range", json!(300_000)), ("rangeExpr", Value::Null)],
        );
        check(
            "a[(5m)]",
            &[("range", json!(300_000)), ("rangeExpr", Value::Null)],
        );
        check("a[5m+1m]", &[("range", json!(0)), ("rangeExpr", sum)]);
        let half = computed("/", literal("600", true), literal("2", false), true);
        check(
            "a[5m] offset (10m/2)",
            &[("offset", json!(0)), ("offsetExpr", half)],
        );
        let step = || computed("step", Value::Null, Value::Null, false);
        let range = || computed("range", Value::Null, Value::Null, false);
        check(
            "a[max_of(step(), range())]",
            &[("rangeExpr", computed("max_of", step(), range(), false))],
        );
        let inner = computed("min_of", literal("5", true), step(), false);
        check(
            "a offset -min_of(5s, step())",
            &[("offsetExpr", computed("-", Value::Null, inner, false))],
        );
        let twice = computed("*", literal("1", true), literal("2", false), false);
        check(
            "a[8s:1s*2]",
            &[
                ("range", json!(8_000)),
                ("step", json!(0)),
                ("stepExpr", twice),
                ("offset", json!(0)),
                ("offsetExpr", Value::Null),
            ],
        );
    }
}
