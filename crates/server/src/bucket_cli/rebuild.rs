//! `tidemark catalog rebuild`: makes catalogs anew from the blocks in the bucket.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, bail};

use super::table::count;
use super::{Outcome, View};

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
    let mut outcome = Outcome::Good;
    for tenant in tenants {
        let rebuilt = view.catalogs.rebuild(&tenant)?;
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
            outcome = Outcome::Damaged;
            writeln!(out, "damaged  {tenant} {}  {}", one.block, one.what)?;
        }
    }
    Ok(outcome)
}
