//! The end of an attempt: what became of the recipients is written down and told.

use std::time::Duration;

use bytes::Bytes;
use relay_queue::{MessageId, NewMessage, Outcome, Timestamp, Work};
use relay_smtp::options::RecipientOptions;

use super::{AFTER_FAULT, Engine, Guard};
use crate::context::now;
use crate::delivery::bounce;
use crate::delivery::outcome::{Fate, Kind};
use crate::delivery::record;
use crate::delivery::retry::{self, Decision, Life};
use crate::snapshot::Snapshot;

impl Engine {
    /// Writes down what became of the recipients, and tells.
    pub(super) fn settle(
        &self,
        snapshot: &Snapshot,
        mut guard: Guard<'_>,
        mut fates: Vec<Fate>,
        content: &[Bytes],
        took: Duration,
    ) {
        let Some(work) = guard.work.take() else {
            return;
        };
        let now = now();
        let life = Life::of(&work.envelope);
        let retry = &snapshot.config.delivery.retry;
        let decision = retry::decide(retry, work.attempts, life, now, fastrand::f64());
        let mut retry_at = match decision {
            Decision::At(at) => at,
            Decision::Expired => {
                give_up(&mut fates, Fate::expire);
                now
            }
            Decision::Late => {
                give_up(&mut fates, Fate::late);
                now
            }
        };
        let report = match self.report(snapshot, &work, &fates, content, now) {
            Ok(report) => report,
            Err(error) => {
                // A failure without its report would be a loss: keep the recipients instead.
                tracing::error!(message_id = %work.id, %error, "a report cannot be built");
                for fate in fates.iter_mut().filter(|fate| fate.kind == Kind::Failed) {
                    fate.kind = Kind::Deferred;
                }
                retry_at = Timestamp(now.0.saturating_add(AFTER_FAULT));
                None
            }
        };
        record::attempt(&self.context.metrics, &work, &fates, took, now);
        let outcomes: Vec<Outcome> = fates.iter().map(|fate| fate.kind.outcome()).collect();
        // Written at once; whether the disk took it shows in the queue's own state.
        drop(self.context.queue.settle(work, &outcomes, retry_at, report));
    }

    /// The report about the recipients that failed, and those that its sender wanted to hear of, to
    /// the sender of the message.
    fn report(
        &self,
        snapshot: &Snapshot,
        work: &Work,
        fates: &[Fate],
        content: &[Bytes],
        now: Timestamp,
    ) -> Result<Option<NewMessage>, bounce::BounceError> {
        let failures = fates
            .iter()
            .filter(|fate| fate.kind == Kind::Failed)
            .count();
        let entries = reported(work, fates);
        let Some(sender) = &work.envelope.sender else {
            // A report about a report would go round for ever (case B24).
            if failures > 0 {
                self.context.metrics.bounce("null_sender");
                tracing::warn!(
                    message_id = %work.id,
                    destination = %work.destination,
                    recipients = failures,
                    "a message without a return path failed; nobody is told"
                );
            }
            return Ok(None);
        };
        if entries.is_empty() {
            if failures > 0 {
                self.context.metrics.bounce("not_wanted");
                tracing::info!(
                    message_id = %work.id,
                    recipients = failures,
                    "a message failed whose sender does not want to be told"
                );
            }
            return Ok(None);
        }
        let id = MessageId::new(now, fastrand::u128(..));
        let message = bounce::build(&bounce::Report {
            id,
            hostname: &snapshot.config.hostname,
            sender,
            original: work,
            entries: &entries,
            content,
            now,
        })?;
        let is_failure = entries.iter().any(bounce::Entry::is_failure);
        let result = if is_failure { "sent" } else { "relayed" };
        self.context.metrics.bounce(result);
        tracing::info!(message_id = %work.id, report = %id, recipients = entries.len(), "reported to the sender");
        Ok(Some(message))
    }
}

fn give_up(fates: &mut [Fate], how: impl Fn(Fate) -> Fate) {
    for fate in fates.iter_mut().filter(|fate| fate.kind == Kind::Deferred) {
        *fate = how(fate.clone());
    }
}

/// The recipients whose sender is told of their fate, by what `NOTIFY` asked for (RFC 3461 sections
/// 4.1 and 5.2.2) and `BY` (RFC 2852).
fn reported<'a>(work: &'a Work, fates: &'a [Fate]) -> Vec<bounce::Entry<'a>> {
    let deadline = work.envelope.options.deadline;
    let nothing_asked = RecipientOptions::default();
    let told = |options: &RecipientOptions, fate: &Fate| match fate.kind {
        Kind::Failed => options.reports_failure(),
        Kind::Delivered if options.never() => false,
        Kind::Delivered => {
            !fate.passed_on.reports && options.reports_success()
                || deadline.is_some_and(|deadline| deadline.trace || !fate.passed_on.deadline)
        }
        Kind::Deferred => false,
    };
    work.recipients
        .iter()
        .zip(fates)
        .filter_map(|(index, fate)| {
            let options = work.envelope.recipient_options(*index);
            let recipient = work.envelope.recipients.get(*index as usize)?;
            told(options.unwrap_or(&nothing_asked), fate).then(|| bounce::Entry {
                recipient,
                original: options.and_then(|options| options.original.as_ref()),
                fate,
            })
        })
        .collect()
}
