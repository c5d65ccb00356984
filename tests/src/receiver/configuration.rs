//! Configuration of a receiver's Postfix and OpenDKIM.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::Plan;
use crate::peers::{Host, Offer};
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
    greylist(directory, plan)?;
    for host in &plan.more.hosts {
        secret(
            &chain(directory, host),
            &format!("{}{}", host.key, host.chain),
        )?;
    }
    std::fs::write(
        directory.join("postfix/master.cf"),
        listeners(directory, plan) + MASTER,
    )?;
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
{more}",
        host = plan.host,
        domains = domains.join(" "),
        more = more(plan),
    )
}

/// Settings that only some tests ask for.
fn more(plan: &Plan) -> String {
    let mut text = String::new();
    if let Some(limit) = plan.more.size_limit {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "message_size_limit = {limit}");
    }
    let greylisted: Vec<String> = plan
        .more
        .greylisted
        .iter()
        .map(|recipient| format!("{recipient}=greylist"))
        .collect();
    if !greylisted.is_empty() {
        let _ = writeln!(
            text,
            "smtpd_restriction_classes = greylist\n\
             greylist = check_policy_service unix:private/greylist\n\
             smtpd_recipient_restrictions = check_recipient_access inline:{{{}}}",
            greylisted.join(", ")
        );
    }
    text
}

/// The services that take connections. The address stands here and not in `inet_interfaces`, which
/// takes no other loopback address.
fn listeners(directory: &Path, plan: &Plan) -> String {
    let root = directory.display();
    let mut text = format!(
        "{}:25 inet n - n - - smtpd\n\
         greylist unix - n n - - spawn user=nobody argv=/bin/sh {root}/postfix/greylist {root}/greylist\n",
        plan.address
    );
    for host in &plan.more.hosts {
        let offer = match host.offer {
            Offer::Current => String::new(),
            Offer::Tls12 => " -o smtpd_tls_protocols=TLSv1.2".into(),
            Offer::Nothing => " -o smtpd_tls_security_level=none".into(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}:25 inet n - n - - smtpd -o myhostname={} -o smtpd_tls_chain_files={}{offer}",
            host.address,
            host.name,
            chain(directory, host).display(),
        );
    }
    text
}

/// Key and certificates of a host in one file.
fn chain(directory: &Path, host: &Host) -> PathBuf {
    directory.join("postfix").join(format!("{}.pem", host.name))
}

/// Refuses the first try for a recipient, in Postfix's policy protocol: attributes up to an empty
/// line, an action and an empty line in return.
const GREYLIST: &str = r#"
while read -r line; do
    case $line in
    recipient=*) recipient=${line#recipient=} ;;
    '')
        if mkdir "$1/$recipient" 2>/dev/null; then
            printf 'action=450 4.2.0 greylisted, come back\n\n'
        else
            printf 'action=dunno\n\n'
        fi
        ;;
    esac
done
"#;

fn greylist(directory: &Path, plan: &Plan) -> anyhow::Result<()> {
    if plan.more.greylisted.is_empty() {
        return Ok(());
    }
    std::fs::write(directory.join("postfix/greylist"), GREYLIST)?;
    let seen = directory.join("greylist");
    std::fs::create_dir(&seen)?;
    std::os::unix::fs::chown(&seen, Some(MAIL_OWNER), Some(MAIL_OWNER))?;
    Ok(())
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
    let text = format!("{}{}", made.signing_key.serialize_pem(), made.cert.pem());
    secret(&path, &text)
}

/// Writes a file that only root reads.
fn secret(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
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
            more: super::super::More::default(),
        };
        assert_eq!(
            recipients(&plan),
            "/^a\\.b@in\\.example$/ a.b@in.example/\n/^load-.*@in\\.example$/ load-+@in.example/\n"
        );
        assert!(main(Path::new("/r"), &plan).contains("virtual_mailbox_domains = in.example\n"));
    }
}
