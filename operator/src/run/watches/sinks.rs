//! Whom a change concerns.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, OnceLock};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt as _};
use operator_api::names::RELAY_LABEL;
use operator_api::{NamespaceFrom, SendingDomain, SmtpCredential, SmtpRelay};
use parking_lot::Mutex;

use crate::conditions;
use crate::context::Asking;
use crate::kubernetes::apply::{Applier, Owned};
use crate::kubernetes::queue::{Key, Urgency};
use crate::kubernetes::store::{Index, Store};
use crate::kubernetes::watch::Told;
use crate::render::admission::Attached;

/// The three caches that sinks look into.
#[derive(Clone, Default)]
pub(super) struct Late(Arc<OnceLock<Caches>>);

struct Caches {
    relays: Store<SmtpRelay>,
    domains: Store<SendingDomain>,
    credentials: Store<SmtpCredential>,
}

impl Late {
    pub(super) fn set(
        &self,
        relays: &Store<SmtpRelay>,
        domains: &Store<SendingDomain>,
        credentials: &Store<SmtpCredential>,
    ) {
        let _ = self.0.set(Caches {
            relays: relays.clone(),
            domains: domains.clone(),
            credentials: credentials.clone(),
        });
    }

    /// Asks for all domains and credentials that share `index`. None are known before [`Self::set`];
    /// every object is told again when its cache is filled, after that.
    fn ask(&self, asking: &Asking, index: &Index) {
        let Some(caches) = self.0.get() else {
            return;
        };
        for domain in caches.domains.sharing(index) {
            asking.domains.push(ObjectRef::from_obj(domain.as_ref()));
        }
        self.ask_credentials(asking, index);
    }

    /// As [`Self::ask`], for credentials alone.
    fn ask_credentials(&self, asking: &Asking, index: &Index) {
        let caches = self.0.get();
        let credentials = caches.map(|caches| caches.credentials.sharing(index));
        for credential in credentials.iter().flatten() {
            let reference = ObjectRef::from_obj(credential.as_ref());
            asking.credentials.push(reference);
        }
    }
}

/// Somebody waits for an object whose spec nobody has judged yet.
fn urgency(generation: Option<i64>, observed: Option<i64>) -> Urgency {
    if generation == observed {
        Urgency::Changed
    } else {
        Urgency::New
    }
}

fn key<K: Resource>(object: &K) -> Key {
    Key::new(
        object.meta().namespace.clone().unwrap_or_default(),
        object.meta().name.clone().unwrap_or_default(),
    )
}

fn of_relay(relay: &Key) -> Index {
    Index::Relay(relay.namespace.to_string(), relay.name.to_string())
}

/// Tells whether something changed that others should hear of, by a fingerprint for each object.
struct Changes<K, V>(Mutex<HashMap<K, V>>);

impl<K: Eq + Hash, V: PartialEq> Changes<K, V> {
    fn new() -> Self {
        Self(Mutex::default())
    }

    /// `None` for an object that is gone.
    fn differ(&self, key: K, fingerprint: Option<V>) -> bool {
        let mut known = self.0.lock();
        match fingerprint {
            None => {
                known.remove(&key);
                true
            }
            Some(fingerprint) => {
                let same = known.get(&key) == Some(&fingerprint);
                known.insert(key, fingerprint);
                !same
            }
        }
    }
}

pub(super) type Sink<K> = Box<dyn Fn(&K, Told) + Send>;

