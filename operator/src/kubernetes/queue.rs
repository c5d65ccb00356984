//! Which object comes next: pure, on names and times.
//!
//! Objects that somebody waits for come first, then those around which something changed, then
//! periodic looks; but every few turns a later class goes first, so that none starves. In each class
//! namespaces take turns, so that one with ten thousand objects does not hold up another's single one.
//! Within a namespace the newest and the oldest alternate: an object that is added to a bulk import
//! does not wait for the import, and the import ends.
//!
//! One object is worked on once at a time, and not again at once: what changes meanwhile is looked at
//! together, after a pause that grows with what the last look cost.
//!
//! Bounded by the number of objects, however often each is asked for.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Shortest pause between two looks at the same object.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause after a look that cost much, unless somebody waits.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The pause is this many times what the last look took.
const PAUSES: u32 = 3;
/// Every so many turns each later class goes first.
const TURNS: [usize; 2] = [4, 8];

/// Namespace and name. Cheap to clone, for there are many of the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace; empty for cluster-wide kinds.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl Key {
    /// Of `namespace` and `name`.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// Who waits for a look; the first comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Somebody who made or changed the object.
    New,
    /// Nobody, but something changed.
    Changed,
    /// Nobody; it is time to look again.
    Look,
}

const CLASSES: [Urgency; 3] = [Urgency::New, Urgency::Changed, Urgency::Look];

/// Objects of one kind that wait, are worked on, or are to be looked at later.
#[derive(Debug, Default)]
pub struct Queue {
    entries: HashMap<Key, Entry>,
    later: BTreeSet<(Instant, Key)>,
    lanes: [Lane; 3],
    turn: usize,
    waiting: usize,
}

#[derive(Debug, Default)]
struct Entry {
    stage: Stage,
    /// When it comes by itself, and as what.
    due: Option<(Instant, Urgency)>,
    /// When the last look ended, and what it took.
    last: Option<(Instant, Duration)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Idle,
    Waiting(Urgency),
    /// Being worked on; asked for again meanwhile.
    Running(Option<Urgency>),
}

impl Queue {
    /// Asks for a look.
    pub fn push(&mut self, key: Key, urgency: Urgency, now: Instant) {
        let entry = self.entries.entry(key.clone()).or_default();
        match &mut entry.stage {
            Stage::Running(again) => {
                *again = Some(again.map_or(urgency, |asked| asked.min(urgency)));
            }
            Stage::Waiting(asked) if *asked <= urgency => {}
            // What is left in the lane of the lesser urgency is passed over when it comes up.
            Stage::Waiting(asked) => {
                *asked = urgency;
                self.lanes[urgency as usize].push(key);
            }
            Stage::Idle => {
                let at = entry.last.map_or(now, |last| settled(last, urgency));
                self.schedule(key, at, urgency, now);
            }
        }
    }

    /// The object to work on now, if there is any; it must be given back to [`Self::done`].
    pub fn take(&mut self, now: Instant) -> Option<Key> {
        self.wake(now);
        self.turn = self.turn.wrapping_add(1);
        let first = match self.turn {
            turn if turn.is_multiple_of(TURNS[1]) => 2,
            turn if turn.is_multiple_of(TURNS[0]) => 1,
            _ => 0,
        };
        let order = [first, 0, 1, 2];
        for class in order {
            while let Some(key) = self.lanes[class].pop() {
                let Some(entry) = self.entries.get_mut(&key) else {
                    continue;
                };
                if entry.stage != Stage::Waiting(CLASSES[class]) {
                    continue;
                }
                entry.stage = Stage::Running(None);
                self.waiting -= 1;
                if let Some((at, _)) = entry.due.take() {
                    self.later.remove(&(at, key.clone()));
                }
                return Some(key);
            }
        }
        None
    }

