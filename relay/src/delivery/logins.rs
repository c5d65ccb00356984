//! Which smarthosts refuse our logins, for the relay's status. Pure.

use parking_lot::Mutex;
use relay_config::{Config, SmarthostAuthentication, SmarthostLoginStatus};
use relay_smtp::EnhancedCode;
use relay_smtp::client::{Failure, Stage};

use super::connection::ConnectionError;

/// Characters of a server's words that are told.
const QUOTED: usize = 300;

/// Logins that are told: one is enough to know that something is wrong.
const TOLD: usize = 8;

/// Why a login is not taken, without words that differ each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Refused(u16, Option<EnhancedCode>),
    NeedsTls,
    NoMechanism,
    Exchange,
}

/// What a smarthost said of a login.
#[derive(Debug)]
struct Refusal {
    host: Box<str>,
    authentication: SmarthostAuthentication,
    cause: Cause,
    /// As it was said first: servers put the number of a session into it.
    error: String,
}

impl Refusal {
    fn is_of(&self, host: &str, authentication: &SmarthostAuthentication) -> bool {
        &*self.host == host && self.authentication == *authentication
    }
}

/// Refused logins; at most one entry for each smarthost of the configuration.
#[derive(Debug, Default)]
pub(crate) struct Logins(Mutex<Vec<Refusal>>);

impl Logins {
    /// Takes what came of opening a session with these credentials. What says nothing of the login, such as
    /// a host that cannot be reached, changes nothing; nor does an attempt with credentials that `config`, the
    /// one in force, no longer has.
    pub(super) fn learn<T>(
        &self,
        config: &Config,
        host: &str,
        authentication: &SmarthostAuthentication,
        opened: &Result<T, ConnectionError>,
    ) {
        let failure = match opened {
            Ok(_) => None,
            Err(ConnectionError::Session(failure)) => match cause(failure) {
                Some(cause) => Some((cause, failure)),
                None => return,
            },
            Err(_) => return,
        };
        let mut refused = self.0.lock();
        let known = refused
            .iter()
            .position(|one| one.is_of(host, authentication));
        match (failure, known) {
            (None, None) => {}
            (None, Some(index)) => {
                refused.swap_remove(index);
                tracing::info!(smarthost = host, "the login is taken again");
            }
            (Some((cause, _)), Some(index)) if refused[index].cause == cause => {}
            (Some(_), None) if !is_wanted(config, host, authentication) => {}
            (Some((cause, failure)), known) => {
                tracing::error!(
                    smarthost = host, error = %failure,
                    "the login is not taken; mail is kept until it is"
                );
                if let Some(index) = known {
                    refused.swap_remove(index);
                }
                refused.push(Refusal {
                    host: host.into(),
                    authentication: authentication.clone(),
                    cause,
                    error: failure.to_string().chars().take(QUOTED).collect(),
                });
            }
        }
    }

    /// Forgets logins that a configuration no longer makes.
    pub(super) fn keep(&self, config: &Config) {
        let mut refused = self.0.lock();
        refused.retain(|one| is_wanted(config, &one.host, &one.authentication));
    }

    /// The refused ones, by host; the first [`TOLD`] of them.
    pub(crate) fn status(&self) -> Vec<SmarthostLoginStatus> {
        let refused = self.0.lock();
        let told = refused.iter().map(|refusal| SmarthostLoginStatus {
            smarthost: refusal.host.to_string(),
            error: refusal.error.clone(),
        });
        let mut told: Vec<_> = told.collect();
        told.sort_by(|one, other| {
            (&one.smarthost, &one.error).cmp(&(&other.smarthost, &other.error))
        });
        told.truncate(TOLD);
        told
    }
}

fn is_wanted(config: &Config, host: &str, authentication: &SmarthostAuthentication) -> bool {
    let mut smarthosts = config.delivery.all_smarthosts();
    smarthosts
        .any(|(_, one)| one.host == host && one.authentication.as_ref() == Some(authentication))
}

