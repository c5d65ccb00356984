//! Messages that go from one queue to another. A message with a mark has no work to take.

use super::{Index, Location, State, Unit};
use crate::record::Settle;
use crate::{Mark, MessageId, Outcome, Timestamp};

impl Index {
    /// The mark of a message.
    pub(crate) fn mark(&self, id: MessageId) -> Option<Mark> {
        self.marks.get(&id).copied()
    }

    /// All messages with a mark.
    pub(crate) fn marked(&self) -> impl Iterator<Item = (MessageId, Mark)> + '_ {
        self.marks.iter().map(|(id, mark)| (*id, *mark))
    }

    /// Messages that nobody works at and that have no mark, from place `from` on; each with the place
    /// after it.
    pub(crate) fn idle(&self, from: u32) -> impl Iterator<Item = (u32, MessageId, Location)> + '_ {
        let idle = self.entries.iter_from(from).filter(|(_, entry)| {
            let taken = |unit: &Unit| unit.state == State::Taken;
            !self.marks.contains_key(&entry.id) && !entry.units.iter().any(taken)
        });
        idle.map(|(place, entry)| (place.saturating_add(1), entry.id, entry.location))
    }

    /// Ties an idle message to another shard: its work is not taken any more. False if it is not there,
    /// is being worked at, or has a mark.
    pub(crate) fn tie(&mut self, id: MessageId, mark: Mark) -> bool {
        let Some(slot) = self.slot(id) else {
            return false;
        };
        let Some(entry) = self.entries.get_mut(slot) else {
            return false;
        };
        let taken = entry.units.iter().any(|unit| unit.state == State::Taken);
        if taken || self.marks.contains_key(&id) {
            return false;
        }
        // Their tickets stand for nothing from now on.
        for unit in &mut entry.units {
            unit.state = State::Done;
        }
        self.marks.insert(id, mark);
        true
    }

    /// Lets a message with exactly this mark be delivered here. False if it has not.
    pub(crate) fn untie(&mut self, id: MessageId, mark: Mark) -> bool {
        if self.mark(id) != Some(mark) {
            return false;
        }
        self.marks.remove(&id);
        // It has recipients: what has none ended when it came.
        self.start(id, Timestamp(u64::MAX));
        true
    }

    /// Ends a message with exactly this mark, which is another queue's: gives the settle that says so,
    /// and where it lay.
    pub(crate) fn part(&mut self, id: MessageId, mark: Mark) -> Option<(Settle, Location)> {
        if self.mark(id) != Some(mark) {
            return None;
        }
        let slot = self.slot(id)?;
        let entry = self.entries.get(slot)?;
        let open = entry
            .units
            .iter()
            .flat_map(|unit| unit.recipients.as_slice());
        let settle = Settle {
            id,
            attempts: 0,
            retry_at: Timestamp(0),
            outcomes: open.map(|one| (*one, Outcome::Delivered)).collect(),
            delay_told: false,
        };
        let location = entry.location;
        self.remove(slot);
        Some((settle, location))
    }

    /// Sets the mark of a message during replay, where nothing is scheduled.
    pub(crate) fn replay_mark(&mut self, id: MessageId, mark: Option<Mark>) {
        match mark {
            Some(mark) if self.contains(id) => self.marks.insert(id, mark),
            _ => self.marks.remove(&id),
        };
    }
}
