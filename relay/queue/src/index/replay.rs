//! The index while the log is replayed, and what a message that moves carries with it.

use std::collections::{HashMap, HashSet};

use super::{DelayReport, Index, Location, Open, Recipients, Settled, closed};
use crate::record::Settle;
use crate::{MessageId, Pending};

impl Index {
    /// Applies a settle record during replay, where nothing is taken or scheduled and routes may
    /// have changed since it was written: recipients are found by number.
    pub(crate) fn replay_settle(&mut self, settle: &Settle) -> Settled {
        let Some(slot) = self.slot(settle.id) else {
            return Settled::Unknown;
        };
        let Some(entry) = self.entries.get_mut(slot) else {
            return Settled::Unknown;
        };
        if settle.delay_told {
            entry.delay = DelayReport::Told;
        }
        let named: HashSet<u32> = settle.outcomes.iter().map(|(one, _)| *one).collect();
        let closed = closed(&settle.outcomes);
        for unit in &mut entry.units {
            if unit
                .recipients
                .as_slice()
                .iter()
                .any(|one| named.contains(one))
            {
                unit.apply(&closed, settle.attempts, settle.retry_at);
            }
        }
        self.after_settle(slot)
    }

    /// Sets the state of a message to exactly `state` (replay of a moved message).
    pub(crate) fn replay_state(&mut self, id: MessageId, state: &Open) -> Settled {
        let Some(slot) = self.slot(id) else {
            return Settled::Unknown;
        };
        let Some(entry) = self.entries.get_mut(slot) else {
            return Settled::Unknown;
        };
        if state.delay_told {
            entry.delay = DelayReport::Told;
        }
        match state.mark {
            Some(mark) => self.marks.insert(id, mark),
            None => self.marks.remove(&id),
        };
        let open: HashMap<u32, &Pending> = state
            .pending
            .iter()
            .map(|pending| (pending.recipient, pending))
            .collect();
        for unit in &mut entry.units {
            let left: Vec<u32> = unit
                .recipients
                .as_slice()
                .iter()
                .copied()
                .filter(|recipient| open.contains_key(recipient))
                .collect();
            let states = left.iter().filter_map(|recipient| open.get(recipient));
            unit.due = states
                .clone()
                .map(|state| state.due)
                .min()
                .unwrap_or_default();
            unit.attempts = states.map(|state| state.attempts).max().unwrap_or_default();
            unit.recipients = Recipients::new(left);
        }
        self.after_settle(slot)
    }

    /// The state of a message, as a moved message carries it.
    pub(crate) fn open(&self, id: MessageId) -> Open {
        let Some(entry) = self.entry(id) else {
            return Open::default();
        };
        let units = entry.units.iter();
        let pending = units
            .flat_map(|unit| {
                unit.recipients.as_slice().iter().map(|&recipient| Pending {
                    recipient,
                    attempts: unit.attempts,
                    due: unit.due,
                })
            })
            .collect();
        Open {
            pending,
            delay_told: entry.delay == DelayReport::Told,
            mark: self.marks.get(&id).copied(),
        }
    }

    /// The message lies at `to` now. False if it no longer lives at `from`.
    pub(crate) fn relocate(&mut self, id: MessageId, from: Location, to: Location) -> bool {
        let Some(slot) = self.slot(id) else {
            return false;
        };
        match self.entries.get_mut(slot) {
            Some(entry) if entry.location == from => {
                entry.location = to;
                true
            }
            _ => false,
        }
    }
}
