//! Whom a relay believes besides SmtpCredentials.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::SmtpRelay;

/// Whom the relay believes besides SmtpCredentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RelayAuthentication {
    /// Tokens of this cluster's ServiceAccounts. Default: accepted for the audience
    /// `<name>.<namespace>.svc` of this relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_accounts: Option<ServiceAccountTokens>,

    /// Other issuers whose tokens are accepted, such as Keycloak or Entra. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = Rule::new("self.all(a, self.exists_one(b, b.name == a.name))")
            .message("each issuer needs a name of its own"),
        validation = Rule::new("self.all(a, self.exists_one(b, b.issuerUrl == a.issuerUrl))")
            .message("each issuerUrl may stand once; give it several audiences"),
    )]
    pub oidc: Vec<OidcIssuer>,
}

/// Tokens of this cluster's ServiceAccounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountTokens {
    /// Whether they are accepted. Default true. Who may send as a domain is said by the domain's
    /// `spec.senders`.
    #[serde(default = "yes")]
    pub enabled: bool,

    /// Audience that a token must be for: what a pod asks for in
    /// `volumes[].projected.sources[].serviceAccountToken.audience`. Default
    /// `<name>.<namespace>.svc` of this relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub audience: Option<String>,
}

fn yes() -> bool {
    true
}

/// An issuer of OpenID Connect tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OidcIssuer {
    /// Name by which `spec.senders` of domains and logs call it, such as `keycloak`. Lower-case
    /// letters, digits and hyphens. `kubernetes` is the cluster itself.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self != 'kubernetes'")
            .message("must hold only a-z, 0-9 and inner hyphens, and not be kubernetes, such as keycloak")
    )]
    pub name: String,

    /// The `iss` claim of its tokens, such as `https://id.example.com/realms/main`. The operator
    /// reads the issuer's keys from `<issuerUrl>/.well-known/openid-configuration` every five
    /// minutes unless `jwksConfigMapRef` is given.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(
        validation = Rule::new("self.startsWith('https://')")
            .message("must be an https:// URL, exactly as it stands in the iss claim")
    )]
    pub issuer_url: String,

    /// A token must be for one of these (`aud` claim), often the client's id at the issuer.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 253)))]
    pub audiences: Vec<String>,

    /// Claim that names the token's owner in `spec.senders` of domains. Default `sub`. An `email`
    /// that the issuer says it has not verified is not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub identity_claim: Option<String>,

    /// ConfigMap of this namespace with the issuer's keys (JSON Web Key Set), for issuers that the
    /// operator cannot reach. Default: they are fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_config_map_ref: Option<ConfigMapKeyReference>,
}

/// An entry of a ConfigMap in the namespace of the object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKeyReference {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Entry. Default `jwks.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

impl SmtpRelay {
    /// Audience of ServiceAccount tokens for this relay; `None` when they are not accepted.
    pub fn token_audience(&self) -> Option<String> {
        let tokens = self
            .spec
            .authentication
            .as_ref()
            .and_then(|authentication| authentication.service_accounts.as_ref());
        if tokens.is_some_and(|tokens| !tokens.enabled) {
            return None;
        }
        let chosen = tokens.and_then(|tokens| tokens.audience.clone());
        Some(chosen.unwrap_or_else(|| {
            format!(
                "{}.{}.svc",
                self.metadata.name.as_deref().unwrap_or_default(),
                self.metadata.namespace.as_deref().unwrap_or_default()
            )
        }))
    }

    /// Other issuers whose tokens are accepted.
    pub fn oidc_issuers(&self) -> &[OidcIssuer] {
        self.spec
            .authentication
            .as_ref()
            .map_or(&[], |authentication| authentication.oidc.as_slice())
    }
}
