//! Runs a script over the engine.

use super::notation::Value;
use super::pinned::pinned;
use super::script::{Command, Eval, Loaded, Notes, Script, When};
use super::{compare, hints};
use model::sample::stale_nan;
use model::time::ManualClock;
use promql::memory::MemoryStorage;
use promql::value::{PointValue, Series, VectorPoint};
use promql::{EvalLimits, EvalOptions, Evaluation, ParseOptions, Query, QueryTime, QueryValue};
use regex::Regex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

/// What became of one `eval`.
#[derive(Clone, Debug)]
pub struct EvalOutcome {
    /// The line of the command.
    pub line: usize,
    /// The query.
    pub query: String,
    /// Whether experimental features were switched on for it.
    pub experimental: bool,
    /// Why it failed, if it did.
    pub result: Result<(), String>,
}

/// What is off by default, and on for a script.
#[derive(Clone, Copy, Debug, Default)]
pub struct Switches {
    /// Experimental features; where they are off, they are on for those queries only that are no
    /// queries without them.
    pub experimental: bool,
    /// Names are dropped at the end of a query.
    pub delayed_name_removal: bool,
}

/// Runs a script.
pub fn run(script: &Script, switches: Switches) -> Vec<EvalOutcome> {
    let mut storage = MemoryStorage::new();
    let mut broken: Option<String> = None;
    let mut outcomes = Vec::new();
    for command in &script.commands {
        match command {
            Command::Clear => {
                storage.clear();
                broken = None;
            }
            Command::Load(line, Err(problem)) => {
                broken = Some(format!("the load of line {line} can't be read: {problem}"));
            }
            Command::Load(_, Ok(series)) => series.iter().for_each(|one| load(&mut storage, one)),
            Command::Eval(line, eval) => {
                let experimental = switches.experimental || needs_experimental(&eval.query);
                let switches = Switches {
                    experimental,
                    ..switches
                };
                let problem = broken.clone().or(eval.problem.clone());
                let result = match problem {
                    Some(problem) => Err(problem),
                    None => guarded(|| judge(&storage, eval, switches)),
                };
                let query = eval.query.clone();
                outcomes.push(EvalOutcome {
                    line: *line,
                    query,
                    experimental,
                    result,
                });
            }
        }
    }
    outcomes
}

/// A panic of the engine is a failure of one eval, not the end of the run.
fn guarded(run: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied());
        Err(format!("panic: {}", text.unwrap_or("of an unknown kind")))
    })
}

fn parse_options(experimental: bool) -> ParseOptions {
    ParseOptions {
        experimental,
        ..ParseOptions::default()
    }
}

fn needs_experimental(query: &str) -> bool {
    let parses = |experimental| {
        guarded(|| {
            let parsed = Query::parse(query, &parse_options(experimental));
            parsed.map(|_| ()).map_err(|error| error.to_string())
        })
    };
    parses(false).is_err() && parses(true).is_ok()
}

fn load(storage: &mut MemoryStorage, series: &Loaded) {
    let mut samples = series.samples.clone();
    hints::as_stored(&mut samples);
    for (t, start, value) in samples {
        match value {
            Value::Float(value) => {
                storage.append_with_start(&series.labels, t, start, value);
            }
            Value::Stale => storage.append_with_start(&series.labels, t, start, stale_nan()),
            Value::Histogram(histogram, _) => {
                storage.append_histogram(&series.labels, t, start, Arc::new(*histogram));
            }
        }
    }
}

fn judge(storage: &MemoryStorage, eval: &Eval, switches: Switches) -> Result<(), String> {
    let query = match Query::parse(&eval.query, &parse_options(switches.experimental)) {
        Ok(query) => query,
        Err(error) => return judge_failure(eval, &error.to_string()),
    };
    let at = match eval.when {
        When::Instant(t) => t,
        When::Range { start, end, step } => {
            let time = QueryTime::range(start, end, step);
            return judge_at(storage, eval, &query, time, switches);
        }
    };
    judge_instant(storage, eval, &query, at, switches)?;
    let pinned = pinned(&query, at).filter(|_| !OF_QUERY_TIMES.is_match(&eval.query));
    let Some((query, times)) = pinned else {
        return Ok(());
    };
    times.into_iter().try_for_each(|t| {
        judge_instant(storage, eval, &query, t, switches)
            .map_err(|why| format!("pinned to its time by @, at {t} ms: {why}"))
    })
}

/// An instant query, and the same as a range query.
fn judge_instant(
    storage: &MemoryStorage,
    eval: &Eval,
    query: &Query,
    at: i64,
    switches: Switches,
) -> Result<(), String> {
    judge_at(storage, eval, query, QueryTime::instant(at), switches)?;
    judge_as_range(storage, eval, query, at, switches)
}

