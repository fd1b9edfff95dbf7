//! The files of a block in the bucket, behind the cache.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use block::catalog::block_key;
use block::{BlockFiles, DecodedPages};
use bytes::Bytes;
use model::tenant::TenantId;
use model::time::Clock;

use crate::cache::PageCache;
use crate::open::Taken;
use crate::quarantine::Quarantine;

/// The files of one block.
pub(crate) struct CachedFiles {
    pub(crate) pages: Arc<PageCache>,
    pub(crate) quarantine: Arc<Quarantine>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tenant: TenantId,
    pub(crate) block: String,
    /// What the open block takes.
    pub(crate) _taken: Taken,
}

impl CachedFiles {
    fn key(&self, file: &str) -> String {
        block_key(self.tenant.as_str(), &self.block, file)
    }
}

impl BlockFiles for CachedFiles {
    fn read(&self, file: &str, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
        let key = self.key(file);
        self.pages.read(&key, ranges)
    }

    fn damaged(&self, what: &str) {
        let now = self.clock.now_ms();
        self.quarantine.add(&self.tenant, &self.block, what, now);
    }

    fn decoded(&self) -> Option<&DecodedPages> {
        Some(&self.pages.decoded)
    }

    fn forget(&self, file: &str, range: &Range<u64>) {
        let key = self.key(file);
        self.pages.forget(&key, range);
    }

    fn size(&self, _file: &str) -> io::Result<Option<u64>> {
        Ok(None)
    }
}

impl fmt::Debug for CachedFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CachedFiles({}/{})", self.tenant, self.block)
    }
}
