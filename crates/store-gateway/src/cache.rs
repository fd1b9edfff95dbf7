//! Pages of blocks, in memory and, where it is asked for, on disk. Files in the bucket never
//! change, so that a page that was read once is right for ever; and each is checked when it is
//! used, wherever it came from.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use block::DecodedPages;
use block::bucket::Bucket;
use bytes::Bytes;
use foyer::{
    BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    PsyncIoEngineConfig,
};
use xxhash_rust::xxh3::xxh3_128;

use crate::Config;

/// What an entry takes beside its page, in bytes.
const ENTRY_BYTES: usize = 128;
/// The least disk cache there can be: the cache divides it into blocks.
const MIN_DISK_BYTES: u64 = 64 << 20;

/// Why the cache can't be opened.
#[derive(Debug, thiserror::Error)]
#[error("page cache: {0}")]
pub struct CacheError(String);

/// The cache of pages.
pub(crate) struct PageCache {
    pub(crate) bucket: Arc<Bucket>,
    pub(crate) decoded: Arc<DecodedPages>,
    cache: HybridCache<u128, Bytes>,
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
}

impl PageCache {
    pub(crate) fn open(
        config: &Config,
        bucket: &Arc<Bucket>,
        decoded: Arc<DecodedPages>,
    ) -> Result<Self, CacheError> {
        let memory = usize::try_from(config.page_cache.0).unwrap_or(usize::MAX);
        let (folder, disk) = (config.cache_dir.clone(), config.disk_cache.0);
        let opened = bucket.run(open_cache(memory, folder, disk));
        let cache = opened
            .map_err(|error| CacheError(error.to_string()))?
            .map_err(CacheError)?;
        Ok(Self {
            bucket: Arc::clone(bucket),
            decoded,
            cache,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        })
    }

    /// Ranges of an object: those that are not here are fetched together.
    pub(crate) fn read(&self, key: &str, ranges: &[Range<u64>]) -> std::io::Result<Vec<Bytes>> {
        let name = xxh3_128(key.as_bytes());
        let ids: Vec<u128> = ranges.iter().map(|range| id_of(name, range)).collect();
        let mut found = self.look(&ids)?;
        let missing: Vec<usize> = (0..ids.len()).filter(|at| found[*at].is_none()).collect();
        self.hits
            .fetch_add((ids.len() - missing.len()) as u64, Relaxed);
        self.misses.fetch_add(missing.len() as u64, Relaxed);
        if !missing.is_empty() {
            let wanted: Vec<_> = missing.iter().map(|at| ranges[*at].clone()).collect();
            let fetched = self.bucket.get_ranges(key, &wanted)?;
            for (at, bytes) in missing.into_iter().zip(fetched) {
                // A copy of its own: the part would keep all that was fetched with it.
                self.cache.insert(ids[at], Bytes::copy_from_slice(&bytes));
                found[at] = Some(bytes);
            }
        }
        Ok(found.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// Lets go of a range of an object that is not what was written.
    pub(crate) fn forget(&self, key: &str, range: &Range<u64>) {
        self.cache.remove(&id_of(xxh3_128(key.as_bytes()), range));
    }

    /// What is here: in memory at once, the rest from the disk.
    fn look(&self, ids: &[u128]) -> std::io::Result<Vec<Option<Bytes>>> {
        let memory = self.cache.memory();
        let mut found: Vec<Option<Bytes>> = ids
            .iter()
            .map(|id| memory.get(id).map(|entry| entry.value().clone()))
            .collect();
        if !self.cache.is_hybrid() || found.iter().all(Option::is_some) {
            return Ok(found);
        }
        let missing: Vec<usize> = (0..ids.len()).filter(|at| found[*at].is_none()).collect();
        let wanted: Vec<u128> = missing.iter().map(|at| ids[*at]).collect();
        let cache = self.cache.clone();
        let read = self.bucket.run(async move {
            let mut pages = Vec::with_capacity(wanted.len());
            for id in wanted {
                // A disk that fails only costs a request.
                let entry = cache.get(&id).await.ok().flatten();
                pages.push(entry.map(|entry| entry.value().clone()));
            }
            pages
        });
        for (at, page) in missing.into_iter().zip(read?) {
            found[at] = page;
        }
        Ok(found)
    }

    /// Bytes of pages in memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.cache.memory().usage() as u64
    }
}

/// The key of a range of an object, by the hash of the object's key.
fn id_of(name: u128, range: &Range<u64>) -> u128 {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&name.to_le_bytes());
    bytes[16..24].copy_from_slice(&range.start.to_le_bytes());
    bytes[24..].copy_from_slice(&range.end.to_le_bytes());
    xxh3_128(&bytes)
}

async fn open_cache(
    memory: usize,
    folder: PathBuf,
    disk: u64,
) -> Result<HybridCache<u128, Bytes>, String> {
    let weigh = |_: &u128, page: &Bytes| page.len() + ENTRY_BYTES;
    let builder = HybridCacheBuilder::new()
        .with_name("pages")
        .memory(memory)
        .with_weighter(weigh)
        .storage();
    if disk == 0 {
        return builder.build().await.map_err(|error| error.to_string());
    }
    if disk < MIN_DISK_BYTES {
        return Err(format!(
            "disk_cache is {disk} bytes; use {MIN_DISK_BYTES} or more, or 0 for none"
        ));
    }
    let place = folder.display().to_string();
    std::fs::create_dir_all(&folder).map_err(|error| format!("{place}: {error}"))?;
    let capacity = usize::try_from(disk).map_err(|error| error.to_string())?;
    let device = FsDeviceBuilder::new(&folder)
        .with_capacity(capacity)
        .build();
    let device = device.map_err(|error| format!("{place}: {error}"))?;
    let engine = BlockEngineConfig::new(device);
    let built = builder
        .with_io_engine_config(PsyncIoEngineConfig::new())
        .with_engine_config(engine)
        .build();
    built.await.map_err(|error| format!("{place}: {error}"))
}
