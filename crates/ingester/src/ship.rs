//! From heads to blocks in the bucket: cut, build, upload, commit, then drop from the head.
//!
//! Every step can be the last one before a crash. What the next pass finds decides what is left to
//! do: a block on the disk that the catalog has not is uploaded and committed; samples that a
//! block on the disk has already are not put into another one; and a head drops only what
//! committed blocks hold, when no reader is left that may not know of them.

mod build;
mod steps;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use block::bucket::BucketError;
use block::catalog::{BlockEntry, CatalogError, Catalogs, Change, NameFilter, block_key};
use block::{BlockError, MAX_BLOCK_SERIES};
use model::labels::METRIC_NAME;
use model::limits::Limits;
use model::select::{LookupBounds, SelectError};
use model::tenant::TenantId;
use model::time::TimestampMs;
use parking_lot::Mutex;
use tsdb::head::TenantHead;
use tsdb::head::cut::CutMark;
use tsdb::store::{LimitsOf, Store};

use crate::blocks::{LocalBlock, LocalBlocks, META};
pub use steps::{Step, Steps, Stopped};

/// How a tenant's samples become blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShipConfig {
    /// How long a block's range is, in milliseconds.
    pub(crate) block_ms: i64,
    /// How long a block stays on this disk once it is committed, in milliseconds.
    pub(crate) keep_ms: i64,
    /// Of how many series a block is at most; the rest of a range goes into further ones.
    pub(crate) max_series: usize,
}

impl ShipConfig {
    /// Blocks as large as the format allows.
    pub(crate) fn new(block_ms: i64, keep_ms: i64) -> Self {
        Self {
            block_ms,
            keep_ms,
            max_series: MAX_BLOCK_SERIES,
        }
    }
}

/// Ships the heads of one store.
pub(crate) struct Shipper {
    config: ShipConfig,
    store: Arc<Store>,
    catalogs: Arc<Catalogs>,
    pub(crate) local: Arc<LocalBlocks>,
    limits: LimitsOf,
    steps: Steps,
    /// What is known of each tenant; held during a pass, of which there is one at a time.
    tenants: Mutex<HashMap<TenantId, Progress>>,
    pub(crate) counters: ShipCounters,
}

/// What shipping has done since the start.
#[derive(Debug, Default)]
pub(crate) struct ShipCounters {
    pub(crate) blocks: AtomicU64,
    pub(crate) samples: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) failures: AtomicU64,
    /// Chunks that could not be read, and stay in the head; one counts at each attempt.
    pub(crate) unreadable_chunks: AtomicU64,
    /// Blocks on this disk that were set aside because they can't be read.
    pub(crate) damaged_blocks: AtomicU64,
    /// When a block was committed last, in milliseconds; 0: never.
    pub(crate) last_ms: AtomicI64,
}

/// How far a tenant is.
#[derive(Debug, Default)]
struct Progress {
    /// Up to where its head was cut last, and when.
    cut: Option<(TimestampMs, TimestampMs)>,
    /// The newest sample there was at the last look, and since when.
    newest: Option<(TimestampMs, TimestampMs)>,
    /// What blocks hold of the head, and which reader is the first that knows.
    held: Option<(CutMark, u64)>,
    /// Whether its head has dropped all that blocks hold of the last cut. Not known of what was cut
    /// before the start: the log may bring it back.
    settled: bool,
    /// The version of the catalog that its copies on this disk were last held against.
    seen: Option<u64>,
}

