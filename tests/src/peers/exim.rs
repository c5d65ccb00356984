//! Exim (Debian's `exim4-daemon-light`): CHUNKING, PRDR, SMTPUTF8, and a verdict of its own on every
//! DKIM signature in `Authentication-Results`.

use std::path::Path;

use super::room::Room;
use super::{Offer, Plan};

const CONFIGURATION: &str = include_str!("exim.conf");

/// As the package's own scripts do when it is installed.
const START: &str = r#"
useradd --system Debian-exim
cd "$1"
chown -R Debian-exim: log spool seen tls
chown -R mail: mail
exec exim4 -bdf -q10m -C "$1/exim.conf"
"#;

pub(super) fn run(room: &mut Room, fetched: &Path, plan: &Plan) -> anyhow::Result<()> {
    for folder in ["spool", "seen"] {
        room.folder(folder)?;
    }
    let addresses: Vec<String> = plan
        .hosts
        .iter()
        .map(|host| host.address.to_string())
        .collect();
    let offering = |offer: Offer| {
        let addresses: Vec<String> = plan
            .hosts
            .iter()
            .filter(|host| host.offer == offer)
            .map(|host| format!("{}:\n", host.address))
            .collect();
        addresses.concat()
    };
    let names: Vec<String> = plan
        .hosts
        .iter()
        .map(|host| format!("{}: {}\n", host.address, host.name))
        .collect();
    room.write("hosts", names.concat())?;
    room.write("tls12", offering(Offer::Tls12))?;
    room.write("clear", offering(Offer::Nothing))?;
    let table = |recipients: &[String]| {
        let lines: Vec<String> = recipients
            .iter()
            .map(|recipient| format!("\"{recipient}\": {recipient}\n"))
            .collect();
        lines.concat()
    };
    room.write("recipients", table(&plan.recipients))?;
    room.write("greylisted", table(&plan.greylisted))?;
    let name = plan.hosts.first().map_or("", |host| &host.name);
    let settings = format!(
        "DIRECTORY = {}\nprimary_hostname = {name}\nlocal_interfaces = {}\nmessage_size_limit = {}\n",
        room.path().display(),
        addresses.join(" : "),
        plan.size_limit,
    );
    room.write("exim.conf", settings + CONFIGURATION)?;
    // Privileges are kept only with a configuration that is named here.
    let start = format!(
        "echo {}/exim.conf >/etc/exim4/trusted_configs\n{START}",
        room.path().display()
    );
    room.run(&start, Some(&fetched.join("exim")), plan.resolver)
}
