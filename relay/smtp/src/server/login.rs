//! The mechanisms of `AUTH` (RFC 4954): `PLAIN` (RFC 4616) and `LOGIN` (its Internet-Draft, as
//! clients speak it) here; [`bearer`] holds the token mechanisms and [`scram`] the challenge and
//! response that shows no password.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::answer::Answer;

pub(super) mod bearer;
#[cfg(test)]
mod client_tests;
pub(super) mod mechanism;
pub(super) mod scram;
#[cfg(test)]
mod tests;

pub use bearer::{Token, TokenLogin};
pub use scram::{ChannelBindings, ScramChallenge, ScramFault, ScramKey, ScramLogin, ScramStart};

use mechanism::Mechanism;
use scram::Scram;

/// A password as the client sent it. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// The password, for the one place that checks it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// What a client claims to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// `PLAIN` or `LOGIN`.
    pub mechanism: &'static str,
    /// User name; any text.
    pub username: String,
    /// Password; any text.
    pub password: Password,
}

/// An exchange that waits for the client's next line.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Exchange {
    Plain,
    LoginUsername,
    LoginPassword {
        username: String,
    },
    /// A token mechanism, before its one message.
    Bearer(Mechanism),
    /// The client was told in a challenge why its token was refused; whatever it says, this is the
    /// reply (RFC 7628 section 3.2.3).
    BearerRefused(Answer),
    Scram(Scram),
}

/// What an exchange does next.
pub(super) enum Step {
    /// Send this challenge (base 64) and wait.
    Challenge(Cow<'static, str>, Exchange),
    /// The client has said all.
    Done(Login),
    /// The client has shown a token.
    Token(TokenLogin),
    /// The keys of a user name are needed.
    Scram(ScramStart, Scram),
    /// A SCRAM exchange has come to its end, good or bad.
    ScramDone(ScramLogin),
    /// The exchange is over.
    Failed(Answer),
}

const MALFORMED: Answer = Answer::fixed(
    501,
    "5.5.2",
    "the response cannot be read; it is not base 64 or not of the mechanism's form",
);
const CANCELLED: Answer = Answer::fixed(501, "5.7.0", "authentication cancelled");
const OTHER_IDENTITY: Answer = Answer::fixed(
    535,
    "5.7.8",
    "nobody may act for another identity; leave the authorisation identity empty",
);
/// Begins an exchange of a mechanism that is offered. `initial` is the initial response, `=` for an
/// empty one. `bindings` are of the connection; `binding_offered` tells whether the client was told
/// of them.
pub(super) fn start(
    mechanism: Mechanism,
    initial: Option<&str>,
    bindings: &ChannelBindings,
    binding_offered: bool,
) -> Step {
    let (challenge, exchange) = match mechanism {
        Mechanism::Plain => ("", Exchange::Plain),
        // "Username:"
        Mechanism::Login => ("VXNlcm5hbWU6", Exchange::LoginUsername),
        Mechanism::OauthBearer | Mechanism::Xoauth2 => ("", Exchange::Bearer(mechanism)),
        Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => {
            let scram = Scram::new(mechanism, bindings.clone(), binding_offered);
            ("", Exchange::Scram(scram))
        }
    };
    match initial {
        None => Step::Challenge(challenge.into(), exchange),
        Some("=") => respond(exchange, b""),
        Some(initial) => resume(exchange, initial.as_bytes()),
    }
}

/// Goes on with the client's line, without its CRLF.
pub(super) fn resume(exchange: Exchange, line: &[u8]) -> Step {
    if let Exchange::BearerRefused(answer) = exchange {
        return Step::Failed(answer);
    }
    if line == b"*" {
        return Step::Failed(CANCELLED);
    }
    match BASE64.decode(line.trim_ascii()) {
        Ok(response) => respond(exchange, &response),
        Err(_) => Step::Failed(MALFORMED),
    }
}

fn respond(exchange: Exchange, response: &[u8]) -> Step {
    let Ok(response) = std::str::from_utf8(response) else {
        return Step::Failed(MALFORMED);
    };
    match exchange {
        Exchange::Plain => plain(response),
        // Case R38: an initial response is the user name, and the password is asked for next.
        Exchange::LoginUsername => Step::Challenge(
            // "Password:"
            "UGFzc3dvcmQ6".into(),
            Exchange::LoginPassword {
                username: response.into(),
            },
        ),
        Exchange::LoginPassword { username } => done("LOGIN", username, response),
        Exchange::Bearer(mechanism) => {
            bearer::read(mechanism, response).map_or(Step::Failed(MALFORMED), Step::Token)
        }
        Exchange::BearerRefused(answer) => Step::Failed(answer),
        Exchange::Scram(scram) => scram.respond(response),
    }
}

fn plain(response: &str) -> Step {
    let mut parts = response.split('\0');
    let (Some(authorisation), Some(username), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Step::Failed(MALFORMED);
    };
    if !authorisation.is_empty() && authorisation != username {
        return Step::Failed(OTHER_IDENTITY);
    }
    done("PLAIN", username.into(), password)
}

fn done(mechanism: &'static str, username: String, password: &str) -> Step {
    Step::Done(Login {
        mechanism,
        username,
        password: Password(password.into()),
    })
}
