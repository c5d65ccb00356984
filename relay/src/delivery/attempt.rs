//! One attempt: one piece of work, the hosts of its route in turn, until each recipient has a fate.
//!
//! A fault of a host leads to its next address and then to the next host (case M14), at most
//! [`ADDRESSES`] in all. What a server says about a recipient or the message is final for this
//! attempt: the next host of the same domain knows no better.

mod content;
mod convert;
mod fault;
mod options;

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use relay_queue::Work;
use relay_smtp::client::{self, Credentials, RECIPIENTS, Stage, Verdict};
use relay_smtp::{Address, EnhancedCode};

use super::SMARTHOST;
use super::connection::{self, Connection, ConnectionError, Target};
use super::engine::Engine;
use super::outcome::{self, Fate, Kind, PassedOn, Remote};
use super::plan::{self, Hop, Route, Security};
use super::resolve::ResolveError;
use super::retry::Life;
use crate::context::now;
use crate::snapshot::Snapshot;

pub(super) use content::Content;
use fault::{forbidden, hopeful, of_connection, of_host_lookup, of_resolve};

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
        if Life::of(&self.work.envelope).is_late(now()) {
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
            for address in addresses {
                if tried == ADDRESSES {
                    return;
                }
                tried += 1;
                open = self.host(&hop, address, open).await;
                if open.is_empty() {
                    return;
                }
            }
        }
    }

    /// The hosts of the route, best first.
    async fn hops(&self, domain: &str) -> Result<Vec<Hop>, ResolveError> {
        let delivery = &self.snapshot.config.delivery;
        match plan::route(delivery, domain) {
            Route::Smarthosts => Ok(plan::smarthosts(delivery)),
            Route::Literal(address) => Ok(vec![plan::host(delivery, &address.to_string())]),
            Route::Exchangers(domain) => {
                let resolver = self.engine.resolvers.get(&self.snapshot.config.dns)?;
                let exchangers = resolver.exchangers(domain).await?;
                Ok(plan::exchangers(delivery, exchangers, |all| {
                    fastrand::shuffle(all);
                }))
            }
        }
    }

    /// The addresses of a host that mail may go to. A smarthost is named by the administrator, so it
    /// may be anywhere.
    async fn addresses(&self, hop: &Hop) -> Result<Vec<IpAddr>, Fate> {
        let found = match hop.host.parse() {
            Ok(address) => Ok(vec![address]),
            Err(_) => match self.engine.resolvers.get(&self.snapshot.config.dns) {
                Ok(resolver) => resolver.addresses(&hop.host).await,
                Err(error) => Err(error),
            },
        };
        let mut addresses = found.map_err(|error| {
            let fate = of_host_lookup(&error);
            if hop.smarthost.is_some() {
                hopeful(fate)
            } else {
                fate
            }
        })?;
        if hop.smarthost.is_none() {
            let permitted = &self.snapshot.config.delivery.permitted_networks;
            let count = addresses.len();
            addresses.retain(|address| !plan::is_forbidden(*address, permitted, is_own));
            if addresses.is_empty() && count > 0 {
                return Err(forbidden(&hop.host));
            }
        }
        Ok(addresses)
    }

    /// A connection that was made for other messages, unless this one must not go over it.
    async fn usable(&self, connection: Connection) -> Option<Connection> {
        if !self.requires_tls() || connection.is_verified() {
            return Some(connection);
        }
        connection.close().await;
        None
    }

    /// Connects to one address and sends; gives back what another may still deliver.
    async fn host(&mut self, hop: &Hop, address: IpAddr, open: Vec<usize>) -> Vec<usize> {
        let config = &self.snapshot.config;
        let smarthost = hop
            .smarthost
            .and_then(|index| config.delivery.smarthosts.get(index));
        let remote = Remote {
            host: hop.host.clone(),
            address: SocketAddr::new(address, hop.port),
            encryption: None,
        };
        let security = if self.requires_tls() {
            hop.security.or_verified()
        } else {
            hop.security
        };
        let target = Target {
            remote: remote.clone(),
            security,
            tls: self.tls(hop, security),
            credentials: smarthost
                .and_then(|smarthost| smarthost.authentication.as_ref())
                .map(|authentication| Credentials {
                    username: authentication.username.clone(),
                    password: authentication.password.expose().into(),
                }),
            name: config.hostname.clone(),
            timeouts: config.delivery.timeouts.clone(),
        };
        match connection::open(&target, &self.engine.context.metrics).await {
            Ok(connection) if self.is_loop(hop, address, &connection) => {
                connection.close().await;
                self.note(&open, &forbidden(&hop.host));
                open
            }
            Ok(connection) => self.transactions(connection, open, false).await,
            Err(error) => {
                tracing::debug!(
                    message_id = %self.work.id, host = %remote.host, address = %remote.address, %error,
                    "no session with this address"
                );
                let fate = of_connection(&error, &remote);
                let fate = if self.requires_tls() {
                    options::without_tls(fate, &error)
                } else {
                    fate
                };
                self.note(&open, &fate);
                open
            }
        }
    }

    fn tls(&self, hop: &Hop, security: Security) -> std::sync::Arc<rustls::ClientConfig> {
        let tls = &self.engine.tls;
        let smarthost = hop
            .smarthost
            .and_then(|index| self.snapshot.smarthost_tls.get(index));
        match (security, smarthost) {
            (Security::Verified | Security::Implicit, Some(verified)) => verified.clone(),
            (Security::Verified | Security::Implicit, None) => tls.verified.clone(),
            _ => tls.unverified.clone(),
        }
    }

    /// Whether a mail exchanger turned out to be this relay.
    fn is_loop(&self, hop: &Hop, address: IpAddr, connection: &Connection) -> bool {
        let config = &self.snapshot.config;
        let name = &connection.client().capabilities().name;
        let permitted = &config.delivery.permitted_networks;
        hop.smarthost.is_none() && plan::is_loop(name, &config.hostname, address, permitted)
    }

    /// Sends to all open recipients over one connection, in as many transactions as it takes; gives
    /// back what another host may still deliver.
    async fn transactions(
        &mut self,
        mut connection: Connection,
        mut open: Vec<usize>,
        reused: bool,
    ) -> Vec<usize> {
        let mut left = Vec::new();
        let mut first = reused;
        while !open.is_empty() && connection.is_ready() {
            self.convert(&connection, &open).await;
            if let Some(fate) = self.unfit(&connection, &open) {
                self.note(&open, &fate);
                // Another host may do what this one cannot.
                let others = std::mem::take(&mut open);
                left.extend(others.into_iter().filter(|_| fate.host_fault));
                break;
            }
            let offers = connection.client().capabilities();
            let most = offers.recipients.unwrap_or(RECIPIENTS).min(RECIPIENTS);
            let passed_on = PassedOn {
                reports: offers.dsn,
                deadline: offers.deliver_by.is_some(),
            };
            let rest = open.split_off(open.len().min(most));
            let (verdicts, error) = self.send(&mut connection, &open).await;
            // A server that closed an idle connection has judged nothing (cases B8 and B30).
            if std::mem::take(&mut first) && verdicts.iter().all(is_stale) {
                open.extend(rest);
                return open;
            }
            let progress = verdicts
                .iter()
                .any(|one| matches!(one, Verdict::Accepted(_)));
            let mut again = Vec::new();
            for (position, verdict) in open.into_iter().zip(&verdicts) {
                if progress && outcome::too_many_recipients(verdict) {
                    again.push(position);
                    continue;
                }
                let fate = match (verdict, &error) {
                    (Verdict::Undecided, Some(error)) => of_connection(error, connection.remote()),
                    _ => outcome::of_verdict(verdict, connection.remote()),
                };
                let fate = Fate { passed_on, ..fate };
                if fate.host_fault {
                    left.push(position);
                }
                self.note(&[position], &fate);
            }
            again.extend(rest);
            open = again;
        }
        if !open.is_empty() {
            let fate = outcome::of_verdict(&Verdict::Undecided, connection.remote());
            self.note(&open, &fate);
            left.extend(open);
        }
        if connection.is_ready() {
            self.connection = Some(connection);
        }
        left
    }

    async fn send(
        &self,
        connection: &mut Connection,
        positions: &[usize],
    ) -> (Vec<Verdict>, Option<ConnectionError>) {
        let recipients: Vec<&Address> = positions
            .iter()
            .filter_map(|position| self.recipient(*position))
            .collect();
        let mail = options::now(&self.work.envelope.options, now());
        let recipient_options: Vec<_> = positions
            .iter()
            .map(|position| {
                let index = self.work.recipients.get(*position)?;
                self.work.envelope.recipient_options(*index)
            })
            .collect();
        let content = self.content_for(connection);
        let envelope = client::Envelope {
            options: Some(&mail),
            recipient_options: &recipient_options,
            sender: self.work.envelope.sender.as_ref(),
            recipients: &recipients,
            size: content.size,
            eight_bit: content.eight_bit,
            smtputf8: self.needs_utf8(positions),
        };
        connection.send(&envelope, &content.pieces).await
    }

    /// Makes the content that this server can take, if it can take this message at all.
    async fn convert(&mut self, connection: &Connection, positions: &[usize]) {
        let offers = connection.client().capabilities();
        let needed = self.content.eight_bit && !offers.eight_bit_mime;
        let utf8 = self.needs_utf8(positions) && !offers.smtputf8;
        if needed && !utf8 && self.seven_bit.is_none() {
            let (context, snapshot) = (&self.engine.context, self.snapshot);
            let converted = convert::to_seven_bit(context, snapshot, self.content).await;
            self.seven_bit = Some(converted);
        }
    }

    /// What this server is given.
    fn content_for(&self, connection: &Connection) -> &Content {
        match &self.seven_bit {
            Some(Ok(content)) if !connection.client().capabilities().eight_bit_mime => content,
            _ => self.content,
        }
    }

    /// The sender would rather have the message back than see it go in clear text (RFC 8689).
    fn requires_tls(&self) -> bool {
        self.work.envelope.options.require_tls
    }

    /// Cases L7, L8 and L12: by what is in envelope and headers, not by what the client said.
    fn needs_utf8(&self, positions: &[usize]) -> bool {
        let sender = self.work.envelope.sender.as_ref();
        self.content.utf8_headers
            || sender.is_some_and(Address::is_utf8)
            || positions
                .iter()
                .filter_map(|position| self.recipient(*position))
                .any(Address::is_utf8)
    }

    /// What the server cannot take whatever it is told.
    fn unfit(&self, connection: &Connection, positions: &[usize]) -> Option<Fate> {
        let offers = connection.client().capabilities();
        if self.requires_tls()
            && let Some(fate) = options::unprotected(connection)
        {
            return Some(fate);
        }
        if let Some(fate) = options::unwatched(&self.work.envelope.options, connection) {
            return Some(fate);
        }
        let failed = |subject, detail, text: String| {
            let status = EnhancedCode::new(5, subject, detail);
            Some(Fate {
                remote: Some(connection.remote().clone()),
                ..Fate::local(Kind::Failed, status, text)
            })
        };
        let content = self.content_for(connection);
        if let Some(limit @ 1..) = offers.size
            && content.size > limit
        {
            let text = format!(
                "the message has {} octets, and the server takes at most {limit}",
                content.size
            );
            return failed(3, 4, text);
        }
        if !offers.smtputf8 && self.needs_utf8(positions) {
            let text = "the server does not take addresses or headers in UTF-8 (SMTPUTF8)";
            return failed(6, 7, text.into());
        }
        if !offers.eight_bit_mime && content.eight_bit {
            let mut text =
                String::from("the server does not take messages with octets above 127 (8BITMIME)");
            if let Some(Err(cause)) = &self.seven_bit {
                let _ = write!(text, ", and the message cannot be converted: {cause}");
            }
            return failed(6, 3, text);
        }
        None
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

fn is_stale(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Undecided => true,
        Verdict::Refused(Stage::Mail, reply) => matches!(reply.code(), 421 | 503),
        _ => false,
    }
}

/// Whether `address` is one of this machine's: only then would the kernel choose it as the source
/// for a packet to itself. No packet is sent.
fn is_own(address: IpAddr) -> bool {
    let any: SocketAddr = if address.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0; 16], 0).into()
    };
    let source = UdpSocket::bind(any).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address)
}

#[cfg(test)]
mod tests;
