//! `SCRAM-SHA-256` and `SCRAM-SHA-256-PLUS`: RFC 5802 and RFC 7677, bound to the TLS connection by
//! `tls-exporter` (RFC 9266) or `tls-server-end-point` (RFC 5929 section 4).
//!
//! The machine asks its caller for the keys of a user name and gets salt, iterations and keys, for
//! a user that does not exist as well (so that nobody learns who exists), and a nonce. It checks
//! the client's proof itself, proves in turn that it knows the keys, and reports the end. A client
//! that says it would have bound the connection, had it been told that it may, was told otherwise
//! by somebody in between, and is refused.
//!
//! User names and passwords are compared as they are: SASLprep (RFC 4013) changes nothing in the
//! generated ones, and a chosen one is hashed as it was typed.

use std::fmt;

use aws_lc_rs::{constant_time, digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::mechanism::Mechanism;
use super::{Exchange, MALFORMED, OTHER_IDENTITY, Step};

/// Octets of a client's nonce or user name; RFC 5802 sets no bound.
const LONGEST_PART: usize = 1024;

/// What ties an exchange to the TLS connection below it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ChannelBindings {
    /// RFC 9266: 32 octets exported with the label `EXPORTER-Channel-Binding` and an empty context.
    /// Only of TLS 1.3, or of TLS 1.2 with the extended master secret.
    pub exporter: Option<[u8; 32]>,
    /// RFC 5929 section 4.1: hash of the server's certificate.
    pub end_point: Option<Vec<u8>>,
}

impl ChannelBindings {
    /// Whether `SCRAM-SHA-256-PLUS` is worth offering. Before TLS 1.3 most clients would bind to
    /// `tls-unique`, which is broken there (RFC 7627) and not known here, and fail; without the offer
    /// they use `SCRAM-SHA-256` and get in.
    pub fn is_offered(&self) -> bool {
        self.exporter.is_some()
    }

    fn named(&self, name: &str) -> Option<&[u8]> {
        match name {
            "tls-exporter" => self.exporter.as_ref().map(<[u8; 32]>::as_slice),
            "tls-server-end-point" => self.end_point.as_deref(),
            _ => None,
        }
    }
}

impl fmt::Debug for ChannelBindings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whoever knows the exporter's octets can pass an exchange on.
        formatter.write_str("ChannelBindings([redacted])")
    }
}

/// Asks for the keys of a user name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScramStart {
    /// `SCRAM-SHA-256` or `SCRAM-SHA-256-PLUS`.
    pub mechanism: &'static str,
    /// User name; any text.
    pub username: String,
}

/// What a client is challenged with.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramChallenge {
    /// Random, printable, without a comma; 16 octets of chance or more.
    pub nonce: String,
    /// Salt; the same for the same user name, whether it exists or not.
    pub salt: Vec<u8>,
    /// Iterations, likewise.
    pub iterations: u32,
    /// Keys of which any may fit; all made with this salt and these iterations. Empty for a user
    /// that does not exist.
    pub keys: Vec<ScramKey>,
}

impl fmt::Debug for ScramChallenge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ScramChallenge([redacted])")
    }
}

/// The two keys that a server keeps (RFC 5802 section 3).
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKey {
    /// `StoredKey`.
    pub stored: [u8; 32],
    /// `ServerKey`.
    pub server: [u8; 32],
}

/// Why an exchange came to a bad end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramFault {
    /// The proof fits none of the keys.
    Proof,
    /// The connection that the client means is not this one.
    ChannelBinding,
}

impl ScramFault {
    /// Name for metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Proof => "denied",
            Self::ChannelBinding => "channel_binding",
        }
    }
}

/// How an exchange ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScramLogin {
    /// As in [`ScramStart`].
    pub mechanism: &'static str,
    /// User name; any text.
    pub username: String,
    /// The place of the key that fits in [`ScramChallenge::keys`], or what was wrong.
    pub outcome: Result<usize, ScramFault>,
}

/// The state of an exchange.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::server) struct Scram {
    mechanism: Mechanism,
    bindings: ChannelBindings,
    binding_offered: bool,
    stage: Stage,
}

