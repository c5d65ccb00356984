//! What users may change about the pods of a relay.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodSpec;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Name of the container that runs the relay.
pub const RELAY_CONTAINER: &str = "relay";

/// A pod template that is merged over the operator's own, as server-side apply would: containers,
/// environment and volumes by name, ports by number and protocol, mounts by path,
/// `topologySpreadConstraints` by key and `whenUnsatisfiable`; other lists replace the operator's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// Labels and annotations of the pods, beside those of the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<PodTemplateMetadata>,

    /// Any field of a pod's spec; see `kubectl explain pod.spec`. The relay's container is `relay`:
    /// its image, resources, environment and more are given under that name in `containers`, and other
    /// entries there are sidecars. What the relay cannot do without belongs to the operator: `args` and
    /// `command`, volumes `config` and `queue` and their mounts, the ports, the probes' handlers,
    /// `POD_NAME`, `POD_NAMESPACE` and `RELAY_SHARD`, `hostname` and `subdomain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "pod_spec")]
    pub spec: Option<PodSpec>,
}

/// Labels and annotations of the pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplateMetadata {
    /// Labels. Those below `mailrelay.dev/` belong to the operator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,

    /// Annotations. Those below `mailrelay.dev/` belong to the operator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Kubernetes' own schema without its prose, which is ten times as long, and without a list of
/// containers that must be there. Typed rather than open: so the API server refuses what is mistyped,
/// and nothing is nested deeper than the operator can read.
fn pod_spec(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<PodSpec>();
    if let Some(object) = schema.as_object_mut() {
        object.remove("required");
        if let Some(Value::Object(properties)) = object.get_mut("properties") {
            // They belong to pods that run and have no place in a template.
            properties.remove("ephemeralContainers");
        }
        object.values_mut().for_each(strip);
        object.remove("description");
    }
    schema
}

/// Takes the descriptions out. A property of that name is an object and stays.
fn strip(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|name, value| name != "description" || !value.is_string());
            object.values_mut().for_each(strip);
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}
