//! `tidemark bucket` and `tidemark catalog`: what lies in the bucket, for people. Whether a server
//! runs does not matter, except to what changes a catalog, which wants the data directory for itself.

mod cat;
mod files;
mod inspect;
mod list;
mod rebuild;
mod remove;
mod table;
#[cfg(test)]
mod tests;
mod verify;
mod words;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use block::BlockMeta;
use block::bucket::Bucket;
use block::catalog::{Catalogs, block_key};
use model::tenant::TenantId;
use model::time::{Clock, SystemClock};

use crate::app::random;
use crate::config::{Config, StorageConfig};
use crate::storage;
use files::BucketFiles;
pub(crate) use words::{Flags, understand};

/// The file of a block that is uploaded last.
const META: &str = "meta.json";
/// The longest `meta.json` that is read, in bytes.
const MAX_META_BYTES: u64 = 16 << 20;

/// What is asked about the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketCommand {
    /// What to do.
    pub verb: Verb,
    /// Only this tenant.
    pub tenant: Option<TenantId>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// List blocks.
    List {
        /// As JSON.
        json: bool,
    },
    /// Show of what a block consists.
    Inspect {
        /// Its ULID.
        block: String,
    },
    /// Check every byte.
    Verify {
        /// A block's ULID; all blocks where none is given.
        block: Option<String>,
    },
    /// Print samples.
    Cat {
        /// The block's ULID.
        block: String,
        /// Which series, as in PromQL; all where none is given.
        selector: Option<String>,
    },
    /// Take a block out of its catalog.
    Remove {
        /// The block's ULID.
        block: String,
    },
    /// Make catalogs anew from the blocks.
    Rebuild,
}

/// How a command that ran to its end ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Good,
    /// What was asked for was done, and something in the bucket is damaged.
    Damaged,
}

/// Does what is asked for, and writes what there is to say.
///
/// # Errors
/// Where the bucket can't be read, or there is no such block, or output can't be written.
pub fn run(
    command: &BucketCommand,
    config: &Config,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    must_exist(&config.storage)?;
    let _lock = match command.verb {
        Verb::Rebuild | Verb::Remove { .. } => Some(rebuild::lock(&config.storage.data_dir)?),
        _ => None,
    };
    let view = View::open(&config.storage, &clock, command.tenant.clone())?;
    match &command.verb {
        Verb::List { json } => list::run(&view, *json, out),
        Verb::Inspect { block } => inspect::run(&view, block, out),
        Verb::Verify { block } => verify::run(&view, block.as_deref(), out),
        Verb::Cat { block, selector } => cat::run(&view, block, selector.as_deref(), out),
        Verb::Remove { block } => remove::run(&view, block, out),
        Verb::Rebuild => rebuild::run(&view, out),
    }
}

/// Refuses folders that are not there: who only looks makes none.
fn must_exist(storage: &StorageConfig) -> anyhow::Result<()> {
    let data_dir = &storage.data_dir;
    if !data_dir.is_dir() {
        bail!(
            "there is no data directory {}; name it by --data-dir, or in the file of --config",
            data_dir.display()
        );
    }
    let url = storage::bucket_config(storage).url;
    if let Some(folder) = url.strip_prefix("file://")
        && !Path::new(folder).is_dir()
    {
        bail!("there is no bucket {folder}; name it by --bucket-url, or in the file of --config");
    }
    Ok(())
}

/// The bucket, and what part of it is looked at.
struct View {
    bucket: Arc<Bucket>,
    catalogs: Arc<Catalogs>,
    tenant: Option<TenantId>,
}

impl View {
    fn open(
        storage: &StorageConfig,
        clock: &Arc<dyn Clock>,
        tenant: Option<TenantId>,
    ) -> anyhow::Result<Self> {
        let bucket = Bucket::open(&storage::bucket_config(storage))?;
        let shared = Arc::clone(&bucket);
        let catalogs = storage::catalogs(&storage.data_dir, shared, clock, Arc::new(random))?;
        let view = Self {
            bucket,
            catalogs,
            tenant,
        };
        view.must_know_tenant()?;
        Ok(view)
    }

    /// Refuses a tenant that has neither a catalog nor a folder in the bucket.
    fn must_know_tenant(&self) -> anyhow::Result<()> {
        let Some(tenant) = &self.tenant else {
            return Ok(());
        };
        let is_known = self.catalogs.tenants()?.contains(tenant)
            || self.catalogs.tenants_in_bucket()?.contains(tenant);
        if !is_known {
            let bucket = self.bucket.describe();
            bail!("there is no tenant {tenant} in {bucket}; without --tenant all are looked at");
        }
        Ok(())
    }

    /// The tenants that are looked at: those that have a catalog.
    fn tenants(&self) -> anyhow::Result<Vec<TenantId>> {
        match &self.tenant {
            Some(tenant) => Ok(vec![tenant.clone()]),
            None => Ok(self.catalogs.tenants()?),
        }
    }

    /// Whose block it is: by the catalogs, or else by the folders in the bucket.
    fn find(&self, block: &str) -> anyhow::Result<Place> {
        let place = |tenant: TenantId| Place {
            tenant,
            block: block.to_owned(),
        };
        for tenant in self.tenants()? {
            // One that is damaged keeps no block from being found in the bucket.
            let catalog = self.catalogs.current(&tenant);
            if catalog.is_ok_and(|catalog| catalog.block(block).is_some()) {
                return Ok(place(tenant));
            }
        }
        let tenants = match &self.tenant {
            Some(tenant) => vec![tenant.clone()],
            None => self.catalogs.tenants_in_bucket()?,
        };
        for tenant in tenants {
            let folder = format!("{tenant}/blocks/{block}");
            if !self.bucket.list(&folder, 1_000)?.is_empty() {
                return Ok(place(tenant));
            }
        }
        let bucket = self.bucket.describe();
        bail!("there is no block {block} in {bucket}; `tidemark bucket ls` lists those there are")
    }

    /// The `meta.json` of a block in the bucket.
    fn meta(&self, place: &Place) -> anyhow::Result<BlockMeta> {
        let tenant = place.tenant.as_str();
        let key = block_key(tenant, &place.block, META);
        let bytes = self.bucket.get(&key, MAX_META_BYTES);
        let bytes = bytes.with_context(|| format!("block {} of tenant {tenant}", place.block))?;
        let meta = BlockMeta::from_json(&bytes, &place.block)?;
        if meta.block_id != place.block || meta.tenant != tenant {
            bail!(
                "block {}: its {META} is of block {:?} of tenant {:?}",
                place.block,
                meta.block_id,
                meta.tenant
            );
        }
        Ok(meta)
    }

    /// Opens a block in the bucket.
    fn open_block(&self, place: &Place, meta: &BlockMeta) -> anyhow::Result<block::Block> {
        let files = BucketFiles::new(&self.bucket, &place.tenant, meta);
        Ok(block::Block::open_from(meta.clone(), Arc::new(files))?)
    }
}

/// Where a block is.
#[derive(Clone, Debug)]
struct Place {
    tenant: TenantId,
    block: String,
}
