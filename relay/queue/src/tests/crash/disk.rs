//! A disk that keeps what was synced and, of the rest, what a seed says: it loses, tears and
//! reorders unsynced writes and names, fails any operation, fills up, and goes dark at a chosen
//! operation.
//!
//! Whatever reaches it is counted, so that a cut falls between two operations of its own and a seed
//! falls there again.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::rng::Rng;
use crate::disk::{Disk, DiskFile};

/// Octets that a device writes whole or not at all.
const SECTOR: usize = 64;

type Hook = Box<dyn FnMut()>;

thread_local! {
    /// What may happen in the middle of an operation of the disk: other threads' work.
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// Lets `hook` happen at each operation on this thread, until it is set to none.
pub(super) fn interrupt_with(hook: Option<Hook>) {
    HOOK.with(|place| *place.borrow_mut() = hook);
}

fn interrupt() {
    // Taken out meanwhile: an interruption is not interrupted.
    if let Some(mut hook) = HOOK.with(|place| place.borrow_mut().take()) {
        hook();
        HOOK.with(|place| *place.borrow_mut() = Some(hook));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Operation {
    CreateDirectory,
    List,
    Create,
    Open,
    Remove,
    Rename,
    SyncDirectory,
    Write,
    Read,
    Sync,
    Truncate,
    Length,
}

use Operation as Op;

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Clone, Debug, Default)]
struct Node {
    durable: Vec<u8>,
    volatile: Vec<u8>,
    unsynced: Vec<Change>,
}

/// A name and the file that has it from now on, if any; several that hold together.
type Renaming = Vec<(PathBuf, Option<usize>)>;

#[derive(Clone, Debug, Default)]
struct Names {
    files: BTreeMap<PathBuf, usize>,
    directories: BTreeSet<PathBuf>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Files(Renaming),
    Directory(PathBuf),
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Directory(path) => drop(names.directories.insert(path.clone())),
            Self::Files(renaming) => {
                for (path, node) in renaming {
                    match node {
                        Some(node) => drop(names.files.insert(path.clone(), *node)),
                        None => drop(names.files.remove(path)),
                    }
                }
            }
        }
    }

    fn touches(&self, directory: &Path) -> bool {
        match self {
            Self::Directory(path) => path.parent() == Some(directory),
            Self::Files(renaming) => renaming
                .iter()
                .any(|(path, _)| path.parent() == Some(directory)),
        }
    }
}

/// What goes wrong, beside cuts.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    /// One in so many operations fails; 0 is none.
    pub(super) one_in: u64,
    /// Octets that fit.
    pub(super) capacity: u64,
    /// Writes take at most so many octets.
    pub(super) short_writes: usize,
}

impl Trouble {
    pub(super) const NONE: Self = Self {
        one_in: 0,
        capacity: u64::MAX / 4,
        short_writes: usize::MAX,
    };
}

#[derive(Debug)]
struct Inner {
    nodes: Vec<Node>,
    durable: Names,
    volatile: Names,
    unsynced: Vec<NameChange>,
    rng: Rng,
    trouble: Trouble,
    /// The process that may use the disk.
    process: u64,
    operations: u64,
    cut_at: Option<u64>,
    dark: bool,
    injected: u64,
    way: DefaultHasher,
    trace: bool,
}

/// The disk as one process sees it.
#[derive(Clone, Debug)]
pub(super) struct SeededDisk {
    inner: Arc<Mutex<Inner>>,
    process: u64,
}

impl SeededDisk {
    pub(super) fn new(rng: Rng, trace: bool) -> Self {
        let root = BTreeSet::from([PathBuf::from("/queue")]);
        let names = Names {
            directories: root,
            ..Names::default()
        };
        let inner = Inner {
            nodes: Vec::new(),
            durable: names.clone(),
            volatile: names,
            unsynced: Vec::new(),
            rng,
            trouble: Trouble::NONE,
            process: 0,
            operations: 0,
            cut_at: None,
            dark: false,
            injected: 0,
            way: DefaultHasher::new(),
            trace,
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            process: 0,
        }
    }

    pub(super) fn trouble(&self, change: impl FnOnce(&mut Trouble)) {
        change(&mut self.inner.lock().trouble);
    }

    /// Goes dark so many operations from now.
    pub(super) fn cut_in(&self, operations: Option<u64>) {
        let mut inner = self.inner.lock();
        inner.cut_at = operations.map(|count| inner.operations + count);
    }

    pub(super) fn is_dark(&self) -> bool {
        self.inner.lock().dark
    }

    /// Operations that failed to order, so far.
    pub(super) fn injected(&self) -> u64 {
        self.inner.lock().injected
    }

    /// A number for all that reached the disk, in order.
    pub(super) fn way(&self) -> u64 {
        self.inner.lock().way.finish()
    }

    pub(super) fn used(&self) -> u64 {
        self.inner.lock().used()
    }

