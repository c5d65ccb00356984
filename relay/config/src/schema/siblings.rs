//! The other shards of a relay, and how they are reached.

use serde::{Deserialize, Serialize};

/// Environment variable with the number of the shard, from 0.
pub const SHARD_VARIABLE: &str = "RELAY_SHARD";

/// All shards of a relay. They reach each other's admin port over mutual TLS: each shows
/// `admin.certificate`, which carries `serverName`, and checks the other's against
/// `admin.clientAuthority`. Which of them a process is stands in the environment, in
/// [`SHARD_VARIABLE`], since the configuration is the same for all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Siblings {
    /// Host name or address of every shard, in the order of their numbers, this one included. Names
    /// are completed with the search list of the system.
    pub hosts: Vec<String>,
    /// How many of them stay: shard `n` is about to go when `n` is this number or more, and hands its
    /// mail to those that stay. 0 when all go. Default: all stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staying: Option<u32>,
    /// Admin port of every shard. Default 8443.
    #[serde(default = "admin_port")]
    pub port: u16,
    /// Name in the certificate of every shard. A client of the admin port whose certificate carries
    /// it is a sibling, any other is the operator.
    pub server_name: String,
}

fn admin_port() -> u16 {
    8443
}

impl Siblings {
    /// Number of shards that stay.
    pub fn count(&self) -> u32 {
        let all = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX);
        self.staying.unwrap_or(all)
    }

    /// The host of a shard.
    pub fn host(&self, shard: u32) -> Option<&str> {
        let index = usize::try_from(shard).ok()?;
        self.hosts.get(index).map(String::as_str)
    }
}
