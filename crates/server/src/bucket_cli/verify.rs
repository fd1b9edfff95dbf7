//! `tidemark bucket verify`: reads every byte of blocks and compares all checksums.

use std::io::Write;

use anyhow::bail;
use block::BlockMeta;

use super::table::count;
use super::{META, Outcome, Place, View};

/// The most files of a block's folder that are listed.
const MAX_FILES: usize = 1_000;

pub(super) fn run(
    view: &View,
    block: Option<&str>,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let places = match block {
        Some(block) => vec![view.find(block)?],
        None => listed(view)?,
    };
    let mut damaged = 0;
    let mut bytes = 0;
    for place in &places {
        let (tenant, block) = (&place.tenant, &place.block);
        match check(view, place) {
            Ok(size) => {
                bytes += size;
                writeln!(out, "good     {tenant} {block}  {} bytes", count(size))?;
            }
            Err(error) => {
                damaged += 1;
                writeln!(out, "damaged  {tenant} {block}  {error:#}")?;
            }
        }
    }
    writeln!(
        out,
        "{} blocks, {} bytes read, {} blocks damaged or out of reach",
        count(places.len() as u64),
        count(bytes),
        count(damaged)
    )?;
    Ok(match damaged {
        0 => Outcome::Good,
        _ => Outcome::Damaged,
    })
}

/// All blocks of the catalogs.
fn listed(view: &View) -> anyhow::Result<Vec<Place>> {
    let mut places = Vec::new();
    for tenant in view.tenants()? {
        let catalog = view.catalogs.current(&tenant)?;
        places.extend(catalog.blocks.iter().map(|entry| Place {
            tenant: tenant.clone(),
            block: entry.id().to_owned(),
        }));
    }
    Ok(places)
}

/// Checks a block: its `meta.json`, what the catalog says of it, which files there are, and every
/// byte of them. Says how many bytes there are.
fn check(view: &View, place: &Place) -> anyhow::Result<u64> {
    let meta = view.meta(place)?;
    let catalog = view.catalogs.current(&place.tenant)?;
    if let Some(entry) = catalog.block(&place.block)
        && entry.meta != meta
    {
        bail!(
            "its {META} is another than version {} of the catalog has",
            catalog.version
        );
    }
    check_files(view, place, &meta)?;
    view.open_block(place, &meta)?.verify()?;
    Ok(meta.files.iter().map(|file| file.size).sum())
}

/// Compares the names and sizes of files with what `meta.json` lists.
fn check_files(view: &View, place: &Place, meta: &BlockMeta) -> anyhow::Result<()> {
    let folder = format!("{}/blocks/{}", place.tenant, place.block);
    let found = view.bucket.list(&folder, MAX_FILES)?;
    let name = |key: &str| key.rsplit('/').next().unwrap_or_default().to_owned();
    for file in &meta.files {
        match found.iter().find(|object| name(&object.key) == file.name) {
            None => bail!("{} is missing", file.name),
            Some(object) if object.size != file.size => bail!(
                "{} has {} bytes, {META} says {}",
                file.name,
                object.size,
                file.size
            ),
            Some(_) => {}
        }
    }
    let known = |name: &str| name == META || meta.file(name).is_some();
    if let Some(stray) = found.iter().find(|object| !known(&name(&object.key))) {
        bail!("{} is no file of the block", stray.key);
    }
    Ok(())
}
