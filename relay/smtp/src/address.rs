//! Mail addresses in envelopes: `Mailbox` of RFC 5321 section 4.1.2, with RFC 6531 for UTF-8.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// An envelope address: local part as received (case and quoting kept, cases R19 to R21 and R47),
/// domain folded to lower case, IDNs as A-labels (case L10).
///
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    text: Arc<str>,
    /// Index of the `@` between local part and domain.
    at: usize,
}

/// Why text is not an address, in words for a reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(pub &'static str);

impl Address {
    /// Parses `local@domain`, `"quoted local"@domain` or `local@[192.0.2.1]`, without angle brackets.
    pub fn parse(_text: &str) -> Result<Self, AddressError> {
        todo!("owner of relay/smtp server side")
    }

    /// The part before the `@`, quoted if it was.
    pub fn local_part(&self) -> &str {
        &self.text[..self.at]
    }

    /// The part after the `@`: lower case, A-labels; `[...]` for a literal.
    pub fn domain(&self) -> &str {
        &self.text[self.at + 1..]
    }

    /// The whole address, as it goes on the wire between the angle brackets.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it needs SMTPUTF8 on the wire: a local part that is not ASCII.
    pub fn is_utf8(&self) -> bool {
        !self.text.is_ascii()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, formatter)
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.text.as_ref().into()
    }
}
