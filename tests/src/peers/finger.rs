//! Postfix's own `posttls-finger`: what Postfix makes of a host's TLS, without sending mail.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Context as _;

use crate::clients::Place;

/// What Postfix finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How the connection is encrypted; `None` when there is no session at the wanted level.
    pub trust: Option<Trust>,
    /// Whether it found TLSA records of the usages 2 or 3 that are signed: at the level `dane` Postfix
    /// then sends only to a host that is [`Trust::Verified`].
    pub demands_dane: bool,
    /// Everything it said.
    pub said: String,
}

/// Postfix's words for the result of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// No certificate to judge.
    Anonymous,
    /// The certificate comes from nobody that is trusted.
    Untrusted,
    /// It does, and the name was not checked or does not match.
    Trusted,
    /// Chain and name, or a TLSA record, match.
    Verified,
}

/// Asks for the mail exchangers of `domain` at a TLS level of Postfix (`dane`, `secure`, `may`), with
/// the names that a certificate may have at `secure`, and the authorities to trust.
pub async fn ask(
    resolver: Ipv4Addr,
    level: &str,
    domain: &str,
    names: &[&str],
    authorities: Option<&Path>,
) -> anyhow::Result<Finding> {
    // The file that it holds has to be there until the end.
    let place = Place::validating(resolver)?;
    let mut run =
        place
            .run("/usr/sbin/posttls-finger")
            .args(["-c", "-L", "summary,verbose", "-l", level]);
    if let Some(file) = authorities {
        run = run.arg("-F").arg(file);
    }
    let finished = run
        .arg(domain)
        .args(names)
        .finish()
        .await
        .context("posttls-finger cannot be asked")?;
    let said = finished.said();
    Ok(Finding {
        trust: trust(&said),
        demands_dane: said.lines().any(|line| {
            line.contains("DNSSEC-signed TLSA record: ")
                && (line.contains(": 2 ") || line.contains(": 3 "))
        }),
        said,
    })
}

fn trust(said: &str) -> Option<Trust> {
    let line = said
        .lines()
        .find(|line| line.contains("TLS connection established to"))?;
    [
        ("Anonymous", Trust::Anonymous),
        ("Untrusted", Trust::Untrusted),
        ("Trusted", Trust::Trusted),
        ("Verified", Trust::Verified),
    ]
    .into_iter()
    .find(|(word, _)| line.contains(&format!("{word} TLS")))
    .map(|(_, trust)| trust)
}