fn judge_at(
    storage: &MemoryStorage,
    eval: &Eval,
    query: &Query,
    time: QueryTime,
    switches: Switches,
) -> Result<(), String> {
    let answer = match evaluate(storage, query, time, switches) {
        Ok(answer) => answer,
        Err(error) => return judge_failure(eval, &error),
    };
    if eval.fail.is_some() {
        return Err(format!("should fail, answers {:?}", answer.value));
    }
    judge_value(eval, &answer.value)?;
    let (warnings, infos) = (
        answer.annotations.warnings(&eval.query),
        answer.annotations.infos(&eval.query),
    );
    // What is said may name the times asked for.
    let as_written = match eval.when {
        When::Instant(t) => time.start == t,
        When::Range { .. } => true,
    };
    judge_notes("warning", &eval.warnings, &warnings, as_written)?;
    judge_notes("info", &eval.infos, &infos, as_written)
}

fn judge_failure(eval: &Eval, error: &str) -> Result<(), String> {
    match &eval.fail {
        None => Err(error.to_owned()),
        Some(text) if text.matches(error) => Ok(()),
        Some(text) => Err(format!("fails with {error:?}, expected {text:?}")),
    }
}

fn evaluate(
    storage: &MemoryStorage,
    query: &Query,
    time: QueryTime,
    switches: Switches,
) -> Result<Evaluation, String> {
    let options = EvalOptions {
        use_start_timestamps: switches.experimental,
        delayed_name_removal: switches.delayed_name_removal,
        ..EvalOptions::default()
    };
    let limits = EvalLimits::default();
    query
        .evaluate(storage, time, options, &limits, &ManualClock::default())
        .map_err(|error| error.to_string())
}

fn judge_value(eval: &Eval, got: &QueryValue) -> Result<(), String> {
    if let Some(want) = &eval.string {
        return match got {
            QueryValue::String(_, text) if text == want => Ok(()),
            got => Err(format!("expected the string {want:?}, got {got:?}")),
        };
    }
    match (eval.when, got) {
        (When::Range { start, end, step }, QueryValue::Matrix(series)) => {
            compare::matrix(eval, series, (start, end, step))
        }
        (When::Range { .. }, got) => Err(format!("expected a matrix, got {got:?}")),
        (When::Instant(_), got) => match (eval.scalar, eval.range_vector, got) {
            (Some(want), _, QueryValue::Scalar(_, got)) => scalar(want, *got),
            (Some(_), _, got) => Err(format!("expected a scalar, got {got:?}")),
            (None, Some(times), QueryValue::Matrix(series)) => compare::matrix(eval, series, times),
            (None, None, QueryValue::Vector(points)) => compare::vector(eval, points, eval.ordered),
            (None, range, got) => {
                let want = if range.is_some() { "matrix" } else { "vector" };
                Err(format!("expected a {want}, got {got:?}"))
            }
        },
    }
}

fn scalar(want: f64, got: f64) -> Result<(), String> {
    if compare::almost(want, got) {
        return Ok(());
    }
    Err(format!("expected {want}, got {got}"))
}

/// There are such notes as expected, none that matches no expectation, or none at all.
fn judge_notes(what: &str, notes: &Notes, got: &[String], as_written: bool) -> Result<(), String> {
    if notes.none && !got.is_empty() {
        return Err(format!("unexpected {what}s {got:?}"));
    }
    if notes.some.is_empty() {
        return Ok(());
    }
    if got.is_empty() {
        return Err(format!("no {what}, expected {:?}", notes.some));
    }
    if !as_written {
        return Ok(());
    }
    for text in &notes.some {
        if !got.iter().any(|note| text.matches(note)) {
            return Err(format!("no {what} is {text:?}: {got:?}"));
        }
    }
    match got
        .iter()
        .find(|note| !notes.some.iter().any(|text| text.matches(note)))
    {
        Some(note) => Err(format!("unexpected {what} {note:?}")),
        None => Ok(()),
    }
}

/// Functions of the query's own times: their answers differ between instant and range queries.
static OF_QUERY_TIMES: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b(start|end|range|step)\(\)").expect("the pattern is tested"));

/// An instant query asked as a range query around its time gives the same at that time.
fn judge_as_range(
    storage: &MemoryStorage,
    eval: &Eval,
    query: &Query,
    at: i64,
    switches: Switches,
) -> Result<(), String> {
    let other =
        eval.fail.is_some() || eval.string.is_some() || eval.range_vector.is_some() || eval.ordered;
    if other || OF_QUERY_TIMES.is_match(&eval.query) {
        return Ok(());
    }
    let time = QueryTime::range(at - 60_000, at + 60_000, 60_000);
    let answer = evaluate(storage, query, time, switches)
        .map_err(|error| format!("as a range query: {error}"))?;
    let QueryValue::Matrix(series) = answer.value else {
        return Err(format!("as a range query: got {:?}", answer.value));
    };
    let points: Vec<VectorPoint> = series.iter().filter_map(|one| point(one, at)).collect();
    let same = match (eval.scalar, points.as_slice()) {
        (
            Some(want),
            [
                VectorPoint {
                    value: PointValue::Float(got),
                    ..
                },
            ],
        ) => scalar(want, *got),
        (Some(want), got) => Err(format!("expected {want}, got {got:?}")),
        (None, points) => compare::vector(eval, points, false),
    };
    same.map_err(|why| format!("as a range query: {why}"))
}

