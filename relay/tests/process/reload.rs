//! Changed files in force without a restart and without losing a session.

use std::time::{Duration, Instant};

use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::SmtpConnection;
use lettre::transport::smtp::commands::Noop;
use lettre::transport::smtp::extension::ClientId;
use serde_json::json;

use crate::authority::Authority;
use crate::client::{Line, Security, billing, send, tls, transport};
use crate::http::{add_admin, status};
use crate::receiver::Receiver;
use crate::relay::{HOSTNAME, PASSWORD, PATIENCE, Relay, Setup, credential};

const RELOADED: &str = "configuration reloaded";

/// A session over STARTTLS that stays open.
fn session(relay: &Relay, setup: &Setup) -> SmtpConnection {
    let hello = ClientId::Domain("app.test".into());
    let mut connection =
        SmtpConnection::connect(relay.submission(), Some(PATIENCE), &hello, None, None).unwrap();
    connection.starttls(&tls(&setup.authority), &hello).unwrap();
    let credentials = Credentials::new("billing".into(), PASSWORD.into());
    connection.auth(&[Mechanism::Plain], &credentials).unwrap();
    connection
}

/// The leaf certificate that a new session is shown.
fn certificate(relay: &Relay, setup: &Setup) -> Vec<u8> {
    session(relay, setup).peer_certificate().unwrap()
}

fn alive(connection: &mut SmtpConnection) {
    assert!(connection.command(Noop).unwrap().is_positive());
}

#[test]
fn a_new_domain_and_a_changed_credential_are_in_force_within_seconds() {
    let receiver = Receiver::start();
    let mut setup = Setup::new(receiver.address);
    let relay = setup.start();
    let mut open = session(&relay, &setup);
    let (mut plain, _) = Line::open(relay.open());
    plain.say("EHLO app.test");
    let refused = plain.say("MAIL FROM:<a@new.example>");
    assert!(refused.starts_with("55"), "{refused}");

    let started = Instant::now();
    setup.config["domains"] = json!([
        {"name": "shop.example", "senders": ["*"]},
        {"name": "new.example", "senders": ["*"]},
    ]);
    setup.config["credentials"] = json!([credential("billing", "green-heron-7")]);
    setup.write();
    relay.logged(RELOADED);
    assert!(started.elapsed() < Duration::from_secs(10));

    let accepted = plain.say("MAIL FROM:<a@new.example>");
    assert!(accepted.starts_with("250"), "{accepted}");
    // Logged in by a password that is one no more.
    let ended = open.command(Noop).unwrap_err();
    assert_eq!(ended.status().map(u16::from), Some(421), "{ended}");
    let address = relay.submission();
    let (code, _) = send(
        &billing(address, &setup.authority),
        "billing@shop.example",
        "ada@reader.example",
        "old password",
    )
    .unwrap_err();
    assert_eq!(code, 535);
    let renewed = transport(
        address,
        Security::StartTls,
        &setup.authority,
        Some(("billing", "green-heron-7")),
    );
    send(
        &renewed,
        "billing@shop.example",
        "ada@reader.example",
        "new password",
    )
    .unwrap();
}

#[test]
fn o17_a_renewed_certificate_serves_new_sessions_and_the_old_ones_go_on() {
    let receiver = Receiver::start();
    let setup = Setup::new(receiver.address);
    let relay = setup.start();
    let mut open = session(&relay, &setup);
    let before = certificate(&relay, &setup);
    setup.renew_certificate();
    relay.logged(RELOADED);
    assert_ne!(certificate(&relay, &setup), before);
    alive(&mut open);
}

