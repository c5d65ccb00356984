//! What the shape alone cannot show to be wrong. The operator renders only what passes here, and
//! the relay refuses what does not, with the last good configuration left in force.

mod transport;

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;

use crate::{
    Authentication, Config, ConfigError, Credential, Domain, LONGEST_HEADER, ListenerRole,
    ListenerTls, ScramVerifier, Smarthost, SmarthostLookup, SmarthostTls, VERSION,
};

mod returns;
mod siblings;

/// Who does not end when told to is killed sooner or later.
const LONGEST_DELAY: std::time::Duration = std::time::Duration::from_mins(1);
/// What the queue keeps to when it starts anew: work that is due later is due then.
const LONGEST_HOLD: std::time::Duration = std::time::Duration::from_hours(90 * 24);

impl Config {
    /// Checks everything that does not need a file's content.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.version != VERSION {
            return invalid(
                "version",
                format!("{} is not known; this relay reads {VERSION}", self.version),
            );
        }
        host_name("hostname", &self.hostname)?;
        self.validate_listeners()?;
        self.validate_limits()?;
        self.validate_routes()?;
        self.validate_transport()?;
        self.authentication.validate()?;
        self.validate_siblings()?;
        self.validate_domains()?;
        self.validate_credentials()
    }

    /// The PEM and JSON files that the configuration names, each once, in a fixed order.
    pub fn pem_files(&self) -> BTreeSet<PathBuf> {
        let listeners = self.tls.iter().flat_map(|tls| [&tls.certificate, &tls.key]);
        let admin = self.admin.iter().flat_map(|admin| {
            [
                &admin.certificate.certificate,
                &admin.certificate.key,
                &admin.client_authority,
            ]
        });
        let smarthosts = self.delivery.all_smarthosts().flat_map(|(_, host)| {
            let authentication = host.authentication.as_ref();
            let oauth2 = authentication.and_then(|authentication| authentication.oauth2.as_ref());
            let tokens = oauth2.and_then(|oauth2| oauth2.certificate_authorities.as_ref());
            host.certificate_authorities.iter().chain(tokens)
        });
        let authorities = self.delivery.certificate_authorities.iter();
        let keys = self
            .authentication
            .issuers
            .iter()
            .filter_map(|issuer| issuer.jwks_file.as_ref());
        listeners
            .chain(admin)
            .chain(smarthosts)
            .chain(authorities)
            .chain(keys)
            .cloned()
            .collect()
    }

    fn validate_routes(&self) -> Result<(), ConfigError> {
        let mut names = HashSet::new();
        for (index, route) in self.delivery.routes.iter().enumerate() {
            let field = format!("delivery.routes[{index}]");
            route.validate(&field)?;
            if !names.insert(&route.name) {
                let message = format!("{:?} stands twice", route.name);
                return invalid(format!("{field}.name"), message);
            }
        }
        for (id, smarthost) in self.delivery.all_smarthosts() {
            validate_smarthost(&id.to_string(), smarthost)?;
        }
        Ok(())
    }

    fn validate_listeners(&self) -> Result<(), ConfigError> {
        if self.listeners.is_empty() {
            return invalid("listeners", "is empty; a relay needs at least one".into());
        }
        let mut names = HashSet::new();
        let mut addresses = HashSet::new();
        for (index, listener) in self.listeners.iter().enumerate() {
            let field = |name: &str| format!("listeners[{index}].{name}");
            if listener.name.is_empty() || !names.insert(&listener.name) {
                return invalid(
                    field("name"),
                    format!("{:?} is empty or stands twice", listener.name),
                );
            }
            // Port 0 asks the system for a free one, so two of them do not collide.
            if listener.address.port() != 0 && !addresses.insert(listener.address) {
                return invalid(
                    field("address"),
                    format!("{} stands twice", listener.address),
                );
            }
            if listener.tls != ListenerTls::None && self.tls.is_none() {
                return invalid(
                    "tls",
                    format!(
                        "is missing; listener {:?} needs a certificate",
                        listener.name
                    ),
                );
            }
            if listener.role == ListenerRole::Bounces
                && listener.authentication != Authentication::None
            {
                return invalid(
                    field("authentication"),
                    "must be None with role: Bounces; other servers bring reports without a login"
                        .into(),
                );
            }
            if listener.role == ListenerRole::Submission
                && listener.authentication == Authentication::None
                && listener.clients.is_empty()
            {
                return invalid(
                    field("clients"),
                    "is empty; without authentication name the client networks that may send, \
                     or this would be an open relay"
                        .into(),
                );
            }
            if listener.proxy_protocol == listener.proxies.is_empty() {
                return invalid(
                    field("proxies"),
                    "names the networks of the proxies; give it with proxyProtocol: true, and not \
                     without"
                        .into(),
                );
            }
        }
        Ok(())
    }

    fn validate_limits(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        let delivery = &self.delivery;
        let positive = [
            ("limits.messageBytes", limits.message_bytes),
            ("limits.headerBytes", limits.header_bytes),
            ("limits.connections", limits.connections.into()),
            (
                "limits.connectionsPerAddress",
                limits.connections_per_address.into(),
            ),
            (
                "limits.connectionsPerIdentity",
                limits.connections_per_identity.into(),
            ),
            ("limits.commands", limits.commands.into()),
            ("queue.messages", self.queue.messages),
            ("delivery.connections", delivery.connections.into()),
            (
                "delivery.connectionsPerDestination",
                delivery.connections_per_destination.into(),
            ),
            (
                "delivery.messagesPerConnection",
                delivery.messages_per_connection.into(),
            ),
            ("delivery.mxPort", delivery.mx_port.into()),
        ];
        for (field, value) in positive {
            if value == 0 {
                return invalid(field, "is 0; give a positive number or leave it out".into());
            }
        }
        if limits.recipients < 100 {
            return invalid(
                "limits.recipients",
                format!(
                    "{} is less than 100 (RFC 5321 section 4.5.3.1.8)",
                    limits.recipients
                ),
            );
        }
        if limits.receiving_bytes < limits.message_bytes {
            return invalid(
                "limits.receivingBytes",
                format!(
                    "{} is less than limits.messageBytes ({})",
                    limits.receiving_bytes, limits.message_bytes
                ),
            );
        }
        self.validate_sessions()?;
        if let Some(address) = &delivery.reports.return_path {
            returns::validate_return_path("delivery.reports.returnPath", address)?;
        }
        if let Some(tls) = &delivery.reports.tls {
            returns::validate_tls(tls)?;
        }
        let retry = &delivery.retry;
        if retry.initial.get().is_zero() || retry.maximum < retry.initial {
            return invalid(
                "delivery.retry",
                format!(
                    "initial ({}) must be above 0 and at most maximum ({})",
                    retry.initial, retry.maximum
                ),
            );
        }
        Ok(())
    }

    fn validate_sessions(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        if limits.header_bytes > LONGEST_HEADER {
            return invalid(
                "limits.headerBytes",
                format!("{} is more than {LONGEST_HEADER}", limits.header_bytes),
            );
        }
        let waits = [
            ("limits.idleTimeout", limits.idle_timeout),
            ("limits.sessionTimeout", limits.session_timeout),
        ];
        for (field, wait) in waits {
            if wait.get().is_zero() {
                return invalid(field, "is 0s; give a time or leave it out".into());
            }
        }
        if limits.shutdown_delay.get() > LONGEST_DELAY {
            return invalid(
                "limits.shutdownDelay",
                format!("{} is more than 1m", limits.shutdown_delay),
            );
        }
        if limits.maximum_hold.get() > LONGEST_HOLD {
            return invalid(
                "limits.maximumHold",
                format!("{} is more than 90 days (2160h)", limits.maximum_hold),
            );
        }
        Ok(())
    }

    fn validate_domains(&self) -> Result<(), ConfigError> {
        let mut names = HashSet::new();
        let mut bounce_domains = HashSet::new();
        for domain in &self.domains {
            validate_domain(domain)?;
            let bounces = domain.bounces.as_ref();
            if let Some(bounce) = bounces.and_then(|bounces| bounces.domain.as_ref())
                && !bounce_domains.insert(bounce)
            {
                return invalid(
                    format!("domains[{}].bounces.domain", domain.name),
                    format!("{bounce} is the bounce domain of another domain; give each its own"),
                );
            }
            if !names.insert(&domain.name) {
                return invalid(format!("domains[{}]", domain.name), "stands twice".into());
            }
        }
        Ok(())
    }

    fn validate_credentials(&self) -> Result<(), ConfigError> {
        let mut names = HashSet::new();
        for credential in &self.credentials {
            validate_credential(credential)?;
            if !names.insert(&credential.username) {
                return invalid(
                    format!("credentials[{}]", credential.username),
                    "stands twice".into(),
                );
            }
        }
        Ok(())
    }
}

