//! The finalizer, as a merge patch that the resource version guards: a finalizer that somebody else
//! adds or removes at the same time makes the patch fail, and the next reconcile repeats it.

use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt as _};
use operator_api::names::FINALIZER;
use serde_json::json;

use super::apply::Owned;

/// Whether `object` has the finalizer.
pub fn is_set<K: Resource>(object: &K) -> bool {
    object.finalizers().iter().any(|name| name == FINALIZER)
}

/// Adds the finalizer if it is missing.
pub async fn ensure<K: Owned>(client: &Client, object: &K) -> Result<(), kube::Error> {
    if is_set(object) {
        return Ok(());
    }
    let mut finalizers = object.finalizers().to_vec();
    finalizers.push(FINALIZER.to_owned());
    write(client, object, &finalizers).await
}

/// Removes the finalizer; an object that is gone already is no error.
pub async fn remove<K: Owned>(client: &Client, object: &K) -> Result<(), kube::Error> {
    let mut finalizers = object.finalizers().to_vec();
    finalizers.retain(|name| name != FINALIZER);
    match write(client, object, &finalizers).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        result => result,
    }
}

async fn write<K: Owned>(
    client: &Client,
    object: &K,
    finalizers: &[String],
) -> Result<(), kube::Error> {
    let patch = json!({"metadata": {
        "finalizers": finalizers,
        "resourceVersion": object.resource_version(),
        "uid": object.uid(),
    }});
    Api::<K>::namespaced(client.clone(), &object.namespace().unwrap_or_default())
        .patch_metadata(
            &object.name_any(),
            &PatchParams::default(),
            &Patch::Merge(patch),
        )
        .await
        .map(|_| ())
}
