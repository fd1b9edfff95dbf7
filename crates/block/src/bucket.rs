//! The bucket: object storage by URL. Calls block until they are answered, on whatever thread;
//! the requests run on a small runtime of the bucket's own.
//!
//! Every request has a deadline and is tried again with growing pauses where that can help: a
//! put, a get, a list and a delete may each be done twice without harm, as objects never change
//! once they count.

mod config;
mod error;
mod request;
mod counters;
pub mod faulty;
pub mod suite;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use model::error::ErrorKind;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

pub use config::{BucketConfig, Secret};
use counters::Counters;
pub use counters::Operation;
pub use error::BucketError;
pub(crate) use request::waits;

/// Ranges with no more than this between them are fetched by one request, in bytes.
const COALESCE_BYTES: u64 = 256 << 10;
/// The most bytes of one ranged request, unless a single range is longer.
const REQUEST_BYTES: u64 = 16 << 20;
/// Parts in which a large file is uploaded, in bytes: S3 takes none below 5 MiB but the last.
const PART_BYTES: u64 = 8 << 20;
/// Requests for ranges of one object at once.
const RANGES_AT_ONCE: usize = 8;
/// Threads for requests.
const WORKERS: usize = 2;

/// An object, as a listing tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key, below the bucket's prefix.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last written, in milliseconds.
    pub modified_ms: i64,
}

/// Object storage.
pub struct Bucket {
    inner: Arc<Inner>,
    /// Gone only while it is dropped.
    runtime: Option<Runtime>,
}

/// What requests need.
struct Inner {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    described: String,
    timeout: Duration,
    max_retries: u32,
    slots: Semaphore,
    counters: Counters,
}

impl Bucket {
    /// Opens the bucket of a configuration. Nothing is asked of it yet: see [`Self::check`].
    ///
    /// # Errors
    /// Where the URL or the options make no sense, or a local folder can't be made.
    pub fn open(config: &BucketConfig) -> Result<Arc<Self>, BucketError> {
        let (store, prefix) = config.store()?;
        Self::new(store, prefix, config)
    }

    /// A bucket in memory.
    #[must_use]
    pub fn in_memory() -> Arc<Self> {
        let store = Arc::new(object_store::memory::InMemory::new());
        let made = Self::with_store(store, &BucketConfig::default());
        made.expect("a machine without threads runs no test")
    }

    /// A bucket over any store, with the timeouts and bounds of a configuration.
    ///
    /// # Errors
    /// Where the system grants no threads.
    pub fn with_store(
        store: Arc<dyn ObjectStore>,
        config: &BucketConfig,
    ) -> Result<Arc<Self>, BucketError> {
        Self::new(store, Path::default(), config)
    }

