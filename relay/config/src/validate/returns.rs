//! Bounce addresses.

use crate::{Bounces, ConfigError, TlsReports};

use super::{host_name, invalid, is_plain};

/// Octets before the `@` of a mailbox for bounces: a subaddress of 54 octets and its `+` follow, and a
/// local part has at most 64 (RFC 5321 section 4.5.3.1.1).
const LONGEST_LOCAL_PART: usize = 9;

/// `field` is that of the domain of this `name`.
pub(super) fn validate(field: &str, name: &str, bounces: &Bounces) -> Result<(), ConfigError> {
    let (given, domain) = match (&bounces.domain, &bounces.address) {
        (Some(domain), None) => ("domain", domain.as_str()),
        (None, Some(address)) => {
            let (local, domain) = address.rsplit_once('@').unwrap_or_default();
            if !is_plain(local) || local.len() > LONGEST_LOCAL_PART || local.contains('+') {
                return invalid(
                    format!("{field}.bounces.address"),
                    format!(
                        "{address:?} is not a plain address with at most {LONGEST_LOCAL_PART} \
                         characters before the @; write bounces@{name}"
                    ),
                );
            }
            ("address", domain)
        }
        _ => {
            return invalid(
                format!("{field}.bounces"),
                "give domain or address, and not both".into(),
            );
        }
    };
    let field = |name: &str| format!("{field}.bounces.{name}");
    host_name(&field(given), domain)?;
    let below = domain
        .strip_suffix(name)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if !below || domain.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return invalid(
            field(given),
            format!(
                "{domain} is neither {name} nor a domain below it, in lower case; SPF would not be \
                 aligned with From (RFC 7489 section 3.1.2)"
            ),
        );
    }
    if bounces.keys.is_empty() {
        return invalid(
            field("keys"),
            "is empty; give a secret of 32 octets in base 64, such as from `openssl rand -base64 32`"
                .into(),
        );
    }
    if bounces.valid_for.get().is_zero() {
        return invalid(
            field("validFor"),
            "is 0s; give a time or leave it out".into(),
        );
    }
    Ok(())
}

/// Octets of a name of an organisation and of what says whom to ask.
const LONGEST_NAME: usize = 128;

/// Who sends TLS reports.
pub(super) fn validate_tls(reports: &TlsReports) -> Result<(), ConfigError> {
    validate_return_path("delivery.reports.tls.from", &reports.from)?;
    let names = [
        ("organization", &reports.organization),
        ("contact", &reports.contact),
    ];
    for (name, text) in names {
        let is_good = |text: &String| {
            (1..=LONGEST_NAME).contains(&text.len()) && !text.chars().any(char::is_control)
        };
        if !text.as_ref().is_none_or(is_good) {
            return invalid(
                format!("delivery.reports.tls.{name}"),
                format!("must be one line of 1 to {LONGEST_NAME} octets"),
            );
        }
    }
    Ok(())
}

/// An address of the relay's own: in place of the null sender, or as the author of reports.
pub(super) fn validate_return_path(field: &str, address: &str) -> Result<(), ConfigError> {
    let (local, domain) = address.rsplit_once('@').unwrap_or_default();
    if !is_plain(local) {
        return invalid(
            field,
            format!("{address:?} is not a plain address; write postmaster@example.com"),
        );
    }
    host_name(field, domain)
}
