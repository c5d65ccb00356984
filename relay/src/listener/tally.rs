//! How many sessions there are of each address or identity, within a limit.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// Sessions by whose they are; those without are not listed.
#[derive(Debug)]
pub(crate) struct Tally<K>(Mutex<HashMap<K, u32>>);

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// One session of somebody's; given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim<K: Eq + Hash> {
    tally: Arc<Tally<K>>,
    key: K,
}

impl<K: Clone + Eq + Hash> Tally<K> {
    /// One session more, unless there are `most` already.
    pub(crate) fn claim(self: &Arc<Self>, key: K, most: u32) -> Option<Claim<K>> {
        let mut counts = self.0.lock();
        let count = counts.entry(key.clone()).or_default();
        // A limit of 0 leaves the entry that was just made; the configuration does not allow it.
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Claim {
            tally: Arc::clone(self),
            key,
        })
    }
}

impl<K: Eq + Hash> Drop for Claim<K> {
    fn drop(&mut self) {
        let mut counts = self.tally.0.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

/// Who counts as one client: an IPv4 address, or the network of 64 bits that one IPv6 client has
/// for itself.
pub(crate) fn client_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_limit_of_his_own_and_gets_his_sessions_back() {
        let tally = Arc::new(Tally::default());
        let first = tally.claim("a", 2).unwrap();
        let second = tally.claim("a", 2).unwrap();
        assert!(tally.claim("a", 2).is_none());
        let _other = tally.claim("b", 2).unwrap();
        drop(second);
        let third = tally.claim("a", 2).unwrap();
        drop((first, third));
        assert_eq!(tally.0.lock().len(), 1);
    }

    #[test]
    fn neighbours_in_an_ipv6_network_are_one_client() {
        let of = |text: &str| client_of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
