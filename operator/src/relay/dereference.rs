//! Step one: everything that is read. Caches where being late does no harm; the API server itself
//! for Secrets with generated keys that the cache lacks, since a key would be made twice otherwise.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::api::Api;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt as _};
use operator_api::names::{self, DRAINED_ANNOTATION, SHARD_LABEL};
use operator_api::{SendingDomain, SmtpCredential, SmtpRelay};
use relay_config::RelayStatus;

use super::issued;
use super::issuers::{self, Issuers};
use super::moves::{self, Moves};
use super::scale::{self, Scale};
use super::{Key, RelayError, admin, key};
use crate::certificates::{Authority, SecretData};
use crate::context::Context;
use crate::guarded_secret::is_owned;
use crate::kubernetes::queue;
use crate::kubernetes::store::{Cached, Index, Store};
use crate::render::Namespaces;
use crate::render::admission::Attached;

/// Shards that are asked at the same time.
const ASKED_AT_ONCE: usize = 8;

/// Everything that was read about one relay.
pub(super) struct Found {
    pub(super) relay: Arc<SmtpRelay>,
    pub(super) key: Key,
    pub(super) namespaces: Arc<Namespaces>,
    pub(super) domains: Vec<(Arc<SendingDomain>, Option<SecretData>)>,
    pub(super) credentials: Vec<(Arc<SmtpCredential>, Option<SecretData>)>,
    /// Secrets that the spec names, by name.
    pub(super) named: BTreeMap<String, SecretData>,
    /// cert-manager's Certificate for the listeners.
    pub(super) issued: issued::Lookup,
    pub(super) issuers: Issuers,
    pub(super) authority: Option<Secret>,
    pub(super) serving: Option<Secret>,
    pub(super) internal: Option<Secret>,
    pub(super) shards: Vec<Shard>,
    pub(super) scale: Scale,
    pub(super) moves: Moves,
}

/// What exists of one shard.
#[derive(Clone, Debug)]
pub(super) struct Shard {
    pub(super) index: i32,
    pub(super) deployment: Option<Arc<Deployment>>,
    pub(super) claim: Option<Arc<PersistentVolumeClaim>>,
    pub(super) pod: Option<Arc<Pod>>,
    /// What the pod said, or why it could not be asked; `None` without a running pod.
    pub(super) report: Option<Result<RelayStatus, String>>,
}

pub(super) async fn run(
    relay: &Arc<SmtpRelay>,
    context: &Context,
    now: Timestamp,
) -> Result<Found, RelayError> {
    let key = key(relay);
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &key.0);
    let [authority, serving, internal] = [
        names::authority_secret(&key.1),
        names::tls_secret(&key.1),
        names::internal_secret(&key.1),
    ];
    let (authority, serving, internal) = futures_util::try_join!(
        own(relay, context, &api, &authority),
        own(relay, context, &api, &serving),
        own(relay, context, &api, &internal)
    )?;
    let mut shards = shards(relay, context, &key);
    ask(context, &key, authority.as_ref(), &mut shards, now).await;
    let scale = scale::decide(relay, &shards);
    let moves = moves::decide(&scale, relay.spec.storage_class(), &shards);
    for index in &moves.staying {
        if !shards.iter().any(|shard| shard.index == *index) {
            shards.push(Shard::absent(*index));
        }
    }
    Ok(Found {
        scale,
        moves,
        namespaces: context.stores.namespaces(),
        domains: attached(
            &context.stores.domains,
            &context.stores.secrets,
            &key,
            |domain| names::dkim_secret(&domain.name_any()),
        ),
        credentials: attached(
            &context.stores.credentials,
            &context.stores.secrets,
            &key,
            SmtpCredential::secret_name,
        ),
        named: named(relay, &api).await?,
        issued: issued::look(relay, context).await?,
        issuers: issuers::run(relay, context, &key, now).await?,
        relay: Arc::clone(relay),
        key,
        authority,
        serving,
        internal,
        shards,
    })
}

