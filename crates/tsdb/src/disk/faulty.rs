//! A disk in memory that fails on request: errors, short writes, no room, and power loss.
//!
//! It keeps for each file what a power loss would leave of it, so that a test can crash at every
//! single operation and look at what the next start finds.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{DirFile, Disk, DiskFile, ReadFile, WriteMode};

/// What is to go wrong. Operations that change something are counted from 1.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The operation during which power is lost: a write is done in part, and everything after
    /// it fails until [`FaultyDisk::restart`].
    pub lose_power_at: Option<u64>,
    /// The operation that fails with an input/output error, a write after a part of it.
    pub fail_at: Option<u64>,
    /// The sync of a file that fails, counted from 1 among those; what it should have made
    /// durable never will be.
    pub fail_sync_at: Option<u64>,
    /// Bytes that all files together can hold; a write is cut short there.
    pub capacity: Option<u64>,
}

/// A disk in memory. Clones share it.
#[derive(Clone, Debug)]
pub struct FaultyDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    faults: Faults,
    random: u64,
    operations: u64,
    syncs: u64,
    dead: bool,
    block: usize,
    next_node: u64,
    nodes: HashMap<u64, Node>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
}

#[derive(Debug, Default)]
struct Node {
    now: Vec<u8>,
    durable: Vec<u8>,
}

/// What happens to an operation.
enum Fate {
    Done,
    Partial(io::Error),
}

impl FaultyDisk {
    /// An empty disk without faults. The seed decides what a power loss leaves of bytes that
    /// were not made durable.
    pub fn new(seed: u64) -> Self {
        let state = State {
            faults: Faults::default(),
            random: seed,
            operations: 0,
            syncs: 0,
            dead: false,
            block: 512,
            next_node: 0,
            nodes: HashMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Sets what is to go wrong, and counts from 1 again.
    pub fn set_faults(&self, faults: Faults) {
        let mut state = self.state.lock();
        state.faults = faults;
        state.operations = 0;
        state.syncs = 0;
    }

    /// Operations since the faults were set.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Loses power, if that has not happened yet, and comes back without faults: with the names
    /// and bytes that were durable, and with any part of what was appended since.
    pub fn restart(&self) {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.dead = false;
        state.faults = Faults::default();
        state.names = state.durable_names.clone();
        let mut order: Vec<_> = state.nodes.keys().copied().collect();
        order.sort_unstable();
        for id in order {
            if let Some(node) = state.nodes.get_mut(&id) {
                node.lose_power(&mut state.random);
            }
        }
    }

    /// The bytes of a file.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state.lock();
        let node = state.names.get(path)?;
        Some(state.nodes.get(node)?.now.clone())
    }

    /// Puts a file there, durably, whatever was there before.
    pub fn place(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state.lock();
        let id = state.new_node();
        let durable = bytes.clone();
        let now = bytes;
        state.nodes.insert(id, Node { now, durable });
        state.names.insert(path.to_owned(), id);
        state.durable_names.insert(path.to_owned(), id);
    }
}

impl State {
    fn new_node(&mut self) -> u64 {
        self.next_node += 1;
        self.next_node
    }

    /// Counts an operation that changes something, and says how it ends.
    fn operate(&mut self) -> io::Result<Fate> {
        if self.dead {
            return Err(power_lost());
        }
        self.operations += 1;
        if self.faults.lose_power_at == Some(self.operations) {
            self.dead = true;
            return Ok(Fate::Partial(power_lost()));
        }
        if self.faults.fail_at == Some(self.operations) {
            return Ok(Fate::Partial(io::Error::from_raw_os_error(5)));
        }
        Ok(Fate::Done)
    }

    /// As [`Self::operate`], for operations that happen as a whole or not at all.
    fn operate_whole(&mut self) -> io::Result<()> {
        match self.operate()? {
            Fate::Done => Ok(()),
            Fate::Partial(error) => Err(error),
        }
    }

    fn used(&self) -> u64 {
        let live = self.names.values().filter_map(|id| self.nodes.get(id));
        live.map(|node| node.now.len() as u64).sum()
    }

    fn free(&self) -> u64 {
        let capacity = self.faults.capacity.unwrap_or(u64::MAX);
        capacity.saturating_sub(self.used())
    }

    fn node(&mut self, id: u64) -> io::Result<&mut Node> {
        self.nodes.get_mut(&id).ok_or_else(not_found)
    }

    fn find(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(not_found)
    }

