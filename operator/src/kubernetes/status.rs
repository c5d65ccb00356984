//! Writing a status, and only when it differs from what the object shows.

use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use operator_api::names::FIELD_MANAGER;
use serde::Serialize;
use serde_json::json;

use super::apply::Owned;

/// How the API server's errors name a field of an apply that the schema does not have (structured-merge-diff).
const UNKNOWN_FIELD: &str = "field not declared in schema";

/// Writes `desired` unless it is what `object` shows; whether it was written.
///
/// The object may be stale. Then either too much is written, which changes nothing, or too little;
/// but the event that makes the cache current triggers the next reconcile, which corrects it.
///
/// Where the cluster's definitions are older than this operator, what they do not know of is left out, and
/// what is to be removed stays; a log line says so.
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
    let api = Api::<K>::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let name = object.name_any();
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name, "uid": object.uid()},
        "status": desired,
    });
    let apply = PatchParams::apply(FIELD_MANAGER).force();
    let mut result = api
        .patch_status(&name, &apply, &Patch::Apply(&patch))
        .await
        .map(drop);
    if let Err(kube::Error::Api(said)) = &result
        && said.message.contains(UNKNOWN_FIELD)
    {
        tracing::warn!(
            kind = %K::kind(&()), %name, said = said.message,
            "the definition in this cluster is older than the operator: its status is written without \
             what that does not know; apply crds/ of this release"
        );
        // What is not known is pruned from a merge patch, but an error in an apply.
        let merge = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(&patch);
        result = api.patch_status(&name, &merge, &patch).await.map(drop);
    }
    match result {
        Ok(()) => Ok(true),
        // Deleted meanwhile: there is nobody left to tell.
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use kube::Client;
    use operator_api::SendingDomain;
    use serde_json::{Value, json};

    use super::write;
    use crate::testing::{answer, failure, pair};

    const PATH: &str = "/namespaces/shop/sendingdomains/shop-example/status";

    fn domain() -> SendingDomain {
        serde_json::from_value(json!({
            "apiVersion": "mailrelay.dev/v1alpha1", "kind": "SendingDomain",
            "metadata": {"name": "shop-example", "namespace": "shop", "uid": "uid-1"},
            "spec": {"domain": "shop.example", "relayRef": {"name": "outbox"}},
        }))
        .unwrap()
    }

    async fn written(client: &Client) -> Result<bool, kube::Error> {
        write(client, &domain(), None::<&Value>, &json!({"a": 1})).await
    }

    #[tokio::test]
    async fn a_definition_older_than_the_operator_gets_the_status_without_what_it_does_not_know() {
        let (client, mut server) = pair();
        let told = "failed to create typed patch object (shop/shop-example): .status.a: field not \
                    declared in schema";
        let asked = async {
            answer(&mut server, "PATCH", PATH, 500, &failure(500, told)).await;
            let (request, reply) = server.next_request().await.unwrap();
            let object = serde_json::to_vec(&domain()).unwrap();
            reply.send_response(axum::http::Response::new(object.into()));
            request
        };
        let (written, request) = tokio::join!(written(&client), asked);
        assert!(written.unwrap());
        let kind = &request.headers()["content-type"];
        assert_eq!(kind, "application/merge-patch+json");
        let sent = request.into_body().collect().await.unwrap().to_bytes();
        let sent: Value = serde_json::from_slice(&sent).unwrap();
        assert_eq!(sent["status"], json!({"a": 1}));
        assert_eq!(sent["metadata"]["uid"], "uid-1");
    }

    #[tokio::test]
    async fn another_failure_of_the_api_server_is_not_answered_by_a_merge() {
        let (client, mut server) = pair();
        let body = failure(500, "no leader");
        let asked = answer(&mut server, "PATCH", PATH, 500, &body);
        let (written, _) = tokio::join!(written(&client), asked);
        assert!(written.is_err());
    }

    #[tokio::test]
    async fn an_object_that_is_gone_is_told_nothing() {
        let (client, mut server) = pair();
        let body = failure(404, "NotFound");
        let asked = answer(&mut server, "PATCH", PATH, 404, &body);
        let (written, _) = tokio::join!(written(&client), asked);
        assert!(!written.unwrap());
    }
}
