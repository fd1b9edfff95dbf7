//! A script as a list of commands.

use super::custom_buckets;
use super::notation::{
    Row, Value, is_start_row, parse_duration, parse_number, parse_row, parse_start_row, unquote,
};
use model::Labels;
use regex::Regex;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A script.
#[derive(Debug)]
pub struct Script {
    pub(super) commands: Vec<Command>,
}

/// One command and the line it stands on.
#[derive(Debug)]
pub(super) enum Command {
    Clear,
    Load(usize, Result<Vec<Loaded>, String>),
    Eval(usize, Box<Eval>),
}

/// A series to load: time, start (0: unknown) and value of each sample.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) labels: Labels,
    pub(super) samples: Vec<(i64, i64, Value)>,
}

/// When to evaluate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Instant(i64),
    Range { start: i64, end: i64, step: i64 },
}

/// What a text must be.
#[derive(Debug)]
pub(super) enum Text {
    Any,
    Exactly(String),
    Matching(Regex),
}

impl Text {
    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(expected) => expected == text,
            Self::Matching(pattern) => pattern.is_match(text),
        }
    }
}

/// What annotations of one severity there must be.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) some: Vec<Text>,
    pub(super) none: bool,
}

/// A query and what it must answer.
#[derive(Debug)]
pub(super) struct Eval {
    pub(super) query: String,
    pub(super) when: When,
    pub(super) fail: Option<Text>,
    pub(super) warnings: Notes,
    pub(super) infos: Notes,
    pub(super) ordered: bool,
    pub(super) range_vector: Option<(i64, i64, i64)>,
    pub(super) string: Option<String>,
    pub(super) scalar: Option<f64>,
    pub(super) rows: Vec<Row>,
    /// What the runner could not read of it.
    pub(super) problem: Option<String>,
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the patterns of this file are tested")
}

static LOAD: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(?i:load)(_with_nhcb)?\s+(\S+)$"));
static INSTANT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^(?i:eval)(?:_(fail|warn|ordered|info))?\s+instant\s+(?:at\s+(\S+)\s+)?(.+)$")
});
static RANGE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?i:eval)(?:_(fail|warn|ordered|info))?\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.+)$",
    )
});
static EXPECT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^expect\s+(ordered|fail|warn|no_warn|info|no_info)(?:\s+(msg|regex):(.+))?$")
});
static EXPECT_RANGE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^expect\s+range\s+vector\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)$")
});

impl Script {
    /// Reads a script. What is wrong within a command makes that command fail when it is run.
    ///
    /// # Errors
    /// Where a line is no command at all.
    pub fn parse(text: &str) -> Result<Self, String> {
        let line = |line: &'_ str| {
            let line = line.trim();
            if line.starts_with('#') {
                String::new()
            } else {
                line.to_owned()
            }
        };
        let lines: Vec<String> = text.lines().map(line).collect();
        let mut commands = Vec::new();
        let mut at = 0;
        while at < lines.len() {
            let head = &lines[at];
            let number = at + 1;
            at += 1;
            let word = head
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_lowercase();
            if word.is_empty() {
                continue;
            }
            let block = lines[at..].iter().take_while(|line| !line.is_empty());
            let block: Vec<&str> = block.map(String::as_str).collect();
            if word == "clear" {
                commands.push(Command::Clear);
            } else if word.starts_with("load") {
                commands.push(Command::Load(number, parse_load(head, &block)));
                at += block.len();
            } else if word.starts_with("eval") {
                let (eval, used) = parse_eval(head, &block);
                commands.push(Command::Eval(number, Box::new(eval)));
                at += used;
            } else {
                return Err(format!("line {number}: unknown command {head:?}"));
            }
        }
        Ok(Self { commands })
    }
}

fn parse_load(head: &str, block: &[&str]) -> Result<Vec<Loaded>, String> {
    let found = LOAD
        .captures(head)
        .ok_or_else(|| format!("bad command {head:?}"))?;
    let step = parse_duration(&found[2])?;
    let mut series: BTreeMap<Labels, Vec<(i64, i64, Value)>> = BTreeMap::new();
    let mut starts: Option<(Labels, Vec<Option<i64>>)> = None;
    let mut starts_of_all: Vec<Option<i64>> = Vec::new();
    for line in block {
        if is_start_row(line) {
            match parse_start_row(line)? {
                (Some(labels), offsets) => starts = Some((labels, offsets)),
                (None, offsets) => starts_of_all = offsets,
            }
            continue;
        }
        let row = parse_row(line)?;
        let offsets = match starts.take() {
            Some((labels, offsets)) if labels == row.labels => offsets,
            Some((labels, _)) => return Err(format!("start timestamps of {labels} lead nowhere")),
            None => {
                let all = starts_of_all.iter().copied().cycle();
                all.take(row.values.len()).collect()
            }
        };
        let sample = |(at, value): (usize, Option<Value>)| {
            let t = i64::try_from(at).unwrap_or(i64::MAX).saturating_mul(step);
            let start = offsets
                .get(at)
                .copied()
                .flatten()
                .map_or(0, |offset| t + offset);
            value.map(|value| (t, start, value))
        };
        let samples = row
            .values
            .into_iter()
            .enumerate()
            .filter_map(sample)
            .collect();
        series.insert(row.labels, samples);
    }
    if found.get(1).is_some() {
        for (labels, samples) in custom_buckets::from_classic(&series) {
            series.entry(labels).or_insert(samples);
        }
    }
    let loaded = |(labels, samples)| Loaded { labels, samples };
    Ok(series.into_iter().map(loaded).collect())
}

