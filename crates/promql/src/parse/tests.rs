//! What parses, what does not, and where things stand.

use super::{ParseOptions, parse, parse_selector};
use crate::ast::ExprKind;

fn options() -> ParseOptions {
    ParseOptions {
        experimental: true,
        ..ParseOptions::default()
    }
}

#[track_caller]
fn check_error(text: &str, expected: &str) {
    let error = parse(text, &options()).err().expect("an error").to_string();
    assert!(error.contains(expected), "{text}: {error}");
}

/// The start of each expression, in the order of the tree.
#[track_caller]
fn check_positions(text: &str, expected: &[u32]) {
    let expr = parse(text, &options()).expect("a query");
    let mut starts = Vec::new();
    expr.visit(&mut |expr| starts.push(expr.pos.start));
    assert_eq!(starts, expected, "{text}");
}

#[test]
fn knows_where_expressions_stand() {
    check_positions("a + b", &[0, 0, 4]);
    check_positions("-a ^ -1", &[0, 1, 1, 5]);
    check_positions("sum by (x) (rate(a[5m]))", &[0, 12, 17]);
    check_positions("sum(rate(a[5m])) by (x)", &[0, 4, 9]);
    check_positions("topk(3, a offset 5m) or (b @ end())", &[0, 0, 5, 8, 24, 25]);
    check_positions("a / on(x, \"y\") group_left(z) b", &[0, 0, 29]);
    check_positions("a > bool 1", &[0, 0, 9]);
    check_positions("rate(a[5m] @ 100)[5m:1m]", &[0, 0, 5]);
    check_positions("# nothing\n1", &[10]);
    check_positions(
        "label_replace(a, \"b\", `$1`, 'c', \"(.*)\")",
        &[0, 14, 17, 22, 28, 33],
    );
}

#[test]
fn refuses_what_is_too_much() {
    let deep = format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000));
    check_error(&deep, "nests deeper than 100");
    check_error(&"-".repeat(10_000), "more than 1000 operators");
    check_error(&vec!["1"; 5_000].join("+"), "more than 1000 operators");
    check_error(&"a".repeat(40_000), "max_query_bytes");
    assert!(parse(&vec!["a"; 1_000].join("+"), &options()).is_ok());
    let nested = format!("{}a{}", "abs(".repeat(90), ")".repeat(90));
    if crate::functions::lookup("abs").is_some() {
        assert!(parse(&nested, &options()).is_ok());
    }
}

#[test]
fn refuses_what_is_no_promql() {
    check_error("", "1:1: parse error: no expression found in input");
    check_error("foo{", "unexpected end of input inside braces");
    check_error("foo[1e300]", "duration out of range");
    check_error("foo[0s]", "duration must be greater than 0");
    check_error("foo offset inf", "duration out of range");
    check_error(
        "rate(foo)",
        "expected type range vector in call to function \"rate\"",
    );
    check_error(
        "1 > 2",
        "comparisons between scalars must use BOOL modifier",
    );
    check_error(
        "foo and 1",
        "set operator \"and\" not allowed in binary scalar expression",
    );
    check_error("{a=\"\"}", "at least one non-empty matcher");
    check_error("{}", "at least one non-empty matcher");
    check_error("{a!=\"b\"}", "at least one non-empty matcher");
    check_error("{a!~\"b|c\"}", "at least one non-empty matcher");
    check_error("{,}", "");
    check_error("foo{__name__=\"bar\"}", "metric name must not be set twice");
    check_error("foo{a=\"b\" or c=\"d\"}", "unexpected identifier \"or\"");
    check_error("foo{a=~\"(\"}", "");
    check_error("no_such(foo)", "unknown function");
    check_error("\"abc", "unterminated quoted string");
}

#[test]
fn reads_strings_numbers_and_names() {
    let number = |text: &str| match parse(text, &options()).expect("a number").kind {
        ExprKind::Number(value, _) => value,
        _ => f64::NAN,
    };
    assert_eq!(number("0x10"), 16.0);
    assert_eq!(number("0e5"), 0.0);
    assert_eq!(number("-1.5e-7"), -1.5e-7);
    assert_eq!(number("5m"), 300.0);
    assert_eq!(number("-Inf"), f64::NEG_INFINITY);
    for asked in ["{a!=\"\"}", "{a!~\"\"}", "{a=\"\",b=~\".+\",}", "foo{}"] {
        let matchers = parse_selector(asked, &options());
        assert!(matchers.is_ok_and(|all| !all.is_empty()), "{asked}");
    }
    let matchers = parse_selector("{\"my metric\", 'a.b'=~`x\\.y|z`, c!=\"1\"}", &options());
    let printed: Vec<_> = matchers
        .expect("matchers")
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        printed,
        [
            "__name__=\"my metric\"",
            "\"a.b\"=~\"x\\\\.y|z\"",
            "c!=\"1\""
        ]
    );
}

