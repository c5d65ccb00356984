//! The conditions as a table.

use std::sync::Arc;

use operator_api::{RefusedLogin, SendingDomain};
use relay_config::RelayStatus;
use serde_json::json;

use super::*;
use crate::certificates::SecretData;
pub(in crate::relay::status) use crate::relay::dereference::fixtures::found;
use crate::relay::dereference::fixtures::report;

pub(in crate::relay::status) const NOW: Timestamp = Timestamp::constant(1000, 0);

pub(in crate::relay::status) fn shard(
    phase: ShardPhase,
    programmed: bool,
    version: bool,
    message: Option<&str>,
) -> ShardStatus {
    ShardStatus {
        name: "outbox-0".to_owned(),
        phase,
        programmed,
        version: version.then(|| "1.0".to_owned()),
        message: message.map(str::to_owned),
        ..ShardStatus::default()
    }
}

/// What a row differs in.
struct Row {
    spec: serde_json::Value,
    with_volumes: bool,
    shard: ShardStatus,
    refused: Option<Violation>,
    tls: Tls,
    refused_claims: Vec<String>,
    refused_shards: Vec<String>,
    report: Option<Result<RelayStatus, String>>,
    was_ready: bool,
}

impl Row {
    fn healthy() -> Self {
        Self {
            spec: json!({}),
            with_volumes: true,
            shard: shard(ShardPhase::Running, true, true, None),
            refused: None,
            tls: Tls::Issued { not_after: None },
            refused_claims: Vec::new(),
            refused_shards: Vec::new(),
            report: None,
            was_ready: false,
        }
    }

