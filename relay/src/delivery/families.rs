//! IPv4 and IPv6: in which order the addresses of a host are tried. Time is an argument.
//!
//! The families alternate as in RFC 8305 section 4, so that neither uses up the addresses that one
//! attempt may try (case M14). IPv4 begins, since most receivers know the relay by it, and always, since
//! a greylisting server wants to see the same family again (case B15). Unlike a browser the relay goes on
//! to the next address only when one has failed: a receiver counts a connection that is given up at once,
//! and whoever waits for a server holds up nobody.
//!
//! A family of which nothing can be reached while the other answers is tried last for [`LAST_FOR`], so
//! that a node without a way for IPv6 does not wait for it host by host.

use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Connections in a row that led nowhere, before a family is put last.
const FAILURES: u32 = 5;
/// For how long.
const LAST_FOR: Duration = Duration::from_mins(10);

/// What is known of the two families.
#[derive(Default)]
pub(super) struct Families {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    four: Family,
    six: Family,
}

#[derive(Default)]
struct Family {
    /// In a row.
    failures: u32,
    /// When the first of these was.
    since: Option<Instant>,
    answered: Option<Instant>,
    last_until: Option<Instant>,
}

impl Family {
    fn is_last(&self, now: Instant) -> bool {
        self.last_until.is_some_and(|until| now < until)
    }
}

impl State {
    /// The family of an address, and the other.
    fn of(&mut self, address: IpAddr) -> (&mut Family, &mut Family) {
        if address.is_ipv4() {
            (&mut self.four, &mut self.six)
        } else {
            (&mut self.six, &mut self.four)
        }
    }
}

impl Families {
    /// Nothing came from `address`: no way there, or no answer in time.
    pub(super) fn failed(&self, address: IpAddr, now: Instant) {
        let mut state = self.state.lock();
        let (own, other) = state.of(address);
        own.failures = own.failures.saturating_add(1);
        let since = *own.since.get_or_insert(now);
        let other_works = other.answered.is_some_and(|answered| answered >= since);
        if own.failures >= FAILURES && other_works {
            own.last_until = Some(now + LAST_FOR);
        }
    }

    /// Something came from `address`, a refusal included.
    pub(super) fn answered(&self, address: IpAddr, now: Instant) {
        let mut state = self.state.lock();
        *state.of(address).0 = Family {
            answered: Some(now),
            ..Family::default()
        };
    }

    /// The addresses of a host in the order in which they are tried; those of one family keep theirs.
    pub(super) fn order(&self, addresses: Vec<IpAddr>, now: Instant) -> Vec<IpAddr> {
        let state = self.state.lock();
        let (four_last, six_last) = (state.four.is_last(now), state.six.is_last(now));
        drop(state);
        let (four, six): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv4);
        match (four_last, six_last) {
            (true, false) => [six, four].concat(),
            (false, true) => [four, six].concat(),
            _ => alternate(four, six),
        }
    }
}

fn alternate(first: Vec<IpAddr>, second: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut order = Vec::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    loop {
        match (first.next(), second.next()) {
            (None, None) => return order,
            (one, other) => order.extend(one.into_iter().chain(other)),
        }
    }
}

#[cfg(test)]
mod tests;
