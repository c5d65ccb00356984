//! Transport security towards recipients' servers.

use std::path::PathBuf;

use operator_api as api;
use relay_config::{Delivery, Dnssec, MtaSts, OverridePolicy, TlsOverride};

use super::build_port;
use super::delivery::secret_entry;
use crate::certificates::{CA, SecretData};
use crate::render::{RelayInputs, Violation};

/// Name of the file with the authorities of MX hosts.
const AUTHORITIES: &str = "mx-ca.crt";

/// Sets what `delivery` says of it, and gives back the files that this names.
pub(super) fn build(
    inputs: &RelayInputs<'_>,
    delivery: &api::Delivery,
    built: &mut Delivery,
) -> Result<SecretData, Violation> {
    if let Some(mta_sts) = &delivery.mta_sts {
        built.mta_sts = build_mta_sts(mta_sts)?;
    }
    built.tls_overrides = delivery.tls_overrides.iter().map(build_override).collect();
    let Some(reference) = &delivery.ca_secret_ref else {
        return Ok(SecretData::new());
    };
    let key = reference.key.as_deref().unwrap_or(CA);
    let field = "spec.delivery.caSecretRef";
    let content = secret_entry(inputs, field, &reference.name, key)?;
    built.certificate_authorities = Some(PathBuf::from(AUTHORITIES));
    Ok(SecretData::from([(
        AUTHORITIES.to_owned(),
        content.to_vec(),
    )]))
}

pub(super) fn dnssec(delivery: Option<&api::Delivery>) -> Dnssec {
    match delivery
        .and_then(|delivery| delivery.dnssec)
        .unwrap_or_default()
    {
        api::Dnssec::Auto => Dnssec::Auto,
        api::Dnssec::Validate => Dnssec::Validate,
        api::Dnssec::TrustResolver => Dnssec::TrustResolver,
        api::Dnssec::Disabled => Dnssec::Disabled,
    }
}

fn build_mta_sts(mta_sts: &api::MtaSts) -> Result<MtaSts, Violation> {
    let mut built = MtaSts::default();
    if let Some(enabled) = mta_sts.enabled {
        built.enabled = enabled;
    }
    if let Some(port) = mta_sts.port {
        built.port = build_port("spec.delivery.mtaSts.port", port)?;
    }
    Ok(built)
}

fn build_override(one: &api::TlsOverride) -> TlsOverride {
    TlsOverride {
        domain: one.domain.clone(),
        policy: match one.policy {
            api::OverridePolicy::None => OverridePolicy::None,
            api::OverridePolicy::Opportunistic => OverridePolicy::Opportunistic,
            api::OverridePolicy::Required => OverridePolicy::Required,
            api::OverridePolicy::Verified => OverridePolicy::Verified,
        },
        expires: one.expires.0,
        reason: one.reason.clone().unwrap_or_default(),
    }
}
