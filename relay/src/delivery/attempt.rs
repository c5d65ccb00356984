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

use relay_queue::{Destination, Work};
use relay_smtp::{Address, EnhancedCode};

use super::connection::Connection;
use super::engine::Engine;
use super::outcome::{Fate, Kind};
use super::policy::Candidate;
use super::retry::Life;
use super::route::{Asked, Way};
use crate::context::now;
use crate::snapshot::Snapshot;

pub(super) use content::Content;

/// Addresses tried in one attempt.
const ADDRESSES: usize = 12;

/// An attempt that runs.
pub(super) struct Attempt<'a> {
    engine: &'a Engine,
    snapshot: &'a Snapshot,
    work: &'a Work,
    content: &'a Content,
    /// The content for servers without `8BITMIME`, or why there is none; made once it is needed.
    seven_bit: Option<Result<Content, convert::Unconvertible>>,
    /// Parallel to the recipients of the work.
    fates: Vec<Option<Fate>>,
    /// Name of the destination of the recipients that are being sent to, by the routes in force. That
    /// of the work may be of routes that no longer are, so that its recipients go different ways.
    destination: Destination,
    /// Stands ready for the next message.
    connection: Option<Connection>,
}

impl<'a> Attempt<'a> {
    /// `connection` is one that was used for this destination before.
    pub(super) fn new(
        engine: &'a Engine,
        snapshot: &'a Snapshot,
        work: &'a Work,
        content: &'a Content,
        connection: Option<Connection>,
    ) -> Self {
        Self {
            engine,
            snapshot,
            work,
            content,
            seven_bit: None,
            fates: vec![None; work.recipients.len()],
            destination: work.destination.clone(),
            connection,
        }
    }

    /// One fate per recipient, and a connection that can be used again.
    pub(super) async fn run(mut self) -> (Vec<Fate>, Option<Connection>) {
        let retry = &self.snapshot.config.delivery.retry;
        if Life::of(&self.work.envelope, retry, true).is_late(now()) {
            let text = "no server was asked any more";
            let fate = Fate::local(Kind::Failed, EnhancedCode::new(5, 4, 7), text).late();
            return (vec![fate; self.work.recipients.len()], self.connection);
        }
        for (_, asked, open) in self.groups() {
            self.group(asked, open).await;
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
        (fates, self.connection)
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
        let hops = self.hops(asked, &open).await;
        let mut tried = 0;
        for hop in hops {
            let addresses = match self.addresses(&hop).await {
                Ok(addresses) => addresses,
                Err(fate) => {
                    self.note(&open, &fate);
                    continue;
                }
            };
            let candidate = Candidate {
                domain: hop.smarthost.is_none().then(|| asked.recipient.into()),
                name: hop.host.clone(),
                port: hop.port,
                setting: hop.security,
            };
            let policy = match self.policy(&candidate).await {
                Ok(policy) => policy,
                Err(fate) => {
                    self.note(&open, &fate);
                    continue;
                }
            };
            for address in addresses {
                if tried == ADDRESSES {
                    return;
                }
                tried += 1;
                open = self.host(&hop, &candidate, &policy, address, open).await;
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
