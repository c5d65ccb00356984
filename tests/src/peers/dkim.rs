//! OpenDKIM's verdict on a message that lies in a mailbox.

use std::io::Write as _;
use std::net::Ipv4Addr;

use anyhow::Context as _;
use tempfile::NamedTempFile;

use crate::process::Run;
use crate::receiver::{Verdict, mailbox};

/// What OpenDKIM says of each signature of a message whose lines end in LF, with `resolver` as its
/// name server.
pub async fn verify(resolver: Ipv4Addr, message: &[u8]) -> anyhow::Result<Vec<Verdict>> {
    const BEFORE: &str = "hname='Authentication-Results' hvalue='";
    let mut settings = NamedTempFile::new()?;
    writeln!(
        settings,
        "Nameservers {resolver}\nSyslog no\nDNSTimeout 10\nAlwaysAddARHeader yes"
    )?;
    let text = String::from_utf8_lossy(message).replace('\n', "\r\n");
    let said = Run::new("/usr/sbin/opendkim")
        .args(["-vv", "-t", "-", "-x"])
        .arg(settings.path())
        .input(text)
        .succeed()
        .await?;
    let (_, header) = said
        .split_once(BEFORE)
        .with_context(|| format!("OpenDKIM says nothing of signatures: {said}"))?;
    let (header, _) = header.split_once('\'').unwrap_or((header, ""));
    Ok(mailbox::verdicts(header))
}
