//! Each query as it is printed.

use crate::parse::{ParseOptions, parse};

fn options() -> ParseOptions {
    ParseOptions {
        experimental: true,
        ..ParseOptions::default()
    }
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let parsed = |text: &str| match parse(text, &options()) {
        Ok(expr) => expr,
        Err(error) => panic!("{text}: {error}"),
    };
    assert_eq!(parsed(text).to_string(), expected);
    assert_eq!(parsed(expected).to_string(), expected);
    // What is broken into lines is the same query.
    assert_eq!(parsed(&parsed(text).pretty()).to_string(), expected);
}

#[track_caller]
fn same(text: &str) {
    check(text, text);
}

#[test]
fn aggregations() {
    check("sum(x)by(a)", "sum by (a) (x)");
    check("sum by()(x)", "sum(x)");
    check("sum without()(x)", "sum without () (x)");
    check("sum(x) without(\"a.b\",c)", "sum without (\"a.b\", c) (x)");
    check("count by(\"ä\", job)(x)", "count by (\"ä\", job) (x)");
    check("topk(3, rate(a[90s]))", "topk(3, rate(a[1m30s]))");
    same("count_values(\"value\", a:b:c{d=\"e\"})");
    check("quantile(0.9, x)by(y)", "quantile by (y) (0.9, x)");
}

#[test]
fn operators() {
    check("a>bool 1e3", "a > bool 1000");
    check("a-on()b", "a - on () b");
    check("a-ignoring()b", "a - b");
    check("a/on(b)group_left(c)d", "a / on (b) group_left (c) d");
    check("a/on(b)group_right d", "a / on (b) group_right () d");
    check(
        "a-ignoring()group_left c",
        "a - ignoring () group_left () c",
    );
    check(
        "a*ignoring(x)group_right(y,\"z.z\")c",
        "a * ignoring (x) group_right (y, \"z.z\") c",
    );
    check("a and on(b) c", "a and on (b) c");
    check("a unless ignoring()b", "a unless b");
    check("a+fill(-2)b", "a + fill (-2) b");
    check("a+fill_right(1e21)b", "a + fill_right (1e+21) b");
    check(
        "a+fill_left(0.00005)fill_right(42)b",
        "a + fill_left (5e-05) fill_right (42) b",
    );
    check(
        "a+on(b)group_left()fill(1)c",
        "a + on (b) group_left () fill (1) c",
    );
    same("-max_over_time((a or b)[1h:])");
    same("+a");
    check("-1^2", "-1 ^ 2");
    check("-Inf^2^+Inf+Inf", "-Inf ^ 2 ^ +Inf + +Inf");
    check("(a)+-b", "(a) + -b");
    same("a atan2 b");
    same("a </ 5");
}

#[test]
fn selectors() {
    check(
        "x{c=~`d\\.`,a='b'}[5m]offset -1h @1",
        "x{a=\"b\",c=~\"d\\\\.\"}[5m] @ 1.000 offset -1h",
    );
    check(
        "{\"a b\",'x.y'!=\"1\"}",
        "{\"x.y\"!=\"1\",__name__=\"a b\"}",
    );
    same("{__name__=\"a\"}");
    same("{__name__=\"\",a=\"x\"}");
    same("{__name__=~\"a|b\"}");
    check("{\"_0\"=\"1\",\"0\"=\"2\"}", "{\"0\"=\"2\",_0=\"1\"}");
    check("{``=\"0\"}", "{\"\"=\"0\"}");
    same("a offset 1m");
    same("a offset -7m");
    same("a @ start() offset 1m");
    check("a offset 1m @ end()", "a @ end() offset 1m");
    check("a @ -1.5", "a @ -1.500");
    same("a[1m] @ end()");
    same("a[1h:5m] @ start() offset 1m");
    same("a[1h:]");
    same("a anchored");
    same("a smoothed offset 1m");
    same("a{b=\"c\"}[5m] anchored @ start() offset 1m");
    same("a[5m] smoothed");
}