#[derive(Clone, PartialEq, Eq)]
enum Stage {
    ClientFirst,
    Keys(First),
    ClientFinal {
        first: First,
        server_first: String,
        nonce: String,
        keys: Vec<ScramKey>,
    },
    /// The server's proof was sent; the client answers with nothing (RFC 4954 section 4).
    Acknowledgement {
        username: String,
        key: usize,
    },
}

/// What the client's first message said.
#[derive(Clone, PartialEq, Eq)]
struct First {
    username: String,
    nonce: String,
    /// The message without its header, as it is hashed.
    bare: String,
    /// What `c=` must hold in the final message.
    binding: Vec<u8>,
}

impl Scram {
    pub(super) fn new(
        mechanism: Mechanism,
        bindings: ChannelBindings,
        binding_offered: bool,
    ) -> Self {
        Self {
            mechanism,
            bindings,
            binding_offered,
            stage: Stage::ClientFirst,
        }
    }

    pub(super) fn respond(mut self, message: &str) -> Step {
        match std::mem::replace(&mut self.stage, Stage::ClientFirst) {
            Stage::ClientFirst => self.client_first(message),
            Stage::ClientFinal {
                first,
                server_first,
                nonce,
                keys,
            } => self.client_final(first, &server_first, &nonce, &keys, message),
            Stage::Acknowledgement { username, key } if message.is_empty() => {
                self.end(username, Ok(key))
            }
            Stage::Acknowledgement { .. } | Stage::Keys(_) => Step::Failed(MALFORMED),
        }
    }

    /// Goes on with what the caller knows of the user name.
    pub(in crate::server) fn challenge(mut self, challenge: ScramChallenge) -> Step {
        let Stage::Keys(first) = self.stage else {
            return Step::Failed(MALFORMED);
        };
        let nonce = format!("{}{}", first.nonce, challenge.nonce);
        let salt = BASE64.encode(&challenge.salt);
        let server_first = format!("r={nonce},s={salt},i={}", challenge.iterations);
        let encoded = BASE64.encode(&server_first);
        self.stage = Stage::ClientFinal {
            first,
            server_first,
            nonce,
            keys: challenge.keys,
        };
        Step::Challenge(encoded.into(), Exchange::Scram(self))
    }

    fn client_first(mut self, message: &str) -> Step {
        let Some((binding, identity, bare)) = header(message) else {
            return Step::Failed(MALFORMED);
        };
        let header_length = message.len() - bare.len();
        let Some((username, nonce)) = client_first_bare(bare) else {
            return Step::Failed(MALFORMED);
        };
        if !identity.is_empty() && identity != username {
            return Step::Failed(OTHER_IDENTITY);
        }
        let plus = self.mechanism == Mechanism::ScramSha256Plus;
        let mut expected = message.as_bytes()[..header_length].to_vec();
        match binding {
            Binding::Named(name) if plus => match self.bindings.named(name) {
                Some(data) => expected.extend_from_slice(data),
                None => return self.end(username, Err(ScramFault::ChannelBinding)),
            },
            // RFC 5802 section 6: the client can bind and believes that the server cannot, although
            // it was told so, or bound where nothing is to be bound.
            Binding::Unoffered if plus || self.binding_offered => {
                return self.end(username, Err(ScramFault::ChannelBinding));
            }
            Binding::Named(_) => return self.end(username, Err(ScramFault::ChannelBinding)),
            Binding::None if plus => {
                return self.end(username, Err(ScramFault::ChannelBinding));
            }
            Binding::Unoffered | Binding::None => {}
        }
        self.stage = Stage::Keys(First {
            username: username.clone(),
            nonce: nonce.into(),
            bare: bare.into(),
            binding: expected,
        });
        let start = ScramStart {
            mechanism: self.mechanism.name(),
            username,
        };
        Step::Scram(start, self)
    }

