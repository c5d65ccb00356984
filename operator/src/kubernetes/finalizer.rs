//! The finalizer, as a merge patch that the resource version guards: a finalizer that somebody else
//! adds or removes at the same time makes the patch fail, and the next reconcile repeats it.

use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt as _};
use operator_api::names::{FINALIZER, OPERATOR_ANNOTATION};
use serde_json::{Value, json};

use super::apply::Owned;

/// Whether `object` has the finalizer.
pub fn is_set<K: Resource>(object: &K) -> bool {
    object.finalizers().iter().any(|name| name == FINALIZER)
}

/// Adds the finalizer if it is missing, and the annotation that names the namespace of the operator, if that is
/// known.
pub async fn ensure<K: Owned>(
    client: &Client,
    object: &K,
    operator: Option<&str>,
) -> Result<(), kube::Error> {
    let named = object
        .annotations()
        .get(OPERATOR_ANNOTATION)
        .map(String::as_str);
    if is_set(object) && (operator.is_none() || named == operator) {
        return Ok(());
    }
    let mut finalizers = object.finalizers().to_vec();
    if !is_set(object) {
        finalizers.push(FINALIZER.to_owned());
    }
    let annotations = operator.map(|operator| json!({OPERATOR_ANNOTATION: operator}));
    write(client, object, &finalizers, annotations).await
}

/// Removes the finalizer; an object that is gone already is no error.
pub async fn remove<K: Owned>(client: &Client, object: &K) -> Result<(), kube::Error> {
    let mut finalizers = object.finalizers().to_vec();
    finalizers.retain(|name| name != FINALIZER);
    match write(client, object, &finalizers, None).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        result => result,
    }
}

async fn write<K: Owned>(
    client: &Client,
    object: &K,
    finalizers: &[String],
    annotations: Option<Value>,
) -> Result<(), kube::Error> {
    let mut patch = json!({"metadata": {
        "finalizers": finalizers,
        "resourceVersion": object.resource_version(),
        "uid": object.uid(),
    }});
    if let Some(annotations) = annotations {
        patch["metadata"]["annotations"] = annotations;
    }
    Api::<K>::namespaced(client.clone(), &object.namespace().unwrap_or_default())
        .patch_metadata(
            &object.name_any(),
            &PatchParams::default(),
            &Patch::Merge(patch),
        )
        .await
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use operator_api::{SmtpRelay, SmtpRelaySpec};

    use super::*;
    use crate::testing::{answer, pair};

    fn relay(operator: &str) -> SmtpRelay {
        let mut relay = SmtpRelay::new("outbox", SmtpRelaySpec::default());
        relay.metadata.namespace = Some("post".to_owned());
        relay.metadata.resource_version = Some("4".to_owned());
        relay.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        let operator = (OPERATOR_ANNOTATION.to_owned(), operator.to_owned());
        relay.metadata.annotations = Some([operator].into());
        relay
    }

    #[tokio::test]
    async fn a_relay_is_taken_over_with_the_version_that_was_read_and_written_no_more_then() {
        let (client, mut server) = pair();
        let (old, own) = (relay("before"), relay("mail"));
        let written = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {"name": "outbox"}});
        let (taken, sent) = tokio::join!(
            ensure(&client, &old, Some("mail")),
            answer(&mut server, "PATCH", "/smtprelays/outbox", 200, &written)
        );
        taken.unwrap();
        assert_eq!(
            sent["metadata"],
            json!({
                "annotations": {OPERATOR_ANNOTATION: "mail"}, "finalizers": [FINALIZER],
                "resourceVersion": "4", "uid": null,
            })
        );
        // Nobody answers: nothing is asked.
        ensure(&client, &own, Some("mail")).await.unwrap();
        ensure(&client, &old, None).await.unwrap();
    }
}
