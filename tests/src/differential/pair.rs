//! A real Prometheus and a `tidemark` that hold the same series.

use std::path::Path;

use crate::answer::{Answer, QueryApi, Refusal};
use crate::http;
use crate::promqlgen::vocabulary::{BEGIN, LENGTH};
use crate::promqlgen::{Dialect, Expr, Moment};
use crate::remote_write::{self, Series, Version};
use crate::servers::Prometheus;
use crate::tidemark::Tidemark;

/// What is written at once, in seconds: Prometheus takes no sample that is an hour older than the
/// newest, so that all series advance together.
const SLICE: i64 = 600;

/// Where Tidemark is to keep what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All in memory.
    InHead,
    /// Three quarters in blocks, cut at odd moments, the newest in memory.
    MostInBlocks,
}

/// Both servers.
#[derive(Debug)]
pub struct Pair {
    tidemark: Tidemark,
    prometheus: Prometheus,
}

/// What a query came to.
pub type Outcome = Result<Answer, Refusal>;

impl Pair {
    /// Starts both on empty folders.
    ///
    /// # Panics
    /// Where one does not start.
    pub fn start(folder: &Path) -> Self {
        let settings = [
            "limits.retention=0",
            "limits.experimental_promql=true",
            "storage.block_duration=30m",
        ];
        let arguments = settings.iter().flat_map(|setting| ["--set", setting]);
        let configuration = "global: {evaluation_interval: 1m}\n";
        let flags = ["--web.enable-remote-write-receiver"];
        Self {
            tidemark: Tidemark::start(&arguments.collect::<Vec<_>>()),
            prometheus: Prometheus::start_with(folder, configuration, &flags),
        }
    }

    /// Writes these series to both.
    ///
    /// # Panics
    /// Where one does not take them.
    pub fn write(&self, series: &[Series], keep: Keep) {
        let receivers = [
            (self.tidemark.address, "/api/v1/push"),
            (self.prometheus.address, "/api/v1/write"),
        ];
        for begin in (BEGIN..BEGIN + LENGTH + SLICE).step_by(SLICE as usize) {
            let done = begin - BEGIN;
            if keep == Keep::MostInBlocks && (done == LENGTH / 4 || done == LENGTH * 3 / 4) {
                self.tidemark.flush();
            }
            let within = begin * 1000..(begin + SLICE) * 1000;
            let slice = |series: &Series| Series {
                samples: series
                    .samples
                    .iter()
                    .filter(|(t, _)| within.contains(t))
                    .copied()
                    .collect(),
                ..series.clone()
            };
            let slices: Vec<_> = series
                .iter()
                .map(slice)
                .filter(|one| !one.samples.is_empty())
                .collect();
            let body = remote_write::compress(&remote_write::encode(Version::V1, &slices));
            for (address, path) in receivers {
                let answer = http::send(address, "POST", path, &Version::V1.headers(), &body);
                let answer = answer.expect("an answer");
                assert!(
                    matches!(answer.status, 200 | 204),
                    "{path}: {}",
                    answer.text()
                );
            }
        }
    }

    /// Asks both: first what Tidemark says, then what Prometheus says.
    pub fn ask(&self, query: &Expr, moment: Moment) -> (Outcome, Outcome) {
        let ours = ask(&self.ours(), &query.print(Dialect::Three), moment);
        (
            ours,
            ask(&self.theirs(), &query.print(Dialect::Two), moment),
        )
    }

    /// The query API of Tidemark.
    pub fn ours(&self) -> QueryApi {
        self.tidemark.query_api(None)
    }

    /// The query API of Prometheus.
    pub fn theirs(&self) -> QueryApi {
        self.prometheus.query_api()
    }
}

fn ask(api: &QueryApi, query: &str, moment: Moment) -> Outcome {
    match moment {
        Moment::Instant(t) => api.try_instant(query, t * 1000),
        Moment::Range(start, end, step) => {
            api.try_range(query, start * 1000, end * 1000, step * 1000)
        }
    }
}
