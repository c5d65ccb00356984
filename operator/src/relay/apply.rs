//! Step four: the only one that writes objects.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::{Resource, ResourceExt as _};
use operator_api::names::{
    self, ACCEPTING_LABEL, DRAINED_ANNOTATION, DRAINING_SINCE_ANNOTATION, FIELD_MANAGER,
    REFRESH_ANNOTATION,
};
use relay_config::BUCKETS;
use serde_json::{Value, json};

use super::build::{Prepared, ShardObjects, Workload};
use super::dereference::{Found, Shard};
use super::validate::Tls;
use super::{RelayError, drain, refresh, rollout};
use crate::certificates::Reissue;
use crate::context::Context;
use crate::kubernetes::apply::{Outcome, Owned};
use crate::render::{Rendered, Violation};

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
    /// Whether objects were made or changed that take effect later.
    pub(super) changed: bool,
}

pub(super) async fn run(
    context: &Context,
    found: &Found,
    prepared: Prepared,
) -> Result<Applied, RelayError> {
    let Prepared {
        service_account,
        certificates,
        ca,
        service,
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
        apply(context, secret, live).await?;
    }
    cached(context, &service_account, &stores.service_accounts).await?;
    match &ca {
        Some(ca) => cached(context, ca, &stores.config_maps).await?,
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
    cached(context, &service, &stores.services).await?;
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
        changed: false,
    };
    if let Ok(workload) = workload {
        apply_workload(context, found, workload, &mut applied).await?;
    }
    Ok(applied)
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
    let replicas = found.relay.spec.replicas;
    let wanted: Vec<rollout::State> = pairs(found, &shards)
        .filter(|(shard, _)| shard.index < replicas)
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
    let now_due = rollout::plan(&wanted);
    let hash = rendered.hash.to_string();
    for (shard, objects) in pairs(found, &shards) {
        if shard.index < replicas {
            let due = now_due.contains(&shard.index);
            keep(context, shard, objects, due, applied).await?;
            refresh_files(context, shard, &hash).await?;
        } else if let Some(why) = let_go(context, found, shard, objects).await? {
            applied.draining.push((shard.index, why));
            refresh_files(context, shard, &hash).await?;
        } else {
            applied.changed = true;
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

/// A shard that stays.
async fn keep(
    context: &Context,
    shard: &Shard,
    objects: &ShardObjects,
    due: bool,
    applied: &mut Applied,
) -> Result<(), RelayError> {
    let changed = |outcome: Outcome| outcome != Outcome::Unchanged;
    if let Some(claim) = &objects.claim {
        applied.changed |= keep_claim(context, shard, claim, &mut applied.refused_claims).await?;
    }
    if due {
        let live = shard.deployment.as_deref();
        applied.changed |= changed(apply(context, &objects.deployment, live).await?);
    }
    if let Some(pod) = &shard.pod
        && pod.labels().get(ACCEPTING_LABEL).map(String::as_str) != Some("true")
    {
        let metadata = json!({
            "labels": {ACCEPTING_LABEL: "true"},
            "annotations": {DRAINING_SINCE_ANNOTATION: null},
        });
        patch_pod(context, pod, &metadata).await?;
        applied.changed = true;
    }
    Ok(())
}

/// The claim of a shard that stays; whether it changed. A change that is not allowed, such as more
/// space where the class cannot give it, is told and not tried for ever (case O22).
async fn keep_claim(
    context: &Context,
    shard: &Shard,
    claim: &PersistentVolumeClaim,
    refused: &mut Vec<String>,
) -> Result<bool, RelayError> {
    let live = shard.claim.as_deref();
    if let Some(live) = live.filter(|live| live.annotations().contains_key(DRAINED_ANNOTATION)) {
        annotate_claim(context, live, &Value::Null).await?;
    }
    // One that is about to go is made anew when it has gone.
    if live.is_some_and(|live| live.metadata.deletion_timestamp.is_some()) {
        return Ok(false);
    }
    match apply(context, claim, live).await {
        Ok(outcome) => Ok(outcome != Outcome::Unchanged),
        Err(RelayError::Apply(error)) if live.is_some() && error.not_allowed().is_some() => {
            let why = error.not_allowed().unwrap_or_default();
            refused.push(format!("{}: {why}", claim.name_any()));
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// A shard that is to go; why it is still there, if it is.
async fn let_go(
    context: &Context,
    found: &Found,
    shard: &Shard,
    objects: &ShardObjects,
) -> Result<Option<String>, RelayError> {
    match drain::step(shard, found.relay.spec.storage(), Timestamp::now()) {
        drain::Step::Leave => {
            leave_service(context, shard, objects).await?;
            Ok(Some("it leaves the Service".to_owned()))
        }
        drain::Step::Wait(why) => Ok(Some(why)),
        drain::Step::Revive => {
            apply(context, &objects.deployment, None).await?;
            Ok(Some(
                "it is started again to deliver what its claim may hold".to_owned(),
            ))
        }
        drain::Step::Remove => {
            tracing::info!(
                namespace = found.key.0,
                relay = found.key.1,
                shard = shard.index,
                "a drained shard is removed"
            );
            remove_shard(context, shard).await?;
            Ok(None)
        }
    }
}

/// Takes a shard's pod out of the Service, and starts it anew outside where its queue survives that.
pub(super) async fn leave_service(
    context: &Context,
    shard: &Shard,
    objects: &ShardObjects,
) -> Result<(), RelayError> {
    if let Some(pod) = &shard.pod
        && pod.labels().get(ACCEPTING_LABEL).map(String::as_str) == Some("true")
    {
        let since = Timestamp::now().as_second().to_string();
        let metadata = json!({
            "labels": {ACCEPTING_LABEL: "false"},
            "annotations": {DRAINING_SINCE_ANNOTATION: since},
        });
        patch_pod(context, pod, &metadata).await?;
    }
    if objects.claim.is_some() {
        apply(context, &objects.deployment, shard.deployment.as_deref()).await?;
    }
    Ok(())
}

/// Removes a shard in which nothing waits.
pub(super) async fn remove_shard(context: &Context, shard: &Shard) -> Result<(), RelayError> {
    if let Some(claim) = &shard.claim {
        annotate_claim(context, claim, &json!("true")).await?;
    }
    if let Some(deployment) = &shard.deployment {
        context
            .applier
            .delete(&context.client, deployment.as_ref())
            .await?;
    }
    if let Some(claim) = &shard.claim {
        context
            .applier
            .delete(&context.client, claim.as_ref())
            .await?;
    }
    Ok(())
}

/// Makes the kubelet look at a pod's files again when the pod runs older ones.
async fn refresh_files(context: &Context, shard: &Shard, hash: &str) -> Result<(), RelayError> {
    let (Some(pod), Some(Ok(report))) = (&shard.pod, &shard.report) else {
        return Ok(());
    };
    if report.config_hash == hash {
        return Ok(());
    }
    let current = pod
        .annotations()
        .get(REFRESH_ANNOTATION)
        .map(String::as_str);
    let Some(value) = refresh::next(current, hash, Timestamp::now()) else {
        return Ok(());
    };
    patch_pod(
        context,
        pod,
        &json!({"annotations": {REFRESH_ANNOTATION: value}}),
    )
    .await
}

/// A merge patch of a pod's metadata; a pod that is gone is no error.
async fn patch_pod(context: &Context, pod: &Arc<Pod>, metadata: &Value) -> Result<(), RelayError> {
    let api: Api<Pod> =
        Api::namespaced(context.client.clone(), &pod.namespace().unwrap_or_default());
    patch_metadata(&api, &pod.name_any(), pod.uid(), metadata).await
}

async fn annotate_claim(
    context: &Context,
    claim: &PersistentVolumeClaim,
    value: &Value,
) -> Result<(), RelayError> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(
        context.client.clone(),
        &claim.namespace().unwrap_or_default(),
    );
    let metadata = json!({"annotations": {DRAINED_ANNOTATION: value}});
    patch_metadata(&api, &claim.name_any(), claim.uid(), &metadata).await
}

async fn patch_metadata<K: Owned>(
    api: &Api<K>,
    name: &str,
    uid: Option<String>,
    metadata: &Value,
) -> Result<(), RelayError> {
    let mut metadata = metadata.clone();
    metadata["uid"] = json!(uid);
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({"metadata": metadata}));
    match api.patch_metadata(name, &parameters, &patch).await {
        Ok(_) => Ok(()),
        // Gone, or another object of the same name by now.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn cached<K>(context: &Context, desired: &K, store: &Store<K>) -> Result<Outcome, RelayError>
where
    K: Owned + reflector::Lookup<DynamicType = ()> + 'static,
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
    Ok(outcome)
}

/// Removes an object of ours that is no longer asked for.
async fn remove<K>(
    context: &Context,
    found: &Found,
    name: &str,
    store: &Store<K>,
) -> Result<Outcome, RelayError>
where
    K: Owned + reflector::Lookup<DynamicType = ()> + 'static,
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
