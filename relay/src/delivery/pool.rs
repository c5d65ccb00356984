//! Idle connections, kept for a short while for the next message to the same destination.
//!
//! A connection is reused only under the configuration that it was opened under, so that a policy
//! that has changed, or one of another destination that shares the host, never mixes with it
//! (case M17). Bounded: at most as many as may be open, for at most the idle time.

use std::collections::VecDeque;

use parking_lot::Mutex;
use relay_config::ConfigHash;
use relay_queue::Destination;
use tokio::time::Instant;

use super::connection::Connection;

struct Idle {
    destination: Destination,
    hash: ConfigHash,
    until: Instant,
    connection: Connection,
}

/// The idle connections, oldest first.
#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<VecDeque<Idle>>,
}

impl Pool {
    /// The connection to `destination` that became idle last, if its time is not over.
    pub(super) fn take(
        &self,
        destination: &Destination,
        hash: &ConfigHash,
        now: Instant,
    ) -> Option<Connection> {
        let mut idle = self.idle.lock();
        let fits =
            |one: &Idle| one.destination == *destination && one.hash == *hash && one.until > now;
        let index = idle.iter().rposition(fits)?;
        idle.remove(index).map(|one| one.connection)
    }

    /// Keeps a connection until then; gives back those that are too many.
    pub(super) fn put(
        &self,
        destination: Destination,
        hash: ConfigHash,
        connection: Connection,
        until: Instant,
        limit: usize,
    ) -> Option<Connection> {
        let mut idle = self.idle.lock();
        let one = Idle {
            destination,
            hash,
            until,
            connection,
        };
        idle.push_back(one);
        let surplus = if idle.len() > limit {
            idle.pop_front()
        } else {
            None
        };
        surplus.map(|one| one.connection)
    }

    /// When the oldest one's time is over.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.idle.lock().front().map(|one| one.until)
    }

    /// Those whose time is over.
    pub(super) fn expired(&self, now: Instant) -> Vec<Connection> {
        let mut idle = self.idle.lock();
        let count = idle.iter().take_while(|one| one.until <= now).count();
        idle.drain(..count).map(|one| one.connection).collect()
    }

    /// All of them.
    pub(super) fn drain(&self) -> Vec<Connection> {
        self.idle
            .lock()
            .drain(..)
            .map(|one| one.connection)
            .collect()
    }
}