/// Why a tenant's samples are not in the bucket yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShipError {
    #[error(transparent)]
    Block(#[from] BlockError),
    #[error("{0}; it was set aside, and is written again from the head")]
    SetAside(BlockError),
    #[error(transparent)]
    Select(#[from] SelectError),
    #[error("{0}")]
    Bucket(#[from] BucketError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("local blocks: {0}")]
    Disk(#[from] std::io::Error),
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl Shipper {
    pub(crate) fn new(
        config: ShipConfig,
        store: Arc<Store>,
        catalogs: Arc<Catalogs>,
        local: Arc<LocalBlocks>,
        limits: LimitsOf,
        steps: Steps,
    ) -> Self {
        Self {
            config,
            store,
            catalogs,
            local,
            limits,
            steps,
            tenants: Mutex::default(),
            counters: ShipCounters::default(),
        }
    }

    /// Ships what is due, or all there is. Goes on with other tenants where one fails; returns
    /// the first failure, with whose it was.
    pub(crate) fn pass(&self, now: TimestampMs, all: bool) -> Result<(), (TenantId, ShipError)> {
        let mut tenants = self.tenants.lock();
        let mut first = Ok(());
        let heads = self.store.heads();
        for tenant in self.local.tenants() {
            if !heads.iter().any(|head| *head.tenant() == tenant) {
                let progress = tenants.entry(tenant.clone()).or_default();
                let published = self.reconsider(&tenant, progress, now);
                let published = published.and_then(|()| self.publish_waiting(&tenant, now));
                let published = published.map(drop);
                self.note(&tenant, published, &mut first);
            }
        }
        let mut dropped = false;
        for head in heads {
            let progress = tenants.entry(head.tenant().clone()).or_default();
            let shipped = self.ship(&head, progress, now, all);
            let shipped = shipped.map(|some| dropped |= some);
            self.note(head.tenant(), shipped, &mut first);
        }
        if dropped {
            self.write_down();
        }
        // As long as a head may have what a block holds, the copy here tells that a block has it. And
        // one that no catalog may have is not let go.
        let is_needed = |tenant: &TenantId, one: &LocalBlock| {
            let Some(progress) = tenants.get(tenant) else {
                return true;
            };
            let last_t = one.block.meta().statistics.last_t;
            let head = self.store.head(tenant);
            let may_have = || head.is_some_and(|head| head.oldest() <= last_t);
            progress.held.is_some() || progress.seen.is_none() || !progress.settled && may_have()
        };
        let before = now.saturating_sub(self.config.keep_ms);
        let removed = self.local.remove_committed_before(before, is_needed);
        if removed > 0 {
            tracing::info!(
                blocks = removed,
                "local copies of blocks were removed, the bucket has them"
            );
        }
        first
    }

    fn note(
        &self,
        tenant: &TenantId,
        done: Result<(), ShipError>,
        first: &mut Result<(), (TenantId, ShipError)>,
    ) {
        if let Err(error) = done {
            self.counters.failures.fetch_add(1, Relaxed);
            tracing::warn!(%tenant, %error, "samples can't be shipped now; head and log keep them");
            if first.is_ok() {
                *first = Err((tenant.clone(), error));
            }
        }
    }

    /// Ships a tenant; says whether its head has dropped anything.
    fn ship(
        &self,
        head: &Arc<TenantHead>,
        progress: &mut Progress,
        now: TimestampMs,
        all: bool,
    ) -> Result<bool, ShipError> {
        let tenant = head.tenant();
        self.reconsider(tenant, progress, now)?;
        if self.publish_waiting(tenant, now)? {
            // The head has what was in them: it is cut again.
            progress.cut = None;
        }
        let mut dropped = self.drop_held(head, progress)?;
        if progress.held.is_some() && !all {
            // A long query is at work; what it may read is dropped in a later pass.
            return Ok(dropped);
        }
        let limits = (self.limits)(tenant);
        let Some(before) = self.cut_before(head, progress, &limits, now, all) else {
            return Ok(dropped);
        };
        // Where writing blocks fails, it is tried again after a while only.
        progress.cut = Some((before, now));
        progress.settled = false;
        let built = self.build(head, before);
        if matches!(built, Err(ShipError::SetAside(_))) {
            progress.cut = None;
        }
        let (built, mark) = built?;
        for one in built {
            let published = self.publish(tenant, &one, now);
            published.inspect_err(|_| progress.cut = None)?;
        }
        // Whoever reads the head from here on sees a catalog that has these blocks.
        progress.held = Some((mark, head.next_reader()));
        dropped |= self.drop_held(head, progress)?;
        Ok(dropped)
    }

    /// Up to where a head is to be cut now, if at all: whole ranges behind which no late sample is
    /// taken any more; for a tenant that has gone silent, also the range it stopped in.
    fn cut_before(
        &self,
        head: &TenantHead,
        progress: &mut Progress,
        limits: &Limits,
        now: TimestampMs,
        all: bool,
    ) -> Option<TimestampMs> {
        let (newest, block_ms) = (head.newest().min(now), self.config.block_ms);
        if head.oldest() > newest {
            return None;
        }
        if all {
            return Some(TimestampMs::MAX);
        }
        let since = match progress.newest {
            Some((same, since)) if same == newest && since <= now => since,
            _ => now,
        };
        progress.newest = Some((newest, since));
        let window = limits.out_of_order_time_window.0;
        let floor = |t: TimestampMs| t.div_euclid(block_ms).saturating_mul(block_ms);
        let mut before = floor(newest.saturating_sub(window));
        if now.saturating_sub(since) >= block_ms / 2 {
            before = before.max(floor(now.saturating_sub(window)));
        }
        if head.oldest() >= before {
            return None;
        }
        // What came late for ranges that were cut already gathers for a while.
        let again = |(last, at): (TimestampMs, TimestampMs)| {
            before <= last && (0..block_ms / 4).contains(&now.saturating_sub(at))
        };
        (!progress.cut.is_some_and(again)).then_some(before)
    }

    /// Drops from a head what committed blocks hold, if no reader is left that needs it.
    fn drop_held(
        &self,
        head: &Arc<TenantHead>,
        progress: &mut Progress,
    ) -> Result<bool, ShipError> {
        let done = |held: &mut (CutMark, u64)| head.readers_are_done_before(held.1);
        let Some((mark, reader)) = progress.held.take_if(done) else {
            return Ok(false);
        };
        if let Err(stopped) = self.steps.pass(Step::Drop) {
            progress.held = Some((mark, reader));
            return Err(stopped.into());
        }
        let chunks = self.store.drop_cut(head, &mark);
        progress.settled = true;
        tracing::debug!(tenant = %head.tenant(), chunks, "the head has dropped what blocks hold");
        Ok(true)
    }

    /// Lets the log go that holds what was dropped.
    fn write_down(&self) {
        self.store.truncate();
        if self.steps.pass(Step::Snapshot).is_err() {
            return;
        }
        if let Err(error) = self.store.snapshot() {
            tracing::warn!(%error, "cannot write head snapshot; the log is kept");
        }
        self.store.remove_unused_files();
    }

    /// Holds the copies of a tenant's committed blocks against its catalog, where there is a new
    /// version. One that is missing there, as after a rebuild from a bucket that had lost it, is
    /// published again, unless somebody removed it or retention is over.
    ///
    /// A copy is noted as committed behind its commit, and here the catalog is read behind the note:
    /// what is missing then is gone.
    fn reconsider(
        &self,
        tenant: &TenantId,
        progress: &mut Progress,
        now: TimestampMs,
    ) -> Result<(), ShipError> {
        let mut copies = self.local.of(tenant);
        copies.retain(|one| one.is_committed());
        let seen = progress.seen.take();
        let version = self.catalogs.version(tenant)?;
        if copies.is_empty() || seen == Some(version) {
            progress.seen = Some(version);
            return Ok(());
        }
        let catalog = self.catalogs.current(tenant)?;
        let expired = match (self.limits)(tenant).kept_ms() {
            TimestampMs::MAX => TimestampMs::MIN,
            kept_ms => now.saturating_sub(kept_ms),
        };
        for one in copies.iter().filter(|one| !catalog.covers(one.id())) {
            if catalog.removed.iter().any(|gone| gone.id == one.id()) {
                self.local.set_withdrawn(one)?;
            } else if !one.is_withdrawn() && one.block.meta().max_time > expired {
                tracing::warn!(
                    %tenant,
                    block = one.id(),
                    catalog = catalog.version,
                    "the catalog has lost a block of which a copy is here: it is published again"
                );
                self.local.set_waiting(one)?;
            }
        }
        progress.seen = Some(catalog.version);
        Ok(())
    }

    /// Publishes the blocks of a tenant that the catalog has not. Those that turn out damaged are set
    /// aside; says whether there were any.
    fn publish_waiting(&self, tenant: &TenantId, now: TimestampMs) -> Result<bool, ShipError> {
        let mut any_damaged = false;
        for one in self.local.of(tenant) {
            if one.is_committed() {
                continue;
            }
            match self.publish(tenant, &one, now) {
                Err(ShipError::SetAside(_)) => any_damaged = true,
                published => published?,
            }
        }
        Ok(any_damaged)
    }

    /// Checks a block on this disk; one that is damaged is set aside. One that can't be read now, for
    /// want of file handles or by a fault of the disk, may be good.
    pub(crate) fn check(&self, tenant: &TenantId, one: &LocalBlock) -> Result<(), ShipError> {
        let Err(error) = one.block.verify() else {
            return Ok(());
        };
        if let BlockError::Io { source, .. } = &error
            && source.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error.into());
        }
        self.local.set_aside(tenant, one, &error)?;
        self.counters.damaged_blocks.fetch_add(1, Relaxed);
        Err(ShipError::SetAside(error))
    }

    /// Uploads a block and commits it. Doing it again does no harm.
    fn publish(
        &self,
        tenant: &TenantId,
        one: &LocalBlock,
        now: TimestampMs,
    ) -> Result<(), ShipError> {
        let catalog = self.catalogs.current(tenant)?;
        let meta = one.block.meta();
        if !catalog.covers(one.id()) {
            // What rotted on this disk must not take the place of what the head still has.
            self.check(tenant, one)?;
            let bucket = self.catalogs.bucket();
            let mut bytes = 0;
            for file in &meta.files {
                self.steps.pass(Step::Upload)?;
                let key = block_key(tenant.as_str(), one.id(), &file.name);
                bytes += bucket.put_file(&key, &one.folder.join(&file.name))?;
            }
            self.steps.pass(Step::Upload)?;
            // Not from the file, which the check above does not read.
            let json = meta.to_json().map_err(std::io::Error::from)?;
            bytes += json.len() as u64;
            bucket.put(&block_key(tenant.as_str(), one.id(), META), json.into())?;
            self.counters.bytes.fetch_add(bytes, Relaxed);
            self.steps.pass(Step::Commit)?;
            let names = one
                .block
                .label_values(METRIC_NAME, &[], &LookupBounds::default())?;
            let entry = BlockEntry {
                meta: meta.clone(),
                metric_names: Some(NameFilter::of(names.iter().map(String::as_str))),
            };
            let change = Change {
                add: vec![entry],
                ..Change::default()
            };
            let catalog = self.catalogs.commit(tenant, &change)?;
            let statistics = &meta.statistics;
            tracing::info!(
                %tenant,
                block = one.id(),
                series = statistics.series,
                samples = statistics.samples + statistics.histograms,
                bytes,
                catalog = catalog.version,
                "block committed"
            );
        }
        self.steps.pass(Step::Mark)?;
        self.local.set_committed(one, now)?;
        self.counters.blocks.fetch_add(1, Relaxed);
        self.counters.samples.fetch_add(
            meta.statistics.samples + meta.statistics.histograms,
            Relaxed,
        );
        self.counters.last_ms.store(now, Relaxed);
        Ok(())
    }
}

/// Removes what an attempt to write a block left.
fn discard(folder: &std::path::Path) {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(folder = %folder.display(), %error, "cannot remove an unfinished block");
        }
        _ => {}
    }
}
