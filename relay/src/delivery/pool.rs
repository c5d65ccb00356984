//! Idle connections, kept for a short while for the next message to the same destination.
//!
//! A connection is reused only under the configuration that it was opened under, so that a policy
//! that has changed, or one of another destination that shares the host, never mixes with it
//! (case M17). Bounded: at most as many as may be open beside those in use, for at most the idle
//! time.

use std::collections::VecDeque;

use parking_lot::Mutex;
use relay_config::ConfigHash;
use relay_queue::Destination;
use tokio::time::Instant;

struct Idle<T> {
    destination: Destination,
    hash: ConfigHash,
    until: Instant,
    connection: T,
}

/// The idle connections, oldest first.
pub(super) struct Pool<T> {
    idle: Mutex<VecDeque<Idle<T>>>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self {
            idle: Mutex::default(),
        }
    }
}

impl<T> Pool<T> {
    /// The connection to `destination` that became idle last, if its time is not over.
    pub(super) fn take(
        &self,
        destination: &Destination,
        hash: &ConfigHash,
        now: Instant,
    ) -> Option<T> {
        let mut idle = self.idle.lock();
        let fits =
            |one: &Idle<T>| one.destination == *destination && one.hash == *hash && one.until > now;
        let index = idle.iter().rposition(fits)?;
        idle.remove(index).map(|one| one.connection)
    }

    /// Keeps a connection until then.
    pub(super) fn put(
        &self,
        destination: Destination,
        hash: ConfigHash,
        connection: T,
        until: Instant,
    ) {
        self.idle.lock().push_back(Idle {
            destination,
            hash,
            until,
            connection,
        });
    }

    /// Gives back the oldest, so that at most `limit` stay.
    pub(super) fn trim(&self, limit: usize) -> Vec<T> {
        let mut idle = self.idle.lock();
        let surplus = idle.len().saturating_sub(limit);
        idle.drain(..surplus).map(|one| one.connection).collect()
    }

    /// When the oldest one's time is over.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.idle.lock().front().map(|one| one.until)
    }

    /// Gives back those whose time is over.
    pub(super) fn expired(&self, now: Instant) -> Vec<T> {
        let mut idle = self.idle.lock();
        let count = idle.iter().take_while(|one| one.until <= now).count();
        idle.drain(..count).map(|one| one.connection).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::delivery::testing::configuration;

    fn hash(port: u16) -> ConfigHash {
        let name = PathBuf::from("relay.yaml");
        let text = configuration(port, None, "");
        let source = BTreeMap::from([(name.clone(), text.into_bytes())]);
        relay_config::parse_files(&name, &source).unwrap().hash
    }

    #[test]
    fn m17_a_connection_is_given_for_its_destination_and_configuration_in_its_time() {
        let pool = Pool::default();
        let now = Instant::now();
        let later = now + Duration::from_secs(5);
        let (first, second) = (Destination::from("a.test"), Destination::from("b.test"));
        let (old, new) = (hash(25), hash(26));
        pool.put(first.clone(), old, 1, later);
        pool.put(first.clone(), old, 2, later);
        assert_eq!(pool.take(&second, &old, now), None);
        assert_eq!(pool.take(&first, &new, now), None);
        assert_eq!(pool.take(&first, &old, later), None);
        assert_eq!(pool.take(&first, &old, now), Some(2));
        assert_eq!(pool.take(&first, &old, now), Some(1));
        assert_eq!(pool.take(&first, &old, now), None);
    }

    #[test]
    fn the_oldest_go_first() {
        let pool = Pool::default();
        let now = Instant::now();
        let destination = Destination::from("a.test");
        let hash = hash(25);
        for number in 1..=4 {
            let until = now + Duration::from_secs(number);
            pool.put(destination.clone(), hash, number, until);
        }
        assert_eq!(pool.next_deadline(), Some(now + Duration::from_secs(1)));
        assert_eq!(pool.expired(now + Duration::from_secs(1)), [1]);
        assert_eq!(pool.trim(1), [2, 3]);
        assert_eq!(pool.trim(1), [0_u64; 0]);
        assert_eq!(pool.trim(0), [4]);
        assert_eq!(pool.next_deadline(), None);
    }
}
