//! DKIM signatures (RFC 6376, with RFC 8301 and RFC 8463): relaxed/relaxed, RSA and Ed25519.
//!
//! Signs what is there and `From` once more than it is there, so that nobody can put a second
//! `From` before ours. No `l=` (text could be appended), no `x=` (queued mail would expire), no
//! `i=`. The content is read in pieces and the body is never copied; whatever the relay adds to a
//! message must be added before (cases R48, R49, K13).
//!
//! Written here and not taken from `mail-auth` because its relaxed body keeps trailing lines of
//! white space (case K3) and it signs every absent field of its list, which forbids mailing lists
//! to add theirs. It judges these signatures in the tests instead.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use relay_config::{DkimAlgorithm, DkimKey};
use relay_queue::Timestamp;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;

mod canonical;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod header;

use canonical::Message;

/// RFC 8301 section 3.2: verifiers need not handle more.
const LONGEST_RSA_BITS: usize = 4096;

/// Fields that are signed when present (RFC 6376 section 5.4.1, and what makes MIME and threads).
/// Not `Sender`, `Received` or `Return-Path`: those change on the way.
const SIGNED: [&str; 26] = [
    "From",
    "Reply-To",
    "Subject",
    "Date",
    "To",
    "Cc",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Content-Disposition",
    "Content-Language",
    "Resent-Date",
    "Resent-From",
    "Resent-To",
    "Resent-Cc",
    "List-Id",
    "List-Help",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
];

/// A key that signs for one domain and selector.
pub(crate) struct Signer {
    domain: String,
    selector: String,
    key: Key,
}

enum Key {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

/// Why a message could not be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignError {
    /// RFC 6376 section 5.4 requires it to be signed.
    #[error("the message has no From field")]
    NoFrom,
    /// The library refused; with a loaded key only the lack of memory can cause it.
    #[error("the signature could not be computed")]
    Crypto,
}

/// Why a key cannot sign. Names the field, never the key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("domains[{domain}].dkim[{selector}].privateKey: {fault}")]
pub(crate) struct KeyError {
    domain: String,
    selector: String,
    fault: KeyFault,
}

/// What is wrong with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyFault {
    #[error(
        "is not an unencrypted PKCS#8 key in PEM (-----BEGIN PRIVATE KEY-----); convert it with \
         `openssl pkcs8 -topk8 -nocrypt`"
    )]
    NotPkcs8,
    #[error("is an Ed25519 key; set algorithm to Ed25519Sha256 or give an RSA key")]
    Ed25519ForRsa,
    #[error("is an RSA key; set algorithm to RsaSha256 or give an Ed25519 key")]
    RsaForEd25519,
    #[error("is an RSA key shorter than 2048 bits, which receivers ignore; make one of 2048 bits")]
    TooShort,
    #[error("is an RSA key longer than 4096 bits, which receivers ignore; make one of 2048 bits")]
    TooLong,
    #[error("is damaged or neither an RSA nor an Ed25519 key; make a new one")]
    Unusable,
}

impl Signer {
    /// Loads a configured key.
    pub(crate) fn load(domain: &str, configured: &DkimKey) -> Result<Self, KeyError> {
        match Key::load(configured) {
            Ok(key) => Ok(Self {
                domain: domain.to_owned(),
                selector: configured.selector.clone(),
                key,
            }),
            Err(fault) => Err(KeyError {
                domain: domain.to_owned(),
                selector: configured.selector.clone(),
                fault,
            }),
        }
    }

