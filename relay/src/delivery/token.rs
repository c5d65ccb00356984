//! Access tokens for logins at smarthosts (RFC 6749): granted to the client itself (section 4.4) or
//! by a refresh token (section 6), kept, and renewed before they run out.
//!
//! One request per set of settings is under way at a time; who needs the token meanwhile waits for it.
//! After a failure the endpoint is left alone for [`PAUSE`]; a token that still holds is used on. A
//! refresh token that the endpoint replaces is kept in memory only: a restart begins with the
//! configured one.

mod exchange;
mod fetch;

pub(super) use fetch::LIMIT;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use relay_config::{Config, OAuth2, Secret, SmarthostTokenStatus};
use relay_queue::Timestamp;
use rustls::ClientConfig;

use super::resolve::Resolver;
use crate::context::now;

/// How long an endpoint is left alone after a failure.
const PAUSE: Duration = Duration::from_secs(30);
/// Age of a token below which a server's refusal brings no new one: it would be as good.
const YOUNG: Duration = Duration::from_mins(1);

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// The endpoint cannot be asked.
    #[error("the token endpoint cannot be asked: {0}")]
    Unreachable(String),
    /// It refuses: the settings are at fault.
    #[error("the token endpoint refuses: {error}{}", described(.description))]
    Refused {
        /// As in RFC 6749 section 5.2.
        error: String,
        /// In its words.
        description: String,
    },
    /// Its answer is no token.
    #[error("the token endpoint answers {0}")]
    Malformed(String),
}

fn described(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(" ({text})")
    }
}

/// A token with its times.
#[derive(Clone)]
struct Token {
    text: Secret,
    fetched_at: Timestamp,
    renew_at: Timestamp,
    expires_at: Timestamp,
}

/// What is known for one set of settings.
#[derive(Default)]
struct State {
    token: Option<Token>,
    /// In place of the configured one.
    refresh_token: Option<Secret>,
    failed: Option<(Timestamp, TokenError)>,
}

/// What to do for a token. Pure.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Use(Secret),
    Fetch,
    Fail(TokenError),
}

impl State {
    fn step(&self, now: Timestamp) -> Step {
        let holds = self.token.as_ref().filter(|token| now < token.expires_at);
        let paused = self.failed.as_ref().filter(|(until, _)| now < *until);
        match (holds, paused) {
            (Some(token), None) if now >= token.renew_at => Step::Fetch,
            (Some(token), _) => Step::Use(token.text.clone()),
            (None, Some((_, error))) => Step::Fail(error.clone()),
            (None, None) => Step::Fetch,
        }
    }

    /// Takes what the endpoint said; the token that can be used now.
    fn learn(
        &mut self,
        found: Result<exchange::Granted, TokenError>,
        now: Timestamp,
    ) -> Result<Secret, TokenError> {
        match found {
            Ok(granted) => {
                if let Some(rotated) = granted.refresh_token {
                    self.refresh_token = Some(rotated);
                }
                self.failed = None;
                let lifetime = u64::try_from(granted.lifetime.as_millis()).unwrap_or(u64::MAX);
                // A fifth of its life, at most five minutes, is kept in reserve.
                let reserve = (lifetime / 5).min(300_000);
                let expires = now.0.saturating_add(lifetime);
                self.token = Some(Token {
                    text: granted.token.clone(),
                    fetched_at: now,
                    renew_at: Timestamp(expires - reserve),
                    expires_at: Timestamp(expires),
                });
                Ok(granted.token)
            }
            Err(error) => {
                let pause = u64::try_from(PAUSE.as_millis()).unwrap_or(u64::MAX);
                self.failed = Some((Timestamp(now.0.saturating_add(pause)), error.clone()));
                let holds = self.token.as_ref().filter(|token| now < token.expires_at);
                holds.map(|token| token.text.clone()).ok_or(error)
            }
        }
    }

    /// Drops a token that a server refused, unless it is young; whether another may be had.
    fn reject(&mut self, refused: &str, now: Timestamp) -> bool {
        match &self.token {
            Some(token) if token.text.expose() == refused => {
                let young = u64::try_from(YOUNG.as_millis()).unwrap_or(u64::MAX);
                let old = now.0.saturating_sub(token.fetched_at.0) >= young;
                if old {
                    self.token = None;
                }
                old
            }
            // Somebody else has renewed it already.
            Some(_) => true,
            None => false,
        }
    }
}

