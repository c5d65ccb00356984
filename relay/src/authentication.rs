//! Checks user names and passwords against the configuration's verifiers, and tokens against the
//! keys of its issuers ([`token`]).
//!
//! A check costs a millisecond of CPU and more by design, so it runs off the worker threads, a few
//! at a time. What was proven once is remembered under a keyed hash, so that an application that
//! connects for every message pays once; the memory holds no password, is bounded, and never
//! outlives the verifier that it was made of. Unknown names cost as much as known ones, so that
//! time does not tell who exists, and SCRAM challenges them with a salt of their own ([`decoy`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use parking_lot::Mutex;
use relay_config::ScramVerifier;
use relay_smtp::server::{Login, Password, ScramChallenge, ScramKey, Token};
use tokio::sync::Semaphore;

use crate::snapshot::Credential;

mod decoy;
mod proven;
pub(crate) mod token;

pub(crate) use decoy::Decoy;
pub(crate) use token::{Issuer, Proof, TokenFault};

use proven::{Proven, Tag};

/// How long a login waits for its turn before it is put off with 454.
const PATIENCE: Duration = Duration::from_secs(10);

/// Credentials by user name.
type Credentials = HashMap<String, Arc<Credential>>;

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The client is this identity, by this verifier.
    Granted {
        identity: String,
        verifier: ScramVerifier,
    },
    /// The name or the password is wrong.
    Denied,
    /// There was no time to find out.
    Unavailable,
}

/// The issuers in force.
#[derive(Clone, Debug, Default)]
pub(crate) struct Issuers {
    pub(crate) list: Vec<Issuer>,
    /// Over the issuers with their keys; without one nothing is remembered of their tokens.
    pub(crate) fingerprint: Option<[u8; 32]>,
}

impl Issuers {
    /// Whether an issuer is in force as it was, its keys aside.
    pub(crate) fn has(&self, settings: &relay_config::Issuer) -> bool {
        self.list.iter().any(|issuer| issuer.settings == *settings)
    }

    /// The issuer of a name.
    pub(crate) fn named(&self, name: &str) -> Option<&relay_config::Issuer> {
        let mut all = self.list.iter().map(|issuer| &issuer.settings);
        all.find(|settings| settings.name == name)
    }
}

#[derive(Clone)]
struct ProvenToken {
    issuers: [u8; 32],
    proof: Proof,
}

/// Shared by all sessions.
pub(crate) struct Authenticator {
    /// As many checks at a time as the machine has processors.
    permits: Arc<Semaphore>,
    /// Random per process, so that what is remembered means nothing elsewhere. Without random
    /// numbers nothing is remembered.
    key: Option<hmac::Key>,
    proven: Mutex<Proven<ScramVerifier>>,
    tokens: Mutex<Proven<ProvenToken>>,
    /// Checked for unknown names when there is no credential at all.
    decoy: Arc<Credential>,
}

