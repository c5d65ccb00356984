//! `AUTH PLAIN` (RFC 4616) and `AUTH LOGIN` (its Internet-Draft, as clients speak it) over RFC 4954.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::answer::Answer;

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
    LoginPassword { username: String },
}

/// What an exchange does next.
pub(super) enum Step {
    /// Send this challenge (base 64) and wait.
    Challenge(&'static str, Exchange),
    /// The client has said all.
    Done(Login),
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
const UNKNOWN_MECHANISM: Answer = Answer::fixed(
    504,
    "5.5.4",
    "this mechanism is not offered; use PLAIN or LOGIN",
);

/// Begins an exchange. `initial` is the initial response, `=` for an empty one.
pub(super) fn start(mechanism: &str, initial: Option<&str>) -> Step {
    let (challenge, exchange) = if mechanism.eq_ignore_ascii_case("PLAIN") {
        ("", Exchange::Plain)
    } else if mechanism.eq_ignore_ascii_case("LOGIN") {
        // "Username:"
        ("VXNlcm5hbWU6", Exchange::LoginUsername)
    } else {
        return Step::Failed(UNKNOWN_MECHANISM);
    };
    match initial {
        None => Step::Challenge(challenge, exchange),
        Some("=") => respond(exchange, b""),
        Some(initial) => resume(exchange, initial.as_bytes()),
    }
}

/// Goes on with the client's line, without its CRLF.
pub(super) fn resume(exchange: Exchange, line: &[u8]) -> Step {
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
            "UGFzc3dvcmQ6",
            Exchange::LoginPassword {
                username: response.into(),
            },
        ),
        Exchange::LoginPassword { username } => done("LOGIN", username, response),
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
