//! Random queries, experimental ones among them, keep what the engine promises: none panics, none
//! holds more memory than it may, each stops when it is told to, and what is printed of a query
//! says the same as the query.
//!
//! `TIDEMARK_QUERY_LIMITS_QUERIES` says how many queries each seed makes, and
//! `TIDEMARK_QUERY_LIMITS_SEED` gives the one seed to use.

use std::sync::atomic::{AtomicI64, Ordering};

use model::ErrorKind;
use model::time::{Clock, ManualClock, TimestampMs};
use promql::memory::MemoryStorage;
use promql::{
    CancelFlag, EvalError, EvalLimits, EvalOptions, Evaluation, ParseOptions, Query, QueryTime,
    QueryValue,
};
use tests::campaign::{number, say};
use tests::promqlgen::{Dialect, Generator, Moment, storage};
use tests::random::Random;

/// What runs where nothing else is said.
const SEEDS: [u64; 3] = [1, 2, 3];
const QUERIES_PER_SEED: usize = 3000;

/// The most that a query of this size may hold.
const MEMORY_LIMIT_BYTES: usize = 256 << 20;

/// With so many times what it took at most, a query must not meet its limit.
const ROOM: usize = 16;

/// What came of the queries of one seed.
#[derive(Debug, Default)]
struct Tally {
    asked: usize,
    unparsed: usize,
    answered: usize,
    empty: usize,
    refused: usize,
    cut: usize,
}

#[test]
fn random_queries_keep_their_limits() {
    let seeds = match number("TIDEMARK_QUERY_LIMITS_SEED") {
        Some(seed) => vec![seed],
        None => SEEDS.to_vec(),
    };
    let count = number("TIDEMARK_QUERY_LIMITS_QUERIES").map_or(QUERIES_PER_SEED, |n| n as usize);
    for seed in seeds {
        let storage = storage::storage(seed);
        let mut generator = Generator::new(seed, true);
        let mut random = Random::new(seed);
        let mut tally = Tally::default();
        for _ in 0..count {
            let moment = generator.moment();
            let text = generator.query(moment).print(Dialect::Three);
            let case = Case {
                storage: &storage,
                text: &text,
                time: time(moment),
            };
            if let Err(why) = case.check(&mut random, &mut tally) {
                panic!("seed {seed}: {why}\n  {text}\n  at {moment:?}");
            }
        }
        say(&format!("query limits, seed {seed}: {tally:?}"));
        assert!(
            tally.answered - tally.empty > tally.asked / 2,
            "too few queries give anything"
        );
        assert!(tally.cut * 4 > tally.asked, "too few queries meet a limit");
    }
}

fn time(moment: Moment) -> QueryTime {
    match moment {
        Moment::Instant(t) => QueryTime::instant(t * 1000),
        Moment::Range(start, end, step) => QueryTime::range(start * 1000, end * 1000, step * 1000),
    }
}

/// A clock that goes on by a millisecond each time it is looked at.
#[derive(Debug, Default)]
struct TickingClock(AtomicI64);

impl Clock for TickingClock {
    fn now_ms(&self) -> TimestampMs {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// One query.
struct Case<'a> {
    storage: &'a MemoryStorage,
    text: &'a str,
    time: QueryTime,
}

impl Case<'_> {
    fn check(&self, random: &mut Random, tally: &mut Tally) -> Result<(), String> {
        tally.asked += 1;
        let query = match Query::parse(self.text, &options()) {
            Ok(query) => query,
            Err(error) if error.kind == ErrorKind::Invalid => {
                tally.unparsed += 1;
                return Ok(());
            }
            Err(error) => return Err(format!("parsing fails: {error:?}")),
        };
        same_when_printed(&query)?;
        let limits = EvalLimits {
            max_memory_bytes: MEMORY_LIMIT_BYTES,
            ..EvalLimits::default()
        };
        let whole = match self.evaluate(&query, &limits) {
            Ok(whole) => whole,
            Err(EvalError::Execution(_)) => {
                tally.refused += 1;
                return Ok(());
            }
            Err(error) => return Err(format!("unlimited, it fails: {error:?}")),
        };
        tally.answered += 1;
        tally.empty += usize::from(is_empty(&whole.value));
        self.keeps_memory(&query, &whole, random, tally)?;
        self.keeps_samples(&query, &whole)?;
        self.stops(&query, &whole)
    }

    fn evaluate(&self, query: &Query, limits: &EvalLimits) -> Result<Evaluation, EvalError> {
        self.evaluate_by(query, limits, &ManualClock::new(1_000))
    }

    fn evaluate_by(
        &self,
        query: &Query,
        limits: &EvalLimits,
        clock: &(dyn Clock + Sync),
    ) -> Result<Evaluation, EvalError> {
        let options = EvalOptions::default();
        query.evaluate(self.storage, self.time, options, limits, clock)
    }

