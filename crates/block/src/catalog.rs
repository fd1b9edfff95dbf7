//! The catalog of a tenant: which blocks count. Each version is an object that never changes;
//! which one is the current is told by one pointer, which is swapped as a whole. So a reader sees
//! what a commit adds and what it removes at once, or neither. A large catalog is written in parts,
//! of which a commit writes only those that it changes.
//!
//! [`Catalogs`] is what committers and readers hold.

mod codec;
mod known;
mod names;
mod parts;
mod pointer;
mod rebuild;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::error::ErrorKind;
use model::tenant::TenantId;
use model::time::{Clock, TimeRange, TimestampMs};
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use xxhash_rust::xxh3::xxh3_64;

use crate::bucket::{Bucket, BucketError};
use crate::meta::BlockMeta;
use crate::ulid;
use known::Known;
pub use names::NameFilter;
pub use parts::Part;
pub use pointer::{LocalPointers, Pointer, PointerError, PointerStore};
pub use rebuild::{Rebuilt, Unreadable};

/// How often a commit begins anew because another came first.
const MAX_CONFLICTS: usize = 20;
/// So many tenants, about, are committed to at once in this process.
const COMMIT_LOCKS: usize = 64;

/// A block that counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockEntry {
    /// What its `meta.json` says: with sizes and checksums, so that no request is needed to learn
    /// them.
    pub meta: BlockMeta,
    /// Which names of metrics it may have; `None`: any.
    pub metric_names: Option<NameFilter>,
}

impl BlockEntry {
    /// The block's ULID.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.meta.block_id
    }

    /// Whether it may hold samples of a range.
    #[must_use]
    pub fn overlaps(&self, range: TimeRange) -> bool {
        let statistics = &self.meta.statistics;
        range.overlaps(statistics.first_t, statistics.last_t)
    }
}

/// A block that counts no more, and whose files are still there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removed {
    /// Its ULID.
    pub id: String,
    /// When it was removed, in milliseconds.
    pub at_ms: TimestampMs,
}

/// One version of a tenant's catalog.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    /// The version of the format.
    pub format_version: u32,
    /// Whose catalog it is.
    pub tenant: String,
    /// The number of this version; 0: nothing was ever committed.
    pub version: u64,
    /// When it was made, in milliseconds.
    pub created_ms: TimestampMs,
    /// Where those blocks are written that the version's own object does not list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// The blocks that count, by where they begin, then by id.
    pub blocks: Vec<Arc<BlockEntry>>,
    /// Blocks whose files are to be deleted.
    pub removed: Vec<Removed>,
    /// The checksum of this document with an empty text in this place.
    pub checksum: String,
}

impl Catalog {
    /// The block with an id.
    #[must_use]
    pub fn block(&self, id: &str) -> Option<&BlockEntry> {
        let found = self.blocks.iter().find(|block| block.id() == id);
        found.map(Arc::as_ref)
    }

    /// Whether what a block holds counts: by itself, or by a block that was made of it.
    #[must_use]
    pub fn covers(&self, id: &str) -> bool {
        let is = |block: &Arc<BlockEntry>| {
            block.id() == id || block.meta.sources.iter().any(|source| source == id)
        };
        self.blocks.iter().any(is)
    }

    fn sort(&mut self) {
        let key = |block: &Arc<BlockEntry>| block.meta.min_time;
        let by_id = |a: &Arc<BlockEntry>, b: &Arc<BlockEntry>| a.id().cmp(b.id());
        self.blocks
            .sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| by_id(a, b)));
    }
}

/// What a commit changes.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Blocks that count from now on; those that do already are left as they are.
    pub add: Vec<BlockEntry>,
    /// Ids of blocks that do not any more.
    pub remove: Vec<String>,
    /// Ids of removed blocks whose files are gone.
    pub forget: Vec<String>,
}

