//! Recipients that a sending domain must not write to any more: mailboxes that do not exist, and
//! people who complained. One list per sending domain, durable beside the queue, in a [`Table`].
//!
//! An entry is found by the recipient's [`Mark`], a hash of the address: complaints come back without
//! the address as often as not, but with the return path that the relay made, which holds the mark.
//!
//! Limits: [`MOST_ENTRIES`] entries in all, [`LONGEST_DETAIL`] characters of words each.

mod entry;

pub(crate) use crate::table::Mark;
pub(crate) use entry::{Cause, Entry, Source};

use relay_queue::Timestamp;
use relay_smtp::Address;
use relay_smtp::server::Answer;

use crate::context::SharedContext;
use crate::policy::Denial;
use crate::table::Table;

/// All lists of a relay.
pub(crate) type Suppressions = Table<Entry>;

/// Entries of all domains together.
const MOST_ENTRIES: usize = 500_000;
/// Characters of what a server said.
const LONGEST_DETAIL: usize = 400;

/// Why a message of `domain` is not taken for `recipient`; `None` when it is.
pub(crate) fn judge(
    list: &Suppressions,
    domain: &str,
    recipient: &Address,
    now: Timestamp,
) -> Option<Denial> {
    let entry = list.find(domain, Mark::of(recipient), now)?;
    let (code, what) = match entry.cause {
        Cause::HardBounce => ("5.1.1", "there is no such mailbox"),
        Cause::Complaint => ("5.1.0", "its owner complained"),
        Cause::Manual => ("5.1.0", "an administrator put it there"),
    };
    let until = entry.expires.map_or_else(String::new, |at| {
        format!(" until {}", relay_smtp::options::date_time(at.0 / 1000))
    });
    Some(Denial {
        reason: "suppressed",
        answer: Answer::new(
            550,
            code,
            format!(
                "<{recipient}> is on the suppression list of {domain}{until}: {what}; take it off your \
                 list, or off this one if that is wrong (relay suppressions remove)"
            ),
        ),
    })
}

/// Adds an entry that a bounce or complaint led to, unless there is one that lasts as long, and says so.
/// Whether the recipient is in the list.
pub(crate) async fn note(context: &SharedContext, entry: Entry, now: Timestamp) -> bool {
    let cause = entry.cause.name();
    let known = context.suppressions.find(&entry.domain, entry.mark, now);
    if known.is_some_and(|known| known.outlasts(&entry)) {
        context.metrics.suppression(cause, "known");
        return true;
    }
    let added = context.suppressions.add(entry.clone(), now).await;
    match &added {
        Ok(()) => {
            context.metrics.suppression(cause, "added");
            tracing::info!(
                domain = entry.domain,
                recipient = entry.address.as_ref().map(tracing::field::display),
                mark = %entry.mark,
                cause,
                message_id = entry.message,
                "recipient suppressed"
            );
        }
        Err(error) => {
            context.metrics.suppression(cause, "failed");
            tracing::error!(domain = entry.domain, cause, %error, "a recipient was not suppressed");
        }
    }
    added.is_ok()
}

#[cfg(test)]
mod tests;
