//! What the queue knows in memory of each live message: where it lies and what is still to do.
//! Neither envelopes nor content: a million messages fit in some 200 MiB.
//!
//! Pure but for the schedule it keeps in step. The log order is the order in which changes are
//! applied here; all changes are absolute, so that replaying one twice changes nothing.

mod replay;
mod slab;
mod transfer;

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::record::Settle;
use crate::schedule::{Next, Schedule, Ticket};
use crate::{Destination, Envelope, Mark, MessageId, Outcome, Pending, Timestamp};
use slab::Slab;

/// Where a message lies: a message item in a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) segment: u32,
    /// Of the item, from the start of the file.
    pub(crate) offset: u32,
    pub(crate) envelope_length: u32,
    pub(crate) content_length: u32,
    /// The content is a file of its own.
    pub(crate) in_file: bool,
}

impl Location {
    /// What it occupies in its segment.
    pub(crate) fn stored(&self) -> u64 {
        let content = if self.in_file {
            0
        } else {
            u64::from(self.content_length)
        };
        crate::record::MESSAGE_HEADER as u64 + u64::from(self.envelope_length) + content
    }
}

/// Recipients of one message; nearly always one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::box_collection,
    reason = "one thin pointer keeps the common case small"
)]
enum Recipients {
    One(u32),
    Many(Box<Vec<u32>>),
}

impl Recipients {
    fn new(mut list: Vec<u32>) -> Self {
        if let [one] = list[..] {
            return Self::One(one);
        }
        list.shrink_to_fit();
        Self::Many(Box::new(list))
    }

    fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Taken,
    /// Nothing is left to do for this destination.
    Done,
}

/// The open recipients of one message for one destination.
#[derive(Clone, Debug)]
struct Unit {
    due: Timestamp,
    recipients: Recipients,
    destination: u32,
    attempts: u32,
    state: State,
}

impl Unit {
    fn is_open(&self) -> bool {
        !self.recipients.as_slice().is_empty()
    }

    fn apply(&mut self, closed: &HashSet<u32>, attempts: u32, retry_at: Timestamp) {
        let open = self.recipients.as_slice().iter().copied();
        let left = open
            .filter(|recipient| !closed.contains(recipient))
            .collect();
        self.recipients = Recipients::new(left);
        self.attempts = attempts;
        self.due = retry_at;
    }
}

/// One per destination of the message. Boxed, since an entry is kept small for the many that have
/// one only as well.
type Units = Box<[Unit]>;

#[derive(Debug)]
struct Entry {
    id: MessageId,
    accepted_at: Timestamp,
    location: Location,
    priority: i8,
    delay: DelayReport,
    units: Units,
}

/// Whether the sender knows that a message is late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum DelayReport {
    #[default]
    NotYet,
    /// Somebody makes the report. Not in the log: with the process the report is gone as well.
    Claimed,
    /// It is in the log, in the record that says so.
    Told,
}

/// Work as the index knows it.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) id: MessageId,
    pub(crate) destination: Destination,
    pub(crate) attempts: u32,
    pub(crate) recipients: Vec<u32>,
    pub(crate) location: Location,
    pub(crate) delay_told: bool,
}

/// What a moved message carries with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) pending: Vec<Pending>,
    /// The sender was told that the message is late.
    pub(crate) delay_told: bool,
    /// It is being handed over.
    pub(crate) mark: Option<Mark>,
}

/// What a settle changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// No such work is taken.
    Unknown,
    /// The message lives on; `tried` says that every destination had an attempt.
    Open {
        /// No unit is before its first attempt.
        tried: bool,
    },
    /// The message is done; its place is dead once this is durable.
    Done(Location),
}

/// All live messages.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: Slab<Entry>,
    slots: HashMap<[u8; 16], u32>,
    schedule: Schedule,
    /// How many live messages were accepted at a time, for the oldest.
    accepted: BTreeMap<Timestamp, u32>,
    /// Messages that are being handed over; few at a time.
    marks: HashMap<MessageId, Mark>,
}

impl Index {
    pub(crate) fn len(&self) -> u64 {
        self.slots.len() as u64
    }