    /// `rsa-sha256` or `ed25519-sha256`, for the `a=` tag and for metrics.
    pub(crate) fn algorithm(&self) -> &'static str {
        match self.key {
            Key::Rsa(_) => "rsa-sha256",
            Key::Ed25519(_) => "ed25519-sha256",
        }
    }

    /// The `DKIM-Signature` field for `message`, ending in CRLF.
    fn sign(&self, message: &Message, now: Timestamp) -> Result<Vec<u8>, SignError> {
        if !message.has("From") {
            return Err(SignError::NoFrom);
        }
        let mut input = Vec::with_capacity(2048);
        let mut names = Vec::with_capacity(SIGNED.len() + 1);
        for name in SIGNED {
            names.resize(
                names.len() + message.canonical_fields(name, &mut input),
                name,
            );
        }
        names.push("From");
        let unsigned = header::unsigned(&header::Tags {
            algorithm: self.algorithm(),
            domain: &self.domain,
            selector: &self.selector,
            seconds: now.0 / 1000,
            names: &names,
            body_hash: &BASE64.encode(message.body_hash()),
        });
        canonical::relaxed_field(unsigned.as_bytes(), &mut input);
        let signature = self.key.sign(&input)?;
        Ok(header::signed(unsigned, &BASE64.encode(signature)).into_bytes())
    }
}

/// The `DKIM-Signature` fields of all `signers`, to be put before the first header of `content`:
/// the whole message, headers first, lines ending in CRLF, dots not stuffed. The body is hashed
/// once.
pub(crate) fn sign_all(signers: &[Signer], content: &[Bytes]) -> Result<Bytes, SignError> {
    if signers.is_empty() {
        return Ok(Bytes::new());
    }
    let message = Message::read(content);
    let now = crate::context::now();
    let mut fields = Vec::with_capacity(1024 * signers.len());
    for signer in signers {
        fields.extend(signer.sign(&message, now)?);
    }
    Ok(Bytes::from(fields))
}

/// The `d=` of a `DKIM-Signature` value that [`sign_all`] wrote.
pub(crate) fn domain_of(value: &[u8]) -> Option<String> {
    let value = std::str::from_utf8(value).ok()?;
    let mut tags = value.split(';').filter_map(|tag| tag.split_once('='));
    tags.find(|(name, _)| name.trim() == "d")
        .map(|(_, domain)| domain.trim().to_owned())
}

impl Key {
    fn load(configured: &DkimKey) -> Result<Self, KeyFault> {
        let pem = configured.private_key.expose().as_bytes();
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| KeyFault::NotPkcs8)?;
        let der = der.secret_pkcs8_der();
        let rsa = || RsaKeyPair::from_pkcs8(der);
        // "Maybe unchecked": OpenSSL writes Ed25519 keys without the public half.
        let ed25519 = || Ed25519KeyPair::from_pkcs8_maybe_unchecked(der);
        match configured.algorithm {
            DkimAlgorithm::RsaSha256 => match rsa() {
                Ok(key) if key.public_key().modulus_len() * 8 > LONGEST_RSA_BITS => {
                    Err(KeyFault::TooLong)
                }
                Ok(key) => Ok(Self::Rsa(Box::new(key))),
                Err(error) if error.to_string() == "TooSmall" => Err(KeyFault::TooShort),
                Err(error) if error.to_string() == "TooLarge" => Err(KeyFault::TooLong),
                Err(_) if ed25519().is_ok() => Err(KeyFault::Ed25519ForRsa),
                Err(_) => Err(KeyFault::Unusable),
            },
            DkimAlgorithm::Ed25519Sha256 => match ed25519() {
                Ok(key) => Ok(Self::Ed25519(Box::new(key))),
                Err(_) if rsa().is_ok() => Err(KeyFault::RsaForEd25519),
                Err(_) => Err(KeyFault::Unusable),
            },
        }
    }

    fn sign(&self, input: &[u8]) -> Result<Vec<u8>, SignError> {
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_key().modulus_len()];
                key.sign(
                    &RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    input,
                    &mut signature,
                )
                .map_err(|_| SignError::Crypto)?;
                Ok(signature)
            }
            // RFC 8463 section 3: the Ed25519 signature is over the SHA-256 hash.
            Self::Ed25519(key) => Ok(key.sign(digest(&SHA256, input).as_ref()).as_ref().to_vec()),
        }
    }
}

#[cfg(test)]
mod tests;
