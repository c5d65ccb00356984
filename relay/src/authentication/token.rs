//! Tokens: JSON Web Tokens (RFC 7519) in the compact form of RFC 7515, judged without I/O and with
//! the time as an argument.
//!
//! The order is fixed: form, algorithm, issuer, key, signature; only then what the token claims.
//! Each fault has a name for metrics and logs and a reply that says what to do. The token itself
//! stands in neither. Refuses to know where keys come from and what an identity may do.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use relay_config::{IssuerKind, KeyFault, KeySet, TokenAlgorithm};
use relay_smtp::server::Answer;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Octets of a token: what fits into a line of `AUTH`, base 64 around it included.
const LONGEST: usize = 9 * 1024;
/// Octets of an identity's value; longer ones are nobody's name.
const LONGEST_IDENTITY: usize = 320;
/// Clocks differ: a token holds from this long before its time until this long after it.
pub(crate) const LEEWAY_SECONDS: u64 = 60;

/// An issuer whose keys were read.
#[derive(Clone, Debug)]
pub(crate) struct Issuer {
    /// As configured, without its keys.
    pub(crate) settings: relay_config::Issuer,
    /// Its keys.
    pub(crate) keys: KeySet,
}

/// What a good token proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    /// `sa:<namespace>/<name>` or `oidc:<issuer>/<value>`.
    pub(crate) identity: String,
    /// Seconds since the Unix epoch; leeway not added.
    pub(crate) expires_at: u64,
    /// Name of the issuer.
    pub(crate) issuer: String,
}

/// Why a token proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenFault {
    NotConfigured,
    TooLong,
    Malformed,
    AlgorithmNone,
    AlgorithmUnknown,
    IssuerUnknown,
    KeyUnknown,
    KeyMismatch,
    SignatureWrong,
    AudienceWrong,
    ExpiryMissing,
    Expired,
    NotYetValid,
    IdentityMissing,
    OtherIdentity,
}

impl TokenFault {
    /// Name for metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NotConfigured => "token_not_configured",
            Self::TooLong => "token_too_long",
            Self::Malformed => "token_malformed",
            Self::AlgorithmNone => "token_algorithm_none",
            Self::AlgorithmUnknown => "token_algorithm_unknown",
            Self::IssuerUnknown => "token_issuer_unknown",
            Self::KeyUnknown => "token_key_unknown",
            Self::KeyMismatch => "token_key_mismatch",
            Self::SignatureWrong => "token_signature_wrong",
            Self::AudienceWrong => "token_audience_wrong",
            Self::ExpiryMissing => "token_expiry_missing",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::IdentityMissing => "token_identity_missing",
            Self::OtherIdentity => "token_other_identity",
        }
    }

    /// The reply.
    pub(crate) fn answer(self) -> Answer {
        let text = match self {
            Self::NotConfigured => "no issuer of tokens is configured here; use a password",
            Self::TooLong => {
                "the token is longer than 9216 octets; ask its issuer for fewer claims"
            }
            Self::Malformed => "the token is no signed JSON Web Token of three parts",
            Self::AlgorithmNone => "the token is not signed (algorithm none); use a signed one",
            Self::AlgorithmUnknown => {
                "the token is signed with an algorithm that is not accepted; use RS, PS, ES or EdDSA"
            }
            Self::IssuerUnknown => {
                "the token is of an issuer that this relay does not know; add it to the relay's issuers"
            }
            Self::KeyUnknown => {
                "the token is signed with a key that its issuer does not publish; get a fresh token"
            }
            Self::KeyMismatch => "the token's algorithm is not that of its key; get a fresh token",
            Self::SignatureWrong => "the token's signature is wrong; get a fresh token",
            Self::AudienceWrong => {
                "the token is for another audience; ask for one with the audience of this relay"
            }
            Self::ExpiryMissing => "the token never expires; use one with an exp claim",
            Self::Expired => "the token has expired; get a fresh one, and read its file each time",
            Self::NotYetValid => "the token is not valid yet; compare the clocks",
            Self::IdentityMissing => {
                "the token does not say whose it is; see the relay's identityClaim"
            }
            Self::OtherIdentity => {
                "the user name is not the token's owner; leave it empty, or write token"
            }
        };
        Answer::fixed(535, "5.7.8", text)
    }
}

impl From<KeyFault> for TokenFault {
    fn from(fault: KeyFault) -> Self {
        match fault {
            KeyFault::Unknown => Self::KeyUnknown,
            KeyFault::Mismatch => Self::KeyMismatch,
            KeyFault::Signature => Self::SignatureWrong,
        }
    }
}

/// RFC 7515 section 4.1. A field that stands twice is an error of the derived reader.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// RFC 7519 section 4.1 and what Kubernetes adds.
#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    aud: Option<Audience>,
    exp: Option<f64>,
    nbf: Option<f64>,
    sub: Option<String>,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Option<Kubernetes>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Kubernetes {
    namespace: Option<String>,
    serviceaccount: Option<ServiceAccount>,
}

#[derive(Deserialize)]
struct ServiceAccount {
    name: String,
}

