//! The files of a block in the bucket, read without a cache: each is looked at once.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use block::bucket::Bucket;
use block::catalog::block_key;
use block::{BlockFiles, BlockMeta};
use bytes::Bytes;
use model::tenant::TenantId;

/// The files of one block.
pub(super) struct BucketFiles {
    bucket: Arc<Bucket>,
    tenant: TenantId,
    block: String,
}

impl BucketFiles {
    pub(super) fn new(bucket: &Arc<Bucket>, tenant: &TenantId, meta: &BlockMeta) -> Self {
        Self {
            bucket: Arc::clone(bucket),
            tenant: tenant.clone(),
            block: meta.block_id.clone(),
        }
    }
}

impl BlockFiles for BucketFiles {
    fn read(&self, file: &str, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
        let key = block_key(self.tenant.as_str(), &self.block, file);
        self.bucket.get_ranges(&key, ranges).map_err(|error| {
            let kind = match error.is_not_found() {
                true => io::ErrorKind::NotFound,
                false => io::ErrorKind::Other,
            };
            io::Error::new(kind, error)
        })
    }

    fn size(&self, _file: &str) -> io::Result<Option<u64>> {
        Ok(None)
    }
}

impl fmt::Debug for BucketFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketFiles({}/{})", self.tenant, self.block)
    }
}
