//! Through external-dns, built from its packages (`tests/cluster/externaldns`).

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use mailrelay_tests::control_plane::{Bind, ControlPlane, Key, User};
use mailrelay_tests::process::{Run, checkout};
use mailrelay_tests::wait;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::{HOST, LIMIT, SPF, TEAM, all_are_served, annotate, has, published, rotated, text_at};
use crate::objects::{namespace, operator, plane, relay};

/// What external-dns is built of, and where its kinds are.
const MODULE: &str = "sigs.k8s.io/external-dns";
/// Compiling it on a cold machine takes most of this.
const BUILD: Duration = Duration::from_mins(15);

fn go(arguments: &[&str]) -> Run {
    let folder = checkout().join("tests/cluster/externaldns");
    Run::new("go")
        .arg("-C")
        .arg(folder)
        .args(arguments)
        .limit(BUILD)
}

/// Starts external-dns, which writes to the zone by RFC 2136.
async fn external_dns(plane: &ControlPlane, bind: &Bind, zone: &str) -> Child {
    let program = plane.directory().join("externaldns");
    go(&["build", "-o"])
        .arg(&program)
        .arg(".")
        .env("CGO_ENABLED", "0")
        .progress()
        .succeed()
        .await
        .unwrap();
    let log = std::fs::File::create(plane.directory().join("externaldns.log")).unwrap();
    Command::new(program)
        .arg("-kubeconfig")
        .arg(plane.kubeconfig(User::Admin, None).unwrap())
        .args([
            "-rfc2136-zone",
            zone,
            "-rfc2136-host",
            &bind.address.to_string(),
        ])
        .args([
            "-rfc2136-tsig-keyname",
            Key::WRITER.name,
            "-rfc2136-tsig-secret",
            Key::WRITER.secret,
        ])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Installs the kind as external-dns has it.
async fn install_endpoints(plane: &ControlPlane) {
    let module = go(&["list", "-m", "-f", "{{.Dir}}", MODULE])
        .succeed()
        .await
        .unwrap();
    let file = format!(
        "{}/config/crd/standard/dnsendpoints.externaldns.k8s.io.yaml",
        module.trim()
    );
    plane
        .kubectl()
        .args(["apply", "--server-side", "-f", &file])
        .succeed()
        .await
        .unwrap();
    plane
        .kubectl()
        .args([
            "wait",
            "--for=condition=Established",
            "crd",
            "dnsendpoints.externaldns.k8s.io",
        ])
        .succeed()
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn external_dns_publishes_what_it_is_handed_and_only_those_hand_over_who_may() {
    let server = Ipv4Addr::new(127, 53, 1, 3);
    let bind = Bind::start(server, &[("shop.example", &format!("{HOST}\n{SPF}"))])
        .await
        .unwrap();
    let plane = plane().await.unwrap();
    let client = &plane.client;
    namespace(client, TEAM).await.unwrap();
    relay(
        client,
        TEAM,
        "outbox",
        json!({"hostname": "mx.shop.example"}),
    )
    .await
    .unwrap();
    let dns = format!("--dns-server={}", bind.socket());
    let running = operator(&plane, None, "lone", &["--leader-election=false", &dns]).unwrap();
    running.leads().await.unwrap();
    let publish = json!({"externalDNS": {}, "ttl": "2s"});

    is_for_those_who_may(&plane).await;
    published(client, "shop", publish.clone(), &[]).await;
    let said = has(client, "shop", "RecordsPublished", "ExternalDnsUnavailable").await;
    assert!(said.contains("install external-dns"), "{said}");
    install_endpoints(&plane).await;
    let _external = external_dns(&plane, &bind, "shop.example").await;
    annotate(client, "shop", "a-person/looks", "again").await;
    has(client, "shop", "RecordsPublished", "RecordsPublished").await;
    has(client, "shop", "DnsVerified", "RecordsVerified").await;
    all_are_served(client, "shop", server).await;

    annotate(client, "shop", "mailrelay.dev/rotate-now", "once").await;
    rotated(client).await;
    assert_eq!(
        text_at(server, "mail-r2._domainkey.shop.example")
            .await
            .len(),
        1
    );

    // Once it is turned off the DNSEndpoint goes.
    published(
        client,
        "shop",
        json!({"rfc2136": {"server": "127.0.0.1", "tsigSecretRef": {"name": "none"}}}),
        &[],
    )
    .await;
    wait::until("no DNSEndpoint", LIMIT, || async {
        let found = plane
            .kubectl()
            .args(["get", "dnsendpoints", "-A", "-o", "name"])
            .succeed()
            .await;
        let found = found.map_err(|error| error.to_string())?;
        if found.trim().is_empty() {
            Ok(())
        } else {
            Err(found)
        }
    })
    .await
    .unwrap();
    running.stop().await.unwrap();
}

/// Whoever may write SendingDomains alone may not have external-dns publish.
async fn is_for_those_who_may(plane: &ControlPlane) {
    let role = [
        "create",
        "clusterrole",
        "domains",
        "--verb=get,create,patch",
        "--resource=sendingdomains.mailrelay.dev",
    ];
    plane.kubectl().args(role).succeed().await.unwrap();
    let binding = [
        "create",
        "clusterrolebinding",
        "domains",
        "--clusterrole=domains",
        "--user=jo",
    ];
    plane.kubectl().args(binding).succeed().await.unwrap();
    let apply = |publish: Value| {
        let object = json!({"apiVersion": "mailrelay.dev/v1alpha1", "kind": "SendingDomain",
            "metadata": {"name": "jo", "namespace": TEAM},
            "spec": {"domain": "jo.example", "relayRef": {"name": "outbox"}, "dns": {"publish": publish}}});
        plane
            .kubectl()
            .args(["apply", "--server-side", "--as=jo", "-f", "-"])
            .input(object.to_string())
    };
    // A policy is in force a moment after it was made.
    wait::until("a refusal", LIMIT, || async {
        let dry = apply(json!({"externalDNS": {}})).arg("--dry-run=server");
        match dry.finish().await {
            Ok(ended) if ended.stderr.contains("\"create\" on dnsendpoints") => Ok(()),
            Ok(ended) => Err(ended.stdout + &ended.stderr),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
    .unwrap();
    apply(json!({"rfc2136": {"server": "127.0.0.1", "tsigSecretRef": {"name": "none"}}}))
        .succeed()
        .await
        .unwrap();
}
