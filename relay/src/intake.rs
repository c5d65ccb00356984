//! Makes received data a message that is durable: judged, completed, signed, queued.
//!
//! The promise stands here: the `250` is made after [`relay_queue::Queue::append`] has returned,
//! which is when the message survives a power cut, and nowhere else.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use relay_queue::{AppendError, Envelope, MessageId, NewMessage};
use relay_smtp::Address;
use relay_smtp::server::{Answer, Message};
use tracing::Instrument as _;

use crate::context::{SharedContext, now};
use crate::dkim;
use crate::policy::Denial;
use crate::snapshot::SendingDomain;

mod authors;
mod fields;
mod joined;
mod options;
mod prepare;
mod trace;

pub(crate) use trace::Origin;

use prepare::Draft;
use trace::Stamp;

/// Octets above which hashing a message would hold up the other sessions of a worker thread.
const SIGN_ASIDE: usize = 64 * 1024;

/// The queue is closed: the session that gets this should end.
pub(crate) const CLOSED: Answer = Answer::fixed(421, "4.3.2", "the relay is stopping; try again");

/// Takes a message and returns the reply to its final dot.
pub(crate) async fn accept(context: &SharedContext, origin: &Origin, message: Message) -> Answer {
    let started = Instant::now();
    let snapshot = context.snapshot.load_full();
    let now = now();
    let id = MessageId::new(now, fastrand::u128(..));
    let stamp = Stamp {
        hostname: &snapshot.config.hostname,
        instance: &context.instance,
        id,
        now,
    };
    let draft = match prepare::prepare(&message, origin, &snapshot.domains, stamp) {
        Ok(draft) => draft,
        Err(denial) => return refuse(context, origin, &message, denial),
    };
    drop(snapshot);
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
        options: options::absolute(message.options, message.recipient_options, now),
    };
    finish(context, origin, id, envelope, draft, started)
        .instrument(span)
        .await
}

/// Signs, queues and answers.
async fn finish(
    context: &SharedContext,
    origin: &Origin,
    id: MessageId,
    envelope: Envelope,
    draft: Draft,
    started: Instant,
) -> Answer {
    let mut pieces = draft.content;
    let size: usize = pieces.iter().map(Bytes::len).sum();
    match sign(context, draft.domain, &pieces, size).await {
        Ok(signatures) if signatures.is_empty() => {}
        Ok(signatures) => pieces.insert(0, signatures),
        Err(answer) => return answer,
    }
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
        Err(error) => unqueued(context, &error),
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

/// All signatures of the domain, as header fields. Large messages are hashed on a thread that may
/// block.
async fn sign(
    context: &SharedContext,
    domain: Arc<SendingDomain>,
    pieces: &[Bytes],
    size: usize,
) -> Result<Bytes, Answer> {
    if domain.signers.is_empty() {
        return Ok(Bytes::new());
    }
    let result = if size <= SIGN_ASIDE {
        dkim::sign_all(&domain.signers, pieces).map_err(|error| error.to_string())
    } else {
        let pieces = pieces.to_vec();
        let domain = domain.clone();
        tokio::task::spawn_blocking(move || dkim::sign_all(&domain.signers, &pieces))
            .await
            .map_err(|error| error.to_string())
            .and_then(|result| result.map_err(|error| error.to_string()))
    };
    let outcome = if result.is_ok() { "ok" } else { "failed" };
    for signer in &domain.signers {
        context.metrics.signature(signer.algorithm(), outcome);
    }
    // Never unsigned: a receiver that enforces DMARC would refuse it for good.
    result.map_err(|error| {
        tracing::error!(domain = domain.name, error, "a message could not be signed");
        Answer::fixed(
            451,
            "4.3.0",
            "the message could not be signed; try again later",
        )
    })
}

fn refuse(context: &SharedContext, origin: &Origin, message: &Message, denial: Denial) -> Answer {
    context.metrics.refused(denial.reason);
    tracing::info!(
        reason = denial.reason,
        reply = %denial.answer,
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

fn unqueued(context: &SharedContext, error: &AppendError) -> Answer {
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
    tracing::warn!(%error, reason, "a message was not queued");
    answer
}