pub(super) fn relay_sink(asking: &Asking, late: &Late) -> Sink<SmtpRelay> {
    let (asking, late) = (asking.clone(), late.clone());
    let changes = Changes::new();
    Box::new(move |relay, told| {
        let key = key(relay);
        let status = relay.status.as_ref();
        let observed = status.and_then(|status| status.observed_generation);
        let urgency = urgency(relay.metadata.generation, observed);
        asking.relays.ask(key.clone(), urgency);
        // One that nobody has judged yet is no reason to wait.
        let refused = status.is_some_and(|status| {
            let accepted = operator_api::conditions::ACCEPTED;
            let known = conditions::find(&status.conditions, accepted);
            known.is_some_and(|accepted| accepted.status != "True")
        });
        let fingerprint = (
            relay.uid(),
            relay.metadata.generation,
            relay.metadata.deletion_timestamp.is_some(),
            refused,
        );
        let fingerprint = (told == Told::Changed).then_some(fingerprint);
        if changes.differ(key.clone(), fingerprint) {
            late.ask(&asking, &of_relay(&key));
        }
    })
}

pub(super) fn domain_sink(asking: &Asking, late: &Late) -> Sink<SendingDomain> {
    let (asking, late) = (asking.clone(), late.clone());
    let changes = Changes::new();
    Box::new(move |domain, told| {
        let key = key(domain);
        let status = domain.status.as_ref();
        let observed = status.and_then(|status| status.observed_generation);
        let urgency = urgency(domain.metadata.generation, observed);
        asking.domains.ask(key.clone(), urgency);
        if !changes.differ(key, fingerprint(domain, told)) {
            return;
        }
        let (namespace, name) = domain.relay_key();
        asking.relays.push_name(&namespace, &name);
        // Another object may get or lose the claim.
        let claim = Index::Claim(domain.claim());
        let rivals = late.0.get().map(|caches| caches.domains.sharing(&claim));
        for rival in rivals.iter().flatten() {
            asking.domains.push(ObjectRef::from_obj(rival.as_ref()));
        }
    })
}

pub(super) fn credential_sink(asking: &Asking, late: &Late) -> Sink<SmtpCredential> {
    let (asking, late) = (asking.clone(), late.clone());
    let changes = Changes::new();
    Box::new(move |credential, told| {
        let key = key(credential);
        let status = credential.status.as_ref();
        let observed = status.and_then(|status| status.observed_generation);
        let urgency = urgency(credential.metadata.generation, observed);
        asking.credentials.ask(key.clone(), urgency);
        if !changes.differ(key, fingerprint(credential, told)) {
            return;
        }
        let (namespace, name) = credential.relay_key();
        asking.relays.push_name(&namespace, &name);
        let claim = Index::Claim(credential.claim());
        let rivals = late.0.get();
        let rivals = rivals.map(|caches| caches.credentials.sharing(&claim));
        for rival in rivals.iter().flatten() {
            asking.credentials.push(ObjectRef::from_obj(rival.as_ref()));
        }
    })
}

/// What of an object its relay cares about. A deletion with finalizers bumps the generation.
fn fingerprint<K: Resource>(object: &K, told: Told) -> Option<(Option<String>, Option<i64>)> {
    let meta = object.meta();
    (told == Told::Changed).then(|| (meta.uid.clone(), meta.generation))
}

pub(super) fn namespace_sink(asking: &Asking, late: &Late) -> Sink<Namespace> {
    let (asking, late) = (asking.clone(), late.clone());
    let changes = Changes::new();
    Box::new(move |namespace, told| {
        let name = namespace.name_any();
        let fingerprint = (told == Told::Changed).then(|| {
            (
                namespace.labels().clone(),
                namespace.metadata.deletion_timestamp.is_some(),
            )
        });
        if !changes.differ(name.clone(), fingerprint) {
            return;
        }
        let Some(caches) = late.0.get() else {
            return;
        };
        // Labels matter only to relays that select by them.
        let concerns = |relay: &SmtpRelay| {
            let rules = [
                relay.spec.domain_namespaces(),
                relay.spec.client_namespaces(),
            ];
            let selects = |rule: &operator_api::NamespaceRule| rule.from == NamespaceFrom::Selector;
            relay.namespace().as_deref() == Some(&name) || rules.iter().any(selects)
        };
        for relay in caches.relays.state() {
            if concerns(&relay) {
                asking.relays.push(ObjectRef::from_obj(relay.as_ref()));
            }
        }
        let within = |key: &Key| *key.namespace == *name;
        for key in caches.domains.keys(within) {
            asking.domains.ask(key, Urgency::Changed);
        }
        for key in caches.credentials.keys(within) {
            asking.credentials.ask(key, Urgency::Changed);
        }
    })
}