impl Authenticator {
    /// Remembers nothing yet.
    pub(crate) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let verifier = ScramVerifier::derive("", &[0; 16], ScramVerifier::GENERATED_ITERATIONS);
        Self {
            permits: Arc::new(Semaphore::new(processors)),
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok(),
            proven: Mutex::new(Proven::default()),
            tokens: Mutex::new(Proven::default()),
            decoy: Arc::new(Credential {
                identity: String::new(),
                verifiers: vec![verifier],
            }),
        }
    }

    /// Whether `login` is who it says.
    pub(crate) async fn check(&self, credentials: &Credentials, login: &Login) -> Verdict {
        let tag = self.tag(login);
        let known = credentials.get(&login.username);
        if let (Some(credential), Some(tag)) = (known, &tag)
            && let Some(verifier) = self.proven.lock().get(tag)
            && credential.verifiers.contains(&verifier)
        {
            return Verdict::Granted {
                identity: credential.identity.clone(),
                verifier,
            };
        }
        let credential = known.unwrap_or_else(|| self.decoy(credentials, tag.as_ref()));
        let permits = Arc::clone(&self.permits);
        let Ok(Ok(permit)) = tokio::time::timeout(PATIENCE, permits.acquire_owned()).await else {
            return Verdict::Unavailable;
        };
        let judged = Arc::clone(credential);
        let password = login.password.clone();
        let matching = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            matching(&judged, &password)
        });
        match (matching.await, known) {
            (Ok(Some(verifier)), Some(credential)) => {
                if let Some(tag) = tag {
                    self.proven.lock().insert(tag, verifier.clone());
                }
                Verdict::Granted {
                    identity: credential.identity.clone(),
                    verifier,
                }
            }
            (Ok(_), _) => Verdict::Denied,
            (Err(_), _) => Verdict::Unavailable,
        }
    }

    /// Judges a token at `now`, in seconds since the Unix epoch. What was judged good is remembered
    /// until it expires or the issuers or their keys change.
    pub(crate) fn check_token(
        &self,
        issuers: &Issuers,
        token: &Token,
        now: u64,
    ) -> Result<Proof, TokenFault> {
        let tag = self.key.as_ref().and_then(|key| {
            let tag = hmac::sign(key, token.expose().as_bytes());
            <Tag>::try_from(tag.as_ref()).ok()
        });
        let known = tag.as_ref().and_then(|tag| self.tokens.lock().get(tag));
        if let Some(known) = known
            && issuers.fingerprint == Some(known.issuers)
            && !token::has_expired(known.proof.expires_at, now)
        {
            return Ok(known.proof);
        }
        let proof = token::verify(token.expose(), &issuers.list, now)?;
        if let (Some(tag), Some(fingerprint)) = (tag, issuers.fingerprint) {
            let proven = ProvenToken {
                issuers: fingerprint,
                proof: proof.clone(),
            };
            self.tokens.lock().insert(tag, proven);
        }
        Ok(proof)
    }

    /// What a client that wants to use SCRAM is challenged with, and the verifiers behind its keys.
    /// `None` without random numbers.
    ///
    /// While a password is being rotated both verifiers have the salt of the older one, so that both
    /// passwords fit the one challenge; a verifier with another salt cannot be used by SCRAM as long
    /// as it is not the first.
    pub(crate) fn challenge(
        credentials: &Credentials,
        decoy: &Decoy,
        username: &str,
    ) -> Option<(ScramChallenge, Vec<ScramVerifier>)> {
        let mut random = [0; 18];
        SystemRandom::new().fill(&mut random).ok()?;
        let nonce = BASE64.encode(random);
        let known = credentials.get(username);
        let Some((known, first)) = known.and_then(|known| Some((known, known.verifiers.first()?)))
        else {
            let challenge = ScramChallenge {
                nonce,
                salt: decoy.salt(username),
                iterations: decoy.iterations(),
                keys: Vec::new(),
            };
            return Some((challenge, Vec::new()));
        };
        let same = |verifier: &&ScramVerifier| {
            verifier.salt() == first.salt() && verifier.iterations() == first.iterations()
        };
        let verifiers: Vec<_> = known.verifiers.iter().filter(same).cloned().collect();
        let keys = verifiers.iter().map(|verifier| ScramKey {
            stored: verifier.stored_key(),
            server: verifier.server_key(),
        });
        let challenge = ScramChallenge {
            nonce,
            salt: first.salt().to_vec(),
            iterations: first.iterations(),
            keys: keys.collect(),
        };
        Some((challenge, verifiers))
    }

    /// Keyed hash of name and password; the length keeps the two apart.
    fn tag(&self, login: &Login) -> Option<Tag> {
        let mut context = hmac::Context::with_key(self.key.as_ref()?);
        context.update(&login.username.len().to_le_bytes());
        context.update(login.username.as_bytes());
        context.update(login.password.expose().as_bytes());
        context.sign().as_ref().try_into().ok()
    }

    /// Some credential in place of one that does not exist: the same one for the same attempt, and
    /// with the cost of a real one.
    fn decoy<'a>(&'a self, credentials: &'a Credentials, tag: Option<&Tag>) -> &'a Arc<Credential> {
        let Some(choice) = tag.and_then(|tag| tag.first_chunk().copied()) else {
            return &self.decoy;
        };
        let number = usize::from(u16::from_le_bytes(choice));
        number
            .checked_rem(credentials.len())
            .and_then(|number| credentials.values().nth(number))
            .unwrap_or(&self.decoy)
    }
}

