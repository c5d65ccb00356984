//! Writing a status, and only when it differs from what the object shows.

use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use operator_api::names::FIELD_MANAGER;
use serde::Serialize;
use serde_json::json;

use super::apply::Owned;

/// Writes `desired` unless it is what `object` shows; whether it was written.
///
/// The object may be stale. Then either too much is written, which changes nothing, or too little;
/// but the event that makes the cache current triggers the next reconcile, which corrects it.
pub async fn write<K, S>(
    client: &Client,
    object: &K,
    current: Option<&S>,
    desired: &S,
) -> Result<bool, kube::Error>
where
    K: Owned,
    S: Serialize,
{
    // As they are written: times are kept in whole seconds.
    let written = |status: &S| serde_json::to_value(status).map_err(kube::Error::SerdeError);
    let desired = written(desired)?;
    if current.map(written).transpose()?.as_ref() == Some(&desired) {
        return Ok(false);
    }
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": object.name_any(), "uid": object.uid()},
        "status": desired,
    });
    let result = Api::<K>::namespaced(client.clone(), &object.namespace().unwrap_or_default())
        .patch_status(
            &object.name_any(),
            &PatchParams::apply(FIELD_MANAGER).force(),
            &Patch::Apply(patch),
        )
        .await;
    match result {
        Ok(_) => Ok(true),
        // Deleted meanwhile: there is nobody left to tell.
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