/// Words of the language, right and wrong ones.
const WORDS: &[&str] = &[
    "a",
    "sum",
    "rate",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "offset",
    "and",
    "or",
    "unless",
    "atan2",
    "(",
    ")",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    "[5m]",
    "[1h:]",
    "[5m:1m]",
    ",",
    "+",
    "-",
    "*",
    "/",
    "^",
    "<",
    ">",
    "</",
    ">/",
    "==",
    "=~",
    "!~",
    "=",
    "@",
    "start()",
    "end()",
    "1",
    "5m",
    "1e300",
    "inf",
    "nan",
    "\"x\"",
    "`y`",
    "'z",
    "fill(0)",
    "time()",
    "topk",
    "#",
    "\n",
    "\u{e9}",
    "x:y",
    "0x",
    "1..2",
    "limitk",
    "smoothed",
    "time",
];

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]

    #[test]
    fn never_panics(words in proptest::collection::vec(proptest::sample::select(WORDS), 0..20)) {
        let text = words.join(" ");
        if let Ok(expr) = parse(&text, &options()) {
            let printed = expr.to_string();
            let again = parse(&printed, &options()).expect("what is printed parses");
            proptest::prop_assert_eq!(again.to_string(), printed);
        }
        let tight = words.concat();
        let _ = parse(&tight, &options());
    }
}

#[test]
fn computes_lengths_of_time() {
    let check = |text: &str, printed: &str| {
        let expr = parse(text, &options()).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(expr.to_string(), printed);
    };
    check("a[1800]", "a[30m]");
    check("a[5m + 2 * step()]", "a[5m + 2 * step()]");
    check("a[(5m)]", "a[5m]");
    check("a[-5m+35m]", "a[-5m + 35m]");
    check("a[1m:STEP()]", "a[1m:step()]");
    check("a offset 2 ^ 2", "a offset 2s ^ 2");
    check(
        "a offset -min_of(step(), 1s)+8",
        "a offset -min_of(step(), 1s) + 8",
    );
    check("a offset -(2m * 3)", "a offset -(2m * 3)");
    check("a[5m] anchored offset 1m", "a[5m] anchored offset 1m");
    check("a smoothed", "a smoothed");
    check_error("a[5m - ]", "unexpected");
    check_error("a[5m / 0]", "division by zero");
    check_error("a[-5m]", "duration must be greater than 0");
    check_error("a[5m and 3]", "unexpected character");
    check_error("a[5m] anchored smoothed", "cannot be used together");
    check_error("a[5m:] smoothed", "not supported for subqueries");
    let stable = ParseOptions::default();
    for text in ["a[5m + 1]", "a offset (5m)", "a[5m] anchored", "a smoothed"] {
        let error = parse(text, &stable).err().map(|error| error.to_string());
        assert!(
            error.is_some_and(|error| error.contains("experimental")),
            "{text}"
        );
    }
}

#[test]
fn words_of_the_language_name_metrics_and_labels() {
    for text in [
        "sum",
        "by",
        "offset",
        "start",
        "step",
        "fill",
        "and and and",
        "smoothed",
        "sum{a=\"b\"}",
        "count by (sum, bool, on, atan2) (min)",
        "range[5m]",
        "a + fill(0) fill",
        "end()",
        "sum by () (a)",
        "a / on () group_left b",
    ] {
        let parsed = parse(text, &options());
        assert!(parsed.is_ok(), "{text}: {:?}", parsed.err());
    }
    check_error("bool", "unexpected <bool>");
    check_error("sum by (a", "unclosed left parenthesis");
    check_error(
        "sum by [a] (b)",
        "unexpected \"[\" in grouping opts, expected \"(\"",
    );
    check_error(
        "sum by (1) (b)",
        "unexpected number \"1\" in grouping opts, expected label",
    );
    check_error(
        "sum by (a b) (c)",
        "in grouping opts, expected \",\" or \")\"",
    );
    check_error("sum by (a) b", "unexpected identifier \"b\" in aggregation");
    check_error("a * group_left b", "unexpected <group_left>");
    check_error(
        "rate(a[5m],)",
        "trailing commas not allowed in function call args",
    );
    check_error("sum()", "no arguments for aggregate expression provided");
    check_error("sum(a, b)", "expected 1, got 2");
    check_error("a b", "unexpected identifier \"b\"");
    check_error("a)", "unexpected right parenthesis ')'");
    check_error(
        "a{b}",
        "in label matching, expected label matching operator",
    );
    check_error(
        "a{b=c}",
        "unexpected identifier \"c\" in label matching, expected string",
    );
    check_error("a{1}", "unexpected character inside braces: '1'");
    check_error(
        "a @ b",
        "unexpected identifier \"b\" in @, expected timestamp",
    );
    check_error(
        "a offset b",
        "in offset, expected number, duration, step(), or range()",
    );
    check_error("1 offset 5m", "offset modifier must be preceded by");
    check_error(
        "a offset 5m offset 5m",
        "offset may not be set multiple times",
    );
    check_error("a @ 1 @ 2", "may not be set multiple times");
    check_error(
        "a offset 5m[5m]",
        "no offset modifiers allowed before range",
    );
    check_error("sum(a)[5m]", "ranges only allowed for vector selectors");
    check_error("a[5m", "unclosed left bracket");
    check_error("a[5m:1m:1m]", "unexpected colon ':'");
    check_error("1m1h", "not a valid duration string");
    check_error("a = b", "unexpected \"=\"");
    check_error("(a", "unclosed left parenthesis");
}

