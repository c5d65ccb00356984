//! What is watched, and whom a change concerns.
//!
//! Objects of ours lead to their owner. A relay's change leads to all that is attached to it, and
//! theirs to the relay. Status writes, which are our own, lead only to the object itself, so that
//! one write does not run through all.

mod sinks;

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::Store;
use kube::runtime::watcher::Config;
use kube::{Client, Resource};
use operator_api::names::RELAY_LABEL;
use tokio::task::JoinSet;

use crate::context::{Asking, Stores};
use crate::kubernetes::watch::{Cached, Scope, objects};
use crate::labels::SELECTOR;
use sinks::{
    Late, credential_sink, domain_sink, namespace_sink, owned_sink, relay_sink, secret_sink,
};

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
