//! Random queries over random data give the same answers from `tidemark` and from a real
//! Prometheus.
//!
//! `TIDEMARK_DIFFERENTIAL_QUERIES` says how many queries each seed makes, and
//! `TIDEMARK_DIFFERENTIAL_SEED` gives the one seed to use.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tests::campaign::{number, say};
use tests::differential::compare;
use tests::differential::known;
use tests::differential::pair::{Keep, Pair};
use tests::differential::reduce::Disagreement;
use tests::promqlgen::{Expr, Generator, Moment, dataset};
use tests::servers;

/// What runs where nothing else is said.
const SEEDS: [u64; 3] = [1, 2, 3];
const QUERIES_PER_SEED: usize = 2000;

/// Queries on their way at once.
const CONNECTIONS: usize = 3;

/// Of a hundred queries, so many give something at least: else they compare nothing.
const LEAST_SHARE: usize = 70;

/// Of a hundred queries, at most so many may fall under a known difference: else rules hide what
/// should be compared.
const MOST_KNOWN: usize = 1;

/// Disagreements that are shown.
const MOST_SHOWN: usize = 10;

/// What came of the queries of one seed.
#[derive(Debug, Default)]
struct Tally {
    asked: usize,
    answered: usize,
    empty: usize,
    refused: usize,
    known: BTreeMap<&'static str, usize>,
    unknown: Vec<String>,
}

#[test]
fn random_queries_agree_with_prometheus() {
    if !servers::installed("differential", &["prometheus"]) {
        return;
    }
    let seeds = match number("TIDEMARK_DIFFERENTIAL_SEED") {
        Some(seed) => vec![seed],
        None => SEEDS.to_vec(),
    };
    let queries = number("TIDEMARK_DIFFERENTIAL_QUERIES").map_or(QUERIES_PER_SEED, |n| n as usize);
    for seed in seeds {
        let tally = run(seed, queries);
        say(&format!("differential, seed {seed}: {}", tally.summary()));
        assert!(
            tally.unknown.is_empty(),
            "seed {seed}: {} disagreements, the first of them:\n{}",
            tally.unknown.len(),
            tally.unknown[..tally.unknown.len().min(MOST_SHOWN)].join("\n\n")
        );
        let known: usize = tally.known.values().sum();
        assert!(
            known * 100 <= tally.asked * MOST_KNOWN + 100,
            "{known} known differences are too many"
        );
        assert!(
            tally.answered * 100 >= tally.asked * LEAST_SHARE,
            "too few queries give anything"
        );
    }
}

fn run(seed: u64, count: usize) -> Tally {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pair = Pair::start(folder.path());
    // Two of the three seeds read from blocks most of the time.
    let keep = match seed % 3 {
        1 => Keep::InHead,
        _ => Keep::MostInBlocks,
    };
    pair.write(&dataset::dataset(seed), keep);
    let mut generator = Generator::new(seed, false);
    let queries: Vec<(Expr, Moment)> = (0..count)
        .map(|_| {
            let moment = generator.moment();
            (generator.query(moment), moment)
        })
        .collect();
    let (next, tally) = (AtomicUsize::new(0), Mutex::new(Tally::default()));
    let work = || {
        while let Some((query, moment)) = queries.get(next.fetch_add(1, Ordering::Relaxed)) {
            check(&pair, query, *moment, &tally);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(work);
        }
    });
    tally.into_inner().expect("no thread panicked")
}

fn check(pair: &Pair, query: &Expr, moment: Moment, tally: &Mutex<Tally>) {
    let (ours, theirs) = pair.ask(query, moment);
    let found = compare::difference(query, moment, &ours, &theirs).map(|difference| {
        let found = Disagreement {
            query: query.clone(),
            moment,
            difference,
            ours: ours.clone(),
            theirs: theirs.clone(),
        };
        let reduced = found.reduced(pair);
        (known::rule(pair, &reduced), reduced)
    });
    let mut tally = tally.lock().expect("no thread panicked");
    tally.asked += 1;
    match &theirs {
        Err(_) => tally.refused += 1,
        Ok(answer) if answer.kind != "string" && answer.series.is_empty() => tally.empty += 1,
        Ok(_) => tally.answered += 1,
    }
    match found {
        None => {}
        Some((Some(rule), _)) => *tally.known.entry(rule).or_default() += 1,
        Some((None, reduced)) => {
            let whole = query.print(tests::promqlgen::Dialect::Three);
            tally
                .unknown
                .push(format!("{}\n  found in: {whole}", reduced.show()));
        }
    }
}

impl Tally {
    fn summary(&self) -> String {
        let share = |part: usize| {
            format!(
                "{part} ({:.1} %)",
                100.0 * part as f64 / self.asked.max(1) as f64
            )
        };
        format!(
            "{} queries, {} with an answer, {} empty, {} refused by both; known differences {:?}; \
             {} disagreements",
            self.asked,
            share(self.answered),
            share(self.empty),
            share(self.refused),
            self.known,
            self.unknown.len()
        )
    }
}
