//! One tenant's part of a pass: what is planned is done, and can be done again after an end at any
//! place.

use std::collections::HashSet;

use block::BlockMeta;
use block::bucket::{BucketError, ObjectInfo};
use block::catalog::{Catalog, CatalogError, Change, block_key};
use model::tenant::TenantId;
use model::time::TimestampMs;

use crate::Cleaner;
use crate::plan::{Action, Listing, Rules, is_needless, kept_before, known, plan};
use crate::steady::Now;

/// The file of a block that is uploaded last, and so is deleted first.
const META: &str = "meta.json";
/// The longest `meta.json` that is read, in bytes.
const MAX_META_BYTES: u64 = 16 << 20;
/// The most objects of a tenant's folder for catalogs that are listed.
const MAX_VERSIONS: usize = 1 << 20;
/// The most files of a block's folder that are listed.
const MAX_FILES: usize = 10_000;
/// The most blocks and versions that are deleted for a tenant in one pass; the rest waits for the
/// next one.
const MAX_DELETED: usize = 10_000;

/// What is left of a tenant after a pass.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Left {
    /// Removed blocks whose files are still there.
    pub(crate) removed: usize,
    /// Blocks in no catalog that are not deleted.
    pub(crate) kept: usize,
}

/// What a pass does and finds on the way.
#[derive(Debug, Default)]
struct Progress {
    /// Removed blocks whose files are gone.
    gone: Vec<String>,
    /// How many blocks in no catalog were left where they are.
    kept: usize,
    /// The first of them, and why.
    first_kept: Option<(String, String)>,
    /// The parts that kept versions of the catalog name; `None`: not known.
    named: Option<HashSet<String>>,
}

