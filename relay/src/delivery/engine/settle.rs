//! The end of an attempt: what became of the recipients is written down and told.

use std::time::Duration;

use bytes::Bytes;
use relay_queue::{MessageId, NewMessage, Outcome, Timestamp, Work};

use super::{AFTER_FAULT, Engine, Guard};
use crate::context::now;
use crate::delivery::bounce;
use crate::delivery::outcome::{Fate, Kind};
use crate::delivery::record;
use crate::delivery::retry::{self, Decision};
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
        let accepted_at = work.envelope.accepted_at;
        let retry = &snapshot.config.delivery.retry;
        let decision = retry::decide(retry, work.attempts, accepted_at, now, fastrand::f64());
        let mut retry_at = match decision {
            Decision::At(at) => at,
            Decision::Expired => {
                let deferred = fates.iter_mut().filter(|fate| fate.kind == Kind::Deferred);
                deferred.for_each(|fate| *fate = fate.clone().expire());
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

    /// The report about the recipients that failed, to the sender of the message.
    fn report(
        &self,
        snapshot: &Snapshot,
        work: &Work,
        fates: &[Fate],
        content: &[Bytes],
        now: Timestamp,
    ) -> Result<Option<NewMessage>, bounce::BounceError> {
        let failed: Vec<bounce::Failed<'_>> = work
            .recipients
            .iter()
            .zip(fates)
            .filter(|(_, fate)| fate.kind == Kind::Failed)
            .filter_map(|(index, fate)| {
                let recipient = work.envelope.recipients.get(*index as usize)?;
                Some(bounce::Failed { recipient, fate })
            })
            .collect();
        if failed.is_empty() {
            return Ok(None);
        }
        let Some(sender) = &work.envelope.sender else {
            // A report about a report would go round for ever (case B24).
            self.context.metrics.bounce("null_sender");
            tracing::warn!(
                message_id = %work.id,
                destination = %work.destination,
                recipients = failed.len(),
                "a message without a return path failed; nobody is told"
            );
            return Ok(None);
        };
        let id = MessageId::new(now, fastrand::u128(..));
        let message = bounce::build(&bounce::Report {
            id,
            hostname: &snapshot.config.hostname,
            sender,
            original: work,
            failed: &failed,
            content,
            now,
        })?;
        self.context.metrics.bounce("sent");
        tracing::info!(message_id = %work.id, report = %id, recipients = failed.len(), "reported to the sender");
        Ok(Some(message))
    }
}
