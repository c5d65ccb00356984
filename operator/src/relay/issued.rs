//! Certificates that cert-manager issues for the listeners (`spec.tls.issuerRef`): what is asked for, and
//! what has become of it.
//!
//! cert-manager's API is used and not linked: a Certificate has few fields that matter here. It is
//! looked at with each reconcile and not watched, since a cluster without cert-manager has nothing to
//! watch; the Secret that it ends in is watched as all are.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::runtime::reflector::ObjectRef;
use kube::{CustomResource, Resource as _, ResourceExt as _};
use operator_api::conditions::reason;
use operator_api::{IssuerReference, SmtpRelay, names};
use serde::{Deserialize, Serialize};

use super::{Key, RelayError};
use crate::certificates::serving_names;
use crate::context::Context;
use crate::labels;
use crate::render::{Violation, hostname};

/// Value of the component label of what is made here.
const COMPONENT: &str = "issued-certificate";
const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
/// How long a Certificate that is deleted may stay: somebody's finalizer on it must not keep the relay.
const PATIENCE: SignedDuration = SignedDuration::from_secs(60);

/// What cert-manager is asked for; the fields that the operator sets.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "cert-manager.io",
    version = "v1",
    kind = "Certificate",
    namespaced,
    schema = "disabled",
    status = "CertificateStatus"
)]
#[serde(rename_all = "camelCase")]
pub(super) struct CertificateSpec {
    secret_name: String,
    dns_names: Vec<String>,
    issuer_ref: IssuerReference,
    private_key: PrivateKey,
    usages: Vec<String>,
    secret_template: SecretTemplate,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PrivateKey {
    algorithm: String,
    size: i32,
    rotation_policy: String,
}

/// Labels by which the operator finds the Secret again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SecretTemplate {
    labels: std::collections::BTreeMap<String, String>,
}

/// What cert-manager says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct CertificateStatus {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Condition {
    r#type: String,
    status: String,
    #[serde(default)]
    message: String,
}

/// What was found of a relay's Certificate.
#[derive(Clone, Debug, Default)]
pub(super) enum Lookup {
    /// The relay has none and needs none.
    #[default]
    NotAsked,
    /// The cluster does not know the kind.
    Unknown,
    /// The API server refuses; what it says.
    Refused(String),
    /// It is there, or not yet.
    Known(Option<Box<Certificate>>),
}

/// Looks for the Certificate of a relay that has an issuer, or that had one and has its Secret still.
pub(super) async fn look(relay: &SmtpRelay, context: &Context) -> Result<Lookup, RelayError> {
    let key = super::key(relay);
    if relay.spec.issuer().is_none() && secret(context, &key).is_none() {
        return Ok(Lookup::NotAsked);
    }
    let api: Api<Certificate> = Api::namespaced(context.client.clone(), &key.0);
    match api.get(&names::issued_secret(&key.1)).await {
        Ok(certificate) => Ok(Lookup::Known(Some(Box::new(certificate)))),
        // A path that is not served has an answer in plain text.
        Err(kube::Error::Api(status)) if status.code == 404 => match status.reason.as_str() {
            "NotFound" => Ok(Lookup::Known(None)),
            _ => Ok(Lookup::Unknown),
        },
        Err(kube::Error::Api(status)) if status.code == 403 => {
            Ok(Lookup::Refused(status.message.clone()))
        }
        Err(error) => Err(error.into()),
    }
}

/// The Secret that cert-manager wrote, as the cache has it.
fn secret(context: &Context, key: &Key) -> Option<Arc<Secret>> {
    let reference = ObjectRef::new(&names::issued_secret(&key.1)).within(&key.0);
    let secret = context.stores.secrets.get(&reference);
    secret.filter(|secret| is_issued(secret, &key.1))
}

/// Whether a Secret is what cert-manager wrote for the relay, and not somebody's who took the name.
fn is_issued(secret: &Secret, relay: &str) -> bool {
    let labels = labels::of_relay(relay, COMPONENT);
    let labelled = [names::RELAY_LABEL, COMPONENT_LABEL]
        .iter()
        .all(|label| secret.labels().get(*label) == labels.get(*label));
    // cert-manager can be told to make its Certificate the owner.
    let certificate = names::issued_secret(relay);
    let mut owners = secret.owner_references().iter();
    labelled && owners.all(|owner| owner.kind == "Certificate" && owner.name == certificate)
}

/// The Certificate that should be; `None` without an issuer, or where it cannot be made.
pub(super) fn wanted(relay: &SmtpRelay, lookup: &Lookup) -> Option<Certificate> {
    let (issuer, Lookup::Known(_)) = (relay.spec.issuer()?, lookup) else {
        return None;
    };
    let (namespace, name) = super::key(relay);
    let secret_name = names::issued_secret(&name);
    let given = relay.spec.tls.iter().flat_map(|tls| tls.dns_names.clone());
    let mut dns_names: Vec<String> = given.collect();
    if dns_names.is_empty() {
        dns_names.extend(serving_names(&name, &namespace, &hostname(relay)));
    }
    let labels = labels::of_relay(&name, COMPONENT);
    let spec = CertificateSpec {
        secret_name: secret_name.clone(),
        dns_names,
        issuer_ref: IssuerReference {
            name: issuer.name.clone(),
            kind: Some(issuer.kind.clone().unwrap_or_else(|| "Issuer".to_owned())),
            group: Some(
                issuer
                    .group
                    .clone()
                    .unwrap_or_else(|| "cert-manager.io".to_owned()),
            ),
        },
        private_key: PrivateKey {
            algorithm: "ECDSA".to_owned(),
            size: 256,
            rotation_policy: "Always".to_owned(),
        },
        usages: ["digital signature", "server auth"]
            .map(str::to_owned)
            .to_vec(),
        secret_template: SecretTemplate {
            labels: labels.clone(),
        },
    };
    let mut certificate = Certificate::new(&secret_name, spec);
    certificate.metadata = labels::owned_by(relay, secret_name, labels);
    Some(certificate)
}

