//! How accepted messages leave.

use std::path::PathBuf;

use operator_api as api;
use operator_api::conditions::reason;
use relay_config::{
    AddressLiterals, Delivery, DeliveryTls, Duration, OAuth2, Retry, Route, Secret, Smarthost,
    SmarthostAuthentication, SmarthostLookup, SmarthostTls, TlsReports,
};

use super::{build_port, invalid, networks, transport};
use crate::certificates::{CA, SecretData};
use crate::render::{RelayInputs, Violation};

/// The settings, and the files that they name.
pub(super) fn build(inputs: &RelayInputs<'_>) -> Result<(Delivery, SecretData), Violation> {
    let mut built = Delivery::default();
    let mut files = SecretData::new();
    let Some(delivery) = &inputs.relay.spec.delivery else {
        return Ok((built, files));
    };
    built.smarthosts = smarthosts(inputs, "", &delivery.smarthosts, &mut files)?;
    for (number, route) in delivery.routes.iter().enumerate() {
        let list = format!("routes[{number}].");
        built.routes.push(Route {
            name: route.name.clone(),
            recipient_domains: route.recipient_domains.clone(),
            sender_domains: route.sender_domains.clone(),
            mx_suffixes: route.mx_suffixes.clone(),
            tags: route.tags.clone(),
            smarthosts: smarthosts(inputs, &list, &route.smarthosts, &mut files)?,
            tls: route.tls.map(delivery_tls),
        });
    }
    let reports = delivery.reports.as_ref();
    built.reports.return_path = reports.and_then(|reports| reports.return_path.clone());
    let tls = reports.and_then(|reports| reports.tls.as_ref());
    built.reports.tls = tls.map(|tls| TlsReports {
        from: tls.from.clone(),
        organization: tls.organization.clone(),
        contact: tls.contact.clone(),
    });
    if let Some(retry) = &delivery.retry {
        built.retry = build_retry(retry)?;
    }
    built.tls = delivery_tls(delivery.tls.unwrap_or_default());
    files.extend(transport::build(inputs, delivery, &mut built)?);
    built.address_literals = match delivery.address_literals.unwrap_or_default() {
        api::AddressLiterals::Deliver => AddressLiterals::Deliver,
        api::AddressLiterals::Refuse => AddressLiterals::Refuse,
    };
    if let Some(connections) = delivery.connections_per_destination {
        let field = "spec.delivery.connectionsPerDestination";
        built.connections_per_destination = u32::try_from(connections)
            .map_err(|_| invalid(field, &connections.to_string(), "is negative"))?;
    }
    if let Some(port) = delivery.mx_port {
        built.mx_port = build_port("spec.delivery.mxPort", port)?;
    }
    built.permitted_networks = networks(
        "spec.delivery.permittedNetworks",
        &delivery.permitted_networks,
    )?;
    Ok((built, files))
}

fn delivery_tls(tls: api::DeliveryTls) -> DeliveryTls {
    match tls {
        api::DeliveryTls::Opportunistic => DeliveryTls::Opportunistic,
        api::DeliveryTls::Required => DeliveryTls::Required,
        api::DeliveryTls::Verified => DeliveryTls::Verified,
    }
}

/// The smarthosts of one list; `list` is what stands before it in the field's name.
fn smarthosts(
    inputs: &RelayInputs<'_>,
    list: &str,
    smarthosts: &[api::Smarthost],
    files: &mut SecretData,
) -> Result<Vec<Smarthost>, Violation> {
    let mut built = Vec::with_capacity(smarthosts.len());
    for (place, smarthost) in smarthosts.iter().enumerate() {
        let mut one = Builder {
            inputs,
            field: format!("spec.delivery.{list}smarthosts[{place}]"),
            prefix: format!(
                "{}smarthost-{place}",
                list.replace("routes[", "route-").replace("].", "-")
            ),
            files,
        };
        built.push(one.smarthost(smarthost)?);
    }
    Ok(built)
}

/// One smarthost on its way from the spec to the configuration.
struct Builder<'a, 'b> {
    inputs: &'a RelayInputs<'b>,
    field: String,
    /// Of the names of its files.
    prefix: String,
    files: &'a mut SecretData,
}

impl Builder<'_, '_> {
    fn field(&self, name: &str) -> String {
        format!("{}.{name}", self.field)
    }

    fn smarthost(&mut self, smarthost: &api::Smarthost) -> Result<Smarthost, Violation> {
        let authentication = match &smarthost.credentials_secret_ref {
            None => None,
            Some(reference) => {
                Some(self.authentication(&reference.name, smarthost.oauth2.as_ref())?)
            }
        };
        let number = |name: &str, number: i32| {
            u16::try_from(number).map_err(|_| {
                let remedy = "is not a number from 0 to 65535";
                invalid(&self.field(name), &number.to_string(), remedy)
            })
        };
        let priority = smarthost.priority.map(|given| number("priority", given));
        let weight = number("weight", smarthost.weight.unwrap_or(1))?;
        Ok(Smarthost {
            host: smarthost.host.clone(),
            port: build_port(&self.field("port"), smarthost.port)?,
            lookup: match smarthost.lookup.unwrap_or_default() {
                api::SmarthostLookup::Address => SmarthostLookup::Address,
                api::SmarthostLookup::Srv => SmarthostLookup::Srv,
            },
            priority: priority.transpose()?,
            weight,
            tls: match smarthost.tls {
                api::SmarthostTls::StartTls => SmarthostTls::StartTls,
                api::SmarthostTls::Implicit => SmarthostTls::Implicit,
                api::SmarthostTls::Opportunistic => SmarthostTls::Opportunistic,
                api::SmarthostTls::None => SmarthostTls::None,
            },
            authentication,
            allow_unverified_login: smarthost.allow_unverified_login.unwrap_or_default(),
            certificate_authorities: self.authorities(
                "caSecretRef",
                CA,
                smarthost.ca_secret_ref.as_ref(),
            )?,
        })
    }

