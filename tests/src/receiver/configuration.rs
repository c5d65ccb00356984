//! Configuration of a receiver's Postfix and OpenDKIM.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context as _;

use super::Plan;
use crate::process::Run;

const MASTER: &str = include_str!("master.cf");

/// Who owns delivered mail: nobody who has anything else on the machine.
const MAIL_OWNER: u32 = 65534;

/// Writes everything that a receiver needs into its directory.
pub(super) async fn write(directory: &Path, plan: &Plan) -> anyhow::Result<()> {
    // Postfix's and OpenDKIM's own users have to pass through.
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755))?;
    for name in ["postfix", "spool", "data", "log", "mail", "verifier"] {
        std::fs::create_dir(directory.join(name))?;
    }
    std::os::unix::fs::chown(directory.join("mail"), Some(MAIL_OWNER), Some(MAIL_OWNER))?;
    for (owner, name) in [("postfix", "data"), ("opendkim", "verifier")] {
        let path = directory.join(name);
        Run::new("chown")
            .arg(format!("{owner}:"))
            .arg(path)
            .succeed()
            .await?;
    }
    certificate(directory, &plan.host)?;
    // The address stands here and not in inet_interfaces, which takes no other loopback address.
    let listener = format!("{}:25 inet n - n - - smtpd\n", plan.address);
    std::fs::write(directory.join("postfix/master.cf"), listener + MASTER)?;
    std::fs::write(directory.join("postfix/main.cf"), main(directory, plan))?;
    std::fs::write(directory.join("postfix/recipients"), recipients(plan))?;
    std::fs::write(directory.join("opendkim.conf"), verifier(directory, plan))?;
    Ok(())
}

/// Name of a recipient's mailbox below `mail`.
pub(super) fn mailbox_name(recipient: &str) -> String {
    recipient.replace('*', "+")
}

fn main(directory: &Path, plan: &Plan) -> String {
    let root = directory.display();
    let mut domains: Vec<&str> = plan
        .recipients
        .iter()
        .filter_map(|recipient| recipient.split_once('@'))
        .map(|(_, domain)| domain)
        .collect();
    domains.sort_unstable();
    domains.dedup();
    format!(
        "compatibility_level = 3.6
config_directory = {root}/postfix
queue_directory = {root}/spool
data_directory = {root}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {root}/log/mail.log
maillog_file_prefixes = {root}
myhostname = {host}
inet_interfaces = all
inet_protocols = ipv4
mydestination =
local_transport = error:no local mail
alias_maps =
virtual_mailbox_domains = {domains}
virtual_mailbox_maps = regexp:{root}/postfix/recipients
virtual_mailbox_base = {root}/mail
virtual_uid_maps = static:{MAIL_OWNER}
virtual_gid_maps = static:{MAIL_OWNER}
smtpd_relay_restrictions = reject_unauth_destination
smtpd_milters = unix:{root}/verifier/socket
milter_default_action = tempfail
smtpd_tls_security_level = may
smtpd_tls_chain_files = {root}/postfix/chain.pem
smtpd_tls_received_header = yes
smtpd_tls_loglevel = 1
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
smtputf8_enable = yes
",
        host = plan.host,
        domains = domains.join(" "),
    )
}

/// A table of regular expressions: exact addresses, and prefixes for whole series.
fn recipients(plan: &Plan) -> String {
    let mut table = String::new();
    for recipient in &plan.recipients {
        let (local, domain) = recipient.split_once('@').unwrap_or((recipient, ""));
        let escaped = |text: &str| text.replace('.', "\\.").replace('+', "\\+");
        let local = match local.strip_suffix('*') {
            Some(prefix) => format!("{}.*", escaped(prefix)),
            None => escaped(local),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "/^{local}@{domain}$/ {}/",
            mailbox_name(recipient),
            domain = escaped(domain)
        );
    }
    table
}

fn verifier(directory: &Path, plan: &Plan) -> String {
    let root = directory.display();
    format!(
        "Mode v
Socket local:{root}/verifier/socket
UserID opendkim
UMask 000
AuthservID {host}
AlwaysAddARHeader yes
On-Default accept
Nameservers {resolver}
DNSTimeout 10
Syslog no
# Nobody is internal: an internal host's mail is not verified.
InternalHosts 192.0.2.255
",
        host = plan.host,
        resolver = plan.resolver,
    )
}

/// Key and self-signed certificate in one file: senders without a policy take any (RFC 7435).
fn certificate(directory: &Path, host: &str) -> anyhow::Result<()> {
    let made = rcgen::generate_simple_self_signed([host.to_owned()])
        .with_context(|| format!("no certificate can be made for {host}"))?;
    let path = directory.join("postfix/chain.pem");
    std::fs::write(
        &path,
        format!("{}{}", made.signing_key.serialize_pem(), made.cert.pem()),
    )?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_are_matched_exactly_or_by_their_beginning() {
        let plan = Plan {
            host: "mx.example".into(),
            address: std::net::Ipv4Addr::LOCALHOST,
            resolver: std::net::Ipv4Addr::LOCALHOST,
            recipients: vec!["a.b@in.example".into(), "load-*@in.example".into()],
        };
        assert_eq!(
            recipients(&plan),
            "/^a\\.b@in\\.example$/ a.b@in.example/\n/^load-.*@in\\.example$/ load-+@in.example/\n"
        );
        assert!(main(Path::new("/r"), &plan).contains("virtual_mailbox_domains = in.example\n"));
    }
}
