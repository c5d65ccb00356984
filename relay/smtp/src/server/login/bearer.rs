//! Tokens: `OAUTHBEARER` (RFC 7628) and `XOAUTH2` (Google's and Microsoft's form before it).
//!
//! The client says all in one message. A refusal takes a turn more: the server sends what is wrong
//! as JSON in a challenge, the client answers with an octet 1 (or anything), and only then comes
//! the reply. Refuses to know what a token is made of.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::mechanism::Mechanism;

/// RFC 7628 section 3.1: what separates the fields of a message.
const SEPARATOR: char = '\u{1}';

/// A bearer token as the client sent it. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Wraps a token that came another way, such as in place of a password.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// The token, for the one place that checks it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// A token, and whom the client says it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenLogin {
    /// `OAUTHBEARER` or `XOAUTH2`.
    pub mechanism: &'static str,
    /// Authorisation identity or user; any text, may be empty.
    pub username: String,
    /// The token; any text.
    pub token: Token,
}

/// Reads the client's message; `None` when it is not of the mechanism's form.
pub(super) fn read(mechanism: Mechanism, message: &str) -> Option<TokenLogin> {
    let (username, fields) = if mechanism == Mechanism::OauthBearer {
        let (header, fields) = message.split_once(SEPARATOR)?;
        (authorisation_identity(header)?, fields)
    } else {
        let (user, fields) = message.strip_prefix("user=")?.split_once(SEPARATOR)?;
        (user.into(), fields)
    };
    // Each field is ended by a separator and the message by one more.
    let fields = fields.strip_suffix("\u{1}\u{1}")?;
    let mut token = None;
    for field in fields.split(SEPARATOR) {
        let (key, value) = field.split_once('=')?;
        if key.eq_ignore_ascii_case("auth") && token.replace(bearer(value)?).is_some() {
            return None;
        }
    }
    Some(TokenLogin {
        mechanism: mechanism.name(),
        username,
        token: Token(token?.into()),
    })
}

/// The header of RFC 5801 section 4: no channel binding, which RFC 7628 does not define.
fn authorisation_identity(header: &str) -> Option<String> {
    let identity = header
        .strip_prefix("n,")
        .or_else(|| header.strip_prefix("y,"))?
        .strip_suffix(',')?;
    if identity.is_empty() {
        return Some(String::new());
    }
    super::scram::saslname(identity.strip_prefix("a=")?)
}

/// The token of `Bearer <token>` (RFC 6750 section 2.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_matches(' ');
    let is_token = !token.is_empty()
        && token.bytes().all(|byte| {
            byte.is_ascii_alphanumeric()
                || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
        });
    (scheme.eq_ignore_ascii_case("Bearer") && is_token).then_some(token)
}

/// The challenge that says that a token was refused (RFC 7628 section 3.2.2), in base 64.
pub(in crate::server) fn refusal(mechanism: &str) -> Cow<'static, str> {
    let json = if mechanism == Mechanism::OauthBearer.name() {
        r#"{"status":"invalid_token"}"#
    } else {
        r#"{"status":"401","schemes":"bearer"}"#
    };
    BASE64.encode(json).into()
}
