//! A store that fails on request: before or after it did what was asked, by silence, or by a body
//! of another length. For tests of what stands on a bucket.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing was done, and the store says so.
    Before,
    /// It was done, and the answer was lost.
    After,
    /// No answer ever comes.
    Hang,
    /// The body lacks its last byte.
    Short,
}

/// A store in front of another that fails as it is told.
pub struct FaultyStore {
    store: Arc<dyn ObjectStore>,
    down: AtomicBool,
    requests: AtomicU64,
    plan: Mutex<Vec<(u64, Fault)>>,
}

impl FaultyStore {
    /// A store that does not fail yet.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>) -> Arc<Self> {
        Arc::new(Self {
            store,
            down: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            plan: Mutex::default(),
        })
    }

    /// While it is down every request fails.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, SeqCst);
    }

    /// Lets the requests with these numbers from now on, from 0, fail so.
    pub fn fail(&self, plan: &[(u64, Fault)]) {
        self.requests.store(0, SeqCst);
        *self.plan.lock() = plan.to_vec();
    }

    /// How many requests there were since the last plan.
    pub fn requests(&self) -> u64 {
        self.requests.load(SeqCst)
    }

    async fn before(&self) -> Result<Option<Fault>> {
        let number = self.requests.fetch_add(1, SeqCst);
        if self.down.load(SeqCst) {
            return Err(unavailable());
        }
        let planned = self
            .plan
            .lock()
            .iter()
            .find(|(at, _)| *at == number)
            .map(|(_, f)| *f);
        match planned {
            Some(Fault::Before) => Err(unavailable()),
            Some(Fault::Hang) => std::future::pending().await,
            other => Ok(other),
        }
    }
}

fn unavailable() -> Error {
    Error::Generic {
        store: "faulty",
        source: "503 service unavailable".into(),
    }
}

fn after<T>(fault: Option<Fault>, done: Result<T>) -> Result<T> {
    match fault {
        Some(Fault::After) => done.and_then(|_| Err(unavailable())),
        _ => done,
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, o: PutOptions) -> Result<PutResult> {
        let fault = self.before().await?;
        after(fault, self.store.put_opts(path, payload, o).await)
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let fault = self.before().await?;
        after(fault, self.store.put_multipart_opts(path, options).await)
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.before().await?;
        let mut got = self.store.get_opts(path, options).await?;
        if fault == Some(Fault::Short) {
            let (meta, range) = (got.meta.clone(), got.range.clone());
            let attributes = got.attributes.clone();
            let extensions = got.extensions.clone();
            let bytes = got.bytes().await?;
            let short = bytes.slice(..bytes.len().saturating_sub(1));
            let body = futures_util::stream::once(async move { Ok(short) });
            got = GetResult {
                payload: GetResultPayload::Stream(Box::pin(body)),
                meta,
                range,
                attributes,
                extensions,
            };
        }
        after(fault, Ok(got))
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let fault = self.before().await?;
        after(fault, self.store.get_ranges(path, ranges).await)
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.requests.fetch_add(1, SeqCst);
        if self.down.load(SeqCst) {
            return Box::pin(futures_util::stream::once(async { Err(unavailable()) }));
        }
        self.store.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.requests.fetch_add(1, SeqCst);
        if self.down.load(SeqCst) {
            return Box::pin(futures_util::stream::once(async { Err(unavailable()) }));
        }
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let fault = self.before().await?;
        after(fault, self.store.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let fault = self.before().await?;
        after(fault, self.store.copy_opts(from, to, options).await)
    }
}
