//! Logins of a session: how they begin, and that they last only as long as what they rest on.

use std::time::Duration;

use relay_config::ScramVerifier;
use relay_smtp::server::{Answer, Login, LoginVerdict, ScramFault, ScramLogin, ScramStart, Token};

use crate::authentication::{Authenticator, Proof, TokenFault, Verdict, token};
use crate::context::now;
use crate::listener::Claim;
use crate::snapshot::Snapshot;

use super::Session;

/// A failed login costs a guesser this long.
const FAILED_LOGIN_PAUSE: Duration = Duration::from_secs(1);

/// Characters of a user name in the log.
const LONGEST_SHOWN: usize = 128;

const OTHER_CHANNEL: Answer = Answer::fixed(
    535,
    "5.7.8",
    "the login is bound to another connection than this; something stands between client and relay",
);
const REVOKED: Answer = Answer::fixed(
    421,
    "4.7.0",
    "the login of this session is no longer valid; connect and authenticate again",
);
const EXPIRED: Answer = Answer::fixed(
    421,
    "4.7.0",
    "the token of this session has expired; connect and authenticate with a fresh one",
);

const TOO_MANY_SESSIONS: Answer = Answer::fixed(
    421,
    "4.7.0",
    "too many sessions are authenticated as you; close some, or reuse them",
);

/// Who the client proved to be.
pub(super) struct Identified {
    identity: String,
    basis: Basis,
    /// Counts the session as one of the identity's.
    _claim: Claim<String>,
}

/// What the proof rests on.
enum Basis {
    Password {
        username: String,
        verifier: ScramVerifier,
    },
    Token {
        issuer: relay_config::Issuer,
        /// Seconds since the Unix epoch.
        expires_at: u64,
    },
}

/// Why a login holds no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lapse {
    Revoked,
    Expired,
}

impl Identified {
    pub(super) fn name(&self) -> &str {
        &self.identity
    }

    /// Whether the proof would still be one under this configuration, at this time.
    fn lapse(&self, snapshot: &Snapshot, seconds: u64) -> Option<Lapse> {
        let holds = match &self.basis {
            Basis::Password { username, verifier } => {
                snapshot.credentials.get(username).is_some_and(|known| {
                    known.identity == self.identity && known.verifiers.contains(verifier)
                })
            }
            Basis::Token { expires_at, .. } if token::has_expired(*expires_at, seconds) => {
                return Some(Lapse::Expired);
            }
            Basis::Token { issuer, .. } => snapshot.issuers.has(issuer),
        };
        (!holds).then_some(Lapse::Revoked)
    }
}

impl Session {
    /// Ends the session when its login was revoked: the password was rotated out, the credential or
    /// the issuer is gone. A token that has expired lets what was begun come to its end.
    pub(super) fn end_if_revoked(&mut self) -> bool {
        self.end_if(|lapse| lapse == Lapse::Revoked)
    }

    /// Ends the session when its login would not be one any more.
    pub(super) fn end_if_lapsed(&mut self) -> bool {
        self.end_if(|_| true)
    }

    fn end_if(&mut self, counts: impl Fn(Lapse) -> bool) -> bool {
        let Some(login) = &self.login else {
            return false;
        };
        let snapshot = self.inbound.context.snapshot.load();
        let lapse = login.lapse(&snapshot, seconds());
        let (reason, answer) = match lapse.filter(|lapse| counts(*lapse)) {
            None => return false,
            Some(Lapse::Revoked) => ("login_revoked", REVOKED),
            Some(Lapse::Expired) => ("token_expired", EXPIRED),
        };
        self.inbound.context.metrics.refused(reason);
        tracing::info!(
            reason,
            identity = login.identity,
            session = %self.id,
            listener = self.listener.name,
            peer = %self.peer,
            "session ended"
        );
        self.login = None;
        self.server.end(&answer);
        true
    }

    pub(super) async fn log_in(&mut self, login: Login) {
        let snapshot = self.inbound.context.snapshot.load_full();
        let password = login.password.expose();
        // Many clients know no mechanism for tokens and send them as any password.
        if !snapshot.issuers.list.is_empty() && token::looks_like_one(password) {
            let token = Token::new(password);
            self.log_in_by_token(login.mechanism, &login.username, &token)
                .await;
            return;
        }
        let authenticator = &self.inbound.authenticator;
        match authenticator.check(&snapshot.credentials, &login).await {
            Verdict::Granted { identity, verifier } => {
                let basis = Basis::Password {
                    username: login.username,
                    verifier,
                };
                self.granted(login.mechanism, identity, basis);
            }
            Verdict::Denied => {
                self.denied(login.mechanism, &login.username, "denied", None)
                    .await;
            }
            Verdict::Unavailable => {
                let metrics = &self.inbound.context.metrics;
                metrics.authentication(login.mechanism, "unavailable");
                tracing::warn!(session = %self.id, peer = %self.peer, "a password could not be checked in time");
                self.server.answer_login(LoginVerdict::Unavailable);
            }
        }
    }

