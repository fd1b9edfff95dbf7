//! The compactor: keeps the bucket in order. So far it cleans: it removes blocks from the catalog
//! when retention is over, and deletes what nobody needs any more, each after a delay.
//!
//! [`start`] runs a [`Cleaner`] from time to time. What a pass does for a tenant is decided by
//! `plan` and done by `clean`.

mod plan;
mod steady;
mod kept;
mod clean;
mod metrics;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use block::catalog::{Catalog, Catalogs};
use model::limits::Limits;
use model::quantity::DurationMs;
use model::tenant::TenantId;
use model::time::{Clock, TimestampMs};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use clean::Left;
use kept::KeptTime;
use metrics::Counters;
use plan::Rules;
use steady::{Now, SteadyClock};

/// The limits of each tenant.
pub type LimitsOf = Arc<dyn Fn(&TenantId) -> Arc<Limits> + Send + Sync>;

/// Whether a block of a tenant may be held by an ingester that goes on uploading it, by its id. Who
/// can't tell says yes.
pub type InUse = Arc<dyn Fn(&TenantId, &str) -> bool + Send + Sync>;

/// How the bucket is kept in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often the bucket is looked through; the first time, this long after the start.
    pub interval: DurationMs,
    /// How long what nobody needs any more is still there before it is deleted.
    pub deletion_delay: DurationMs,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval: DurationMs::minutes(10),
            deletion_delay: DurationMs::minutes(12 * 60),
        }
    }
}

impl Config {
    /// Which member makes no sense, and what to do about it.
    #[must_use]
    pub fn fault(&self) -> Option<(&'static str, String)> {
        if self.interval.0 < 1_000 {
            let fault = format!("is {}; use 1s or more", self.interval);
            return Some(("interval", fault));
        }
        if self.deletion_delay.0 < 600_000 {
            // A query reads the version of the catalog that it began with to its end.
            let fault = format!("is {}; use 10m or more", self.deletion_delay);
            return Some(("deletion_delay", fault));
        }
        None
    }
}

/// What a compactor is given.
pub struct Deps {
    /// The blocks of all tenants.
    pub catalogs: Arc<Catalogs>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The limits of each tenant.
    pub limits: LimitsOf,
    /// Which blocks are still to be uploaded and committed.
    pub in_use: InUse,
    /// How long the range of a new block is.
    pub block_duration: DurationMs,
    /// The file in which it is kept, over restarts, what time is proven.
    pub time_file: PathBuf,
    /// Where its tasks run.
    pub tasks: TaskTracker,
    /// Ends its tasks.
    pub stop: CancellationToken,
}

/// Removes from the bucket what is no longer needed.
pub struct Cleaner {
    config: Config,
    catalogs: Arc<Catalogs>,
    clock: Arc<dyn Clock>,
    limits: LimitsOf,
    in_use: InUse,
    stop: CancellationToken,
    counters: Counters,
    block_ms: i64,
    kept: KeptTime,
    watched: Mutex<Watched>,
}

/// What a pass knows of those before it.
#[derive(Default)]
struct Watched {
    clock: SteadyClock,
    last_pass: Option<Instant>,
    /// Whether the time of the last pass was not proven.
    is_behind: bool,
    /// The retention that was logged last, by tenant, in milliseconds.
    told: HashMap<TenantId, i64>,
}

impl Watched {
    /// How much of the time is sure; logs that not all of it is, once until it is.
    fn prove(&mut self, now: TimestampMs, newest: Option<TimestampMs>) -> Now {
        let now = self.clock.prove(now, newest);
        if let Some(newest) = newest.filter(|_| !now.is_proven() && !self.is_behind) {
            tracing::warn!(
                newest_sample_ms = newest,
                clock_ms = now.clock,
                proven_ms = now.proven,
                "the clock is ahead of what samples in the bucket have proven for a day: retention \
                 counts by them until it has run for a day beside new ones"
            );
        }
        self.is_behind = !now.is_proven();
        now
    }
}

/// Starts the cleaner's loop.
pub fn start(config: Config, deps: Deps) -> Arc<Cleaner> {
    let interval = config.interval.as_duration();
    let tasks = deps.tasks.clone();
    let stop = deps.stop.clone();
    let cleaner = Arc::new(Cleaner::new(config, deps));
    let shared = Arc::clone(&cleaner);
    let passes = tasks.clone();
    tasks.spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
            let cleaner = Arc::clone(&shared);
            if let Err(error) = passes.spawn_blocking(move || cleaner.pass()).await {
                tracing::error!(%error, "cleaning the bucket failed");
            }
        }
    });
    cleaner
}

