//! A catalog from the blocks themselves: for when the pointer, or all of them, are lost.

use std::collections::HashSet;
use std::sync::Arc;

use model::error::ErrorKind;
use model::tenant::TenantId;

use super::{BlockEntry, Catalog, CatalogError, Catalogs, block_key, codec};
use crate::at_once::at_once;
use crate::bucket::BucketError;
use crate::error::{BlockError, Place};
use crate::layout::META;
use crate::meta::{BlockMeta, MAX_META_BYTES};
use crate::ulid;

/// The most objects of one folder of catalogs that are looked at.
const MAX_VERSIONS: usize = 1 << 20;

/// What a rebuild found.
#[derive(Clone, Debug, Default)]
pub struct Rebuilt {
    /// The version that was made.
    pub version: u64,
    /// Blocks that count.
    pub blocks: usize,
    /// Blocks that others were made of: they are left out.
    pub replaced: usize,
    /// Folders without a whole `meta.json`: uploads that were never finished.
    pub unfinished: usize,
    /// Blocks that can't be read, and why: they are left out.
    pub unreadable: Vec<Unreadable>,
}

/// A block that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The name of its folder.
    pub block: String,
    /// Why.
    pub what: String,
}

impl Catalogs {
    /// Makes the catalog of a tenant anew from the `meta.json` of its blocks, and makes that the
    /// current version. Blocks that retention had removed come back until it removes them again.
    ///
    /// # Errors
    /// Where the bucket can't be listed or the catalog can't be written, or where somebody else
    /// committed meanwhile: then that version stays, and another try takes in what it added.
    pub fn rebuild(&self, tenant: &TenantId) -> Result<Rebuilt, CatalogError> {
        let _turn = self.turn(tenant);
        self.rebuild_in_turn(tenant)
    }

    /// As [`Self::rebuild`], unless the tenant has a pointer.
    ///
    /// # Errors
    /// As of [`Self::rebuild`], and where the pointer can't be read.
    pub fn rebuild_missing(&self, tenant: &TenantId) -> Result<Option<Rebuilt>, CatalogError> {
        let _turn = self.turn(tenant);
        match self.pointer(tenant)? {
            Some(_) => Ok(None),
            None => self.rebuild_in_turn(tenant).map(Some),
        }
    }

    /// Whether the bucket has versions of a tenant's catalog that came after the current one, as where
    /// the pointers are those of a copy of the data directory, made a while ago. One version may be
    /// there of a commit that came to no end; a second was written when the first was current.
    ///
    /// # Errors
    /// Where the bucket can't be listed, or the pointer can't be read.
    pub fn is_behind(&self, tenant: &TenantId) -> Result<bool, CatalogError> {
        // The list first: a commit in between makes the pointer newer than it.
        let newest = self.newest_written(tenant)?;
        Ok(newest > self.version(tenant)?.saturating_add(1))
    }

    /// The highest number of the versions in the bucket; 0: there is none.
    fn newest_written(&self, tenant: &TenantId) -> Result<u64, CatalogError> {
        let listed = self.bucket.list(&codec::folder(tenant), MAX_VERSIONS);
        let listed = listed.map_err(|error| CatalogError::Bucket {
            tenant: tenant.clone(),
            error,
        })?;
        let versions = listed
            .iter()
            .filter_map(|object| codec::version_of(&object.key));
        Ok(versions.max().unwrap_or_default())
    }

