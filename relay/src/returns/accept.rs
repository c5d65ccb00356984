//! Takes reports for bounce domains, and nothing else.

use std::sync::Arc;

use relay_queue::Timestamp;
use relay_smtp::Address;
use relay_smtp::server::{Answer, Message};

use super::path::{Known, PathFault};
use super::report::{self, Complaint, Report, Status};
use crate::context::{SharedContext, now};
use crate::delivery::Category;
use crate::intake::{self, Origin, Unsent};
use crate::policy::Denial;
use crate::snapshot::{SendingDomain, Snapshot};
use crate::suppression::{self, Cause, Entry, Mark, Source};

/// Local part of a bounce domain that takes complaints (RFC 5965) about any message of its sending
/// domain: feedback loops have one fixed address.
const COMPLAINTS: &str = "complaints";

const NOT_A_REPORT: Answer = Answer::fixed(
    550,
    "5.6.0",
    "only delivery reports (RFC 3464) and complaints (RFC 5965) are taken here; nobody reads this address",
);
const UNKNOWN_MESSAGE: Answer = Answer::fixed(
    550,
    "5.1.1",
    "the complaint names no message that was sent from here",
);
const NOT_STORED: Answer = Answer::fixed(
    451,
    "4.3.0",
    "the report cannot be stored now; try again later",
);

/// Why a recipient is refused on a listener for reports; `None` when it is a return path of ours.
pub(crate) fn judge(snapshot: &Snapshot, recipient: &Address, now: Timestamp) -> Option<Denial> {
    let denial = |reason, text: &str| {
        Some(Denial {
            reason,
            answer: Answer::new(550, "5.1.1", format!("<{recipient}>: {text}")),
        })
    };
    let Some(domain) = snapshot.bounce_domains.get(recipient.domain()) else {
        return denial(
            "not_a_bounce_domain",
            "this port takes reports for bounce domains alone, and relays nothing",
        );
    };
    match target(domain, recipient, now) {
        Ok(_) => None,
        Err(PathFault::Malformed) => denial("not_a_return_path", "there is no such mailbox"),
        Err(PathFault::Forged) => denial(
            "return_path_forged",
            "this return path was not made here, or by a key that is gone",
        ),
        Err(PathFault::Expired) => denial(
            "return_path_expired",
            "the time of this return path is over",
        ),
    }
}

/// What a recipient of a report stands for: a message, or complaints about any.
fn target(
    domain: &SendingDomain,
    recipient: &Address,
    now: Timestamp,
) -> Result<Option<Known>, PathFault> {
    let local_part = recipient.local_part();
    if local_part.eq_ignore_ascii_case(COMPLAINTS) {
        return Ok(None);
    }
    let paths = domain.returns.as_ref().ok_or(PathFault::Malformed)?;
    paths.check(local_part, now).map(Some)
}

/// Reads a report and does what it says; the reply to its end.
pub(crate) async fn accept(context: &SharedContext, origin: &Origin, message: Message) -> Answer {
    let content = message.content.clone();
    let read = tokio::task::spawn_blocking(move || report::read(&content)).await;
    let answer = match read.ok().flatten() {
        None => {
            context.metrics.report("unknown", "refused");
            NOT_A_REPORT
        }
        Some(report) => apply(context, origin, &message, &report).await,
    };
    tracing::info!(
        session = %origin.session,
        listener = origin.listener,
        peer = %origin.peer,
        sender = message.sender.as_ref().map_or("", Address::as_str),
        recipients = message.recipients.len(),
        size = message.content.len(),
        reply = %answer,
        "report received"
    );
    answer
}

