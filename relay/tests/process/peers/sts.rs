//! MTA-STS (RFC 8461) towards real servers, with policies served over HTTPS, and what Postfix's
//! `posttls-finger` makes of the same hosts at the level `secure`, which is what a policy that is enforced
//! asks for: a certificate of a known authority for a name of the policy.

use std::net::Ipv4Addr;

use mailrelay_tests::peers::Offer;
use mailrelay_tests::peers::finger::{self, Trust};

use super::certificates::{Fault, Shown};
use super::draft::{Draft, Who};
use super::plain::{line, send};
use super::policies::Policy;
use super::stage::{Running, stage};
use crate::authority::Authority;

const ZONE: &str = "plain.example";
const SERVERS: [(Who, &str); 2] = [(Who::Postfix, "postfix"), (Who::Exim, "exim")];

/// What has to become of mail to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It goes, to a server whose certificate proves that it is one of the policy's.
    Verified,
    /// It goes, in the log with this source of the policy.
    Goes(&'static str),
    /// It waits: TLS is not as it has to be (RFC 3463 section 3.8).
    Waits,
}

/// What the policy host is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Web {
    Good,
    /// Its certificate is by an authority that nobody knows, or for another name.
    Unknown,
    OtherName,
    /// It says that the policy is a page.
    Page,
}

/// A kind of host; there is one of it at Postfix and one at Exim.
struct Row {
    name: &'static str,
    fault: Fault,
    /// Whether the certificate is by an authority that is known.
    known: bool,
    offer: Offer,
    mode: &'static str,
    /// Of the policy; `DOMAIN` is the domain.
    mx: &'static str,
    web: Web,
    verdict: Verdict,
}

/// All is well.
const GOOD: Row = Row {
    name: "good",
    fault: Fault::None,
    known: true,
    offer: Offer::Current,
    mode: "enforce",
    mx: "mx.DOMAIN",
    web: Web::Good,
    verdict: Verdict::Verified,
};

const ROWS: [Row; 13] = [
    GOOD,
    Row {
        name: "wildcard",
        mx: "*.DOMAIN",
        ..GOOD
    },
    Row {
        name: "renamed",
        fault: Fault::OtherName,
        verdict: Verdict::Waits,
        ..GOOD
    },
    Row {
        name: "unknown",
        known: false,
        verdict: Verdict::Waits,
        ..GOOD
    },
    Row {
        name: "expired",
        fault: Fault::Expired,
        verdict: Verdict::Waits,
        ..GOOD
    },
    Row {
        name: "stripped",
        offer: Offer::Nothing,
        verdict: Verdict::Waits,
        ..GOOD
    },
    Row {
        name: "excluded",
        mx: "elsewhere.example",
        verdict: Verdict::Waits,
        ..GOOD
    },
    Row {
        name: "too-deep",
        mx: "*.example",
        verdict: Verdict::Waits,
        ..GOOD
    },
    Row {
        name: "testing",
        mode: "testing",
        fault: Fault::OtherName,
        verdict: Verdict::Goes("mta_sts_testing"),
        ..GOOD
    },
    Row {
        name: "none",
        mode: "none",
        fault: Fault::OtherName,
        verdict: Verdict::Goes("setting"),
        ..GOOD
    },
    // A policy that cannot be had is none.
    Row {
        name: "web-unknown",
        web: Web::Unknown,
        fault: Fault::OtherName,
        verdict: Verdict::Goes("setting"),
        ..GOOD
    },
    Row {
        name: "web-renamed",
        web: Web::OtherName,
        fault: Fault::OtherName,
        verdict: Verdict::Goes("setting"),
        ..GOOD
    },
    Row {
        name: "web-page",
        web: Web::Page,
        fault: Fault::OtherName,
        verdict: Verdict::Goes("setting"),
        ..GOOD
    },
];

impl Row {
    fn domain(&self, server: &str) -> String {
        format!("{}.sts.{server}.{ZONE}", self.name)
    }