fn validate_smarthost(field: &str, smarthost: &Smarthost) -> Result<(), ConfigError> {
    if smarthost.host.parse::<std::net::IpAddr>().is_err() {
        host_name(&format!("{field}.host"), &smarthost.host)?;
    }
    if smarthost.port == 0 {
        return invalid(
            format!("{field}.port"),
            "is 0; usual are 587 and 465".into(),
        );
    }
    if smarthost.authentication.is_some() && smarthost.tls == SmarthostTls::None {
        return invalid(
            format!("{field}.tls"),
            "is None, which would send the password in clear text; use StartTls or Implicit".into(),
        );
    }
    if smarthost.authentication.is_some()
        && smarthost.tls == SmarthostTls::Opportunistic
        && !smarthost.allow_unverified_login
    {
        return invalid(
            format!("{field}.tls"),
            "is Opportunistic, which verifies no certificate, so that anybody on the way could have the \
             password; use StartTls or Implicit, or set allowUnverifiedLogin"
                .into(),
        );
    }
    if smarthost.lookup == SmarthostLookup::Srv
        && smarthost.host.parse::<std::net::IpAddr>().is_ok()
    {
        return invalid(
            format!("{field}.lookup"),
            "is Srv, which needs a domain in host, and host is an address".into(),
        );
    }
    if let Some(authentication) = &smarthost.authentication {
        authentication.validate(&format!("{field}.authentication"))?;
    }
    Ok(())
}

