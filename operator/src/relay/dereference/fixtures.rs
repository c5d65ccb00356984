//! Shards for tests.

use relay_config::{QueueStatus, RelayStatus};

/// What a shard with so many messages says of itself.
pub(in crate::relay) fn report(messages: u64) -> RelayStatus {
    RelayStatus {
        version: "1".into(),
        config_hash: String::new(),
        config_error: None,
        shard: None,
        accepting: true,
        hand_over: None,
        blocked_since: None,
        tokens: Vec::new(),
        queue: QueueStatus {
            messages,
            oldest_seconds: 0,
        },
    }
}
