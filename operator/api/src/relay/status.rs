//! What the operator observed of a relay.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Written by the operator, and only when something changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SmtpRelayStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// `Accepted`: the spec can be used. `TlsReady`: a valid certificate is in place.
    /// `QueueDurable`: accepted mail survives the loss of a pod. `QueueHealthy`: every
    /// queue has the size asked for and room for more. `EgressHealthy`: nothing is known to be in mail's way out. `Programmed`: every shard runs
    /// the configuration of this generation. `Ready`: the relay accepts mail as asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// Host name that applications connect to: the Service's name inside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,

    /// Addresses of the Service's load balancer, where it has one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<RelayAddress>,

    /// Shards that exist, those that drain included. Read by autoscalers.
    #[serde(default)]
    pub replicas: i32,

    /// Shards that accept mail.
    #[serde(default)]
    pub ready_replicas: i32,

    /// Label selector of the relay's pods as text. Read by autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,

    /// Messages that wait or are being delivered, over all shards, when last looked.
    #[serde(default)]
    pub queued_messages: i64,

    /// One entry per shard.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub shards: Vec<ShardStatus>,

    /// Number of domains that the relay sends for.
    #[serde(default)]
    pub domains: i32,

    /// Number of credentials that the relay accepts.
    #[serde(default)]
    pub credentials: i32,

    /// End of validity of the certificate in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_not_after: Option<Time>,
}

/// An address of the load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RelayAddress {
    /// `IPAddress` or `Hostname`, as in Gateway API.
    pub r#type: AddressType,

    /// The address.
    pub value: String,
}

/// Kind of address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AddressType {
    /// An address of IPv4 or IPv6.
    #[default]
    #[serde(rename = "IPAddress")]
    IpAddress,
    /// A name in DNS.
    Hostname,
}

/// One shard: a pod with a queue of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardStatus {
    /// Name of the shard's Deployment.
    pub name: String,

    /// `Starting`: the pod is not ready yet. `Running`: accepts mail. `Draining`: out of the
    /// Service, hands over or delivers what it holds and goes when it is empty.
    pub phase: ShardPhase,

    /// Version of the relay program that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,

    /// Whether the shard runs the newest configuration.
    #[serde(default)]
    pub programmed: bool,

    /// Why the shard does not run the newest configuration, in its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,

    /// Messages that wait or are being delivered, when last looked.
    #[serde(default)]
    pub queued_messages: i64,

    /// When the oldest of them was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_message: Option<Time>,

    /// Since when no MX host has answered although others did: outgoing connections to their port
    /// are blocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_since: Option<Time>,

    /// Access tokens, one entry per smarthost that wants one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<SmarthostToken>,

    /// Smarthosts that refuse the login.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused_logins: Vec<RefusedLogin>,
}

/// A smarthost that refuses the login of a shard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusedLogin {
    /// Host of the smarthost, as in the spec.
    pub smarthost: String,

    /// Its last words about it.
    pub error: String,
}

/// The access token of a shard for a smarthost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SmarthostToken {
    /// Host of the smarthost, as in the spec.
    pub smarthost: String,

    /// When the token expires; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,

    /// Why none could be had when one was asked for last; absent when it could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a shard is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ShardPhase {
    /// The pod is not ready yet.
    #[default]
    Starting,
    /// Accepts mail.
    Running,
    /// Out of the Service; goes when its queue is empty.
    Draining,
}
