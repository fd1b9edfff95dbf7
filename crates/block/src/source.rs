//! Where the files of a block are read from: a folder here, or a bucket behind a cache elsewhere.
//! The reader asks for all pages of a step at once, so that a source can fetch neighbours
//! together.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::decoded::DecodedPages;

/// The files of one block.
pub trait BlockFiles: fmt::Debug + Send + Sync {
    /// Reads ranges of a file, which ascend; each comes back whole.
    ///
    /// # Errors
    /// `UnexpectedEof` where the file is too short, `NotFound` where there is none, and whatever
    /// else keeps it from being read.
    fn read(&self, file: &str, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>>;

    /// Told that bytes which were read are not what was written: a copy of them must not be given
    /// again.
    fn forget(&self, _file: &str, _range: &Range<u64>) {}

    /// Told that the block turned out damaged, and how.
    fn damaged(&self, _what: &str) {}

    /// Where pages are kept once they are decompressed, if anywhere.
    fn decoded(&self) -> Option<&DecodedPages> {
        None
    }

    /// The size of a file in bytes, where it is known without a request.
    ///
    /// # Errors
    /// Where there is no such file.
    fn size(&self, file: &str) -> io::Result<Option<u64>>;
}

/// The files of a block in a local folder. A file stays open once it was looked at, so that the
/// folder may be removed under a reader.
pub(crate) struct FolderFiles {
    folder: PathBuf,
    open: Mutex<HashMap<String, Arc<File>>>,
    decoded: Option<Arc<DecodedPages>>,
}

impl FolderFiles {
    pub(crate) fn new(folder: &Path, decoded: Option<Arc<DecodedPages>>) -> Self {
        Self {
            folder: folder.to_owned(),
            open: Mutex::default(),
            decoded,
        }
    }

    fn file(&self, name: &str) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(name) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(self.folder.join(name))?);
        open.insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }
}

impl BlockFiles for FolderFiles {
    fn read(&self, file: &str, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
        let file = self.file(file)?;
        let mut parts = Vec::with_capacity(ranges.len());
        // What touches is read in one go.
        for run in ranges.chunk_by(|a, b| a.end == b.start) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else {
                continue;
            };
            let length = last.end.saturating_sub(first.start);
            let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            file.read_exact_at(&mut bytes, first.start)?;
            let bytes = Bytes::from(bytes);
            parts.extend(run.iter().map(|range| {
                let at = |offset: u64| (offset - first.start) as usize;
                bytes.slice(at(range.start)..at(range.end))
            }));
        }
        Ok(parts)
    }

    fn decoded(&self) -> Option<&DecodedPages> {
        self.decoded.as_deref()
    }

    fn size(&self, file: &str) -> io::Result<Option<u64>> {
        Ok(Some(self.file(file)?.metadata()?.len()))
    }
}

impl fmt::Debug for FolderFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FolderFiles({})", self.folder.display())
    }
}
