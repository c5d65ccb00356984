//! Which work is next: pure, time is an argument.
//!
//! Each destination has a heap of its waiting work by due time. Destinations with due work stand in
//! a ring and take turns; the others wait in an ordered set for their earliest due time. So a take
//! costs the destinations that it asks and the logarithm of one destination's work, and a million
//! messages for one dead destination cost the others nothing.
//!
//! A destination that the caller refuses is parked: it is not asked again before the caller says so.
//! So ten thousand destinations that have all their connections cost nothing either.
//!
//! Within a destination the due work of the highest priority goes first (RFC 6710), and of equals
//! the longest due; between destinations priority means nothing, so that nobody's urgent mail holds
//! up mail that goes elsewhere.
//!
//! It knows tickets, not messages; whether a ticket still stands for work is the caller's to say.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};

use crate::record::count;
use crate::{Destination, Timestamp};

/// Names a destination while it has users.
pub(crate) type DestinationKey = u32;

/// Names one unit of work in the index: the slot of its message and the unit within.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    pub(crate) slot: u32,
    pub(crate) unit: u32,
}

/// Work that is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    pub(crate) destination: DestinationKey,
    pub(crate) due: Timestamp,
    pub(crate) ticket: Ticket,
}

#[derive(Debug)]
struct Line {
    name: Destination,
    /// Units of work, waiting or taken; at zero the destination is forgotten.
    users: u32,
    /// Highest priority first; nearly always one.
    lanes: Vec<Lane>,
    place: Place,
    /// Its entry in `due`.
    listed: Option<Timestamp>,
}

/// Where a destination stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Among those whose work is due later.
    Waiting,
    /// In the ring. A member whose work went by `take_for` stays until its turn.
    Ring,
    /// Aside, until the caller admits it again.
    Parked,
}

/// Work of one priority.
#[derive(Debug)]
struct Lane {
    priority: i8,
    work: BinaryHeap<Reverse<(Timestamp, Ticket)>>,
}

impl Lane {
    fn earliest(&self) -> Option<Timestamp> {
        self.work.peek().map(|Reverse((due, _))| *due)
    }
}

impl Line {
    fn earliest(&self) -> Option<Timestamp> {
        self.lanes.iter().filter_map(Lane::earliest).min()
    }

    fn push(&mut self, due: Timestamp, priority: i8, ticket: Ticket) {
        let place = self
            .lanes
            .binary_search_by_key(&Reverse(priority), |lane| Reverse(lane.priority));
        let place = place.unwrap_or_else(|place| {
            let work = BinaryHeap::new();
            self.lanes.insert(place, Lane { priority, work });
            place
        });
        if let Some(lane) = self.lanes.get_mut(place) {
            lane.work.push(Reverse((due, ticket)));
        }
    }

    fn pop(&mut self, now: Timestamp) -> Option<(Timestamp, Ticket)> {
        let is_due = |lane: &&mut Lane| lane.earliest().is_some_and(|due| due <= now);
        let Reverse(next) = self.lanes.iter_mut().find(is_due)?.work.pop()?;
        Some(next)
    }
}

/// The schedule of all waiting work.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    keys: HashMap<Destination, DestinationKey>,
    lines: Vec<Option<Line>>,
    free: Vec<DestinationKey>,
    ring: VecDeque<DestinationKey>,
    /// Destinations with work that stand in the ring, by earliest due time.
    ready: BTreeSet<(Timestamp, DestinationKey)>,
    /// Destinations with work that do not.
    waiting: BTreeSet<(Timestamp, DestinationKey)>,
    /// Destinations with work that were refused.
    parked: BTreeSet<(Timestamp, DestinationKey)>,
}

impl Schedule {
    /// The key of a destination, which gains one user.
    pub(crate) fn intern(&mut self, name: &Destination) -> DestinationKey {
        if let Some(&key) = self.keys.get(name) {
            if let Some(line) = self.line(key) {
                line.users += 1;
            }
            return key;
        }
        let line = Line {
            name: name.clone(),
            users: 1,
            lanes: Vec::new(),
            place: Place::Waiting,
            listed: None,
        };
        let key = if let Some(key) = self.free.pop() {
            self.lines[key as usize] = Some(line);
            key
        } else {
            self.lines.push(Some(line));
            count(self.lines.len() - 1)
        };
        self.keys.insert(name.clone(), key);
        key
    }

    /// Takes one user from a destination; without users it is forgotten, with whatever tickets of
    /// work that no longer exists still lie in its heap.
    pub(crate) fn release(&mut self, key: DestinationKey) {
        let Some(line) = self.line(key) else { return };
        line.users = line.users.saturating_sub(1);
        if line.users > 0 {
            return;
        }
        line.lanes.clear();
        self.list(key);
        if self.line(key).is_some_and(|line| line.place == Place::Ring) {
            // Its turn comes and removes it; the key must not be reused before.
            return;
        }
        self.forget(key);
    }

    /// The name of a destination.
    pub(crate) fn name(&self, key: DestinationKey) -> Option<&Destination> {
        self.lines
            .get(key as usize)?
            .as_ref()
            .map(|line| &line.name)
    }

    /// The key of a destination that has users.
    pub(crate) fn key(&self, name: &Destination) -> Option<DestinationKey> {
        self.keys.get(name).copied()
    }

    /// Adds waiting work.
    pub(crate) fn push(
        &mut self,
        key: DestinationKey,
        due: Timestamp,
        priority: i8,
        ticket: Ticket,
    ) {
        if let Some(line) = self.line(key) {
            line.push(due, priority, ticket);
            self.list(key);
        }
    }