    fn client_final(
        mut self,
        first: First,
        server_first: &str,
        nonce: &str,
        keys: &[ScramKey],
        message: &str,
    ) -> Step {
        let Some((without_proof, proof)) = message.rsplit_once(",p=") else {
            return Step::Failed(MALFORMED);
        };
        let mut parts = without_proof.split(',');
        let (Some(binding), Some(said)) = (
            parts.next().and_then(|part| part.strip_prefix("c=")),
            parts.next().and_then(|part| part.strip_prefix("r=")),
        ) else {
            return Step::Failed(MALFORMED);
        };
        let (Ok(binding), Ok(proof)) = (BASE64.decode(binding), BASE64.decode(proof)) else {
            return Step::Failed(MALFORMED);
        };
        let Ok(proof) = <[u8; 32]>::try_from(proof) else {
            return Step::Failed(MALFORMED);
        };
        if constant_time::verify_slices_are_equal(&binding, &first.binding).is_err() {
            return self.end(first.username, Err(ScramFault::ChannelBinding));
        }
        let text = format!("{},{server_first},{without_proof}", first.bare);
        let mut found = None;
        // All are tried, so that time does not tell which, and for an unknown user as for others.
        let decoy = ScramKey {
            stored: [0; 32],
            server: [0; 32],
        };
        for key in keys.iter().chain(keys.is_empty().then_some(&decoy)) {
            if proves(key, &text, &proof) {
                found = keys.iter().position(|other| other == key);
            }
        }
        match found {
            Some(key) if said == nonce => {
                let signature = mac(&keys[key].server, text.as_bytes());
                let last = BASE64.encode(format!("v={}", BASE64.encode(signature)));
                self.stage = Stage::Acknowledgement {
                    username: first.username,
                    key,
                };
                Step::Challenge(last.into(), Exchange::Scram(self))
            }
            _ => self.end(first.username, Err(ScramFault::Proof)),
        }
    }

    fn end(&self, username: String, outcome: Result<usize, ScramFault>) -> Step {
        Step::ScramDone(ScramLogin {
            mechanism: self.mechanism.name(),
            username,
            outcome,
        })
    }
}

/// What the client says of channel binding.
enum Binding<'a> {
    /// `n`: it cannot.
    None,
    /// `y`: it can, and thinks that the server cannot.
    Unoffered,
    /// `p=`: it uses this one.
    Named(&'a str),
}

/// Cuts the header (RFC 5801 section 4) off the client's first message: binding, authorisation
/// identity, rest.
fn header(message: &str) -> Option<(Binding<'_>, String, &str)> {
    let (binding, rest) = message.split_once(',')?;
    let (identity, bare) = rest.split_once(',')?;
    let binding = match binding {
        "n" => Binding::None,
        "y" => Binding::Unoffered,
        _ => Binding::Named(binding.strip_prefix("p=")?),
    };
    let identity = match identity {
        "" => String::new(),
        _ => saslname(identity.strip_prefix("a=")?)?,
    };
    Some((binding, identity, bare))
}

/// User name and nonce. An extension that must be understood (`m=`) is not.
fn client_first_bare(bare: &str) -> Option<(String, &str)> {
    let mut parts = bare.split(',');
    let username = saslname(parts.next()?.strip_prefix("n=")?)?;
    let nonce = parts.next()?.strip_prefix("r=")?;
    let printable = !nonce.is_empty() && nonce.bytes().all(|byte| byte.is_ascii_graphic());
    let bounded = nonce.len() <= LONGEST_PART && username.len() <= LONGEST_PART;
    (printable && bounded).then_some((username, nonce))
}

/// `saslname` of RFC 5802 section 7: a comma is `=2C` and an equals sign `=3D`.
pub(super) fn saslname(text: &str) -> Option<String> {
    if !text.contains('=') {
        return (!text.is_empty()).then(|| text.into());
    }
    let mut parts = text.split('=');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (sign, rest) = match part.split_at_checked(2)? {
            ("2C", rest) => (',', rest),
            ("3D", rest) => ('=', rest),
            _ => return None,
        };
        name.push(sign);
        name.push_str(rest);
    }
    Some(name)
}

/// Whether `proof` was made by somebody who knows the key that `key.stored` is the hash of.
fn proves(key: &ScramKey, text: &str, proof: &[u8; 32]) -> bool {
    let mut client_key = mac(&key.stored, text.as_bytes());
    for (octet, proof) in client_key.iter_mut().zip(proof) {
        *octet ^= proof;
    }
    let stored = digest::digest(&digest::SHA256, &client_key);
    constant_time::verify_slices_are_equal(stored.as_ref(), &key.stored).is_ok()
}

fn mac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut result = [0; 32];
    result.copy_from_slice(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref());
    result
}
