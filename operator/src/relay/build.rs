//! Step three: the objects that should be, from what was found and judged. Pure.

mod files;
mod merge;
mod network;
mod volumes;
pub(super) mod workload;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{
    ConfigMap, PersistentVolumeClaim, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use operator_api::{ListenerTls, SmtpRelay, Storage};

use super::dereference::Found;
use super::issued::{self, Certificate};
use super::validate::{Judged, Tls};
use crate::certificates::Reissue;
use crate::context::Settings;
use crate::labels;
use crate::render::{Rendered, Violation};

/// Everything that apply writes.
pub(super) struct Prepared {
    pub(super) service_account: ServiceAccount,
    /// Authority, admin certificate, and the listeners' when the operator issues it.
    pub(super) certificates: Vec<Secret>,
    /// What cert-manager is asked for.
    pub(super) issued: Option<Certificate>,
    pub(super) ca: Option<ConfigMap>,
    pub(super) service: Service,
    /// By which shards find each other.
    pub(super) shards_service: Service,
    /// `None` when the spec switches it off.
    pub(super) policy: Option<NetworkPolicy>,
    pub(super) budget: PodDisruptionBudget,
    /// The files and what mounts them; or why there are none, and then running shards stay.
    pub(super) workload: Result<Workload, Violation>,
    pub(super) tls: Tls,
    /// Why certificates are new.
    pub(super) reissued: Vec<(&'static str, Reissue)>,
    /// When the first certificate is due.
    pub(super) renew_at: Timestamp,
}

/// What needs a configuration.
pub(super) struct Workload {
    pub(super) config: Secret,
    /// One for each bucket that is not empty.
    pub(super) buckets: Vec<Secret>,
    pub(super) shards: Vec<ShardObjects>,
    pub(super) rendered: Rendered,
}

/// What a shard is made of.
pub(super) struct ShardObjects {
    pub(super) index: i32,
    pub(super) claim: Option<PersistentVolumeClaim>,
    pub(super) deployment: Deployment,
}

pub(super) fn run(found: &Found, judged: Judged, settings: &Settings, _now: Timestamp) -> Prepared {
    let relay = found.relay.as_ref();
    let Judged {
        certificates,
        tls,
        rendered,
    } = judged;
    let renew_at = certificates.next_renewal();
    let issued = [
        ("authority", &certificates.authority_secret),
        ("admin port", &certificates.internal),
        ("listeners", &certificates.serving),
    ];
    let issues_serving = matches!(tls, Tls::Issued { .. });
    let kept = |(what, _): &(&str, _)| *what != "listeners" || issues_serving;
    let reissued = issued
        .iter()
        .filter(|part| kept(part))
        .filter_map(|(what, ensured)| ensured.reissued.map(|why| (*what, why)))
        .collect();
    let workload = rendered.map(|rendered| Workload {
        config: files::config(relay, &rendered),
        buckets: files::buckets(relay, &rendered),
        shards: found
            .shards
            .iter()
            .map(|shard| shard_objects(relay, shard.index, found.stays(shard.index), settings))
            .collect(),
        rendered,
    });
    Prepared {
        service_account: workload::service_account(relay),
        certificates: files::certificates(relay, &certificates, issues_serving),
        issued: issued::wanted(relay, &found.issued),
        ca: files::ca(relay, &tls, &certificates),
        service: network::service(relay),
        shards_service: network::shards_service(relay),
        policy: network::policy(relay, settings),
        budget: network::budget(relay),
        workload,
        tls,
        reissued,
        renew_at,
    }
}

/// What shard `index` is made of. One that does not stay is out of the Service.
fn shard_objects(relay: &SmtpRelay, index: i32, stays: bool, settings: &Settings) -> ShardObjects {
    ShardObjects {
        index,
        claim: claim(relay, index),
        deployment: workload::deployment(relay, index, settings, stays),
    }
}

fn claim(relay: &SmtpRelay, index: i32) -> Option<PersistentVolumeClaim> {
    match relay.spec.storage() {
        Storage::Persistent => Some(workload::claim(relay, index)),
        Storage::Ephemeral => None,
    }
}

/// Name of the Secret with the listeners' certificate; `None` when no listener uses TLS.
fn tls_secret(relay: &SmtpRelay) -> Option<String> {
    let uses_tls = relay
        .spec
        .listeners()
        .iter()
        .any(|one| one.tls != ListenerTls::None);
    let name = relay.metadata.name.as_deref().unwrap_or_default();
    uses_tls.then(|| {
        let provided = relay.provided_tls_secret();
        provided.unwrap_or_else(|| operator_api::names::tls_secret(name))
    })
}

fn relay_name(relay: &SmtpRelay) -> &str {
    relay.metadata.name.as_deref().unwrap_or_default()
}

/// Metadata of an object that goes with the relay.
fn metadata(
    relay: &SmtpRelay,
    name: String,
    component: &str,
) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
    let labels = labels::of_relay(relay_name(relay), component);
    labels::owned_by(relay, name, labels)
}

#[cfg(test)]
mod tests;
