//! What becomes of mail that waits when a relay is to go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What becomes of waiting mail when an SmtpRelay is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::common::undescribed)]
pub enum DeletionPolicy {
    /// Delivered for a while; what is left then is retained.
    #[default]
    Drain,
    /// Kept on the claims.
    Retain,
    /// Thrown away.
    Discard,
}

/// What `replicas: 0` does while mail waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::common::undescribed)]
pub enum ScaleToZeroPolicy {
    /// Nothing until no mail waits.
    #[default]
    Refuse,
    /// Delivers first.
    Wait,
    /// Throws it away.
    Discard,
}
