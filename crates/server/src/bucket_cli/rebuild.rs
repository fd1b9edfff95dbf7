//! `tidemark catalog rebuild`: makes catalogs anew from the blocks in the bucket.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, bail};
use block::catalog::{CatalogError, Rebuilt};
use model::tenant::TenantId;

use super::table::count;
use super::{Outcome, View};
use crate::storage::has_blocks;

/// Takes the lock that a running server holds on its data directory.
pub(super) fn lock(data_dir: &Path) -> anyhow::Result<File> {
    let path = data_dir.join("lock");
    let opened = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = opened.with_context(|| format!("{} can't be opened", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "another process uses {}: stop the server first, for it commits to the catalogs",
            data_dir.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("{} can't be locked", path.display()))
        }
    }
}

pub(super) fn run(view: &View, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let tenants = match &view.tenant {
        Some(tenant) => vec![tenant.clone()],
        None => view.catalogs.tenants_in_bucket()?,
    };
    if tenants.is_empty() {
        writeln!(out, "there is nothing in {}", view.bucket.describe())?;
    }
    let known = view.catalogs.tenants()?;
    let mut outcome = Outcome::Good;
    for tenant in tenants {
        let is_named = view.tenant.is_some() || known.contains(&tenant);
        let rebuilt = match is_named {
            true => view.catalogs.rebuild(&tenant).map(Some),
            false => rebuild_stranger(view, &tenant),
        };
        match rebuilt {
            Ok(None) => {}
            Ok(Some(rebuilt)) => {
                tell(&tenant, &rebuilt, out)?;
                if !rebuilt.unreadable.is_empty() {
                    outcome = Outcome::Damaged;
                }
            }
            Err(error) => {
                outcome = Outcome::Damaged;
                writeln!(out, "failed   {tenant}: {error}")?;
            }
        }
    }
    Ok(outcome)
}

/// Rebuilds what has a folder in the bucket and no catalog here; a folder of somebody else's is left
/// alone.
fn rebuild_stranger(view: &View, tenant: &TenantId) -> Result<Option<Rebuilt>, CatalogError> {
    let has_blocks = has_blocks(&view.catalogs, tenant);
    let has_blocks = has_blocks.map_err(|error| CatalogError::Bucket {
        tenant: tenant.clone(),
        error,
    })?;
    has_blocks
        .then(|| view.catalogs.rebuild(tenant))
        .transpose()
}

fn tell(tenant: &TenantId, rebuilt: &Rebuilt, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(
        out,
        "{tenant}: version {} with {} blocks; left out: {} that others were made of, \
         {} unfinished uploads, {} that can't be read",
        rebuilt.version,
        count(rebuilt.blocks as u64),
        count(rebuilt.replaced as u64),
        count(rebuilt.unfinished as u64),
        count(rebuilt.unreadable.len() as u64)
    )?;
    for one in &rebuilt.unreadable {
        writeln!(out, "damaged  {tenant} {}  {}", one.block, one.what)?;
    }
    Ok(())
}