/// Why there is no certificate of cert-manager yet, when its Secret holds none that can be used.
pub(super) fn missing(relay: &SmtpRelay, lookup: &Lookup) -> Option<Violation> {
    relay.spec.issuer()?;
    let name = names::issued_secret(&super::key(relay).1);
    let unavailable = |message: String| Violation::new(reason::CERT_MANAGER_UNAVAILABLE, message);
    Some(match lookup {
        Lookup::Unknown => unavailable(
            "spec.tls.issuerRef: the cluster has no cert-manager (certificates.cert-manager.io); \
             install it, or remove the field to have a certificate of the operator"
                .to_owned(),
        ),
        Lookup::Refused(said) => unavailable(format!(
            "spec.tls.issuerRef: the operator may not use cert-manager's Certificates; set \
             certManager.enabled in the operator's chart, or remove the field ({said})"
        )),
        Lookup::NotAsked | Lookup::Known(None) => Violation::new(
            reason::CERTIFICATE_PENDING,
            format!("spec.tls.issuerRef: Certificate {name:?} was just asked for"),
        ),
        Lookup::Known(Some(certificate)) => Violation::new(
            reason::CERTIFICATE_PENDING,
            format!(
                "spec.tls.issuerRef: cert-manager has not issued Certificate {name:?}: {}; `kubectl \
                 describe certificate {name}` shows what it waits for",
                not_ready(certificate).unwrap_or_else(|| "its Secret is awaited".to_owned())
            ),
        ),
    })
}

/// What is wrong with a certificate that is in force all the same: cert-manager does not renew it.
pub(super) fn notice(relay: &SmtpRelay, lookup: &Lookup) -> Option<String> {
    relay.spec.issuer()?;
    match lookup {
        Lookup::Known(Some(certificate)) => not_ready(certificate)
            .map(|why| format!("cert-manager does not hold it for ready: {why}")),
        Lookup::Unknown => Some("cert-manager is gone, and nobody renews it".to_owned()),
        Lookup::Refused(said) => Some(format!("the operator may not look at it: {said}")),
        Lookup::NotAsked | Lookup::Known(None) => None,
    }
}

/// Why a Certificate is not ready; `None` when it is.
fn not_ready(certificate: &Certificate) -> Option<String> {
    let conditions = certificate
        .status
        .iter()
        .flat_map(|status| &status.conditions);
    match conditions.clone().find(|one| one.r#type == "Ready") {
        Some(ready) if ready.status == "True" => None,
        Some(ready) => Some(ready.message.trim_end_matches('.').to_owned()),
        None => Some("cert-manager has not looked at it".to_owned()),
    }
}

/// Removes what a relay without an issuer has left, the Certificate first: while it is there, its Secret
/// would be written again. Whether nothing is left, or nothing is waited for any more.
pub(super) async fn clear(
    relay: &SmtpRelay,
    lookup: &Lookup,
    context: &Context,
    now: Timestamp,
) -> Result<bool, RelayError> {
    let (client, applier) = (&context.client, &context.applier);
    match rest(relay, lookup, now) {
        Rest::Nothing => Ok(true),
        Rest::Delete(certificate) => {
            applier.delete(client, certificate).await?;
            Ok(false)
        }
        Rest::Wait => Ok(false),
        Rest::Secret => {
            if let Some(secret) = secret(context, &super::key(relay)) {
                applier.delete(client, secret.as_ref()).await?;
            }
            Ok(true)
        }
    }
}

/// The relay is gone, and its Certificate with it; no watch tells of that.
pub(super) fn forget(context: &Context, (namespace, name): &Key) {
    let name = names::issued_secret(name);
    context.applier.forget::<Certificate>(namespace, &name);
}

/// What is left to do.
#[derive(Clone, Copy, Debug)]
enum Rest<'a> {
    Nothing,
    /// The Certificate has to go.
    Delete(&'a Certificate),
    /// It is about to go.
    Wait,
    /// It is gone, or somebody keeps it for longer than we wait; the Secret has to go.
    Secret,
}

/// What is left to do. Pure.
fn rest<'a>(relay: &SmtpRelay, lookup: &'a Lookup, now: Timestamp) -> Rest<'a> {
    let certificate = match lookup {
        Lookup::NotAsked | Lookup::Unknown | Lookup::Refused(_) => return Rest::Nothing,
        Lookup::Known(None) => return Rest::Secret,
        Lookup::Known(Some(certificate)) => certificate.as_ref(),
    };
    let uid = relay.uid();
    let mut owners = certificate.owner_references().iter();
    if !owners.any(|owner| Some(&owner.uid) == uid.as_ref()) {
        return Rest::Nothing;
    }
    match &certificate.meta().deletion_timestamp {
        None => Rest::Delete(certificate),
        Some(deleted) if now.duration_since(deleted.0) < PATIENCE => Rest::Wait,
        Some(_) => Rest::Secret,
    }
}

#[cfg(test)]
mod tests;