async fn apply(
    context: &SharedContext,
    origin: &Origin,
    message: &Message,
    report: &Report,
) -> Answer {
    let snapshot = context.snapshot.load_full();
    let now = now();
    let mut known = false;
    let mut senders = Vec::new();
    for recipient in &message.recipients {
        // The configuration may have changed since `RCPT`.
        let Some(domain) = snapshot.bounce_domains.get(recipient.domain()) else {
            continue;
        };
        let Ok(target) = target(domain, recipient, now) else {
            continue;
        };
        let (entry, which) = match (report, target) {
            (Report::Delivery(statuses), Some(target)) => {
                known = true;
                senders.extend(whom(context, &snapshot, domain, &target, now));
                (bounced(domain, target, statuses, now), "delivery")
            }
            // Delivery is reported to return paths alone.
            (Report::Delivery(_), None) => continue,
            (Report::Complaint(complaint), target) => {
                let Some(target) = target.or_else(|| complained_of(domain, complaint, now)) else {
                    continue;
                };
                known = true;
                (complained(domain, target, complaint, now), "complaint")
            }
        };
        match entry {
            None => context.metrics.report(which, "noted"),
            Some(entry) => {
                if !suppression::note(context, entry, now).await {
                    return NOT_STORED;
                }
                context.metrics.report(which, "suppressed");
            }
        }
    }
    if let Err(answer) = tell(context, origin, message, senders).await {
        return answer;
    }
    match report {
        _ if known => Answer::fixed(250, "2.0.0", "the report was taken"),
        Report::Complaint(_) => {
            context.metrics.report("complaint", "unmatched");
            UNKNOWN_MESSAGE
        }
        Report::Delivery(_) => NOT_A_REPORT,
    }
}

/// The sender of the message, unless it is at a bounce domain: that was made one after the message was
/// sent, and nobody reads there.
fn whom(
    context: &SharedContext,
    snapshot: &Snapshot,
    domain: &SendingDomain,
    target: &Known,
    now: Timestamp,
) -> Option<Address> {
    let sender = context.senders.whom(&domain.name, target, now);
    if sender.is_none() {
        context.metrics.bounce("not_passed_on");
    }
    sender.filter(|sender| !snapshot.bounce_domains.contains_key(sender.domain()))
}

/// Passes a report of delivery on to the senders of what it is about; the reply when that has to be
/// tried again.
async fn tell(
    context: &SharedContext,
    origin: &Origin,
    message: &Message,
    mut senders: Vec<Address>,
) -> Result<(), Answer> {
    senders.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    senders.dedup();
    if senders.is_empty() {
        return Ok(());
    }
    match intake::pass_on(context, origin, message, senders).await {
        Ok(id) => {
            context.metrics.bounce("passed_on");
            tracing::info!(session = %origin.session, message_id = %id, "report passed on to the sender");
            Ok(())
        }
        Err(Unsent::Unfit(reason)) => {
            context.metrics.bounce("not_passed_on");
            tracing::warn!(session = %origin.session, reason, "a report is not passed on to the sender");
            Ok(())
        }
        Err(Unsent::Later(answer)) => Err(answer),
    }
}

/// The entry that a report of delivery leads to: for a hard bounce of any of its recipients, since the
/// return path was made for one alone, who may have forwarded the message.
fn bounced(
    domain: &Arc<SendingDomain>,
    target: Known,
    statuses: &[Status],
    now: Timestamp,
) -> Option<Entry> {
    let status = statuses
        .iter()
        .find(|status| status.failed == Some(Category::Bounced))?;
    let lasts = domain.suppression.hard_bounces.get();
    (!lasts.is_zero()).then(|| Entry {
        domain: domain.name.clone(),
        address: named(&status.addresses, target),
        mark: target.mark,
        cause: Cause::HardBounce,
        source: Source::Report,
        detail: status.detail.clone(),
        message: Some(target.id.to_string()),
        since: now,
        expires: Some(now.after(lasts)),
    })
}

fn complained(
    domain: &Arc<SendingDomain>,
    target: Known,
    complaint: &Complaint,
    now: Timestamp,
) -> Option<Entry> {
    let lasts = domain.suppression.complaints.get();
    (complaint.unwanted && !lasts.is_zero()).then(|| Entry {
        domain: domain.name.clone(),
        address: named(&complaint.addresses, target),
        mark: target.mark,
        cause: Cause::Complaint,
        source: Source::Report,
        detail: complaint.detail.clone(),
        message: Some(target.id.to_string()),
        since: now,
        expires: Some(now.after(lasts)),
    })
}

/// The message of this domain that a complaint is about.
fn complained_of(domain: &SendingDomain, complaint: &Complaint, now: Timestamp) -> Option<Known> {
    let paths = domain.returns.as_ref()?;
    complaint
        .paths
        .iter()
        .filter(|path| paths.taken_here() == Some(path.domain()))
        .find_map(|path| paths.check(path.local_part(), now).ok())
}

/// The address that the return path was made for, if the report names it.
fn named(addresses: &[Address], target: Known) -> Option<Address> {
    let mut addresses = addresses.iter();
    addresses
        .find(|address| Mark::of(address) == target.mark)
        .cloned()
}
