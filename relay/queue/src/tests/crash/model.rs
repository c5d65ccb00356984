//! What must, may and must not be in the queue after the process or the power went.
//!
//! What was acknowledged must be there. What was not may be, whole or not at all. In memory there is
//! exactly one truth, the last of each history.

use std::collections::{BTreeMap, BTreeSet};

use crate::index::Open;
use crate::{Mark, Timestamp};

/// Work that the disk would not read is put back to a time from here on.
pub(super) const POSTPONED: u64 = 300_000;

/// Counts what callers did, in order.
pub(super) type Turn = u64;

/// Values that one thing had; the first is durable, the last is true in memory.
#[derive(Clone, Debug)]
pub(super) struct History<T>(Vec<(Turn, T)>);

impl<T: Copy + PartialEq> History<T> {
    fn new(value: T) -> Self {
        Self(vec![(0, value)])
    }

    pub(super) fn now(&self) -> T {
        self.0[self.0.len() - 1].1
    }

    pub(super) fn set(&mut self, turn: Turn, value: T) {
        self.0.push((turn, value));
    }

    fn correct(&mut self, turn: Turn, change: impl Fn(&mut T)) {
        let same = self.0.iter_mut().filter(|(at, _)| *at == turn);
        same.for_each(|(_, value)| change(value));
    }

    fn durable(&mut self, turn: Turn) {
        if let Some(place) = self.0.iter().position(|(at, _)| *at == turn) {
            self.0.drain(..place);
        }
    }

    fn had(&self, wanted: impl Fn(T) -> bool) -> bool {
        self.0.iter().any(|(_, value)| wanted(*value))
    }

    fn settle_on(&mut self, value: T) {
        self.0 = vec![(0, value)];
    }
}

/// How a recipient was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Closing {
    turn: Turn,
    durable: bool,
    /// The report that has to be there with it.
    report: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Try {
    pub(super) attempts: u32,
    pub(super) due: Timestamp,
}

#[derive(Clone, Debug)]
pub(super) struct Unit {
    recipients: BTreeMap<u32, Option<Closing>>,
    tries: History<Try>,
}

impl Unit {
    pub(super) fn open(&self) -> Vec<u32> {
        let open = self
            .recipients
            .iter()
            .filter(|(_, closing)| closing.is_none());
        open.map(|(recipient, _)| *recipient).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// On its way.
    Sent,
    /// Nobody waits for the answer any more.
    Forgotten,
    /// It must be there.
    Acknowledged,
    /// Its sender was told that it is not there.
    Refused,
}

#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) content: Vec<u8>,
    pub(super) standing: Standing,
    /// By destination.
    pub(super) units: BTreeMap<String, Unit>,
    pub(super) mark: History<Option<Mark>>,
    /// It is another queue's, and that is not durable yet.
    pub(super) parted: Option<Turn>,
}

impl Message {
    /// `to` is the destination of each recipient that is open.
    pub(super) fn new(
        content: Vec<u8>,
        to: &BTreeMap<u32, String>,
        first: Try,
        mark: Option<Mark>,
    ) -> Self {
        let mut units = BTreeMap::<String, Unit>::new();
        for (recipient, destination) in to {
            let unit = units.entry(destination.clone()).or_insert_with(|| Unit {
                recipients: BTreeMap::new(),
                tries: History::new(first),
            });
            unit.recipients.insert(*recipient, None);
        }
        Self {
            content,
            standing: Standing::Sent,
            units,
            mark: History::new(mark),
            parted: None,
        }
    }

    fn closings(&self) -> impl Iterator<Item = &Option<Closing>> {
        self.units
            .values()
            .flat_map(|unit| unit.recipients.values())
    }

    fn over(&self) -> bool {
        self.closings().all(Option::is_some)
    }

    /// Whether nothing of it may be in the queue any more.
    fn gone(&self) -> bool {
        self.standing == Standing::Acknowledged
            && self
                .closings()
                .all(|one| one.is_some_and(|closing| closing.durable))
    }
}

/// A settle as the model knows it.
#[derive(Clone, Debug)]
pub(super) struct Settled {
    pub(super) number: u64,
    pub(super) destination: String,
    pub(super) turn: Turn,
    pub(super) closed: Vec<u32>,
    pub(super) report: Option<u64>,
}

/// What one start found.
pub(super) type Found = BTreeMap<u64, Open>;

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) messages: BTreeMap<u64, Message>,
    /// Must never come back.
    ended: BTreeSet<u64>,
}

impl Model {
    pub(super) fn settle(&mut self, settled: &Settled, tried: Try) {
        let Some(message) = self.messages.get_mut(&settled.number) else {
            return;
        };
        let unit = message.units.get_mut(&settled.destination).unwrap();
        unit.tries.set(settled.turn, tried);
        for recipient in &settled.closed {
            let closing = Closing {
                turn: settled.turn,
                durable: false,
                report: settled.report,
            };
            unit.recipients.insert(*recipient, Some(closing));
        }
    }

