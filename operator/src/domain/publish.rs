//! Publishing records: as a DNSEndpoint for external-dns, or by dynamic updates (RFC 2136) with TSIG.
//!
//! What is published is remembered in the status, so that it can be taken away again; a record of others is
//! never changed, but where the spec names its kind. Records whose mail may still be on its way stay,
//! whatever became of their keys. Turning publishing off takes nothing out of DNS: mail rests on it.

mod attempts;
pub(super) mod endpoint;
mod server;
mod tsig;
mod update;
mod verdict;
mod wanted;
mod withdraw;

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::Api;
use operator_api::{Publication, Publish, Rfc2136, SendingDomain};

use super::DomainError;
use crate::certificates::{self, SecretData};
use crate::context::Context;
use crate::kubernetes::apply::ApplyError;
use crate::kubernetes::finalizer;

pub(crate) use attempts::Attempts;
pub(super) use verdict::verdict;
pub(super) use wanted::{Facts, Planned, plan};
pub(super) use withdraw::{RECORDS_LEFT, at_end};

/// What was read for publishing. Not to be shown: there is a key in it.
#[derive(Clone, Default)]
pub(super) struct Seen {
    /// The DNSEndpoint.
    pub(super) endpoint: endpoint::Lookup,
    /// What the Secret of the TSIG key holds; `None` when there is none.
    pub(super) tsig: Option<SecretData>,
}

/// What publishing has come to.
#[derive(Clone, Debug, Default)]
pub(super) struct Published {
    /// For the status.
    pub(super) publication: Option<Publication>,
    /// How it went; `None` where nothing is published.
    pub(super) outcome: Option<Outcome>,
    /// When to try again.
    pub(super) again: Option<Duration>,
    /// Records that stay in a zone that is not written to any more, told once.
    pub(super) left: Option<String>,
}

/// How publishing went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The name server has all records.
    Done,
    /// Records of others are in the way, by what they are.
    Foreign(String),
    /// The name server could not be told.
    Failed(server::Fault),
    /// There is no Secret of this name.
    NoSecret(String),
    /// The Secret holds no key.
    NoKey(String),
    /// The DNSEndpoint is there.
    Handed {
        /// Its name.
        name: String,
        /// Whether external-dns has looked at it.
        observed: bool,
    },
    /// There can be no DNSEndpoint.
    Unavailable(String),
}

/// The setting, if there is one.
pub(super) fn setting(domain: &SendingDomain) -> Option<&Publish> {
    domain.spec.dns.as_ref()?.publish.as_ref()
}

fn rfc2136(domain: &SendingDomain) -> Option<&Rfc2136> {
    setting(domain)?.rfc2136.as_ref()
}

fn former(domain: &SendingDomain) -> Option<&Publication> {
    domain.status.as_ref()?.publication.as_ref()
}

/// Name of the Secret with the TSIG key.
pub(crate) fn named_secret(domain: &SendingDomain) -> Option<&str> {
    rfc2136(domain).map(|rfc2136| rfc2136.tsig_secret_ref.name.as_str())
}

/// Reads what is looked at.
pub(super) async fn look(domain: &SendingDomain, context: &Context) -> Result<Seen, DomainError> {
    let tsig = match named_secret(domain) {
        Some(name) => read_secret(domain, context, name).await?,
        None => None,
    };
    Ok(Seen {
        endpoint: endpoint::look(domain, context).await?,
        tsig,
    })
}

/// Always from the API server: the cache holds only what is the operator's.
async fn read_secret(
    domain: &SendingDomain,
    context: &Context,
    name: &str,
) -> Result<Option<SecretData>, DomainError> {
    let namespace = domain.namespace().unwrap_or_default();
    let api: Api<k8s_openapi::api::core::v1::Secret> =
        Api::namespaced(context.client.clone(), &namespace);
    let secret = api
        .get_opt(name)
        .await
        .map_err(|source| DomainError::ReadTsig {
            name: name.to_owned(),
            source: Box::new(source),
        })?;
    Ok(secret.as_ref().map(certificates::data_of))
}

/// Brings `planned` about.
pub(super) async fn run(
    domain: &SendingDomain,
    context: &Context,
    seen: &Seen,
    planned: Planned,
    now: Timestamp,
) -> Result<Published, DomainError> {
    if planned.is_handed_over {
        return hand_over(domain, context, seen, planned).await;
    }
    let cleared = endpoint::clear(domain, context, &seen.endpoint).await;
    cleared.map_err(DomainError::Publish)?;
    match rfc2136(domain) {
        Some(target) if planned.is_open => {
            update(domain, context, seen, target, planned, now).await
        }
        _ => Ok(Published {
            publication: planned.kept,
            ..Published::default()
        }),
    }
}

