//! A file system in memory that counts, fails, fills up, and forgets what was not synced.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile};

#[derive(Clone, Debug, Default)]
struct Node {
    volatile: Vec<u8>,
    durable: Vec<u8>,
}

type Shared<T> = Arc<Mutex<T>>;

#[derive(Clone, Debug, Default)]
struct Names {
    volatile: BTreeMap<PathBuf, Shared<Node>>,
    durable: BTreeMap<PathBuf, Shared<Node>>,
}

/// What goes wrong, and what was counted.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    /// Syncs of files so far.
    pub(super) syncs: u64,
    pub(super) directory_syncs: u64,
    pub(super) writes: u64,
    /// Every sync fails from now on.
    pub(super) fail_syncs: bool,
    /// The error of every write from now on.
    pub(super) fail_writes: Option<io::ErrorKind>,
    /// Octets that fit.
    pub(super) capacity: u64,
    /// What `free_bytes` says beyond the truth.
    pub(super) boast: u64,
    /// Writes take at most so many octets.
    pub(super) short_writes: usize,
    /// A sync waits until this is unlocked.
    pub(super) gate: Shared<()>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            syncs: 0,
            directory_syncs: 0,
            writes: 0,
            fail_syncs: false,
            fail_writes: None,
            capacity: u64::MAX / 4,
            boast: 0,
            short_writes: usize::MAX,
            gate: Arc::default(),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct MemoryDisk {
    names: Shared<Names>,
    faults: Shared<Faults>,
    locks: Shared<BTreeSet<PathBuf>>,
}

impl MemoryDisk {
    pub(super) fn faults<T>(&self, look: impl FnOnce(&mut Faults) -> T) -> T {
        look(&mut self.faults.lock())
    }

    /// The disk after a power cut: nothing that was not synced.
    pub(super) fn power_cut(&self) -> Self {
        self.after(|node, _| node.durable.clone(), false)
    }

    /// The disk after the process was killed: everything that was written.
    pub(super) fn kill(&self) -> Self {
        self.after(|node, _| node.volatile.clone(), true)
    }

    /// The disk after a power cut in the middle of writing back: of each unsynced file as much as
    /// `keep` says.
    pub(super) fn torn(&self, mut keep: impl FnMut(usize) -> usize) -> Self {
        self.after(
            |node, _| {
                let kept = node.durable.len()
                    + keep(node.volatile.len() - node.durable.len().min(node.volatile.len()));
                let mut content = node.volatile.clone();
                content.truncate(kept.max(node.durable.len()));
                content
            },
            true,
        )
    }

    fn after(&self, mut content: impl FnMut(&Node, &Path) -> Vec<u8>, volatile: bool) -> Self {
        let names = self.names.lock();
        let from = if volatile {
            &names.volatile
        } else {
            &names.durable
        };
        let files: BTreeMap<PathBuf, Shared<Node>> = from
            .iter()
            .map(|(path, node)| {
                let content = content(&node.lock(), path);
                let node = Node {
                    volatile: content.clone(),
                    durable: content,
                };
                (path.clone(), Arc::new(Mutex::new(node)))
            })
            .collect();
        let names = Names {
            volatile: files.clone(),
            durable: files,
        };
        Self {
            names: Arc::new(Mutex::new(names)),
            ..Self::default()
        }
    }

    /// Files below a directory and their content.
    pub(super) fn files(&self, directory: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let names = self.names.lock();
        let below = names
            .volatile
            .iter()
            .filter(|(path, _)| path.starts_with(directory));
        below
            .map(|(path, node)| (path.clone(), node.lock().volatile.clone()))
            .collect()
    }

    /// Sets the content of a file.
    pub(super) fn put(&self, path: &Path, content: Vec<u8>) {
        let node = Arc::new(Mutex::new(Node {
            volatile: content.clone(),
            durable: content,
        }));
        let mut names = self.names.lock();
        names.volatile.insert(path.into(), node.clone());
        names.durable.insert(path.into(), node);
    }

    fn used(&self) -> u64 {
        let names = self.names.lock();
        names
            .volatile
            .values()
            .map(|node| node.lock().volatile.len() as u64)
            .sum()
    }

    fn file(&self, path: &Path) -> io::Result<Shared<Node>> {
        let names = self.names.lock();
        names
            .volatile
            .get(path)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for MemoryDisk {
    fn create_directory(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<(String, u64)>> {
        let names = self.names.lock();
        let files = names
            .volatile
            .iter()
            .filter(|(path, _)| path.parent() == Some(directory));
        Ok(files
            .map(|(path, node)| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, node.lock().volatile.len() as u64)
            })
            .collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut names = self.names.lock();
        if names.volatile.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = Shared::<Node>::default();
        names.volatile.insert(path.into(), node.clone());
        Ok(Box::new(MemoryFile {
            node,
            disk: self.clone(),
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(MemoryFile {
            node: self.file(path)?,
            disk: self.clone(),
        }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.names.lock().volatile.remove(path);
        removed
            .map(drop)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.file(from)?;
        let mut names = self.names.lock();
        names.volatile.remove(from);
        names.volatile.insert(to.into(), node);
        Ok(())
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.faults.lock().directory_syncs += 1;
        let mut names = self.names.lock();
        let Names { volatile, durable } = &mut *names;
        durable.retain(|name, _| name.parent() != Some(path));
        let inside = volatile
            .iter()
            .filter(|(name, _)| name.parent() == Some(path));
        durable.extend(inside.map(|(name, node)| (name.clone(), node.clone())));
        Ok(())
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        let used = self.used();
        let faults = self.faults.lock();
        Ok(faults
            .capacity
            .saturating_sub(used)
            .saturating_add(faults.boast))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        if !self.locks.lock().insert(path.into()) {
            return Ok(None);
        }
        Ok(Some(Box::new(Guard {
            locks: self.locks.clone(),
            path: path.into(),
        })))
    }
}

struct Guard {
    locks: Shared<BTreeSet<PathBuf>>,
    path: PathBuf,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.locks.lock().remove(&self.path);
    }
}

#[derive(Debug)]
struct MemoryFile {
    node: Shared<Node>,
    disk: MemoryDisk,
}

impl DiskFile for MemoryFile {
    fn write_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let used = self.disk.used();
        let mut faults = self.disk.faults.lock();
        faults.writes += 1;
        if let Some(kind) = faults.fail_writes {
            return Err(kind.into());
        }
        let mut node = self.node.lock();
        let octets: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| piece.iter().copied())
            .collect();
        let offset = offset as usize;
        let growth = (offset + octets.len()).saturating_sub(node.volatile.len());
        let room = usize::try_from(faults.capacity.saturating_sub(used)).unwrap();
        let fits = if growth <= room {
            octets.len()
        } else {
            octets.len() - (growth - room)
        };
        if fits == 0 && !octets.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let count = fits.min(faults.short_writes);
        if node.volatile.len() < offset + count {
            node.volatile.resize(offset + count, 0);
        }
        node.volatile[offset..offset + count].copy_from_slice(&octets[..count]);
        Ok(count)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let node = self.node.lock();
        let rest = node.volatile.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn sync(&self) -> io::Result<()> {
        let gate = self.disk.faults.lock().gate.clone();
        drop(gate.lock());
        let mut faults = self.disk.faults.lock();
        faults.syncs += 1;
        if faults.fail_syncs {
            return Err(io::Error::other("the disk is gone"));
        }
        let mut node = self.node.lock();
        node.durable = node.volatile.clone();
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.node.lock().volatile.truncate(length as usize);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.node.lock().volatile.len() as u64)
    }
}
