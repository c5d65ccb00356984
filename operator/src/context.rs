//! What every reconcile has at hand: the client, the caches, the ways to ask for another
//! reconcile, and what only this process knows.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::events::Recorder;
use kube::{Client, ResourceExt as _};
use operator_api::{SendingDomain, SmtpCredential, SmtpRelay};
use parking_lot::Mutex;

use crate::domain::dns::Dns;
use crate::domain::key_maker::KeyMaker;
use crate::issuers::IssuerKeys;
use crate::kubernetes::apply::Applier;
use crate::kubernetes::backoff::Backoff;
use crate::kubernetes::queue::Key;
use crate::kubernetes::store::Store;
use crate::kubernetes::triggers::Triggers;
use crate::kubernetes::watch::Scope;
use crate::relay::admin::AdminClients;
use crate::render::{Namespaces, Programmed};
use crate::telemetry::Metrics;

/// What every reconcile has at hand.
pub struct Context {
    /// Client of the API server.
    pub client: Client,
    /// Caches.
    pub stores: Stores,
    /// Ways to ask for a reconcile.
    pub triggers: Asking,
    /// Writer of Events.
    pub recorder: Recorder,
    /// Writer of objects.
    pub applier: Arc<Applier>,
    /// Failures in a row.
    pub backoff: Backoff,
    /// Makes RSA keys.
    pub key_maker: Arc<KeyMaker>,
    /// Looks up the records of sending domains.
    pub dns: Dns,
    /// What runs in every shard of each relay.
    pub programmed: Programmed,
    /// Keys of token issuers.
    pub issuers: IssuerKeys,
    /// Connections to the relays' admin ports.
    pub admin: AdminClients,
    /// Numbers about the operator.
    pub metrics: Metrics,
    /// Command line.
    pub settings: Settings,
}

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Image of relay pods whose SmtpRelay names none.
    pub relay_image: String,
    /// Name servers that sending domains are checked at; the system's when empty.
    pub dns_servers: Vec<SocketAddr>,
    /// Namespace that the operator runs in, if it runs in a cluster.
    pub namespace: Option<String>,
    /// Namespaces that the operator watches.
    pub scope: Scope,
}

/// Caches. Those of core kinds hold only what the operator made.
#[derive(Clone)]
pub struct Stores {
    /// All SmtpRelays.
    pub relays: Store<SmtpRelay>,
    /// All SendingDomains.
    pub domains: Store<SendingDomain>,
    /// All SmtpCredentials.
    pub credentials: Store<SmtpCredential>,
    /// All Namespaces.
    pub namespaces: Store<Namespace>,
    /// Secrets of ours.
    pub secrets: Store<Secret>,
    /// ConfigMaps of ours.
    pub config_maps: Store<ConfigMap>,
    /// Deployments of ours.
    pub deployments: Store<Deployment>,
    /// Services of ours.
    pub services: Store<Service>,
    /// ServiceAccounts of ours.
    pub service_accounts: Store<ServiceAccount>,
    /// Claims of ours.
    pub claims: Store<PersistentVolumeClaim>,
    /// PodDisruptionBudgets of ours.
    pub budgets: Store<PodDisruptionBudget>,
    /// NetworkPolicies of ours.
    pub policies: Store<NetworkPolicy>,
    /// Pods of relays.
    pub pods: Store<Pod>,
    /// Made of `namespaces` when that had changed so often.
    pub namespace_labels: Arc<Mutex<(Option<u64>, Arc<Namespaces>)>>,
}

/// Ways to ask for a reconcile.
#[derive(Clone, Default)]
pub struct Asking {
    /// Of a relay.
    pub relays: Arc<Triggers<SmtpRelay>>,
    /// Of a domain.
    pub domains: Arc<Triggers<SendingDomain>>,
    /// Of a credential.
    pub credentials: Arc<Triggers<SmtpCredential>>,
}

impl Stores {
    /// Labels of all namespaces. The same map until a namespace changes: it is asked for often, and
    /// there may be thousands.
    pub fn namespaces(&self) -> Arc<Namespaces> {
        let changes = self.namespaces.changes();
        let mut labels = self.namespace_labels.lock();
        let (seen, known) = &*labels;
        if *seen == Some(changes) {
            return Arc::clone(known);
        }
        let all = self.namespaces.state();
        let named = all.iter().map(|namespace| {
            let labels: BTreeMap<String, String> = namespace.labels().clone();
            (namespace.name_any(), labels)
        });
        let named = Arc::new(named.collect());
        *labels = (Some(changes), Arc::clone(&named));
        named
    }

    /// Whether a namespace is about to go: nothing can be made there any more.
    pub fn is_terminating(&self, name: &str) -> bool {
        self.namespaces
            .named(&Key::new("", name))
            .is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some())
    }
}