async fn hand_over(
    domain: &SendingDomain,
    context: &Context,
    seen: &Seen,
    planned: Planned,
) -> Result<Published, DomainError> {
    let mut publication = planned.kept.clone().unwrap_or_default();
    let unavailable = |why: String, publication| Published {
        publication: Some(publication),
        outcome: Some(Outcome::Unavailable(why)),
        again: Some(endpoint::AGAIN),
        left: None,
    };
    let live = match endpoint::available(&seen.endpoint) {
        Ok(live) => live,
        Err(why) => return Ok(unavailable(why, publication)),
    };
    let endpoint = endpoint::build(domain, &planned);
    let name = endpoint.name_any();
    let applied = context.applier.apply(&context.client, &endpoint, live);
    match applied.await {
        Ok(_) => {}
        Err(error @ ApplyError::Conflict { .. }) => {
            return Ok(unavailable(error.to_string(), publication));
        }
        Err(error) => match error.not_allowed() {
            Some(said) => return Ok(unavailable(endpoint::refused(said), publication)),
            None => return Err(DomainError::Publish(error)),
        },
    }
    let observed = live.is_some_and(|live| endpoint::is_observed(live, &endpoint));
    publication.dns_endpoint = Some(name.clone());
    publication.records = planned.handed_over();
    Ok(Published {
        publication: Some(publication),
        outcome: Some(Outcome::Handed { name, observed }),
        again: (!observed).then_some(endpoint::AGAIN),
        left: None,
    })
}

async fn update(
    domain: &SendingDomain,
    context: &Context,
    seen: &Seen,
    target: &Rfc2136,
    planned: Planned,
    now: Timestamp,
) -> Result<Published, DomainError> {
    let secret = &target.tsig_secret_ref.name;
    let failed = |outcome, planned: Planned| Published {
        publication: planned.kept,
        outcome: Some(outcome),
        again: None,
        left: planned.left,
    };
    let Some(data) = &seen.tsig else {
        return Ok(failed(Outcome::NoSecret(secret.clone()), planned));
    };
    let signer = match tsig::read(data) {
        Ok(signer) => signer,
        Err(error) => {
            return Ok(failed(
                Outcome::NoKey(format!("Secret {secret} {error}")),
                planned,
            ));
        }
    };
    let key = (domain.namespace().unwrap_or_default(), domain.name_any());
    let print = attempts::print(target, data, &planned);
    if planned.is_settled() || context.publishing.is_early(&key, print) {
        let known = context.publishing.outcome(&key, print);
        return Ok(Published {
            publication: planned.kept,
            outcome: Some(known.unwrap_or(Outcome::Done)),
            again: context.publishing.wait(&key),
            left: planned.left,
        });
    }
    finalizer::ensure(
        &context.client,
        domain,
        context.settings.namespace.as_deref(),
    )
    .await
    .map_err(|source| DomainError::Finalizer(Box::new(source)))?;
    let Some(_permit) = context.publishing.permit() else {
        return Ok(Published {
            publication: planned.kept,
            outcome: context.publishing.last(&key),
            again: Some(attempts::TURN),
            left: planned.left,
        });
    };
    let zone = wanted::zone(domain, target);
    let place = server::Place {
        host: &target.server,
        port: target.port.and_then(|port| u16::try_from(port).ok()),
        zone: &zone,
    };
    let (records, result) = server::bring_about(&context.dns, place, &signer, &planned, now).await;
    let outcome = match result {
        Ok(foreign) => foreign.map_or(Outcome::Done, Outcome::Foreign),
        Err(fault) => Outcome::Failed(fault),
    };
    // Until resolvers show what was written, it is looked at again, ever more rarely.
    let is_well = outcome == Outcome::Done && planned.is_shown();
    let again = context.publishing.note(&key, print, &outcome, is_well);
    let mut publication = planned.kept.unwrap_or_default();
    publication.rfc2136 = Some(target.clone());
    publication.records = records;
    Ok(Published {
        publication: Some(publication),
        outcome: Some(outcome),
        again,
        left: planned.left,
    })
}

/// The domain is gone, and its DNSEndpoint with it; no watch tells of that.
pub(crate) fn forget(context: &Context, key: &crate::kubernetes::queue::Key) {
    endpoint::forget(context, key);
    context
        .publishing
        .forget(&(key.namespace.to_string(), key.name.to_string()));
}
