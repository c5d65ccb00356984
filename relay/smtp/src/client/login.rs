//! `AUTH PLAIN` (RFC 4616) and `AUTH LOGIN`, as RFC 4954 frames them.
//!
//! `PLAIN` first, since it takes one round trip less. `LOGIN` sends no initial response: strict
//! servers do not accept one (case R39).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Capabilities, Failure, Stage};
use crate::reply::Reply;

/// Octets of a command line, CRLF included (RFC 5321 section 4.5.3.1.4); a longer initial response
/// goes in a line of its own.
const COMMAND_LINE: usize = 512;

/// User name and password; `Debug` shows neither the password nor its length.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// An exchange that runs: what is still to be sent, each when the server asks for it.
pub(super) struct Login {
    /// In reverse order.
    responses: Vec<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Login").finish_non_exhaustive()
    }
}

impl Login {
    /// `None` when the server offers no mechanism that we know.
    pub(super) fn start(
        credentials: &Credentials,
        capabilities: &Capabilities,
        output: &mut Vec<u8>,
    ) -> Option<Self> {
        let Credentials { username, password } = credentials;
        let mut login = Self {
            responses: Vec::new(),
        };
        if capabilities.auth_plain {
            let response = STANDARD.encode(format!("\0{username}\0{password}"));
            let command = format!("AUTH PLAIN {response}\r\n");
            if command.len() <= COMMAND_LINE {
                output.extend_from_slice(command.as_bytes());
            } else {
                output.extend_from_slice(b"AUTH PLAIN\r\n");
                login.responses.push(response);
            }
        } else if capabilities.auth_login {
            output.extend_from_slice(b"AUTH LOGIN\r\n");
            login.responses.push(STANDARD.encode(password));
            login.responses.push(STANDARD.encode(username));
        } else {
            return None;
        }
        Some(login)
    }

    /// Whether the exchange has succeeded; an error when it has failed.
    pub(super) fn reply(&mut self, reply: Reply, output: &mut Vec<u8>) -> Result<bool, Failure> {
        if reply.code() == 334
            && let Some(response) = self.responses.pop()
        {
            output.extend_from_slice(response.as_bytes());
            output.extend_from_slice(b"\r\n");
            return Ok(false);
        }
        if reply.code() == 235 {
            return Ok(true);
        }
        let stage = Stage::Authentication;
        Err(Failure::Refused { stage, reply })
    }
}
