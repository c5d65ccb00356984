//! OpenSMTPD: neither PIPELINING nor CHUNKING nor SMTPUTF8, and plain replies.

use std::fmt::Write as _;
use std::path::Path;

use super::room::Room;
use super::{Offer, Plan};

/// Whether TLS works in Debian 12's OpenSMTPD, which was written for an older OpenSSL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// As it ships: `STARTTLS` is offered, and every handshake ends with the alert `internal_error`.
    AsShipped,
    /// With the correction that later versions have (`tests/peers/opensmtpd/keys.c`).
    Corrected,
}

/// As the package's own scripts do when it is installed.
const START: &str = r#"
useradd --system --home-dir /var/lib/opensmtpd/empty opensmtpd
useradd --system opensmtpq
useradd --system --home-dir /nonexistent keeper
mkdir -p /var/lib/opensmtpd/empty
cd "$1"
chmod 600 tls/*.key
chown -R keeper: mail
"#;

pub(super) fn run(room: &mut Room, fetched: &Path, plan: &Plan, keys: Keys) -> anyhow::Result<()> {
    room.write("recipients", lines(&plan.recipients))?;
    room.write("greylisted", lines(&plan.greylisted))?;
    let settings = room.write("smtpd.conf", configuration(room.path(), plan))?;
    let preload = match keys {
        Keys::AsShipped => String::new(),
        Keys::Corrected => format!("LD_PRELOAD={} ", fetched.join("keys.so").display()),
    };
    let start = format!("{START}{preload}exec smtpd -d -f {}\n", settings.display());
    room.run(&start, Some(&fetched.join("opensmtpd")), plan.resolver)
}

fn configuration(root: &Path, plan: &Plan) -> String {
    let root = root.display();
    let mut text = format!(
        "smtp max-message-size {}
table recipients file:{root}/recipients
table greylisted file:{root}/greylisted
table owner {{ \"@\" = keeper }}
filter greylist phase rcpt-to match rcpt-to <greylisted> reject \"451 4.7.1 greylisted, come back\"
action keep maildir \"{root}/mail/%{{rcpt}}\" virtual <owner>
match from any for rcpt-to <recipients> action keep
",
        plan.size_limit
    );
    for host in &plan.hosts {
        let (name, address) = (&host.name, host.address);
        let encryption = match host.offer {
            Offer::Nothing => String::new(),
            // This version has no setting for the protocol's version.
            Offer::Current | Offer::Tls12 => format!(" tls pki \"{name}\""),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "pki \"{name}\" cert \"{root}/tls/{address}.crt\"
pki \"{name}\" key \"{root}/tls/{address}.key\"
listen on {address} port 25{encryption} hostname \"{name}\" filter greylist"
        );
    }
    text
}

fn lines(recipients: &[String]) -> String {
    let lines: Vec<String> = recipients
        .iter()
        .map(|recipient| format!("{recipient}\n"))
        .collect();
    lines.concat()
}
