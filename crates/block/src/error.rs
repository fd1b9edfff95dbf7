//! Why a block can't be written or read: always with the block and the file.

use std::io;

use model::error::ErrorKind;
use model::select::SelectError;

/// Why a block can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The file system refused.
    #[error("block {block}: {file}: {source}")]
    Io {
        /// The block's id, or its folder where the id is not known yet.
        block: String,
        /// The file within the block.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes are not those that were written.
    #[error("block {block}: {file} is damaged: {what}")]
    Corrupt {
        /// The block's id, or its folder where the id is not known yet.
        block: String,
        /// The file within the block.
        file: String,
        /// What is wrong.
        what: String,
    },
    /// A version that this program does not know.
    #[error("block {block}: format version {found} is not known, the newest known is {known}")]
    UnknownVersion {
        /// The block's folder.
        block: String,
        /// The version in the file.
        found: u32,
        /// The newest version this program reads.
        known: u32,
    },
    /// What was given to the writer can't stand in a block.
    #[error("block {block}: {what}")]
    Invalid {
        /// The block's id.
        block: String,
        /// What is wrong.
        what: String,
    },
    /// What was given to the writer, or asked of the reader, is over a limit.
    #[error("block {block}: {what}")]
    TooMany {
        /// The block's id.
        block: String,
        /// Which limit.
        what: String,
    },
}

impl BlockError {
    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            // A file that is not there will not be there a moment later.
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorKind::Corrupt,
                _ => ErrorKind::Unavailable,
            },
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            // A newer program reads it.
            Self::UnknownVersion { .. } => ErrorKind::Unavailable,
            Self::Invalid { .. } => ErrorKind::Invalid,
            Self::TooMany { .. } => ErrorKind::TooMany,
        }
    }
}

impl From<BlockError> for SelectError {
    fn from(error: BlockError) -> Self {
        Self {
            kind: error.kind(),
            message: error.to_string(),
        }
    }
}

/// Which block and which file errors speak of.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The block's id or folder.
    pub(crate) block: String,
    /// The file within it.
    pub(crate) file: String,
}

impl Place {
    pub(crate) fn new(block: &str, file: &str) -> Self {
        Self {
            block: block.to_owned(),
            file: file.to_owned(),
        }
    }

    pub(crate) fn io(&self, source: io::Error) -> BlockError {
        BlockError::Io {
            block: self.block.clone(),
            file: self.file.clone(),
            source,
        }
    }

    pub(crate) fn corrupt(&self, what: impl Into<String>) -> BlockError {
        BlockError::Corrupt {
            block: self.block.clone(),
            file: self.file.clone(),
            what: what.into(),
        }
    }

    /// What the Parquet library says while it reads: the file system's errors stay what they are.
    pub(crate) fn reading(&self, error: parquet::errors::ParquetError) -> BlockError {
        match error {
            parquet::errors::ParquetError::External(inner) => match inner.downcast::<io::Error>() {
                Ok(io) => self.io(*io),
                Err(other) => self.corrupt(other.to_string()),
            },
            other => self.corrupt(other.to_string()),
        }
    }

    /// What the Parquet library says while it writes.
    pub(crate) fn writing(&self, error: parquet::errors::ParquetError) -> BlockError {
        self.io(io::Error::other(error))
    }
}
