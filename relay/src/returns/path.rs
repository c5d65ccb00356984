//! Return paths (VERP): `b-TOKEN@bounces.example` or `bounces+TOKEN@example`.
//!
//! A token is the id of the message (26 characters), the recipient's mark (12) and, where reports come
//! to this relay, the mark of the sender (12), with a MAC over all of them, in one case of letters, since
//! mail systems fold it. It says by itself for whom it was made, so the relay remembers nothing but its
//! senders (`senders`); it ends with the age of its message's id.
//!
//! A local part has 64 octets (RFC 5321 section 4.5.3.1.1), which leaves 60 bits for the MAC beside a
//! sender's mark. Whoever guesses has one try per `RCPT`: a million a second for a century come to one in
//! three hundred of what it takes.

use std::str::FromStr as _;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use relay_config::Bounces;
use relay_queue::{MessageId, Timestamp};
use relay_smtp::Address;

use crate::suppression::Mark;

/// Characters of the parts of a token.
const ID: usize = 26;
const MARK: usize = 12;
/// With the mark of a sender, and without.
const MACS: [usize; 2] = [12, 16];
/// Octets of a key at least.
const SHORTEST_KEY: usize = 32;
/// Before a token at a domain of its own.
const PREFIX: &str = "b-";
/// How far the clock of another shard may be ahead.
const SKEW: u64 = 3_600_000;

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("is not {SHORTEST_KEY} or more octets in base 64")]
pub(crate) struct KeyFault;

/// Makes and checks the return paths of one sending domain.
pub(crate) struct ReturnPaths {
    sending_domain: String,
    /// What stands before the token.
    prefix: String,
    /// What stands after it.
    domain: String,
    /// Whether reports come to this relay: the domain is there for nothing else.
    taken_here: bool,
    /// The first makes; all are good.
    keys: Vec<hmac::Key>,
    valid_for: Duration,
}

/// Whom a return path was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) id: MessageId,
    pub(crate) mark: Mark,
    /// Of the sender; `None` when nobody is to be told of bounces.
    pub(crate) sender: Option<Mark>,
}

/// Why a return path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathFault {
    /// It has not the form of one.
    Malformed,
    /// No key of the domain made it.
    Forged,
    /// Its time is over.
    Expired,
}

impl ReturnPaths {
    /// For a validated configuration.
    pub(crate) fn new(sending_domain: &str, bounces: &Bounces) -> Result<Self, KeyFault> {
        let keys = bounces
            .keys
            .iter()
            .map(|key| {
                let octets = BASE64.decode(key.expose()).map_err(|_| KeyFault)?;
                let long = octets.len() >= SHORTEST_KEY;
                let key = long.then(|| hmac::Key::new(hmac::HMAC_SHA256, &octets));
                key.ok_or(KeyFault)
            })
            .collect::<Result<_, _>>()?;
        let (prefix, domain) = match (&bounces.domain, &bounces.address) {
            (Some(domain), _) => (PREFIX.to_owned(), domain.clone()),
            (None, address) => {
                let address = address.as_deref().unwrap_or_default();
                let (local, domain) = address.rsplit_once('@').unwrap_or_default();
                (format!("{local}+"), domain.to_owned())
            }
        };
        Ok(Self {
            sending_domain: sending_domain.to_owned(),
            prefix,
            domain,
            taken_here: bounces.domain.is_some(),
            keys,
            valid_for: bounces.valid_for.get(),
        })
    }

    /// The domain whose mail is taken as reports.
    pub(crate) fn taken_here(&self) -> Option<&str> {
        self.taken_here.then_some(&self.domain)
    }

    /// How long a return path is good.
    pub(crate) const fn valid_for(&self) -> Duration {
        self.valid_for
    }

