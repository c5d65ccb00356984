//! One attempt: one piece of work, the hosts of its route in turn, until each recipient has a fate.
//!
//! A fault of a host leads to its next address and then to the next host (case M14), at most
//! [`ADDRESSES`] in all. What a server says about a recipient or the message is final for this
//! attempt: the next host of the same domain knows no better.

mod content;
mod convert;
mod fault;
mod hosts;
mod options;
mod protection;
mod session;
mod transactions;

use relay_queue::Work;
use relay_smtp::{Address, EnhancedCode};

use super::SMARTHOST;
use super::connection::Connection;
use super::engine::Engine;
use super::outcome::{Fate, Kind};
use super::policy::Candidate;
use super::retry::Life;
use crate::context::now;
use crate::snapshot::Snapshot;

pub(super) use content::Content;
use fault::of_resolve;

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
    /// All recipients go the same way. Otherwise they were put together for smarthosts that the
    /// configuration no longer has, and a connection for some is none for the others.
    together: bool,
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
        let together =
            !snapshot.config.delivery.smarthosts.is_empty() || &*work.destination != SMARTHOST;
        Self {
            engine,
            snapshot,
            work,
            content,
            seven_bit: None,
            fates: vec![None; work.recipients.len()],
            together,
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
        for (domain, open) in self.groups() {
            self.drop_unless_shared().await;
            self.group(&domain, open).await;
        }
        self.drop_unless_shared().await;
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

    async fn drop_unless_shared(&mut self) {
        if !self.together
            && let Some(connection) = self.connection.take()
        {
            connection.close().await;
        }
    }

    /// Positions of recipients that go the same way.
    fn groups(&self) -> Vec<(String, Vec<usize>)> {
        let all = 0..self.work.recipients.len();
        let together = self.together;
        let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
        for position in all {
            let Some(recipient) = self.recipient(position) else {
                continue;
            };
            let domain = recipient.domain();
            match groups
                .iter_mut()
                .find(|(name, _)| together || name == domain)
            {
                Some((_, positions)) => positions.push(position),
                None => groups.push((domain.into(), vec![position])),
            }
        }
        groups
    }

    fn recipient(&self, position: usize) -> Option<&'a Address> {
        let index = *self.work.recipients.get(position)?;
        self.work.envelope.recipients.get(index as usize)
    }

    async fn group(&mut self, domain: &str, mut open: Vec<usize>) {
        if let Some(connection) = self.connection.take()
            && let Some(connection) = self.usable(connection).await
        {
            self.engine.context.metrics.outgoing("reused");
            open = self.transactions(connection, open, true).await;
        }
        if open.is_empty() {
            return;
        }
        let hops = match self.hops(domain).await {
            Ok(hops) => hops,
            Err(error) => return self.note(&open, &of_resolve(&error)),
        };
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
                domain: hop.smarthost.is_none().then(|| domain.into()),
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
