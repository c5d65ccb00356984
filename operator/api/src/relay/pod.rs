//! Storage, limits, Service and NetworkPolicy.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;

/// The durable queue of each shard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.storageClassName) || !has(self.storage) || self.storage != 'Ephemeral'")
        .message("storageClassName has no meaning with storage: Ephemeral; remove one of them")
        .field_path(".storageClassName")
)]
pub struct Queue {
    /// Where messages wait. `Persistent`: a PersistentVolumeClaim per shard, so that accepted mail
    /// survives pod and node (default). `Ephemeral`: the pod's own disk; accepted mail is lost
    /// with the pod, and condition `QueueDurable` says so. Cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,

    /// Size of a shard's queue in octets, such as `10Gi`. Default `1Gi`. May grow where the
    /// storage class allows it, never shrink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new("isQuantity(string(self)) && quantity(string(self)).compareTo(quantity('128Mi')) >= 0")
            .message("must be a size of at least 128Mi, such as 10Gi")
    )]
    pub size: Option<Quantity>,

    /// Storage class of the claims. Default: the cluster's default class. Another class moves one shard
    /// after the other: it hands its mail to the others, and is made anew with a claim of that class; the relay
    /// gets one more shard for the time. Without a name here claims keep what they have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
}

/// Where a queue lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::common::undescribed)]
pub enum Storage {
    /// A claim per shard.
    #[default]
    Persistent,
    /// An `emptyDir`; lost with the pod.
    Ephemeral,
}

/// Bounds on what one client may ask for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Largest message in octets, such as `50Mi`; announced as SIZE (RFC 1870). Default `25Mi`, at
    /// most `128Mi`. A larger one is refused with 552.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new("isQuantity(string(self)) && quantity(string(self)).compareTo(quantity('64Ki')) >= 0 && quantity(string(self)).compareTo(quantity('128Mi')) <= 0")
            .message("must be a size from 64Ki to 128Mi, such as 50Mi")
    )]
    pub message_size: Option<Quantity>,

    /// Recipients of one message. Default 1000, at least 100 (RFC 5321 section 4.5.3.1.8). One
    /// more is refused with 452, and the client sends the rest in a second message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 100_000))]
    pub recipients: Option<i32>,

    /// Client connections of one shard at one time, over all listeners. Default 1000. One more is
    /// answered 421.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub connections: Option<i32>,
    /// Of them, those from one client address at one time. Default 500. One more is answered 421.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub connections_per_address: Option<i32>,

    /// Of them, those that are authenticated as one identity at one time. Default 500. One more is
    /// answered 421 when it authenticates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub connections_per_identity: Option<i32>,

    /// Largest header of a message in octets, such as `64Ki`. Default and most `512Ki`. A larger one
    /// is refused with 552.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new("isQuantity(string(self)) && quantity(string(self)).compareTo(quantity('4Ki')) >= 0 && quantity(string(self)).compareTo(quantity('512Ki')) <= 0")
            .message("must be a size from 4Ki to 512Ki, such as 64Ki")
    )]
    pub header_size: Option<Quantity>,

    /// Commands of a session without a message in between, recipients not counted. Default 1000.
    /// One more ends the session with 421.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 20, max = 1_000_000))]
    pub commands: Option<i32>,

    /// Age at which a session is closed with 421 as soon as it has no message under way, such as
    /// `30m`. Default `2h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24), regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    #[x_kube(
        validation = Rule::new("duration(self) > duration('0s')")
            .message("must be above 0, such as 30m")
    )]
    pub session_timeout: Option<Duration>,

    /// Octets a second that a message must arrive at on average; a slower client is closed with
    /// 421. Default 256; 0 is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub minimum_rate: Option<i32>,

    /// How far ahead a client may have a message sent (FUTURERELEASE, RFC 4865), such as `24h`.
    /// Default `168h` (7 days), at most `2160h`; `0s` is not at all. Held messages keep a shard
    /// from being drained until they are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24), regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    #[x_kube(
        validation = Rule::new("duration(self) <= duration('2160h')")
            .message("must be at most 2160h (90 days), such as 24h")
    )]
    pub maximum_hold: Option<Duration>,
}

/// Who may reach the relay, enforced by the cluster's network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicySettings {
    /// Whether the operator makes a NetworkPolicy: in from `spec.clients` to the listeners, out to
    /// DNS and mail servers. Default true. Switch it off where an own policy does the same.
    #[serde(default = "yes")]
    pub enabled: bool,
}

impl Default for NetworkPolicySettings {
    fn default() -> Self {
        Self { enabled: true }
    }
}

fn yes() -> bool {
    true
}

/// The Service that applications connect to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.externalTrafficPolicy) || (has(self.type) && self.type != 'ClusterIP')")
        .message("externalTrafficPolicy has a meaning with type: NodePort or LoadBalancer only; set one of them, or remove the field")
        .field_path(".externalTrafficPolicy"),
    validation = Rule::new("!has(self.loadBalancerClass) || (has(self.type) && self.type == 'LoadBalancer')")
        .message("loadBalancerClass has a meaning with type: LoadBalancer only; set that, or remove the field")
        .field_path(".loadBalancerClass"),
    validation = Rule::new("!has(self.loadBalancerSourceRanges) || (has(self.type) && self.type == 'LoadBalancer')")
        .message("loadBalancerSourceRanges has a meaning with type: LoadBalancer only; set that, or remove the field")
        .field_path(".loadBalancerSourceRanges")
)]
pub struct ServiceSettings {
    /// `ClusterIP`: reachable inside the cluster (default). `NodePort` and `LoadBalancer`: also
    /// from outside; list the networks in `spec.clients.cidrs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<ServiceType>,

    /// Annotations of the Service, such as those that load balancers read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,

    /// `SingleStack`, `PreferDualStack` or `RequireDualStack`. Default: left to the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^(SingleStack|PreferDualStack|RequireDualStack)$"))]
    pub ip_family_policy: Option<String>,

    /// `IPv4` and `IPv6` in the order wanted. Default: left to the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), inner(regex(pattern = "^IPv[46]$")))]
    pub ip_families: Vec<String>,

    /// Where traffic from outside goes. `Cluster`: to all shards, and the relay sees addresses of nodes in
    /// place of clients. `Local`: to the shards of the node that it came to, with the clients' own
    /// addresses. Default: left to the cluster, which takes `Cluster`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<TrafficPolicy>,

    /// Where traffic from pods goes; with `Local` to the shards of their own node only, and nowhere without
    /// one. Default: left to the cluster, which takes `Cluster`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal_traffic_policy: Option<TrafficPolicy>,

    /// Which implementation makes the load balancer, such as `service.k8s.aws/nlb`. Default: the
    /// cluster's. Kubernetes takes no change of it while the type is `LoadBalancer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    pub load_balancer_class: Option<String>,

    /// Networks that the load balancer lets in, in CIDR notation, where it can. Default: all;
    /// `spec.clients` decides in any case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 43)))]
    #[x_kube(
        validation = Rule::new("self.all(network, isCIDR(network))")
            .message("each entry must be a network in CIDR notation, such as 192.0.2.0/24")
    )]
    pub load_balancer_source_ranges: Vec<String>,
}

/// Which endpoints traffic goes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::common::undescribed)]
pub enum TrafficPolicy {
    /// Those of all nodes.
    #[default]
    Cluster,
    /// Those of the node that it comes to.
    Local,
}

/// Kind of Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::common::undescribed)]
pub enum ServiceType {
    /// Inside the cluster.
    #[default]
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    /// A port of every node.
    NodePort,
    /// An address of the provider's load balancer.
    LoadBalancer,
}
