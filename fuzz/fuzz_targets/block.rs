//! Blocks whose bytes were damaged in any way, or were forged to fit their checksums: they open and
//! answer, or give an error. The Parquet library panics at some pages that contradict themselves,
//! which the reader turns into errors; what it does not catch is a fault here.
#![no_main]

use std::fs;
use std::io;
use std::ops::Range;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use block::{Block, BlockFiles, BlockMeta};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use model::TimeRange;
use model::matcher::{MatchOp, Matcher};
use model::select::{LabelsNeeded, LookupBounds, SelectRequest, SeriesSamples, Skipped};
use parquet::file::metadata::ParquetMetaDataReader;
use xxhash_rust::xxh3::xxh3_64;

/// A folder of our own: `meta.json` in it is what the fuzzer makes, all else is golden.
static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder for files");
    for file in &GOLDEN.files {
        let path = folder.path().join(&file.name);
        fs::write(path, &file.bytes).expect("a folder that can be written");
    }
    folder
});

/// What the last panic said.
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

static GOLDEN: LazyLock<Golden> = LazyLock::new(Golden::read);

fuzz_target!(
    init: {
        // The driver's hook ends the process at a panic, even at one that is caught.
        std::panic::set_hook(Box::new(|panic| {
            let mut last = LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner);
            *last = panic.to_string();
        }));
    },
    |data: &[u8]| {
        if catch_unwind(|| check(data)).is_err() {
            let last = LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner);
            eprintln!("{last}");
            std::process::abort();
        }
    }
);

fn check(data: &[u8]) {
    // The first byte says which file and whether it is sealed again, the second where it is
    // cut; then come edits: what to do, place, place, new byte.
    let Some((&[which, cut], edits)) = data.split_first_chunk() else {
        return;
    };
    let (sealed, which) = (which >= 128, usize::from(which % 128));
    match GOLDEN.files.get(which % (GOLDEN.files.len() + 1)) {
        None => read_with_meta(&edited(&GOLDEN.meta_bytes, cut, edits), sealed),
        Some(file) => {
            let mut meta = GOLDEN.meta.clone();
            let mut bytes = edited(&file.bytes, cut, edits);
            let described = meta.files.iter_mut().find(|known| known.name == file.name);
            if let Some(described) = described.filter(|_| sealed) {
                file.seal_pages(&mut bytes);
                let size = bytes.len() as u64;
                described.size = size;
                described.tail_offset = described.tail_offset.min(size);
                let tail = &bytes[described.tail_offset as usize..];
                described.tail_checksum = hex(xxh3_64(tail));
                described.checksum = hex(xxh3_64(&bytes));
            }
            let edited = file.name.clone();
            read(Block::open_from(meta, Arc::new(Files { edited, bytes })));
        }
    }
}

fn edited(golden: &[u8], cut: u8, edits: &[u8]) -> Vec<u8> {
    let mut bytes = golden.to_vec();
    if cut < 64 {
        bytes.truncate(bytes.len() * usize::from(cut) / 64);
    }
    for edit in edits.chunks_exact(4) {
        let place = usize::from(u16::from_le_bytes([edit[1], edit[2]]));
        let place = place % (bytes.len() + 1);
        match (edit[0] % 4, bytes.get_mut(place)) {
            (0, Some(byte)) => *byte = edit[3],
            (1, Some(byte)) => *byte ^= edit[3],
            (2, Some(_)) => drop(bytes.remove(place)),
            _ => bytes.insert(place, edit[3]),
        }
    }
    bytes
}

fn read_with_meta(meta: &[u8], sealed: bool) {
    let mut meta = meta.to_vec();
    // The document ends with its checksum, which is made with nothing in its place.
    if let Some(end) = meta.len().checked_sub(18).filter(|_| sealed) {
        let sum = hex(xxh3_64(&[&meta[..end], b"\"}"].concat()));
        meta.truncate(end);
        meta.extend_from_slice(format!("{sum}\"}}").as_bytes());
    }
    let path = FOLDER.path().join("meta.json");
    fs::write(path, &meta).expect("a folder that can be written");
    read(Block::open(FOLDER.path()));
}

