//! `relay check`, `relay hash-password`, and what wrong usage and bad files say.

use std::io::Write as _;
use std::process::{Output, Stdio};

use relay_config::ScramVerifier;
use serde_json::json;

use crate::receiver::Receiver;
use crate::relay::{Setup, command, dkim_key};

fn run(arguments: &[&str], input: &str) -> Output {
    let mut child = command()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

fn setup() -> Setup {
    Setup::new("127.0.0.1:9".parse().unwrap())
}

#[test]
fn hash_password_prints_a_verifier_of_the_password_and_a_new_one_each_time() {
    let outputs = [0, 1].map(|_| run(&["hash-password"], "blue-otter-42\n"));
    assert_ne!(outputs[0].stdout, outputs[1].stdout);
    for output in outputs {
        assert!(output.status.success());
        let verifier: ScramVerifier = text(&output.stdout).trim().parse().unwrap();
        assert!(verifier.matches("blue-otter-42"));
        assert!(!verifier.matches("blue-otter-42\n"));
    }
}

#[test]
fn an_empty_password_is_refused_with_the_remedy() {
    let output = run(&["hash-password"], "\n");
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("relay hash-password"));
}

#[test]
fn wrong_usage_exits_with_64_and_version_and_help_with_0() {
    assert_eq!(run(&["serv"], "").status.code(), Some(64));
    assert_eq!(run(&["serve"], "").status.code(), Some(64));
    assert_eq!(run(&[], "").status.code(), Some(64));
    let version = run(&["--version"], "");
    assert!(version.status.success());
    assert_eq!(
        text(&version.stdout),
        format!("relay {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert!(run(&["--help"], "").status.success());
}

#[test]
fn check_counts_what_it_found() {
    let setup = setup();
    let path = setup.path("relay.json");
    let output = run(&["check", "--config", path.to_str().unwrap()], "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).ends_with("valid; 3 listeners, 1 domains, 1 credentials\n"));
}

#[test]
fn check_names_overrides_whose_time_is_over() {
    let mut setup = setup();
    let entry = |domain: &str, expires: &str| json!({"domain": domain, "policy": "Required", "expires": expires});
    setup.config["delivery"]["tlsOverrides"] = json!([
        entry("a.example", "2999-01-01T00:00:00Z"),
        entry("b.example", "2020-01-01T00:00:00Z"),
    ]);
    setup.write();
    let path = setup.path("relay.json");
    let output = run(&["check", "--config", path.to_str().unwrap()], "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(
        said.ends_with(
            "\ndelivery.tlsOverrides[1]: that for b.example expired at 2020-01-01T00:00:00Z and has no \
             effect; remove it, or give it a new date\n"
        ),
        "{said}"
    );
}

#[test]
fn check_and_serve_name_the_field_and_the_remedy_in_one_line_and_exit_with_78() {
    let rows = [
        (
            "/hostname",
            json!("out box"),
            "hostname: \"out box\" is not a host name",
        ),
        ("/version", json!(2), "version: 2 is not known"),
        (
            "/tls/key",
            json!("missing.key"),
            "missing.key: cannot be read",
        ),
        (
            "/tls/key",
            json!("other.key"),
            "tls.key: other.key is not the private key of the first certificate",
        ),
        (
            "/tls/certificate",
            json!("tls.key"),
            "tls.certificate: tls.key holds no certificate",
        ),
        (
            "/tls/key",
            json!("tls.crt"),
            "tls.key: tls.crt holds no usable private key",
        ),
        (
            "/domains/0/dkim",
            json!([short_key()]),
            "domains[shop.example].dkim[winter].privateKey: is not",
        ),
        (
            "/dns",
            json!({"trustAnchors": [". IN A 192.0.2.1"]}),
            "dns.trustAnchors[0]: \". IN A 192.0.2.1\" is no DNSKEY record",
        ),
        (
            "/delivery/certificateAuthorities",
            json!("tls.key"),
            "delivery.certificateAuthorities: tls.key holds no certificate",
        ),
        (
            "/delivery/tlsOverrides",
            json!([{"domain": "A.example", "policy": "None", "expires": "2999-01-01T00:00:00Z"}]),
            "delivery.tlsOverrides[0].domain: \"A.example\" has upper-case letters",
        ),
        (
            "/listeners/0/port",
            json!(25),
            "relay.json: unknown field `port`",
        ),
    ];
    for (pointer, value, expected) in rows {
        let mut setup = setup();
        let other = setup.authority.leaf("other.test");
        setup.replace("other.key", other.key.as_bytes());
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        setup.config.pointer_mut(parent).unwrap()[field] = value;
        setup.write();
        let path = setup.path("relay.json");
        for mode in ["check", "serve"] {
            let output = run(&[mode, "--config", path.to_str().unwrap()], "");
            let errors = text(&output.stderr);
            assert_eq!(output.status.code(), Some(78), "{errors}");
            assert!(
                errors.starts_with(&format!("relay: {expected}")),
                "{errors}"
            );
            assert_eq!(errors.lines().count(), 1, "{errors}");
        }
    }
}

fn short_key() -> serde_json::Value {
    let mut key = dkim_key();
    key["privateKey"] =
        json!("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n");
    key
}

#[test]
fn a_second_process_on_one_queue_is_refused() {
    let receiver = Receiver::start();
    let setup = Setup::new(receiver.address);
    let _first = setup.start();
    let path = setup.path("relay.json");
    let second = run(&["serve", "--config", path.to_str().unwrap()], "");
    assert_eq!(second.status.code(), Some(74));
    let errors = text(&second.stderr);
    assert!(
        errors.contains("another process uses this queue"),
        "{errors}"
    );
}

#[test]
fn a_successor_waits_for_the_queue_as_long_as_it_may() {
    let receiver = Receiver::start();
    let mut setup = Setup::new(receiver.address);
    setup.config["queue"]["lockTimeout"] = json!("1m");
    setup.write();
    let mut first = setup.start();
    let second = setup.launch();
    second.logged("waiting for the queue, queue.lockTimeout at most");
    first.terminate();
    assert!(first.ended().success(), "{}", first.log_text());
    second.logged("ready");
    // Nor does it wait when it is told to stop.
    let mut third = setup.launch();
    third.logged("waiting for the queue, queue.lockTimeout at most");
    third.terminate();
    assert!(third.ended().success(), "{}", third.log_text());
}

#[test]
fn an_address_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut setup = setup();
    let address = taken.local_addr().unwrap().to_string();
    setup.config["listeners"][0]["address"] = json!(address);
    setup.write();
    let path = setup.path("relay.json");
    let output = run(&["serve", "--config", path.to_str().unwrap()], "");
    assert_eq!(output.status.code(), Some(71));
    let errors = text(&output.stderr);
    let expected = format!("relay: listeners[0].address: {address} cannot be bound");
    assert!(
        errors.lines().any(|line| line.starts_with(&expected)),
        "{errors}"
    );
}

#[test]
fn suppressions_are_listed_added_and_removed_in_the_running_relay() {
    let receiver = Receiver::start();
    let mut setup = Setup::new(receiver.address);
    // The command takes the port from the file.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    setup.config["health"]["address"] = json!(format!("127.0.0.1:{port}"));
    setup.write();
    let config = setup.path("relay.json").to_str().unwrap().to_owned();
    let asked = |arguments: &[&str]| {
        let arguments = [&["suppressions"], arguments, &["--config", &config]].concat();
        run(&arguments, "")
    };
    assert_eq!(asked(&["list"]).status.code(), Some(1), "no relay runs yet");
    let relay = setup.start();
    assert!(
        asked(&[
            "add",
            "shop.example",
            "To@dest.example",
            "--detail",
            "asked by phone"
        ])
        .status
        .success()
    );
    assert!(
        asked(&["add", "shop.example", "b@dest.example", "--expires", "1h"])
            .status
            .success()
    );
    let listed = text(&asked(&["list", "--domain", "shop.example"]).stdout);
    assert_eq!(listed.lines().count(), 2);
    assert!(
        listed.contains("shop.example\tTo@dest.example\tmanual\t"),
        "{listed}"
    );
    assert!(listed.contains("\tasked by phone\n"));
    // They are still there after a power cut as far as a process can tell.
    relay.kill();
    let _relay = setup.start();
    assert_eq!(text(&asked(&["list"]).stdout), listed);
    assert!(
        asked(&["remove", "shop.example", "to@dest.example"])
            .status
            .success()
    );
    assert_eq!(text(&asked(&["list"]).stdout).lines().count(), 1);
    let gone = asked(&["remove", "shop.example", "to@dest.example"]);
    assert!(text(&gone.stderr).contains("there is no such entry in the list of shop.example"));
}
