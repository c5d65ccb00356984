//! The operator's pod template with the user's over it, merged as server-side apply would merge the
//! fields of a second manager that takes what it names. Pure.
//!
//! `DeepMerge` knows the keys of lists, but only the first where there are two: a constraint or a port is
//! found by both of its keys here.

use std::collections::BTreeMap;

use k8s_openapi::DeepMerge;
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, PodSpec, PodTemplateSpec, TopologySpreadConstraint,
};
use operator_api::{PodTemplate, RELAY_CONTAINER};

/// Protocol of a port that names none.
const TCP: &str = "TCP";

/// `own` with `users` over it.
pub(super) fn over(mut own: PodTemplateSpec, users: &PodTemplate) -> PodTemplateSpec {
    if let Some(metadata) = users.metadata.clone() {
        let target = own.metadata.get_or_insert_default();
        let labels = target.labels.get_or_insert_default();
        labels.extend(metadata.labels);
        if !metadata.annotations.is_empty() {
            let annotations = target.annotations.get_or_insert_default();
            annotations.extend(metadata.annotations);
        }
    }
    if let Some(spec) = users.spec.clone() {
        over_spec(own.spec.get_or_insert_default(), spec);
    }
    own
}

fn over_spec(own: &mut PodSpec, mut users: PodSpec) {
    let constraints = by_keys(
        own.topology_spread_constraints.take(),
        users.topology_spread_constraints.take(),
        same_constraint,
    );
    let mut ports = None;
    if let Some(relay) = own.containers.first_mut() {
        make_room(relay, &users.containers);
        ports = by_keys(
            relay.ports.take(),
            ports_of_relay(&mut users.containers),
            same_port,
        );
    }
    own.merge_from(users);
    own.topology_spread_constraints = constraints;
    if let Some(relay) = own.containers.first_mut() {
        relay.ports = ports;
    }
    if own.host_network == Some(true) && own.dns_policy.is_none() {
        // Else a pod in the node's network would not find names of the cluster.
        own.dns_policy = Some("ClusterFirstWithHostNet".to_owned());
    }
}

/// Takes the ports that the user gives the relay's container.
fn ports_of_relay(containers: &mut [Container]) -> Option<Vec<ContainerPort>> {
    let relay = containers
        .iter_mut()
        .find(|container| container.name == RELAY_CONTAINER)?;
    relay.ports.take()
}

/// A default request above a limit that the user sets would be refused; without one it is the limit.
fn make_room(relay: &mut Container, users: &[Container]) {
    let own = relay.resources.as_mut();
    let Some(requests) = own.and_then(|resources| resources.requests.as_mut()) else {
        return;
    };
    let limits = users
        .iter()
        .filter(|container| container.name == RELAY_CONTAINER)
        .filter_map(|container| container.resources.as_ref()?.limits.as_ref());
    for name in limits.flat_map(BTreeMap::keys) {
        requests.remove(name);
    }
}

/// Items of `users` go into the item of `own` with the same keys, or to the end.
fn by_keys<T: DeepMerge>(
    own: Option<Vec<T>>,
    users: Option<Vec<T>>,
    same: fn(&T, &T) -> bool,
) -> Option<Vec<T>> {
    let mut merged = own.unwrap_or_default();
    for item in users.into_iter().flatten() {
        match merged.iter_mut().find(|found| same(found, &item)) {
            Some(found) => found.merge_from(item),
            None => merged.push(item),
        }
    }
    Some(merged).filter(|merged| !merged.is_empty())
}

fn same_constraint(one: &TopologySpreadConstraint, other: &TopologySpreadConstraint) -> bool {
    one.topology_key == other.topology_key && one.when_unsatisfiable == other.when_unsatisfiable
}

fn same_port(one: &ContainerPort, other: &ContainerPort) -> bool {
    one.container_port == other.container_port && protocol(one) == protocol(other)
}

fn protocol(port: &ContainerPort) -> &str {
    port.protocol.as_deref().unwrap_or(TCP)
}

#[cfg(test)]
mod tests;
