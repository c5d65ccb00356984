//! A name server for one zone on a loopback port, for tests of what the operator reads in DNS.

use std::net::SocketAddr;
use std::path::Path;

use tokio::process::Child;

use super::{ControlPlane, START_LIMIT};
use crate::wait;
use crate::zone::Record;

/// A running name server; ends with this.
pub struct Names {
    /// Where it answers, over UDP and TCP.
    pub address: SocketAddr,
    _server: Child,
}

impl Names {
    /// Serves `records` of `zone`, to the end.
    pub async fn start(
        plane: &ControlPlane,
        zone: &str,
        records: &[Record],
    ) -> anyhow::Result<Self> {
        let [address] = super::ports::<1>()?;
        let directory = plane.directory().join(format!("names-{zone}"));
        std::fs::create_dir(&directory)?;
        std::fs::write(directory.join("zone"), text(zone, records)?)?;
        let corefile = format!(
            "{zone}:{} {{\n bind 127.0.0.1\n file zone\n}}\n",
            address.port()
        );
        std::fs::write(directory.join("Corefile"), corefile)?;
        let server = spawn(plane, &directory)?;
        wait::for_port(address, START_LIMIT).await?;
        Ok(Self {
            address,
            _server: server,
        })
    }
}

fn spawn(plane: &ControlPlane, directory: &Path) -> anyhow::Result<Child> {
    super::spawn(&plane.programs, directory, "coredns", &[])
}

fn text(zone: &str, records: &[Record]) -> anyhow::Result<String> {
    let mut text = format!(
        "$TTL 60\n{zone}. SOA ns.{zone}. nobody.{zone}. 1 60 60 600 60\n{zone}. NS ns.{zone}.\n\
         ns.{zone}. A 127.0.0.1\n"
    );
    for record in records {
        text = text + &record.line()? + "\n";
    }
    Ok(text)
}
