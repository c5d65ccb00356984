//! The printed form of a [`MessageId`]: 26 characters of Crockford's base 32, as a ULID.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{MessageId, Timestamp};

/// Crockford's alphabet: no I, L, O and U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Characters of a printed id.
const LENGTH: usize = 26;

/// Random bits of an id.
const RANDOM_BITS: u32 = 80;

/// Text that is not a message id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a message id: it has 26 characters of 0-9 and A-Z without I, L, O and U")]
pub struct MessageIdError;

impl MessageId {
    /// Makes an id from the time and a random number, of which the low 80 bits are used.
    pub const fn new(now: Timestamp, random: u128) -> Self {
        let time = (now.0 as u128) & ((1 << 48) - 1);
        Self((time << RANDOM_BITS) | (random & ((1 << RANDOM_BITS) - 1)))
    }

    /// The time in the id.
    pub const fn timestamp(self) -> Timestamp {
        Timestamp((self.0 >> RANDOM_BITS) as u64)
    }

    fn text(self) -> [u8; LENGTH] {
        let mut text = [0; LENGTH];
        let mut rest = self.0;
        for place in text.iter_mut().rev() {
            *place = ALPHABET[(rest & 31) as usize];
            rest >>= 5;
        }
        text
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for MessageId {
    type Err = MessageIdError;

    /// Accepts lower case; nothing else that `Display` does not print.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != LENGTH {
            return Err(MessageIdError);
        }
        let mut value: u128 = 0;
        for (index, octet) in text.bytes().enumerate() {
            let octet = octet.to_ascii_uppercase();
            let digit = ALPHABET
                .iter()
                .position(|&letter| letter == octet)
                .ok_or(MessageIdError)?;
            // 26 characters hold 130 bits: the first may use three of its five.
            if index == 0 && digit > 7 {
                return Err(MessageIdError);
            }
            value = (value << 5) | digit as u128;
        }
        Ok(Self(value))
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses_every_bit() {
        for bit in 0..128 {
            let id = MessageId(1 << bit);
            let text = id.to_string();
            assert_eq!(text.len(), 26);
            assert_eq!(text.parse(), Ok(id));
            assert_eq!(text.to_ascii_lowercase().parse(), Ok(id));
        }
        assert_eq!(
            MessageId(u128::MAX).to_string(),
            "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"
        );
    }

    #[test]
    fn sorts_by_time_in_both_forms() {
        let early = MessageId::new(Timestamp(1_700_000_000_000), u128::MAX);
        let late = MessageId::new(Timestamp(1_700_000_000_001), 0);
        assert!(early < late);
        assert!(early.to_string() < late.to_string());
        assert_eq!(early.timestamp(), Timestamp(1_700_000_000_000));
    }

    #[test]
    fn refuses_what_it_does_not_print() {
        for text in [
            "",
            "0000000000000000000000000",
            "000000000000000000000000000",
            "0000000000000000000000000I",
            "80000000000000000000000000",
            "0000000000000000000000000é",
            "000000000000000000000000/.",
        ] {
            assert_eq!(text.parse::<MessageId>(), Err(MessageIdError), "{text:?}");
        }
    }
}