/// Reads an `eval`; returns it and how many lines below its head belong to it.
fn parse_eval(head: &str, block: &[&str]) -> (Eval, usize) {
    let mut eval = Eval {
        query: head.to_owned(),
        when: When::Instant(0),
        fail: None,
        warnings: Notes::default(),
        infos: Notes::default(),
        ordered: false,
        range_vector: None,
        string: None,
        scalar: None,
        rows: Vec::new(),
        problem: None,
    };
    if let Err(problem) = parse_eval_head(head, &mut eval) {
        eval.problem = Some(problem);
        return (eval, block.len());
    }
    for (at, line) in block.iter().enumerate() {
        if let Some(number) = parse_number(line) {
            eval.scalar = Some(number);
            return (eval, at + 1);
        }
        if let Err(problem) = parse_expectation(line, &mut eval) {
            eval.problem = Some(problem);
            return (eval, block.len());
        }
    }
    (eval, block.len())
}

fn parse_eval_head(head: &str, eval: &mut Eval) -> Result<(), String> {
    let modifier = if let Some(found) = RANGE.captures(head) {
        eval.when = When::Range {
            start: parse_duration(&found[2])?,
            end: parse_duration(&found[3])?,
            step: parse_duration(&found[4])?,
        };
        eval.query = found[5].to_owned();
        found.get(1).map(|m| m.as_str().to_owned())
    } else {
        let found = INSTANT
            .captures(head)
            .ok_or_else(|| format!("bad command {head:?}"))?;
        eval.when = When::Instant(found.get(2).map_or(Ok(0), |t| parse_duration(t.as_str()))?);
        eval.query = found[3].to_owned();
        found.get(1).map(|m| m.as_str().to_owned())
    };
    if let Some(modifier) = modifier {
        expect(&modifier, Text::Any, eval);
    }
    Ok(())
}

fn expect(what: &str, text: Text, eval: &mut Eval) {
    match what {
        "fail" => eval.fail = Some(text),
        "warn" => eval.warnings.some.push(text),
        "info" => eval.infos.some.push(text),
        "no_warn" => eval.warnings.none = true,
        "no_info" => eval.infos.none = true,
        _ => eval.ordered = true,
    }
}

fn parse_expectation(line: &str, eval: &mut Eval) -> Result<(), String> {
    let regex = |text: &str| {
        let pattern = Regex::new(text.trim()).map_err(|error| error.to_string())?;
        Ok::<_, String>(Text::Matching(pattern))
    };
    if eval.fail.is_some() {
        if let Some(text) = line.strip_prefix("expected_fail_message") {
            eval.fail = Some(Text::Exactly(text.trim().to_owned()));
            return Ok(());
        }
        if let Some(text) = line.strip_prefix("expected_fail_regexp") {
            eval.fail = Some(regex(text)?);
            return Ok(());
        }
    }
    if let Some(found) = EXPECT_RANGE.captures(line) {
        let time = |at: usize| parse_duration(&found[at]);
        eval.range_vector = Some((time(1)?, time(2)?, time(3)?));
    } else if let Some(text) = line.strip_prefix("expect string") {
        eval.string = Some(unquote(text.trim())?.0);
    } else if line.split_whitespace().next() == Some("expect") {
        let found = EXPECT
            .captures(line)
            .ok_or_else(|| format!("bad expectation {line:?}"))?;
        let text = match (found.get(2).map(|m| m.as_str()), found.get(3)) {
            (Some("msg"), Some(text)) => Text::Exactly(text.as_str().trim().to_owned()),
            (Some(_), Some(text)) => regex(text.as_str())?,
            _ => Text::Any,
        };
        expect(&found[1], text, eval);
    } else {
        eval.rows.push(parse_row(line)?);
    }
    Ok(())
}
