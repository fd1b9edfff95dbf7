//! Files that are damaged and yet fit their checksums, as a faulty writer would leave them: an error
//! or some answer, but no panic and no memory without a bound.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use model::select::{LabelsNeeded, LookupBounds, SelectRequest, SeriesSamples, Skipped};
use model::time::TimeRange;
use xxhash_rust::xxh3::xxh3_64;

use super::Block;
use crate::layout::{EXEMPLARS, META, TABLES};
use crate::meta::{BlockMeta, hex};

/// A copy of the golden block, of which one file at a time is forged.
struct Forgery {
    folder: tempfile::TempDir,
    meta: BlockMeta,
}

impl Forgery {
    fn new() -> Self {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/block-v1");
        let folder = tempfile::tempdir().unwrap();
        for name in TABLES.iter().chain([&EXEMPLARS, &META]) {
            fs::copy(golden.join(name), folder.path().join(name)).unwrap();
        }
        let meta = BlockMeta::read(folder.path()).unwrap();
        Self { folder, meta }
    }

    /// Opens and reads the block with a file's bytes exchanged; whether that went without error.
    fn read(&self, file: usize, bytes: &[u8]) -> bool {
        let mut forged = self.meta.clone();
        let file = &mut forged.files[file];
        file.tail_checksum = hex(xxh3_64(&bytes[file.tail_offset as usize..]));
        fs::write(self.folder.path().join(&file.name), bytes).unwrap();
        fs::write(self.folder.path().join(META), forged.seal().unwrap()).unwrap();
        let Ok(block) = Block::open(self.folder.path()) else {
            return false;
        };
        let request = SelectRequest {
            matchers: Vec::new(),
            range: TimeRange::all(),
            labels: LabelsNeeded::All,
            max_series: 0,
            max_bytes: 0,
            skipped: Skipped::default(),
        };
        let exemplars = block.exemplars(&[], TimeRange::all(), &LookupBounds::default());
        if exemplars.is_err() {
            return false;
        }
        let Ok(mut set) = Arc::new(block).select(&request) else {
            return false;
        };
        let mut samples = SeriesSamples::default();
        loop {
            match set.next(&mut samples) {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }
}

/// Of so many bytes one is changed.
const STEP: usize = 17;

#[test]
fn a_tail_that_lies_does_no_harm() {
    let forgery = Forgery::new();
    let mut refused = 0;
    for (number, file) in forgery.meta.files.iter().enumerate() {
        let path = forgery.folder.path().join(&file.name);
        let whole = fs::read(&path).unwrap();
        for at in (file.tail_offset as usize..whole.len()).step_by(STEP) {
            let mut bad = whole.clone();
            bad[at] ^= 1 << (at % 8);
            refused += usize::from(!forgery.read(number, &bad));
        }
        fs::write(path, &whole).unwrap();
    }
    assert!(refused > 0);
}

#[test]
fn a_page_that_lies_does_no_harm() {
    let forgery = Forgery::new();
    let block = Block::open(forgery.folder.path()).unwrap();
    let tables = [
        &block.samples,
        &block.timelines,
        &block.series,
        &block.postings,
        block.exemplars.as_ref().unwrap(),
    ];
    let mut refused = 0;
    for (number, (file, table)) in forgery.meta.files.iter().zip(tables).enumerate() {
        let path = forgery.folder.path().join(&file.name);
        let whole = fs::read(&path).unwrap();
        let pages = table.pages();
        let sums: String = pages.iter().map(|(_, sum)| format!("{sum:08x}")).collect();
        let found = whole
            .windows(sums.len())
            .position(|part| part == sums.as_bytes());
        let sums_at = found.unwrap();
        for (which, (page, _)) in pages.iter().enumerate() {
            for at in page.clone().step_by(STEP) {
                let mut bad = whole.clone();
                bad[at] ^= 1 << (at % 8);
                let sum = format!("{:08x}", xxh3_64(&bad[page.clone()]) as u32);
                let sum_at = sums_at + 8 * which;
                bad[sum_at..sum_at + 8].copy_from_slice(sum.as_bytes());
                refused += usize::from(!forgery.read(number, &bad));
            }
        }
        fs::write(path, &whole).unwrap();
    }
    assert!(refused > 0);
}