    /// The next due work of a destination that `admit` lets through, destinations taking turns; one
    /// that is refused is parked until [`Self::readmit`]. `valid` says whether a ticket still stands for waiting work; others are dropped.
    pub(crate) fn take(
        &mut self,
        now: Timestamp,
        admit: &mut dyn FnMut(&Destination) -> bool,
        valid: &mut dyn FnMut(&Next) -> bool,
    ) -> Option<Next> {
        self.promote(now);
        for _ in 0..self.ring.len() {
            let key = self.ring.pop_front()?;
            if !self.settle_turn(key, now, valid) {
                continue;
            }
            if self.name(key).is_some_and(&mut *admit) {
                self.ring.push_back(key);
                return self.pop(now, key);
            }
            self.stand(key, Place::Parked);
        }
        None
    }

    /// Lets a destination take its turns again that was refused.
    pub(crate) fn readmit(&mut self, key: DestinationKey) {
        if self
            .line(key)
            .is_some_and(|line| line.place == Place::Parked)
        {
            self.stand(key, Place::Waiting);
        }
    }

    /// The same for all.
    pub(crate) fn readmit_all(&mut self) {
        for (_, key) in std::mem::take(&mut self.parked) {
            if let Some(line) = self.line(key) {
                line.listed = None;
                line.place = Place::Waiting;
                self.list(key);
            }
        }
    }

    /// The next due work of one destination.
    pub(crate) fn take_for(
        &mut self,
        now: Timestamp,
        key: DestinationKey,
        valid: &mut dyn FnMut(&Next) -> bool,
    ) -> Option<Next> {
        self.drop_invalid(key, valid);
        let earliest = self.line(key)?.earliest()?;
        if earliest > now {
            None
        } else {
            self.pop(now, key)
        }
    }

    /// When the next waiting work is due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        [&self.ready, &self.waiting, &self.parked]
            .into_iter()
            .filter_map(BTreeSet::first)
            .map(|(due, _)| *due)
            .min()
    }

    /// The earliest due time of destinations that have no due work at `now` and are not parked.
    pub(crate) fn next_due_after(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.promote(now);
        // A ring member whose due work went by `take_for` waits like the others.
        let late = self
            .ready
            .range((Timestamp(now.0.saturating_add(1)), 0)..)
            .next();
        let waiting = self.waiting.first();
        [late, waiting]
            .into_iter()
            .flatten()
            .map(|(due, _)| *due)
            .min()
    }

    /// Whether a ring member has due work; if not, it leaves the ring.
    fn settle_turn(
        &mut self,
        key: DestinationKey,
        now: Timestamp,
        valid: &mut dyn FnMut(&Next) -> bool,
    ) -> bool {
        self.drop_invalid(key, valid);
        let Some(line) = self.line(key) else {
            return false;
        };
        if line.earliest().is_some_and(|due| due <= now) {
            return true;
        }
        self.stand(key, Place::Waiting);
        if self.line(key).is_some_and(|line| line.users == 0) {
            self.forget(key);
        }
        false
    }

    fn stand(&mut self, key: DestinationKey, place: Place) {
        self.unlist(key);
        if let Some(line) = self.line(key) {
            line.place = place;
        }
        self.list(key);
    }

    fn drop_invalid(&mut self, key: DestinationKey, valid: &mut dyn FnMut(&Next) -> bool) {
        let Some(line) = self.line(key) else { return };
        let mut dropped = false;
        for lane in &mut line.lanes {
            while let Some(&Reverse((due, ticket))) = lane.work.peek() {
                if valid(&Next {
                    destination: key,
                    due,
                    ticket,
                }) {
                    break;
                }
                lane.work.pop();
                dropped = true;
            }
        }
        if dropped {
            self.list(key);
        }
    }

    fn pop(&mut self, now: Timestamp, key: DestinationKey) -> Option<Next> {
        let (due, ticket) = self.line(key)?.pop(now)?;
        self.list(key);
        Some(Next {
            destination: key,
            due,
            ticket,
        })
    }

    /// Moves destinations whose work became due into the ring.
    fn promote(&mut self, now: Timestamp) {
        while let Some(&(due, key)) = self.waiting.first() {
            if due > now {
                break;
            }
            self.stand(key, Place::Ring);
            self.ring.push_back(key);
        }
    }

    /// Brings a destination's entry in the ordered sets up to date.
    fn list(&mut self, key: DestinationKey) {
        let Some(line) = self.line(key) else { return };
        let (earliest, listed) = (line.earliest(), line.listed);
        if earliest == listed {
            return;
        }
        self.unlist(key);
        let Some(line) = self.line(key) else { return };
        line.listed = earliest;
        let place = line.place;
        if let Some(due) = earliest {
            self.listed_at(place).insert((due, key));
        }
    }

    fn unlist(&mut self, key: DestinationKey) {
        let Some(line) = self.line(key) else { return };
        let place = line.place;
        if let Some(due) = line.listed.take() {
            self.listed_at(place).remove(&(due, key));
        }
    }

    fn listed_at(&mut self, place: Place) -> &mut BTreeSet<(Timestamp, DestinationKey)> {
        match place {
            Place::Waiting => &mut self.waiting,
            Place::Ring => &mut self.ready,
            Place::Parked => &mut self.parked,
        }
    }

    fn forget(&mut self, key: DestinationKey) {
        if let Some(line) = self.lines.get_mut(key as usize).and_then(Option::take) {
            self.keys.remove(&line.name);
            self.free.push(key);
        }
    }

    fn line(&mut self, key: DestinationKey) -> Option<&mut Line> {
        self.lines.get_mut(key as usize)?.as_mut()
    }
}

#[cfg(test)]
mod tests;
