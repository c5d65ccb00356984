//! From the disk to the index: replays the log, cuts a torn tail, sets damage aside, removes
//! orphans. Never gives up over damaged octets; only over a system that refuses.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::content;
use crate::disk::Disk;
use crate::index::{Index, Location, Settled};
use crate::quarantine;
use crate::record::{Item, MessageItem, count, items};
use crate::segment::{self, FILE_HEADER, Found, Marker, Scanner};
use crate::segments::Segments;
use crate::shared::{Directories, State};
use crate::{Destination, MessageId, OpenError, Recovery, Route, Timestamp};

/// Work recorded as due later than this is due then: a clock that ran wrong must not hide mail.
const LATEST_DUE_MILLISECONDS: u64 = 90 * 24 * 3_600_000;

/// What recovery hands to the queue.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) state: State,
    pub(crate) marker: Marker,
    /// Number of the next segment.
    pub(crate) next: u32,
    pub(crate) report: Recovery,
}

/// Replays a queue.
pub(crate) fn recover(
    disk: &dyn Disk,
    directories: &Directories,
    route: &Route,
    now: Timestamp,
) -> Result<Recovered, OpenError> {
    for directory in [
        &directories.log,
        &directories.content,
        &directories.quarantine,
    ] {
        disk.create_directory(directory).map_err(at(directory))?;
    }
    let files = disk.list(&directories.log).map_err(at(&directories.log))?;
    let mut numbers: Vec<u32> = files
        .iter()
        .filter_map(|(name, _)| segment::parse_name(name))
        .collect();
    numbers.sort_unstable();
    let marker = queue_marker(disk, directories, &numbers)?;
    let mut replay = Replay {
        disk,
        directories,
        route,
        marker,
        routes: HashMap::new(),
        index: Index::default(),
        segments: Segments::default(),
        report: Recovery::default(),
    };
    for &number in &numbers {
        let newest = numbers.last() == Some(&number);
        let path = segment::path(&directories.log, number);
        replay.segment(number, newest).map_err(at(&path))?;
    }
    replay.contents().map_err(at(&directories.content))?;
    // So that this start itself is durable: names found here may have been made by a process that
    // was killed before it synced them.
    for directory in [&directories.log, &directories.content] {
        disk.sync_directory(directory).map_err(at(directory))?;
    }
    replay.start(Timestamp(now.0.saturating_add(LATEST_DUE_MILLISECONDS)));
    let Replay {
        index,
        segments,
        mut report,
        ..
    } = replay;
    report.messages = index.len();
    let next = numbers.last().map_or(1, |last| last.saturating_add(1));
    Ok(Recovered {
        state: State {
            index,
            segments,
            ..State::default()
        },
        marker,
        next,
        report,
    })
}

fn at(path: &Path) -> impl Fn(io::Error) -> OpenError {
    let path: PathBuf = path.into();
    move |source| OpenError::Io {
        path: path.clone(),
        source,
    }
}

/// The marker of the newest segment with a whole header, else a new one.
fn queue_marker(
    disk: &dyn Disk,
    directories: &Directories,
    numbers: &[u32],
) -> Result<Marker, OpenError> {
    let mut guess = None;
    for &number in numbers.iter().rev() {
        let path = segment::path(&directories.log, number);
        let file = disk.open(&path).map_err(at(&path))?;
        if let Some(marker) = segment::read_marker(&*file, number).map_err(at(&path))? {
            return Ok(marker);
        }
        guess = guess.or(segment::guess_marker(&*file, number).map_err(at(&path))?);
    }
    Ok(guess.unwrap_or_else(segment::random_marker))
}

struct Replay<'a> {
    disk: &'a dyn Disk,
    directories: &'a Directories,
    route: &'a Route,
    marker: Marker,
    /// One name per destination, however many messages.
    routes: HashMap<Destination, Destination>,
    index: Index,
    segments: Segments,
    report: Recovery,
}

