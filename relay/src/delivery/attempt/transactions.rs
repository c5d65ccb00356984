//! The transactions of an attempt over one connection, and what they make of each recipient.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use relay_smtp::client::{self, RECIPIENTS, Stage, Verdict};
use relay_smtp::options::RecipientOptions;
use relay_smtp::{Address, EnhancedCode};

use super::fault::{of_connection, unreadable};
use super::{Attempt, Content, convert, options};
use crate::context::now;
use crate::delivery::connection::{Connection, ConnectionError};
use crate::delivery::outcome::{self, Fate, Kind, PassedOn};
use crate::returns::ReturnPaths;
use crate::table::Mark;

impl Attempt<'_, '_> {
    /// Sends to all open recipients over one connection, in as many transactions as it takes; gives
    /// back what another host may still deliver.
    pub(super) async fn transactions(
        &mut self,
        mut connection: Connection,
        mut open: Vec<usize>,
        reused: bool,
    ) -> Vec<usize> {
        let content = match self.load().await {
            Ok(content) => content,
            Err(error) => {
                self.note(&open, &unreadable(&error));
                self.connection = Some(connection);
                return Vec::new();
            }
        };
        let mut left = Vec::new();
        let mut first = reused;
        while !open.is_empty() && connection.is_ready() {
            self.convert(&content, &connection, &open).await;
            if let Some(fate) = self.unfit(&content, &connection, &open) {
                self.note(&open, &fate);
                // Another host may do what this one cannot.
                let others = std::mem::take(&mut open);
                left.extend(others.into_iter().filter(|_| fate.host_fault));
                break;
            }
            let offers = connection.client().capabilities();
            // A return path of its own is one transaction of its own.
            let most = match self.return_paths() {
                Some(_) => 1,
                None => offers.recipients.unwrap_or(RECIPIENTS).min(RECIPIENTS),
            };
            let passed_on = PassedOn {
                reports: offers.dsn,
                deadline: offers.deliver_by.is_some(),
            };
            let rest = open.split_off(open.len().min(most));
            let (verdicts, error) = self.send(&content, &mut connection, &open).await;
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

    /// The content, from memory or the disk.
    async fn load(&mut self) -> io::Result<Arc<Content>> {
        if let Some(loaded) = &self.loaded {
            return Ok(loaded.content.clone());
        }
        let loaded = self.engine.load(self.work).await.inspect_err(|error| {
            tracing::error!(
                message_id = %self.work.id, %error, "the content of a message cannot be read"
            );
        })?;
        let content = loaded.content.clone();
        self.loaded = Some(loaded);
        Ok(content)
    }

    async fn send(
        &self,
        content: &Content,
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
        let smtputf8 = self.needs_utf8(content, positions);
        let content = self.content_for(content, connection);
        let first = recipients.first().copied();
        let asked = recipient_options.first().copied().flatten();
        let told = if asked.is_some_and(RecipientOptions::never) {
            None
        } else {
            self.remember_sender().await
        };
        let return_path = self.return_path(connection, first, told);
        let envelope = client::Envelope {
            options: Some(&mail),
            recipient_options: &recipient_options,
            sender: return_path.as_ref(),
            recipients: &recipients,
            size: content.size,
            eight_bit: content.eight_bit,
            smtputf8,
        };
        connection.send(&envelope, &content.pieces).await
    }

    /// The return paths of the sender's domain, if it has a bounce address.
    fn return_paths(&self) -> Option<&ReturnPaths> {
        let sender = self.work.envelope.sender.as_ref()?;
        let domain = self.snapshot.domains.get(sender.domain())?;
        domain.returns.as_ref()
    }

    /// The mark by which the sender is found again when a bounce comes to a return path that the relay
    /// takes mail for. None for a sender at a bounce domain, where nobody reads.
    async fn remember_sender(&self) -> Option<Mark> {
        let sender = self.work.envelope.sender.as_ref()?;
        let paths = self
            .return_paths()
            .filter(|paths| paths.taken_here().is_some())?;
        if self.snapshot.bounce_domains.contains_key(sender.domain()) {
            return None;
        }
        let senders = &self.engine.context.senders;
        senders
            .remember(sender.domain(), sender, paths.valid_for(), now())
            .await
    }

    /// What `MAIL FROM` names.
    fn return_path(
        &self,
        connection: &Connection,
        recipient: Option<&Address>,
        told: Option<Mark>,
    ) -> Option<Address> {
        let Some(sender) = &self.work.envelope.sender else {
            return self.in_place_of_null(connection);
        };
        let made = self
            .return_paths()
            .zip(recipient)
            .and_then(|(paths, recipient)| paths.make(self.work.id, recipient, told));
        Some(made.unwrap_or_else(|| sender.clone()))
    }

    /// Case B23: some smarthosts refuse the null sender.
    fn in_place_of_null(&self, connection: &Connection) -> Option<Address> {
        let is_smarthost = connection.candidate().domain.is_none();
        let address = self.snapshot.config.delivery.reports.return_path.as_ref();
        address
            .filter(|_| is_smarthost)
            // Validated with the configuration.
            .and_then(|address| Address::parse(address).ok())
    }

    /// Makes the content that this server can take, if it can take this message at all.
    async fn convert(&mut self, content: &Content, connection: &Connection, positions: &[usize]) {
        let offers = connection.client().capabilities();
        let needed = content.eight_bit && !offers.eight_bit_mime;
        let utf8 = self.needs_utf8(content, positions) && !offers.smtputf8;
        if needed && !utf8 && self.seven_bit.is_none() {
            let (context, snapshot) = (&self.engine.context, self.snapshot);
            let converted = convert::to_seven_bit(context, snapshot, content).await;
            self.seven_bit = Some(converted);
        }
    }

    /// What this server is given.
    fn content_for<'c>(&'c self, content: &'c Content, connection: &Connection) -> &'c Content {
        match &self.seven_bit {
            Some(Ok(content)) if !connection.client().capabilities().eight_bit_mime => content,
            _ => content,
        }
    }

    /// Cases L7, L8 and L12: by what is in envelope and headers, not by what the client said.
    fn needs_utf8(&self, content: &Content, positions: &[usize]) -> bool {
        let sender = self.work.envelope.sender.as_ref();
        content.utf8_headers
            || sender.is_some_and(Address::is_utf8)
            || positions
                .iter()
                .filter_map(|position| self.recipient(*position))
                .any(Address::is_utf8)
    }

    /// What the server cannot take whatever it is told.
    fn unfit(
        &self,
        content: &Content,
        connection: &Connection,
        positions: &[usize],
    ) -> Option<Fate> {
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
        let utf8 = self.needs_utf8(content, positions);
        let content = self.content_for(content, connection);
        if let Some(limit @ 1..) = offers.size
            && content.size > limit
        {
            let text = format!(
                "the message has {} octets, and the server takes at most {limit}",
                content.size
            );
            return failed(3, 4, text);
        }
        if !offers.smtputf8 && utf8 {
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
}

fn is_stale(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Undecided => true,
        Verdict::Refused(Stage::Mail, reply) => matches!(reply.code(), 421 | 503),
        _ => false,
    }
}
