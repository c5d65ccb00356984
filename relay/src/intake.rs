//! Makes received data a message that is durable: judged, completed, signed, queued.
//!
//! The promise stands here: the `250` is made after [`relay_queue::Queue::append`] has returned,
//! which is when the message survives a power cut, and nowhere else.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use relay_queue::{AppendError, Envelope, MessageId, NewMessage, Options, Timestamp};
use relay_smtp::Address;
use relay_smtp::server::{Answer, Message};
use tracing::Instrument as _;

use crate::context::{SharedContext, now};
use crate::conversion;
use crate::policy::Denial;
use crate::signing;
use crate::snapshot::SendingDomain;
use crate::suppression;

mod authors;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod joined;
mod options;
mod prepare;
mod report;
mod trace;

pub(crate) use report::{Unsent, pass_on};
pub(crate) use trace::Origin;

use trace::Stamp;

/// The queue is closed: the session that gets this should end.
pub(crate) const CLOSED: Answer = Answer::fixed(421, "4.3.2", "the relay is stopping; try again");

const UNSIGNED: Answer = Answer::fixed(
    451,
    "4.3.0",
    "the message could not be signed; try again later",
);

/// Takes a message and returns the reply to its final dot.
pub(crate) async fn accept(context: &SharedContext, origin: &Origin, message: Message) -> Answer {
    let started = Instant::now();
    let snapshot = context.snapshot.load_full();
    let now = now();
    let id = MessageId::new(now, fastrand::u128(..));
    let stamp = Stamp {
        hostname: &snapshot.config.hostname,
        instance: &context.instance,
        hide_clients: snapshot.config.privacy.hide_clients,
        id,
        now,
    };
    let draft = match prepare::prepare(&message, origin, &snapshot.domains, stamp) {
        Ok(draft) => draft,
        Err(denial) => return refuse(context, origin, &message, denial),
    };
    drop(snapshot);
    if let Some(denial) = suppressed(context, &message, &draft.domain.name, now) {
        return refuse(context, origin, &message, denial);
    }
    let conversion = match draft.need {
        Some(need) => conversion::edits(&message.content, need).await,
        None => Ok(Vec::new()),
    };
    let conversion = match conversion {
        Ok(edits) => edits,
        Err(obstacle) => {
            let denial = prepare::unconvertible(&message, &obstacle);
            return refuse(context, origin, &message, denial);
        }
    };
    let span = joined::span(id, draft.parent.as_ref());
    let trace_parent = joined::trace_parent(&span, draft.parent.as_ref());
    let envelope = Envelope {
        eight_bit: message.eight_bit || !message.content.is_ascii(),
        sender: message.sender,
        recipients: message.recipients,
        accepted_at: now,
        smtputf8: message.smtputf8,
        identity: origin.identity.clone(),
        trace_parent,
        options: Options {
            tag: draft.tag.clone(),
            // What the client said to the relay goes before what stands in the message (RFC 8689
            // section 4.1).
            tls_optional: draft.tls_optional && !message.options.require_tls,
            ..options::absolute(message.options, message.recipient_options, now)
        },
    };
    let domain = draft.domain.clone();
    let ready = Ready {
        id,
        envelope,
        pieces: draft.content(&message.content, conversion),
        domain,
    };
    finish(context, origin, ready, started)
        .instrument(span)
        .await
}

/// `RCPT` was judged by the domain of the envelope sender; with another author's domain, or the null
/// sender, it is only known now whose list counts. The client cannot be told of one recipient any
/// more, so all are refused.
fn suppressed(
    context: &SharedContext,
    message: &Message,
    author: &str,
    now: Timestamp,
) -> Option<Denial> {
    let judged = message.sender.as_ref().map(Address::domain);
    if judged == Some(author) {
        return None;
    }
    message
        .recipients
        .iter()
        .find_map(|recipient| suppression::judge(&context.suppressions, author, recipient, now))
}

/// A message that lacks nothing but its signatures.
struct Ready {
    id: MessageId,
    envelope: Envelope,
    pieces: Vec<Bytes>,
    domain: Arc<SendingDomain>,
}

/// Signs, queues and answers.
async fn finish(
    context: &SharedContext,
    origin: &Origin,
    ready: Ready,
    started: Instant,
) -> Answer {
    let Ready {
        id,
        envelope,
        mut pieces,
        domain,
    } = ready;
    match signing::sign(context, &domain, &pieces).await {
        Ok(signatures) if signatures.is_empty() => {}
        Ok(signatures) => pieces.insert(0, signatures),
        // Never unsigned: a receiver that enforces DMARC would refuse it for good.
        Err(signing::Unsigned) => return UNSIGNED,
    }
    let size: usize = pieces.iter().map(Bytes::len).sum();
    let accepted = Accepted {
        id,
        size,
        sender: envelope.sender.clone(),
        recipients: envelope.recipients.len(),
    };
    let new = NewMessage {
        id,
        envelope,
        content: pieces,
    };
    match context.queue.append(new).await {
        Ok(()) => {
            accepted.log(origin);
            let octets = u64::try_from(size).unwrap_or(u64::MAX);
            context
                .metrics
                .accepted(&origin.listener, octets, started.elapsed());
            Answer::new(250, "2.0.0", format!("Ok: queued as {id}"))
        }
        Err(error) => unqueued(context, origin, &error),
    }
}

/// What the log says of an accepted message.
struct Accepted {
    id: MessageId,
    size: usize,
    sender: Option<Address>,
    recipients: usize,
}

impl Accepted {
    fn log(&self, origin: &Origin) {
        tracing::info!(
            message_id = %self.id,
            session = %origin.session,
            listener = origin.listener,
            identity = origin.identity.as_deref().unwrap_or_default(),
            sender = self.sender.as_ref().map_or("", Address::as_str),
            recipients = self.recipients,
            size = self.size,
            tls = origin.tls.as_deref().unwrap_or_default(),
            peer = %origin.peer,
            "message accepted"
        );
    }
}

fn refuse(context: &SharedContext, origin: &Origin, message: &Message, denial: Denial) -> Answer {
    context.metrics.refused(denial.reason);
    tracing::info!(
        reason = denial.reason,
        reply = %denial.answer,
        session = %origin.session,
        listener = origin.listener,
        identity = origin.identity.as_deref().unwrap_or_default(),
        sender = message.sender.as_ref().map_or("", Address::as_str),
        recipients = message.recipients.len(),
        size = message.content.len(),
        peer = %origin.peer,
        "message refused"
    );
    denial.answer
}

fn unqueued(context: &SharedContext, origin: &Origin, error: &AppendError) -> Answer {
    let (reason, answer) = match error {
        AppendError::Full => (
            "queue_full",
            Answer::fixed(452, "4.3.1", "the queue is full; try again later"),
        ),
        AppendError::Failed(_) => (
            "queue_failed",
            Answer::fixed(
                451,
                "4.3.0",
                "the message cannot be stored now; try again later",
            ),
        ),
        AppendError::Closed => ("queue_closed", CLOSED),
    };
    context.metrics.refused(reason);
    tracing::warn!(%error, reason, session = %origin.session, "a message was not queued");
    answer
}