/// What a series has at a time.
fn point(series: &Series, at: i64) -> Option<VectorPoint> {
    let float = series.floats.iter().find(|(t, _)| *t == at);
    let histogram = series.histograms.iter().find(|(t, _)| *t == at);
    let value = match (float, histogram) {
        (Some((_, float)), _) => PointValue::Float(*float),
        (None, Some((_, histogram))) => PointValue::Histogram(Arc::clone(histogram)),
        (None, None) => return None,
    };
    Some(VectorPoint {
        labels: series.labels.clone(),
        t: at,
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &str = "load 1m\n  m{a=\"x\"} 1 2\n  m{a=\"y\"} 3 {{count:2 sum:1}}\n\n";

    /// Whether an eval over two series holds.
    fn check(eval: &str, holds: bool) {
        let script = Script::parse(&format!("{DATA}{eval}")).expect("the script is good");
        let outcomes = run(&script, Switches::default());
        assert_eq!(outcomes.len(), 1, "{eval}");
        assert_eq!(
            outcomes[0].result.is_ok(),
            holds,
            "{eval}: {:?}",
            outcomes[0].result
        );
    }

    #[test]
    fn values_are_compared() {
        check("eval instant at 0 m\n m{a=\"x\"} 1\n m{a=\"y\"} 3", true);
        check("eval instant at 0 m\n m{a=\"x\"} 1\n m{a=\"y\"} 3.1", false);
        check("eval instant at 0 m\n m{a=\"x\"} 1", false);
        check(
            "eval instant at 0 m\n m{a=\"x\"} 1\n m{a=\"y\"} 3\n m{a=\"z\"} 3",
            false,
        );
        check("eval instant at 0 m{a=\"x\"}\n n{a=\"x\"} 1", false);
        check(
            "eval range from 0 to 1m step 1m m{a=\"x\"}\n m{a=\"x\"} 1 2",
            true,
        );
        check(
            "eval range from 0 to 1m step 1m m{a=\"x\"}\n m{a=\"x\"} 1",
            false,
        );
        check(
            "eval range from 0 to 1m step 1m m{a=\"x\"}\n m{a=\"x\"} 1 _",
            false,
        );
        check("eval instant at 0 1 + 1\n 2", true);
        check("eval instant at 0 1 + 1\n 3", false);
        check("eval instant at 0 vector(2)\n 2", false);
        check("eval instant at 0 \"a\"\n expect string \"b\"", false);
    }

    #[test]
    fn histograms_are_compared() {
        check(
            "eval instant at 1m m{a=\"y\"}\n m{a=\"y\"} {{count:2 sum:1}}",
            true,
        );
        check(
            "eval instant at 1m m{a=\"y\"}\n m{a=\"y\"} {{count:2 sum:2}}",
            false,
        );
        check(
            "eval instant at 1m m{a=\"y\"}\n m{a=\"y\"} {{schema:1 count:2 sum:1}}",
            false,
        );
        check(
            "eval instant at 1m m{a=\"y\"}\n m{a=\"y\"} {{count:2 sum:1 buckets:[1]}}",
            false,
        );
        let hint = "{{count:2 sum:1 counter_reset_hint:gauge}}";
        check(
            &format!("eval instant at 1m m{{a=\"y\"}}\n m{{a=\"y\"}} {hint}"),
            false,
        );
        check("eval instant at 1m m{a=\"y\"}\n m{a=\"y\"} 2", false);
    }

    #[test]
    fn order_failures_and_annotations_are_compared() {
        let rows = "\n expect ordered\n m{a=\"x\"} 1\n m{a=\"y\"} 3";
        check(&format!("eval instant at 0 sort(m){rows}"), true);
        check(&format!("eval instant at 0 sort_desc(m){rows}"), false);
        check("eval instant at 0 m + on() m\n expect fail", true);
        check("eval instant at 0 m + on() m\n expect fail msg: no", false);
        check(
            "eval instant at 0 m + on() m\n expect fail regex: many|found",
            true,
        );
        check("eval instant at 0 sum(n)\n expect fail", false);
        check("eval instant at 0 quantile(2, n)\n expect no_warn", false);
        check("eval instant at 0 quantile(2, n)\n expect warn", true);
        check(
            "eval instant at 0 quantile(2, n)\n expect warn msg: other",
            false,
        );
        check("eval instant at 0 quantile(2, n)\n expect info", false);
        check("eval_warn instant at 0 quantile(1, n)", false);
    }

    #[test]
    fn what_cannot_be_read_fails() {
        check("load 1m\n m{ 1\n\neval instant at 0 n", false);
        check("eval instant at 0 n\n m 1y", false);
        check("eval instant 1h n\n expect nothing", false);
        assert!(Script::parse("evil instant at 0 n").is_err());
    }
}