impl Change {
    /// The next version; `None` where it would be the same.
    fn apply(&self, current: &Catalog, now: TimestampMs) -> Option<Catalog> {
        let mut next = current.clone();
        let remove: HashSet<&str> = self.remove.iter().map(String::as_str).collect();
        let forget: HashSet<&str> = self.forget.iter().map(String::as_str).collect();
        let gone = next
            .blocks
            .extract_if(.., |block| remove.contains(block.id()));
        let gone: Vec<Removed> = gone
            .map(|block| Removed {
                id: block.id().to_owned(),
                at_ms: now,
            })
            .collect();
        next.removed.extend(gone);
        next.removed
            .retain(|removed| !forget.contains(removed.id.as_str()));
        for block in &self.add {
            let was_removed = next.removed.iter().any(|removed| removed.id == block.id());
            if !was_removed && !next.covers(block.id()) {
                next.blocks.push(Arc::new(block.clone()));
            }
        }
        let same = next.blocks.len() == current.blocks.len() && next.removed == current.removed;
        if same {
            return None;
        }
        next.sort();
        next.version += 1;
        next.created_ms = now;
        Some(next)
    }
}

/// Why a catalog can't be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Object storage.
    #[error("catalog of tenant {tenant}: {error}")]
    Bucket {
        /// Whose catalog.
        tenant: TenantId,
        /// Why.
        error: BucketError,
    },
    /// The pointer.
    #[error("catalog of tenant {tenant}: {error}")]
    Pointer {
        /// Whose catalog.
        tenant: TenantId,
        /// Why.
        error: PointerError,
    },
    /// The object is gone, or not what was written, or from a newer program.
    #[error(
        "catalog of tenant {tenant}: object {object}: {what}; `tidemark catalog rebuild` makes it anew from the blocks"
    )]
    Damaged {
        /// Whose catalog.
        tenant: TenantId,
        /// Its key.
        object: String,
        /// What is wrong.
        what: String,
    },
    /// There is no pointer, and the bucket has not been looked through for blocks yet.
    #[error(
        "catalog of tenant {tenant}: it is not known yet which blocks there are: the bucket was out of reach since the start, and this machine has no catalog; try again when the bucket is back"
    )]
    NotKnown {
        /// Whose catalog.
        tenant: TenantId,
    },
    /// The next version would be one that no reader takes.
    #[error(
        "catalog of tenant {tenant}: the next version would have {what} that are read: nothing was committed, new blocks stay on the disk of the ingester; let the tenant have fewer blocks, by a longer storage.block_duration or a shorter limits.retention"
    )]
    TooLarge {
        /// Whose catalog.
        tenant: TenantId,
        /// Which limit, and by how much.
        what: String,
    },
    /// The pointer or an object has the last number there is.
    #[error(
        "catalog of tenant {tenant}: no version can come after {}: delete the object below {tenant}/catalog/ that has this number, or the pointer",
        u64::MAX
    )]
    NoNumber {
        /// Whose catalog.
        tenant: TenantId,
    },
    /// Others committed again and again in between.
    #[error("catalog of tenant {tenant}: {MAX_CONFLICTS} other commits came in between; try again")]
    Busy {
        /// Whose catalog.
        tenant: TenantId,
    },
}

impl CatalogError {
    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Bucket { .. } | Self::NotKnown { .. } | Self::Busy { .. } => {
                ErrorKind::Unavailable
            }
            Self::Pointer { error, .. } => error.kind(),
            Self::Damaged { .. } | Self::NoNumber { .. } => ErrorKind::Corrupt,
            Self::TooLarge { .. } => ErrorKind::TooMany,
        }
    }
}

impl From<CatalogError> for model::select::SelectError {
    fn from(error: CatalogError) -> Self {
        Self {
            kind: error.kind(),
            message: error.to_string(),
        }
    }
}

/// A random number, new at each call.
pub type Random = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The catalogs of all tenants.
pub struct Catalogs {
    bucket: Arc<Bucket>,
    pointers: Arc<dyn PointerStore>,
    clock: Arc<dyn Clock>,
    random: Random,
    /// Held by who commits, by tenant: those of one process take turns, so that none comes too
    /// late again and again.
    committing: [Mutex<()>; COMMIT_LOCKS],
    /// Whether a tenant without a pointer is known to have no blocks.
    complete: AtomicBool,
    /// A catalog of more blocks is written in parts.
    split_above: usize,
    /// How large what is written may be.
    bounds: codec::Bounds,
    /// What was read or committed last.
    known: Mutex<Known>,
}