/// Why a tenant's part of a pass ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CleanError {
    /// The bucket refused.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The catalog can't be read or changed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl Cleaner {
    /// Cleans up for a tenant.
    pub(crate) fn clean(
        &self,
        tenant: &TenantId,
        rules: Rules,
        now: Now,
    ) -> Result<Left, CleanError> {
        let catalog = self.catalogs.current(tenant)?;
        let listing = self.look(tenant)?;
        let actions = plan(&catalog, &listing, rules, now);
        self.expire(tenant, &catalog, &actions, rules)?;
        let mut progress = Progress::default();
        let mut failure = None;
        if actions
            .iter()
            .any(|one| matches!(one, Action::DeletePart(_)))
        {
            progress.named = self.named_parts(tenant, &catalog, &listing);
        }
        for action in actions.into_iter().take(MAX_DELETED) {
            if self.stop.is_cancelled() {
                break;
            }
            let done = match &action {
                Action::Expire(_) => Ok(()),
                Action::Delete(block) => self.delete_removed(tenant, block, &mut progress),
                Action::DeleteOrphan(block) => {
                    self.delete_orphan(tenant, block, rules, now.proven, &mut progress)
                }
                Action::DeleteVersion(name) => self.delete_version(tenant, name),
                Action::DeletePart(key) => self.delete_part(key, &progress),
            };
            if let Err(error) = done {
                failure = Some(error);
                break;
            }
        }
        // Also after a failure: what is deleted need not be looked for again.
        let forget = Change {
            forget: progress.gone,
            ..Change::default()
        };
        let catalog = self.catalogs.commit(tenant, &forget)?;
        if let Some((block, why)) = &progress.first_kept {
            tracing::warn!(
                %tenant,
                blocks = progress.kept,
                block,
                why,
                "blocks that are in no catalog are left where they are; `tidemark catalog rebuild` \
                 takes in those that can be read"
            );
        }
        let left = Left {
            removed: catalog.removed.len(),
            kept: progress.kept,
        };
        failure.map_or(Ok(left), Err)
    }

    fn look(&self, tenant: &TenantId) -> Result<Listing, CleanError> {
        let bucket = self.catalogs.bucket();
        let versions = bucket.list(&format!("{tenant}/catalog"), MAX_VERSIONS)?;
        let (parts, versions): (Vec<_>, Vec<_>) = versions
            .into_iter()
            .map(|object| object.key)
            .partition(|key| key.starts_with(&format!("{tenant}/catalog/parts/")));
        let name = |key: String| key.rsplit('/').next().map(str::to_owned);
        Ok(Listing {
            blocks: bucket.list_folders(&format!("{tenant}/blocks"))?,
            catalogs: versions.into_iter().filter_map(name).collect(),
            parts,
        })
    }

    /// Removes the blocks from the catalog whose retention is over.
    fn expire(
        &self,
        tenant: &TenantId,
        catalog: &Catalog,
        actions: &[Action],
        rules: Rules,
    ) -> Result<(), CleanError> {
        let expired = actions.iter().filter_map(|action| match action {
            Action::Expire(block) => Some(block.clone()),
            _ => None,
        });
        let change = Change {
            remove: expired.collect(),
            ..Change::default()
        };
        if change.remove.is_empty() {
            return Ok(());
        }
        let version = self.catalogs.commit(tenant, &change)?.version;
        for block in change.remove.iter().filter_map(|id| catalog.block(id)) {
            tracing::info!(
                %tenant,
                block = block.id(),
                ends_ms = block.meta.max_time,
                retention_ms = rules.kept_ms,
                catalog = version,
                "block removed: its retention is over"
            );
        }
        self.counters.expired(change.remove.len());
        Ok(())
    }

    fn delete_removed(
        &self,
        tenant: &TenantId,
        block: &str,
        progress: &mut Progress,
    ) -> Result<(), CleanError> {
        let files = self.files(tenant, block)?;
        self.delete_files(tenant, block, &files)?;
        tracing::info!(%tenant, block, files = files.len(), "files of a removed block deleted");
        self.counters.deleted();
        progress.gone.push(block.to_owned());
        Ok(())
    }

    /// Deletes a folder that no catalog names, unless somebody writes to it, or will, or something
    /// could be lost with it: that one is for people to look at.
    fn delete_orphan(
        &self,
        tenant: &TenantId,
        block: &str,
        rules: Rules,
        now: TimestampMs,
        progress: &mut Progress,
    ) -> Result<(), CleanError> {
        let files = self.files(tenant, block)?;
        let newest = files.iter().map(|file| file.modified_ms).max();
        let delay = rules.deletion_delay_ms;
        if newest.is_none_or(|newest| newest > now.saturating_sub(delay)) {
            return Ok(());
        }
        // Asked before the catalog: a block that was held and no longer is has been committed.
        if (self.in_use)(tenant, block) {
            return Ok(());
        }
        let meta = self.meta_of(tenant, block, &files)?;
        // It may have been committed since the pass began.
        let catalog = self.catalogs.current(tenant)?;
        if known(&catalog).contains(block) {
            return Ok(());
        }
        let why = match meta {
            None => None,
            Some(Err(fault)) => Some(fault),
            Some(Ok(meta)) if is_needless(&catalog, &meta, rules, now) => None,
            Some(Ok(_)) => Some("nothing else may hold its samples".to_owned()),
        };
        if let Some(why) = why {
            progress.kept += 1;
            progress.first_kept.get_or_insert((block.to_owned(), why));
            return Ok(());
        }
        if self.files(tenant, block)? != files {
            tracing::info!(%tenant, block, "a block that is in no catalog is being written");
            return Ok(());
        }
        self.delete_files(tenant, block, &files)?;
        tracing::info!(
            %tenant,
            block,
            files = files.len(),
            "files of a block that is in no catalog deleted"
        );
        self.counters.deleted_orphan();
        Ok(())
    }

    /// The `meta.json` of a folder that has one, or what is wrong with it.
    fn meta_of(
        &self,
        tenant: &TenantId,
        block: &str,
        files: &[ObjectInfo],
    ) -> Result<Option<Result<BlockMeta, String>>, CleanError> {
        let key = block_key(tenant.as_str(), block, META);
        let Some(meta) = files.iter().find(|file| file.key == key) else {
            return Ok(None);
        };
        if meta.size > MAX_META_BYTES {
            return Ok(Some(Err(format!("its {META} has {} bytes", meta.size))));
        }
        let bytes = self.catalogs.bucket().get(&key, MAX_META_BYTES)?;
        Ok(Some(match BlockMeta::from_json(&bytes, block) {
            Err(error) => Err(error.to_string()),
            Ok(meta) if meta.block_id != block || meta.tenant != tenant.as_str() => {
                Err(format!("its {META} is of another block or tenant"))
            }
            Ok(meta) => Ok(meta),
        }))
    }

    fn files(&self, tenant: &TenantId, block: &str) -> Result<Vec<ObjectInfo>, CleanError> {
        let folder = format!("{tenant}/blocks/{block}");
        Ok(self.catalogs.bucket().list(&folder, MAX_FILES)?)
    }

    /// Deletes files, first the one without which the others are no block.
    fn delete_files(
        &self,
        tenant: &TenantId,
        block: &str,
        files: &[ObjectInfo],
    ) -> Result<(), CleanError> {
        let bucket = self.catalogs.bucket();
        let meta = block_key(tenant.as_str(), block, META);
        bucket.delete(&meta)?;
        for file in files.iter().filter(|file| file.key != meta) {
            bucket.delete(&file.key)?;
        }
        Ok(())
    }

    /// The parts that those versions name that are kept to go back to; `None` where one of them
    /// can't be read: then it could be any.
    fn named_parts(
        &self,
        tenant: &TenantId,
        catalog: &Catalog,
        listing: &Listing,
    ) -> Option<HashSet<String>> {
        let mut named = HashSet::new();
        for version in kept_before(catalog, listing) {
            let parts = self.catalogs.parts_of(tenant, version);
            let parts = parts.inspect_err(|error| {
                tracing::warn!(%tenant, version, %error, "no part of old catalogs is deleted");
            });
            named.extend(parts.ok()?.into_iter().map(|part| part.object));
        }
        Some(named)
    }

    fn delete_part(&self, key: &str, progress: &Progress) -> Result<(), CleanError> {
        let named = progress.named.as_ref();
        if named.is_some_and(|named| !named.contains(key)) {
            self.catalogs.bucket().delete(key)?;
            self.counters.deleted_version();
        }
        Ok(())
    }

    fn delete_version(&self, tenant: &TenantId, name: &str) -> Result<(), CleanError> {
        let key = format!("{tenant}/catalog/{name}");
        self.catalogs.bucket().delete(&key)?;
        self.counters.deleted_version();
        Ok(())
    }
}