    /// Files below a directory.
    pub(super) fn names(&self, directory: &str) -> Vec<String> {
        let inner = self.inner.lock();
        let names = inner.volatile.files.keys();
        names
            .filter(|path| path.starts_with(directory))
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect()
    }

    /// The disk for the next process after the last one was killed.
    pub(super) fn killed(&self) -> Self {
        let mut inner = self.inner.lock();
        inner.process += 1;
        Self {
            inner: self.inner.clone(),
            process: inner.process,
        }
    }

    /// The disk for the next process after a power cut.
    pub(super) fn powered_up(&self) -> Self {
        self.inner.lock().forget();
        self.killed()
    }

    fn enter(&self, operation: Op, path: &Path) -> io::Result<MutexGuard<'_, Inner>> {
        interrupt();
        let mut inner = self.inner.lock();
        if inner.dark || inner.process != self.process {
            return Err(io::Error::other("the power is off"));
        }
        inner.operations += 1;
        // A name in quarantine has a checksum in it, over a random number.
        let random = path.starts_with("/queue/quarantine");
        (operation, path.parent().filter(|_| random).unwrap_or(path)).hash(&mut inner.way);
        if inner.trace {
            eprintln!("  {operation:?} {}", path.display());
        }
        if inner.cut_at.is_some_and(|at| at <= inner.operations) {
            inner.dark = true;
            return Err(io::Error::other("the power went off"));
        }
        Ok(inner)
    }

    /// As [`Self::enter`] for operations that fail without doing anything.
    fn enter_or_fail(&self, operation: Op, path: &Path) -> io::Result<MutexGuard<'_, Inner>> {
        let mut inner = self.enter(operation, path)?;
        if inner.fails() {
            return Err(io::Error::other("the disk does not answer"));
        }
        Ok(inner)
    }
}

impl Inner {
    fn fails(&mut self) -> bool {
        let fails = self.trouble.one_in > 0 && self.rng.below(self.trouble.one_in) == 0;
        self.injected += u64::from(fails);
        if fails && self.trace {
            eprintln!("  which fails");
        }
        fails
    }

    fn used(&self) -> u64 {
        let nodes = self.volatile.files.values();
        nodes
            .map(|node| self.nodes[*node].volatile.len() as u64)
            .sum()
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.volatile);
        self.unsynced.push(change);
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        let node = self.volatile.files.get(path).copied();
        node.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// What is left after the power was off.
    fn forget(&mut self) {
        let mut keep = Keep::new(&mut self.rng);
        for change in std::mem::take(&mut self.unsynced) {
            if keep.next(&mut self.rng) {
                change.apply(&mut self.durable);
            }
        }
        // A file without its directory is nowhere.
        let Names { files, directories } = &mut self.durable;
        files.retain(|path, _| {
            path.parent()
                .is_some_and(|parent| directories.contains(parent))
        });
        self.volatile = self.durable.clone();
        for node in &mut self.nodes {
            node.forget(&mut self.rng);
        }
        self.dark = false;
        self.cut_at = None;
    }
}

/// Which of several unsynced things stay, in the ways that devices and file systems have.
#[derive(Debug)]
enum Keep {
    Nothing,
    Everything,
    /// So many.
    First(u64),
    /// Each by chance, in per cent.
    Some(u64),
}

impl Keep {
    fn new(rng: &mut Rng) -> Self {
        match rng.below(5) {
            0 => Self::Nothing,
            1 => Self::Everything,
            2 => Self::First(rng.below(20)),
            _ => Self::Some([10, 50, 90][rng.below(3) as usize]),
        }
    }

    fn next(&mut self, rng: &mut Rng) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::First(count) => {
                let keep = *count > 0;
                *count = count.saturating_sub(1);
                keep
            }
            Self::Some(chance) => rng.chance(*chance),
        }
    }
}

impl Node {
    fn change(&mut self, change: Change) {
        apply(&mut self.volatile, &change);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        self.durable.clone_from(&self.volatile);
        self.unsynced.clear();
    }

    /// A sync that failed: some came through, and the rest counts as written although it is not.
    fn sync_in_vain(&mut self, rng: &mut Rng) {
        self.keep_some(rng);
        // Some file systems drop what they could not write, others show it until the restart.
        if rng.chance(50) {
            self.volatile.clone_from(&self.durable);
        }
    }

    fn forget(&mut self, rng: &mut Rng) {
        self.keep_some(rng);
        self.volatile.clone_from(&self.durable);
    }

