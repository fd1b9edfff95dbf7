//! Pages in memory as they are after decompression. A dashboard asks for the same pages every
//! minute; most of the time a small select takes is that of fetching, checking and decompressing
//! them.

use std::fmt;

use bytes::Bytes;
use foyer::{Cache, CacheBuilder, S3FifoConfig};
use parquet::column::page::Page;

/// What an entry takes beside its page, in bytes.
const ENTRY_BYTES: usize = 192;

/// A cache of decompressed pages, of all blocks of a process. Only pages that fitted their
/// checksums come in.
pub struct DecodedPages(Option<Cache<(u128, u64), Page>>);

impl DecodedPages {
    /// A cache that takes so many bytes; of 0 bytes it keeps nothing.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let cache = CacheBuilder::new(bytes)
            .with_name("decoded-pages")
            .with_weighter(|_: &(u128, u64), page: &Page| page.buffer().len() + ENTRY_BYTES)
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
        let entry = self.0.as_ref()?.get(&(file, offset))?;
        Some(entry.value().clone())
    }

    pub(crate) fn has(&self, file: u128, offset: u64) -> bool {
        let cache = self.0.as_ref();
        cache.is_some_and(|cache| cache.contains(&(file, offset)))
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
        cache.insert((file, offset), page.clone());
        page
    }
}

impl fmt::Debug for DecodedPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DecodedPages({} bytes)", self.bytes())
    }
}