    /// Within whatever it may hold, it gives the same, or says which limit it met. How much it
    /// takes depends a little on that limit: what it uses twice it keeps only where there is room.
    fn keeps_memory(
        &self,
        query: &Query,
        whole: &Evaluation,
        random: &mut Random,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let peak = whole.stats.peak_memory_bytes;
        if peak < 2 {
            return Ok(());
        }
        let ample = ROOM * peak + 4096;
        let part = 1 + random.below(peak as u64) as usize;
        let mut met = 0;
        for limit in [ample, peak, peak - 1, part, 1] {
            let limits = EvalLimits {
                max_memory_bytes: limit,
                ..EvalLimits::default()
            };
            match self.evaluate(query, &limits) {
                Ok(again) if again.stats.peak_memory_bytes > limit => {
                    let took = again.stats.peak_memory_bytes;
                    return Err(format!("it may hold {limit} bytes, and takes {took}"));
                }
                Ok(again) if format!("{:?}", again.value) != format!("{:?}", whole.value) => {
                    return Err(format!("with {limit} bytes, its answer is another"));
                }
                Ok(_) if limit > 1 => {}
                Err(EvalError::TooMuch(text))
                    if limit < ample && text.contains("max_memory_per_query") =>
                {
                    met += 1;
                }
                other => {
                    return Err(format!(
                        "it takes {peak} bytes, and with {limit}: {other:?}"
                    ));
                }
            }
        }
        tally.cut += usize::from(met > 1);
        Ok(())
    }

    /// The same for the samples it holds at once, and the series it selects.
    fn keeps_samples(&self, query: &Query, whole: &Evaluation) -> Result<(), String> {
        let (samples, series) = (whole.stats.peak_samples, whole.stats.series);
        let cases = [
            (
                samples,
                samples.saturating_sub(1),
                0,
                "max_samples_per_query",
            ),
            (series, 0, series.saturating_sub(1), "max_series_per_query"),
        ];
        for (used, max_samples, max_series, name) in cases {
            if used < 2 {
                continue;
            }
            let limits = EvalLimits {
                max_samples,
                max_series,
                ..EvalLimits::default()
            };
            match self.evaluate(query, &limits) {
                Err(EvalError::TooMuch(text)) if text.contains(name) => {}
                // Storage counts the series of one selector, and has words of its own.
                Err(EvalError::Storage(error)) if error.kind == ErrorKind::TooMany => {}
                other => return Err(format!("it takes {used}, and with one less: {other:?}")),
            }
        }
        Ok(())
    }

    /// What is late or canceled does not go on, once it has to load anything.
    fn stops(&self, query: &Query, whole: &Evaluation) -> Result<(), String> {
        if whole.stats.series == 0 {
            return Ok(());
        }
        let late = EvalLimits {
            deadline_ms: Some(1_000),
            ..EvalLimits::default()
        };
        match self.evaluate(query, &late) {
            Err(EvalError::Timeout) => {}
            other => return Err(format!("it is late, and goes on: {other:?}")),
        }
        // Some time on the way: the clock ticks whenever it is looked at.
        for deadline_ms in [1, 2, 4] {
            let late = EvalLimits {
                deadline_ms: Some(deadline_ms),
                ..EvalLimits::default()
            };
            match self.evaluate_by(query, &late, &TickingClock::default()) {
                Err(EvalError::Timeout) => {}
                Ok(done) if format!("{:?}", done.value) == format!("{:?}", whole.value) => {}
                other => return Err(format!("it is late on the way, and gives {other:?}")),
            }
        }
        let canceled = EvalLimits {
            cancel: CancelFlag::default(),
            ..EvalLimits::default()
        };
        canceled.cancel.cancel();
        match self.evaluate(query, &canceled) {
            Err(EvalError::Canceled) => Ok(()),
            other => Err(format!("it is canceled, and goes on: {other:?}")),
        }
    }
}

fn options() -> ParseOptions {
    ParseOptions {
        experimental: true,
        ..ParseOptions::default()
    }
}

fn is_empty(value: &QueryValue) -> bool {
    match value {
        QueryValue::Scalar(..) | QueryValue::String(..) => false,
        QueryValue::Vector(points) => points.is_empty(),
        QueryValue::Matrix(series) => series.is_empty(),
    }
}

/// What is printed of a query parses, and is printed the same; broken into lines too.
fn same_when_printed(query: &Query) -> Result<(), String> {
    let printed = query.expr.to_string();
    for text in [&printed, &query.expr.pretty()] {
        match Query::parse(text, &options()) {
            Ok(again) if again.expr.to_string() == printed => {}
            Ok(again) => return Err(format!("{text}\n  is printed as {}", again.expr)),
            Err(error) => return Err(format!("{text}\n  is printed, and does not parse: {error}")),
        }
    }
    Ok(())
}