    pub(crate) fn contains(&self, id: MessageId) -> bool {
        self.slots.contains_key(&id.0.to_be_bytes())
    }

    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.accepted.first_key_value().map(|(time, _)| *time)
    }

    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.schedule.next_due()
    }

    pub(crate) fn next_due_after(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.schedule.next_due_after(now)
    }

    pub(crate) fn location(&self, id: MessageId) -> Option<Location> {
        self.entry(id).map(|entry| entry.location)
    }

    /// Adds a message, due for all its recipients when it is released; `routes` are the
    /// destinations of the recipients in order. False if there is one with this id already: nothing changed then.
    pub(crate) fn insert(
        &mut self,
        id: MessageId,
        envelope: &Envelope,
        location: Location,
        routes: &[Destination],
    ) -> bool {
        if self.contains(id) {
            return false;
        }
        let mut groups: Vec<(&Destination, Vec<u32>)> = Vec::with_capacity(1);
        let mut places: HashMap<&Destination, usize> = HashMap::new();
        for (recipient, route) in (0..).zip(routes) {
            // Neighbours mostly go the same way; the map is for the long list of a newsletter.
            let place = match groups.last() {
                Some((last, _)) if *last == route => groups.len() - 1,
                _ => *places.entry(route).or_insert(groups.len()),
            };
            match groups.get_mut(place) {
                Some((_, recipients)) => recipients.push(recipient),
                None => groups.push((route, vec![recipient])),
            }
        }
        let units: Units = groups
            .into_iter()
            .map(|(destination, recipients)| Unit {
                due: envelope.released_at(),
                recipients: Recipients::new(recipients),
                destination: self.schedule.intern(destination),
                attempts: 0,
                state: State::Done,
            })
            .collect();
        let accepted_at = envelope.accepted_at;
        let slot = self.entries.insert(Entry {
            id,
            accepted_at,
            location,
            priority: envelope.options.priority,
            delay: DelayReport::NotYet,
            units,
        });
        self.slots.insert(id.0.to_be_bytes(), slot);
        *self.accepted.entry(accepted_at).or_default() += 1;
        true
    }

    /// Hands the open work of a message that was inserted to the schedule. Apart from
    /// [`Self::insert`] so that replay can apply the whole log first. A message that is being handed
    /// over is left alone; one without recipients has none and is removed: its location is returned.
    pub(crate) fn start(&mut self, id: MessageId, latest: Timestamp) -> Option<Location> {
        let slot = self.slot(id)?;
        let entry = self.entries.get_mut(slot)?;
        if self.marks.contains_key(&id) {
            return None;
        }
        if entry.units.is_empty() {
            let location = entry.location;
            self.remove(slot);
            return Some(location);
        }
        for (number, unit) in (0..).zip(&mut entry.units) {
            if unit.state == State::Done && unit.is_open() {
                unit.state = State::Waiting;
                unit.due = unit.due.min(latest);
                let ticket = Ticket { slot, unit: number };
                self.schedule
                    .push(unit.destination, unit.due, entry.priority, ticket);
            }
        }
        None
    }

    /// The next due work, as [`crate::Queue::take`].
    pub(crate) fn take(
        &mut self,
        now: Timestamp,
        admit: &mut dyn FnMut(&Destination) -> bool,
    ) -> Option<Taken> {
        let entries = &self.entries;
        let next = self
            .schedule
            .take(now, admit, &mut |next| stands(entries, next))?;
        self.begin(next)
    }

    /// The next due work for one destination.
    pub(crate) fn take_for(&mut self, now: Timestamp, destination: &Destination) -> Option<Taken> {
        let key = self.schedule.key(destination)?;
        let entries = &self.entries;
        let next = self
            .schedule
            .take_for(now, key, &mut |next| stands(entries, next))?;
        self.begin(next)
    }

    /// As [`crate::Queue::readmit`].
    pub(crate) fn readmit(&mut self, destination: &Destination) {
        if let Some(key) = self.schedule.key(destination) {
            self.schedule.readmit(key);
        }
    }

    /// As [`crate::Queue::readmit_all`].
    pub(crate) fn readmit_all(&mut self) {
        self.schedule.readmit_all();
    }

    fn begin(&mut self, next: Next) -> Option<Taken> {
        let entry = self.entries.get_mut(next.ticket.slot)?;
        let unit = entry.units.get_mut(next.ticket.unit as usize)?;
        unit.state = State::Taken;
        Some(Taken {
            id: entry.id,
            destination: self.schedule.name(next.destination)?.clone(),
            attempts: unit.attempts,
            recipients: unit.recipients.as_slice().to_vec(),
            location: entry.location,
            delay_told: entry.delay != DelayReport::NotYet,
        })
    }

    /// Gives work back unsettled, due at `due`: it could not be read.
    pub(crate) fn put_back(&mut self, id: MessageId, destination: &Destination, due: Timestamp) {
        let Some((slot, number)) = self.taken(id, destination) else {
            return;
        };
        if let Some(entry) = self.entries.get_mut(slot)
            && let Some(unit) = entry.units.get_mut(number as usize)
        {
            unit.state = State::Waiting;
            unit.due = due;
            let ticket = Ticket { slot, unit: number };
            self.schedule
                .push(unit.destination, due, entry.priority, ticket);
        }
    }

    /// Applies the outcomes of taken work and schedules what is left.
    pub(crate) fn settle(&mut self, settle: &Settle, destination: &Destination) -> Settled {
        let &Settle {
            id,
            attempts,
            retry_at,
            ref outcomes,
            delay_told,
        } = settle;
        let Some((slot, number)) = self.taken(id, destination) else {
            return Settled::Unknown;
        };
        let Some(entry) = self.entries.get_mut(slot) else {
            return Settled::Unknown;
        };
        if delay_told {
            entry.delay = DelayReport::Told;
        }
        let Some(unit) = entry.units.get_mut(number as usize) else {
            return Settled::Unknown;
        };
        unit.apply(&closed(outcomes), attempts, retry_at);
        unit.state = if unit.is_open() {
            State::Waiting
        } else {
            State::Done
        };
        if unit.state == State::Waiting {
            let ticket = Ticket { slot, unit: number };
            self.schedule
                .push(unit.destination, retry_at, entry.priority, ticket);
        }
        self.after_settle(slot)
    }

    /// Makes the caller the one that tells the sender of the delay: gives the open recipients for
    /// which there was an attempt, those of `destination`, which is being tried, included. `None`
    /// when somebody else tells or has told.
    pub(crate) fn claim_delay(
        &mut self,
        id: MessageId,
        destination: &Destination,
    ) -> Option<Vec<u32>> {
        let (slot, number) = self.taken(id, destination)?;
        let entry = self.entries.get_mut(slot)?;
        if entry.delay != DelayReport::NotYet {
            return None;
        }
        entry.delay = DelayReport::Claimed;
        let tried = (0..)
            .zip(&entry.units)
            .filter(|(unit_number, unit)| *unit_number == number || unit.attempts > 0);
        let mut open: Vec<u32> = tried
            .flat_map(|(_, unit)| unit.recipients.as_slice().iter().copied())
            .collect();
        open.sort_unstable();
        Some(open)
    }

    /// The report is not made after all.
    pub(crate) fn unclaim_delay(&mut self, id: MessageId) {
        if let Some(slot) = self.slot(id)
            && let Some(entry) = self.entries.get_mut(slot)
            && entry.delay == DelayReport::Claimed
        {
            entry.delay = DelayReport::NotYet;
        }
    }

    /// Forgets a message that can no longer be read.
    pub(crate) fn lose(&mut self, id: MessageId) -> Option<Location> {
        let slot = self.slot(id)?;
        let location = self.entries.get(slot)?.location;
        self.remove(slot);
        Some(location)
    }

    /// All live messages and where they lie.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (MessageId, Location)> + '_ {
        self.entries.iter().map(|entry| (entry.id, entry.location))
    }

    fn after_settle(&mut self, slot: u32) -> Settled {
        let Some(entry) = self.entries.get(slot) else {
            return Settled::Unknown;
        };
        let mut open = entry
            .units
            .iter()
            .filter(|unit| !unit.recipients.as_slice().is_empty());
        if open.clone().next().is_none() {
            let location = entry.location;
            self.remove(slot);
            return Settled::Done(location);
        }
        Settled::Open {
            tried: open.all(|unit| unit.attempts > 0),
        }
    }

    fn remove(&mut self, slot: u32) {
        let Some(entry) = self.entries.remove(slot) else {
            return;
        };
        self.slots.remove(&entry.id.0.to_be_bytes());
        self.marks.remove(&entry.id);
        if let Some(count) = self.accepted.get_mut(&entry.accepted_at) {
            *count -= 1;
            if *count == 0 {
                self.accepted.remove(&entry.accepted_at);
            }
        }
        for unit in entry.units {
            self.schedule.release(unit.destination);
        }
    }

    fn taken(&self, id: MessageId, destination: &Destination) -> Option<(u32, u32)> {
        let slot = self.slot(id)?;
        let key = self.schedule.key(destination)?;
        let units = &self.entries.get(slot)?.units;
        let found = (0..)
            .zip(units)
            .find(|(_, unit)| unit.state == State::Taken && unit.destination == key);
        found.map(|(number, _)| (slot, number))
    }

    fn slot(&self, id: MessageId) -> Option<u32> {
        self.slots.get(&id.0.to_be_bytes()).copied()
    }

    fn entry(&self, id: MessageId) -> Option<&Entry> {
        self.entries.get(self.slot(id)?)
    }
}

/// Recipients that are delivered or given up.
fn closed(outcomes: &[(u32, Outcome)]) -> HashSet<u32> {
    let closed = outcomes
        .iter()
        .filter(|(_, outcome)| *outcome != Outcome::Deferred);
    closed.map(|(recipient, _)| *recipient).collect()
}

/// Whether a ticket still stands for the work it was made for: a message may have been lost since,
/// and its slot may have another tenant.
fn stands(entries: &Slab<Entry>, next: &Next) -> bool {
    entries
        .get(next.ticket.slot)
        .and_then(|entry| entry.units.get(next.ticket.unit as usize))
        .is_some_and(|unit| {
            unit.state == State::Waiting
                && unit.destination == next.destination
                && unit.due == next.due
        })
}
