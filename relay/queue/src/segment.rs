//! Segment files: a header and records, one after the other, each with its own header.
//!
//! | | octets |
//! |---|---|
//! | file header | magic 8, marker 8, number 4, CRC 4 of the 20 before, zero 8 |
//! | record header | marker 8, payload length 4, payload CRC 4, CRC 4 of number, offset and the 16 before |
//!
//! The marker is a random number of the queue. After a damaged header the reader looks for the next
//! marker; since nobody outside knows it, a message cannot contain something that is taken for a
//! record. The record's place is part of its checksum, so that a block that the file system put
//! elsewhere is not taken for one either.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use crate::disk::{DiskFile, read_full, write_all};
use crate::record::number;

const MAGIC: [u8; 8] = *b"MAILLOG1";

/// Octets of a file header.
pub(crate) const FILE_HEADER: u64 = FILE_HEADER_LENGTH as u64;

const FILE_HEADER_LENGTH: usize = 32;

/// Octets of a record header.
pub(crate) const RECORD_HEADER: usize = 20;

/// Octets read at once.
const WINDOW: usize = 256 << 10;

/// A queue's random number.
pub(crate) type Marker = [u8; 8];

/// Makes a marker. The standard library's hash keys are the system's random numbers.
pub(crate) fn random_marker() -> Marker {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new()
        .hash_one(std::process::id())
        .to_le_bytes()
}

/// The file of a segment.
pub(crate) fn path(directory: &Path, segment: u32) -> PathBuf {
    directory.join(format!("{segment:010}.segment"))
}

/// The segment of a file name.
pub(crate) fn parse_name(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".segment")?;
    let plain = digits.len() == 10 && digits.bytes().all(|octet| octet.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// Writes the header of a new segment.
pub(crate) fn write_header(file: &dyn DiskFile, segment: u32, marker: Marker) -> io::Result<()> {
    let mut header = [0; FILE_HEADER_LENGTH];
    header[..8].copy_from_slice(&MAGIC);
    header[8..16].copy_from_slice(&marker);
    header[16..20].copy_from_slice(&segment.to_le_bytes());
    let crc = crc32fast::hash(&header[..20]);
    header[20..24].copy_from_slice(&crc.to_le_bytes());
    write_all(file, &mut [IoSlice::new(&header)], 0)
}

/// The marker in a segment's header, if the header is whole.
pub(crate) fn read_marker(file: &dyn DiskFile, segment: u32) -> io::Result<Option<Marker>> {
    let mut header = [0; FILE_HEADER_LENGTH];
    let whole = read_full(file, &mut header, 0)? == header.len()
        && header[..8] == MAGIC
        && number(&header, 16) == segment
        && number(&header, 20) == crc32fast::hash(&header[..20]);
    let marker = header[8..16].first_chunk().copied();
    Ok(if whole { marker } else { None })
}

/// The marker of a segment whose header is damaged, if its first record is whole.
pub(crate) fn guess_marker(file: &dyn DiskFile, segment: u32) -> io::Result<Option<Marker>> {
    let mut header = [0; RECORD_HEADER];
    if read_full(file, &mut header, FILE_HEADER)? < header.len() {
        return Ok(None);
    }
    let Some(&marker) = header.first_chunk() else {
        return Ok(None);
    };
    let valid = RecordHeader::parse(&header, marker, segment, FILE_HEADER).is_some();
    Ok(valid.then_some(marker))
}

/// The marker of a segment: its own, wherever it can be had from, else the queue's.
pub(crate) fn marker_of(file: &dyn DiskFile, segment: u32, queue: Marker) -> io::Result<Marker> {
    if let Some(marker) = read_marker(file, segment)? {
        return Ok(marker);
    }
    Ok(guess_marker(file, segment)?.unwrap_or(queue))
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) length: u32,
    pub(crate) crc: u32,
}

impl RecordHeader {
    /// The header for a record at `offset` of `segment`.
    pub(crate) fn encode(self, marker: Marker, segment: u32, offset: u64) -> [u8; RECORD_HEADER] {
        let mut header = [0; RECORD_HEADER];
        header[..8].copy_from_slice(&marker);
        header[8..12].copy_from_slice(&self.length.to_le_bytes());
        header[12..16].copy_from_slice(&self.crc.to_le_bytes());
        let crc = header_crc(&header[..16], segment, offset);
        header[16..].copy_from_slice(&crc.to_le_bytes());
        header
    }