    /// The return path of a message for one recipient; `sender` is told of bounces, where reports come
    /// to this relay. `None` if it would be no address.
    pub(crate) fn make(
        &self,
        id: MessageId,
        recipient: &Address,
        sender: Option<Mark>,
    ) -> Option<Address> {
        let mark = Mark::of(recipient);
        let known = if self.taken_here {
            format!("{id}{mark}{}", sender.unwrap_or(Mark::LEAST))
        } else {
            format!("{id}{mark}")
        };
        let known = known.to_ascii_lowercase();
        let mac = self.mac(self.keys.first()?, &known);
        let token = format!("{known}{mac}");
        Address::parse(&format!("{}{token}@{}", self.prefix, self.domain)).ok()
    }

    /// Whom a return path of this domain was made for, and when that was not too long ago.
    pub(crate) fn check(&self, local_part: &str, now: Timestamp) -> Result<Known, PathFault> {
        let token = local_part
            .get(..self.prefix.len())
            .filter(|start| start.eq_ignore_ascii_case(&self.prefix))
            .and_then(|_| local_part.get(self.prefix.len()..))
            .filter(|token| token.len() == self.known() + self.digits() && token.is_ascii())
            .ok_or(PathFault::Malformed)?
            .to_ascii_lowercase();
        let (known, mac) = token.split_at(self.known());
        let (id, marks) = known.split_at(ID);
        let (mark, sender) = marks.split_at(MARK);
        let id = MessageId::from_str(id).map_err(|_| PathFault::Malformed)?;
        let read = |mark| Mark::from_str(mark).map_err(|_| PathFault::Malformed);
        let mark = read(mark)?;
        let sender = self.taken_here.then(|| read(sender)).transpose()?;
        let made = self.keys.iter().any(|key| {
            let expected = self.mac(key, known);
            verify_slices_are_equal(expected.as_bytes(), mac.as_bytes()).is_ok()
        });
        if !made {
            return Err(PathFault::Forged);
        }
        let age = now.0.saturating_sub(id.timestamp().0);
        let early = id.timestamp().0 > now.0.saturating_add(SKEW);
        if early || u128::from(age) > self.valid_for.as_millis() {
            return Err(PathFault::Expired);
        }
        let sender = sender.filter(|mark| *mark != Mark::LEAST);
        Ok(Known { id, mark, sender })
    }

    /// Characters of what a token says.
    const fn known(&self) -> usize {
        ID + if self.taken_here { 2 * MARK } else { MARK }
    }

    /// Characters of its MAC.
    const fn digits(&self) -> usize {
        MACS[if self.taken_here { 0 } else { 1 }]
    }

    /// Over what a token says; how long that is says which parts it has.
    fn mac(&self, key: &hmac::Key, known: &str) -> String {
        let text = format!("return-path\0{}\0{known}", self.sending_domain);
        let tag = hmac::sign(key, text.as_bytes());
        let first = tag.as_ref().first_chunk().copied().unwrap_or_default();
        digits(u128::from_be_bytes(first), self.digits())
    }
}