    fn new(
        store: Arc<dyn ObjectStore>,
        prefix: Path,
        config: &BucketConfig,
    ) -> Result<Arc<Self>, BucketError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("bucket")
            .enable_all()
            .build()
            .map_err(|error| BucketError::config(format!("no threads for requests: {error}")))?;
        Ok(Arc::new(Self {
            inner: Arc::new(Inner {
                store,
                prefix,
                described: config.described(),
                timeout: config.timeout.as_duration(),
                max_retries: config.max_retries,
                slots: Semaphore::new(config.max_concurrency.max(1)),
                counters: Counters::default(),
            }),
            runtime: Some(runtime),
        }))
    }

    /// Where it is, for logs: without secrets.
    #[must_use]
    pub fn describe(&self) -> &str {
        &self.inner.described
    }

    /// Sees whether objects can be written, listed, read and deleted.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn check(&self, probe: &str) -> Result<(), BucketError> {
        let key = format!("tidemark-probe-{probe}");
        let written = Bytes::from_static(b"tidemark looks whether it can write here\n");
        self.put(&key, written.clone())?;
        // Nothing lies below an object's key: what counts is that it may be asked.
        let read = self.list(&key, 1).and_then(|_| self.get(&key, 1 << 10));
        let deleted = self.delete(&key);
        let read = read?;
        deleted?;
        if read != written {
            let what = "another object came back than was written";
            let bucket = self.describe();
            let kind = ErrorKind::Corrupt;
            return Err(BucketError::of(kind, bucket, Operation::Get, &key, what));
        }
        Ok(())
    }

    /// Writes an object, whole or not at all.
    ///
    /// # Errors
    /// Where the store refuses, or did not answer in time.
    pub fn put(&self, key: &str, bytes: Bytes) -> Result<(), BucketError> {
        let size = bytes.len() as u64;
        self.call(Operation::Put, key, move |inner, path| {
            let bytes = bytes.clone();
            async move {
                inner
                    .store
                    .put(&path, PutPayload::from_bytes(bytes))
                    .await?;
                Ok(())
            }
        })?;
        self.inner.counters.sent(size);
        Ok(())
    }

    /// Writes a file's bytes as an object, a part in memory at a time; says how many there are.
    ///
    /// # Errors
    /// As of [`Self::put`]; where the file can't be read.
    pub fn put_file(&self, key: &str, file: &FilePath) -> Result<u64, BucketError> {
        let unreadable = |error: std::io::Error| {
            BucketError::config(format!("{} can't be read: {error}", file.display()))
        };
        let source = Arc::new(File::open(file).map_err(unreadable)?);
        let size = source.metadata().map_err(unreadable)?.len();
        if size <= PART_BYTES {
            let bytes = read_part(&source, 0..size).map_err(unreadable)?;
            self.put(key, bytes)?;
            return Ok(size);
        }
        let parts = u32::try_from(size / PART_BYTES + 1).unwrap_or(u32::MAX);
        let timeout = self.inner.timeout.saturating_mul(parts);
        self.call_within(timeout, Operation::Put, key, move |inner, path| {
            let source = Arc::clone(&source);
            async move { inner.put_parts(&path, &source, size).await }
        })?;
        self.inner.counters.sent(size);
        Ok(size)
    }

    /// Reads an object.
    ///
    /// # Errors
    /// Where there is none, it is longer than `max_bytes`, or it can't be read.
    pub fn get(&self, key: &str, max_bytes: u64) -> Result<Bytes, BucketError> {
        let bytes = self.call(Operation::Get, key, move |inner, path| async move {
            let found = inner.store.get(&path).await?;
            if found.meta.size > max_bytes {
                let size = found.meta.size;
                return Err(request::Failure::Final(format!(
                    "it has {size} bytes, more than the {max_bytes} that are read"
                )));
            }
            let size = found.meta.size;
            let bytes = found.bytes().await?;
            request::whole(&bytes, size)?;
            Ok(bytes)
        })?;
        self.inner.counters.received(bytes.len() as u64);
        Ok(bytes)
    }

    /// Reads ranges of an object, which ascend. Neighbours are fetched together, and requests
    /// that are left at once.
    ///
    /// # Errors
    /// Where there is none, it is shorter, or it can't be read.
    pub fn get_ranges(&self, key: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BucketError> {
        let runs = coalesce(ranges);
        let fetched = {
            let runs: Arc<[Range<u64>]> = runs.clone().into();
            self.call(Operation::GetRanges, key, move |inner, path| {
                let runs = Arc::clone(&runs);
                async move {
                    let fetch = |run: Range<u64>| {
                        let (inner, path) = (Arc::clone(&inner), path.clone());
                        async move {
                            inner.counters.request(Operation::GetRanges);
                            let bytes = inner.store.get_range(&path, run.clone()).await?;
                            request::whole(&bytes, run.end - run.start)?;
                            Ok::<_, request::Failure>(bytes)
                        }
                    };
                    let runs: Vec<Range<u64>> = runs.to_vec();
                    let fetched = stream::iter(runs.into_iter().map(fetch));
                    fetched
                        .buffered(RANGES_AT_ONCE)
                        .try_collect::<Vec<_>>()
                        .await
                }
            })?
        };
        for bytes in &fetched {
            self.inner.counters.received(bytes.len() as u64);
        }
        let slice = |range: &Range<u64>| {
            let at = runs
                .partition_point(|run| run.start <= range.start)
                .saturating_sub(1);
            let (run, bytes) = (runs.get(at)?, fetched.get(at)?);
            let start = usize::try_from(range.start.checked_sub(run.start)?).ok()?;
            let end = usize::try_from(range.end.checked_sub(run.start)?).ok()?;
            (start <= end && end <= bytes.len()).then(|| bytes.slice(start..end))
        };
        let parts: Option<Vec<Bytes>> = ranges.iter().map(slice).collect();
        parts.ok_or_else(|| BucketError::config(format!("ranges of {key} do not ascend")))
    }

    /// The objects whose keys begin with a folder, in the order of their keys.
    ///
    /// # Errors
    /// Where there are more than `most`, or the store refuses.
    pub fn list(&self, folder: &str, most: usize) -> Result<Vec<ObjectInfo>, BucketError> {
        let mut found = self.call(Operation::List, folder, move |inner, path| async move {
            let mut listed = inner.store.list(Some(&path));
            let mut found = Vec::new();
            while let Some(object) = listed.try_next().await? {
                if found.len() == most {
                    return Err(request::Failure::Final(format!(
                        "there are more than {most} objects"
                    )));
                }
                found.extend(inner.key_of(&object.location).map(|key| ObjectInfo {
                    key,
                    size: object.size,
                    modified_ms: object.last_modified.timestamp_millis(),
                }));
            }
            Ok(found)
        })?;
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    /// The names of the folders directly in a folder, sorted; `""` is the bucket itself.
    ///
    /// # Errors
    /// Where the store refuses.
    pub fn list_folders(&self, folder: &str) -> Result<Vec<String>, BucketError> {
        let mut found = self.call(Operation::List, folder, move |inner, path| async move {
            let listed = inner.store.list_with_delimiter(Some(&path)).await?;
            let names = listed.common_prefixes.iter();
            Ok(names
                .filter_map(|prefix| prefix.filename().map(str::to_owned))
                .collect::<Vec<_>>())
        })?;
        found.sort_unstable();
        Ok(found)
    }

    /// Deletes an object; no error where there is none.
    ///
    /// # Errors
    /// Where the store refuses.
    pub fn delete(&self, key: &str) -> Result<(), BucketError> {
        self.call(Operation::Delete, key, |inner, path| async move {
            match inner.store.delete(&path).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                other => Ok(other?),
            }
        })
    }

    /// Writes its counters in the text format of Prometheus.
    pub fn render_metrics(&self, out: &mut String) {
        self.inner.counters.render(out);
    }

    /// How many requests were made so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.inner.counters.requests()
    }
}

