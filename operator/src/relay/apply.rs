//! Step four: the only one that writes objects.

mod shards;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt as _};
use operator_api::names;
use relay_config::BUCKETS;

use super::build::{Prepared, ShardObjects, Workload};
use super::dereference::{Found, Shard};
use super::issued::{self, Certificate, Lookup};
use super::validate::Tls;
use super::{RelayError, discard, rollout};
use crate::certificates::Reissue;
use crate::context::Context;
use crate::kubernetes::apply::{Outcome, Owned};
use crate::kubernetes::store::{Cached, Store};
use crate::render::{Rendered, Violation};

use shards::{keep, let_go, refresh_files};
pub(super) use shards::{leave_as_is, remove_shard, stop_shard};

/// What is in force. Made here alone.
pub(super) struct Applied {
    pub(super) rendered: Result<Rendered, Violation>,
    pub(super) tls: Tls,
    pub(super) reissued: Vec<(&'static str, Reissue)>,
    pub(super) renew_at: Timestamp,
    /// Shards that are to go and why they are still there, by index.
    pub(super) draining: Vec<(i32, String)>,
    /// Claims that cannot be changed as the spec asks, and what the API server says.
    pub(super) refused_claims: Vec<String>,
    /// What the API server says of Deployments that it does not take.
    pub(super) refused_shards: Vec<String>,
    /// What the API server says of the Service, when it does not take it.
    pub(super) refused_service: Option<String>,
    /// Shards whose Deployment was made just now.
    pub(super) made: Vec<i32>,
    /// Whether objects were made or changed that take effect later.
    pub(super) changed: bool,
}

pub(super) async fn run(
    context: &Context,
    found: &Found,
    prepared: Prepared,
    now: Timestamp,
) -> Result<Applied, RelayError> {
    let Prepared {
        service_account,
        certificates,
        issued,
        ca,
        service,
        shards_service,
        policy,
        budget,
        workload,
        tls,
        reissued,
        renew_at,
    } = prepared;
    let stores = &context.stores;
    let live = [&found.authority, &found.internal, &found.serving];
    for secret in &certificates {
        let name = secret.name_any();
        let live = live
            .iter()
            .find_map(|live| live.as_ref().filter(|live| live.name_any() == name));
        // Read at the API server where the cache had none.
        let applied = context.applier.bring(&context.client, secret, live);
        tell(context, secret, applied.await?);
    }
    apply_issued(context, found, issued.as_ref(), now).await?;
    cached(context, &service_account, &stores.service_accounts).await?;
    match &ca {
        Some(ca) => cached(context, ca, &stores.config_maps).await?,
        // The certificate that serves is still the one before, and so is what clients trust.
        None if tls.violation().is_some() => Outcome::Unchanged,
        None => {
            remove(
                context,
                found,
                &names::ca_config_map(&found.key.1),
                &stores.config_maps,
            )
            .await?
        }
    };
    let refused_service = match cached(context, &service, &stores.services).await {
        Err(RelayError::Apply(error)) if error.not_allowed().is_some() => {
            error.not_allowed().map(str::to_owned)
        }
        outcome => outcome.map(|_| None)?,
    };
    cached(context, &shards_service, &stores.services).await?;
    cached(context, &budget, &stores.budgets).await?;
    match &policy {
        Some(policy) => cached(context, policy, &stores.policies).await?,
        None => remove(context, found, &found.key.1, &stores.policies).await?,
    };
    let mut applied = Applied {
        rendered: workload
            .as_ref()
            .map(|workload| workload.rendered.clone())
            .map_err(Clone::clone),
        tls,
        reissued,
        renew_at,
        draining: Vec::new(),
        refused_claims: Vec::new(),
        refused_shards: Vec::new(),
        refused_service,
        made: Vec::new(),
        changed: false,
    };
    if let Ok(workload) = workload {
        apply_workload(context, found, workload, &mut applied).await?;
    }
    Ok(applied)
}

/// What cert-manager is asked for; without an issuer, what it was asked for before goes.
async fn apply_issued(
    context: &Context,
    found: &Found,
    wanted: Option<&Certificate>,
    now: Timestamp,
) -> Result<(), RelayError> {
    match (wanted, &found.issued) {
        (Some(wanted), Lookup::Known(live)) => {
            apply(context, wanted, live.as_deref()).await?;
        }
        (None, lookup) if found.relay.spec.issuer().is_none() => {
            issued::clear(&found.relay, lookup, context, now).await?;
        }
        _ => {}
    }
    Ok(())
}

async fn apply_workload(
    context: &Context,
    found: &Found,
    workload: Workload,
    applied: &mut Applied,
) -> Result<(), RelayError> {
    let Workload {
        config,
        buckets,
        shards,
        rendered,
    } = workload;
    cached(context, &config, &context.stores.secrets).await?;
    for bucket in &buckets {
        cached(context, bucket, &context.stores.secrets).await?;
    }
    for index in (0..BUCKETS).filter(|index| !rendered.buckets.contains_key(index)) {
        let name = names::bucket_secret(&found.key.1, index);
        remove::<Secret>(context, found, &name, &context.stores.secrets).await?;
    }
    let wanted: Vec<rollout::State> = pairs(found, &shards)
        .filter(|(shard, _)| found.stays(shard.index))
        .map(|(shard, objects)| rollout::State {
            index: shard.index,
            exists: shard.deployment.is_some(),
            differs: shard
                .deployment
                .as_ref()
                .is_some_and(|live| context.applier.differs(&objects.deployment, live.as_ref())),
            ready: shard.is_ready(),
        })
        .collect();
    let others_leave = found
        .shards
        .iter()
        .any(|shard| shard.exists() && !found.stays(shard.index));
    let now_due = rollout::plan(&wanted, others_leave);
    let hash = rendered.hash.to_string();
    if found.scale.discards {
        if found.shards.iter().any(Shard::is_to_be_removed) {
            discard::tell(context, found, "Scale").await;
        }
        for shard in &found.shards {
            applied.changed |= shard.is_to_be_removed();
            remove_shard(context, shard).await?;
        }
        return Ok(());
    }
    for (shard, objects) in pairs(found, &shards) {
        if found.stays(shard.index) {
            let due = now_due.contains(&shard.index);
            keep(context, shard, objects, due, applied).await?;
            refresh_files(context, shard, &hash).await?;
        } else if let Some(why) = let_go(context, found, shard, objects).await? {
            applied
                .draining
                .push((shard.index, found.moves.explain(shard.index, why)));
            refresh_files(context, shard, &hash).await?;
        } else {
            applied.changed |= shard.is_to_be_removed();
        }
    }
    Ok(())
}

fn pairs<'a>(
    found: &'a Found,
    objects: &'a [ShardObjects],
) -> impl Iterator<Item = (&'a Shard, &'a ShardObjects)> {
    found.shards.iter().filter_map(|shard| {
        let objects = objects
            .iter()
            .find(|objects| objects.index == shard.index)?;
        Some((shard, objects))
    })
}