    fn parse(octets: &[u8], marker: Marker, segment: u32, offset: u64) -> Option<Self> {
        let header = octets.first_chunk::<RECORD_HEADER>()?;
        let valid = header[..8] == marker
            && number(header, 16) == header_crc(&header[..16], segment, offset);
        valid.then(|| Self {
            length: number(header, 8),
            crc: number(header, 12),
        })
    }
}

fn header_crc(header: &[u8], segment: u32, offset: u64) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&segment.to_le_bytes());
    crc.update(&offset.to_le_bytes());
    crc.update(header);
    crc.finalize()
}

/// What a scan comes upon.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A whole record; `offset` is its payload's.
    Record {
        offset: u64,
        payload: &'a [u8],
    },
    /// Octets that are no record, and whole records after them or a whole header before them.
    Damaged {
        offset: u64,
        length: u64,
    },
    /// Octets at the end that are no record: a torn write, if this is the newest segment.
    Tail {
        offset: u64,
        length: u64,
    },
    End,
}

/// Reads a segment from front to back.
#[derive(Debug)]
pub(crate) struct Scanner {
    file: Box<dyn DiskFile>,
    segment: u32,
    marker: Marker,
    size: u64,
    at: u64,
    window: Vec<u8>,
    /// Offset of the window in the file.
    start: u64,
}

impl Scanner {
    /// Starts behind the file header.
    pub(crate) fn new(file: Box<dyn DiskFile>, segment: u32, marker: Marker) -> io::Result<Self> {
        let size = file.length()?;
        let at = FILE_HEADER.min(size);
        Ok(Self {
            file,
            segment,
            marker,
            size,
            at,
            window: Vec::new(),
            start: at,
        })
    }

    /// Octets behind it.
    pub(crate) fn position(&self) -> u64 {
        self.at
    }

    /// The next record or damage.
    pub(crate) fn next(&mut self) -> io::Result<Found<'_>> {
        let offset = self.at;
        if offset >= self.size {
            return Ok(Found::End);
        }
        let Some(header) = self.header_at(offset)? else {
            return self.resynchronise(offset);
        };
        let payload = offset + RECORD_HEADER as u64;
        let end = payload + u64::from(header.length);
        if end > self.size {
            return self.resynchronise(offset);
        }
        self.at = end;
        let octets = self.read(payload, header.length as usize)?;
        if octets.len() < header.length as usize || crc32fast::hash(octets) != header.crc {
            return Ok(Found::Damaged {
                offset,
                length: end - offset,
            });
        }
        // Borrowed anew: the checker does not see that the early return ends the first borrow.
        let octets = self.read(payload, header.length as usize)?;
        Ok(Found::Record {
            offset: payload,
            payload: octets,
        })
    }

    /// Finds the next record header behind `offset`.
    fn resynchronise(&mut self, offset: u64) -> io::Result<Found<'_>> {
        let mut from = offset + 1;
        let finder = memchr::memmem::Finder::new(&self.marker).into_owned();
        while from < self.size {
            let window = self.read(from, WINDOW)?;
            let (length, found) = (window.len(), finder.find(window));
            if length < RECORD_HEADER {
                break;
            }
            match found {
                Some(place) => {
                    let candidate = from + place as u64;
                    if self.header_at(candidate)?.is_some() {
                        self.at = candidate;
                        return Ok(Found::Damaged {
                            offset,
                            length: candidate - offset,
                        });
                    }
                    from = candidate + 1;
                }
                // A marker may begin in this window and end in the next.
                None => from += (length - (self.marker.len() - 1)) as u64,
            }
        }
        self.at = self.size;
        Ok(Found::Tail {
            offset,
            length: self.size - offset,
        })
    }

    fn header_at(&mut self, offset: u64) -> io::Result<Option<RecordHeader>> {
        let (marker, segment) = (self.marker, self.segment);
        let octets = self.read(offset, RECORD_HEADER)?;
        Ok(RecordHeader::parse(octets, marker, segment, offset))
    }

    /// Octets at an offset, fewer at the end of the file.
    fn read(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let held = self.start..self.start + self.window.len() as u64;
        let available = self.size.saturating_sub(offset).min(length as u64);
        if offset < held.start || offset + available > held.end {
            let wanted = available.max(WINDOW as u64);
            let wanted = octets(self.size.saturating_sub(offset).min(wanted));
            self.window.resize(wanted, 0);
            // A window grown for one huge record is not kept.
            self.window.shrink_to(2 * WINDOW);
            self.start = offset;
            let read = read_full(&*self.file, &mut self.window, offset)?;
            self.window.truncate(read);
        }
        let begin = octets(offset - self.start);
        let end = (begin + octets(available)).min(self.window.len());
        Ok(self.window.get(begin..end).unwrap_or_default())
    }
}

fn octets(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
