//! The blocks whose footers and page indexes are in memory.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::Duration;

use block::catalog::{Catalogs, block_key};
use block::{Block, BlockFiles, BlockMeta};
use model::asker;
use model::error::ErrorKind;
use model::select::SelectError;
use model::tenant::TenantId;
use model::time::Clock;
use parking_lot::Mutex;

use crate::Config;
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

/// How often who waits for another to open a block looks whether his own asker still waits.
const LOOK_AFTER_ASKER: Duration = Duration::from_millis(50);

/// A tenant's block.
type BlockKey = (TenantId, String);

/// Open blocks: those that are read, and as many more as there is room for; of these, the one that
/// was not used for longest goes first.
pub(crate) struct OpenBlocks {
    pub(crate) pages: Arc<PageCache>,
    quarantine: Arc<Quarantine>,
    clock: Arc<dyn Clock>,
    /// What all open blocks may take.
    limit: u64,
    /// What they take.
    taken: Arc<AtomicU64>,
    state: Mutex<State>,
    /// Who opens which block now: others that want it wait for that.
    opening: Mutex<HashMap<BlockKey, Arc<Mutex<()>>>>,
}

#[derive(Default)]
struct State {
    blocks: HashMap<BlockKey, Held>,
    kept_bytes: u64,
    /// How many these may be.
    kept_limit: u64,
    clock: u64,
}

struct Held {
    /// Alive as long as anybody reads it, or it is kept.
    block: Weak<Block>,
    kept: Option<Arc<Block>>,
    bytes: u64,
    used: u64,
}

/// What an open block takes of the memory that all have; given back when dropped.
pub(crate) struct Taken {
    of: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Relaxed);
    }
}

/// What an open block takes in memory, about.
pub(crate) fn bytes_of(meta: &BlockMeta) -> u64 {
    let tails = meta.files.iter().map(|file| file.size - file.tail_offset);
    tails.sum::<u64>() * BYTES_PER_TAIL_BYTE + BLOCK_BYTES
}

impl State {
    /// A block that is open, used now.
    fn find(&mut self, key: &BlockKey) -> Option<Arc<Block>> {
        self.clock += 1;
        let now = self.clock;
        let held = self.blocks.get_mut(key)?;
        let block = held.block.upgrade()?;
        held.used = now;
        if held.kept.is_none() {
            held.kept = Some(Arc::clone(&block));
            self.kept_bytes += held.bytes;
            self.fit();
        }
        Some(block)
    }

    /// Lets go of what is kept beyond the limit.
    fn fit(&mut self) {
        while self.kept_bytes > self.kept_limit && self.let_go(false) {}
    }

    /// Lets go of the kept block that was not used for longest, of those nobody reads or of all.
    /// `false`: there is none.
    fn let_go(&mut self, idle_only: bool) -> bool {
        let kept = self.blocks.iter_mut().filter(|(_, held)| {
            let readers = held.kept.as_ref().map(|block| Arc::strong_count(block) - 1);
            readers.is_some_and(|readers| !idle_only || readers == 0)
        });
        let Some((_, oldest)) = kept.min_by_key(|(_, held)| held.used) else {
            return false;
        };
        oldest.kept = None;
        self.kept_bytes -= oldest.bytes;
        true
    }
}

impl OpenBlocks {
    pub(crate) fn new(config: &Config, pages: Arc<PageCache>, clock: Arc<dyn Clock>) -> Self {
        Self {
            pages,
            quarantine: Arc::default(),
            clock,
            limit: config.max_open_memory.0,
            taken: Arc::default(),
            state: Mutex::new(State {
                kept_limit: config.index_cache.0,
                ..State::default()
            }),
            opening: Mutex::default(),
        }
    }

    /// How many damaged blocks are not read.
    pub(crate) fn quarantined(&self) -> usize {
        self.quarantine.len(self.clock.now_ms())
    }