    fn keep_some(&mut self, rng: &mut Rng) {
        let mut keep = Keep::new(rng);
        // The length is written before the octets, which read as nothing then.
        let length_first = rng.chance(30);
        let volatile = self.volatile.len();
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Truncate(_) => {
                    if keep.next(rng) {
                        apply(&mut self.durable, &change);
                    }
                }
                Change::Write(offset, octets) => self.keep_sectors(offset, &octets, &mut keep, rng),
            }
        }
        if length_first && self.durable.len() < volatile {
            self.durable.resize(volatile, 0);
        }
    }

    fn keep_sectors(&mut self, offset: usize, octets: &[u8], keep: &mut Keep, rng: &mut Rng) {
        let mut done = 0;
        while done < octets.len() {
            let at = offset + done;
            let length = (SECTOR - at % SECTOR).min(octets.len() - done);
            if keep.next(rng) {
                let sector = octets[done..done + length].to_vec();
                apply(&mut self.durable, &Change::Write(at, sector));
            }
            done += length;
        }
    }
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Truncate(length) => content.truncate(*length),
        Change::Write(offset, octets) => {
            let end = offset + octets.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*offset..end].copy_from_slice(octets);
        }
    }
}

impl Disk for SeededDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.enter_or_fail(Op::CreateDirectory, path)?;
        if !inner.volatile.directories.contains(path) {
            inner.change_names(NameChange::Directory(path.into()));
        }
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<(String, u64)>> {
        let inner = self.enter_or_fail(Op::List, directory)?;
        let files = inner.volatile.files.iter();
        let files = files.filter(|(path, _)| path.parent() == Some(directory));
        Ok(files
            .map(|(path, node)| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, inner.nodes[*node].volatile.len() as u64)
            })
            .collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.enter_or_fail(Op::Create, path)?;
        if inner.volatile.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = inner.nodes.len();
        inner.nodes.push(Node::default());
        inner.change_names(NameChange::Files(vec![(path.into(), Some(node))]));
        drop(inner);
        Ok(Box::new(SeededFile {
            disk: self.clone(),
            path: path.into(),
            node,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let node = self.enter_or_fail(Op::Open, path)?.file(path)?;
        Ok(Box::new(SeededFile {
            disk: self.clone(),
            path: path.into(),
            node,
        }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.enter_or_fail(Op::Remove, path)?;
        inner.file(path)?;
        inner.change_names(NameChange::Files(vec![(path.into(), None)]));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.enter_or_fail(Op::Rename, from)?;
        let node = inner.file(from)?;
        let renaming = vec![(from.into(), None), (to.into(), Some(node))];
        inner.change_names(NameChange::Files(renaming));
        Ok(())
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.enter_or_fail(Op::SyncDirectory, path)?;
        let inner = &mut *inner;
        let (durable, unsynced) = (&mut inner.durable, &mut inner.unsynced);
        unsynced.retain(|change| {
            if change.touches(path) {
                change.apply(durable);
            }
            !change.touches(path)
        });
        Ok(())
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        let mut inner = self.inner.lock();
        // What the system says and what a write finds may differ.
        let boast = if inner.rng.chance(50) { 1 << 30 } else { 0 };
        Ok(inner.trouble.capacity.saturating_sub(inner.used()) + boast)
    }

    fn lock(&self, _path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        Ok(Some(Box::new(())))
    }
}

#[derive(Debug)]
struct SeededFile {
    disk: SeededDisk,
    path: PathBuf,
    node: usize,
}

impl DiskFile for SeededFile {
    fn write_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let mut inner = self.disk.enter(Op::Write, &self.path)?;
        let octets: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| piece.iter().copied())
            .collect();
        octets.len().hash(&mut inner.way);
        let offset = offset as usize;
        let growth = (offset + octets.len()).saturating_sub(inner.nodes[self.node].volatile.len());
        let room = inner.trouble.capacity.saturating_sub(inner.used()) as usize;
        let fits = octets.len() - growth.saturating_sub(room).min(octets.len());
        let failed = inner.fails();
        let mut count = fits.min(inner.trouble.short_writes);
        if failed {
            count = inner.rng.below(count as u64 + 1) as usize;
        }
        if count > 0 {
            inner.nodes[self.node].change(Change::Write(offset, octets[..count].to_vec()));
        }
        if failed {
            return Err(io::Error::other("the disk does not write"));
        }
        if count == 0 && !octets.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(count)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let inner = self.disk.enter_or_fail(Op::Read, &self.path)?;
        let content = &inner.nodes[self.node].volatile;
        let rest = content.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.disk.enter(Op::Sync, &self.path)?;
        let failed = inner.fails();
        let Inner { nodes, rng, .. } = &mut *inner;
        if failed {
            nodes[self.node].sync_in_vain(rng);
            return Err(io::Error::other("the disk does not sync"));
        }
        nodes[self.node].sync();
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut inner = self.disk.enter_or_fail(Op::Truncate, &self.path)?;
        inner.nodes[self.node].change(Change::Truncate(length as usize));
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        let inner = self.disk.enter_or_fail(Op::Length, &self.path)?;
        Ok(inner.nodes[self.node].volatile.len() as u64)
    }
}