struct Slot {
    settings: OAuth2,
    /// Held while the endpoint is asked.
    asking: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

/// All tokens of a relay.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<Vec<Arc<Slot>>>);

/// How to reach a token endpoint.
pub(super) struct Way {
    pub(super) resolver: Arc<Resolver>,
    pub(super) tls: Arc<ClientConfig>,
    /// Time for everything.
    pub(super) limit: Duration,
}

impl Tokens {
    /// The token for these settings.
    pub(super) async fn get(&self, settings: &OAuth2, way: &Way) -> Result<Secret, TokenError> {
        let slot = self.slot(settings);
        match slot.state.lock().step(now()) {
            Step::Use(token) => return Ok(token),
            Step::Fail(error) => return Err(error),
            Step::Fetch => {}
        }
        let _asking = slot.asking.lock().await;
        let refresh = {
            let state = slot.state.lock();
            match state.step(now()) {
                Step::Use(token) => return Ok(token),
                Step::Fail(error) => return Err(error),
                Step::Fetch => state.refresh_token.clone(),
            }
        };
        let refresh = refresh.as_ref().or(settings.refresh_token.as_ref());
        let found = fetch::ask(way, settings, refresh).await;
        let rotated = found
            .as_ref()
            .is_ok_and(|found| found.refresh_token.is_some());
        if rotated {
            tracing::warn!(
                endpoint = settings.token_url,
                "the token endpoint replaced the refresh token; the new one is kept in memory only, so \
                 that a restart begins with the configured one"
            );
        }
        if let Err(error) = &found {
            tracing::error!(endpoint = settings.token_url, %error, "no access token");
        }
        slot.state.lock().learn(found, now())
    }

    /// A server refused this token; whether to ask for another.
    pub(super) fn reject(&self, settings: &OAuth2, token: &str) -> bool {
        self.slot(settings).state.lock().reject(token, now())
    }

    fn slot(&self, settings: &OAuth2) -> Arc<Slot> {
        let mut slots = self.0.lock();
        if let Some(slot) = slots.iter().find(|slot| slot.settings == *settings) {
            return slot.clone();
        }
        let slot = Arc::new(Slot {
            settings: settings.clone(),
            asking: tokio::sync::Mutex::default(),
            state: Mutex::default(),
        });
        slots.push(slot.clone());
        slot
    }

    /// Forgets tokens that a configuration does not want, and the secrets with them.
    pub(super) fn keep(&self, config: &Config) {
        let wanted = wanted(config);
        let mut slots = self.0.lock();
        slots.retain(|slot| wanted.iter().any(|(_, one)| **one == slot.settings));
    }

    /// What is known of the tokens of a configuration.
    pub(crate) fn status(&self, config: &Config) -> Vec<SmarthostTokenStatus> {
        let wanted = wanted(config);
        let slots = self.0.lock();
        let status = |(host, settings): &(&str, &OAuth2)| {
            let slot = slots.iter().find(|slot| slot.settings == **settings);
            let state = slot.map(|slot| slot.state.lock());
            let state = state.as_ref();
            SmarthostTokenStatus {
                smarthost: (*host).to_owned(),
                expires_at: state
                    .and_then(|state| state.token.as_ref())
                    .map(|token| token.expires_at.0 / 1000),
                error: state
                    .and_then(|state| state.failed.as_ref())
                    .map(|(_, error)| error.to_string()),
            }
        };
        wanted.iter().map(status).collect()
    }
}

/// The settings for tokens in a configuration, with their smarthosts.
fn wanted(config: &Config) -> Vec<(&str, &OAuth2)> {
    let smarthosts = config.delivery.all_smarthosts();
    smarthosts
        .filter_map(|(_, host)| {
            let oauth2 = host.authentication.as_ref()?.oauth2.as_ref()?;
            Some((host.host.as_str(), oauth2))
        })
        .collect()
}

#[cfg(test)]
pub(in crate::delivery) mod tests;
