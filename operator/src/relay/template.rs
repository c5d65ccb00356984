//! What a user's pod template may not take from the operator: without it the relay would not find its
//! configuration or its queue, or the operator would not find the relay. Pure.
//!
//! Everything else is the user's business; what Kubernetes itself does not take is told by condition
//! `Programmed` (reason `ShardRefused`) when it says so.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ContainerPort, PodSpec, Probe};
use operator_api::conditions::reason;
use operator_api::names::{ADMIN_PORT, CONFIG_DIRECTORY, GROUP, HEALTH_PORT, STATE_DIRECTORY};
use operator_api::{PodTemplate, RELAY_CONTAINER, SmtpRelay};
use relay_config::SHARD_VARIABLE;

use crate::labels;
use crate::render::Violation;

/// Seconds that a relay needs to let transactions finish and to close its queue.
const SHORTEST_GRACE: i64 = 30;
/// Where fields lie.
const SPEC: &str = "spec.podTemplate.spec";

/// The first thing that belongs to the operator.
pub(super) fn check(relay: &SmtpRelay) -> Result<(), Violation> {
    let Some(template) = &relay.spec.pod_template else {
        return Ok(());
    };
    let pod = template.spec.as_ref().and_then(|spec| {
        pod(spec)
            .or_else(|| volumes(spec))
            .or_else(|| names(spec))
            .or_else(|| containers(spec, &own_ports(relay)))
    });
    metadata(template).or(pod).map_or(Ok(()), Err)
}

fn taken(path: &str, why: &str) -> Violation {
    invalid(path, &format!("belongs to the operator, {why}"))
}

fn invalid(path: &str, what: &str) -> Violation {
    Violation::new(reason::INVALID_SPEC, format!("{path}: {what}"))
}

fn metadata(template: &PodTemplate) -> Option<Violation> {
    let metadata = template.metadata.as_ref()?;
    let own = labels::of_relay("", "");
    let ours = |name: &str| {
        let prefix = name.split_once('/').map_or("", |(prefix, _)| prefix);
        prefix == GROUP || own.contains_key(name)
    };
    let find = |kind: &str, map: &BTreeMap<String, String>| {
        let name = map.keys().find(|name| ours(name))?;
        let path = format!("spec.podTemplate.metadata.{kind}[{name}]");
        Some(taken(&path, "which finds its pods by it; remove it"))
    };
    find("labels", &metadata.labels).or_else(|| find("annotations", &metadata.annotations))
}

fn pod(spec: &PodSpec) -> Option<Violation> {
    let named = [("hostname", &spec.hostname), ("subdomain", &spec.subdomain)];
    if let Some((field, _)) = named.iter().find(|(_, value)| value.is_some()) {
        let why = "since shards find each other by it; remove it";
        return Some(taken(&format!("{SPEC}.{field}"), why));
    }
    let grace = spec.termination_grace_period_seconds?;
    (grace < SHORTEST_GRACE).then(|| {
        let what = format!(
            "{grace} is too short for transactions under way; give {SHORTEST_GRACE} or more"
        );
        invalid(&format!("{SPEC}.terminationGracePeriodSeconds"), &what)
    })
}

fn volumes(spec: &PodSpec) -> Option<Violation> {
    let mut volumes = spec.volumes.iter().flatten();
    let ours = volumes.find(|volume| ["config", "queue"].contains(&volume.name.as_str()))?;
    let path = format!("{SPEC}.volumes[{}]", ours.name);
    Some(taken(
        &path,
        "with the relay's own files; choose another name",
    ))
}

/// Two of one name would be merged into one.
fn names(spec: &PodSpec) -> Option<Violation> {
    let init = spec.init_containers.iter().flatten();
    let init = init.map(|container| ("initContainers", container.name.as_str()));
    let main = spec.containers.iter();
    let main = main.map(|container| ("containers", container.name.as_str()));
    let mut seen = Vec::new();
    for (list, name) in main.chain(init) {
        if seen.contains(&name) || (list == "initContainers" && name == RELAY_CONTAINER) {
            let what = "another container has this name; choose one of its own";
            return Some(invalid(&format!("{SPEC}.{list}[{name}]"), what));
        }
        seen.push(name);
    }
    None
}

