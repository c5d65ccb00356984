//! What a running relay says of itself on its admin port (`GET /v1/status`).

use serde::{Deserialize, Serialize};

/// State of one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayStatus {
    /// Version of the relay program.
    pub version: String,
    /// Hash of the configuration in force ([`crate::ConfigHash`], hexadecimal).
    pub config_hash: String,
    /// Why the newest files on disk are not in force; absent when they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_error: Option<String>,
    /// Number of the shard that answers; absent when it is older than this field. An address in a cache may
    /// be that of another shard by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<u32>,
    /// Whether new messages are accepted.
    pub accepting: bool,
    /// The queue.
    pub queue: QueueStatus,
    /// What becomes of the queue; absent unless the shard is to go and others stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand_over: Option<HandOverStatus>,
    /// Since when no MX host has answered although others did, in seconds since the Unix epoch:
    /// outgoing connections to their port are blocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_since: Option<u64>,
    /// Access tokens, one entry per smarthost that wants one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<SmarthostTokenStatus>,
    /// Smarthosts that refuse the login, as last seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused_logins: Vec<SmarthostLoginStatus>,
}

/// A login that a smarthost refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SmarthostLoginStatus {
    /// Host of the smarthost, as configured.
    pub smarthost: String,
    /// In its words, shortened to 300 characters.
    pub error: String,
}

/// State of the access token for a smarthost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SmarthostTokenStatus {
    /// Host of the smarthost, as configured.
    pub smarthost: String,
    /// When the token expires, in seconds since the Unix epoch; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// Why none could be had when one was asked for last; absent when it could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a shard that is to go hands its mail to others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandOverStatus {
    /// Why not everything is taken; mail is delivered by the shard itself meanwhile. Absent when all
    /// that waited was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// State of a shard's queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueStatus {
    /// Messages that wait or are being delivered.
    pub messages: u64,
    /// Age of the oldest in seconds; 0 when empty.
    pub oldest_seconds: u64,
    /// Whether new messages are answered 452, since the volume is full or too many wait.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub full: bool,
}
