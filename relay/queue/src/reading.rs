//! From the log to the callers: taken work with its envelope, and contents. Everything read is
//! checked again, as at recovery.
//!
//! A segment is opened for each read, so that a queue of thousands of segments needs no thousands
//! of file descriptors. A message may move while it is read; then it is looked up again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::content;
use crate::disk::read_full;
use crate::index::{Location, Taken};
use crate::quarantine;
use crate::record::{ENVELOPE_LIMIT, MESSAGE_HEADER, Malformed, MessageItem};
use crate::segment;
use crate::shared::Shared;
use crate::{Destination, Envelope, MessageId, Timestamp, Work};

/// Work whose message the disk would not give is tried again after this time.
const READ_RETRY_MILLISECONDS: u64 = 300_000;

/// Attempts to read a message that moves while it is read.
const READ_ATTEMPTS: usize = 4;

/// Messages that one take may find unreadable before it gives up.
const UNREADABLE_PER_TAKE: usize = 64;

impl Shared {
    pub(crate) fn take(
        &self,
        now: Timestamp,
        admit: &mut dyn FnMut(&Destination) -> bool,
    ) -> Option<Work> {
        if self.holds_back() {
            return None;
        }
        let taken = self.state.lock().index.take(now, admit)?;
        self.work(now, taken)
    }

    pub(crate) fn take_for(&self, now: Timestamp, destination: &Destination) -> Option<Work> {
        if self.holds_back() {
            return None;
        }
        let taken = self.state.lock().index.take_for(now, destination)?;
        self.work(now, taken)
    }

    /// Adds the envelope; if it cannot be read, the next of the same destination goes instead.
    fn work(&self, now: Timestamp, mut taken: Taken) -> Option<Work> {
        for _ in 0..UNREADABLE_PER_TAKE {
            let error = match self.envelope(taken.id, taken.location) {
                Ok(envelope) => {
                    return Some(Work {
                        id: taken.id,
                        destination: taken.destination,
                        attempts: taken.attempts,
                        recipients: taken.recipients,
                        envelope,
                        delay_told: taken.delay_told,
                        tells_delay: false,
                    });
                }
                Err(error) => error,
            };
            if is_damage(&error) {
                self.lose(taken.id);
            } else {
                // The disk may come to itself; the message is not given up for that.
                let later = Timestamp(now.0.saturating_add(READ_RETRY_MILLISECONDS));
                self.state
                    .lock()
                    .index
                    .put_back(taken.id, &taken.destination, later);
            }
            taken = self.state.lock().index.take_for(now, &taken.destination)?;
        }
        self.state
            .lock()
            .index
            .put_back(taken.id, &taken.destination, now);
        self.changed.notify_waiters();
        None
    }

    pub(crate) fn envelope(&self, id: MessageId, location: Location) -> io::Result<Arc<Envelope>> {
        if let Some(envelope) = self.cache.lock().envelope(id) {
            return Ok(envelope);
        }
        let length = MESSAGE_HEADER + location.envelope_length as usize;
        let octets = self.read_item(id, Some(location), |_| length)?.0;
        let envelope = parse(id, &octets)?.decode().map_err(damage)?;
        Ok(Arc::new(envelope))
    }

    pub(crate) fn content(&self, id: MessageId) -> io::Result<Vec<Bytes>> {
        if let Some(content) = self.cache.lock().content(id) {
            return Ok(content);
        }
        let (octets, location) = self.read_item(id, None, |location| {
            let content = if location.in_file {
                0
            } else {
                location.content_length as usize
            };
            MESSAGE_HEADER + location.envelope_length as usize + content
        })?;
        let item = parse(id, &octets)?;
        if location.in_file {
            let directory = &self.directories.content;
            let content = content::read(&*self.disk, directory, id, location.content_length)?;
            item.check(&content).map_err(damage)?;
            return Ok(vec![content.into()]);
        }
        let start = MESSAGE_HEADER + location.envelope_length as usize;
        item.check(octets.get(start..).unwrap_or_default())
            .map_err(damage)?;
        let octets = Bytes::from(octets);
        Ok(vec![octets.slice(start.min(octets.len())..)])
    }

    /// Octets of a message item from its start; follows a message that moves meanwhile.
    fn read_item(
        &self,
        id: MessageId,
        known: Option<Location>,
        length: impl Fn(&Location) -> usize,
    ) -> io::Result<(Vec<u8>, Location)> {
        let find = || {
            self.state
                .lock()
                .index
                .location(id)
                .ok_or(io::ErrorKind::NotFound)
        };
        let mut location = known.map_or_else(find, Ok)?;
        for _ in 0..READ_ATTEMPTS {
            let result = self.read_at(&location, length(&location));
            match result {
                Ok(octets) => return Ok((octets, location)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let now = find()?;
                    if now == location {
                        return Err(damage(Malformed("a segment file is missing")));
                    }
                    location = now;
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    fn read_at(&self, location: &Location, length: usize) -> io::Result<Vec<u8>> {
        let path = segment::path(&self.directories.log, location.segment);
        let file = self.disk.open(&path)?;
        // The length comes from the index, which took it from a checked record.
        debug_assert!(location.envelope_length as usize <= ENVELOPE_LIMIT);
        let mut octets = vec![0; length];
        let read = read_full(&*file, &mut octets, u64::from(location.offset))?;
        octets.truncate(read);
        Ok(octets)
    }

    /// Sets a message aside that is damaged where it lies, and forgets it.
    pub(crate) fn lose(&self, id: MessageId) {
        let Some(location) = self.state.lock().index.location(id) else {
            return;
        };
        let saved = quarantine::set_aside(
            &*self.disk,
            &self.directories,
            location.segment,
            u64::from(location.offset),
            location.stored(),
        );
        self.sums.damaged.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock();
        if let Some(location) = state.index.lose(id) {
            // What could not be saved elsewhere stays where it is.
            if saved.is_ok() {
                state.segments.died(&location);
            }
        }
        drop(state);
        self.cache.lock().remove(id);
    }
}

fn parse(id: MessageId, octets: &[u8]) -> io::Result<MessageItem<'_>> {
    let item = MessageItem::parse(octets).map_err(damage)?;
    if item.id == id {
        Ok(item)
    } else {
        Err(damage(Malformed("another message lies there")))
    }
}

fn damage(error: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

pub(crate) fn is_damage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}