    fn authentication(
        &mut self,
        secret: &str,
        oauth2: Option<&api::OAuth2>,
    ) -> Result<SmarthostAuthentication, Violation> {
        let field = self.field("credentialsSecretRef");
        let text = |key| secret_text(self.inputs, &field, secret, key);
        let optional = |key| match self.inputs.secrets.get(secret) {
            Some(data) if data.contains_key(key) => text(key).map(Secret::new).map(Some),
            _ => Ok(None),
        };
        let username = text("username")?;
        let Some(oauth2) = oauth2 else {
            return Ok(SmarthostAuthentication {
                username,
                password: Some(Secret::new(text("password")?)),
                oauth2: None,
            });
        };
        let refresh_token = optional("refreshToken")?;
        let client_secret = if refresh_token.is_some() {
            optional("clientSecret")?
        } else {
            Some(Secret::new(text("clientSecret")?))
        };
        let client_id = text("clientId")?;
        let authorities = oauth2.ca_secret_ref.as_ref();
        let name = format!("tokens-{CA}");
        Ok(SmarthostAuthentication {
            username,
            password: None,
            oauth2: Some(OAuth2 {
                token_url: oauth2.token_url.clone(),
                client_id,
                client_secret,
                refresh_token,
                scope: oauth2.scope.clone(),
                certificate_authorities: self.authorities(
                    "oauth2.caSecretRef",
                    &name,
                    authorities,
                )?,
            }),
        })
    }

    /// Adds a file of certificate authorities.
    fn authorities(
        &mut self,
        field: &str,
        name: &str,
        reference: Option<&api::SecretKeyReference>,
    ) -> Result<Option<PathBuf>, Violation> {
        let Some(reference) = reference else {
            return Ok(None);
        };
        let key = reference.key.as_deref().unwrap_or(CA);
        let content = secret_entry(self.inputs, &self.field(field), &reference.name, key)?;
        let file = format!("{}-{name}", self.prefix);
        self.files.insert(file.clone(), content.to_vec());
        Ok(Some(file.into()))
    }
}

/// An entry of a Secret that the spec names; never empty.
pub(super) fn secret_entry<'a>(
    inputs: &RelayInputs<'a>,
    field: &str,
    name: &str,
    key: &str,
) -> Result<&'a [u8], Violation> {
    let namespace = inputs
        .relay
        .metadata
        .namespace
        .as_deref()
        .unwrap_or_default();
    let missing = |message| Violation::new(reason::SECRET_NOT_FOUND, message);
    let data = inputs.secrets.get(name).ok_or_else(|| {
        missing(format!(
            "{field}: there is no Secret {namespace}/{name}; create it"
        ))
    })?;
    match data.get(key) {
        Some(content) if !content.is_empty() => Ok(content),
        _ => Err(missing(format!(
            "{field}: Secret {namespace}/{name} has no entry {key:?}; add it"
        ))),
    }
}

/// As [`secret_entry`], for a user name or password. A line end at the end, which editors and
/// `echo` leave, is taken off.
fn secret_text(
    inputs: &RelayInputs<'_>,
    field: &str,
    name: &str,
    key: &str,
) -> Result<String, Violation> {
    let content = secret_entry(inputs, field, name, key)?;
    let text = std::str::from_utf8(content)
        .ok()
        .map(|text| text.trim_end_matches(['\r', '\n']));
    match text {
        Some(text) if !text.is_empty() && !text.chars().any(char::is_control) => {
            Ok(text.to_owned())
        }
        _ => Err(Violation::new(
            reason::INVALID_SPEC,
            format!("{field}: entry {key:?} of Secret {name} must be one line of UTF-8 text"),
        )),
    }
}

fn build_retry(retry: &api::Retry) -> Result<Retry, Violation> {
    let mut built = Retry::default();
    let fields = [
        ("initial", &retry.initial, &mut built.initial),
        ("maximum", &retry.maximum, &mut built.maximum),
        ("expireAfter", &retry.expire_after, &mut built.expire_after),
        ("delayAfter", &retry.delay_after, &mut built.delay_after),
    ];
    for (name, text, target) in fields {
        if let Some(text) = text {
            *target = text.parse::<Duration>().map_err(|error| {
                Violation::new(
                    reason::INVALID_SPEC,
                    format!("spec.delivery.retry.{name}: {error}"),
                )
            })?;
        }
    }
    Ok(built)
}
