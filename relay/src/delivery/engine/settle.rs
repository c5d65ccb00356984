//! The end of an attempt: what became of the recipients is written down and told.

use std::collections::HashMap;
use std::time::Duration;

use relay_queue::{MessageId, NewMessage, Outcome, Timestamp, Work};
use relay_smtp::EnhancedCode;
use relay_smtp::options::RecipientOptions;

use super::{AFTER_FAULT, Engine, Guard, Loaded};
use crate::context::now;
use crate::delivery::bounce::{self, Action};
use crate::delivery::outcome::{Fate, Kind};
use crate::delivery::record;
use crate::delivery::retry::{self, Decision, Life};
use crate::snapshot::Snapshot;
use crate::suppression::{self, Cause, Entry, Mark, Source};

/// What is said of a late recipient whose last attempt was another one.
const UNKNOWN: EnhancedCode = EnhancedCode::new(4, 0, 0);
/// No answer from the host (RFC 3463 section 3.5).
const NO_ANSWER: EnhancedCode = EnhancedCode::new(4, 4, 1);
/// Delivery takes longer than its sender allowed for (RFC 2852 section 4.1).
const DELAYED: EnhancedCode = EnhancedCode::new(4, 4, 7);

impl Engine {
    /// Writes down what became of the recipients, and tells.
    pub(super) async fn settle(
        &self,
        snapshot: &Snapshot,
        mut guard: Guard<'_>,
        mut fates: Vec<Fate>,
        loaded: Option<Loaded<'_>>,
        took: Duration,
    ) {
        let Some(work) = guard.work.as_mut() else {
            return;
        };
        let now = now();
        let retry = &snapshot.config.delivery.retry;
        let life = Life::of(&work.envelope, retry, work.delay_told);
        let decision = retry::decide(retry, work.attempts, life, now, fastrand::f64());
        let mut retry_at = match decision {
            Decision::At(at) => at,
            // The network is at fault, and nobody's patience with a receiver is at stake.
            Decision::Expired if self.is_held_back(&fates) && now < life.held_until(retry) => {
                now.after(retry.maximum.get()).min(life.held_until(retry))
            }
            Decision::Expired => {
                give_up(&mut fates, Fate::expire);
                now
            }
            Decision::Late => {
                give_up(&mut fates, Fate::late);
                now
            }
        };
        let delayed = self.claim_delay(work, &fates, life, now);
        let work = &*work;
        let told = Told {
            work,
            fates: &fates,
            delayed: &delayed,
            retried_until: life.expires(retry),
        };
        let report = match self.report(snapshot, &told, loaded, now).await {
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
        self.suppress(snapshot, work, &fates, now);
        record::attempt(&self.context.metrics, work, &fates, took, now);
        let Some(work) = guard.work.take() else {
            return;
        };
        let outcomes: Vec<Outcome> = fates.iter().map(|fate| fate.kind.outcome()).collect();
        // Written at once; whether the disk took it shows in the queue's own state.
        drop(self.context.queue.settle(work, &outcomes, retry_at, report));
    }

    /// Puts the recipients that do not exist on the list of the sender's domain. Nothing waits for
    /// it: what is lost in a crash comes with the next message to the same mailbox.
    fn suppress(&self, snapshot: &Snapshot, work: &Work, fates: &[Fate], now: Timestamp) {
        let Some(sender) = &work.envelope.sender else {
            return;
        };
        let Some(domain) = snapshot.domains.get(sender.domain()) else {
            return;
        };
        let lasts = domain.suppression.hard_bounces.get();
        let alone = work.recipients.len() == 1;
        let bounced = work.recipients.iter().zip(fates);
        for (index, fate) in bounced.filter(|(_, fate)| fate.is_hard_bounce(alone)) {
            let Some(recipient) = work.envelope.recipients.get(*index as usize) else {
                continue;
            };
            if lasts.is_zero() {
                continue;
            }
            let entry = Entry {
                domain: domain.name.clone(),
                address: Some(recipient.clone()),
                mark: Mark::of(recipient),
                cause: Cause::HardBounce,
                source: Source::Reply,
                detail: fate.diagnostic(),
                message: Some(work.id.to_string()),
                since: now,
                expires: Some(now.after(lasts)),
            };
            let context = self.context.clone();
            tokio::spawn(async move { suppression::note(&context, entry, now).await });
        }
    }

    /// The open recipients of a late message whose sender is to be told so by this settle, with what
    /// is known of each.
    fn claim_delay(
        &self,
        work: &mut Work,
        fates: &[Fate],
        life: Life,
        now: Timestamp,
    ) -> Vec<(u32, Fate)> {
        let is_open = fates.iter().any(|fate| fate.kind == Kind::Deferred);
        if !is_open || !life.is_delayed(now) {
            return Vec::new();
        }
        let Some(open) = self.context.queue.claim_delay(work) else {
            return Vec::new();
        };
        let known: HashMap<u32, &Fate> = work.recipients.iter().copied().zip(fates).collect();
        let over = work
            .envelope
            .options
            .deadline
            .is_some_and(|by| now >= by.at);
        open.into_iter()
            .filter_map(|index| {
                let mut fate = match known.get(&index) {
                    Some(fate) if fate.kind != Kind::Deferred => return None,
                    Some(fate) => (*fate).clone(),
                    None => Fate::local(Kind::Deferred, UNKNOWN, "it waits for its next attempt"),
                };
                if over {
                    fate.status = DELAYED;
                }
                Some((index, fate))
            })
            .collect()
    }

    /// Whether nothing but a blocked port keeps mail from being delivered.
    fn is_held_back(&self, fates: &[Fate]) -> bool {
        let deferred = fates.iter().filter(|fate| fate.kind == Kind::Deferred);
        let mut deferred = deferred.map(|fate| fate.status == NO_ANSWER);
        self.context.egress.blocked_since().is_some() && deferred.all(|silent| silent)
    }

    /// The report about the recipients that failed, those that are late, and those that its sender
    /// wanted to hear of, to the sender of the message.
    async fn report(
        &self,
        snapshot: &Snapshot,
        told: &Told<'_>,
        loaded: Option<Loaded<'_>>,
        now: Timestamp,
    ) -> Result<Option<NewMessage>, bounce::BounceError> {
        let work = told.work;
        let failed = told.fates.iter().filter(|fate| fate.kind == Kind::Failed);
        let failures = failed.count();
        let entries = told.entries();
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
        // A message that could not be read is reported without its text.
        let loaded = match loaded {
            None => self.load(work).await.ok(),
            loaded => loaded,
        };
        let content = loaded.as_ref().map(|loaded| &loaded.content.pieces[..]);
        let id = MessageId::new(now, fastrand::u128(..));
        let report = bounce::Report {
            id,
            hostname: &snapshot.config.hostname,
            sender,
            original: work,
            entries: &entries,
            content: content.unwrap_or_default(),
            retried_until: told.retried_until,
            now,
        };
        let message = bounce::build(&report)?;
        let result = match report.gravest() {
            Action::Failed => "sent",
            Action::Delayed => "delayed",
            Action::Relayed => "relayed",
        };
        self.context.metrics.bounce(result);
        tracing::info!(
            message_id = %work.id, report = %id, result, recipients = entries.len(),
            "reported to the sender"
        );
        Ok(Some(message))
    }
}

/// What a report may be about.
struct Told<'a> {
    work: &'a Work,
    fates: &'a [Fate],
    /// By the number of the recipient.
    delayed: &'a [(u32, Fate)],
    retried_until: Timestamp,
}

