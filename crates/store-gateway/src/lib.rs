//! The store-gateway: answers reads of the blocks in the bucket, with ranged requests, and keeps
//! what it read in memory and on its disk.
//!
//! Nothing is loaded at the start: a block is opened when it is first asked for, with what the
//! catalog says of it, and its footers stay in memory as long as there is room for them.

mod cache;
mod files;
mod metrics;
mod open;
mod quarantine;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use block::catalog::Catalogs;
use block::several::Several;
use block::{Block, DecodedPages};
use model::exemplar::Exemplar;
use model::labels::Labels;
use model::quantity::ByteSize;
use model::select::{SelectError, SelectRequest, SeriesSet, Skipped};
use model::tenant::TenantId;
use model::time::Clock;
use serde::{Deserialize, Serialize};
use wire::service::{BlockReadService, LookupRequest};

pub use cache::CacheError;
use cache::PageCache;
use open::OpenBlocks;

/// The settings of the role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Memory for the footers and page indexes of blocks.
    pub index_cache: ByteSize,
    /// Memory for those of all open blocks, of those too that are read now; a query whose blocks would
    /// take more than half of it is refused.
    pub max_open_memory: ByteSize,
    /// Memory for pages.
    pub page_cache: ByteSize,
    /// Disk for pages; 0: none.
    pub disk_cache: ByteSize,
    /// The folder of the disk cache; empty: `cache` in the data directory.
    pub cache_dir: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            index_cache: ByteSize(128 << 20),
            max_open_memory: ByteSize(2 << 30),
            page_cache: ByteSize(256 << 20),
            disk_cache: ByteSize(0),
            cache_dir: PathBuf::new(),
        }
    }
}

/// The store-gateway, local to this process.
pub struct StoreGateway {
    catalogs: Arc<Catalogs>,
    open: OpenBlocks,
}

/// What a store-gateway is given.
pub struct Deps {
    /// Which blocks there are.
    pub catalogs: Arc<Catalogs>,
    /// Keeps pages that were decompressed.
    pub decoded: Arc<DecodedPages>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// Starts a store-gateway. It is ready at once, however many blocks there are.
///
/// # Errors
/// Where the disk cache can't be opened.
pub fn start(config: &Config, deps: Deps) -> Result<Arc<StoreGateway>, CacheError> {
    let pages = PageCache::open(config, deps.catalogs.bucket(), deps.decoded)?;
    Ok(Arc::new(StoreGateway {
        open: OpenBlocks::new(config, Arc::new(pages), deps.clock),
        catalogs: deps.catalogs,
    }))
}

impl StoreGateway {
    /// Opens a block, or finds it open; `None` where it is left out.
    fn open(
        &self,
        tenant: &TenantId,
        id: &str,
        skipped: &Skipped,
    ) -> Result<Option<Arc<Block>>, SelectError> {
        let opened = self.open.get(&self.catalogs, tenant, id);
        opened.map(Some).or_else(|error| {
            skipped.go_on(format_args!("block {id} of tenant {tenant}"), error)?;
            Ok(None)
        })
    }

    /// Writes its counters in the text format of Prometheus.
    pub fn render_metrics(&self, out: &mut String) {
        metrics::render(&self.open, out);
    }
}

impl BlockReadService for StoreGateway {
    fn holds(&self, _tenant: &TenantId, _block: &str) -> bool {
        true
    }

    fn select(
        &self,
        tenant: &TenantId,
        blocks: &[String],
        request: &SelectRequest,
    ) -> Result<Box<dyn SeriesSet>, SelectError> {
        let taken = AtomicU64::new(0);
        let open = |id: &String| {
            let block = self.open(tenant, id, &request.skipped)?;
            let bytes = block.as_ref().map_or(0, |b| open::bytes_of(b.meta()));
            let all = taken.fetch_add(bytes, Relaxed) + bytes;
            self.open.may_take(all, tenant)?;
            Ok(block)
        };
        Several::new(blocks, open).select(request)
    }

    fn series(
        &self,
        tenant: &TenantId,
        blocks: &[String],
        request: &LookupRequest,
    ) -> Result<Vec<Labels>, SelectError> {
        let open = |id: &String| self.open(tenant, id, &request.bounds.skipped);
        Several::new(blocks, open).series(&request.matcher_sets, &request.bounds)
    }

    fn label_names(
        &self,
        tenant: &TenantId,
        blocks: &[String],
        request: &LookupRequest,
    ) -> Result<Vec<String>, SelectError> {
        let open = |id: &String| self.open(tenant, id, &request.bounds.skipped);
        Several::new(blocks, open).label_names(&request.matcher_sets, &request.bounds)
    }

    fn label_values(
        &self,
        tenant: &TenantId,
        blocks: &[String],
        name: &str,
        request: &LookupRequest,
    ) -> Result<Vec<String>, SelectError> {
        let open = |id: &String| self.open(tenant, id, &request.bounds.skipped);
        Several::new(blocks, open).label_values(name, &request.matcher_sets, &request.bounds)
    }

    fn exemplars(
        &self,
        tenant: &TenantId,
        blocks: &[String],
        request: &LookupRequest,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError> {
        let open = |id: &String| self.open(tenant, id, &request.bounds.skipped);
        Several::new(blocks, open).exemplars(&request.matcher_sets, request.range, &request.bounds)
    }
}
