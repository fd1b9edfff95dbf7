//! What time is proven, kept in a small file for the process after this one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use model::time::TimestampMs;
use xxhash_rust::xxh3::xxh3_64;

/// A file of one line: milliseconds since 1970, and the xxh3-64 of their digits.
#[derive(Debug)]
pub(crate) struct KeptTime {
    path: PathBuf,
}

impl KeptTime {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// What was kept; a file that can't be read or makes no sense counts as none.
    pub(crate) fn load(&self) -> Option<TimestampMs> {
        let text = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            read => read.map_err(|error| error.to_string()),
        };
        let time = text.and_then(|text| parse(&text).ok_or_else(|| "it is damaged".to_owned()));
        let time = time.inspect_err(|error| {
            tracing::warn!(
                path = %self.path.display(),
                error,
                "what time is proven is not known any more: nothing expires for a day"
            );
        });
        time.ok()
    }

    /// Keeps a time, durably, in place of the one before.
    pub(crate) fn keep(&self, time: TimestampMs) -> io::Result<()> {
        let partial = self.path.with_extension("part");
        let mut file = File::create(&partial)?;
        file.write_all(line(time).as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, &self.path)?;
        match self.path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

fn line(time: TimestampMs) -> String {
    let digits = time.to_string();
    format!("{digits} {:016x}\n", xxh3_64(digits.as_bytes()))
}

fn parse(text: &str) -> Option<TimestampMs> {
    let (digits, _) = text.split_once(' ')?;
    let time = digits.parse().ok()?;
    (line(time) == text).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_found_unless_it_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let kept = KeptTime::new(&folder.path().join("time"));
        assert_eq!(kept.load(), None);
        for time in [1_700_000_000_000, -5] {
            kept.keep(time).unwrap();
            assert_eq!(kept.load(), Some(time));
        }
        let bytes = fs::read(&kept.path).unwrap();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            fs::write(&kept.path, &bad).unwrap();
            assert_eq!(kept.load(), None, "{at}");
            fs::write(&kept.path, &bytes[..at]).unwrap();
            assert_eq!(kept.load(), None, "{at}");
        }
    }
}
