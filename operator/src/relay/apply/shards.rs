//! Shards: those that stay are kept in order, those that are to go are let go.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use operator_api::Storage;
use operator_api::names::{
    ACCEPTING_LABEL, DRAINED_ANNOTATION, DRAINING_SINCE_ANNOTATION, FIELD_MANAGER,
    REFRESH_ANNOTATION,
};
use serde_json::{Value, json};

use super::{Applied, apply};
use crate::context::Context;
use crate::kubernetes::apply::{Outcome, Owned};
use crate::relay::build::ShardObjects;
use crate::relay::build::workload::SINCE_BIRTH;
use crate::relay::dereference::{Found, Shard};
use crate::relay::{RelayError, drain, moves, refresh, scale};

/// A shard that stays.
pub(super) async fn keep(
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
    // The pod of a claim that somebody deleted keeps it: without the pod, the mail would go, too.
    let claim = shard.claim.as_ref();
    let claim_goes = claim.is_some_and(|claim| claim.metadata.deletion_timestamp.is_some());
    if due && !(claim_goes && shard.may_hold_mail()) {
        let live = shard.deployment.as_deref();
        match apply(context, &objects.deployment, live).await {
            Ok(outcome) => {
                applied.changed |= changed(outcome);
                if outcome == Outcome::Created {
                    applied.made.push(shard.index);
                }
            }
            Err(RelayError::Apply(error)) if error.not_allowed().is_some() => {
                let why = error.not_allowed().unwrap_or_default().to_owned();
                applied.refused_shards.push(why);
            }
            Err(error) => return Err(error),
        }
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
    let mut claim = claim.clone();
    if let (Some(spec), Some(live)) = (&mut claim.spec, live)
        && moves::differs(live, spec.storage_class_name.as_deref())
    {
        // Its shard waits for its turn to move; a claim keeps its class.
        spec.storage_class_name = live.spec.clone().unwrap_or_default().storage_class_name;
    }
    match apply(context, &claim, live).await {
        Ok(outcome) => Ok(outcome != Outcome::Unchanged),
        Err(RelayError::Apply(error)) if error.not_allowed().is_some() => {
            let why = error.not_allowed().unwrap_or_default();
            refused.push(format!("{}: {why}", claim.name_any()));
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// A shard that is to go; why it is still there, if it is.
pub(super) async fn let_go(
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
        drain::Step::Wait(why) => {
            renew(context, shard, objects).await?;
            Ok(Some(why))
        }
        drain::Step::Remove if !drain::knows(shard, !found.moves.staying.is_empty()) => {
            renew(context, shard, objects).await?;
            Ok(Some("it does not know yet that it is to go".to_owned()))
        }
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
            if remove_shard(context, shard).await? {
                return Ok(None);
            }
            Ok(Some("its claim got a volume just now".to_owned()))
        }
    }
}

/// Gives a shard that goes its newest form: an older one may not understand the configuration of today,
/// should it have to start again. What lies on the pod's own disk would not survive the change.
async fn renew(context: &Context, shard: &Shard, objects: &ShardObjects) -> Result<(), RelayError> {
    if let (Some(live), Some(_)) = (&shard.deployment, &objects.claim) {
        apply(context, &objects.deployment, Some(live.as_ref())).await?;
    }
    Ok(())
}

/// Takes a shard's pod out of the Service, and starts it anew outside where its queue survives that.
async fn leave_service(
    context: &Context,
    shard: &Shard,
    objects: &ShardObjects,
) -> Result<(), RelayError> {
    take_pod_out(context, shard).await?;
    if objects.claim.is_some() {
        apply(context, &objects.deployment, shard.deployment.as_deref()).await?;
    }
    Ok(())
}

async fn take_pod_out(context: &Context, shard: &Shard) -> Result<(), RelayError> {
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
    Ok(())
}

/// Takes a shard's pod out of the Service, and starts it anew outside where its queue survives that, in
/// the form that it has: so it works whatever the spec says by now.
pub(in crate::relay) async fn leave_as_is(
    context: &Context,
    shard: &Shard,
    storage: Storage,
) -> Result<(), RelayError> {
    take_pod_out(context, shard).await?;
    let Some(deployment) = &shard.deployment else {
        return Ok(());
    };
    if storage == Storage::Ephemeral || !scale::is_born_accepting(deployment) {
        return Ok(());
    }
    let api: Api<Deployment> = Api::namespaced(
        context.client.clone(),
        &deployment.namespace().unwrap_or_default(),
    );
    let template = json!({"metadata": {
        "labels": {ACCEPTING_LABEL: "false"},
        "annotations": {DRAINING_SINCE_ANNOTATION: SINCE_BIRTH},
    }});
    let patch = json!({
        "metadata": {"uid": deployment.uid()},
        "spec": {"template": template},
    });
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let name = deployment.name_any();
    match api.patch(&name, &parameters, &Patch::Merge(patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes a shard in which nothing waits; whether it did. What is on its way out already is left alone.
pub(in crate::relay) async fn remove_shard(
    context: &Context,
    shard: &Shard,
) -> Result<bool, RelayError> {
    let claim = shard.claim.as_ref();
    let claim = claim.filter(|claim| claim.metadata.deletion_timestamp.is_none());
    if let Some(claim) = claim {
        // That there is no volume may be old news, and mail lie there by now.
        if !shard.has_volume() && has_volume_by_now(context, claim).await? {
            return Ok(false);
        }
        annotate_claim(context, claim, &json!("true")).await?;
    }
    if let Some(deployment) = &shard.deployment
        && deployment.metadata.deletion_timestamp.is_none()
    {
        context
            .applier
            .delete(&context.client, deployment.as_ref())
            .await?;
    }
    if let Some(claim) = claim {
        context
            .applier
            .delete(&context.client, claim.as_ref())
            .await?;
    }
    Ok(true)
}

async fn has_volume_by_now(
    context: &Context,
    claim: &PersistentVolumeClaim,
) -> Result<bool, RelayError> {
    let namespace = claim.namespace().unwrap_or_default();
    let api: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), &namespace);
    let live = api.get_opt(&claim.name_any()).await?;
    let spec = live.and_then(|live| live.spec);
    Ok(spec.is_some_and(|spec| spec.volume_name.is_some()))
}

/// Stops a shard and leaves its claim, with what it holds.
pub(in crate::relay) async fn stop_shard(
    context: &Context,
    shard: &Shard,
) -> Result<(), RelayError> {
    if let Some(deployment) = &shard.deployment {
        context
            .applier
            .delete(&context.client, deployment.as_ref())
            .await?;
    }
    Ok(())
}

/// Makes the kubelet look at a pod's files again when the pod runs older ones.
pub(super) async fn refresh_files(
    context: &Context,
    shard: &Shard,
    hash: &str,
) -> Result<(), RelayError> {
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