#[test]
fn says_where_an_error_is() {
    let place = |text: &str| parse(text, &options()).err().and_then(|error| error.place);
    assert_eq!(place("a + (b c)"), Some((1, 8)));
    assert_eq!(place("a +\n  no_such(b)"), Some((2, 3)));
    assert_eq!(place("1  > 2"), Some((1, 4)));
    assert_eq!(place("sum(rate(a))"), Some((1, 10)));
}

#[test]
fn long_chains_need_no_deep_stack() {
    let chain = |op: &str| vec!["a"; 1_000].join(op);
    for text in [
        chain(" + "),
        chain("^"),
        chain(" or "),
        format!("{}a", "-".repeat(1_000)),
    ] {
        let expr = parse(&text, &options()).expect("a query");
        assert_eq!(expr.to_string().replace(' ', ""), text.replace(' ', ""));
    }
}

#[test]
fn says_first_what_is_wrong_first() {
    check_error("no_such(a) + )", "unknown function");
    check_error(
        "label_join(a, \"b\", , \"c\")",
        "1:18: parse error: trailing commas",
    );
    check_error("sum(a = b)", "unexpected \"=\" in aggregation");
    check_error(
        "sum(abs(a b))",
        "unexpected identifier \"b\" in aggregation",
    );
    check_error("sum(a) b", "1:8: parse error: unexpected identifier \"b\"");
    check_error("topk NaN", "1:6: parse error: unexpected number \"NaN\"");
    check_error("a)", "1:3: parse error: unexpected right parenthesis ')'");
}

#[test]
fn selectors_of_look_ups() {
    let check = |text: &str, expected: &str| {
        let told = match parse_selector(text, &options()) {
            Ok(matchers) => matchers.iter().map(ToString::to_string).collect(),
            Err(error) => vec![error.to_string()],
        };
        assert_eq!(told.join(","), expected, "{text}");
    };
    check("up", "__name__=\"up\"");
    check(" up{a!='b',} # x", "a!=\"b\",__name__=\"up\"");
    check("{\"a.b\"}", "__name__=\"a.b\"");
    check("sum", "__name__=\"sum\"");
    check("by", "__name__=\"by\"");
    check("and", "__name__=\"and\"");
    check("a:b:c", "__name__=\"a:b:c\"");
    // Whether all series may be selected is not said here.
    check("{}", "");
    check("{a=\"\"}", "a=\"\"");
    check("", "1:1: parse error: unexpected end of input");
    check("rate(up[5m])", "1:5: parse error: unexpected \"(\"");
    check("up[5m]", "1:3: parse error: unexpected \"[\"");
    check("up offset 5m", "1:4: parse error: unexpected <offset>");
    check("up up", "1:4: parse error: unexpected identifier \"up\"");
    check("up{a=\"b\"} + 1", "1:11: parse error: unexpected <op:+>");
    check("(up)", "1:1: parse error: unexpected \"(\"");
    check("-up", "1:1: parse error: unexpected <op:->");
    check("1", "1:1: parse error: unexpected number \"1\"");
    check("'a'", "1:1: parse error: unexpected string \"'a'\"");
    check("{a=\"b\"}{c=\"d\"}", "1:8: parse error: unexpected \"{\"");
    check(
        "up{",
        "1:4: parse error: unexpected end of input inside braces",
    );
}

#[test]
fn numbers_beyond_floats_are_refused() {
    let expected = "1:4: parse error: error parsing number: strconv.ParseFloat: parsing \"1e309\": \
                    value out of range";
    check_error("1 +1e309", expected);
    check_error("-1e309", "value out of range");
    let expr = parse("-Inf", &options()).expect("a query");
    assert_eq!(expr.to_string(), "-Inf");
}