impl Catalogs {
    /// The catalogs whose objects are in a bucket.
    #[must_use]
    pub fn new(
        bucket: Arc<Bucket>,
        pointers: Arc<dyn PointerStore>,
        clock: Arc<dyn Clock>,
        random: Random,
    ) -> Self {
        Self {
            bucket,
            pointers,
            clock,
            random,
            committing: std::array::from_fn(|_| Mutex::default()),
            complete: AtomicBool::new(true),
            split_above: parts::SPLIT_ABOVE,
            bounds: codec::Bounds::default(),
            known: Mutex::default(),
        }
    }

    /// The bucket the objects are in.
    #[must_use]
    pub fn bucket(&self) -> &Arc<Bucket> {
        &self.bucket
    }

    /// A new ULID.
    #[must_use]
    pub fn new_id(&self) -> String {
        let random = (u128::from((self.random)()) << 64) | u128::from((self.random)());
        ulid::new(self.clock.now_ms(), random)
    }

    /// Tells whether a tenant without a pointer is known to have no blocks, as it is at first.
    /// Where it is not, its catalog can't be read: an empty one would hide what the bucket has.
    pub fn set_complete(&self, complete: bool) {
        self.complete.store(complete, Ordering::Release);
    }

    /// The current version of a tenant's catalog; an empty one where nothing was committed.
    ///
    /// # Errors
    /// Where it can't be read, or it is not known whether there is one.
    pub fn current(&self, tenant: &TenantId) -> Result<Arc<Catalog>, CatalogError> {
        let complete = self.complete.load(Ordering::Acquire);
        let current = self.load(tenant)?;
        if current.version == 0 && !complete {
            return Err(CatalogError::NotKnown {
                tenant: tenant.clone(),
            });
        }
        Ok(current)
    }

    /// The number of the current version of a tenant's catalog, without reading it; 0: there is none,
    /// or none is known.
    ///
    /// # Errors
    /// Where the pointer can't be read.
    pub fn version(&self, tenant: &TenantId) -> Result<u64, CatalogError> {
        Ok(self.pointer(tenant)?.map_or(0, |pointer| pointer.version))
    }

    /// The version that the pointer names; an empty one where there is none.
    fn load(&self, tenant: &TenantId) -> Result<Arc<Catalog>, CatalogError> {
        let pointer = self.pointer(tenant)?;
        let Some(pointer) = pointer else {
            return Ok(Arc::new(Catalog {
                tenant: tenant.to_string(),
                ..Catalog::default()
            }));
        };
        let known = self.known.lock().get(tenant);
        if let Some(known) = &known
            && known.version == pointer.version
        {
            return Ok(Arc::clone(known));
        }
        let read = codec::read(&self.bucket, tenant, &pointer, known.as_deref())?;
        let read = Arc::new(read);
        self.known.lock().hold(tenant, &read);
        Ok(read)
    }

    fn pointer(&self, tenant: &TenantId) -> Result<Option<Pointer>, CatalogError> {
        let loaded = self.pointers.load(tenant);
        loaded.map_err(|error| CatalogError::Pointer {
            tenant: tenant.clone(),
            error,
        })
    }

