//! Labels and owner references of what the operator makes.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use operator_api::names::RELAY_LABEL;

/// Label by which the operator finds its own objects again.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`].
pub const MANAGER: &str = "mailrelay-operator";
/// Selects what the operator made.
pub const SELECTOR: &str = "app.kubernetes.io/managed-by=mailrelay-operator";

/// Selects what somebody else made.
pub const SELECTOR_OF_OTHERS: &str = "app.kubernetes.io/managed-by!=mailrelay-operator";

/// Labels of an object that belongs to `relay`.
pub fn of_relay(relay: &str, component: &str) -> BTreeMap<String, String> {
    let mut labels = common(component);
    labels.insert("app.kubernetes.io/instance".to_owned(), relay.to_owned());
    labels.insert(RELAY_LABEL.to_owned(), relay.to_owned());
    labels
}

/// Labels of any object of ours.
pub fn common(component: &str) -> BTreeMap<String, String> {
    [
        (MANAGED_BY, MANAGER),
        ("app.kubernetes.io/name", "mailrelay"),
        ("app.kubernetes.io/part-of", "mailrelay"),
        ("app.kubernetes.io/component", component),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// Metadata of an object in the owner's namespace that goes with its owner.
pub fn owned_by<K: Resource<DynamicType = ()>>(
    owner: &K,
    name: String,
    labels: BTreeMap<String, String>,
) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: owner.meta().namespace.clone(),
        labels: Some(labels),
        owner_references: owner_reference(owner).map(|reference| vec![reference]),
        ..ObjectMeta::default()
    }
}

/// Owner references are for objects in the owner's own namespace only.
pub fn owner_reference<K: Resource<DynamicType = ()>>(owner: &K) -> Option<OwnerReference> {
    owner.controller_owner_ref(&())
}
