//! Reads everything that a reconcile looks at.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::reflector::ObjectRef;
use operator_api::names::ca_config_map;
use operator_api::{SmtpCredential, SmtpRelay};

use super::CredentialError;
use crate::certificates::{self, CA, SecretData};
use crate::context::Context;
use crate::guarded_secret::is_owned;
use crate::kubernetes::store::Index;
use crate::render::Namespaces;
use crate::render::admission::Attached as _;

/// What was read.
pub(super) struct Seen {
    /// The relay that the credential names.
    pub(super) relay: Option<Arc<SmtpRelay>>,
    /// Labels of all namespaces.
    pub(super) namespaces: Arc<Namespaces>,
    /// Credentials of the same user name, this one included.
    pub(super) rivals: Vec<Arc<SmtpCredential>>,
    /// The Secret of the name, whoever made it.
    pub(super) secret: Option<Secret>,
    /// The namespace is about to go.
    pub(super) terminating: bool,
    /// The relay's Secrets have no room for it.
    pub(super) lacks_room: bool,
    /// PEM of the relay's authorities, once the relay's controller has published them.
    pub(super) authorities: Option<String>,
}

impl Seen {
    /// Data of the Secret, if that is the credential's.
    pub(super) fn binding(&self, credential: &SmtpCredential) -> Option<SecretData> {
        let secret = self
            .secret
            .as_ref()
            .filter(|secret| is_owned(credential, secret))?;
        Some(certificates::data_of(secret))
    }
}

pub(super) async fn run(
    credential: &SmtpCredential,
    context: &Context,
) -> Result<Seen, CredentialError> {
    let namespace = credential.namespace().unwrap_or_default();
    let (relay_namespace, relay_name) = credential.relay_key();
    let claim = credential.claim();
    let stores = &context.stores;
    let relay = stores
        .relays
        .get(&ObjectRef::new(&relay_name).within(&relay_namespace));
    let bundle = ObjectRef::new(&ca_config_map(&relay_name)).within(&relay_namespace);
    let authorities = stores.config_maps.get(&bundle);
    let authorities = authorities
        .filter(|bundle| relay.as_ref().is_some_and(|relay| publishes(relay, bundle)))
        .and_then(|bundle| bundle.data.as_ref()?.get(CA).cloned());
    Ok(Seen {
        relay,
        namespaces: stores.namespaces(),
        rivals: stores.credentials.sharing(&Index::Claim(claim.clone())),
        secret: read_secret(credential, context, &namespace).await?,
        terminating: stores.is_terminating(&namespace),
        lacks_room: context
            .programmed
            .lacks_room_for_credential(&credential.relay_key(), &claim),
        authorities,
    })
}

/// A ConfigMap of the name that somebody else made must not tell applications whom to trust.
fn publishes(relay: &SmtpRelay, bundle: &ConfigMap) -> bool {
    relay.metadata.uid.is_some()
        && bundle
            .owner_references()
            .iter()
            .any(|owner| Some(&owner.uid) == relay.metadata.uid.as_ref())
}

/// From the cache if it is there, else from the API server: the cache holds what carries the
/// operator's label, and a Secret that lacks it must be seen as well.
async fn read_secret(
    credential: &SmtpCredential,
    context: &Context,
    namespace: &str,
) -> Result<Option<Secret>, CredentialError> {
    let name = credential.secret_name();
    let cached = context
        .stores
        .secrets
        .get(&ObjectRef::new(&name).within(namespace));
    if let Some(secret) = cached.filter(|secret| is_owned(credential, secret)) {
        return Ok(Some(secret.as_ref().clone()));
    }
    Api::<Secret>::namespaced(context.client.clone(), namespace)
        .get_opt(&name)
        .await
        .map_err(|source| CredentialError::ReadSecret {
            name,
            source: Box::new(source),
        })
}
