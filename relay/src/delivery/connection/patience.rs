//! How long a server is waited for. Pure; time is an argument.
//!
//! RFC 5321 section 4.5.3.2 gives each reply its time. Octets of a part of a reply do not prolong it:
//! else a server that sends one a minute would hold a connection for days. Nor has each of the hundred
//! replies to an envelope all of it: a server that gives each at the last moment would hold a
//! connection for hours. The first has the whole time, and those that follow together a
//! [`PACE`]-th of it each, which any one of them may use up.

use std::time::Duration;

use tokio::time::Instant;

use super::ConnectionError;

/// Replies of an envelope that come within the time of one, once the first is there: one in 15 seconds
/// by default, so that 100 recipients have half an hour.
const PACE: u32 = 20;
/// Replies besides those to recipients: to `RSET`, `MAIL`, `DATA` and a lone dot.
const OTHERS: u32 = 4;

/// When waits are over.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// How many replies had come when the wait for the next began, and when it is over.
    reply: Option<(u64, Instant)>,
    /// When that for the envelope is, and how long it is.
    envelope: Option<(Instant, Duration)>,
}

impl Patience {
    /// An envelope with so many recipients is about to be sent, and a reply to a command has `limit`.
    pub(super) fn begin(&mut self, recipients: usize, limit: Duration, now: Instant) {
        let recipients = u32::try_from(recipients).unwrap_or(u32::MAX);
        let others = recipients.saturating_add(OTHERS - 1);
        let whole = limit.saturating_add((limit / PACE).saturating_mul(others));
        self.reply = None;
        self.envelope = now.checked_add(whole).map(|until| (until, whole));
    }

    /// The envelope is done; what follows has times of its own.
    pub(super) fn end(&mut self) {
        self.envelope = None;
    }

    /// When the wait for the next reply is over, after `replies` of them came.
    pub(super) fn until(&mut self, replies: u64, limit: Duration, now: Instant) -> Instant {
        let reply = match self.reply {
            Some((of, until)) if of == replies => until,
            _ => now + limit,
        };
        self.reply = Some((replies, reply));
        self.envelope.map_or(reply, |(until, _)| until.min(reply))
    }

    /// What is wrong once that time has come.
    pub(super) fn late(&self, limit: Duration) -> ConnectionError {
        match (self.envelope, self.reply) {
            (Some((whole, time)), Some((_, reply))) if whole < reply => ConnectionError::Slow(time),
            _ => ConnectionError::Silent(limit),
        }
    }
}

#[cfg(test)]
mod tests;
