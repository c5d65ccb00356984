//! The other shards.

use std::collections::HashSet;
use std::net::IpAddr;

use super::{host_name, invalid};
use crate::{Config, ConfigError};

/// Shards of one relay at most.
const MOST_SHARDS: usize = 1024;

impl Config {
    pub(super) fn validate_siblings(&self) -> Result<(), ConfigError> {
        let Some(siblings) = &self.siblings else {
            return Ok(());
        };
        if self.admin.is_none() {
            return invalid(
                "siblings",
                "needs admin; shards reach each other on that port".into(),
            );
        }
        let number = siblings.hosts.len();
        if !(1..=MOST_SHARDS).contains(&number) {
            return invalid(
                "siblings.hosts",
                format!("names {number} shards; give 1 to {MOST_SHARDS}, this one included"),
            );
        }
        let mut seen = HashSet::new();
        for (index, host) in siblings.hosts.iter().enumerate() {
            let field = format!("siblings.hosts[{index}]");
            if host.parse::<IpAddr>().is_err() {
                host_name(&field, host)?;
            }
            if !seen.insert(host) {
                let message = format!("{host:?} stands twice; every shard has its own");
                return invalid(field, message);
            }
        }
        if siblings.port == 0 {
            return invalid(
                "siblings.port",
                "is 0; give the port of admin.address".into(),
            );
        }
        let mut named = HashSet::new();
        let lists = [
            ("siblings.leaving", &siblings.leaving),
            ("siblings.gone", &siblings.gone),
        ];
        for (field, list) in lists {
            for shard in list {
                if usize::try_from(*shard).is_ok_and(|shard| shard >= number) {
                    let message =
                        format!("{shard} is none of the {number} shards of siblings.hosts");
                    return invalid(field, message);
                }
                if !named.insert(shard) {
                    let message =
                        format!("{shard} stands twice in siblings.leaving and siblings.gone");
                    return invalid(field, message);
                }
            }
        }
        host_name("siblings.serverName", &siblings.server_name)
    }
}