    /// The look at `key` that began at `began` has ended; the next one comes `again` later unless
    /// something asks for it before.
    pub fn done(&mut self, key: &Key, began: Instant, now: Instant, again: Option<Duration>) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let asked = match entry.stage {
            Stage::Running(asked) => asked,
            Stage::Idle | Stage::Waiting(_) => None,
        };
        entry.stage = Stage::Idle;
        let last = (now, now.saturating_duration_since(began));
        entry.last = Some(last);
        if let Some(again) = again {
            self.schedule(key.clone(), now + again, Urgency::Look, now);
        }
        if let Some(urgency) = asked {
            self.schedule(key.clone(), settled(last, urgency), urgency, now);
        }
    }

    /// The object being worked on is gone. Asked for again meanwhile, it comes again.
    pub fn gone(&mut self, key: &Key, now: Instant) {
        let asked = match self.entries.remove(key) {
            Some(entry) => {
                if let Some((at, _)) = entry.due {
                    self.later.remove(&(at, key.clone()));
                }
                match entry.stage {
                    Stage::Running(asked) => asked,
                    Stage::Idle | Stage::Waiting(_) => None,
                }
            }
            None => None,
        };
        if let Some(urgency) = asked {
            self.push(key.clone(), urgency, now);
        }
    }

    /// The work on `key` has ended for good, whatever was asked meanwhile.
    pub fn finished(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key)
            && let Some((at, _)) = entry.due
        {
            self.later.remove(&(at, key.clone()));
        }
    }

    /// When the next object comes by itself.
    pub fn next_due(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }

    /// Objects that wait for a look now.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// At `at`, or now. Of two times the earlier counts; of the same, the more urgent.
    fn schedule(&mut self, key: Key, at: Instant, urgency: Urgency, now: Instant) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        if at <= now {
            entry.stage = Stage::Waiting(urgency);
            self.waiting += 1;
            self.lanes[urgency as usize].push(key);
            return;
        }
        if let Some((before, asked)) = entry.due {
            if before <= at {
                entry.due = Some((before, asked.min(urgency)));
                return;
            }
            self.later.remove(&(before, key.clone()));
        }
        entry.due = Some((at, urgency));
        self.later.insert((at, key));
    }

    /// What was to come later and is due.
    fn wake(&mut self, now: Instant) {
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, key)) = self.later.pop_first() else {
                return;
            };
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            let urgency = entry
                .due
                .take()
                .map_or(Urgency::Look, |(_, urgency)| urgency);
            if entry.stage == Stage::Idle {
                entry.stage = Stage::Waiting(urgency);
                self.waiting += 1;
                self.lanes[urgency as usize].push(key);
            }
        }
    }
}

/// When the object may be looked at again.
fn settled((ended, took): (Instant, Duration), urgency: Urgency) -> Instant {
    let longest = match urgency {
        Urgency::New => SHORTEST_PAUSE,
        Urgency::Changed | Urgency::Look => LONGEST_PAUSE,
    };
    ended + (took * PAUSES).clamp(SHORTEST_PAUSE, longest)
}

/// What waits in one class.
#[derive(Debug, Default)]
struct Lane {
    /// Namespaces in turn; each has names.
    turns: VecDeque<Arc<str>>,
    names: HashMap<Arc<str>, Names>,
}

#[derive(Debug, Default)]
struct Names {
    waiting: VecDeque<Arc<str>>,
    newest_next: bool,
}

impl Lane {
    fn push(&mut self, key: Key) {
        let names = self.names.entry(key.namespace.clone()).or_default();
        if names.waiting.is_empty() {
            self.turns.push_back(key.namespace);
            names.newest_next = true;
        }
        names.waiting.push_back(key.name);
    }

    fn pop(&mut self) -> Option<Key> {
        let namespace = self.turns.pop_front()?;
        let names = self.names.get_mut(&namespace)?;
        let name = if names.newest_next {
            names.waiting.pop_back()
        } else {
            names.waiting.pop_front()
        };
        names.newest_next = !names.newest_next;
        if names.waiting.is_empty() {
            self.names.remove(&namespace);
        } else {
            self.turns.push_back(namespace.clone());
        }
        Some(Key::new(namespace, name?))
    }
}

#[cfg(test)]
mod tests;