    /// Changes a tenant's catalog: writes the next version and swaps the pointer. Doing it again
    /// changes nothing more.
    ///
    /// # Errors
    /// Where the next version can't be written or made the current: then the old one still is.
    pub fn commit(&self, tenant: &TenantId, change: &Change) -> Result<Arc<Catalog>, CatalogError> {
        let _turn = self.turn(tenant);
        for _ in 0..MAX_CONFLICTS {
            let current = self.load(tenant)?;
            if current.version == 0 && self.is_forgotten(tenant, change)? {
                let rebuilt = self.rebuild_in_turn(tenant)?;
                tracing::warn!(
                    %tenant,
                    blocks = rebuilt.blocks,
                    unreadable = rebuilt.unreadable.len(),
                    "the bucket had blocks and no catalog listed them: it was made anew from them"
                );
                continue;
            }
            let Some(next) = change.apply(&current, self.clock.now_ms()) else {
                return Ok(current);
            };
            if let Some(next) = self.swap(tenant, &current, next)? {
                return Ok(next);
            }
        }
        Err(CatalogError::Busy {
            tenant: tenant.clone(),
        })
    }

    /// Waits for the tenant's turn to change its catalog.
    fn turn(&self, tenant: &TenantId) -> MutexGuard<'_, ()> {
        let turn = xxh3_64(tenant.as_str().as_bytes()) as usize % COMMIT_LOCKS;
        self.committing[turn].lock()
    }

    /// Whether the bucket has blocks of a tenant without a catalog, besides those that are to be
    /// added: the pointer was lost, and a first version without these blocks would hide them.
    fn is_forgotten(&self, tenant: &TenantId, change: &Change) -> Result<bool, CatalogError> {
        let folders = self.bucket.list_folders(&format!("{tenant}/blocks"));
        let folders = folders.map_err(|error| CatalogError::Bucket {
            tenant: tenant.clone(),
            error,
        })?;
        let added: HashSet<&str> = change.add.iter().map(BlockEntry::id).collect();
        Ok(folders.iter().any(|id| !added.contains(id.as_str())))
    }

    /// Writes a version that was made of the current one, and makes it the current one; `None`
    /// where another came first.
    fn swap(
        &self,
        tenant: &TenantId,
        current: &Catalog,
        mut next: Catalog,
    ) -> Result<Option<Arc<Catalog>>, CatalogError> {
        next.tenant = tenant.to_string();
        let pointer = self.write(tenant, current, &mut next)?;
        let swapped = self.pointers.swap(tenant, current.version, &pointer);
        let swapped = swapped.map_err(|error| CatalogError::Pointer {
            tenant: tenant.clone(),
            error,
        })?;
        if !swapped {
            return Ok(None);
        }
        let next = Arc::new(next);
        self.known.lock().hold(tenant, &next);
        Ok(Some(next))
    }

    /// Writes a version: first the parts that are not what they are in the current one.
    fn write(
        &self,
        tenant: &TenantId,
        current: &Catalog,
        next: &mut Catalog,
    ) -> Result<Pointer, CatalogError> {
        let object = codec::object(tenant, next.version, &self.new_id());
        let divided = parts::divide(&next.blocks, self.split_above);
        let own = divided.own.len();
        let part = |(start_ms, blocks)| match parts::unchanged(current, start_ms, blocks) {
            Some(part) => Ok(part.clone()),
            None => {
                let id = self.new_id();
                codec::write_part(&self.bucket, self.bounds, tenant, &id, start_ms, blocks)
            }
        };
        let parts = divided.parts.into_iter().map(part);
        next.parts = parts.collect::<Result<_, _>>()?;
        codec::write(&self.bucket, self.bounds, tenant, object, next, own)
    }

    /// The parts that a version names, by the name of its object in the tenant's folder for
    /// catalogs; they are not read.
    ///
    /// # Errors
    /// Where the version can't be read.
    pub fn parts_of(&self, tenant: &TenantId, object: &str) -> Result<Vec<Part>, CatalogError> {
        let object = format!("{}/{object}", codec::folder(tenant));
        Ok(codec::read_own(&self.bucket, tenant, &object)?.parts)
    }

    /// The tenants that have a catalog.
    ///
    /// # Errors
    /// Where the pointers can't be listed.
    pub fn tenants(&self) -> Result<Vec<TenantId>, PointerError> {
        self.pointers.tenants()
    }
}

/// The key of a file of a block.
#[must_use]
pub fn block_key(tenant: &str, block: &str, file: &str) -> String {
    format!("{tenant}/blocks/{block}/{file}")
}
