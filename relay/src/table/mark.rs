//! What a recipient is found by.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use relay_smtp::Address;
use serde::{Deserialize, Serialize};

/// Characters of a mark.
pub(crate) const LENGTH: usize = 12;
const BITS: u32 = 60;
/// Crockford's base 32, in lower case; mail systems fold the case of addresses.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The first 60 bits of a hash of an address in lower case: servers do not tell mailboxes apart by
/// case. Two of a million addresses share one with a probability of one in a million.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Mark(u64);

/// Text that is no mark.
#[derive(Debug, thiserror::Error)]
#[error("not a mark of {LENGTH} characters")]
pub(crate) struct NoMark;

impl Mark {
    /// Of no address, and before all others.
    pub(crate) const LEAST: Self = Self(0);

    pub(crate) fn of(address: &Address) -> Self {
        let text = format!("recipient\0{}", address.as_str().to_lowercase());
        let hash = digest(&SHA256, text.as_bytes());
        let first = hash.as_ref().first_chunk().copied().unwrap_or_default();
        Self(u64::from_be_bytes(first) >> (u64::BITS - BITS))
    }
}

impl Mark {
    /// Its bits, spread evenly.
    pub(super) const fn bits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in (0..LENGTH).rev() {
            let digit = (self.0 >> (5 * place)) & 31;
            let digit = usize::try_from(digit).unwrap_or_default();
            fmt::Write::write_char(formatter, char::from(ALPHABET[digit]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Mark {
    type Err = NoMark;

    fn from_str(text: &str) -> Result<Self, NoMark> {
        if text.len() != LENGTH {
            return Err(NoMark);
        }
        let digit = |octet: u8| {
            let place = ALPHABET
                .iter()
                .position(|one| *one == octet.to_ascii_lowercase());
            place.and_then(|place| u64::try_from(place).ok())
        };
        let value = text
            .bytes()
            .try_fold(0, |value, octet| Some(value << 5 | digit(octet)?));
        value.map(Self).ok_or(NoMark)
    }
}

impl TryFrom<String> for Mark {
    type Error = NoMark;

    fn try_from(text: String) -> Result<Self, NoMark> {
        text.parse()
    }
}

impl From<Mark> for String {
    fn from(mark: Mark) -> Self {
        mark.to_string()
    }
}
