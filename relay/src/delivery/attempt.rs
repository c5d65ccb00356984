//! One attempt: one piece of work, the hosts of its route in turn, until each recipient has a fate.
//!
//! A fault of a host leads to its next address and then to the next host (case M14), at most
//! [`ADDRESSES`] in all. What a server says about a recipient or the message is final for this
//! attempt: the next host of the same domain knows no better.

mod content;
mod convert;
mod fault;
mod hosts;
mod login;
mod options;
mod protection;
mod session;
mod transactions;

use std::time::Duration;

use relay_queue::{Destination, Work};
use relay_smtp::{Address, EnhancedCode};
use tokio::time::Instant;

use super::connection::Connection;
use super::engine::{Engine, Loaded, limits};
use super::outcome::{Fate, Kind};
use super::policy::Candidate;
use super::retry::Life;
use super::route::{Asked, Way};
use super::slots::Slot;
use crate::context::now;
use crate::snapshot::Snapshot;

pub(super) use content::Content;

/// How long messages for a destination are deferred untried after it could not be reached; half of the
/// first wait between attempts if that is less.
const LONGEST_HOLD: Duration = Duration::from_secs(30);

/// Addresses tried in one attempt, and names of hosts that were asked for in vain.
const ADDRESSES: usize = 12;

/// An attempt that runs.
pub(super) struct Attempt<'e, 'a> {
    engine: &'e Engine,
    snapshot: &'a Snapshot,
    work: &'a Work,
    slot: &'a Slot,
    /// Read when a server is there to take it.
    loaded: Option<Loaded<'e>>,
    /// The content for servers without `8BITMIME`, or why there is none; made once it is needed.
    seven_bit: Option<Result<Content, convert::Unconvertible>>,
    /// Parallel to the recipients of the work.
    fates: Vec<Option<Fate>>,
    /// Name of the destination of the recipients that are being sent to, by the routes in force. That
    /// of the work may be of routes that no longer are, so that its recipients go different ways.
    destination: Destination,
    /// Whether one of its servers could be reached.
    reach: Reach,
    /// Stands ready for the next message.
    connection: Option<Connection>,
}

/// Whether a server could be reached.
enum Reach {
    /// None was asked.
    Unknown,
    /// None could, for this reason.
    None(Fate),
    /// One answered, whatever it said.
    Some,
}

/// What an attempt leaves.
pub(super) struct Ended<'a> {
    /// One for each recipient.
    pub(super) fates: Vec<Fate>,
    /// The content, if it was needed.
    pub(super) loaded: Option<Loaded<'a>>,
    /// It can be used again.
    pub(super) connection: Option<Connection>,
}

impl<'e, 'a> Attempt<'e, 'a> {
    /// `connection` is one that was used for this destination before.
    pub(super) fn new(
        engine: &'e Engine,
        snapshot: &'a Snapshot,
        work: &'a Work,
        slot: &'a Slot,
        connection: Option<Connection>,
    ) -> Self {
        Self {
            engine,
            snapshot,
            work,
            slot,
            loaded: None,
            seven_bit: None,
            fates: vec![None; work.recipients.len()],
            destination: work.destination.clone(),
            reach: Reach::Unknown,
            connection,
        }
    }