    fn policy(&self, domain: &str, authority: &Authority, nobody: &Authority) -> Policy {
        let (by, fault) = match self.web {
            Web::Unknown => (nobody, Fault::None),
            Web::OtherName => (authority, Fault::OtherName),
            Web::Good | Web::Page => (authority, Fault::None),
        };
        let shown = Shown::new(by, &format!("mta-sts.{domain}"), fault);
        let mut policy = Policy::new(shown, self.mode, &self.mx.replace("DOMAIN", domain));
        if self.web == Web::Page {
            policy.answer = policy.answer.replace("text/plain", "text/html");
        }
        policy
    }
}

/// Adds the domains of these tests, whose policies a host at `web` has.
pub(super) fn draft(draft: &mut Draft, authority: &Authority, web: Ipv4Addr) {
    let nobody = Authority::new();
    for row in &ROWS {
        for (who, server) in SERVERS {
            let domain = row.domain(server);
            let by = if row.known { authority } else { &nobody };
            let shown = Shown::new(by, &format!("mx.{domain}"), row.fault);
            draft.domain(who, &domain, &shown, row.offer, &[]);
            draft.policy(&domain, web, row.policy(&domain, authority, &nobody));
        }
    }
}

/// What a relay made of a host, if it is wrong.
fn judge(running: &Running, who: Who, domain: &str, expected: Verdict) -> Option<String> {
    let recipient = format!("ada@{domain}");
    let name = "mta-sts";
    let id = send(running, &recipient, name);
    let outcome = running.relay.wait_for("an outcome", |line| {
        line["message"] == "delivery outcome" && line["message_id"] == id
    });
    let text = |field: &str| outcome[field].as_str().unwrap_or_default().to_owned();
    let right = match expected {
        Verdict::Verified => {
            text("outcome") == "delivered"
                && text("tls_source") == "mta_sts"
                && text("tls_policy") == "verified"
        }
        Verdict::Goes(source) => text("outcome") == "delivered" && text("tls_source") == source,
        Verdict::Waits => text("outcome") == "deferred" && text("enhanced") == "4.7.5",
    };
    if right && expected != Verdict::Waits {
        stage().arrived(who, &recipient, &line(name));
    }
    (!right).then(|| format!("{domain}: not {expected:?}: {outcome}"))
}

#[test]
fn mail_goes_where_policies_let_it_and_waits_where_they_do_not() {
    let running = stage().relay_with_authority();
    let mut faults = Vec::new();
    for row in &ROWS {
        for (who, server) in SERVERS {
            faults.extend(judge(&running, who, &row.domain(server), row.verdict));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // Nothing of what waits has gone out.
    for row in ROWS.iter().filter(|row| row.verdict == Verdict::Waits) {
        for (who, server) in SERVERS {
            let mailbox = stage().mailbox(who, &format!("ada@{}", row.domain(server)));
            assert!(mailbox.is_empty(), "{}", row.name);
        }
    }
}

#[test]
fn posttls_finger_comes_to_the_same_verdict_where_policies_are_enforced() {
    let mut faults = Vec::new();
    for row in ROWS
        .iter()
        .filter(|row| row.mode == "enforce" && row.web == Web::Good)
    {
        for (_, server) in SERVERS {
            let domain = row.domain(server);
            // Postfix has a dot where policies have a star.
            let name = row.mx.replace("DOMAIN", &domain).replace("*.", ".");
            let names = [&*name];
            let ask = finger::ask(
                stage().resolver(),
                "secure",
                &domain,
                &names,
                Some(stage().authority()),
            );
            let finding = stage().block_on(ask).unwrap();
            let verified = finding.trust == Some(Trust::Verified);
            // Only that the dot is for any number of labels, and the star for one.
            let expected = row.verdict == Verdict::Verified || row.name == "too-deep";
            if verified != expected {
                faults.push(format!("{domain}: {}", finding.said));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
