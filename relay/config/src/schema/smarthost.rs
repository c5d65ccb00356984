//! Servers that relay for us.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{ConfigError, Delivery, Secret};

/// A server that relays for us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Smarthost {
    /// Host name or IP address; its A and AAAA records are used, never its MX. With `lookup: Srv`
    /// the domain whose SRV records name the hosts.
    pub host: String,
    /// TCP port, usually 587 or 465. With `lookup: Srv` the port of `host` itself, which is used
    /// when there are no SRV records.
    pub port: u16,
    /// How `host` leads to servers.
    #[serde(default, skip_serializing_if = "SmarthostLookup::is_default")]
    pub lookup: SmarthostLookup,
    /// Lower ones are tried first. Default: its place in the list, counted from 0, so that a list
    /// without priorities is tried in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u16>,
    /// Share of the mail among smarthosts of the same priority (RFC 2782). Default 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: u16,
    /// Encryption.
    #[serde(default)]
    pub tls: SmarthostTls,
    /// Who we are, for `AUTH`; needs TLS that is verified, or `allowUnverifiedLogin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<SmarthostAuthentication>,
    /// Log in although the server has not proved who it is: with `tls: Opportunistic`, where anybody on
    /// the way can have the password or token. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_unverified_login: bool,
    /// PEM bundle of certificate authorities that this host is verified against in place of the
    /// built-in web roots, relative to the main file's directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authorities: Option<PathBuf>,
}

fn one() -> u16 {
    1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_one(weight: &u16) -> bool {
    *weight == 1
}

/// How the name of a smarthost leads to servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SmarthostLookup {
    /// By its A and AAAA records.
    #[default]
    Address,
    /// By SRV records (RFC 6186, RFC 8314): `_submissions._tcp` with `tls: Implicit`, else
    /// `_submission._tcp`.
    Srv,
}

impl SmarthostLookup {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
    )]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Encryption towards a smarthost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SmarthostTls {
    /// `STARTTLS` with a verified certificate, or no delivery.
    #[default]
    StartTls,
    /// TLS from the first octet with a verified certificate.
    Implicit,
    /// `STARTTLS` if offered, no verification, clear text otherwise. No `AUTH` in clear text, and none
    /// at all without `allowUnverifiedLogin`.
    Opportunistic,
    /// Clear text.
    None,
}

/// Who we are to a smarthost: either a password or access tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SmarthostAuthentication {
    /// User name.
    pub username: String,
    /// Password, for SCRAM-SHA-256(-PLUS), PLAIN or LOGIN, the best that the server offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Where access tokens come from, for OAUTHBEARER or XOAUTH2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2>,
}

/// Access tokens of an authorisation server (RFC 6749).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OAuth2 {
    /// Token endpoint, `https://…`.
    pub token_url: String,
    /// Client identifier.
    pub client_id: String,
    /// Client secret; a public client with a refresh token has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    /// With it tokens are refreshed (RFC 6749 section 6), without it they are granted to the client
    /// itself (section 4.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<Secret>,
    /// What the token is for, such as `https://outlook.office365.com/.default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// PEM bundle of certificate authorities for the token endpoint in place of the built-in web
    /// roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authorities: Option<PathBuf>,
}

/// Names a smarthost of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SmarthostId {
    /// Place of its route; `None` for those of `delivery.smarthosts`.
    pub route: Option<usize>,
    /// Place in the list.
    pub place: usize,
}

impl fmt::Display for SmarthostId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.route {
            Some(route) => write!(
                formatter,
                "delivery.routes[{route}].smarthosts[{}]",
                self.place
            ),
            None => write!(formatter, "delivery.smarthosts[{}]", self.place),
        }
    }
}

impl Delivery {
    /// The smarthosts of a route, or those for all mail that no route matches.
    pub fn smarthosts_of(&self, route: Option<usize>) -> &[Smarthost] {
        match route {
            Some(route) => self
                .routes
                .get(route)
                .map_or(&[], |route| &route.smarthosts),
            None => &self.smarthosts,
        }
    }

    /// The smarthost of this name.
    pub fn smarthost(&self, id: SmarthostId) -> Option<&Smarthost> {
        self.smarthosts_of(id.route).get(id.place)
    }

    /// All smarthosts.
    pub fn all_smarthosts(&self) -> impl Iterator<Item = (SmarthostId, &Smarthost)> {
        let routes = std::iter::once(None).chain((0..self.routes.len()).map(Some));
        routes.flat_map(|route| {
            let places = self.smarthosts_of(route).iter().enumerate();
            places.map(move |(place, smarthost)| (SmarthostId { route, place }, smarthost))
        })
    }
}

impl SmarthostAuthentication {
    pub(crate) fn validate(&self, field: &str) -> Result<(), ConfigError> {
        let fault = |name: &str, message: &str| {
            Err(ConfigError::Invalid {
                field: format!("{field}.{name}"),
                message: message.into(),
            })
        };
        if self.username.is_empty() || self.username.chars().any(char::is_control) {
            return fault("username", "is empty or has control characters");
        }
        if self.password.is_some() == self.oauth2.is_some() {
            return fault("password", "give either it or oauth2");
        }
        let Some(oauth2) = &self.oauth2 else {
            return Ok(());
        };
        if !is_https(&oauth2.token_url) {
            return fault(
                "oauth2.tokenUrl",
                "is not of the form https://host/path, without user name and fragment",
            );
        }
        if oauth2.client_id.is_empty() {
            return fault("oauth2.clientId", "is empty");
        }
        if oauth2.client_secret.is_none() && oauth2.refresh_token.is_none() {
            return fault(
                "oauth2.clientSecret",
                "is missing; give it, or a refreshToken, or both",
            );
        }
        Ok(())
    }
}

fn is_https(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://") else {
        return false;
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let printable = url.bytes().all(|octet| octet.is_ascii_graphic());
    printable && !authority.is_empty() && !authority.contains('@') && !url.contains('#')
}