/// A Secret with generated keys: from the cache if it is there as this process last wrote it, else from the
/// API server.
async fn own(
    relay: &SmtpRelay,
    context: &Context,
    api: &Api<Secret>,
    name: &str,
) -> Result<Option<Secret>, RelayError> {
    let namespace = relay.namespace().unwrap_or_default();
    let cached = context
        .stores
        .secrets
        .named(&queue::Key::new(namespace, name));
    let current = cached
        .filter(|secret| is_owned(relay, secret) && context.applier.is_current(secret.as_ref()));
    match current {
        Some(secret) => Ok(Some(Arc::unwrap_or_clone(secret))),
        None => Ok(api.get_opt(name).await?),
    }
}

/// Objects that name the relay, with the Secret that each owns.
fn attached<K>(
    objects: &Store<K>,
    secrets: &Store<Secret>,
    relay: &Key,
    secret_name: impl Fn(&K) -> String,
) -> Vec<(Arc<K>, Option<SecretData>)>
where
    K: Attached + Cached,
{
    let objects = objects.sharing(&Index::Relay(relay.0.clone(), relay.1.clone()));
    let with_secret = |object: Arc<K>| {
        let namespace = object.meta().namespace.clone().unwrap_or_default();
        let reference = ObjectRef::new(&secret_name(&object)).within(&namespace);
        let secret = secrets
            .get(&reference)
            .filter(|secret| is_owned(object.as_ref(), secret));
        (object, secret.map(|secret| data(&secret)))
    };
    objects.into_iter().map(with_secret).collect()
}

/// Content of a Secret.
pub(super) fn data(secret: &Secret) -> SecretData {
    secret
        .data
        .iter()
        .flatten()
        .map(|(name, content)| (name.clone(), content.0.clone()))
        .collect()
}

async fn named(
    relay: &SmtpRelay,
    api: &Api<Secret>,
) -> Result<BTreeMap<String, SecretData>, RelayError> {
    let mut named = BTreeMap::new();
    for name in super::named_secrets(relay) {
        if let Some(secret) = api.get_opt(&name).await? {
            named.insert(name, data(&secret));
        }
    }
    Ok(named)
}

/// Wanted shards and those that still exist, by index.
fn shards(relay: &SmtpRelay, context: &Context, key: &Key) -> Vec<Shard> {
    let stores = &context.stores;
    let mut shards: BTreeMap<i32, Shard> = (0..relay.spec.replicas)
        .map(|index| (index, Shard::absent(index)))
        .collect();
    let of_relay = Index::Relay(key.0.clone(), key.1.clone());
    for deployment in stores.deployments.sharing(&of_relay) {
        if let Some(shard) = slot(&mut shards, deployment.as_ref(), |index| {
            names::shard(&key.1, index)
        }) {
            shard.deployment = Some(deployment);
        }
    }
    for claim in stores.claims.sharing(&of_relay) {
        if let Some(shard) = slot(&mut shards, claim.as_ref(), |index| {
            names::claim(&key.1, index)
        }) {
            shard.claim = Some(claim);
        }
    }
    let mut pods = stores.pods.sharing(&of_relay);
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    for pod in pods {
        // Names of pods are made up by their Deployment.
        let own = |_| pod.name_any();
        let Some(shard) = slot(&mut shards, pod.as_ref(), own) else {
            continue;
        };
        let created = |pod: &Pod| pod.metadata.creation_timestamp.clone();
        let newer = shard
            .pod
            .as_ref()
            .is_none_or(|known| created(known) < created(&pod));
        if newer {
            shard.pod = Some(pod);
        }
    }
    shards.into_values().collect()
}

/// The place of an object by its label; `None` when it has no usable one, or another name than the object of
/// that place: a copy that somebody made, labels included (case O5).
fn slot<'a, K: Resource>(
    shards: &'a mut BTreeMap<i32, Shard>,
    object: &K,
    name: impl Fn(i32) -> String,
) -> Option<&'a mut Shard> {
    let index: i32 = object.labels().get(SHARD_LABEL)?.parse().ok()?;
    if index < 0 || object.name_any() != name(index) {
        return None;
    }
    Some(shards.entry(index).or_insert_with(|| Shard::absent(index)))
}

impl Found {
    /// Whether shard `index` is to stay.
    pub(super) fn stays(&self, index: i32) -> bool {
        self.moves.staying.contains(&index) && self.relay.metadata.deletion_timestamp.is_none()
    }
}

impl Shard {
    pub(super) fn absent(index: i32) -> Self {
        Self {
            index,
            deployment: None,
            claim: None,
            pod: None,
            report: None,
        }
    }

