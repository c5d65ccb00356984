//! Which smarthosts refuse our logins, for the relay's status. Pure.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use relay_config::{Config, SmarthostAuthentication, SmarthostLoginStatus};
use relay_smtp::client::{Failure, Stage};

use super::connection::ConnectionError;

/// Characters of a server's words that are told.
const QUOTED: usize = 300;

/// What a smarthost said of a login.
#[derive(Debug)]
struct Refusal {
    /// What it was asked with: other credentials are judged anew.
    authentication: SmarthostAuthentication,
    error: String,
}

/// Refused logins by host, as configured; at most one entry for each smarthost of the configuration.
#[derive(Debug, Default)]
pub(crate) struct Logins(Mutex<BTreeMap<Box<str>, Refusal>>);

impl Logins {
    /// Takes what came of opening a session with these credentials. What says nothing of the login, such as
    /// a host that cannot be reached, changes nothing.
    pub(super) fn learn<T>(
        &self,
        host: &str,
        authentication: &SmarthostAuthentication,
        opened: &Result<T, ConnectionError>,
    ) {
        let error = match opened {
            Ok(_) => None,
            Err(ConnectionError::Session(failure)) if is_about_login(failure) => Some(failure),
            Err(_) => return,
        };
        let mut refused = self.0.lock();
        let Some(error) = error else {
            if refused.remove(host).is_some() {
                tracing::info!(smarthost = host, "the login is taken again");
            }
            return;
        };
        let refusal = Refusal {
            authentication: authentication.clone(),
            error: error.to_string().chars().take(QUOTED).collect(),
        };
        if refused.insert(host.into(), refusal).is_none() {
            tracing::error!(
                smarthost = host, %error,
                "the login is refused; mail is kept until the credentials are right"
            );
        }
    }

    /// Forgets logins that a configuration no longer makes.
    pub(super) fn keep(&self, config: &Config) {
        self.0.lock().retain(|host, refusal| {
            config.delivery.all_smarthosts().any(|(_, one)| {
                one.host.as_str() == &**host
                    && one.authentication.as_ref() == Some(&refusal.authentication)
            })
        });
    }

    /// The refused ones.
    pub(crate) fn status(&self) -> Vec<SmarthostLoginStatus> {
        let refused = self.0.lock();
        let told = refused.iter().map(|(host, refusal)| SmarthostLoginStatus {
            smarthost: host.to_string(),
            error: refusal.error.clone(),
        });
        told.collect()
    }
}

/// Whether the server, or we with what it offers, will not have this login next time either.
fn is_about_login(failure: &Failure) -> bool {
    match failure {
        // A 4xx is about the server's own state (454, RFC 4954 section 4.7.1).
        Failure::Refused { stage, reply } => *stage == Stage::Authentication && reply.code() >= 500,
        Failure::AuthenticationNeedsTls | Failure::NoMechanism | Failure::Login(_) => true,
        Failure::TlsNotOffered
        | Failure::TlsRefused(_)
        | Failure::Reply(_)
        | Failure::Unasked
        | Failure::OutOfOrder => false,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;

    fn with(password: &str) -> SmarthostAuthentication {
        serde_json::from_value(json!({"username": "shop", "password": password})).unwrap()
    }

    fn failed(error: ConnectionError) -> Result<(), ConnectionError> {
        Err(error)
    }

    #[test]
    fn a_refusal_is_told_until_a_login_is_taken_whatever_else_fails_meanwhile() {
        let logins = Logins::default();
        let refusal = || failed(ConnectionError::Session(Failure::NoMechanism));
        logins.learn("smtp.test", &with("a"), &failed(ConnectionError::Closed));
        assert!(logins.status().is_empty());
        logins.learn("smtp.test", &with("a"), &refusal());
        logins.learn("smtp.test", &with("a"), &failed(ConnectionError::Closed));
        assert_eq!(logins.status().len(), 1);
        logins.learn("other.test", &with("a"), &Ok(()));
        assert_eq!(logins.status().len(), 1);
        logins.learn("smtp.test", &with("a"), &Ok(()));
        assert!(logins.status().is_empty());
    }

    #[test]
    fn other_credentials_or_none_are_judged_anew() {
        let config = |password: &str| {
            let text = format!(
                "version: 1\nrelay: a\nhostname: a.example\nlisteners:\n\
                 - {{name: first, address: '127.0.0.1:2525', tls: None}}\n\
                 delivery: {{smarthosts: [{{host: smtp.test, port: 587, authentication: {{username: shop, \
                 password: {password}}}}}]}}\n"
            );
            let name = PathBuf::from("relay.yaml");
            let source = BTreeMap::from([(name.clone(), text.into_bytes())]);
            relay_config::parse_files(&name, &source).unwrap().config
        };
        let logins = Logins::default();
        let refusal = failed(ConnectionError::Session(Failure::NoMechanism));
        logins.learn("smtp.test", &with("a"), &refusal);
        logins.keep(&config("a"));
        assert_eq!(logins.status().len(), 1);
        logins.keep(&config("b"));
        assert!(logins.status().is_empty());
    }
}
