//! Whom a change concerns.

use std::collections::HashMap;
use std::hash::Hash;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt as _};
use operator_api::names::{RELAY_LABEL, dkim_secret};
use operator_api::{SendingDomain, SmtpCredential, SmtpRelay};
use parking_lot::Mutex;

use crate::conditions;
use crate::context::Asking;
use crate::kubernetes::apply::Owned;
use crate::render::admission::Attached;

/// The three caches that sinks look into.
#[derive(Clone, Default)]
pub(super) struct Late(std::sync::Arc<std::sync::OnceLock<Caches>>);

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

    /// Empty before [`Self::set`]; every object is told again when its cache is filled, after that.
    fn relays(&self) -> Vec<std::sync::Arc<SmtpRelay>> {
        self.0
            .get()
            .map(|caches| caches.relays.state())
            .unwrap_or_default()
    }

    fn domains(&self, wanted: impl Fn(&SendingDomain) -> bool) -> Vec<ObjectRef<SendingDomain>> {
        let caches = self.0.get();
        let found = caches.map(|caches| caches.domains.state_filter(wanted));
        found
            .iter()
            .flatten()
            .map(|object| ObjectRef::from_obj(object.as_ref()))
            .collect()
    }

    fn credentials(
        &self,
        wanted: impl Fn(&SmtpCredential) -> bool,
    ) -> Vec<ObjectRef<SmtpCredential>> {
        let caches = self.0.get();
        let found = caches.map(|caches| caches.credentials.state_filter(wanted));
        found
            .iter()
            .flatten()
            .map(|object| ObjectRef::from_obj(object.as_ref()))
            .collect()
    }
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

pub(super) type Sink<K> = Box<dyn Fn(&K) + Send>;

pub(super) fn relay_sink(asking: &Asking, late: &Late) -> Sink<SmtpRelay> {
    let (asking, late) = (asking.clone(), late.clone());
    let changes = Changes::new();
    Box::new(move |relay| {
        let reference = ObjectRef::from_obj(relay);
        asking.relays.push(reference.clone());
        let status = relay.status.as_ref();
        let accepted = status.map(|status| {
            conditions::is_true(&status.conditions, operator_api::conditions::ACCEPTED)
        });
        let fingerprint = (
            relay.uid(),
            relay.metadata.generation,
            relay.metadata.deletion_timestamp.is_some(),
            accepted,
        );
        // Its last form is the same as the one before, so that only the cache tells that it is gone.
        let gone = late
            .0
            .get()
            .is_some_and(|caches| caches.relays.get(&reference).is_none());
        if changes.differ(reference, (!gone).then_some(fingerprint)) {
            let key = (relay.namespace().unwrap_or_default(), relay.name_any());
            ask_attached(&asking, &late, &key);
        }
    })
}

/// Asks for everything that names the relay `key`.
fn ask_attached(asking: &Asking, late: &Late, key: &(String, String)) {
    for domain in late.domains(|domain| domain.relay_key() == *key) {
        asking.domains.push(domain);
    }
    for credential in late.credentials(|credential| credential.relay_key() == *key) {
        asking.credentials.push(credential);
    }
}

pub(super) fn domain_sink(asking: &Asking, late: &Late) -> Sink<SendingDomain> {
    let (asking, late) = (asking.clone(), late.clone());
    let changes = Changes::new();
    Box::new(move |domain| {
        let reference = ObjectRef::from_obj(domain);
        asking.domains.push(reference.clone());
        let gone = late
            .0
            .get()
            .is_some_and(|caches| caches.domains.get(&reference).is_none());
        if !changes.differ(reference, fingerprint(domain, gone)) {
            return;
        }
        let (namespace, name) = domain.relay_key();
        asking.relays.push_name(&namespace, &name);
        // Another object may get or lose the claim.
        let claim = domain.claim();
        for rival in late.domains(|other| other.claim() == claim) {
            asking.domains.push(rival);
        }
    })
}