/// Asks a block for all it has.
fn read(opened: Result<Block, block::BlockError>) {
    let Ok(block) = opened.map(Arc::new) else {
        return;
    };
    let _ = block.verify();
    let bounds = LookupBounds::default();
    let job = Matcher::new("job", MatchOp::Regex, "n.*").expect("a good pattern");
    let _ = block.label_names(&[], &bounds);
    let _ = block.label_values("job", std::slice::from_ref(&job), &bounds);
    let _ = block.label_values("instance", &[], &bounds);
    let _ = block.series(&[], &bounds);
    let _ = block.exemplars(&[], TimeRange::all(), &bounds);
    for matchers in [Vec::new(), vec![job]] {
        let request = SelectRequest {
            matchers,
            range: TimeRange::all(),
            labels: LabelsNeeded::All,
            max_series: 0,
            max_bytes: 0,
            skipped: Skipped::default(),
        };
        let Ok(mut set) = block.select(&request) else {
            continue;
        };
        let mut samples = SeriesSamples::default();
        while let Ok(Some(_)) = set.next(&mut samples) {
            assert_eq!(samples.ts.len(), samples.values.len());
        }
    }
}

/// The files of the golden block, one of them edited.
#[derive(Debug)]
struct Files {
    edited: String,
    bytes: Vec<u8>,
}

impl Files {
    fn bytes(&self, name: &str) -> io::Result<&[u8]> {
        let golden = GOLDEN.files.iter().find(|file| file.name == name);
        let golden = golden.map(|file| file.bytes.as_slice());
        let bytes = if name == self.edited {
            Some(self.bytes.as_slice())
        } else {
            golden
        };
        bytes.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl BlockFiles for Files {
    fn read(&self, file: &str, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
        let bytes = self.bytes(file)?;
        let part = |range: &Range<u64>| {
            let part = bytes.get(range.start as usize..range.end as usize);
            part.map(Bytes::copy_from_slice)
                .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        };
        ranges.iter().map(part).collect()
    }

    fn size(&self, file: &str) -> io::Result<Option<u64>> {
        Ok(Some(self.bytes(file)?.len() as u64))
    }
}

/// The golden block.
struct Golden {
    meta: BlockMeta,
    meta_bytes: Vec<u8>,
    files: Vec<GoldenFile>,
}

struct GoldenFile {
    name: String,
    bytes: Vec<u8>,
    pages: Vec<Range<usize>>,
    /// Where the checksums of the pages lie.
    sums: usize,
}

impl Golden {
    fn read() -> Self {
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/block/testdata/block-v1");
        let read = |name: &str| fs::read(folder.join(name)).expect("a golden file");
        let meta_bytes = read("meta.json");
        let meta: BlockMeta = serde_json::from_slice(&meta_bytes).expect("a golden file");
        let file = |name: &String| GoldenFile::of(name, read(name));
        Self {
            files: meta.files.iter().map(|known| file(&known.name)).collect(),
            meta,
            meta_bytes,
        }
    }
}

impl GoldenFile {
    fn of(name: &str, bytes: Vec<u8>) -> Self {
        let mut reader = ParquetMetaDataReader::new()
            .with_page_index_policy(parquet::file::metadata::PageIndexPolicy::Required);
        let parsed = reader.try_parse(&Bytes::from(bytes.clone()));
        let meta = parsed.and_then(|()| reader.finish());
        let meta = meta.expect("a golden file");
        let mut pages: Vec<Range<usize>> = Vec::new();
        for (number, group) in meta.row_groups().iter().enumerate() {
            let index = meta.page_index_for_row_group(number);
            for (column, chunk) in group.columns().iter().enumerate() {
                let locations = index.page_locations(column).expect("an offset index");
                if let Some(dictionary) = chunk.dictionary_page_offset() {
                    pages.push(dictionary as usize..locations[0].offset as usize);
                }
                pages.extend(locations.iter().map(|page| {
                    let start = page.offset as usize;
                    start..start + page.compressed_page_size as usize
                }));
            }
        }
        let sum = |page: &Range<usize>| page_sum(&bytes[page.clone()]);
        let sums: String = pages.iter().map(sum).collect();
        let found = bytes
            .windows(sums.len())
            .position(|part| part == sums.as_bytes());
        Self {
            name: name.to_owned(),
            sums: found.expect("checksums in the footer"),
            pages,
            bytes,
        }
    }

    /// Makes the checksums of pages fit, where the pages and these are still in their places.
    fn seal_pages(&self, bytes: &mut [u8]) {
        if bytes.len() != self.bytes.len() {
            return;
        }
        for (page, at) in self.pages.iter().zip((self.sums..).step_by(8)) {
            if bytes[page.clone()] != self.bytes[page.clone()] {
                let sum = page_sum(&bytes[page.clone()]);
                bytes[at..at + 8].copy_from_slice(sum.as_bytes());
            }
        }
    }
}

fn page_sum(page: &[u8]) -> String {
    format!("{:08x}", xxh3_64(page) as u32)
}

fn hex(sum: u64) -> String {
    format!("{sum:016x}")
}