impl Cleaner {
    fn new(config: Config, deps: Deps) -> Self {
        let kept = KeptTime::new(&deps.time_file);
        let watched = Watched {
            clock: SteadyClock::new(kept.load()),
            ..Watched::default()
        };
        Self {
            config,
            catalogs: deps.catalogs,
            clock: deps.clock,
            limits: deps.limits,
            in_use: deps.in_use,
            stop: deps.stop,
            counters: Counters::default(),
            block_ms: deps.block_duration.0,
            kept,
            watched: Mutex::new(watched),
        }
    }

    /// Goes through all tenants once. Blocks. What fails for one does not keep the others from
    /// their turn, and is tried again at the next pass.
    fn pass(&self) {
        let mut watched = self.watched.lock();
        let now = self.clock.now_ms();
        let began = Instant::now();
        let elapsed = watched.last_pass.replace(began).map(|last| began - last);
        if !watched.clock.look(now, elapsed.unwrap_or_default()) {
            self.counters.skipped();
            return;
        }
        let tenants = match self.catalogs.tenants() {
            Ok(tenants) => tenants,
            Err(error) => {
                tracing::warn!(%error, "cannot clean the bucket: its tenants are not known");
                self.counters.failed();
                return;
            }
        };
        watched
            .clock
            .set_shipped_after(self.shipped_after(&tenants));
        let now = watched.prove(now, self.newest(&tenants));
        if let Some(Err(error)) = watched.clock.sure().map(|sure| self.kept.keep(sure)) {
            tracing::warn!(%error, "what time is proven can't be kept for the next start");
        }
        let mut left = Left::default();
        let mut whole = true;
        for tenant in tenants {
            if self.stop.is_cancelled() {
                return;
            }
            let rules = Rules {
                kept_ms: (self.limits)(&tenant).kept_ms(),
                deletion_delay_ms: self.config.deletion_delay.0,
            };
            tell(&mut watched.told, &tenant, rules.kept_ms);
            match self.clean(&tenant, rules, now) {
                Ok(one) => {
                    left.removed += one.removed;
                    left.kept += one.kept;
                }
                Err(error) => {
                    tracing::warn!(%tenant, %error, "cannot clean the bucket, trying again later");
                    whole = false;
                }
            }
        }
        if whole {
            self.counters.done(now.clock, left);
        } else {
            self.counters.failed();
        }
    }

    /// Where the newest block of all tenants ends. A catalog that can't be read says nothing here;
    /// its tenant's turn tells why.
    fn newest(&self, tenants: &[TenantId]) -> Option<TimestampMs> {
        let catalogs = tenants
            .iter()
            .filter_map(|tenant| self.catalogs.current(tenant).ok());
        let ends = |catalog: Arc<Catalog>| catalog.blocks.iter().map(|b| b.meta.max_time).max();
        catalogs.filter_map(ends).max()
    }

    /// How far the end of the newest block may lie behind the newest sample, in milliseconds: the
    /// window for late samples, the range that is filling up, and half of one until it is seen that a
    /// tenant has gone silent.
    fn shipped_after(&self, tenants: &[TenantId]) -> i64 {
        let windows = tenants
            .iter()
            .map(|tenant| (self.limits)(tenant).out_of_order_time_window.0);
        let window = windows.max().unwrap_or_default();
        window.saturating_add(self.block_ms.saturating_mul(2))
    }

    /// Writes its metrics in the text format of Prometheus.
    pub fn render_metrics(&self, out: &mut String) {
        self.counters.render(out);
    }
}

/// Logs how long a tenant's samples are kept, once and whenever that changes.
fn tell(told: &mut HashMap<TenantId, i64>, tenant: &TenantId, kept_ms: i64) {
    if told.insert(tenant.clone(), kept_ms) == Some(kept_ms) {
        return;
    }
    if kept_ms == i64::MAX {
        tracing::info!(%tenant, "blocks are kept for ever (limits.retention is 0)");
    } else {
        let kept = DurationMs(kept_ms);
        tracing::info!(%tenant, retention = %kept, "blocks that end before that are removed");
    }
}