impl Replay<'_> {
    fn segment(&mut self, number: u32, newest: bool) -> io::Result<()> {
        let path = segment::path(&self.directories.log, number);
        let file = self.disk.open(&path)?;
        let size = file.length()?;
        if size < FILE_HEADER && newest {
            // Created and not written: the process ended, or the power did.
            self.report.truncated_bytes += size;
            self.disk.remove(&path)?;
            return Ok(());
        }
        self.segments.add(number);
        self.segments.set_length(number, size);
        if segment::read_marker(&*file, number)?.is_none() {
            self.damaged(number, 0, FILE_HEADER.min(size));
        }
        let marker = segment::marker_of(&*file, number, self.marker)?;
        let mut scanner = Scanner::new(file, number, marker)?;
        let end = self.replay(number, newest, &mut scanner)?;
        if newest {
            let file = self.disk.open(&path)?;
            if end < size {
                self.report.truncated_bytes += size - end;
                file.truncate(end)?;
                self.segments.set_length(number, end);
            }
            // What a killed process wrote and did not sync is replayed like the rest; it must not
            // vanish after something was built on it.
            file.sync()?;
        }
        Ok(())
    }

    /// Replays one segment; returns where its records end.
    fn replay(&mut self, number: u32, newest: bool, scanner: &mut Scanner) -> io::Result<u64> {
        loop {
            let damage = match scanner.next()? {
                Found::Record { offset, payload } => match self.record(number, offset, payload) {
                    Ok(()) => continue,
                    Err(()) => (offset, payload.len() as u64),
                },
                Found::Tail { offset, .. } if newest => return Ok(offset),
                Found::Damaged { offset, length } | Found::Tail { offset, length } => {
                    (offset, length)
                }
                Found::End => return Ok(scanner.position()),
            };
            self.damaged(number, damage.0, damage.1);
        }
    }

    fn damaged(&mut self, number: u32, offset: u64, length: u64) {
        let saved = quarantine::set_aside(self.disk, self.directories, number, offset, length);
        if let Ok(new) = saved {
            self.report.damaged_records += u64::from(new);
        } else {
            // It stays where it is, since nowhere else took it.
            self.report.damaged_records += 1;
            self.segments.pin(number);
        }
    }

    fn record(&mut self, number: u32, payload_at: u64, payload: &[u8]) -> Result<(), ()> {
        let items = items(payload).map_err(drop)?;
        if items.len() > 1 {
            // All or nothing: a settle must not stand without its report.
            for item in &items {
                if let Item::Message(_, message) = item {
                    message.decode().map_err(drop)?;
                }
            }
        }
        for item in items {
            match item {
                Item::Message(place, message) => {
                    let offset = payload_at + place as u64;
                    let location = Location {
                        segment: number,
                        offset: u32::try_from(offset).map_err(drop)?,
                        envelope_length: count(message.envelope.len()),
                        content_length: message.content_length,
                        in_file: message.in_file,
                    };
                    self.message(location, &message)?;
                }
                Item::Settle(settle) => {
                    let settled = self.index.replay_settle(&settle);
                    self.settled(settled);
                }
                Item::State(id, open) => {
                    let settled = self.index.replay_state(id, &open);
                    self.settled(settled);
                }
                Item::Mark(mark, ids) => {
                    for id in ids {
                        self.index.replay_mark(id, mark);
                    }
                }
            }
        }
        Ok(())
    }

    fn message(&mut self, location: Location, message: &MessageItem<'_>) -> Result<(), ()> {
        if let Some(from) = self.index.location(message.id) {
            if message.moved && self.index.relocate(message.id, from, location) {
                self.segments.died(&from);
                self.segments.born(&location);
            }
            return Ok(());
        }
        let envelope = message.decode().map_err(drop)?;
        let routes: Vec<Destination> = envelope
            .recipients
            .iter()
            .map(|recipient| {
                let route = (self.route)(&envelope, recipient);
                self.routes.entry(route.clone()).or_insert(route).clone()
            })
            .collect();
        if self.index.insert(message.id, &envelope, location, &routes) {
            self.segments.born(&location);
        }
        Ok(())
    }

    fn settled(&mut self, settled: Settled) {
        if let Settled::Done(location) = settled {
            self.segments.died(&location);
        }
    }

    /// Matches the content files with the messages that have one.
    fn contents(&mut self) -> io::Result<()> {
        let files = self.disk.list(&self.directories.content)?;
        let files: HashMap<MessageId, u64> = files
            .iter()
            // A name that no message has is not the queue's.
            .filter_map(|(name, length)| Some((name.parse().ok()?, *length)))
            .collect();
        let damaged: Vec<(MessageId, Location)> = self
            .index
            .iter()
            .filter(|(id, location)| {
                let length = files.get(id).copied();
                location.in_file && length != Some(u64::from(location.content_length))
            })
            .collect();
        for (id, location) in damaged {
            self.damaged(
                location.segment,
                u64::from(location.offset),
                location.stored(),
            );
            quarantine::set_content_aside(self.disk, self.directories, id)?;
            if let Some(location) = self.index.lose(id) {
                self.segments.died(&location);
            }
        }
        let mut ids: Vec<MessageId> = files.into_keys().collect();
        // In an order of their own, so that a start takes the same way each time.
        ids.sort_unstable();
        for id in ids {
            if self
                .index
                .location(id)
                .is_none_or(|location| !location.in_file)
            {
                let path = content::path(&self.directories.content, id);
                match self.disk.remove(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Hands all open work to the schedule.
    fn start(&mut self, latest: Timestamp) {
        let ids: Vec<MessageId> = self.index.iter().map(|(id, _)| id).collect();
        for id in ids {
            if let Some(location) = self.index.start(id, latest) {
                self.segments.died(&location);
            }
        }
    }
}