/// Whether text could be meant as a token: for clients that send it in place of a password.
pub(crate) fn looks_like_one(text: &str) -> bool {
    // `eyJ` is the beginning of `{"` in base 64.
    text.starts_with("eyJ") && text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// Judges a token at `now`, in seconds since the Unix epoch.
pub(crate) fn verify(token: &str, issuers: &[Issuer], now: u64) -> Result<Proof, TokenFault> {
    if issuers.is_empty() {
        return Err(TokenFault::NotConfigured);
    }
    if token.len() > LONGEST {
        return Err(TokenFault::TooLong);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenFault::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(TokenFault::Malformed)?;
    let header: Header = decode(header)?;
    let algorithm = match TokenAlgorithm::named(&header.alg) {
        Some(algorithm) => algorithm,
        None if header.alg.eq_ignore_ascii_case("none") => return Err(TokenFault::AlgorithmNone),
        None => return Err(TokenFault::AlgorithmUnknown),
    };
    // Extensions that must be understood are not.
    if header.crit.is_some() {
        return Err(TokenFault::Malformed);
    }
    let claims: Claims = decode(claims)?;
    let signature = octets(signature)?;
    let issuer = issuers
        .iter()
        .find(|issuer| Some(&issuer.settings.issuer) == claims.iss.as_ref())
        .ok_or(TokenFault::IssuerUnknown)?;
    let (id, text) = (header.kid.as_deref(), signed.as_bytes());
    issuer.keys.verify(algorithm, id, text, &signature)?;
    judge(&claims, &issuer.settings, now)
}

fn judge(claims: &Claims, issuer: &relay_config::Issuer, now: u64) -> Result<Proof, TokenFault> {
    let ours = |audience: &String| issuer.audiences.contains(audience);
    let for_us = match &claims.aud {
        None => false,
        Some(Audience::One(audience)) => ours(audience),
        Some(Audience::Many(audiences)) => audiences.iter().any(ours),
    };
    if !for_us {
        return Err(TokenFault::AudienceWrong);
    }
    let expires_at = seconds(claims.exp.ok_or(TokenFault::ExpiryMissing)?)?;
    if has_expired(expires_at, now) {
        return Err(TokenFault::Expired);
    }
    if let Some(from) = claims.nbf
        && seconds(from)? > now.saturating_add(LEEWAY_SECONDS)
    {
        return Err(TokenFault::NotYetValid);
    }
    let identity = match issuer.kind {
        IssuerKind::Kubernetes => service_account(claims),
        IssuerKind::Oidc => owner(claims, issuer),
    };
    Ok(Proof {
        identity: identity.ok_or(TokenFault::IdentityMissing)?,
        expires_at,
        issuer: issuer.name.clone(),
    })
}

/// Whether a token that expires then is of no use any more.
pub(crate) fn has_expired(expires_at: u64, now: u64) -> bool {
    now >= expires_at.saturating_add(LEEWAY_SECONDS)
}

/// The subject is what Kubernetes itself goes by; the claims beside it must not say otherwise.
fn service_account(claims: &Claims) -> Option<String> {
    let subject = claims.sub.as_deref()?;
    let (namespace, name) = subject
        .strip_prefix("system:serviceaccount:")?
        .split_once(':')?;
    if let Some(claimed) = &claims.kubernetes {
        let account = claimed.serviceaccount.as_ref();
        let agrees = claimed
            .namespace
            .as_deref()
            .is_none_or(|other| other == namespace)
            && account.is_none_or(|account| account.name == name);
        if !agrees {
            return None;
        }
    }
    let is_name = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte)
            })
    };
    (is_name(namespace) && is_name(name)).then(|| format!("sa:{namespace}/{name}"))
}

fn owner(claims: &Claims, issuer: &relay_config::Issuer) -> Option<String> {
    let claim = issuer.identity_claim.as_deref().unwrap_or("sub");
    let value = match claim {
        "sub" => claims.sub.as_deref()?,
        _ => claims.rest.get(claim)?.as_str()?,
    };
    // Anybody can call an address theirs; the issuer says here that it has not looked.
    let unverified = claim == "email" && claims.rest.get("email_verified") == Some(&false.into());
    let usable = !value.is_empty()
        && value != "*"
        && value.len() <= LONGEST_IDENTITY
        && !value.chars().any(char::is_control)
        && !unverified;
    usable.then(|| format!("oidc:{}/{value}", issuer.name))
}

/// `NumericDate` of RFC 7519 section 2: seconds, perhaps with a fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be positive; a cast saturates at the largest number"
)]
fn seconds(date: f64) -> Result<u64, TokenFault> {
    if date.is_finite() && date >= 0.0 {
        Ok(date as u64)
    } else {
        Err(TokenFault::Malformed)
    }
}

fn decode<T: serde::de::DeserializeOwned>(part: &str) -> Result<T, TokenFault> {
    serde_json::from_slice(&octets(part)?).map_err(|_| TokenFault::Malformed)
}

fn octets(part: &str) -> Result<Vec<u8>, TokenFault> {
    let decoded = URL_SAFE_NO_PAD.decode(part);
    decoded.map_err(|_| TokenFault::Malformed)
}

#[cfg(test)]
pub(crate) mod tests;