    pub(super) async fn log_in_by_token(
        &mut self,
        mechanism: &'static str,
        username: &str,
        token: &Token,
    ) {
        let snapshot = self.inbound.context.snapshot.load_full();
        let issuers = &snapshot.issuers;
        let verdict = self
            .inbound
            .authenticator
            .check_token(issuers, token, seconds())
            .and_then(|proof| whose(proof, mechanism, username));
        let known = verdict.and_then(|proof| {
            let issuer = issuers.named(&proof.issuer);
            let issuer = issuer.cloned().ok_or(TokenFault::IssuerUnknown)?;
            Ok((proof, issuer))
        });
        match known {
            Ok((proof, issuer)) => {
                let basis = Basis::Token {
                    issuer,
                    expires_at: proof.expires_at,
                };
                self.granted(mechanism, proof.identity, basis);
            }
            Err(fault) => {
                self.denied(mechanism, username, fault.name(), Some(fault.answer()))
                    .await;
            }
        }
    }

    pub(super) fn challenge(&mut self, start: &ScramStart) {
        let snapshot = self.inbound.context.snapshot.load();
        match Authenticator::challenge(&snapshot.credentials, &snapshot.decoy, &start.username) {
            Some((challenge, verifiers)) => {
                self.scram = verifiers;
                self.server.answer_scram(challenge);
            }
            None => self.server.answer_login(LoginVerdict::Unavailable),
        }
    }

    pub(super) async fn log_in_by_scram(&mut self, login: ScramLogin) {
        let verifiers = std::mem::take(&mut self.scram);
        let (fault, answer) = match login.outcome {
            Ok(place) => {
                let snapshot = self.inbound.context.snapshot.load_full();
                let known = snapshot.credentials.get(&login.username);
                // The credential may have changed since the challenge.
                let verifier = verifiers.into_iter().nth(place);
                let still = known
                    .zip(verifier)
                    .filter(|(credential, verifier)| credential.verifiers.contains(verifier));
                if let Some((credential, verifier)) = still {
                    let basis = Basis::Password {
                        username: login.username,
                        verifier,
                    };
                    let identity = credential.identity.clone();
                    return self.granted(login.mechanism, identity, basis);
                }
                ("denied", None)
            }
            Err(fault @ ScramFault::Proof) => (fault.name(), None),
            Err(fault @ ScramFault::ChannelBinding) => (fault.name(), Some(OTHER_CHANNEL)),
        };
        self.denied(login.mechanism, &login.username, fault, answer)
            .await;
    }

    fn granted(&mut self, mechanism: &'static str, identity: String, basis: Basis) {
        let metrics = &self.inbound.context.metrics;
        metrics.authentication(mechanism, "ok");
        tracing::debug!(identity, mechanism, "authenticated");
        let most = self.limits.connections_per_identity;
        let Some(claim) = self.inbound.identities.claim(identity.clone(), most) else {
            self.inbound.context.metrics.refused("identity_sessions");
            tracing::info!(
                identity,
                most,
                session = %self.id,
                listener = self.listener.name,
                peer = %self.peer,
                "the identity has too many sessions"
            );
            return self.server.end(&TOO_MANY_SESSIONS);
        };
        self.login = Some(Identified {
            identity,
            basis,
            _claim: claim,
        });
        self.server.answer_login(LoginVerdict::Granted);
    }

    async fn denied(
        &mut self,
        mechanism: &'static str,
        username: &str,
        reason: &'static str,
        answer: Option<Answer>,
    ) {
        let metrics = &self.inbound.context.metrics;
        metrics.authentication(mechanism, reason);
        tracing::info!(
            username = shown(username),
            mechanism,
            reason,
            session = %self.id,
            listener = self.listener.name,
            peer = %self.peer,
            "authentication refused"
        );
        tokio::time::sleep(FAILED_LOGIN_PAUSE).await;
        self.server.answer_login(match answer {
            Some(answer) => LoginVerdict::Refused(answer),
            None => LoginVerdict::Denied,
        });
    }
}

/// A user name for the log: not as long as a line may be, and no token, which clients that are set up
/// the wrong way round send there.
fn shown(username: &str) -> &str {
    if token::looks_like_one(username) {
        return "[a token]";
    }
    let end = username
        .char_indices()
        .nth(LONGEST_SHOWN)
        .map_or(username.len(), |(end, _)| end);
    &username[..end]
}

/// With a password's mechanism the user name must not contradict the token; with the mechanisms for
/// tokens it is what the client likes to show, often an address.
fn whose(proof: Proof, mechanism: &str, username: &str) -> Result<Proof, TokenFault> {
    let is_password = matches!(mechanism, "PLAIN" | "LOGIN");
    let bare = proof.identity.split_once(':').map(|(_, name)| name);
    let agrees = username.is_empty()
        || username == "token"
        || username == proof.identity
        || Some(username) == bare
        || bare
            .and_then(|name| name.split_once('/'))
            .map(|(_, name)| name)
            == Some(username);
    if is_password && !agrees {
        return Err(TokenFault::OtherIdentity);
    }
    Ok(proof)
}

fn seconds() -> u64 {
    now().0 / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_name_is_logged_short_and_never_a_token() {
        assert_eq!(shown("shop.orders"), "shop.orders");
        assert_eq!(shown(&"\u{e5}".repeat(500)).chars().count(), LONGEST_SHOWN);
        assert_eq!(
            shown("eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2ln"),
            "[a token]"
        );
    }
}
