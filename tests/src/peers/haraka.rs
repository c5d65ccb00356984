//! Haraka: an MTA in JavaScript with its own TLS and parser, SMTPUTF8 and PIPELINING, no CHUNKING.

use std::path::Path;

use serde_json::json;

use super::Plan;
use super::room::Room;
use crate::process::checkout;

pub(super) fn run(room: &mut Room, fetched: &Path, plan: &Plan) -> anyhow::Result<()> {
    room.folder("config")?;
    room.folder("plugins")?;
    let addresses: Vec<String> = plan
        .hosts
        .iter()
        .map(|host| format!("{}:25", host.address))
        .collect();
    let smtp = format!(
        "listen={}\nnodes=0\ndaemonize=false\nsmtputf8=true\n",
        addresses.join(",")
    );
    room.write("config/smtp.ini", smtp)?;
    room.write("config/databytes", plan.size_limit.to_string())?;
    // RFC 5321 section 4.5.3.1.6; left alone, Haraka breaks lines of more than 990 octets in two.
    room.write("config/max_data_line_length", "1000")?;
    room.write("config/plugins", "tls\nmailbox\n")?;
    room.write("config/log.ini", "level=info\n")?;
    if let Some(host) = plan.hosts.first() {
        room.write("config/me", &host.name)?;
        room.write("config/tls_cert.pem", &host.chain)?;
        room.write("config/tls_key.pem", &host.key)?;
    }
    let source = checkout().join("tests/peers/haraka");
    // Or it looks for a prime of its own, which takes as long as it takes.
    for (from, to) in [
        ("dhparams.pem", "config/dhparams.pem"),
        ("mailbox.js", "plugins/mailbox.js"),
    ] {
        room.write(to, std::fs::read(source.join(from))?)?;
    }
    let mailboxes = json!({
        "directory": room.path().join("mail"),
        "recipients": plan.recipients,
        "greylisted": plan.greylisted,
    });
    room.write("config/mailbox.json", mailboxes.to_string())?;
    let program = fetched.join("haraka/node_modules/Haraka/bin/haraka");
    let start = format!("exec node {} -c \"$1\"\n", program.display());
    room.run(&start, None, plan.resolver)
}
