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
    /// Numbers of those that are about to go, ascending: each hands its mail to those that stay. A shard
    /// whose number is beyond the list is about to go, too. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<u32>,
    /// Numbers of those that do not exist, ascending. The queue of such a shard was empty when it went:
    /// what is known of mail on its way to or from it is final. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<u32>,
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
    /// Numbers of the shards that exist, ascending.
    pub fn existing(&self) -> impl Iterator<Item = u32> + '_ {
        (0..)
            .take(self.hosts.len())
            .filter(|shard| !self.gone.contains(shard))
    }

    /// Numbers of the shards that stay, ascending.
    pub fn staying(&self) -> impl Iterator<Item = u32> + '_ {
        self.existing()
            .filter(|shard| !self.leaving.contains(shard))
    }

    /// The host of a shard; `None` when there is no such shard, any more or at all.
    pub fn host(&self, shard: u32) -> Option<&str> {
        let index = usize::try_from(shard).ok()?;
        let host = self.hosts.get(index).map(String::as_str)?;
        (!self.gone.contains(&shard)).then_some(host)
    }
}