/// Why the server, or we with what it offers, will not have this login next time either; `None` for what says
/// nothing of that.
fn cause(failure: &Failure) -> Option<Cause> {
    match failure {
        // A 4xx is about the server's own state (454, RFC 4954 section 4.7.1).
        Failure::Refused { stage, reply } => (*stage == Stage::Authentication
            && reply.code() >= 500)
            .then(|| Cause::Refused(reply.code(), reply.enhanced())),
        Failure::AuthenticationNeedsTls => Some(Cause::NeedsTls),
        Failure::NoMechanism => Some(Cause::NoMechanism),
        Failure::Login(_) => Some(Cause::Exchange),
        Failure::TlsNotOffered
        | Failure::TlsRefused(_)
        | Failure::Reply(_)
        | Failure::Unasked
        | Failure::OutOfOrder => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use relay_smtp::Reply;
    use serde_json::json;

    use super::*;

    const HOST: &str = "smtp.test";

    fn with(password: &str) -> SmarthostAuthentication {
        serde_json::from_value(json!({"username": "shop", "password": password})).unwrap()
    }

    /// A relay with a smarthost for each password, all at one host.
    fn config(passwords: &[&str]) -> Config {
        let smarthosts: Vec<String> = passwords
            .iter()
            .map(|password| {
                format!(
                    "{{host: {HOST}, port: 587, authentication: {{username: shop, password: {password}}}}}"
                )
            })
            .collect();
        let text = format!(
            "version: 1\nrelay: a\nhostname: a.example\nlisteners:\n\
             - {{name: first, address: '127.0.0.1:2525', tls: None}}\n\
             delivery: {{smarthosts: [{}]}}\n",
            smarthosts.join(", ")
        );
        let name = PathBuf::from("relay.yaml");
        let source = BTreeMap::from([(name.clone(), text.into_bytes())]);
        relay_config::parse_files(&name, &source).unwrap().config
    }

    fn failed(error: ConnectionError) -> Result<(), ConnectionError> {
        Err(error)
    }

    fn refused(code: u16, words: &str) -> Result<(), ConnectionError> {
        failed(ConnectionError::Session(Failure::Refused {
            stage: Stage::Authentication,
            reply: Reply::new(code, None, words),
        }))
    }

    #[test]
    fn a_refusal_is_told_until_that_login_is_taken_whatever_else_happens_meanwhile() {
        let (logins, config) = (Logins::default(), config(&["a", "b"]));
        let learn = |password, opened: Result<(), ConnectionError>| {
            logins.learn(&config, HOST, &with(password), &opened);
        };
        learn("a", failed(ConnectionError::Closed));
        learn("a", refused(454, "busy"));
        assert!(logins.status().is_empty());
        learn("a", refused(535, "no, session 1"));
        learn("a", failed(ConnectionError::Closed));
        learn("b", Ok(()));
        // In the words of the first time: a status does not change with each attempt.
        learn("a", refused(535, "no, session 2"));
        let told = logins.status();
        assert_eq!(told.len(), 1);
        assert!(told[0].error.contains("session 1"), "{told:?}");
        learn("a", failed(ConnectionError::Session(Failure::NoMechanism)));
        let told = logins.status();
        assert_eq!(told.len(), 1);
        assert!(!told[0].error.contains("session"), "{told:?}");
        learn("a", Ok(()));
        assert!(logins.status().is_empty());
    }

    #[test]
    fn other_credentials_or_none_are_judged_anew() {
        let logins = Logins::default();
        let learn = |config: &Config| logins.learn(config, HOST, &with("a"), &refused(535, "no"));
        learn(&config(&["a"]));
        logins.keep(&config(&["a"]));
        assert_eq!(logins.status().len(), 1);
        logins.keep(&config(&["b"]));
        assert!(logins.status().is_empty());
        // An attempt that began before.
        learn(&config(&["b"]));
        assert!(logins.status().is_empty());
    }
}