    /// A settle was refused whole: its work is due again then.
    pub(super) fn unsettle(&mut self, settled: &Settled) {
        let message = self.messages.get_mut(&settled.number).unwrap();
        let unit = message.units.get_mut(&settled.destination).unwrap();
        unit.tries
            .correct(settled.turn, |tried| tried.attempts -= 1);
        for closing in unit.recipients.values_mut() {
            if closing.is_some_and(|closing| closing.turn == settled.turn) {
                *closing = None;
            }
        }
        if let Some(report) = settled.report {
            self.messages.remove(&report);
        }
    }

    pub(super) fn settle_is_durable(&mut self, settled: &Settled) {
        if let Some(report) = settled.report {
            self.acknowledge(report);
        }
        let Some(message) = self.messages.get_mut(&settled.number) else {
            return;
        };
        let unit = message.units.get_mut(&settled.destination).unwrap();
        unit.tries.durable(settled.turn);
        for closing in unit.recipients.values_mut().flatten() {
            closing.durable |= closing.turn == settled.turn;
        }
        self.bury(settled.number);
    }

    pub(super) fn acknowledge(&mut self, number: u64) {
        if let Some(message) = self.messages.get_mut(&number) {
            message.standing = Standing::Acknowledged;
        }
        self.bury(number);
    }

    fn bury(&mut self, number: u64) {
        if self.messages.get(&number).is_some_and(Message::gone) {
            self.end(number);
        }
    }

    pub(super) fn mark_is_durable(&mut self, number: u64, turn: Turn) {
        if let Some(message) = self.messages.get_mut(&number) {
            message.mark.durable(turn);
        }
    }

    pub(super) fn end(&mut self, number: u64) {
        self.messages.remove(&number);
        self.ended.insert(number);
    }

    /// Compares what a start found, and goes on from there: it is durable now.
    pub(super) fn recovered(&mut self, found: &Found) -> Result<(), String> {
        self.reports(found)?;
        let numbers: Vec<u64> = self.messages.keys().copied().collect();
        for number in numbers {
            match found.get(&number) {
                Some(open) => {
                    let message = self.messages.get_mut(&number).unwrap();
                    message
                        .recovered(open)
                        .map_err(|fault| format!("message {number}: {fault}"))?;
                }
                None => self.absent(number)?,
            }
        }
        for number in found.keys() {
            if self.ended.contains(number) {
                return Err(format!("message {number} came back after its end"));
            }
            if !self.messages.contains_key(number) {
                return Err(format!("message {number} is nobody's"));
            }
        }
        Ok(())
    }

    /// Outcomes and their reports hold together.
    fn reports(&self, found: &Found) -> Result<(), String> {
        for (number, message) in &self.messages {
            for (destination, unit) in &message.units {
                for (recipient, closing) in &unit.recipients {
                    let Some(Closing {
                        report: Some(report),
                        durable: false,
                        ..
                    }) = closing
                    else {
                        continue;
                    };
                    let open = found.get(number).is_some_and(|open| {
                        open.pending.iter().any(|one| one.recipient == *recipient)
                    });
                    if open == found.contains_key(report) {
                        let what = if open {
                            "is open and reported as failed"
                        } else {
                            "is given up and nobody is told"
                        };
                        return Err(format!(
                            "recipient {recipient} of message {number} for {destination} {what} (report {report})"
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    fn absent(&mut self, number: u64) -> Result<(), String> {
        let message = &self.messages[&number];
        let may = message.over()
            || message.parted.is_some()
            || message.standing != Standing::Acknowledged;
        if !may {
            return Err(format!("message {number} was acknowledged and is lost"));
        }
        self.end(number);
        Ok(())
    }
}

impl Message {
    fn recovered(&mut self, open: &Open) -> Result<(), String> {
        let mark = open.mark;
        if !self.mark.had(|one| one == mark) {
            return Err(format!("its mark is {mark:?} after {:?}", self.mark));
        }
        self.mark.settle_on(mark);
        self.standing = Standing::Acknowledged;
        self.parted = None;
        let mut pending: BTreeMap<u32, Try> = open
            .pending
            .iter()
            .map(|one| {
                (
                    one.recipient,
                    Try {
                        attempts: one.attempts,
                        due: one.due,
                    },
                )
            })
            .collect();
        for (destination, unit) in &mut self.units {
            let mut seen = None;
            for (recipient, closing) in &mut unit.recipients {
                let Some(tried) = pending.remove(recipient) else {
                    let closing = closing.as_mut();
                    let closing = closing.ok_or(format!("recipient {recipient} is lost"))?;
                    closing.durable = true;
                    continue;
                };
                if closing.is_some_and(|closing| closing.durable) {
                    return Err(format!(
                        "recipient {recipient} was settled and is open again"
                    ));
                }
                *closing = None;
                let fits = |one: Try| {
                    one == tried || (one.attempts == tried.attempts && tried.due.0 >= POSTPONED)
                };
                if !unit.tries.had(fits) {
                    return Err(format!(
                        "for {destination} it has {tried:?} after {:?}",
                        unit.tries
                    ));
                }
                seen = Some(tried);
            }
            if let Some(tried) = seen {
                unit.tries.settle_on(tried);
            }
        }
        if pending.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "it has recipients that are not its own: {pending:?}"
            ))
        }
    }
}