impl Told<'_> {
    /// The recipients whose sender is told of their fate, by what `NOTIFY` asked for (RFC 3461
    /// sections 4.1 and 5.2.2) and `BY` (RFC 2852).
    fn entries(&self) -> Vec<bounce::Entry<'_>> {
        let deadline = self.work.envelope.options.deadline;
        let told = |options: &RecipientOptions, fate: &Fate| match fate.kind {
            Kind::Failed => options.reports_failure(),
            Kind::Delivered if options.never() => false,
            Kind::Delivered => {
                !fate.passed_on.reports && options.reports_success()
                    || deadline.is_some_and(|deadline| deadline.trace || !fate.passed_on.deadline)
            }
            Kind::Deferred => options.reports_delay(),
        };
        let nothing_asked = RecipientOptions::default();
        let envelope = &self.work.envelope;
        let ended = self.work.recipients.iter().copied().zip(self.fates);
        let ended = ended.filter(|(_, fate)| fate.kind != Kind::Deferred);
        let delayed = self.delayed.iter().map(|(index, fate)| (*index, fate));
        ended
            .chain(delayed)
            .filter_map(|(index, fate)| {
                let options = envelope.recipient_options(index);
                let recipient = envelope.recipients.get(index as usize)?;
                told(options.unwrap_or(&nothing_asked), fate).then(|| bounce::Entry {
                    recipient,
                    original: options.and_then(|options| options.original.as_ref()),
                    fate,
                })
            })
            .collect()
    }
}

fn give_up(fates: &mut [Fate], how: impl Fn(Fate) -> Fate) {
    for fate in fates.iter_mut().filter(|fate| fate.kind == Kind::Deferred) {
        *fate = how(fate.clone());
    }
}
