//! The Deployment and the claim of a shard.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
    ObjectFieldSelector, PersistentVolumeClaim, PersistentVolumeClaimSpec, PodSecurityContext,
    PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, SecurityContext,
    ServiceAccount, TopologySpreadConstraint, VolumeMount, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use operator_api::names::{
    self, ACCEPTING_LABEL, DRAINING_SINCE_ANNOTATION, RELAY_LABEL, SHARD_LABEL,
};
use operator_api::{RELAY_CONTAINER, SmtpRelay};
use relay_config::{MAIN_FILE, SHARD_VARIABLE};

use super::{merge, metadata, relay_name, volumes};
use crate::context::Settings;
use crate::labels;

/// User and group of the relay: those of distroless images' `nonroot`.
const USER: i64 = 65532;
/// The relay's own grace for open transactions is 25 s; then it closes its queue.
const TERMINATION_GRACE: i64 = 60;
/// Size of a queue whose spec names none.
pub(super) const DEFAULT_QUEUE: &str = "1Gi";
/// Value of the annotation of a pod that never was in the Service.
pub(in crate::relay) const SINCE_BIRTH: &str = "0";
/// Seconds that a relay gets to read a large queue back.
const STARTUP_SECONDS: i32 = 600;

pub(super) fn service_account(relay: &SmtpRelay) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(relay, relay_name(relay).to_owned(), "service-account"),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// The claim of a shard. Without an owner reference: it must outlive a relay that is deleted while
/// mail waits.
pub(super) fn claim(relay: &SmtpRelay, index: i32) -> PersistentVolumeClaim {
    let queue = relay.spec.queue.clone().unwrap_or_default();
    let size = queue
        .size
        .unwrap_or_else(|| Quantity(DEFAULT_QUEUE.to_owned()));
    let mut labels = labels::of_relay(relay_name(relay), "queue");
    labels.insert(SHARD_LABEL.to_owned(), index.to_string());
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(names::claim(relay_name(relay), index)),
            namespace: relay.metadata.namespace.clone(),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: queue.storage_class_name,
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), size)])),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

/// `accepting` is false for a shard that is to go: its pods are born outside the Service, so that
/// an empty queue stays empty.
pub(super) fn deployment(
    relay: &SmtpRelay,
    index: i32,
    settings: &Settings,
    accepting: bool,
) -> Deployment {
    let name = names::shard(relay_name(relay), index);
    let mut meta = metadata(relay, name, "shard");
    let shard = (SHARD_LABEL.to_owned(), index.to_string());
    meta.labels.get_or_insert_default().extend([shard.clone()]);
    let selector = BTreeMap::from([
        (RELAY_LABEL.to_owned(), relay_name(relay).to_owned()),
        shard,
    ]);
    Deployment {
        metadata: meta,
        spec: Some(DeploymentSpec {
            replicas: Some(1),
            // A volume that one node at a time may mount: the old pod goes before the new one comes.
            strategy: Some(DeploymentStrategy {
                type_: Some("Recreate".to_owned()),
                rolling_update: None,
            }),
            revision_history_limit: Some(2),
            selector: LabelSelector {
                match_labels: Some(selector.clone()),
                match_expressions: None,
            },
            template: pod(relay, index, selector, settings, accepting),
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn pod(
    relay: &SmtpRelay,
    index: i32,
    selector: BTreeMap<String, String>,
    settings: &Settings,
    accepting: bool,
) -> PodTemplateSpec {
    let mut labels = labels::of_relay(relay_name(relay), "relay");
    labels.extend(selector);
    labels.insert(ACCEPTING_LABEL.to_owned(), accepting.to_string());
    let since = (DRAINING_SINCE_ANNOTATION.to_owned(), SINCE_BIRTH.to_owned());
    let annotations = (!accepting).then(|| BTreeMap::from([since]));
    let own = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations,
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            // The name of the pod in cluster DNS, which the other shards use.
            hostname: Some(names::shard(relay_name(relay), index)),
            subdomain: Some(names::shards_service(relay_name(relay))),
            service_account_name: Some(relay_name(relay).to_owned()),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(TERMINATION_GRACE),
            security_context: Some(pod_security()),
            topology_spread_constraints: Some(spread(relay_name(relay))),
            containers: vec![container(relay, index, settings)],
            volumes: Some(vec![
                volumes::configuration(relay),
                volumes::queue(relay, index),
            ]),
            ..PodSpec::default()
        }),
    };
    match &relay.spec.pod_template {
        Some(users) => merge::over(own, users),
        None => own,
    }
}

fn container(relay: &SmtpRelay, index: i32, settings: &Settings) -> Container {
    let listeners = relay.spec.listeners();
    let ports = listeners
        .iter()
        .map(|listener| (listener.name.as_str(), listener.container_port()))
        .chain([("health", names::HEALTH_PORT), ("admin", names::ADMIN_PORT)]);
    let port = |(name, number): (&str, i32)| ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    Container {
        name: RELAY_CONTAINER.to_owned(),
        image: Some(settings.relay_image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(vec![
            "serve".to_owned(),
            "--config".to_owned(),
            format!("{}/{MAIN_FILE}", names::CONFIG_DIRECTORY),
        ]),
        env: Some(environment(index)),
        ports: Some(ports.map(port).collect()),
        resources: Some(default_resources()),
        security_context: Some(container_security()),
        startup_probe: Some(probe("/healthz", 1, STARTUP_SECONDS)),
        liveness_probe: Some(probe("/healthz", 10, 6)),
        readiness_probe: Some(probe("/readyz", 2, 3)),
        volume_mounts: Some(vec![
            VolumeMount {
                name: "config".to_owned(),
                mount_path: names::CONFIG_DIRECTORY.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            },
            VolumeMount {
                name: "queue".to_owned(),
                mount_path: names::STATE_DIRECTORY.to_owned(),
                ..VolumeMount::default()
            },
        ]),
        ..Container::default()
    }
}

/// What PodSecurity `restricted` asks of a pod.
fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        // A large queue is not walked through at each start.
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        ..PodSecurityContext::default()
    }
}

/// What PodSecurity `restricted` asks of a container, and no writing outside the queue.
fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: None,
        }),
        ..SecurityContext::default()
    }
}

fn environment(index: i32) -> Vec<EnvVar> {
    let field = |name: &str, path: &str| EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: path.to_owned(),
                api_version: Some("v1".to_owned()),
            }),
            ..EnvVarSource::default()
        }),
    };
    vec![
        field("POD_NAME", "metadata.name"),
        field("POD_NAMESPACE", "metadata.namespace"),
        EnvVar {
            name: SHARD_VARIABLE.to_owned(),
            value: Some(index.to_string()),
            value_from: None,
        },
    ]
}

fn default_resources() -> ResourceRequirements {
    let requests = [("cpu", "50m"), ("memory", "64Mi")];
    ResourceRequirements {
        requests: Some(
            requests
                .map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned())))
                .into(),
        ),
        ..ResourceRequirements::default()
    }
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("health".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        failure_threshold: Some(failures),
        timeout_seconds: Some(5),
        ..Probe::default()
    }
}

/// Shards prefer different zones, and different nodes in each.
fn spread(relay: &str) -> Vec<TopologySpreadConstraint> {
    let constraint = |key: &str| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(LabelSelector {
            match_labels: Some(BTreeMap::from([(RELAY_LABEL.to_owned(), relay.to_owned())])),
            match_expressions: None,
        }),
        ..TopologySpreadConstraint::default()
    };
    ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
        .map(constraint)
        .to_vec()
}