    /// Tries the hosts.
    pub(super) async fn run(mut self) -> Ended<'e> {
        let retry = &self.snapshot.config.delivery.retry;
        if Life::of(&self.work.envelope, retry, true).is_late(now()) {
            let text = "no server was asked any more";
            let fate = Fate::local(Kind::Failed, EnhancedCode::new(5, 4, 7), text).late();
            return Ended {
                fates: vec![fate; self.work.recipients.len()],
                loaded: None,
                connection: self.connection,
            };
        }
        for (_, asked, open) in self.groups() {
            self.group(asked, open).await;
            self.tell_of_destination();
        }
        let fates = self
            .fates
            .into_iter()
            .map(|fate| {
                fate.unwrap_or_else(|| {
                    let status = EnhancedCode::new(4, 4, 4);
                    Fate::local(Kind::Deferred, status, "no host could be tried")
                })
            })
            .collect();
        Ended {
            fates,
            loaded: self.loaded,
            connection: self.connection,
        }
    }

    /// Whether what is learnt is about the destination of the task.
    fn is_of_slot(&self) -> bool {
        self.destination == self.work.destination
    }

    /// What the other messages for the destination should know.
    fn tell_of_destination(&mut self) {
        if let Reach::None(fate) = std::mem::replace(&mut self.reach, Reach::Unknown)
            && self.is_of_slot()
        {
            let delivery = &self.snapshot.config.delivery;
            let hold = (delivery.retry.initial.get() / 2).min(LONGEST_HOLD);
            let said = fate.text.clone();
            let fate = Fate {
                text: format!("{said}; that was moments ago, and it was not asked again").into(),
                ..fate
            };
            self.slot.hold(fate, Instant::now() + hold);
        }
    }

    /// No server was reached, for this reason.
    fn unreachable(&mut self, fate: &Fate) {
        if !matches!(self.reach, Reach::Some) {
            self.reach = Reach::None(fate.clone());
        }
    }

    /// A server answered.
    fn reached(&mut self) {
        self.reach = Reach::Some;
        if self.is_of_slot() {
            self.slot.lives();
        }
    }

    /// Positions of recipients that go the same way.
    fn groups(&self) -> Vec<(Way<'a>, Asked<'a>, Vec<usize>)> {
        let mut groups: Vec<(Way<'a>, Asked<'a>, Vec<usize>)> = Vec::new();
        for position in 0..self.work.recipients.len() {
            let Some(recipient) = self.recipient(position) else {
                continue;
            };
            let asked = Asked::of(&self.work.envelope, recipient);
            let way = self.snapshot.routes.way(asked);
            match groups.iter_mut().find(|(other, ..)| *other == way) {
                Some((.., positions)) => positions.push(position),
                None => groups.push((way, asked, vec![position])),
            }
        }
        groups
    }

    fn recipient(&self, position: usize) -> Option<&'a Address> {
        let index = *self.work.recipients.get(position)?;
        self.work.envelope.recipients.get(index as usize)
    }

    async fn group(&mut self, asked: Asked<'a>, mut open: Vec<usize>) {
        self.destination = self.snapshot.routes.destination(asked);
        if let Some(connection) = self.connection.take()
            && let Some(connection) = self.usable(connection).await
        {
            self.engine.context.metrics.outgoing("reused");
            open = self.transactions(connection, open, true).await;
        }
        if open.is_empty() {
            return;
        }
        if self.is_of_slot()
            && let Some(fate) = self.slot.held(Instant::now())
        {
            return self.note(&open, &fate);
        }
        let (slot, limits) = (self.slot, limits(self.snapshot));
        let hops = slot.patiently(limits, self.hops(asked, &open)).await;
        let mut tried = 0;
        for hop in hops {
            if tried >= ADDRESSES {
                return;
            }
            let found = slot.patiently(limits, self.addresses(&hop)).await;
            let addresses = match found {
                Ok(addresses) => addresses,
                Err(fate) => {
                    self.note(&open, &fate);
                    // A name that does not answer takes as long as a host that does not.
                    tried += usize::from(fate.kind == Kind::Deferred);
                    continue;
                }
            };
            let candidate = Candidate {
                domain: hop.smarthost.is_none().then(|| asked.recipient.into()),
                name: hop.host.clone(),
                port: hop.port,
                setting: hop.security,
            };
            let protection = slot.patiently(limits, self.protection(&candidate)).await;
            let protection = match protection {
                Ok(protection) => protection,
                Err(fate) => {
                    self.note(&open, &fate);
                    tried += usize::from(fate.kind == Kind::Deferred);
                    continue;
                }
            };
            for address in addresses {
                if tried >= ADDRESSES {
                    return;
                }
                tried += 1;
                open = self
                    .host(&hop, &candidate, &protection, address, open)
                    .await;
                if open.is_empty() {
                    return;
                }
            }
        }
    }

    /// The sender would rather have the message back than see it go in clear text (RFC 8689).
    fn requires_tls(&self) -> bool {
        self.work.envelope.options.require_tls
    }

    fn note(&mut self, positions: &[usize], fate: &Fate) {
        for position in positions {
            if let Some(slot) = self.fates.get_mut(*position) {
                *slot = Some(match slot.take() {
                    Some(older) => older.or(fate.clone()),
                    None => fate.clone(),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
