//! Secrets with the relay's files, and the authority for clients.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use operator_api::SmtpRelay;
use operator_api::names::{self, BUCKET_ENTRY};

use super::{metadata, relay_name};
use crate::certificates::{CA, RelayCertificates, SecretData};
use crate::relay::validate::Tls;
use crate::render::Rendered;

pub(super) fn config(relay: &SmtpRelay, rendered: &Rendered) -> Secret {
    let name = names::config_secret(relay_name(relay));
    secret(relay, name, "configuration", "Opaque", &rendered.config)
}

pub(super) fn buckets(relay: &SmtpRelay, rendered: &Rendered) -> Vec<Secret> {
    let bucket = |(index, content): (&usize, &Vec<u8>)| {
        let name = names::bucket_secret(relay_name(relay), *index);
        let data = SecretData::from([(BUCKET_ENTRY.to_owned(), content.clone())]);
        secret(relay, name, "bucket", "Opaque", &data)
    };
    rendered.buckets.iter().map(bucket).collect()
}

pub(super) fn certificates(
    relay: &SmtpRelay,
    certificates: &RelayCertificates,
    issues_serving: bool,
) -> Vec<Secret> {
    let name = relay_name(relay);
    let tls = "kubernetes.io/tls";
    let mut secrets = vec![
        secret(
            relay,
            names::authority_secret(name),
            "authority",
            tls,
            &certificates.authority_secret.data,
        ),
        secret(
            relay,
            names::internal_secret(name),
            "admin-certificate",
            tls,
            &certificates.internal.data,
        ),
    ];
    if issues_serving {
        secrets.push(secret(
            relay,
            names::tls_secret(name),
            "certificate",
            tls,
            &certificates.serving.data,
        ));
    }
    secrets
}

/// What clients should trust; `None` when a user's certificate comes without its authority.
pub(super) fn ca(
    relay: &SmtpRelay,
    tls: &Tls,
    certificates: &RelayCertificates,
) -> Option<ConfigMap> {
    let bundle = match tls {
        Tls::Unused => return None,
        Tls::Issued { .. } => certificates.authority.bundle().to_owned(),
        Tls::Provided { usable, .. } => usable.as_ref().ok()?.1.clone()?,
    };
    Some(ConfigMap {
        metadata: metadata(relay, names::ca_config_map(relay_name(relay)), "authority"),
        data: Some(BTreeMap::from([(CA.to_owned(), bundle)])),
        ..ConfigMap::default()
    })
}

fn secret(
    relay: &SmtpRelay,
    name: String,
    component: &str,
    type_: &str,
    data: &SecretData,
) -> Secret {
    let data = data
        .iter()
        .map(|(entry, content)| (entry.clone(), ByteString(content.clone())))
        .collect();
    Secret {
        metadata: metadata(relay, name, component),
        type_: Some(type_.to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}