/// The verifier that the password fits. All are tried, so that time does not tell which.
fn matching(credential: &Credential, password: &Password) -> Option<ScramVerifier> {
    let mut found = None;
    for verifier in &credential.verifiers {
        if verifier.matches(password.expose()) {
            found = Some(verifier.clone());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use relay_smtp::server::{Event, LoginPolicy, Server, Settings};

    /// A login as a session makes it: there is no other way to a `Password`.
    fn login(username: &str, password: &str) -> Login {
        let mut server = Server::new(Settings {
            hostname: "outbox.example".into(),
            banner: String::new(),
            message_bytes: 1,
            recipients: 1,
            start_tls: false,
            implicit_tls: true,
            login: LoginPolicy::Required,
            login_without_tls: false,
            ..Settings::default()
        });
        let response = BASE64.encode(format!("\0{username}\0{password}"));
        let line = format!("EHLO c\r\nAUTH PLAIN {response}\r\n");
        match server.next(&mut BytesMut::from(line.as_bytes())) {
            Some(Event::Login(login)) => login,
            other => panic!("{other:?}"),
        }
    }

    fn verifier(password: &str) -> ScramVerifier {
        ScramVerifier::derive(password, b"0123456789abcdef", 4096)
    }

    fn credentials(passwords: &[&str]) -> Credentials {
        let credential = Credential {
            identity: "credential:shop/checkout".into(),
            verifiers: passwords
                .iter()
                .map(|password| verifier(password))
                .collect(),
        };
        [("checkout".into(), Arc::new(credential))].into()
    }

    fn granted(password: &str) -> Verdict {
        Verdict::Granted {
            identity: "credential:shop/checkout".into(),
            verifier: verifier(password),
        }
    }

    #[tokio::test]
    async fn only_the_right_name_with_the_right_password_is_granted() {
        let authenticator = Authenticator::new();
        let credentials = credentials(&["old-otter", "new-otter"]);
        for (username, password, expected) in [
            ("checkout", "new-otter", granted("new-otter")),
            ("checkout", "old-otter", granted("old-otter")),
            ("checkout", "wrong", Verdict::Denied),
            ("checkout", "", Verdict::Denied),
            ("CHECKOUT", "new-otter", Verdict::Denied),
            ("nobody", "new-otter", Verdict::Denied),
            ("", "", Verdict::Denied),
        ] {
            let login = login(username, password);
            // Twice: cold and warm.
            for _ in 0..2 {
                let verdict = authenticator.check(&credentials, &login).await;
                assert_eq!(verdict, expected, "{username} {password}");
            }
        }
        let verdict = authenticator.check(&HashMap::new(), &login("a", "b")).await;
        assert_eq!(verdict, Verdict::Denied);
    }

    #[tokio::test]
    async fn what_was_proven_ends_with_its_verifier() {
        let authenticator = Authenticator::new();
        let login = login("checkout", "old-otter");
        let verdict = authenticator
            .check(&credentials(&["old-otter"]), &login)
            .await;
        assert_eq!(verdict, granted("old-otter"));
        let verdict = authenticator
            .check(&credentials(&["new-otter"]), &login)
            .await;
        assert_eq!(verdict, Verdict::Denied);
        assert_eq!(
            authenticator.check(&HashMap::new(), &login).await,
            Verdict::Denied
        );
    }

    #[tokio::test]
    async fn a_warm_check_needs_no_turn() {
        let authenticator = Authenticator::new();
        let credentials = credentials(&["otter"]);
        let right = login("checkout", "otter");
        authenticator.check(&credentials, &right).await;
        authenticator.permits.close();
        let verdict = authenticator.check(&credentials, &right).await;
        assert_eq!(verdict, granted("otter"));
        let verdict = authenticator
            .check(&credentials, &login("checkout", "x"))
            .await;
        assert_eq!(verdict, Verdict::Unavailable);
    }

    #[test]
    fn a_warm_token_is_not_judged_anew_until_it_expires_or_the_keys_change() {
        use token::tests::{Mint, NOW, issuer};
        let authenticator = Authenticator::new();
        let (mint, other) = (Mint::new("a"), Mint::new("a"));
        let token = Token::new(mint.token(&serde_json::json!({})));
        let issuers = |mint: &Mint, fingerprint| Issuers {
            list: vec![issuer(mint, relay_config::IssuerKind::Kubernetes, None)],
            fingerprint: Some([fingerprint; 32]),
        };
        let check = |issuers: &Issuers, now| authenticator.check_token(issuers, &token, now);
        let proof = check(&issuers(&mint, 1), NOW).unwrap();
        assert_eq!(proof.identity, "sa:shop/checkout");
        // Another key under the same fingerprint shows that nothing is judged.
        assert_eq!(check(&issuers(&other, 1), NOW), Ok(proof));
        assert_eq!(
            check(&issuers(&other, 2), NOW),
            Err(TokenFault::SignatureWrong)
        );
        assert_eq!(
            check(&issuers(&mint, 1), NOW + 3660),
            Err(TokenFault::Expired)
        );
    }

    #[test]
    fn a_challenge_does_not_tell_who_exists() {
        let credentials = credentials(&["old-otter", "new-otter"]);
        let decoy = Decoy::new(b"secret", &credentials);
        let challenge = |name: &str| {
            let (challenge, verifiers) =
                Authenticator::challenge(&credentials, &decoy, name).unwrap();
            assert_eq!(challenge.keys.len(), verifiers.len());
            (challenge.salt, challenge.iterations, verifiers.len())
        };
        assert_eq!(
            challenge("checkout"),
            (b"0123456789abcdef".to_vec(), 4096, 2)
        );
        let (salt, iterations, keys) = challenge("nobody");
        assert_eq!((salt.len(), iterations, keys), (16, 4096, 0));
        assert_eq!(challenge("nobody").0, salt);
        assert_ne!(challenge("anybody").0, salt);
    }
}
