//! Runs every PromQL test script there is over the engine: our own under `tests/promql`, and
//! those of the conformance suite where its folder exists (`TIDEMARK_CONFORMANCE`, else
//! `../shared/conformance` beside the workspace).
//!
//! Nothing outside `tests/conformance-expected-failures.txt` may fail. With
//! `TIDEMARK_CONFORMANCE_REPORT` set, the failures are also written to that file.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is how a test fails; the table is for people"
)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use tests::promqltest::{EvalOutcome, Script, Switches, run};

/// Scripts about features that are off by default.
const EXPERIMENTAL: [&str; 8] = [
    "counter_starts.test",
    "duration_expression.test",
    "extended_vectors.test",
    "fill-modifier.test",
    "info.test",
    "limit.test",
    "start_timestamps.test",
    "type_and_unit.test",
];

/// Scripts of our own that hold only where names are dropped at the end of a query.
const DELAYED: &str = "delayed_names.test";

/// Our own scripts, and those of the suite where it is.
fn all_scripts() -> (Vec<PathBuf>, Vec<PathBuf>) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = scripts(&here.join("promql"));
    assert!(!own.is_empty(), "our own scripts are gone");
    let suite = std::env::var_os("TIDEMARK_CONFORMANCE").map(PathBuf::from);
    let suite = suite.unwrap_or_else(|| here.join("../../shared/conformance"));
    let suite = scripts(&suite.join("scripts"));
    if suite.is_empty() {
        // Not `println!`: the harness of `cargo test` swallows that of a test that passes.
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            b"SKIPPED conformance suite: it is not here; TIDEMARK_CONFORMANCE names its folder\n",
        );
    }
    (own, suite)
}

/// Runs scripts; returns the counts, and the place and query of each failure with its reason.
fn run_all(
    files: &[PathBuf],
    delayed_name_removal: bool,
) -> (Table, Vec<(String, String, String)>) {
    let mut table = Table::default();
    let mut failures = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let script = Script::parse(&std::fs::read_to_string(path).unwrap());
        let script = script.unwrap_or_else(|error| panic!("{name}: {error}"));
        let switches = Switches {
            experimental: EXPERIMENTAL.contains(&name.as_str()),
            delayed_name_removal,
        };
        let outcomes = run(&script, switches);
        table.add(&name, &outcomes);
        for outcome in outcomes {
            if let Err(why) = outcome.result {
                failures.push((format!("{name}:{}", outcome.line), outcome.query, why));
            }
        }
    }
    (table, failures)
}

fn first_of(failures: &[&(String, String, String)]) -> String {
    let lines = failures
        .iter()
        .map(|(place, query, why)| format!("{place} {query}\n    {why}"));
    lines.take(40).collect::<Vec<_>>().join("\n")
}

/// The suite is written for names that are dropped at the end of a query: all of it holds then.
#[test]
fn scripts_hold_with_delayed_name_removal() {
    let (own, suite) = all_scripts();
    let mut files = suite;
    files.extend(own.into_iter().filter(|path| path.ends_with(DELAYED)));
    let (_, failures) = run_all(&files, true);
    let failures: Vec<_> = failures.iter().collect();
    let count = failures.len();
    assert!(
        count == 0,
        "{count} failures, the first of them:\n{}",
        first_of(&failures)
    );
}

#[test]
fn scripts_hold() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let expected = expected_failures(&here.join("conformance-expected-failures.txt"));
    let (mut files, suite) = all_scripts();
    files.retain(|path| !path.ends_with(DELAYED));
    files.extend(suite);
    let (table, failures) = run_all(&files, false);
    println!("{}", table.text());
    report(&failures);

    let failed = |place: &String| failures.iter().any(|failure| failure.0 == *place);
    let ran = |place: &String| {
        table
            .names()
            .any(|name| place.starts_with(&format!("{name}:")))
    };
    let fixed = expected.keys().filter(|place| ran(place) && !failed(place));
    let fixed: Vec<_> = fixed.map(String::as_str).collect();
    let unexpected = failures
        .iter()
        .filter(|failure| !expected.contains_key(&failure.0));
    let unexpected: Vec<_> = unexpected.collect();
    let count = unexpected.len();
    assert!(
        count == 0,
        "{count} unexpected failures, the first of them:\n{}",
        first_of(&unexpected)
    );
    assert!(
        fixed.is_empty(),
        "these hold now, and must leave the list: {fixed:?}"
    );
}

/// Pass, fail and experimental counts by file.
#[derive(Default)]
struct Table(Vec<(String, [usize; 4])>);

impl Table {
    fn add(&mut self, name: &str, outcomes: &[EvalOutcome]) {
        let mut row = [0; 4];
        for outcome in outcomes {
            row[usize::from(outcome.result.is_err()) + 2 * usize::from(outcome.experimental)] += 1;
        }
        self.0.push((name.to_owned(), row));
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let head = ["passed", "failed", "exp. passed", "exp. failed"];
        writeln!(
            text,
            "{:30} {:>8} {:>8} {:>12} {:>12}",
            "", head[0], head[1], head[2], head[3]
        )
        .unwrap();
        let mut total = [0; 4];
        for (name, row) in &self.0 {
            let [passed, failed, exp_passed, exp_failed] = row;
            writeln!(
                text,
                "{name:30} {passed:8} {failed:8} {exp_passed:12} {exp_failed:12}"
            )
            .unwrap();
            total.iter_mut().zip(row).for_each(|(sum, n)| *sum += n);
        }
        let [passed, failed, exp_passed, exp_failed] = total;
        write!(
            text,
            "{:30} {passed:8} {failed:8} {exp_passed:12} {exp_failed:12}",
            "all"
        )
        .unwrap();
        text
    }
}

/// The scripts of a folder, by name; none where there is no such folder.
fn scripts(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|ext| ext == "test"))
        .collect();
    paths.sort();
    paths
}

/// The lines `file:line reason` of the list.
fn expected_failures(path: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let entry = |line: &str| {
        let (place, reason) = line
            .split_once(' ')
            .unwrap_or_else(|| panic!("no reason: {line}"));
        (place.to_owned(), reason.to_owned())
    };
    lines.map(entry).collect()
}

fn report(failures: &[(String, String, String)]) {
    let Some(path) = std::env::var_os("TIDEMARK_CONFORMANCE_REPORT") else {
        return;
    };
    let mut text = format!("{} failures\n", failures.len());
    for (place, query, why) in failures {
        writeln!(text, "{place}\t{query}\n    {why}").unwrap();
    }
    std::fs::write(path, text).unwrap();
}
