//! What is asked of a token endpoint and what its answers mean (RFC 6749 sections 4.4, 5 and 6).
//! Pure.

use std::fmt::Write as _;
use std::time::Duration;

use relay_config::{OAuth2, Secret};
use serde::Deserialize;
use serde_json::Value;

use super::TokenError;

/// Lifetime of a token whose endpoint does not tell.
const UNTOLD: Duration = Duration::from_mins(5);
/// Lifetime at most.
const LONGEST: Duration = Duration::from_hours(24);
/// Octets of a token.
const LONGEST_TOKEN: usize = 8 * 1024;
/// Characters of an error's description.
const LONGEST_TEXT: usize = 300;

/// A token that was granted.
pub(super) struct Granted {
    pub(super) token: Secret,
    pub(super) lifetime: Duration,
    /// In place of the one that was sent.
    pub(super) refresh_token: Option<Secret>,
}

/// Shows no secret.
impl std::fmt::Debug for Granted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Granted")
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

/// The form to post.
pub(super) fn form(settings: &OAuth2, refresh: Option<&Secret>) -> String {
    let mut form = String::new();
    let mut field = |name: &str, value: &str| {
        if !form.is_empty() {
            form.push('&');
        }
        form.push_str(name);
        form.push('=');
        encode(&mut form, value);
    };
    match refresh {
        Some(refresh) => {
            field("grant_type", "refresh_token");
            field("refresh_token", refresh.expose());
        }
        None => field("grant_type", "client_credentials"),
    }
    field("client_id", &settings.client_id);
    if let Some(secret) = &settings.client_secret {
        field("client_secret", secret.expose());
    }
    if let Some(scope) = &settings.scope {
        field("scope", scope);
    }
    form
}

fn encode(form: &mut String, value: &str) {
    for octet in value.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            form.push(char::from(octet));
        } else {
            let _ = write!(form, "%{octet:02X}");
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    expires_in: Option<Value>,
    refresh_token: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

/// Reads an answer; `status` is that of HTTP.
pub(super) fn read(status: u16, body: &[u8]) -> Result<Granted, TokenError> {
    let answer: Option<Answer> = serde_json::from_slice(body).ok();
    let fault = |what: &str| TokenError::Malformed(format!("{status} {what}"));
    if status >= 500 || status == 429 {
        return Err(TokenError::Unreachable(format!("it answers {status}")));
    }
    let answer = answer.ok_or_else(|| fault("without the JSON of RFC 6749"))?;
    if let Some(error) = answer.error {
        return Err(TokenError::Refused {
            error: printable(&error),
            description: printable(&answer.error_description.unwrap_or_default()),
        });
    }
    if status != 200 {
        return Err(fault("without an error in its JSON"));
    }
    let token = answer.access_token.filter(|token| {
        let graphic = token.bytes().all(|octet| octet.is_ascii_graphic());
        (1..=LONGEST_TOKEN).contains(&token.len()) && graphic
    });
    let lifetime = match &answer.expires_in {
        None => Some(UNTOLD),
        // Some write the number as a string.
        Some(Value::String(text)) => text.parse().ok().map(Duration::from_secs),
        Some(value) => value.as_u64().map(Duration::from_secs),
    };
    let lifetime = lifetime.filter(|lifetime| !lifetime.is_zero());
    Ok(Granted {
        token: Secret::new(token.ok_or_else(|| fault("without a token that can be sent"))?),
        lifetime: lifetime
            .ok_or_else(|| fault("with an expires_in that is no number of seconds"))?
            .min(LONGEST),
        refresh_token: answer
            .refresh_token
            .filter(|token| (1..=LONGEST_TOKEN).contains(&token.len()))
            .map(Secret::new),
    })
}

/// A stranger's words, for a log line.
fn printable(text: &str) -> String {
    let plain = text
        .chars()
        .map(|one| if one.is_control() { ' ' } else { one });
    plain.take(LONGEST_TEXT).collect()
}
