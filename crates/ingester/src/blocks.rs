//! The blocks on this machine's disk: those that are to be uploaded, and those that were, which
//! stay for a while so that queries of the last hours do not touch the bucket.
//!
//! `blocks/<tenant>/<ulid>/` is one block; a file `committed` in it tells that the catalog has it, a
//! file `withdrawn` that it had it and that somebody removed it there.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use block::{Block, BlockError, DecodedPages};
use model::tenant::TenantId;
use model::time::{TimeRange, TimestampMs};
use parking_lot::RwLock;

/// Tells that the catalog has a block, and since when.
const COMMITTED: &str = "committed";
/// Tells that a block was removed from the catalog, and is not to be published again.
const WITHDRAWN: &str = "withdrawn";
/// No block without it.
pub(crate) const META: &str = "meta.json";

/// A block on this disk.
#[derive(Debug)]
pub(crate) struct LocalBlock {
    pub(crate) folder: PathBuf,
    pub(crate) block: Arc<Block>,
    /// When it was committed; 0: not yet.
    committed_ms: AtomicI64,
    /// Whether it was removed from the catalog since.
    withdrawn: AtomicBool,
}

impl LocalBlock {
    pub(crate) fn id(&self) -> &str {
        &self.block.meta().block_id
    }

    pub(crate) fn is_committed(&self) -> bool {
        self.committed_ms.load(Ordering::Acquire) != 0
    }

    pub(crate) fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Acquire)
    }
}

/// All blocks on this disk.
#[derive(Debug)]
pub(crate) struct LocalBlocks {
    folder: PathBuf,
    decoded: Arc<DecodedPages>,
    held: RwLock<HashMap<TenantId, Vec<Arc<LocalBlock>>>>,
}

impl LocalBlocks {
    /// Finds the blocks in a folder, which is made where there is none. What an unfinished write
    /// left is removed; a block that is damaged is set aside, under another name.
    ///
    /// # Errors
    /// Where the disk refuses; nothing is set aside for that.
    pub(crate) fn open(folder: &Path, decoded: Arc<DecodedPages>) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut held: HashMap<TenantId, Vec<Arc<LocalBlock>>> = HashMap::new();
        for (name, tenant_folder) in folders(folder)? {
            let Ok(tenant) = TenantId::new(&name) else {
                continue;
            };
            for (id, block_folder) in folders(&tenant_folder)? {
                if block::ulid::time_ms(&id).is_none() {
                    continue;
                }
                if let Some(found) = open_one(&block_folder, &decoded)? {
                    held.entry(tenant.clone())
                        .or_default()
                        .push(Arc::new(found));
                }
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            decoded,
            held: RwLock::new(held),
        })
    }

    /// Where a new block of a tenant is to be written.
    pub(crate) fn place(&self, tenant: &TenantId, id: &str) -> io::Result<PathBuf> {
        let folder = self.folder.join(tenant.as_str());
        fs::create_dir_all(&folder)?;
        Ok(folder.join(id))
    }

    /// Enters a block that was written.
    pub(crate) fn add(
        &self,
        tenant: &TenantId,
        folder: PathBuf,
    ) -> Result<Arc<LocalBlock>, BlockError> {
        let block = Block::open_in(&folder, Some(Arc::clone(&self.decoded)))?;
        Ok(self.enter(tenant, folder, block))
    }

    /// Enters a block that is open.
    pub(crate) fn enter(
        &self,
        tenant: &TenantId,
        folder: PathBuf,
        block: Block,
    ) -> Arc<LocalBlock> {
        let added = Arc::new(LocalBlock {
            folder,
            block: Arc::new(block),
            committed_ms: AtomicI64::new(0),
            withdrawn: AtomicBool::new(false),
        });
        let mut held = self.held.write();
        held.entry(tenant.clone())
            .or_default()
            .push(Arc::clone(&added));
        added
    }

    /// Notes, durably, that the catalog has a block.
    pub(crate) fn set_committed(&self, one: &LocalBlock, now: TimestampMs) -> io::Result<()> {
        note(&one.folder, COMMITTED, &now.to_string())?;
        one.committed_ms.store(now.max(1), Ordering::Release);
        Ok(())
    }

    /// Notes, durably, that a block was removed from the catalog.
    pub(crate) fn set_withdrawn(&self, one: &LocalBlock) -> io::Result<()> {
        note(&one.folder, WITHDRAWN, "")?;
        one.withdrawn.store(true, Ordering::Release);
        Ok(())
    }

    /// Takes back, durably, that the catalog has a block: it is to be published again.
    pub(crate) fn set_waiting(&self, one: &LocalBlock) -> io::Result<()> {
        fs::remove_file(one.folder.join(COMMITTED))?;
        File::open(&one.folder)?.sync_all()?;
        one.committed_ms.store(0, Ordering::Release);
        Ok(())
    }

    /// The blocks of a tenant.
    pub(crate) fn of(&self, tenant: &TenantId) -> Vec<Arc<LocalBlock>> {
        self.held.read().get(tenant).cloned().unwrap_or_default()
    }

    /// The tenants that have blocks here.
    pub(crate) fn tenants(&self) -> Vec<TenantId> {
        self.held.read().keys().cloned().collect()
    }

    /// The blocks of a tenant with samples in a range, committed or not.
    pub(crate) fn within(&self, tenant: &TenantId, range: TimeRange) -> Vec<Arc<LocalBlock>> {
        let mut all = self.of(tenant);
        all.retain(|one| {
            let statistics = &one.block.meta().statistics;
            range.overlaps(statistics.first_t, statistics.last_t)
        });
        all
    }

    /// A block that the catalog has.
    pub(crate) fn committed(&self, tenant: &TenantId, id: &str) -> Option<Arc<LocalBlock>> {
        let held = self.held.read();
        let one = held.get(tenant)?.iter().find(|one| one.id() == id)?;
        one.is_committed().then(|| Arc::clone(one))
    }

    /// Forgets a block that can't be read, and leaves its files under another name.
    pub(crate) fn set_aside(
        &self,
        tenant: &TenantId,
        one: &LocalBlock,
        error: &BlockError,
    ) -> io::Result<()> {
        let aside = one.folder.with_extension("damaged");
        tracing::error!(
            %tenant,
            %error,
            aside = %aside.display(),
            "a local block can't be read and is set aside; check the disk"
        );
        fs::rename(&one.folder, aside)?;
        self.forget(tenant, one);
        Ok(())
    }

    /// Whether a block is here and not committed yet.
    pub(crate) fn is_waiting(&self, tenant: &TenantId, id: &str) -> bool {
        let held = self.held.read();
        let mut blocks = held.get(tenant).into_iter().flatten();
        blocks.any(|one| one.id() == id && !one.is_committed())
    }

    /// Forgets a block and removes its files; who reads it goes on reading.
    pub(crate) fn remove(&self, tenant: &TenantId, one: &LocalBlock) -> io::Result<()> {
        self.forget(tenant, one);
        // Without it the rest is no block, if the removal ends half way.
        fs::remove_file(one.folder.join(META))?;
        fs::remove_dir_all(&one.folder)
    }

    pub(crate) fn forget(&self, tenant: &TenantId, one: &LocalBlock) {
        let mut held = self.held.write();
        if let Some(blocks) = held.get_mut(tenant) {
            blocks.retain(|other| other.id() != one.id());
            if blocks.is_empty() {
                held.remove(tenant);
            }
        }
    }

    /// Removes blocks that were committed before an instant and are not needed any more; says how
    /// many.
    pub(crate) fn remove_committed_before(
        &self,
        before: TimestampMs,
        is_needed: impl Fn(&TenantId, &LocalBlock) -> bool,
    ) -> usize {
        let mut removed = 0;
        for tenant in self.tenants() {
            for one in self.of(&tenant) {
                let committed_ms = one.committed_ms.load(Ordering::Acquire);
                if committed_ms == 0 || committed_ms >= before || is_needed(&tenant, &one) {
                    continue;
                }
                match self.remove(&tenant, &one) {
                    Ok(()) => removed += 1,
                    Err(error) => {
                        tracing::warn!(%tenant, block = one.id(), %error, "cannot remove a local copy of a block");
                    }
                }
            }
        }
        removed
    }

    /// How many blocks there are, and how many of them are not committed yet.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let held = self.held.read();
        let all = held.values().flatten();
        let waiting = all.clone().filter(|one| !one.is_committed()).count();
        (all.count(), waiting)
    }
}