impl Inner {
    /// The key of a path below the prefix.
    fn key_of(&self, path: &Path) -> Option<String> {
        let parts = path.prefix_match(&self.prefix)?;
        let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
        Some(parts.join("/"))
    }

    async fn put_parts(
        &self,
        path: &Path,
        source: &Arc<File>,
        size: u64,
    ) -> Result<(), request::Failure> {
        let mut upload = self.store.put_multipart(path).await?;
        let parts = async {
            let mut at = 0;
            while at < size {
                let range = at..size.min(at + PART_BYTES);
                at = range.end;
                let source = Arc::clone(source);
                let read = tokio::task::spawn_blocking(move || read_part(&source, range));
                let bytes = read.await.map_err(request::Failure::lost)?;
                let bytes = bytes.map_err(|error| request::Failure::Final(error.to_string()))?;
                upload.put_part(PutPayload::from_bytes(bytes)).await?;
            }
            upload.complete().await?;
            Ok(())
        };
        let done = parts.await;
        if done.is_err() {
            // What the store keeps of it in vain, its own rules remove.
            drop(upload.abort().await);
        }
        done
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime may not be waited for on another's thread.
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({})", self.inner.described)
    }
}

fn read_part(file: &File, range: Range<u64>) -> std::io::Result<Bytes> {
    let length = usize::try_from(range.end - range.start).map_err(std::io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes.into())
}

/// The requests for ranges that ascend.
fn coalesce(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match runs.last_mut() {
            Some(run)
                if range.start <= run.end.saturating_add(COALESCE_BYTES)
                    && range.end.saturating_sub(run.start) <= REQUEST_BYTES =>
            {
                run.end = run.end.max(range.end);
            }
            _ => runs.push(range.clone()),
        }
    }
    runs
}