    /// Whether its Deployment's newest form runs and is ready.
    pub(super) fn is_ready(&self) -> bool {
        let Some(deployment) = &self.deployment else {
            return false;
        };
        let status = deployment.status.clone().unwrap_or_default();
        status.observed_generation >= deployment.metadata.generation
            && status.updated_replicas == Some(1)
            && status.available_replicas == Some(1)
            && status.unavailable_replicas.unwrap_or(0) == 0
    }

    /// Whether anything of it is there.
    pub(super) fn exists(&self) -> bool {
        self.deployment.is_some() || self.claim.is_some() || self.pod.is_some()
    }

    /// Whether anything of it is there that is not on its way out already.
    pub(super) fn is_to_be_removed(&self) -> bool {
        fn stays<K: Resource>(object: &Arc<K>) -> bool {
            object.meta().deletion_timestamp.is_none()
        }
        self.deployment.as_ref().is_some_and(stays) || self.claim.as_ref().is_some_and(stays)
    }

    /// Messages that wait there; `None` when nobody knows.
    pub(super) fn messages(&self) -> Option<u64> {
        match &self.report {
            Some(Ok(report)) => Some(report.queue.messages),
            Some(Err(_)) => None,
            None if self.never_ran() => Some(0),
            None if self.pod.is_some() || self.may_hold_mail() => None,
            None => Some(0),
        }
    }

    /// Whether no process of it can have taken mail: there is no volume, and its pod, if any, has no node.
    pub(super) fn never_ran(&self) -> bool {
        let node = |pod: &Arc<Pod>| pod.spec.as_ref()?.node_name.clone();
        !self.has_volume() && self.report.is_none() && self.pod.as_ref().and_then(node).is_none()
    }

    /// Whether its claim has a volume and was not found to be empty before its pod went.
    pub(super) fn may_hold_mail(&self) -> bool {
        let claim = self.claim.as_ref();
        let drained =
            claim.is_some_and(|claim| claim.annotations().contains_key(DRAINED_ANNOTATION));
        self.has_volume() && !drained
    }

    /// Whether its claim has a volume, in which mail may lie.
    pub(super) fn has_volume(&self) -> bool {
        let claim = self.claim.as_ref();
        claim
            .and_then(|claim| claim.spec.as_ref())
            .is_some_and(|spec| spec.volume_name.is_some())
    }
}

/// Asks all running pods.
async fn ask(
    context: &Context,
    relay: &Key,
    authority: Option<&Secret>,
    shards: &mut [Shard],
    now: Timestamp,
) {
    let authority = authority.and_then(|secret| Authority::from_secret(&data(secret), now));
    let Some(authority) = authority else {
        return;
    };
    let config = context.admin.config(relay, &authority, now);
    let asked: Vec<(usize, IpAddr)> = shards
        .iter()
        .enumerate()
        .filter_map(|(place, shard)| Some((place, address(shard.pod.as_ref()?)?)))
        .collect();
    let reports: Vec<_> = stream::iter(asked)
        .map(|(place, address)| {
            let config = config.as_ref().map(Arc::clone);
            async move {
                let report = match config {
                    Ok(config) => admin::status(&relay.1, address, config)
                        .await
                        .map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                };
                (place, report)
            }
        })
        .buffer_unordered(ASKED_AT_ONCE)
        .collect()
        .await;
    for (place, report) in reports {
        let shard = &mut shards[place];
        shard.report = Some(report.and_then(|report| of_shard(shard.index, report)));
    }
}

/// What a shard said of itself; an error when another one answered at its address.
fn of_shard(index: i32, report: RelayStatus) -> Result<RelayStatus, String> {
    match report.shard {
        Some(other) if i32::try_from(other) != Ok(index) => {
            Err(format!("shard {other} answers at its address"))
        }
        _ => Ok(report),
    }
}

/// Address of a pod whose container runs.
fn address(pod: &Pod) -> Option<IpAddr> {
    let status = pod.status.as_ref()?;
    let running = status.container_statuses.iter().flatten().any(|container| {
        container
            .state
            .as_ref()
            .is_some_and(|state| state.running.is_some())
    });
    running.then_some(())?;
    status.pod_ip.as_ref()?.parse().ok()
}

#[cfg(test)]
pub(super) mod fixtures;
