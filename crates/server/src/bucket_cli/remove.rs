//! `tidemark bucket remove`: takes a block out of its catalog, for good.

use std::io::Write;

use anyhow::bail;
use block::catalog::Change;

use super::table::count;
use super::{Outcome, View};

pub(super) fn run(view: &View, block: &str, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let place = view.find(block)?;
    let catalog = view.catalogs.current(&place.tenant)?;
    let Some(entry) = catalog.block(block) else {
        bail!(
            "block {block} is in no catalog of tenant {}: nobody reads it, and nothing was changed",
            place.tenant
        );
    };
    let change = Change {
        remove: vec![block.to_owned()],
        ..Change::default()
    };
    let version = view.catalogs.commit(&place.tenant, &change)?.version;
    let statistics = &entry.meta.statistics;
    writeln!(
        out,
        "block {block} of tenant {} is out of the catalog, version {version}: {} samples from {} to \
         {} ms are not found by queries any more. The compactor deletes its files after \
         compactor.deletion_delay; until then `tidemark catalog rebuild` takes it in again.",
        place.tenant,
        count(statistics.samples + statistics.histograms),
        statistics.first_t,
        statistics.last_t
    )?;
    Ok(Outcome::Good)
}