pub(super) fn credential_sink(asking: &Asking, late: &Late) -> Sink<SmtpCredential> {
    let (asking, late) = (asking.clone(), late.clone());
    let changes = Changes::new();
    Box::new(move |credential| {
        let reference = ObjectRef::from_obj(credential);
        asking.credentials.push(reference.clone());
        let gone = late
            .0
            .get()
            .is_some_and(|caches| caches.credentials.get(&reference).is_none());
        if !changes.differ(reference, fingerprint(credential, gone)) {
            return;
        }
        let (namespace, name) = credential.relay_key();
        asking.relays.push_name(&namespace, &name);
        let claim = credential.claim();
        for rival in late.credentials(|other| other.claim() == claim) {
            asking.credentials.push(rival);
        }
    })
}

/// What of an object its relay cares about. A deletion with finalizers bumps the generation.
fn fingerprint<K: Resource>(object: &K, gone: bool) -> Option<(Option<String>, Option<i64>)> {
    let meta = object.meta();
    (!gone).then(|| (meta.uid.clone(), meta.generation))
}

pub(super) fn namespace_sink(asking: &Asking, late: &Late) -> Sink<Namespace> {
    let (asking, late) = (asking.clone(), late.clone());
    let changes = Changes::new();
    Box::new(move |namespace| {
        let name = namespace.name_any();
        let fingerprint = (
            namespace.labels().clone(),
            namespace.metadata.deletion_timestamp.is_some(),
        );
        if !changes.differ(name.clone(), Some(fingerprint)) {
            return;
        }
        for relay in late.relays() {
            asking.relays.push(ObjectRef::from_obj(relay.as_ref()));
        }
        for domain in late.domains(|domain| domain.namespace().as_deref() == Some(&name)) {
            asking.domains.push(domain);
        }
        for credential in late.credentials(|other| other.namespace().as_deref() == Some(&name)) {
            asking.credentials.push(credential);
        }
    })
}

/// Any Secret: those that relays, domains and credentials name, whoever made them.
pub(super) fn secret_sink(asking: &Asking, late: &Late) -> Sink<PartialObjectMeta<Secret>> {
    let (asking, late) = (asking.clone(), late.clone());
    Box::new(move |secret| {
        let namespace = secret.namespace();
        let name = secret.name_any();
        for relay in late.relays() {
            if relay.namespace() == namespace && crate::relay::names_secret(&relay, &name) {
                asking.relays.push(ObjectRef::from_obj(relay.as_ref()));
            }
        }
        let domains = |domain: &SendingDomain| {
            domain.namespace() == namespace && dkim_secret(&domain.name_any()) == name
        };
        for domain in late.domains(domains) {
            asking.domains.push(domain);
        }
        let credentials = |credential: &SmtpCredential| {
            credential.namespace() == namespace && credential.secret_name() == name
        };
        for credential in late.credentials(credentials) {
            asking.credentials.push(credential);
        }
    })
}

/// Objects of ours: their owner, and the relay whose label they carry.
pub(super) fn owned_sink<K: Owned>(
    asking: &Asking,
    late: &Late,
) -> impl Fn(&K) + Send + 'static + use<K> {
    let (asking, late) = (asking.clone(), late.clone());
    move |object| {
        let namespace = object.namespace().unwrap_or_default();
        if let Some(relay) = object.labels().get(RELAY_LABEL) {
            asking.relays.push_name(&namespace, relay);
        }
        for owner in object.owner_references() {
            if !owner.api_version.starts_with(operator_api::names::GROUP) {
                continue;
            }
            let own = |own: &str| own == owner.name;
            match owner.kind.as_str() {
                "SendingDomain" => {
                    asking.domains.push_name(&namespace, &owner.name);
                    let caches = late.0.get();
                    let domain = caches.and_then(|caches| {
                        caches.domains.find(|domain| {
                            own(&domain.name_any())
                                && domain.namespace().as_deref() == Some(&namespace)
                        })
                    });
                    if let Some((namespace, name)) = domain.map(|domain| domain.relay_key()) {
                        asking.relays.push_name(&namespace, &name);
                    }
                }
                "SmtpCredential" => {
                    asking.credentials.push_name(&namespace, &owner.name);
                    let caches = late.0.get();
                    let credential = caches.and_then(|caches| {
                        caches.credentials.find(|credential| {
                            own(&credential.name_any())
                                && credential.namespace().as_deref() == Some(&namespace)
                        })
                    });
                    if let Some((namespace, name)) =
                        credential.map(|credential| credential.relay_key())
                    {
                        asking.relays.push_name(&namespace, &name);
                    }
                }
                _ => {}
            }
        }
    }
}
