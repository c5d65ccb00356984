//! DNS with DNSSEC: Knot serves the zones, the root among them, as BIND's `dnssec-signzone` signed
//! them; Unbound asks it, validates from the root's key, and is the only name server of everybody
//! else.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use super::room::Room;
use crate::wait;
use crate::zone::Record;

const START_LIMIT: Duration = Duration::from_mins(1);
/// Name of the one name server of all zones; it lies in the root zone.
const SERVER: &str = "ns.names.example";

/// A zone below the root.
#[derive(Clone, Debug)]
pub struct Zone {
    /// Without a trailing dot.
    pub name: String,
    /// How much of DNSSEC is right.
    pub signing: Signing,
    /// Records besides SOA and NS.
    pub records: Vec<Record>,
}

/// How much of a zone's DNSSEC is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// Not signed, and the root proves that.
    Unsigned,
    /// All of it.
    Signed,
    /// All but the TLSA records, which were changed after they were signed.
    ForgedTlsa,
    /// What is there can be verified; no proof of what is not there (NSEC) was kept.
    WithoutDenial,
    /// Signatures ran out yesterday.
    Expired,
    /// All of it, and names that are not there are denied by their hashes (NSEC3, RFC 5155).
    HashedDenial,
}

/// The running servers.
#[derive(Debug)]
pub struct Names {
    room: Room,
    resolver: Ipv4Addr,
}

impl Names {
    /// Signs and serves `zones`: authoritatively at `authority`, validated at `resolver`, both at
    /// port 53.
    pub async fn start(
        fetched: &Path,
        authority: Ipv4Addr,
        resolver: Ipv4Addr,
        zones: &[Zone],
    ) -> anyhow::Result<Self> {
        let mut room = Room::new("names")?;
        room.folder("zones")?;
        room.folder("knot")?;
        let mut root = format!("{}{SERVER}. A {authority}\n", head(""));
        for zone in zones {
            // Writing to a String cannot fail.
            let _ = writeln!(root, "{}. NS {SERVER}.", zone.name);
            let mut text = head(&zone.name);
            for record in &zone.records {
                text = text + &record.line()? + "\n";
            }
            room.write(&format!("zones/{}.zone", zone.name), text)?;
        }
        room.write("zones/root.zone", root)?;
        room.write(
            "hints",
            format!(". NS {SERVER}.\n{SERVER}. A {authority}\n"),
        )?;
        room.write("knot.conf", knot(room.path(), authority, zones))?;
        room.write("unbound.conf", unbound(room.path(), resolver))?;
        room.run(&start(zones), Some(&fetched.join("names")), resolver)?;
        let names = Self { room, resolver };
        for address in [authority, resolver] {
            wait::for_port(SocketAddr::from((address, 53)), START_LIMIT)
                .await
                .with_context(|| format!("DNS does not start:\n{}", names.log()))?;
        }
        Ok(names)
    }

    /// Where everybody asks.
    pub fn resolver(&self) -> Ipv4Addr {
        self.resolver
    }

    /// File with the root's key, as a DNSKEY record.
    pub fn trust_anchor(&self) -> PathBuf {
        self.room.path().join("anchor")
    }

    /// The last lines of the servers' logs, for errors.
    pub fn log(&self) -> String {
        self.room.log()
    }
}

/// SOA and NS. Lives are longer than a run of the tests.
fn head(name: &str) -> String {
    format!(
        "$TTL 3600\n{name}. SOA {SERVER}. nobody.example. 1 3600 3600 86400 60\n{name}. NS {SERVER}.\n"
    )
}

/// Signs, takes away what must be missing, and starts both servers.
fn start(zones: &[Zone]) -> String {
    let mut script = String::from("cd \"$1/zones\"\n");
    for Zone { name, signing, .. } in zones {
        let (options, change) = match signing {
            Signing::Unsigned => continue,
            Signing::Signed => ("", ""),
            Signing::ForgedTlsa => (
                "",
                r"/IN TLSA/s/\(TLSA[[:space:]]*[0-9] [0-9] [0-9] \)......../\100000000/",
            ),
            Signing::WithoutDenial => ("", "/NSEC/d"),
            Signing::Expired => ("-s now-259200 -e now-86400 ", ""),
            // RFC 9276: no salt, no further iterations.
            Signing::HashedDenial => ("-3 - -H 0 ", ""),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            script,
            "dnssec-keygen -q -a ECDSAP256SHA256 -f KSK {name} >/dev/null\n\
             dnssec-signzone -q -S -z -O full -P {options}-o {name} -f {name}.signed {name}.zone >/dev/null\n\
             sed -i '{change}' {name}.signed\n\
             cat dsset-{name}. >>root.zone"
        );
    }
    script.push_str(
        "dnssec-keygen -q -a ECDSAP256SHA256 -f KSK . >/dev/null\n\
         dnssec-signzone -q -S -z -O full -o . -f root.signed root.zone >/dev/null\n\
         sed '/^;/d' K.+*.key >../anchor.new\n\
         mv ../anchor.new ../anchor\n\
         knotd -c ../knot.conf &\n\
         exec unbound -d -c ../unbound.conf\n",
    );
    script
}

fn knot(root: &Path, address: Ipv4Addr, zones: &[Zone]) -> String {
    let root = root.display();
    let mut text = format!(
        "server:
  listen: {address}@53
  rundir: {root}/knot
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
database:
  storage: {root}/knot
log:
  - target: stderr
    any: warning
template:
  - id: default
    storage: {root}/zones
    zonefile-sync: -1
    journal-content: none
    semantic-checks: off
zone:
  - domain: .
    file: root.signed
"
    );
    for Zone { name, signing, .. } in zones {
        let kind = match signing {
            Signing::Unsigned => "zone",
            _ => "signed",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  - domain: {name}\n    file: {name}.{kind}");
    }
    text
}

fn unbound(root: &Path, address: Ipv4Addr) -> String {
    let root = root.display();
    format!(
        "server:
  directory: {root}
  chroot: \"\"
  username: \"\"
  pidfile: \"\"
  use-syslog: no
  logfile: \"\"
  val-log-level: 2
  num-threads: 1
  interface: {address}
  access-control: 127.0.0.0/8 allow
  do-not-query-localhost: no
  do-ip6: no
  root-hints: {root}/hints
  trust-anchor-file: {root}/anchor
  module-config: \"validator iterator\"
remote-control:
  control-enable: no
"
    )
}
