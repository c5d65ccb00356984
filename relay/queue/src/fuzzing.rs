//! What has to hold whatever lies in the files of a queue; for the fuzz targets (`tests/fuzz`) and for tests,
//! which go through the committed inputs. Every function panics where something does not hold. None of this
//! is part of a release.

#![expect(
    clippy::missing_panics_doc,
    reason = "to panic is what these functions are for"
)]

use std::io::{self, IoSlice};

use bytes::Bytes;

use crate::disk::DiskFile;
use crate::record::{EncodedMessage, Item, MessageItem, Record, count, items};
use crate::segment::{self, FILE_HEADER, Found, Marker, RECORD_HEADER, RecordHeader, Scanner};
use crate::{Envelope, MessageId};

const MARKER: Marker = *b"\xf1 fuzz \x00";
const SEGMENT: u32 = 7;

/// The payload of a record: what is understood is written as it is read.
pub fn record(input: &[u8]) {
    items_again(input);
    // A fuzzer guesses no checksum, so messages are made of what it says of them.
    let Some((choice, input)) = input.split_first() else {
        return;
    };
    let (envelope, content) = parted(input);
    let Ok(envelope) = serde_json::from_slice::<Envelope>(envelope) else {
        return;
    };
    let half = content.len() / 2;
    let content = [&content[..half], &content[half..]].map(Bytes::copy_from_slice);
    let in_file = choice & 1 == 1;
    let id = MessageId(u128::from(*choice) << 70);
    let Ok(encoded) = EncodedMessage::new(id, &envelope, &content, in_file) else {
        return;
    };
    let mut record = Record::default();
    record.mark(None, &[id]);
    let location = record.message(&encoded);
    let payload = record.pieces.concat();
    let at = location.offset as usize;
    let read = MessageItem::parse(&payload[at..]);
    assert!(read.is_ok(), "{read:?}");
    let Ok(message) = read else { return };
    assert_eq!(
        (message.id, message.in_file, message.moved),
        (id, in_file, false)
    );
    assert_eq!(message.decode().as_ref(), Ok(&envelope));
    assert_eq!(message.check(&content.concat()), Ok(()));
    assert_eq!(location.stored(), message.stored() as u64);
    items_again(&payload);
    // Any octet of its head that changes is noticed.
    let head = message.stored() - if in_file { 0 } else { content.concat().len() };
    let place = at + usize::from(*choice) * head / 256;
    let mut damaged = payload.clone();
    damaged[place] ^= 1 << (choice % 8);
    let same = items(&damaged).is_ok_and(|items| items.contains(&Item::Message(at, message)));
    assert!(!same, "octet {place}");
}

/// Two parts with a line feed between them.
fn parted(input: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\n', input).unwrap_or(input.len());
    (&input[..end], input.get(end + 1..).unwrap_or_default())
}

fn items_again(payload: &[u8]) {
    let Ok(found) = items(payload) else { return };
    let written = written(&found, payload);
    assert_eq!(written.len(), payload.len());
    // Octets that mean nothing are zero the second time.
    let again = items(&written);
    assert_eq!(again.as_ref(), Ok(&found));
    assert_eq!(self::written(&found, &written), written);
}

fn written(items: &[Item<'_>], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        let mut record = Record::default();
        match item {
            Item::Settle(settle) => record.settle(settle),
            Item::State(id, open) => record.state(*id, open),
            Item::Mark(mark, ids) => record.mark(*mark, ids),
            Item::Message(at, message) => {
                out.extend_from_slice(&payload[*at..*at + message.stored()]);
                continue;
            }
        }
        assert_eq!(record.length, count(record.pieces.concat().len()));
        out.extend(record.pieces.concat());
    }
    out
}

/// A segment of records with damage that `input` chooses: a whole record that the damage does not touch is
/// found, nothing else is, and every octet is accounted for.
pub fn segment(input: &[u8]) {
    let (damage, payloads) = parted(input);
    let (file, places) = written_segment(payloads);
    let mut octets = file.clone();
    for change in damage.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % octets.len().max(1);
        match change[2] {
            // Torn off.
            0 => octets.truncate(at),
            value => {
                if let Some(octet) = octets.get_mut(at) {
                    *octet = value;
                }
            }
        }
    }
    // Whoever writes a message does not know the marker; see `segment`.
    if memchr::memmem::find_iter(&octets, &MARKER)
        .any(|at| places.iter().all(|(start, _)| *start != at))
    {
        return;
    }
    let whole: Vec<(usize, &[u8])> = places
        .iter()
        .filter(|(start, end)| octets.get(*start..*end) == Some(&file[*start..*end]))
        .map(|(start, end)| (start + RECORD_HEADER, &file[start + RECORD_HEADER..*end]))
        .collect();
    let scanner = Scanner::new(Box::new(Octets(octets.clone())), SEGMENT, MARKER);
    assert!(scanner.is_ok());
    let Ok(mut scanner) = scanner else { return };
    let mut found: Vec<(usize, Vec<u8>)> = Vec::new();
    let mut at = FILE_HEADER.min(octets.len() as u64);
    loop {
        let next = scanner.next();
        assert!(next.is_ok());
        let end = match next {
            Ok(Found::Record { offset, payload }) => {
                assert_eq!(offset, at + RECORD_HEADER as u64);
                let place = usize::try_from(offset).unwrap_or_default();
                found.push((place, payload.to_vec()));
                offset + payload.len() as u64
            }
            Ok(Found::Damaged { offset, length } | Found::Tail { offset, length }) => {
                assert_eq!(offset, at);
                assert!(length > 0);
                offset + length
            }
            Ok(Found::End) | Err(_) => break,
        };
        at = end;
        assert_eq!(scanner.position(), at);
    }
    assert_eq!(at, octets.len() as u64);
    let found: Vec<(usize, &[u8])> = found.iter().map(|(at, one)| (*at, &**one)).collect();
    assert_eq!(found, whole);
    let _ = segment::read_marker(&Octets(octets.clone()), SEGMENT);
    let _ = segment::guess_marker(&Octets(octets), SEGMENT);
}

/// A segment with a record for each line; where the records lie.
fn written_segment(payloads: &[u8]) -> (Vec<u8>, Vec<(usize, usize)>) {
    let mut file = vec![0; usize::try_from(FILE_HEADER).unwrap_or_default()];
    let mut places = Vec::new();
    for payload in payloads.split(|octet| *octet == b'\n') {
        let start = file.len();
        let header = RecordHeader {
            length: count(payload.len()),
            crc: crc32fast::hash(payload),
        };
        file.extend(header.encode(MARKER, SEGMENT, start as u64));
        file.extend(payload);
        places.push((start, file.len()));
    }
    (file, places)
}

/// A journal.
pub fn journal(input: &[u8]) {
    crate::journal::fuzzing(input);
}

/// A file that is only read.
#[derive(Debug)]
struct Octets(Vec<u8>);

impl DiskFile for Octets {
    fn write_at(&self, _: &[IoSlice<'_>], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.0.get(offset..));
        let rest = rest.unwrap_or_default();
        // Like a slow disk, never all at once.
        let length = rest.len().min(buffer.len()).min(777);
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}

#[cfg(test)]
mod tests;
