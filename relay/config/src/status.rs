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
    /// Whether new messages are accepted.
    pub accepting: bool,
    /// The queue.
    pub queue: QueueStatus,
}

/// State of a shard's queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueStatus {
    /// Messages that wait or are being delivered.
    pub messages: u64,
    /// Age of the oldest in seconds; 0 when empty.
    pub oldest_seconds: u64,
}
