use super::*;
use crate::certificates::SecretData;
use crate::credential::binding::Endpoint;
use crate::render::Violation;
use crate::render::fixtures::credential;

fn now() -> Timestamp {
    Timestamp::from_second(1_795_564_800).unwrap()
}

fn orders() -> SmtpCredential {
    credential("shop", "orders", 5, None)
}

fn good() -> Judged {
    Judged {
        accepted: Ok(()),
        endpoint: Ok(Endpoint {
            host: "outbox.mail.svc".into(),
            port: 587,
            implicit_tls: false,
            authorities: None,
        }),
    }
}

fn written() -> Applied {
    Applied {
        data: Some(SecretData::new()),
        password: Password::Kept,
    }
}

fn shown(judged: &Judged, applied: &Applied, programmed: bool) -> Vec<String> {
    let (status, _) = build(&orders(), judged, applied, programmed, now());
    let conditions = status.conditions.iter();
    conditions
        .map(|each| format!("{}={}/{}", each.type_, each.status, each.reason))
        .collect()
}

#[test]
fn a_credential_is_ready_when_the_application_can_send() {
    assert_eq!(
        shown(&good(), &written(), true),
        [
            "Accepted=True/Accepted",
            "SecretReady=True/SecretWritten",
            "Programmed=True/Programmed",
            "Ready=True/Ready",
        ]
    );
    let (status, _) = build(&orders(), &good(), &written(), true, now());
    assert_eq!(status.binding.unwrap().name, "orders-smtp");
    assert_eq!(status.username.as_deref(), Some("shop.orders"));
}

#[test]
fn ready_follows_the_first_condition_that_does_not_hold() {
    let nothing = Applied {
        data: None,
        password: Password::Kept,
    };
    let refused = Judged {
        accepted: Err(Violation::new("NotAllowedByRelay", "x")),
        endpoint: Err(Violation::new("NotAccepted", "x")),
    };
    assert_eq!(
        shown(&refused, &nothing, false)[3],
        "Ready=False/NotAllowedByRelay"
    );
    let (status, _) = build(&orders(), &refused, &nothing, false, now());
    assert_eq!(status.binding, None);
    let conflict = Judged {
        endpoint: Err(Violation::new("SecretConflict", "x")),
        ..good()
    };
    assert_eq!(
        shown(&conflict, &nothing, false)[3],
        "Ready=False/SecretConflict"
    );
    assert_eq!(shown(&good(), &written(), false)[3], "Ready=False/Pending");
}

#[test]
fn o15_the_same_observations_give_the_same_status() {
    let (first, _) = build(&orders(), &good(), &written(), true, now());
    let mut credential = orders();
    credential.status = Some(first.clone());
    let later = now() + jiff::SignedDuration::from_hours(5);
    let (second, verdicts) = build(&credential, &good(), &written(), true, later);
    assert_eq!(second, first);
    assert_eq!(
        conditions::transitions(&first.conditions, &verdicts).count(),
        0
    );
}
