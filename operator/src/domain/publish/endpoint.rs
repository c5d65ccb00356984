//! The DNSEndpoint that external-dns publishes.
//!
//! It is looked at with each reconcile and not watched, since most clusters have nothing to watch.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use kube::{CustomResource, ResourceExt as _};
use operator_api::{SendingDomain, names};
use serde::{Deserialize, Serialize};

use super::wanted::Planned;
use super::{former, setting};
use crate::context::Context;
use crate::domain::DomainError;
use crate::domain::records::Kind;
use crate::domain::zone;
use crate::kubernetes::apply::ApplyError;
use crate::kubernetes::queue::Key;
use crate::labels;

/// Value of the component label.
const COMPONENT: &str = "dns-records";
/// Between looks at what external-dns makes of it, and whether there is one.
pub(super) const AGAIN: Duration = Duration::from_mins(1);

/// What external-dns is asked for; the fields that the operator sets.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "externaldns.k8s.io",
    version = "v1alpha1",
    kind = "DNSEndpoint",
    plural = "dnsendpoints",
    namespaced,
    schema = "disabled",
    status = "EndpointStatus"
)]
pub(in crate::domain) struct EndpointSpec {
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Endpoint {
    #[serde(rename = "dnsName", default)]
    dns_name: String,
    #[serde(rename = "recordType", default)]
    record_type: String,
    #[serde(rename = "recordTTL", default)]
    record_ttl: i64,
    #[serde(default)]
    targets: Vec<String>,
}

/// What external-dns says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::domain) struct EndpointStatus {
    #[serde(rename = "observedGeneration", default)]
    observed_generation: Option<i64>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(in crate::domain) enum Lookup {
    /// There is none and needs to be none.
    #[default]
    NotAsked,
    /// The cluster does not know the kind.
    Unknown,
    /// The API server refuses; what it says.
    Refused(String),
    /// It is there, or not yet.
    Known(Option<Box<DNSEndpoint>>),
}

/// Looks for the DNSEndpoint of a domain that has one or is to have one.
pub(super) async fn look(domain: &SendingDomain, context: &Context) -> Result<Lookup, DomainError> {
    let wanted = setting(domain).is_some_and(|setting| setting.external_dns.is_some());
    let had = former(domain).is_some_and(|former| former.dns_endpoint.is_some());
    if !wanted && !had {
        return Ok(Lookup::NotAsked);
    }
    let namespace = domain.namespace().unwrap_or_default();
    let api: Api<DNSEndpoint> = Api::namespaced(context.client.clone(), &namespace);
    match api.get(&names::dns_endpoint(&domain.name_any())).await {
        Ok(found) => Ok(Lookup::Known(Some(Box::new(found)))),
        // A path that is not served has an answer in plain text.
        Err(kube::Error::Api(status)) if status.code == 404 => match status.reason.as_str() {
            "NotFound" => Ok(Lookup::Known(None)),
            _ => Ok(Lookup::Unknown),
        },
        Err(kube::Error::Api(status)) if status.code == 403 => {
            Ok(Lookup::Refused(status.message.clone()))
        }
        Err(source) => Err(DomainError::ReadEndpoint(Box::new(source))),
    }
}

/// The live object, if there is one, or why there can be none.
pub(super) fn available(lookup: &Lookup) -> Result<Option<&DNSEndpoint>, String> {
    match lookup {
        Lookup::Known(live) => Ok(live.as_deref()),
        Lookup::NotAsked => Ok(None),
        Lookup::Unknown => Err(
            "spec.dns.publish.externalDNS: the cluster has no dnsendpoints.externaldns.k8s.io; install external-dns \
             with its CRD, or remove the field"
                .to_owned(),
        ),
        Lookup::Refused(said) => Err(refused(said)),
    }
}

pub(super) fn refused(said: &str) -> String {
    format!(
        "spec.dns.publish.externalDNS: the operator may not make DNSEndpoints; set externalDNS.enabled in its chart, \
         or remove the field ({said})"
    )
}

/// The object that should be. Pure.
pub(super) fn build(domain: &SendingDomain, planned: &Planned) -> DNSEndpoint {
    let wanted = planned
        .records
        .iter()
        .map(|item| (item.record(), item.question.kind));
    let stay = planned.stay.iter().map(|record| {
        let kind = if record.r#type == "MX" {
            Kind::Mx
        } else {
            Kind::Txt
        };
        (record.clone(), kind)
    });
    let endpoints = wanted.chain(stay).map(|(record, kind)| Endpoint {
        dns_name: record.name,
        record_type: record.r#type,
        record_ttl: planned.ttl.into(),
        targets: vec![match kind {
            // As in zone files: providers take strings of 255 octets in quotes, as external-dns's own
            // records have them.
            Kind::Txt => zone::strings(&record.value),
            _ => record.value,
        }],
    });
    let name = names::dns_endpoint(&domain.name_any());
    let metadata: ObjectMeta = labels::owned_by(domain, name.clone(), labels::common(COMPONENT));
    let mut endpoint = DNSEndpoint::new(
        &name,
        EndpointSpec {
            endpoints: endpoints.collect(),
        },
    );
    endpoint.metadata = metadata;
    endpoint
}

/// Whether external-dns has looked at what is wanted.
pub(super) fn is_observed(live: &DNSEndpoint, wanted: &DNSEndpoint) -> bool {
    let status = live.status.as_ref();
    live.spec == wanted.spec
        && live.metadata.generation.is_some()
        && status.and_then(|status| status.observed_generation) == live.metadata.generation
}

/// Removes what a domain that hands nothing over has left.
pub(super) async fn clear(
    domain: &SendingDomain,
    context: &Context,
    lookup: &Lookup,
) -> Result<(), ApplyError> {
    if setting(domain).is_some_and(|setting| setting.external_dns.is_some()) {
        return Ok(());
    }
    let Lookup::Known(Some(live)) = lookup else {
        return Ok(());
    };
    let uid = domain.uid();
    let mut owners = live.owner_references().iter();
    if !owners.any(|owner| Some(&owner.uid) == uid.as_ref()) {
        return Ok(());
    }
    context.applier.delete(&context.client, live.as_ref()).await
}

pub(super) fn forget(context: &Context, domain: &Key) {
    let name = names::dns_endpoint(&domain.name);
    context
        .applier
        .forget::<DNSEndpoint>(&domain.namespace, &name);
}

#[cfg(test)]
mod tests;