#[test]
fn literals() {
    check("1e30", "1000000000000000000000000000000");
    check("0x10", "16");
    check(".00001", "0.00001");
    check("inf", "+Inf");
    check("-Inf", "-Inf");
    check("nan", "NaN");
    check("1h30m", "1h30m");
    check("-90m", "-1h30m");
    check("7d", "1w");
    check("8d", "8d");
    check("a[365d]", "a[1y]");
    check("a[3600]", "a[1h]");
    check("a[1500ms]", "a[1s500ms]");
    check("'it\"s'", "\"it\\\"s\"");
    check(
        "\"\\a\\b\\f\\n\\r\\t\\v\\x01\\x7f\"",
        "\"\\a\\b\\f\\n\\r\\t\\v\\x01\\x7f\"",
    );
    check("\"ü\\u00a0\\u200b\\U0001f600\"", "\"ü\\u00a0\\u200b😀\"");
    check("`\\`", "\"\\\\\"");
}

#[test]
fn duration_expressions() {
    same("foo[step()]");
    same("foo[-step()]");
    same("foo[(step())]");
    same("foo offset -(step())");
    check("foo offset +(5*2)", "foo offset (5 * 2)");
    check("foo[(5m)]", "foo[5m]");
    check("foo[5m+1m:1s*2]", "foo[5m + 1m:1s * 2]");
    check(
        "foo offset -min_of(10s, +max_of(step()^2, 2))",
        "foo offset -min_of(10s, max_of(step() ^ 2, 2))",
    );
    check(
        "foo[200-min_of(-step()^+step(),1)]",
        "foo[200 - min_of(-step() ^ step(), 1)]",
    );
    same("foo[max_of(range(), 5s)]");
}

#[track_caller]
fn pretty(text: &str, expected: &str) {
    let expr = parse(text, &options()).expect("a query");
    assert_eq!(expr.pretty(), expected);
}

#[test]
fn lines_end_at_a_hundred_bytes() {
    let fits = format!("sum({})", "x".repeat(95));
    pretty(&fits, &fits);
    let long = "x".repeat(96);
    pretty(&format!("sum({long})"), &format!("sum(\n  {long}\n)"));
    // Bytes, not characters.
    let text = format!("sum({{a=\"{}\"}})", "ä".repeat(46));
    pretty(
        &text,
        &text.replace("sum({", "sum(\n  {").replace("})", "}\n)"),
    );
}

#[test]
fn each_kind_is_broken_in_its_own_way() {
    let x = format!("rate({}{{job=\"something\"}}[5m])", "x".repeat(50));
    pretty(
        &format!("sum by (job) ({x}) / on (job) group_left () sum by (job) ({x})"),
        &format!("  sum by (job) ({x})\n/ on (job) group_left ()\n  sum by (job) ({x})"),
    );
    pretty(
        &format!("topk(3, abs(x_of_this_name - {x}))"),
        &format!("topk(\n  3,\n  abs(x_of_this_name - {x})\n)"),
    );
    pretty(
        &format!("-clamp(({x} + 1), 0.123456, 1.123456)"),
        &format!("-clamp(\n  ({x} + 1),\n  0.123456,\n  1.123456\n)"),
    );
    // A subquery that fits is not indented, one that does not is broken within.
    pretty(
        &format!("max_over_time({x}[1h:1m]) + {x}"),
        &format!("  max_over_time({x}[1h:1m])\n+\n  {x}"),
    );
    pretty(
        &format!("quantile_over_time(0.123456789, {x}[1h:1m])"),
        &format!("quantile_over_time(\n  0.123456789,\n{x}[1h:1m]\n)"),
    );
    pretty(
        &format!("max_over_time(({x} + {x})[1h:1m])"),
        &format!("max_over_time(\n  (\n      {x}\n    +\n      {x}\n  )[1h:1m]\n)"),
    );
}

#[test]
fn what_is_long_and_deep_is_broken_into_lines() {
    let wide = "\u{e4}".repeat(14_000);
    for text in [
        format!("x{{a=\"{wide}\"}}{}", " + 1".repeat(999)),
        format!("{}x{{a=\"{wide}\"}}", "-".repeat(999)),
    ] {
        let expr = parse(&text, &options()).expect("a query");
        assert_eq!(expr.to_string(), text);
        let pretty = expr.pretty();
        assert!(pretty.lines().count() > text.matches(" + ").count());
        let longer = ParseOptions {
            max_bytes: usize::MAX,
            ..options()
        };
        let again = parse(&pretty, &longer).expect("a query");
        assert_eq!(again.to_string(), text);
    }
}
