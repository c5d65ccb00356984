//! `AUTH` as RFC 4954 frames it, with the best mechanism that the server offers.
//!
//! With a password: `SCRAM-SHA-256-PLUS`, `SCRAM-SHA-256` (RFC 7677; the server does not see the
//! password and proves that it knows it), `PLAIN` (RFC 4616), `LOGIN`. `LOGIN` sends no initial
//! response: strict servers do not accept one (case R39). With an access token: `OAUTHBEARER` (RFC
//! 7628), `XOAUTH2`. A mechanism that fails is not followed by a weaker one.

mod scram;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Capabilities, Failure, Stage};
use crate::reply::Reply;
use crate::server::ChannelBindings;

use scram::Scram;

/// Octets of a command line, CRLF included (RFC 5321 section 4.5.3.1.4); a longer initial response
/// goes in a line of its own.
const COMMAND_LINE: usize = 512;

/// Who we are; `Debug` shows neither the secret nor its length.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// What proves it.
    pub proof: Proof,
}

/// What proves who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum Proof {
    /// A password.
    Password {
        /// The password itself, compared as it is: SASLprep (RFC 4013) changes nothing in ASCII.
        password: String,
        /// Random, printable, without a comma; 16 octets of chance or more. For SCRAM, new for each
        /// session.
        nonce: String,
    },
    /// An access token.
    Token(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Proof([redacted])")
    }
}

/// An exchange that runs.
pub(in crate::client) enum Login {
    /// What is still to be sent, each when the server asks for it, in reverse order.
    Responses(Vec<String>),
    /// As [`Self::Responses`]; then what a server wants to hear once it has said why the token is no
    /// good (RFC 7628 section 3.2.3), before it says so with a code.
    Token(Vec<String>, &'static str),
    Scram(Box<Scram>),
}

impl fmt::Debug for Login {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Login").finish_non_exhaustive()
    }
}

impl Login {
    /// `None` when the server offers no mechanism that fits.
    pub(super) fn start(
        credentials: &Credentials,
        capabilities: &Capabilities,
        bindings: &ChannelBindings,
        output: &mut Vec<u8>,
    ) -> Option<Self> {
        let username = &credentials.username;
        match &credentials.proof {
            Proof::Token(token) if capabilities.auth_oauthbearer => {
                let response =
                    format!("n,a={},\x01auth=Bearer {token}\x01\x01", saslname(username));
                let left = initial("OAUTHBEARER", &response, output);
                Some(Self::Token(left, "AQ=="))
            }
            Proof::Token(token) if capabilities.auth_xoauth2 => {
                let response = format!("user={username}\x01auth=Bearer {token}\x01\x01");
                Some(Self::Token(initial("XOAUTH2", &response, output), ""))
            }
            Proof::Token(_) => None,
            Proof::Password { password, nonce } => {
                if let Some(scram) = Scram::start(username, password, nonce, capabilities, bindings)
                {
                    let left = initial(scram.mechanism(), scram.first(), output);
                    return Some(Self::Scram(Box::new(scram.waiting(left))));
                }
                if capabilities.auth_plain {
                    let response = format!("\0{username}\0{password}");
                    return Some(Self::Responses(initial("PLAIN", &response, output)));
                }
                capabilities.auth_login.then(|| {
                    output.extend_from_slice(b"AUTH LOGIN\r\n");
                    let responses = [password, username];
                    Self::Responses(responses.map(|one| STANDARD.encode(one)).into())
                })
            }
        }
    }

    /// Whether the next reply makes for much work.
    pub(super) const fn is_costly(&self) -> bool {
        matches!(self, Self::Scram(scram) if scram.is_costly())
    }

    /// Whether the exchange has succeeded; an error when it has failed.
    pub(super) fn reply(&mut self, reply: Reply, output: &mut Vec<u8>) -> Result<bool, Failure> {
        let next = match (self, reply.code()) {
            (Self::Responses(responses) | Self::Token(responses, _), 334)
                if !responses.is_empty() =>
            {
                responses.pop().unwrap_or_default()
            }
            (Self::Token(_, end), 334) if *end != "*" => std::mem::replace(end, "*").into(),
            (Self::Scram(scram), 334) => scram.answer(challenge(&reply))?,
            (Self::Scram(scram), 235) if !scram.is_proven() => {
                return Err(Failure::Login(
                    "the server did not prove that it knows the password",
                ));
            }
            (_, 235) => return Ok(true),
            _ => {
                let stage = Stage::Authentication;
                return Err(Failure::Refused { stage, reply });
            }
        };
        output.extend_from_slice(next.as_bytes());
        output.extend_from_slice(b"\r\n");
        Ok(false)
    }
}

/// Begins an exchange with an initial response, or leaves the response for the next line.
fn initial(mechanism: &str, response: &str, output: &mut Vec<u8>) -> Vec<String> {
    let response = STANDARD.encode(response);
    let command = format!("AUTH {mechanism} {response}\r\n");
    if command.len() <= COMMAND_LINE {
        output.extend_from_slice(command.as_bytes());
        return Vec::new();
    }
    output.extend_from_slice(format!("AUTH {mechanism}\r\n").as_bytes());
    vec![response]
}

/// The challenge of a 334, as it was encoded.
fn challenge(reply: &Reply) -> &str {
    reply.lines().next().unwrap_or_default()
}

/// `saslname` of RFC 5801 section 4: comma and equals sign are encoded.
fn saslname(text: &str) -> String {
    text.replace('=', "=3D").replace(',', "=2C")
}
