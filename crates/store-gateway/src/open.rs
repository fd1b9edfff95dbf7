//! The blocks whose footers and page indexes are in memory.

use std::collections::HashMap;
use std::sync::Arc;

use block::catalog::{Catalogs, block_key};
use block::{Block, BlockFiles, BlockMeta};
use model::error::ErrorKind;
use model::select::SelectError;
use model::tenant::TenantId;
use model::time::Clock;
use parking_lot::Mutex;

use crate::cache::PageCache;
use crate::files::CachedFiles;
use crate::quarantine::Quarantine;

/// What a tail takes in memory for each of its bytes in the file, about: measured on blocks of a
/// thousand to a million series.
const BYTES_PER_TAIL_BYTE: u64 = 4;
/// What an open block takes beside, in bytes.
const BLOCK_BYTES: u64 = 32 << 10;
/// The longest `meta.json` that is fetched, in bytes.
const MAX_META_BYTES: u64 = 16 << 20;

/// Open blocks, as many as there is room for; the one that was not used for longest goes first.
pub(crate) struct OpenBlocks {
    pub(crate) pages: Arc<PageCache>,
    quarantine: Arc<Quarantine>,
    clock: Arc<dyn Clock>,
    limit_bytes: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    blocks: HashMap<(TenantId, String), Held>,
    bytes: u64,
    clock: u64,
}

struct Held {
    block: Arc<Block>,
    bytes: u64,
    used: u64,
}

impl OpenBlocks {
    pub(crate) fn new(limit_bytes: u64, pages: Arc<PageCache>, clock: Arc<dyn Clock>) -> Self {
        Self {
            pages,
            quarantine: Arc::default(),
            clock,
            limit_bytes,
            state: Mutex::default(),
        }
    }

    /// How many damaged blocks are not read.
    pub(crate) fn quarantined(&self) -> usize {
        self.quarantine.len(self.clock.now_ms())
    }

    /// How many blocks are open, and what they take, about.
    pub(crate) fn size(&self) -> (usize, u64) {
        let state = self.state.lock();
        (state.blocks.len(), state.bytes)
    }

    /// A block of a tenant, opened where it is not. One that is known to be damaged is an error.
    pub(crate) fn get(
        &self,
        catalogs: &Catalogs,
        tenant: &TenantId,
        id: &str,
    ) -> Result<Arc<Block>, SelectError> {
        self.quarantine.check(tenant, id, self.clock.now_ms())?;
        let key = (tenant.clone(), id.to_owned());
        {
            let mut state = self.state.lock();
            state.clock += 1;
            let now = state.clock;
            if let Some(held) = state.blocks.get_mut(&key) {
                held.used = now;
                return Ok(Arc::clone(&held.block));
            }
        }
        let meta = self.find_meta(catalogs, tenant, id)?;
        let tails = meta.files.iter().map(|file| file.size - file.tail_offset);
        let bytes = tails.sum::<u64>() * BYTES_PER_TAIL_BYTE + BLOCK_BYTES;
        let files = Arc::new(CachedFiles {
            pages: Arc::clone(&self.pages),
            quarantine: Arc::clone(&self.quarantine),
            clock: Arc::clone(&self.clock),
            tenant: tenant.clone(),
            block: id.to_owned(),
        });
        let opened = Block::open_from(meta, Arc::clone(&files) as _);
        let block = Arc::new(opened.map_err(|error| {
            let error = SelectError::from(error);
            if error.kind == ErrorKind::Corrupt {
                files.damaged(&error.message);
            }
            error
        })?);
        self.hold(key, Arc::clone(&block), bytes);
        Ok(block)
    }

    fn hold(&self, key: (TenantId, String), block: Arc<Block>, bytes: u64) {
        let mut state = self.state.lock();
        let used = state.clock;
        let held = Held { block, bytes, used };
        state.bytes += bytes;
        if let Some(before) = state.blocks.insert(key, held) {
            state.bytes -= before.bytes;
        }
        while state.bytes > self.limit_bytes && state.blocks.len() > 1 {
            let oldest = state.blocks.iter().min_by_key(|(_, held)| held.used);
            let Some(key) = oldest.map(|(key, _)| key.clone()) else {
                return;
            };
            if let Some(gone) = state.blocks.remove(&key) {
                state.bytes -= gone.bytes;
            }
        }
    }

    /// What is known of a block: from the catalog, or, where it has left that since the read was
    /// planned, from the bucket.
    fn find_meta(
        &self,
        catalogs: &Catalogs,
        tenant: &TenantId,
        id: &str,
    ) -> Result<BlockMeta, SelectError> {
        let catalog = catalogs.current(tenant)?;
        if let Some(entry) = catalog.block(id) {
            return Ok(entry.meta.clone());
        }
        let key = block_key(tenant.as_str(), id, "meta.json");
        let bytes = catalogs.bucket().get(&key, MAX_META_BYTES);
        let bytes = bytes.map_err(|error| SelectError {
            kind: ErrorKind::Unavailable,
            message: format!("block {id} of tenant {tenant}: {error}"),
        })?;
        BlockMeta::from_json(&bytes, id).map_err(|error| {
            let error = SelectError::from(error);
            if error.kind == ErrorKind::Corrupt {
                let now = self.clock.now_ms();
                self.quarantine.add(tenant, id, &error.message, now);
            }
            error
        })
    }
}
