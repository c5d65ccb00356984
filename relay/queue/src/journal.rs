//! A small file of records beside the queue, for what must outlive the process and is no mail.
//!
//! A record is a line: eight hexadecimal digits of its CRC-32, a space, the record, a line feed. It is
//! durable when [`Journal::append`] or [`Journal::append_all`] returns. Recovery is as the queue's: a
//! torn tail is cut; a file with damaged records is copied aside before the whole ones are written
//! anew; nothing is deleted and nothing damaged is read. After a failed write that cannot be taken
//! back, or a failed sync, nothing more is written.
//!
//! All calls block on the disk.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, SystemDisk, read_full, write_all};

/// Octets of a journal that are read; a larger one is not what this wrote.
const LONGEST: u64 = 1 << 30;

/// Octets before a record: its checksum and a space.
const PREFIX: usize = 9;

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    length: u64,
    failed: bool,
}

/// What was read when a journal was opened.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The records in order.
    pub records: Vec<Vec<u8>>,
    /// Octets cut from a torn tail.
    pub truncated_bytes: u64,
    /// Damaged records, of which a copy lies beside the journal.
    pub damaged_records: u64,
}

impl Journal {
    /// Opens or creates the journal `name` in `directory`, which must exist and belong to one
    /// process.
    pub fn open(directory: &Path, name: &str) -> io::Result<(Self, Recovered)> {
        Self::open_on(Arc::new(SystemDisk), directory, name)
    }

    pub(crate) fn open_on(
        disk: Arc<dyn Disk>,
        directory: &Path,
        name: &str,
    ) -> io::Result<(Self, Recovered)> {
        let path = directory.join(name);
        let file = match disk.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = disk.create(&path)?;
                disk.sync_directory(directory)?;
                file
            }
            result => result?,
        };
        let octets = read(&*file)?;
        let (recovered, length) = replay(&octets);
        if recovered.truncated_bytes > 0 {
            file.truncate(length)?;
            file.sync()?;
        }
        let mut journal = Self {
            disk,
            directory: directory.into(),
            path,
            file,
            length,
            failed: false,
        };
        if recovered.damaged_records > 0 {
            journal.set_aside(&octets)?;
            journal.rewrite(recovered.records.iter().map(Vec::as_slice))?;
        }
        Ok((journal, recovered))
    }

    /// Appends a record, which must have no line feed in it.
    pub fn append(&mut self, record: &[u8]) -> io::Result<()> {
        self.append_all(std::iter::once(record))
    }

    /// Appends records with one sync for all; a crash may leave the first of them.
    pub fn append_all<'a>(&mut self, records: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier write to the journal failed"));
        }
        let mut lines = Vec::new();
        for record in records {
            write_line(record, &mut lines)?;
        }
        if let Err(error) = write_all(&*self.file, &mut [IoSlice::new(&lines)], self.length) {
            self.failed = self.file.truncate(self.length).is_err();
            return Err(error);
        }
        if let Err(error) = self.file.sync() {
            self.failed = true;
            return Err(error);
        }
        self.length += lines.len() as u64;
        Ok(())
    }

    /// Puts these records in place of all others; a crash leaves the old ones or the new.
    pub fn rewrite<'a>(&mut self, records: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
        let mut text = Vec::new();
        for record in records {
            write_line(record, &mut text)?;
        }
        let new = self.path.with_extension("new");
        match self.disk.remove(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.disk.create(&new)?;
        write_all(&*file, &mut [IoSlice::new(&text)], 0)?;
        file.sync()?;
        self.disk.rename(&new, &self.path)?;
        self.disk.sync_directory(&self.directory)?;
        self.file = file;
        self.length = text.len() as u64;
        Ok(())
    }

    /// Octets of the file.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Named by its checksum, so that the same damage found again makes no second file.
    fn set_aside(&self, octets: &[u8]) -> io::Result<()> {
        let crc = crc32fast::hash(octets);
        let path = self.path.with_extension(format!("{crc:08x}.damaged"));
        match self.disk.create(&path) {
            Ok(file) => {
                write_all(&*file, &mut [IoSlice::new(octets)], 0)?;
                file.sync()?;
                self.disk.sync_directory(&self.directory)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn read(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let length = file.length()?;
    if length > LONGEST {
        let text = format!("the journal has {length} octets, more than {LONGEST}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut octets = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    let read = read_full(file, &mut octets, 0)?;
    octets.truncate(read);
    Ok(octets)
}

/// The whole records, and where they end.
fn replay(octets: &[u8]) -> (Recovered, u64) {
    let mut recovered = Recovered::default();
    let end = memchr::memrchr(b'\n', octets).map_or(0, |end| end + 1);
    let (lines, tail) = octets.split_at(end);
    recovered.truncated_bytes = tail.len() as u64;
    for line in lines.split_inclusive(|octet| *octet == b'\n') {
        match record(line.strip_suffix(b"\n").unwrap_or(line)) {
            Some(record) => recovered.records.push(record.to_vec()),
            None => recovered.damaged_records += 1,
        }
    }
    (recovered, end as u64)
}

fn record(line: &[u8]) -> Option<&[u8]> {
    let (prefix, record) = line.split_at_checked(PREFIX)?;
    let digits = std::str::from_utf8(prefix).ok()?.strip_suffix(' ')?;
    let crc = u32::from_str_radix(digits, 16).ok()?;
    (crc == crc32fast::hash(record)).then_some(record)
}

fn write_line(record: &[u8], text: &mut Vec<u8>) -> io::Result<()> {
    if memchr::memchr(b'\n', record).is_some() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a record of the journal has a line feed in it",
        ));
    }
    let crc = crc32fast::hash(record);
    text.extend_from_slice(format!("{crc:08x} ").as_bytes());
    text.extend_from_slice(record);
    text.push(b'\n');
    Ok(())
}

/// What has to hold of any octets: the whole records are read, and written anew they are all there is.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzzing(octets: &[u8]) {
    let (recovered, end) = replay(octets);
    assert_eq!(end + recovered.truncated_bytes, octets.len() as u64);
    let lines = memchr::memchr_iter(b'\n', octets).count() as u64;
    let records = recovered.records.len() as u64;
    assert_eq!(records + recovered.damaged_records, lines);
    let mut text = Vec::new();
    for record in octets
        .split(|octet| *octet == b'\n')
        .chain(recovered.records.iter().map(Vec::as_slice))
    {
        assert!(write_line(record, &mut text).is_ok());
    }
    let (again, end) = replay(&text);
    assert_eq!(end, text.len() as u64);
    assert_eq!(again.damaged_records, 0);
    assert_eq!(again.records.len() as u64, lines + 1 + records);
    assert!(again.records.ends_with(&recovered.records));
}