    fn random(&mut self, below: u64) -> u64 {
        random(&mut self.random, below)
    }
}

impl Node {
    /// Keeps what is durable; of what was appended since, nothing, a part from its beginning, or
    /// some sectors and zeros in the place of others.
    fn lose_power(&mut self, seed: &mut u64) {
        let durable = self.durable.len();
        let mut left = self.durable.clone();
        if self.now.len() > durable && self.now[..durable] == self.durable[..] {
            let appended = &self.now[durable..];
            let keep = random(seed, appended.len() as u64 + 1) as usize;
            match random(seed, 3) {
                0 => {}
                1 => left.extend_from_slice(&appended[..keep]),
                _ => {
                    for sector in appended[..keep].chunks(512) {
                        let arrived = random(seed, 2) == 0;
                        left.extend(sector.iter().map(|byte| if arrived { *byte } else { 0 }));
                    }
                }
            }
        }
        self.now = left.clone();
        self.durable = left;
    }
}

impl Disk for FaultyDisk {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        self.state.lock().operate_whole()
    }

    fn create(&self, path: &Path, mode: WriteMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.operate_whole()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = state.new_node();
        state.nodes.insert(node, Node::default());
        state.names.insert(path.to_owned(), node);
        let block = if mode == WriteMode::Blocks {
            state.block
        } else {
            1
        };
        let disk = self.clone();
        Ok(Arc::new(FaultyFile { disk, node, block }))
    }

    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let node = self.state.lock().find(path)?;
        let disk = self.clone();
        let block = 1;
        Ok(Arc::new(FaultyFile { disk, node, block }))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        let node = self.state.lock().find(path)?;
        let disk = self.clone();
        let block = 1;
        Ok(Box::new(FaultyFile { disk, node, block }))
    }

    fn map(&self, _path: &Path, _bytes: usize) -> io::Result<Option<super::FileMap>> {
        Ok(None)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate_whole()?;
        let node = state.names.remove(from).ok_or_else(not_found)?;
        state.names.insert(to.to_owned(), node);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate_whole()?;
        state.names.remove(path).ok_or_else(not_found)?;
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirFile>> {
        let state = self.state.lock();
        let mut files = Vec::new();
        for (path, id) in &state.names {
            let name = path.file_name().and_then(|name| name.to_str());
            if let (true, Some(name)) = (path.parent() == Some(dir), name) {
                let bytes = state.nodes.get(id).map_or(0, |node| node.now.len() as u64);
                let name = name.to_owned();
                files.push(DirFile { name, bytes });
            }
        }
        Ok(files)
    }

    fn lock(&self, _path: &Path) -> io::Result<Option<super::DiskLock>> {
        Ok(Some(super::DiskLock { _file: None }))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate_whole()?;
        state
            .durable_names
            .retain(|path, _| path.parent() != Some(dir));
        let here = state
            .names
            .iter()
            .filter(|(path, _)| path.parent() == Some(dir));
        let here: Vec<_> = here.map(|(path, id)| (path.clone(), *id)).collect();
        state.durable_names.extend(here);
        Ok(())
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(self.state.lock().free())
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    node: u64,
    block: usize,
}

impl DiskFile for FaultyFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        if !bytes.len().is_multiple_of(self.block) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut state = self.disk.state.lock();
        let (part, end) = match state.operate()? {
            Fate::Partial(error) => {
                let part = state.random(bytes.len() as u64 + 1);
                (part, Err(error))
            }
            Fate::Done => (bytes.len() as u64, Ok(())),
        };
        let room = state.free();
        let part_fits = part <= room;
        let written = usize::try_from(part.min(room)).unwrap_or(bytes.len());
        state
            .node(self.node)?
            .now
            .extend_from_slice(&bytes[..written]);
        if part_fits {
            end
        } else {
            Err(io::ErrorKind::StorageFull.into())
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.operate_whole()?;
        state.syncs += 1;
        if state.faults.fail_sync_at == Some(state.syncs) {
            return Err(io::Error::from_raw_os_error(5));
        }
        let node = state.node(self.node)?;
        node.durable.clone_from(&node.now);
        Ok(())
    }

    fn size(&self) -> u64 {
        let state = self.disk.state.lock();
        let node = state.nodes.get(&self.node);
        node.map_or(0, |node| node.now.len() as u64)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.operate_whole()?;
        let bytes = usize::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        state.node(self.node)?.now.resize(bytes, 0);
        Ok(())
    }

    fn block_bytes(&self) -> usize {
        self.block
    }
}

impl ReadFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state.lock();
        let node = state.node(self.node)?;
        let from = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(node.now.len());
        let read = buffer.len().min(node.now.len() - from);
        buffer[..read].copy_from_slice(&node.now[from..from + read]);
        Ok(read)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(DiskFile::size(self))
    }
}

fn power_lost() -> io::Error {
    io::Error::other("power lost")
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

/// A number below `below`, from splitmix64.
fn random(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % below.max(1)
}