/// Writes a small file into a block's folder, durably, as a whole or not at all.
fn note(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    let partial = folder.join(format!("{name}.part"));
    let mut file = File::create(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, folder.join(name))?;
    File::open(folder)?.sync_all()
}

/// The folders in a folder, with their names.
fn folders(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if let (true, Ok(name)) = (entry.file_type()?.is_dir(), entry.file_name().into_string()) {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Opens the block in a folder, if there is a whole one. Only what was read and is wrong is set
/// aside; a disk or a limit that keeps a file from being read may be better at the next start.
///
/// # Errors
/// Where a file can't be read, with the block and the file.
fn open_one(folder: &Path, decoded: &Arc<DecodedPages>) -> io::Result<Option<LocalBlock>> {
    let unreadable = |file: &str, error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("{}: {file}: {error}", folder.display()),
        )
    };
    let is_whole = folder.join(META).try_exists();
    if !is_whole.map_err(|error| unreadable(META, error))? {
        tracing::info!(folder = %folder.display(), "an unfinished block is removed: the log has its samples");
        fs::remove_dir_all(folder)?;
        return Ok(None);
    }
    let block = match Block::open_in(folder, Some(Arc::clone(decoded))) {
        Ok(block) => block,
        Err(BlockError::Io { file, source, .. }) if source.kind() != io::ErrorKind::NotFound => {
            return Err(unreadable(&file, source));
        }
        Err(error) => {
            let aside = folder.with_extension("damaged");
            tracing::error!(%error, aside = %aside.display(), "a local block can't be read and is set aside");
            fs::rename(folder, aside)?;
            return Ok(None);
        }
    };
    let committed = match fs::read_to_string(folder.join(COMMITTED)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        read => {
            let text = read.map_err(|error| unreadable(COMMITTED, error))?;
            text.parse::<i64>().unwrap_or(1).max(1)
        }
    };
    let withdrawn = folder.join(WITHDRAWN).try_exists();
    let withdrawn = withdrawn.map_err(|error| unreadable(WITHDRAWN, error))?;
    Ok(Some(LocalBlock {
        withdrawn: AtomicBool::new(withdrawn),
        folder: folder.to_owned(),
        block: Arc::new(block),
        committed_ms: AtomicI64::new(committed),
    }))
}
