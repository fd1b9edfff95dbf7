//! Pages in memory as they are after decompression, and timelines. A dashboard asks for the same
//! pages every minute; most of the time a small select takes is that of fetching, checking and
//! decompressing them. And all selects of a block need the same few timelines.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use foyer::{Cache, CacheBuilder, S3FifoConfig};
use model::time::TimestampMs;
use parquet::column::page::Page;

/// What an entry takes beside its page or timeline, in bytes.
const ENTRY_BYTES: usize = 192;

/// What is kept, by the file it is of.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    /// The page that begins at an offset.
    Page(u128, u64),
    /// The timeline of a row.
    Timeline(u128, i32),
}

#[derive(Clone)]
enum Decoded {
    Page(Page),
    Timeline(Arc<[TimestampMs]>),
}

impl Decoded {
    fn bytes(&self) -> usize {
        let bytes = match self {
            Self::Page(page) => page.buffer().len(),
            Self::Timeline(ts) => size_of_val(&**ts),
        };
        bytes + ENTRY_BYTES
    }
}

/// A cache of decompressed pages and of timelines, of all blocks of a process. Only what fitted its
/// checksum comes in.
pub struct DecodedPages(Option<Cache<Key, Decoded>>);

impl DecodedPages {
    /// A cache that takes so many bytes; of 0 bytes it keeps nothing.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let cache = CacheBuilder::new(bytes)
            .with_name("decoded-pages")
            .with_weighter(|_: &Key, decoded: &Decoded| decoded.bytes())
            // A scan of many pages does not push out those that are asked for again and again.
            .with_eviction_config(S3FifoConfig::default());
        Self((bytes > 0).then(|| cache.build()))
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |cache| cache.usage() as u64)
    }

    /// The page of a file that begins at an offset.
    pub(crate) fn get(&self, file: u128, offset: u64) -> Option<Page> {
        match self.find(Key::Page(file, offset))? {
            Decoded::Page(page) => Some(page),
            Decoded::Timeline(_) => None,
        }
    }

    pub(crate) fn has(&self, file: u128, offset: u64) -> bool {
        let cache = self.0.as_ref();
        cache.is_some_and(|cache| cache.contains(&Key::Page(file, offset)))
    }

    /// Keeps a page, in memory of its own: it may be a part of something larger.
    pub(crate) fn keep(&self, file: u128, offset: u64, mut page: Page) -> Page {
        let Some(cache) = &self.0 else {
            return page;
        };
        let buf = match &mut page {
            Page::DataPage { buf, .. }
            | Page::DataPageV2 { buf, .. }
            | Page::DictionaryPage { buf, .. } => buf,
        };
        *buf = Bytes::copy_from_slice(buf);
        cache.insert(Key::Page(file, offset), Decoded::Page(page.clone()));
        page
    }

    /// The timeline of a row of a file.
    pub(crate) fn timeline(&self, file: u128, row: i32) -> Option<Arc<[TimestampMs]>> {
        match self.find(Key::Timeline(file, row))? {
            Decoded::Timeline(ts) => Some(ts),
            Decoded::Page(_) => None,
        }
    }

    /// Keeps a timeline.
    pub(crate) fn keep_timeline(&self, file: u128, row: i32, ts: &Arc<[TimestampMs]>) {
        if let Some(cache) = &self.0 {
            cache.insert(Key::Timeline(file, row), Decoded::Timeline(Arc::clone(ts)));
        }
    }

    fn find(&self, key: Key) -> Option<Decoded> {
        let entry = self.0.as_ref()?.get(&key)?;
        Some(entry.value().clone())
    }
}

impl fmt::Debug for DecodedPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DecodedPages({} bytes)", self.bytes())
    }
}
