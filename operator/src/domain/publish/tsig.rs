//! TSIG keys (RFC 8945) out of Secrets. Never shows one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hickory_resolver::proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_resolver::proto::rr::{Name, TSigner};

use crate::certificates::SecretData;

/// How far the clocks of both sides may be apart, in seconds (RFC 8945 section 10).
const FUDGE: u16 = 300;
/// Octets of a secret at least; shorter ones can be guessed.
const SHORTEST: usize = 16;
/// And at most.
const LONGEST: usize = 512;

/// Why a Secret holds no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyFault {
    /// An entry is not there.
    #[error("has no entry {0}; add it as the name server's configuration has it")]
    Missing(&'static str),
    /// The name cannot be one.
    #[error(
        "has an entry keyname that is no name; give the name of the key in the name server's configuration"
    )]
    Name,
    /// Not known, or not good enough.
    #[error(
        "has an entry algorithm that is none of hmac-sha256, hmac-sha384 and hmac-sha512; give one of these"
    )]
    Algorithm,
    /// Not base64, or too short.
    #[error(
        "has an entry secret that is not 16 to 512 octets in base64; give what `tsig-keygen` shows"
    )]
    Key,
}

pub(super) fn read(data: &SecretData) -> Result<TSigner, KeyFault> {
    let text = |entry: &'static str| {
        let octets = data.get(entry).map(Vec::as_slice);
        octets
            .and_then(|octets| std::str::from_utf8(octets).ok())
            .map(str::trim)
            .filter(|text| !text.is_empty())
    };
    let name = text("keyname").ok_or(KeyFault::Missing("keyname"))?;
    let name = Name::from_ascii(name.to_ascii_lowercase()).map_err(|_| KeyFault::Name)?;
    let algorithm = match text("algorithm").map(str::to_ascii_lowercase).as_deref() {
        None | Some("hmac-sha256") => TsigAlgorithm::HmacSha256,
        Some("hmac-sha384") => TsigAlgorithm::HmacSha384,
        Some("hmac-sha512") => TsigAlgorithm::HmacSha512,
        Some(_) => return Err(KeyFault::Algorithm),
    };
    let secret = text("secret").ok_or(KeyFault::Missing("secret"))?;
    let secret = BASE64.decode(secret).map_err(|_| KeyFault::Key)?;
    if !(SHORTEST..=LONGEST).contains(&secret.len()) {
        return Err(KeyFault::Key);
    }
    TSigner::new(secret, algorithm, name, FUDGE).map_err(|_| KeyFault::Algorithm)
}

#[cfg(test)]
mod tests;
