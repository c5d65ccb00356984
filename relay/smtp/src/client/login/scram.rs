//! `SCRAM-SHA-256` and `SCRAM-SHA-256-PLUS`, the client's side: RFC 5802 and RFC 7677, bound to the
//! TLS connection by `tls-exporter` (RFC 9266), or by `tls-server-end-point` (RFC 5929 section 4)
//! where there is no exporter.
//!
//! A server that offers the mechanism without binding is told when the client could have bound, so
//! that somebody in between who took the offer away is found out. The cost that a server may ask for
//! is bounded on both sides: little protects the password from the server's guesses, much is paid
//! by the client.

use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::{Capabilities, Failure};
use super::saslname;
use crate::server::ChannelBindings;

/// RFC 7677 section 4.
const FEWEST_ITERATIONS: u32 = 4096;
/// Half a second of work.
const MOST_ITERATIONS: u32 = 1_000_000;
/// Octets of a server's message; RFC 5802 sets no bound.
const LONGEST_MESSAGE: usize = 4096;

/// An exchange that runs.
pub(in crate::client) struct Scram {
    mechanism: &'static str,
    password: String,
    nonce: String,
    /// Header (RFC 5801 section 4) and what the connection is bound to.
    binding: Vec<u8>,
    /// The first message, with its header.
    first: String,
    /// Octets of the header in it.
    header: usize,
    state: State,
}

enum State {
    /// The first message is still to be sent, encoded.
    Waiting(String),
    ServerFirst,
    /// Carries the signature that the server has to show.
    ServerFinal([u8; 32]),
    Proven,
}

impl Scram {
    /// `None` when the server does not offer it.
    pub(super) fn start(
        username: &str,
        password: &str,
        nonce: &str,
        capabilities: &Capabilities,
        bindings: &ChannelBindings,
    ) -> Option<Self> {
        let exporter = bindings.exporter.as_ref().map(<[u8; 32]>::as_slice);
        let exporter = exporter.map(|data| ("tls-exporter", data));
        let end_point = bindings.end_point.as_deref();
        let bound = exporter.or(end_point.map(|data| ("tls-server-end-point", data)));
        let (mechanism, header, data) = match bound {
            Some((name, data)) if capabilities.auth_scram_sha_256_plus => {
                ("SCRAM-SHA-256-PLUS", format!("p={name},,"), data)
            }
            _ if !capabilities.auth_scram_sha_256 => return None,
            Some(_) => ("SCRAM-SHA-256", "y,,".to_owned(), &[][..]),
            None => ("SCRAM-SHA-256", "n,,".to_owned(), &[][..]),
        };
        Some(Self {
            mechanism,
            password: password.into(),
            nonce: nonce.into(),
            binding: [header.as_bytes(), data].concat(),
            first: format!("{header}n={},r={nonce}", saslname(username)),
            header: header.len(),
            state: State::ServerFirst,
        })
    }

    pub(super) const fn mechanism(&self) -> &'static str {
        self.mechanism
    }

    pub(super) fn first(&self) -> &str {
        &self.first
    }

    /// With what is left to send of the first message.
    pub(super) fn waiting(self, mut left: Vec<String>) -> Self {
        Self {
            state: left.pop().map_or(State::ServerFirst, State::Waiting),
            ..self
        }
    }

    /// Whether the server has shown that it knows the password.
    pub(super) const fn is_proven(&self) -> bool {
        matches!(self.state, State::Proven)
    }

    /// Whether a key is derived from the password next.
    pub(super) const fn is_costly(&self) -> bool {
        matches!(self.state, State::ServerFirst)
    }

    /// What to answer to a challenge; both are encoded.
    pub(super) fn answer(&mut self, challenge: &str) -> Result<String, Failure> {
        match std::mem::replace(&mut self.state, State::Proven) {
            State::Waiting(first) => {
                self.state = State::ServerFirst;
                Ok(first)
            }
            State::ServerFirst => {
                let (answer, signature) = self.client_final(&decode(challenge)?)?;
                self.state = State::ServerFinal(signature);
                Ok(STANDARD.encode(answer))
            }
            State::ServerFinal(expected) => {
                let message = decode(challenge)?;
                let shown = message.split(',').next().unwrap_or_default();
                let shown = shown
                    .strip_prefix("v=")
                    .and_then(|one| STANDARD.decode(one).ok());
                let proven = shown.is_some_and(|shown| {
                    constant_time::verify_slices_are_equal(&shown, &expected).is_ok()
                });
                proven.then(String::new).ok_or(UNPROVEN)
            }
            State::Proven => Err(MALFORMED),
        }
    }

    /// The last message, and the signature that the server will answer with.
    fn client_final(&self, server_first: &str) -> Result<(String, [u8; 32]), Failure> {
        let mut parts = server_first.split(',');
        let mut part = |name: &str| parts.next().and_then(|part| part.strip_prefix(name));
        // An extension that must be understood (`m=`) would stand first and is not.
        let (Some(nonce), Some(salt), Some(iterations)) = (part("r="), part("s="), part("i="))
        else {
            return Err(MALFORMED);
        };
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(MALFORMED);
        }
        let salt = STANDARD.decode(salt).map_err(|_| MALFORMED)?;
        let iterations: NonZeroU32 = iterations.parse().map_err(|_| MALFORMED)?;
        if !(FEWEST_ITERATIONS..=MOST_ITERATIONS).contains(&iterations.get()) {
            return Err(COST);
        }
        let mut salted = [0; 32];
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(
            algorithm,
            iterations,
            &salt,
            self.password.as_bytes(),
            &mut salted,
        );
        let without_proof = format!("c={},r={nonce}", STANDARD.encode(&self.binding));
        let bare = &self.first[self.header..];
        let text = format!("{bare},{server_first},{without_proof}");
        let client_key = mac(&salted, b"Client Key");
        let stored = digest::digest(&digest::SHA256, &client_key);
        let mut proof = mac(stored.as_ref(), text.as_bytes());
        for (octet, key) in proof.iter_mut().zip(client_key) {
            *octet ^= key;
        }
        let signature = mac(&mac(&salted, b"Server Key"), text.as_bytes());
        let answer = format!("{without_proof},p={}", STANDARD.encode(proof));
        Ok((answer, signature))
    }
}

const MALFORMED: Failure = Failure::Login("the server's side of SCRAM-SHA-256 makes no sense");
const UNPROVEN: Failure = Failure::Login("the server did not prove that it knows the password");
const COST: Failure =
    Failure::Login("the server asks for fewer than 4096 or more than 1000000 iterations of SCRAM");

fn decode(challenge: &str) -> Result<String, Failure> {
    let octets = STANDARD.decode(challenge.trim()).ok();
    octets
        .filter(|octets| octets.len() <= LONGEST_MESSAGE)
        .and_then(|octets| String::from_utf8(octets).ok())
        .ok_or(MALFORMED)
}

fn mac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut result = [0; 32];
    result.copy_from_slice(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref());
    result
}

#[cfg(test)]
mod tests;
