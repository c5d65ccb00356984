//! What comes back of a domain's mail: bounces and complaints.

use serde::{Deserialize, Serialize};

use crate::Duration;

/// How long a recipient is suppressed: mail of the domain to it is refused at `RCPT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Suppression {
    /// After a server said that it has no such mailbox. Default 720h (30 days); 0s is not at all.
    pub hard_bounces: Duration,
    /// After the recipient called a message spam. Default 8760h (a year); 0s is not at all.
    pub complaints: Duration,
}

impl Default for Suppression {
    fn default() -> Self {
        Self {
            hard_bounces: Duration::from_secs(30 * 24 * 3600),
            complaints: Duration::from_secs(365 * 24 * 3600),
        }
    }
}

impl Suppression {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
