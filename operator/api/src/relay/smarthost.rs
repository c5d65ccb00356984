//! Servers that relay for a relay.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{LocalSecretReference, SecretKeyReference};

/// A server that relays for this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.credentialsSecretRef) || self.tls != 'None'")
        .message("tls is None, which would send the password in clear text; use StartTls or Implicit")
        .field_path(".tls"),
    validation = Rule::new("!has(self.credentialsSecretRef) || self.tls != 'Opportunistic' || (has(self.allowUnverifiedLogin) && self.allowUnverifiedLogin)")
        .message("tls is Opportunistic, which verifies no certificate, so that anybody on the way could have the password; use StartTls or Implicit, or set allowUnverifiedLogin")
        .field_path(".tls"),
    validation = Rule::new("!has(self.oauth2) || has(self.credentialsSecretRef)")
        .message("oauth2 needs credentialsSecretRef, a Secret with username, clientId, and clientSecret or refreshToken")
        .field_path(".oauth2"),
    validation = Rule::new("!has(self.lookup) || self.lookup != 'Srv' || !isIP(self.host)")
        .message("lookup: Srv needs a domain in host, not an address")
        .field_path(".lookup"),
)]
pub struct Smarthost {
    /// Host name or IP address. Its A and AAAA records are used, never its MX. A name is taken in full: that of
    /// a Service is `smtp.mail.svc.cluster.local`. With `lookup: Srv` the domain whose SRV records name the
    /// hosts.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(
        validation = Rule::new("isIP(self) || self.matches('^[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?([.][A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?)*$')")
            .message("must be a host name such as smtp.example.com, or an IP address, without port and without brackets")
    )]
    pub host: String,

    /// TCP port, 1 to 65535. Default 587. With `lookup: Srv` the port of `host` itself, which is used
    /// when it has no SRV records.
    #[serde(default = "submission_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,

    /// `Address`: by the A and AAAA records of `host` (default). `Srv`: by its SRV records (RFC 6186,
    /// RFC 8314), `_submissions._tcp` with `tls: Implicit`, else `_submission._tcp`. Their ports must
    /// be 465, 587 or `port` to pass the relay's NetworkPolicy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookup: Option<SmarthostLookup>,

    /// Lower ones are tried first, others when those fail. Default: its place in the list, counted
    /// from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 65535))]
    pub priority: Option<i32>,

    /// Share of the mail among smarthosts of the same `priority`; 0 leaves it next to none. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 65535))]
    pub weight: Option<i32>,

    /// Encryption. `StartTls`: STARTTLS with a verified certificate, or no delivery (default).
    /// `Implicit`: TLS from the first octet with a verified certificate (usual on 465).
    /// `Opportunistic`: STARTTLS if offered, unverified, clear text otherwise; with
    /// `credentialsSecretRef` only by `allowUnverifiedLogin`, and no password is sent in clear text.
    /// `None`: clear text.
    #[serde(default)]
    pub tls: SmarthostTls,

    /// Secret in the relay's namespace with entries `username` and `password` for AUTH; the mechanism
    /// is the best of SCRAM-SHA-256-PLUS, SCRAM-SHA-256, PLAIN and LOGIN that the server offers. With
    /// `oauth2`: entries `username`, `clientId`, and `clientSecret` or `refreshToken` or both.
    /// Default none: no AUTH. An edit of the Secret is in force within seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<LocalSecretReference>,

    /// Log in although the server has not proved who it is: with `tls: Opportunistic`, where anybody on
    /// the way can have the password or token. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_unverified_login: Option<bool>,

    /// Log in by OAUTHBEARER or XOAUTH2 with access tokens in place of a password, as Google and
    /// Microsoft ask for. With a `refreshToken` in the Secret tokens are refreshed; without one they
    /// are granted to the client itself (client credentials).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2>,

    /// Secret in the relay's namespace with a PEM bundle of the authorities that this host's
    /// certificate is verified against. Default: the public web roots built into the relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKeyReference>,
}

fn submission_port() -> i32 {
    587
}

/// How the name of a smarthost leads to servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::common::undescribed)]
pub enum SmarthostLookup {
    /// By its A and AAAA records.
    #[default]
    Address,
    /// By SRV records.
    Srv,
}

/// Encryption towards a smarthost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SmarthostTls {
    /// STARTTLS with a verified certificate, or no delivery.
    #[default]
    StartTls,
    /// TLS from the first octet with a verified certificate.
    Implicit,
    /// STARTTLS if offered, no verification.
    Opportunistic,
    /// Clear text.
    None,
}

/// Where access tokens come from (RFC 6749).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OAuth2 {
    /// Token endpoint, such as `https://oauth2.googleapis.com/token` or
    /// `https://login.microsoftonline.com/TENANT/oauth2/v2.0/token`. The NetworkPolicy lets the relay
    /// reach its port.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(
        validation = Rule::new("self.matches('^https://[A-Za-z0-9._:-]+(/[!-~]*)?$') && !self.contains('#')")
            .message("must be of the form https://host/path, without user name and fragment")
    )]
    pub token_url: String,

    /// What the tokens are for, such as `https://outlook.office365.com/.default`. Default: what the
    /// endpoint grants without being asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub scope: Option<String>,

    /// Secret in the relay's namespace with a PEM bundle of the authorities that the endpoint's
    /// certificate is verified against. Default: the public web roots built into the relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKeyReference>,
}

impl Smarthost {
    /// Names of the Secrets that it refers to.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let tokens = self.oauth2.iter().flat_map(|oauth2| &oauth2.ca_secret_ref);
        let authorities = self.ca_secret_ref.iter().chain(tokens);
        let credentials = self.credentials_secret_ref.iter();
        credentials
            .map(|secret| secret.name.as_str())
            .chain(authorities.map(|secret| secret.name.as_str()))
    }
}
