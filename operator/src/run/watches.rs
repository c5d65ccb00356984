//! What is watched, and whom a change concerns.
//!
//! Objects of ours lead to their owner. A relay's change leads to all that is attached to it, and
//! theirs to the relay. Status writes, which are our own, lead only to the object itself, so that
//! one write does not run through all.

mod sinks;

use std::sync::Arc;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::core::{PartialObjectMeta, PartialObjectMetaExt as _};
use kube::runtime::watcher::Config;
use kube::{Client, Resource, ResourceExt as _};
use operator_api::names::{RELAY_LABEL, dkim_secret};
use operator_api::{SendingDomain, SmtpCredential, SmtpRelay};
use tokio::task::JoinSet;

use crate::context::{Asking, Stores};
use crate::kubernetes::apply::{Applier, Owned};
use crate::kubernetes::store::{Cached, Index, Indices, Store};
use crate::kubernetes::watch::{Plan, Scope, objects};
use crate::labels::{SELECTOR, SELECTOR_OF_OTHERS};
use crate::render::admission::Attached;
use sinks::{
    Late, bundle_sink, credential_sink, domain_sink, namespace_sink, owned_secret_sink, owned_sink,
    relay_sink, secret_sink,
};

/// Objects of one page of a list. All kinds are listed at the same time, and a page lies unpacked in memory.
const PAGE: u32 = 100;

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
    applier: &Arc<Applier>,
) -> Stores {
    let all = Config::default().page_size(PAGE);
    let own = all.clone().labels(SELECTOR);
    // The three kinds know of each other through their caches, which the sinks get last.
    let late = Late::default();
    let relays = objects(
        tasks,
        plan(scope, client, &all, of_relay),
        relay_sink(asking, &late),
    );
    let domains = objects(
        tasks,
        plan(scope, client, &all, of_domain),
        domain_sink(asking, &late),
    );
    let credentials = objects(
        tasks,
        plan(scope, client, &all, of_credential),
        credential_sink(asking, &late),
    );
    late.set(&relays, &domains, &credentials);
    let tell = (asking, &late, applier);
    let pods = all.clone().labels(RELAY_LABEL);
    let namespaces = Plan {
        apis: vec![Api::<Namespace>::all(client.clone())],
        config: all.clone(),
        indices: |_| Vec::new(),
        strip: |_| {},
    };
    // Those of ours are watched with their content.
    let others = all.clone().labels(SELECTOR_OF_OTHERS);
    let secrets = Plan {
        apis: scope.apis::<kube::core::PartialObjectMeta<Secret>>(client),
        config: others,
        indices: |_| Vec::new(),
        strip: names_only,
    };
    objects(tasks, secrets, secret_sink(asking, &late));
    Stores {
        namespaces: objects(tasks, namespaces, namespace_sink(asking, &late)),
        secrets: objects(
            tasks,
            plan(scope, client, &own, |_| Vec::new()),
            owned_secret_sink(asking, &late, applier),
        ),
        config_maps: objects(
            tasks,
            plan(scope, client, &own, of_label),
            bundle_sink(asking, &late, applier),
        ),
        deployments: owned(tasks, client, scope, &own, tell),
        services: owned(tasks, client, scope, &own, tell),
        service_accounts: owned(tasks, client, scope, &own, tell),
        claims: owned(tasks, client, scope, &own, tell),
        budgets: owned(tasks, client, scope, &own, tell),
        policies: owned(tasks, client, scope, &own, tell),
        pods: owned(tasks, client, scope, &pods, tell),
        namespace_labels: Arc::default(),
        relays,
        domains,
        credentials,
    }
}

fn owned<K>(
    tasks: &mut JoinSet<()>,
    client: &Client,
    scope: &Scope,
    config: &Config,
    (asking, late, applier): (&Asking, &Late, &Arc<Applier>),
) -> Store<K>
where
    K: Cached + Owned,
{
    let sink = owned_sink(asking, late, applier);
    objects(tasks, plan(scope, client, config, of_label), sink)
}

fn plan<K>(scope: &Scope, client: &Client, config: &Config, indices: Indices<K>) -> Plan<K>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    Plan {
        apis: scope.apis(client),
        config: config.clone(),
        indices,
        strip: |_| {},
    }
}

/// Of Secrets of others only the name is of interest, and that they changed.
fn names_only(secret: &mut PartialObjectMeta<Secret>) {
    let old = std::mem::take(&mut secret.metadata);
    *secret = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
        name: old.name,
        namespace: old.namespace,
        resource_version: old.resource_version,
        ..Default::default()
    }
    .into_response_partial();
}

/// A relay is told of the Secrets that its spec names.
fn of_relay(relay: &SmtpRelay) -> Vec<Index> {
    let namespace = relay.namespace().unwrap_or_default();
    crate::relay::named_secrets(relay)
        .into_iter()
        .map(|name| Index::Secret(namespace.clone(), name))
        .collect()
}

fn of_domain(domain: &SendingDomain) -> Vec<Index> {
    let namespace = domain.namespace().unwrap_or_default();
    let brought = crate::domain::named_secrets(domain);
    let brought = brought.map(|name| Index::Secret(namespace.clone(), name.to_owned()));
    attached(domain, dkim_secret(&domain.name_any()))
        .into_iter()
        .chain(brought)
        .collect()
}

fn of_credential(credential: &SmtpCredential) -> Vec<Index> {
    attached(credential, credential.secret_name())
}

fn attached<K: Attached>(object: &K, secret: String) -> Vec<Index> {
    let (namespace, name) = object.relay_key();
    let own = object.meta().namespace.clone().unwrap_or_default();
    vec![
        Index::Relay(namespace, name),
        Index::Claim(object.claim()),
        Index::Secret(own, secret),
    ]
}

/// What carries a relay's label is found by it.
fn of_label<K: Resource>(object: &K) -> Vec<Index> {
    let namespace = object.meta().namespace.clone().unwrap_or_default();
    let relay = object.labels().get(RELAY_LABEL);
    relay
        .map(|relay| Index::Relay(namespace, relay.clone()))
        .into_iter()
        .collect()
}

#[cfg(test)]
impl Stores {
    /// Caches that nothing fills.
    pub(crate) fn empty() -> Self {
        Self {
            relays: Store::new(of_relay),
            domains: Store::new(of_domain),
            credentials: Store::new(of_credential),
            namespaces: Store::new(|_| Vec::new()),
            secrets: Store::new(|_| Vec::new()),
            config_maps: Store::new(of_label),
            deployments: Store::new(of_label),
            services: Store::new(of_label),
            service_accounts: Store::new(of_label),
            claims: Store::new(of_label),
            budgets: Store::new(of_label),
            policies: Store::new(of_label),
            pods: Store::new(of_label),
            namespace_labels: Arc::default(),
        }
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
        namespace_labels: _,
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