async fn cached<K>(context: &Context, desired: &K, store: &Store<K>) -> Result<Outcome, RelayError>
where
    K: Owned + Cached,
{
    let live = store.get(&ObjectRef::from_obj(desired));
    apply(context, desired, live.as_deref()).await
}

async fn apply<K: Owned>(
    context: &Context,
    desired: &K,
    live: Option<&K>,
) -> Result<Outcome, RelayError> {
    let outcome = context
        .applier
        .apply(&context.client, desired, live)
        .await?;
    tell(context, desired, outcome);
    Ok(outcome)
}

fn tell<K: Owned>(context: &Context, desired: &K, outcome: Outcome) {
    if outcome != Outcome::Unchanged {
        let kind = <K as Resource>::kind(&());
        context.metrics.applied(&kind);
        tracing::info!(
            %kind,
            namespace = desired.namespace(),
            name = desired.name_any(),
            ?outcome,
            "applied"
        );
    }
}

/// Removes an object of ours that is no longer asked for.
async fn remove<K>(
    context: &Context,
    found: &Found,
    name: &str,
    store: &Store<K>,
) -> Result<Outcome, RelayError>
where
    K: Owned + Cached,
{
    let Some(live) = store.get(&ObjectRef::new(name).within(&found.key.0)) else {
        return Ok(Outcome::Unchanged);
    };
    let uid = found.relay.uid();
    let ours = live
        .owner_references()
        .iter()
        .any(|owner| Some(&owner.uid) == uid.as_ref());
    if !ours || live.meta().deletion_timestamp.is_some() {
        return Ok(Outcome::Unchanged);
    }
    context
        .applier
        .delete(&context.client, live.as_ref())
        .await?;
    Ok(Outcome::Changed)
}
