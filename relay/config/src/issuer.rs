//! Issuers of tokens that clients may log in with.

use std::collections::HashSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::validate::invalid;
use crate::{ConfigError, KeySet};

/// Who is believed besides the credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AuthenticationSettings {
    /// Issuers of tokens (RFC 7519) for `OAUTHBEARER`, `XOAUTH2`, and in place of a password.
    /// Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<Issuer>,
}

/// An issuer of tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Issuer {
    /// Unique name: lower-case letters, digits and hyphens. Grants name an identity of kind `Oidc`
    /// as `oidc:<name>/<value>`.
    pub name: String,
    /// The `iss` claim, compared octet by octet; unique.
    pub issuer: String,
    /// A token must be for one of these (`aud` claim); at least one.
    pub audiences: Vec<String>,
    /// What a token says of its owner.
    pub kind: IssuerKind,
    /// For kind `Oidc`: the claim, a string, that names the owner. Default `sub`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_claim: Option<String>,
    /// The issuer's JSON Web Key Set (RFC 7517).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Value>,
    /// File with it, relative to the directory of the main file, in place of `jwks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_file: Option<PathBuf>,
}

/// What a token says of its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IssuerKind {
    /// A ServiceAccount of Kubernetes, `sa:<namespace>/<name>`.
    Kubernetes,
    /// The value of a claim, `oidc:<issuer>/<value>`.
    Oidc,
}

impl AuthenticationSettings {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let mut names = HashSet::new();
        let mut urls = HashSet::new();
        for issuer in &self.issuers {
            let field = |name: &str| format!("authentication.issuers[{}].{name}", issuer.name);
            let plain =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if issuer.name.is_empty() || !issuer.name.bytes().all(plain) {
                return invalid(
                    field("name"),
                    "must hold only a-z, 0-9 and hyphens, such as keycloak".into(),
                );
            }
            if !names.insert(&issuer.name) {
                return invalid(field("name"), "stands twice".into());
            }
            if issuer.issuer.is_empty() || !urls.insert(&issuer.issuer) {
                return invalid(
                    field("issuer"),
                    format!("{:?} is empty or stands twice", issuer.issuer),
                );
            }
            if issuer.audiences.is_empty() || issuer.audiences.iter().any(String::is_empty) {
                return invalid(
                    field("audiences"),
                    "is empty or has an empty entry; a token for another service must not do here"
                        .into(),
                );
            }
            match (&issuer.jwks, &issuer.jwks_file) {
                (Some(jwks), None) => {
                    if let Err(error) = KeySet::from_value(jwks) {
                        return invalid(field("jwks"), error.to_string());
                    }
                }
                (None, Some(_)) => {}
                _ => {
                    return invalid(
                        field("jwks"),
                        "or jwksFile must stand there, and not both".into(),
                    );
                }
            }
        }
        Ok(())
    }
}