/// Name and number of the relay's ports.
fn own_ports(relay: &SmtpRelay) -> Vec<(String, i32)> {
    let listeners = relay.spec.listeners().into_iter();
    let listeners = listeners.map(|one| (one.name.clone(), one.container_port()));
    let fixed = [("health", HEALTH_PORT), ("admin", ADMIN_PORT)];
    let fixed = fixed.map(|(name, number)| (name.to_owned(), number));
    listeners.chain(fixed).collect()
}

fn containers(spec: &PodSpec, ports: &[(String, i32)]) -> Option<Violation> {
    spec.containers.iter().find_map(|container| {
        if container.name == RELAY_CONTAINER {
            relay_container(container, ports)
        } else {
            sidecar_ports(container, ports)
        }
    })
}

fn relay_container(container: &Container, ports: &[(String, i32)]) -> Option<Violation> {
    let path = format!("{SPEC}.containers[{RELAY_CONTAINER}]");
    let lists = [("args", &container.args), ("command", &container.command)];
    if let Some((field, _)) = lists.iter().find(|(_, list)| list.is_some()) {
        let why = "since the relay finds its configuration by it; remove it";
        return Some(taken(&format!("{path}.{field}"), why));
    }
    environment(container, &path)
        .or_else(|| mounts(container, &path))
        .or_else(|| probes(container, &path))
        .or_else(|| port_names(container, ports, &path))
}

fn environment(container: &Container, path: &str) -> Option<Violation> {
    const OWN: [&str; 3] = ["POD_NAME", "POD_NAMESPACE", SHARD_VARIABLE];
    let mut variables = container.env.iter().flatten();
    let ours = variables.find(|variable| OWN.contains(&variable.name.as_str()))?;
    let path = format!("{path}.env[{}]", ours.name);
    Some(taken(&path, "since it says which pod it is; remove it"))
}

fn mounts(container: &Container, path: &str) -> Option<Violation> {
    let mut mounts = container.volume_mounts.iter().flatten();
    let ours = mounts.find(|mount| {
        [CONFIG_DIRECTORY, STATE_DIRECTORY].iter().any(|own| {
            let rest = mount.mount_path.strip_prefix(own);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    })?;
    let path = format!("{path}.volumeMounts[{}]", ours.mount_path);
    Some(taken(
        &path,
        "with the relay's own files; mount it elsewhere",
    ))
}

fn probes(container: &Container, path: &str) -> Option<Violation> {
    let probes = [
        ("startupProbe", &container.startup_probe),
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
    ];
    probes.into_iter().find_map(|(name, probe)| {
        let handler = handler(probe.as_ref()?)?;
        let why = "since the relay answers to its own probe only; set periods and thresholds alone";
        Some(taken(&format!("{path}.{name}.{handler}"), why))
    })
}

fn handler(probe: &Probe) -> Option<&'static str> {
    let handlers = [
        ("httpGet", probe.http_get.is_some()),
        ("tcpSocket", probe.tcp_socket.is_some()),
        ("exec", probe.exec.is_some()),
        ("grpc", probe.grpc.is_some()),
    ];
    let set = handlers.into_iter().find(|(_, set)| *set)?;
    Some(set.0)
}

/// A port of the relay may get a `hostPort`, but neither another name nor another number.
fn port_names(container: &Container, own: &[(String, i32)], path: &str) -> Option<Violation> {
    let clashes = |port: &&ContainerPort| {
        port.name.as_ref().is_some_and(|name| {
            own.iter()
                .any(|(own, number)| (own == name) != (*number == port.container_port))
        })
    };
    let port = container.ports.iter().flatten().find(clashes)?;
    let path = format!("{path}.ports[{}].name", port.container_port);
    Some(taken(
        &path,
        "since the Service finds ports by name; remove it, or see spec.listeners",
    ))
}

/// All containers of a pod share its ports.
fn sidecar_ports(container: &Container, own: &[(String, i32)]) -> Option<Violation> {
    let mut ports = container.ports.iter().flatten();
    let clash = ports.find(|port| own.iter().any(|(_, own)| *own == port.container_port))?;
    let path = format!(
        "{SPEC}.containers[{}].ports[{}]",
        container.name, clash.container_port
    );
    Some(taken(
        &path,
        "since the relay listens there; choose another port",
    ))
}

#[cfg(test)]
mod tests;