/// The first bits of a value as so many digits of base 32, in the alphabet of ids.
fn digits(value: u128, count: usize) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let value = value >> (128 - 5 * count);
    (0..count)
        .rev()
        .map(|place| {
            let digit = usize::try_from((value >> (5 * place)) & 31).unwrap_or_default();
            char::from(ALPHABET[digit])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_config::Secret;

    const NOW: Timestamp = Timestamp(1_790_000_000_000);

    fn key(octet: u8) -> Secret {
        Secret::new(BASE64.encode([octet; 32]))
    }

    fn paths(sending: &str, keys: &[u8]) -> ReturnPaths {
        let bounces = Bounces {
            domain: Some(format!("bounces.{sending}")),
            keys: keys.iter().copied().map(key).collect(),
            ..Bounces::default()
        };
        ReturnPaths::new(sending, &bounces).unwrap()
    }

    fn recipient() -> Address {
        Address::parse("To@dest.example").unwrap()
    }

    fn id() -> MessageId {
        MessageId::new(NOW, 7)
    }

    #[test]
    fn a_return_path_says_for_whom_it_was_made_in_any_case_of_letters() {
        let paths = paths("shop.example", &[1]);
        let sender = Mark::of(&Address::parse("desk@shop.example").unwrap());
        let path = paths.make(id(), &recipient(), Some(sender)).unwrap();
        assert_eq!(path.domain(), "bounces.shop.example");
        assert!(path.local_part().starts_with("b-") && path.local_part().len() == 64);
        let known = Known {
            id: id(),
            mark: Mark::of(&recipient()),
            sender: Some(sender),
        };
        assert_eq!(paths.check(path.local_part(), NOW), Ok(known));
        let upper = path.local_part().to_ascii_uppercase();
        assert_eq!(paths.check(&upper, NOW), Ok(known));
        let path = paths.make(id(), &recipient(), None).unwrap();
        let nobody = paths.check(path.local_part(), NOW).unwrap();
        assert_eq!(nobody.sender, None);
    }

    #[test]
    fn a_mailbox_gets_its_paths_as_subaddresses() {
        let bounces = Bounces {
            address: Some("bounces@shop.example".into()),
            keys: vec![key(1)],
            ..Bounces::default()
        };
        let paths = ReturnPaths::new("shop.example", &bounces).unwrap();
        let path = paths.make(id(), &recipient(), None).unwrap();
        assert!(path.as_str().starts_with("bounces+"));
        assert_eq!(path.local_part().len(), "bounces+".len() + 54);
        assert!(paths.check(path.local_part(), NOW).is_ok());
        assert_eq!(path.domain(), "shop.example");
        assert_eq!(paths.taken_here(), None);
    }

    #[test]
    fn whatever_is_changed_is_a_forgery() {
        let paths = paths("shop.example", &[1]);
        let path = paths.make(id(), &recipient(), None).unwrap();
        let local = path.local_part();
        for place in 2..local.len() {
            let mut octets = local.as_bytes().to_vec();
            octets[place] = if octets[place] == b'7' { b'6' } else { b'7' };
            let changed = String::from_utf8(octets).unwrap();
            let fault = paths.check(&changed, NOW).unwrap_err();
            // Not every text of digits is an id.
            assert!(fault == PathFault::Forged || place == 2, "{changed}");
        }
        for text in [
            "",
            "b-",
            "postmaster",
            &local[1..],
            &local[..50],
            "b-\u{e5}",
        ] {
            assert_eq!(paths.check(text, NOW), Err(PathFault::Malformed), "{text}");
        }
        assert_eq!(
            paths.check(&format!("b-{}", "u".repeat(62)), NOW),
            Err(PathFault::Malformed)
        );
    }

    #[test]
    fn keys_overlap_and_those_of_another_domain_are_no_good() {
        let old = paths("shop.example", &[1]);
        let both = paths("shop.example", &[2, 1]);
        let new = paths("shop.example", &[2]);
        let path = old.make(id(), &recipient(), None).unwrap();
        assert!(both.check(path.local_part(), NOW).is_ok());
        assert_eq!(new.check(path.local_part(), NOW), Err(PathFault::Forged));
        let made = both.make(id(), &recipient(), None).unwrap();
        assert!(new.check(made.local_part(), NOW).is_ok());
        let other = paths("news.example", &[1]);
        assert_eq!(other.check(path.local_part(), NOW), Err(PathFault::Forged));
    }

    #[test]
    fn a_path_ends_with_the_age_of_its_message() {
        let paths = paths("shop.example", &[1]);
        let path = paths.make(id(), &recipient(), None).unwrap();
        let at = |milliseconds: u64| paths.check(path.local_part(), Timestamp(milliseconds));
        let valid = 30 * 24 * 3_600_000;
        assert!(at(NOW.0 + valid).is_ok());
        assert_eq!(at(NOW.0 + valid + 1), Err(PathFault::Expired));
        assert!(at(NOW.0 - SKEW).is_ok());
        assert_eq!(at(NOW.0 - SKEW - 1), Err(PathFault::Expired));
    }

    #[test]
    fn a_key_that_is_short_or_not_base_64_is_refused() {
        for text in ["", "AAAA", "!!!!"] {
            let bounces = Bounces {
                domain: Some("b.example".into()),
                keys: vec![Secret::new(text)],
                ..Bounces::default()
            };
            assert!(ReturnPaths::new("b.example", &bounces).is_err(), "{text}");
        }
    }
}