fn validate_domain(domain: &Domain) -> Result<(), ConfigError> {
    let field = format!("domains[{}]", domain.name);
    host_name(&format!("{field}.name"), &domain.name)?;
    if domain.name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return invalid(
            format!("{field}.name"),
            "has upper-case letters; write it in lower case".into(),
        );
    }
    for grant in &domain.senders {
        if let Err(message) = grant.check() {
            return invalid(format!("{field}.senders"), message);
        }
    }
    if let Some(address) = &domain.rewrite_from {
        let at = format!("@{}", domain.name);
        let local = address.strip_suffix(&at).unwrap_or_default();
        if !is_plain(local) {
            return invalid(
                format!("{field}.rewriteFrom"),
                format!("{address:?} is not a plain address of this domain; write name{at}"),
            );
        }
    }
    if let Some(bounces) = &domain.bounces {
        returns::validate(&field, &domain.name, bounces)?;
    }
    for key in &domain.dkim {
        host_name(&format!("{field}.dkim.selector"), &key.selector)?;
    }
    Ok(())
}

/// Whether it is a local part of letters, digits and a few other characters.
fn is_plain(local: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._+=".contains(&byte);
    let dots = local.starts_with('.') || local.ends_with('.') || local.contains("..");
    !local.is_empty() && !dots && local.bytes().all(plain)
}

fn validate_credential(credential: &Credential) -> Result<(), ConfigError> {
    let field = format!("credentials[{}]", credential.username);
    if credential.username.is_empty() || credential.username.chars().any(char::is_control) {
        return invalid(
            format!("{field}.username"),
            "is empty or has control characters".into(),
        );
    }
    if credential.verifiers.is_empty() {
        return invalid(
            format!("{field}.verifiers"),
            "is empty; nobody could log in".into(),
        );
    }
    for verifier in &credential.verifiers {
        if let Err(error) = verifier.parse::<ScramVerifier>() {
            return invalid(format!("{field}.verifiers"), error.to_string());
        }
    }
    Ok(())
}

/// A name of letters, digits, hyphens, underscores and dots: RFC 1123 section 2.1 with the
/// underscore that DNS allows and selectors use.
fn host_name(field: &str, name: &str) -> Result<(), ConfigError> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return invalid(
            field,
            format!(
                "{name:?} is not a host name; use letters, digits, hyphens and dots, IDNs as A-labels"
            ),
        );
    }
    Ok(())
}

pub(crate) fn invalid(field: impl Into<String>, message: String) -> Result<(), ConfigError> {
    Err(ConfigError::Invalid {
        field: field.into(),
        message,
    })
}