    /// Rebuilds for who has the tenant's turn.
    pub(super) fn rebuild_in_turn(&self, tenant: &TenantId) -> Result<Rebuilt, CatalogError> {
        // First of all: what is committed after this look may not be seen below, and then the swap
        // must fail.
        let (expected, pointed) = match self.pointers.load(tenant) {
            Ok(pointer) => (pointer.map_or(0, |pointer| pointer.version), true),
            // A pointer that makes no sense is replaced.
            Err(error) if error.kind() == ErrorKind::Corrupt => (0, false),
            Err(error) => {
                return Err(CatalogError::Pointer {
                    tenant: tenant.clone(),
                    error,
                });
            }
        };
        let failed = |error: BucketError| CatalogError::Bucket {
            tenant: tenant.clone(),
            error,
        };
        let mut rebuilt = Rebuilt::default();
        let mut blocks = Vec::new();
        let folders = self
            .bucket
            .list_folders(&format!("{tenant}/blocks"))
            .map_err(failed)?;
        let ids: Vec<String> = folders
            .into_iter()
            .filter(|id| ulid::time_ms(id).is_some())
            .collect();
        let read = |id: &String| {
            let bytes = self
                .bucket
                .get(&block_key(tenant.as_str(), id, META), MAX_META_BYTES)?;
            let meta = read_meta(&bytes, tenant, id);
            Ok::<_, BucketError>(meta.map_err(|error| error.to_string()))
        };
        at_once(&ids, read, |at, read| {
            let read = match read {
                Ok(read) => read,
                Err(error) => match error.kind() {
                    ErrorKind::NotFound => {
                        rebuilt.unfinished += 1;
                        return Ok(());
                    }
                    // Longer than any that was written: the block's fault. One that comes short is
                    // the bucket's, and may be whole a moment later.
                    ErrorKind::Invalid => Err(error.to_string()),
                    _ => return Err(failed(error)),
                },
            };
            match read {
                Ok(meta) => blocks.push(Arc::new(BlockEntry {
                    meta,
                    metric_names: None,
                })),
                Err(what) => {
                    let block = ids[at].clone();
                    rebuilt.unreadable.push(Unreadable { block, what });
                }
            }
            Ok(())
        })?;
        rebuilt.unreadable.sort_by(|a, b| a.block.cmp(&b.block));
        let sources = blocks
            .iter()
            .flat_map(|block: &Arc<BlockEntry>| &block.meta.sources);
        let sources: HashSet<String> = sources.cloned().collect();
        let found = blocks.len();
        blocks.retain(|block| !sources.contains(block.id()));
        rebuilt.replaced = found - blocks.len();
        rebuilt.blocks = blocks.len();
        // No version that any pointer named may come again.
        let newest = self.newest_written(tenant)?.max(expected);
        let version = newest
            .checked_add(1)
            .ok_or_else(|| CatalogError::NoNumber {
                tenant: tenant.clone(),
            })?;
        let mut next = Catalog {
            version,
            created_ms: self.clock.now_ms(),
            blocks,
            ..Catalog::default()
        };
        next.sort();
        rebuilt.version = next.version;
        if !pointed {
            self.pointers
                .clear(tenant)
                .map_err(|error| CatalogError::Pointer {
                    tenant: tenant.clone(),
                    error,
                })?;
        }
        // What the parts of the old version are is not known: all are written anew.
        let before = Catalog {
            version: expected,
            ..Catalog::default()
        };
        match self.swap(tenant, &before, next)? {
            Some(_) => Ok(rebuilt),
            None => Err(CatalogError::Busy {
                tenant: tenant.clone(),
            }),
        }
    }

    /// The tenants that have anything in the bucket.
    ///
    /// # Errors
    /// Where the bucket can't be listed.
    pub fn tenants_in_bucket(&self) -> Result<Vec<TenantId>, BucketError> {
        let folders = self.bucket.list_folders("")?;
        let tenants = folders.iter().filter_map(|name| TenantId::new(name).ok());
        Ok(tenants.collect())
    }
}

/// Reads and checks the `meta.json` of a block in a tenant's folder.
fn read_meta(bytes: &[u8], tenant: &TenantId, id: &str) -> Result<BlockMeta, BlockError> {
    let place = Place::new(id, META);
    let meta = BlockMeta::parse(bytes, &place)?;
    if meta.block_id != id || meta.tenant != tenant.as_str() {
        return Err(place.corrupt("it is of another block or tenant than its folder"));
    }
    Ok(meta)
}