/// A Secret of somebody else that relays, domains or credentials name.
pub(super) fn secret_sink(asking: &Asking, late: &Late) -> Sink<PartialObjectMeta<Secret>> {
    let (asking, late) = (asking.clone(), late.clone());
    Box::new(move |secret, _| {
        let key = key(secret);
        named(&asking, &late, &key);
    })
}

/// Whoever is told of the Secret `key`.
fn named(asking: &Asking, late: &Late, key: &Key) {
    let index = Index::Secret(key.namespace.to_string(), key.name.to_string());
    late.ask(asking, &index);
    let relays = late.0.get().map(|caches| caches.relays.sharing(&index));
    for relay in relays.iter().flatten() {
        asking.relays.push(ObjectRef::from_obj(relay.as_ref()));
    }
}

/// A Secret of ours may be one that another object names, too.
pub(super) fn owned_secret_sink(
    asking: &Asking,
    late: &Late,
    applier: &Arc<Applier>,
) -> impl Fn(&Secret, Told) + Send + 'static + use<> {
    let owners = owned_sink(asking, late, applier);
    let (asking, late) = (asking.clone(), late.clone());
    move |secret, told| {
        owners(secret, told);
        named(&asking, &late, &key(secret));
    }
}

/// What clients of a relay trust is in the Secret of each credential, too.
pub(super) fn bundle_sink(
    asking: &Asking,
    late: &Late,
    applier: &Arc<Applier>,
) -> impl Fn(&ConfigMap, Told) + Send + 'static + use<> {
    let owners = owned_sink(asking, late, applier);
    let (asking, late) = (asking.clone(), late.clone());
    let changes = Changes::new();
    move |bundle, told| {
        owners(bundle, told);
        let Some(relay) = bundle.labels().get(RELAY_LABEL) else {
            return;
        };
        let key = Key::new(bundle.namespace().unwrap_or_default(), relay.as_str());
        let content = (told != Told::Gone).then(|| bundle.data.clone());
        if changes.differ(key.clone(), content) {
            late.ask_credentials(&asking, &of_relay(&key));
        }
    }
}

/// Objects of ours: their owner, and the relay whose label they carry.
pub(super) fn owned_sink<K: Owned>(
    asking: &Asking,
    late: &Late,
    applier: &Arc<Applier>,
) -> impl Fn(&K, Told) + Send + 'static + use<K> {
    let (asking, late, applier) = (asking.clone(), late.clone(), Arc::clone(applier));
    move |object, told| {
        let namespace = object.namespace().unwrap_or_default();
        if told == Told::Gone {
            applier.forget::<K>(&namespace, &object.name_any());
        }
        if let Some(relay) = object.labels().get(RELAY_LABEL) {
            asking.relays.push_name(&namespace, relay);
        }
        let caches = late.0.get();
        for owner in object.owner_references() {
            if !owner.api_version.starts_with(operator_api::names::GROUP) {
                continue;
            }
            let own = Key::new(namespace.as_str(), owner.name.as_str());
            let relay = match owner.kind.as_str() {
                "SendingDomain" => {
                    asking.domains.push_name(&namespace, &owner.name);
                    let domain = caches.and_then(|caches| caches.domains.named(&own));
                    domain.map(|domain| domain.relay_key())
                }
                "SmtpCredential" => {
                    asking.credentials.push_name(&namespace, &owner.name);
                    let credential = caches.and_then(|caches| caches.credentials.named(&own));
                    credential.map(|credential| credential.relay_key())
                }
                _ => None,
            };
            if let Some((namespace, name)) = relay {
                asking.relays.push_name(&namespace, &name);
            }
        }
    }
}

#[cfg(test)]
mod tests;