    /// How many blocks are open, and what they take, about.
    pub(crate) fn size(&self) -> (usize, u64) {
        let state = self.state.lock();
        let alive = |held: &&Held| held.block.strong_count() > 0;
        let open = state.blocks.values().filter(alive).count();
        (open, self.taken.load(Relaxed))
    }

    /// Whether one read may take so much.
    pub(crate) fn may_take(&self, bytes: u64, tenant: &TenantId) -> Result<(), SelectError> {
        if bytes <= self.limit / 2 {
            return Ok(());
        }
        Err(SelectError {
            kind: ErrorKind::TooMany,
            message: format!(
                "the query reads so many blocks of tenant {tenant} that their indexes take more \
                 than half of store_gateway.max_open_memory, which is {} bytes; ask for a shorter \
                 range, with matchers that name the metric, or raise it",
                self.limit
            ),
        })
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
        if let Some(block) = self.state.lock().find(&key) {
            return Ok(block);
        }
        let turn = Arc::clone(self.opening.lock().entry(key.clone()).or_default());
        let opened = loop {
            if let Some(_mine) = turn.try_lock_for(LOOK_AFTER_ASKER) {
                let known = self.state.lock().find(&key);
                break known.map_or_else(|| self.open(catalogs, &key), Ok);
            }
            asker::go_on()?;
        };
        // Who has waited with us holds the turn itself; who comes now begins a new one.
        self.opening.lock().remove(&key);
        opened
    }

    fn open(&self, catalogs: &Catalogs, key: &BlockKey) -> Result<Arc<Block>, SelectError> {
        let (tenant, id) = key;
        let meta = self.find_meta(catalogs, tenant, id)?;
        let bytes = bytes_of(&meta);
        let files = Arc::new(CachedFiles {
            _taken: self.take(bytes, tenant, id)?,
            pages: Arc::clone(&self.pages),
            quarantine: Arc::clone(&self.quarantine),
            clock: Arc::clone(&self.clock),
            tenant: tenant.clone(),
            block: id.clone(),
        });
        let opened = Block::open_from(meta, Arc::clone(&files) as _);
        let block = Arc::new(opened.map_err(|error| {
            let error = SelectError::from(error);
            if error.kind == ErrorKind::Corrupt {
                files.damaged(&error.message);
            }
            error
        })?);
        Ok(self.hold(key.clone(), block, bytes))
    }

    /// Takes memory for a block that is to be opened, if need be from blocks that nobody reads.
    fn take(&self, bytes: u64, tenant: &TenantId, id: &str) -> Result<Taken, SelectError> {
        let taken = Taken {
            of: Arc::clone(&self.taken),
            bytes,
        };
        let mut all = self.taken.fetch_add(bytes, Relaxed) + bytes;
        while all > self.limit && self.state.lock().let_go(true) {
            all = self.taken.load(Relaxed);
        }
        if all <= self.limit {
            return Ok(taken);
        }
        Err(SelectError {
            kind: ErrorKind::Unavailable,
            message: format!(
                "block {id} of tenant {tenant} can't be opened for {bytes} bytes: with it, the \
                 blocks that queries read now take {all} of the {} bytes of \
                 store_gateway.max_open_memory; ask again, for a shorter range, or raise it",
                self.limit
            ),
        })
    }

    /// Keeps a block, unless another was opened meanwhile; returns the one that is kept.
    fn hold(&self, key: BlockKey, block: Arc<Block>, bytes: u64) -> Arc<Block> {
        let mut state = self.state.lock();
        if let Some(block) = state.find(&key) {
            return block;
        }
        // As good a moment as any to forget those that are gone.
        state.blocks.retain(|_, held| held.block.strong_count() > 0);
        let held = Held {
            block: Arc::downgrade(&block),
            kept: Some(Arc::clone(&block)),
            bytes,
            used: state.clock,
        };
        state.blocks.insert(key, held);
        state.kept_bytes += bytes;
        state.fit();
        block
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