#[test]
fn a_bad_configuration_leaves_the_last_good_one_in_force_and_says_why() {
    let receiver = Receiver::start();
    let mut setup = Setup::new(receiver.address);
    let operator = Authority::new();
    add_admin(&mut setup, &operator);
    let relay = setup.start();
    let client = operator.leaf("operator");
    let authority = Authority::new();
    let before = status(&relay, &setup.authority, Some(&client)).unwrap();
    let good = setup.config.clone();

    // A key that is not the certificate's.
    let stranger = authority.leaf(HOSTNAME);
    let key = std::fs::read(setup.path("tls.key")).unwrap();
    setup.replace("tls.key", stranger.key.as_bytes());
    let line = relay.wait_for("a refusal", |line| line["level"] == "ERROR");
    let error = line["error"].as_str().unwrap();
    assert!(
        error.starts_with("tls.key: tls.key is not the private key"),
        "{error}"
    );
    assert!(!relay.log_text().contains("PRIVATE KEY-----"));

    let during = status(&relay, &setup.authority, Some(&client)).unwrap();
    assert_eq!(during["configHash"], before["configHash"]);
    assert_eq!(during["configError"], error);
    assert_eq!(during["accepting"], true);
    let billing = billing(relay.submission(), &setup.authority);
    send(
        &billing,
        "billing@shop.example",
        "ada@reader.example",
        "still here",
    )
    .unwrap();

    // Damaged text, then the good files again.
    setup.replace("tls.key", &key);
    setup.replace("relay.json", b"{\"version\": 1,");
    relay.wait_for("the second refusal", |line| {
        line["error"]
            .as_str()
            .is_some_and(|error| error.starts_with("relay.json: EOF"))
    });
    setup.config = good;
    setup.write();
    relay.logged("the configuration files are those in force again");
    let after = status(&relay, &setup.authority, Some(&client)).unwrap();
    assert_eq!(after, before);
}

#[test]
fn what_needs_a_restart_is_said_and_the_rest_is_in_force() {
    let receiver = Receiver::start();
    let mut setup = Setup::new(receiver.address);
    let operator = Authority::new();
    add_admin(&mut setup, &operator);
    let relay = setup.start();
    let client = operator.leaf("operator");
    setup.config["listeners"][0]["name"] = json!("renamed");
    setup.config["domains"][0]["name"] = json!("other.example");
    setup.write();
    relay.logged(RELOADED);
    let status = status(&relay, &setup.authority, Some(&client)).unwrap();
    let error = status["configError"].as_str().unwrap();
    assert!(
        error.starts_with("listeners (names or addresses): changed"),
        "{error}"
    );
    let (mut line, _) = Line::open(relay.open());
    line.say("EHLO app.test");
    assert!(line.say("MAIL FROM:<a@other.example>").starts_with("250"));
}

#[test]
fn a_directory_swapped_as_the_kubelet_does_it_is_seen_as_one_change() {
    let receiver = Receiver::start();
    let mut setup = Setup::new(receiver.address);
    let root = tempfile::tempdir().unwrap();
    let publish = |setup: &Setup, generation: &str| {
        let directory = root.path().join(generation);
        std::fs::create_dir(&directory).unwrap();
        for name in ["relay.json", "tls.crt", "tls.key"] {
            std::fs::copy(setup.path(name), directory.join(name)).unwrap();
        }
        let link = root.path().join("..data_tmp");
        std::os::unix::fs::symlink(generation, &link).unwrap();
        std::fs::rename(link, root.path().join("..data")).unwrap();
    };
    let queue = root.path().join("queue");
    setup.config["queue"]["directory"] = json!(queue);
    setup.write();
    publish(&setup, "..first");
    for name in ["relay.json", "tls.crt", "tls.key"] {
        let target = std::path::Path::new("..data").join(name);
        std::os::unix::fs::symlink(target, root.path().join(name)).unwrap();
    }
    let relay = Relay::start(&root.path().join("relay.json"), &[]);
    let mut open = session(&relay, &setup);
    let before = certificate(&relay, &setup);

    setup.config["domains"][0]["name"] = json!("other.example");
    setup.write();
    setup.renew_certificate();
    publish(&setup, "..second");
    relay.logged(RELOADED);
    assert_ne!(certificate(&relay, &setup), before);
    alive(&mut open);
    std::fs::remove_dir_all(root.path().join("..first")).unwrap();
    let (mut line, _) = Line::open(relay.open());
    line.say("EHLO app.test");
    assert!(line.say("MAIL FROM:<a@other.example>").starts_with("250"));
}
