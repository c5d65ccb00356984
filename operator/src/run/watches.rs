//! What is watched, and whom a change concerns.
//!
//! Objects of ours lead to their owner. A relay's change leads to all that is attached to it, and
//! theirs to the relay. Status writes, which are our own, lead only to the object itself, so that
//! one write does not run through all.

use std::collections::HashMap;
use std::hash::Hash;

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Config;
use kube::{Client, Resource, ResourceExt as _};
use operator_api::names::{RELAY_LABEL, dkim_secret};
use operator_api::{SendingDomain, SmtpCredential, SmtpRelay};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::conditions;
use crate::context::{Asking, Stores};
use crate::kubernetes::apply::Owned;
use crate::kubernetes::watch::{Cached, Scope, objects};
use crate::labels::SELECTOR;
use crate::render::admission::Attached;

/// The watched namespaces, each once.
pub(super) fn scope(namespaces: &[String]) -> Scope {
    let mut names: Vec<String> = namespaces
        .iter()
        .filter(|name| !name.is_empty())
        .cloned()
        .collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        Scope::Cluster
    } else {
        Scope::Namespaces(names)
    }
}

/// Starts all watches.
pub(super) fn start(
    tasks: &mut JoinSet<()>,
    client: &Client,
    scope: &Scope,
    asking: &Asking,
) -> Stores {
    let all = Config::default();
    let own = Config::default().labels(SELECTOR);
    // The three kinds know of each other through their caches, which the sinks get last.
    let late = Late::default();
    let relays = objects(tasks, scope.apis(client), &all, relay_sink(asking, &late));
    let domains = objects(tasks, scope.apis(client), &all, domain_sink(asking, &late));
    let credentials = objects(
        tasks,
        scope.apis(client),
        &all,
        credential_sink(asking, &late),
    );
    late.set(&relays, &domains, &credentials);
    let pods = Config::default().labels(RELAY_LABEL);
    let namespaces = vec![Api::<Namespace>::all(client.clone())];
    let secrets: Vec<Api<PartialObjectMeta<Secret>>> = match scope {
        Scope::Cluster => vec![Api::all(client.clone())],
        Scope::Namespaces(names) => names
            .iter()
            .map(|name| Api::namespaced(client.clone(), name))
            .collect(),
    };
    objects(tasks, secrets, &all, secret_sink(asking, &late));
    Stores {
        namespaces: objects(tasks, namespaces, &all, namespace_sink(asking, &late)),
        secrets: objects(tasks, scope.apis(client), &own, owned_sink(asking, &late)),
        config_maps: objects(tasks, scope.apis(client), &own, owned_sink(asking, &late)),
        deployments: objects::<Deployment>(
            tasks,
            scope.apis(client),
            &own,
            owned_sink(asking, &late),
        ),
        services: objects(tasks, scope.apis(client), &own, owned_sink(asking, &late)),
        service_accounts: objects(tasks, scope.apis(client), &own, owned_sink(asking, &late)),
        claims: objects(tasks, scope.apis(client), &own, owned_sink(asking, &late)),
        budgets: objects(tasks, scope.apis(client), &own, owned_sink(asking, &late)),
        policies: objects(tasks, scope.apis(client), &own, owned_sink(asking, &late)),
        pods: objects::<Pod>(tasks, scope.apis(client), &pods, owned_sink(asking, &late)),
        relays,
        domains,
        credentials,
    }
}

/// Waits until every cache was filled once.
pub(super) async fn filled(stores: &Stores) -> anyhow::Result<()> {
    async fn one<K: Cached>(store: &Store<K>) -> anyhow::Result<()> {
        store
            .wait_until_ready()
            .await
            .with_context(|| format!("the cache of {} ended", <K as Resource>::kind(&())))
    }
    let Stores {
        relays,
        domains,
        credentials,
        namespaces,
        secrets,
        config_maps,
        deployments,
        services,
        service_accounts,
        claims,
        budgets,
        policies,
        pods,
    } = stores;
    tokio::try_join!(one(relays), one(domains), one(credentials), one(namespaces))?;
    tokio::try_join!(
        one(secrets),
        one(config_maps),
        one(deployments),
        one(services)
    )?;
    tokio::try_join!(
        one(service_accounts),
        one(claims),
        one(budgets),
        one(policies),
        one(pods)
    )?;
    Ok(())
}

/// The three caches that sinks look into.
#[derive(Clone, Default)]
struct Late(std::sync::Arc<std::sync::OnceLock<Caches>>);

struct Caches {
    relays: Store<SmtpRelay>,
    domains: Store<SendingDomain>,
    credentials: Store<SmtpCredential>,
}

impl Late {
    fn set(
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

type Sink<K> = Box<dyn Fn(&K) + Send>;

fn relay_sink(asking: &Asking, late: &Late) -> Sink<SmtpRelay> {
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

fn domain_sink(asking: &Asking, late: &Late) -> Sink<SendingDomain> {
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

fn credential_sink(asking: &Asking, late: &Late) -> Sink<SmtpCredential> {
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

fn namespace_sink(asking: &Asking, late: &Late) -> Sink<Namespace> {
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
fn secret_sink(asking: &Asking, late: &Late) -> Sink<PartialObjectMeta<Secret>> {
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
fn owned_sink<K: Owned>(asking: &Asking, late: &Late) -> impl Fn(&K) + Send + 'static + use<K> {
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