    /// The reasons of all conditions; `!` before those that do not hold.
    fn reasons(self) -> String {
        let mut found = found(self.spec, self.with_volumes);
        for shard in &mut found.shards {
            shard.report.clone_from(&self.report);
        }
        let shards: Vec<ShardStatus> = found.shards.iter().map(|_| self.shard.clone()).collect();
        let verdicts = all(&Seen {
            found: &found,
            refused: self.refused.as_ref().or(self.tls.violation()),
            tls: &self.tls,
            shards: &shards,
            draining: &[],
            refused_claims: &self.refused_claims,
            refused_shards: &self.refused_shards,
            refused_service: None,
            was_ready: self.was_ready,
            now: NOW,
        });
        for verdict in &verdicts {
            assert!(!verdict.message.is_empty(), "{}", verdict.kind);
        }
        let words: Vec<String> = verdicts
            .iter()
            // On their own below: nothing depends on them.
            .filter(|verdict| {
                ![types::ISSUERS_READY, types::EGRESS_HEALTHY].contains(&verdict.kind)
                    && (verdict.kind != types::QUEUE_HEALTHY
                        || verdict.reason == reason::CLAIM_REFUSED)
            })
            .map(|verdict| {
                format!(
                    "{}{}",
                    if verdict.holds() { "" } else { "!" },
                    verdict.reason
                )
            })
            .collect();
        words.join(" ")
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn conditions_tell_the_first_thing_that_is_wrong() {
    let healthy = Row::healthy;
    let starting = |version| shard(ShardPhase::Starting, false, version, None);
    let rows = [
        (
            healthy(),
            "Accepted CertificateValid PersistentStorage Programmed Ready",
        ),
        (
            Row {
                shard: starting(false),
                with_volumes: false,
                ..healthy()
            },
            "Accepted CertificateValid !ClaimPending !Pending !Progressing",
        ),
        (
            Row {
                shard: shard(ShardPhase::Starting, true, true, None),
                ..healthy()
            },
            "Accepted CertificateValid PersistentStorage Programmed !Progressing",
        ),
        (
            Row {
                shard: shard(ShardPhase::Running, false, true, None),
                ..healthy()
            },
            "Accepted CertificateValid PersistentStorage !Pending !Progressing",
        ),
        (
            Row {
                shard: shard(ShardPhase::Running, false, true, None),
                was_ready: true,
                ..healthy()
            },
            "Accepted CertificateValid PersistentStorage !Pending Ready",
        ),
        (
            Row {
                shard: shard(ShardPhase::Running, false, true, None),
                report: Some(Ok(RelayStatus {
                    config_error: Some("hostname: \"x y\"".to_owned()),
                    ..report(0)
                })),
                was_ready: true,
                ..healthy()
            },
            "Accepted CertificateValid PersistentStorage !ConfigurationRefused !ConfigurationRefused",
        ),
        (
            Row {
                // The version is what was last seen of it.
                shard: shard(ShardPhase::Running, false, true, Some("refused")),
                report: Some(Err("refused".to_owned())),
                ..healthy()
            },
            "Accepted CertificateValid PersistentStorage !ShardUnreachable !ShardUnreachable",
        ),
        (
            Row {
                spec: json!({"replicas": 0}),
                ..healthy()
            },
            "Accepted CertificateValid PersistentStorage Programmed !ScaledToZero",
        ),
        (
            Row {
                spec: json!({"queue": {"storage": "Ephemeral"}}),
                with_volumes: false,
                ..healthy()
            },
            "Accepted CertificateValid !EphemeralStorage Programmed Ready",
        ),
        (
            Row {
                refused_claims: vec!["outbox-queue-0: no".to_owned()],
                ..healthy()
            },
            "Accepted CertificateValid PersistentStorage !ClaimRefused Programmed Ready",
        ),
        (
            Row {
                refused_shards: vec!["Invalid value: \"maybe\"".to_owned()],
                was_ready: true,
                ..healthy()
            },
            "Accepted CertificateValid PersistentStorage !ShardRefused !ShardRefused",
        ),
        (
            Row {
                refused: Some(Violation::new(reason::SECRET_NOT_FOUND, "x")),
                ..healthy()
            },
            "!SecretNotFound CertificateValid PersistentStorage !NotAccepted !SecretNotFound",
        ),
        (
            Row {
                tls: Tls::Provided {
                    secret: "bought".to_owned(),
                    usable: Err(Violation::new(reason::CERTIFICATE_EXPIRED, "x")),
                    notice: None,
                },
                ..healthy()
            },
            "Accepted !CertificateExpired PersistentStorage !NotAccepted !CertificateExpired",
        ),
        (
            Row {
                tls: Tls::Unused,
                ..healthy()
            },
            "Accepted TlsNotUsed PersistentStorage Programmed Ready",
        ),
    ];
    for (row, expected) in rows {
        assert_eq!(row.reasons(), expected);
    }
}

fn verdict_of(found: &Found, kind: &str) -> (bool, &'static str, String) {
    let verdicts = all(&Seen {
        found,
        refused: None,
        tls: &Tls::Unused,
        shards: &[],
        draining: &[],
        refused_claims: &[],
        refused_shards: &[],
        refused_service: None,
        was_ready: true,
        now: NOW,
    });
    let mut named = verdicts.into_iter().filter(|verdict| verdict.kind == kind);
    let verdict = named.next().unwrap();
    (verdict.holds(), verdict.reason, verdict.message)
}

#[test]
fn a_relay_without_replicas_says_whether_mail_waits_or_shards_go_or_are_gone() {
    let ready = |refused: Option<&str>, draining: &[(i32, String)]| {
        let mut found = found(json!({"replicas": 0}), true);
        found.scale.refused = refused.map(str::to_owned);
        let verdicts = all(&Seen {
            found: &found,
            refused: None,
            tls: &Tls::Unused,
            shards: &[],
            draining,
            refused_claims: &[],
            refused_shards: &[],
            refused_service: None,
            was_ready: true,
            now: NOW,
        });
        let verdict = verdicts.into_iter().find(|one| one.kind == types::READY);
        let verdict = verdict.unwrap();
        (verdict.holds(), verdict.reason, verdict.message)
    };
    let draining = [(1, "3 messages wait for delivery".to_owned())];
    assert_eq!(
        ready(Some("7 messages wait"), &[]),
        (false, reason::MAIL_WAITS, "7 messages wait".to_owned())
    );
    let (_, leaving, message) = ready(None, &draining);
    assert_eq!(leaving, reason::DRAINING);
    assert!(
        message.ends_with("shard 1 drains: 3 messages wait for delivery"),
        "{message}"
    );
    assert_eq!(ready(None, &[]).1, reason::SCALED_TO_ZERO);
}

#[test]
fn a_listener_without_authentication_is_told_for_as_long_as_it_stands() {
    let listener = |name: &str, authentication: &str| json!({"name": name, "port": 2525, "tls": "None", "authentication": authentication});
    let clients = json!({"cidrs": ["192.0.2.0/24"]});
    for (spec, reason) in [
        (json!({}), reason::ACCEPTED),
        (json!({"clients": clients}), reason::ACCEPTED),
        (
            json!({"listeners": [listener("scanners", "Optional")]}),
            reason::ACCEPTED,
        ),
        (
            json!({"listeners": [listener("scanners", "None")], "clients": clients}),
            reason::OPEN_ACCESS,
        ),
        (
            json!({"listeners": [listener("scanners", "Optional")], "clients": clients}),
            reason::OPEN_ACCESS,
        ),
    ] {
        let (holds, found, message) = verdict_of(&found(spec.clone(), true), types::ACCEPTED);
        assert!(holds);
        assert_eq!(found, reason, "{spec}");
        if found == reason::OPEN_ACCESS {
            assert!(
                message.contains("192.0.2.0/24 can send by scanners"),
                "{message}"
            );
        }
    }
}

#[test]
fn an_override_whose_time_is_over_is_told_until_it_is_gone() {
    let spec = |expires: &str| json!({"delivery": {"tlsOverrides": [{"domain": "a.example", "policy": "None", "expires": expires}]}});
    let (holds, reason, message) =
        verdict_of(&found(spec("1970-01-01T00:16:40Z"), true), types::ACCEPTED);
    assert_eq!((holds, reason), (true, reason::OVERRIDE_EXPIRED));
    let part = "spec.delivery.tlsOverrides[0] for a.example";
    assert!(message.contains(part), "{message}");
    let (holds, reason, _) =
        verdict_of(&found(spec("1970-01-01T00:16:41Z"), true), types::ACCEPTED);
    assert_eq!((holds, reason), (true, reason::ACCEPTED));
}

#[test]
fn reports_that_no_domain_can_sign_are_told() {
    let spec = json!({"delivery": {"reports": {"tls": {"from": "tls@a.example"}}}});
    let mut relay = found(spec, true);
    let (holds, reason, message) = verdict_of(&relay, types::ACCEPTED);
    assert_eq!((holds, reason), (true, reason::REPORTS_UNSIGNED));
    assert!(message.contains("from is tls@a.example"), "{message}");
    let domain = |name: &str| -> Arc<SendingDomain> {
        let domain = json!({
            "apiVersion": "mailrelay.dev/v1alpha1",
            "kind": "SendingDomain",
            "metadata": {"name": "a", "namespace": "post"},
            "spec": {"domain": name, "relayRef": {"name": "outbox"}},
        });
        Arc::new(serde_json::from_value(domain).unwrap())
    };
    let rows = [
        (
            "b.example",
            Some(SecretData::new()),
            reason::REPORTS_UNSIGNED,
        ),
        ("a.example", None, reason::REPORTS_UNSIGNED),
        ("a.example", Some(SecretData::new()), reason::ACCEPTED),
    ];
    for (name, keys, expected) in rows {
        relay.domains = vec![(domain(name), keys)];
        let (_, reason, _) = verdict_of(&relay, types::ACCEPTED);
        assert_eq!(reason, expected, "{name}");
    }
}

#[test]
fn issuers_whose_keys_cannot_be_had_are_named_and_harm_nothing_else() {
    let mut relay = found(json!({}), true);
    let kind = types::ISSUERS_READY;
    assert_eq!(verdict_of(&relay, kind).1, reason::TOKENS_NOT_USED);
    relay
        .issuers
        .faults
        .push("kubernetes: 403 Forbidden".to_owned());
    let (holds, reason, message) = verdict_of(&relay, kind);
    assert_eq!((holds, reason), (false, reason::ISSUER_UNAVAILABLE));
    assert!(message.contains("kubernetes: 403 Forbidden"), "{message}");
    assert!(verdict_of(&relay, types::READY).0);
}

#[test]
fn what_is_in_the_way_of_outgoing_mail_is_told_with_the_remedy_and_takes_nothing_from_ready() {
    let time = || {
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            jiff::Timestamp::UNIX_EPOCH,
        ))
    };
    let token = |error: Option<&str>| operator_api::SmarthostToken {
        smarthost: "smtp.test".into(),
        expires_at: None,
        error: error.map(str::to_owned),
    };
    let healthy = || shard(ShardPhase::Running, true, true, None);
    let rows = [
        (healthy(), "Healthy", "nothing is known"),
        (
            ShardStatus {
                tokens: vec![token(None)],
                ..healthy()
            },
            "Healthy",
            "nothing is known",
        ),
        (
            ShardStatus {
                tokens: vec![token(None), token(Some("invalid_grant"))],
                ..healthy()
            },
            "TokenUnavailable",
            "outbox-0 has no access token for smarthost smtp.test, and its mail is kept: invalid_grant",
        ),
        (
            ShardStatus {
                refused_logins: vec![RefusedLogin {
                    smarthost: "smtp.test".into(),
                    error: "535 5.7.8 no".into(),
                }],
                tokens: vec![token(Some("invalid_grant"))],
                ..healthy()
            },
            "LoginRefused",
            "smarthost smtp.test does not take the login of outbox-0, and mail for it is kept: 535 5.7.8 no;",
        ),
        (
            ShardStatus {
                blocked_since: time(),
                tokens: vec![token(Some("invalid_grant"))],
                ..healthy()
            },
            "PortBlocked",
            "no MX host answers outbox-0 although others do",
        ),
    ];
    for (shard, reason, message) in rows {
        let found = found(json!({}), true);
        let verdicts = all(&Seen {
            found: &found,
            refused: None,
            tls: &Tls::Issued { not_after: None },
            shards: &[shard],
            draining: &[],
            refused_claims: &[],
            refused_shards: &[],
            refused_service: None,
            was_ready: false,
            now: NOW,
        });
        let of = |kind| verdicts.iter().find(|one| one.kind == kind).unwrap();
        let egress = of(types::EGRESS_HEALTHY);
        assert_eq!(egress.reason, reason);
        assert!(egress.message.starts_with(message), "{}", egress.message);
        assert_eq!(egress.holds(), reason == "Healthy");
        assert!(of(types::READY).holds());
    }
}
