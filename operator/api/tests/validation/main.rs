//! What the custom resource definitions refuse by themselves, with the message that users see. The
//! rules run here as the API server runs them.

#![expect(
    clippy::unwrap_used,
    reason = "a fixture that cannot be read is a fault of the test"
)]

mod domains;
mod tls;

use kube::CustomResourceExt;
use kube::core::cel::{validate_cel, validate_cel_update};
use operator_api::{SendingDomain, SmtpCredential, SmtpRelay};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Messages of all rules that fail for an object with this spec; empty when it is fine.
fn faults<K>(kind: &str, name: &str, spec: &Value) -> String
where
    K: CustomResourceExt + Serialize + DeserializeOwned,
{
    match validate_cel(&object::<K>(kind, name, spec)) {
        Ok(()) => String::new(),
        Err(errors) => errors.to_string(),
    }
}

/// As [`faults`], for a change.
fn change_faults<K>(kind: &str, old: &Value, new: &Value) -> String
where
    K: CustomResourceExt + Serialize + DeserializeOwned,
{
    let (old, new) = (
        object::<K>(kind, "outbox", old),
        object::<K>(kind, "outbox", new),
    );
    match validate_cel_update(&new, &old) {
        Ok(()) => String::new(),
        Err(errors) => errors.to_string(),
    }
}

fn object<K: DeserializeOwned>(kind: &str, name: &str, spec: &Value) -> K {
    serde_json::from_value(json!({
        "apiVersion": "mailrelay.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "mail"},
        "spec": spec,
    }))
    .unwrap()
}

fn relay(spec: &Value) -> String {
    faults::<SmtpRelay>("SmtpRelay", "outbox", spec)
}

#[track_caller]
fn refused(found: &str, expected: &str, spec: &Value) {
    assert!(
        found.contains(expected),
        "{spec}\nsaid: {found:?}\nnot:  {expected}"
    );
}

#[test]
fn an_empty_spec_and_a_full_one_are_fine() {
    let full = json!({
        "replicas": 3,
        "scaleToZeroPolicy": "Wait",
        "deletionPolicy": "Retain",
        "drainTimeout": "1h30m",
        "service": {"type": "LoadBalancer", "externalTrafficPolicy": "Local",
            "internalTrafficPolicy": "Local", "loadBalancerClass": "example.com/inner",
            "loadBalancerSourceRanges": ["192.0.2.0/24"]},
        "hostname": "mail.example.com",
        "listeners": [
            {"name": "smtp", "port": 25},
            {"name": "trusted", "port": 2525, "tls": "None", "authentication": "None"},
            {"name": "mx", "port": 26, "role": "Bounces", "authentication": "None"},
            {"name": "balanced", "port": 2526, "lenient": false, "proxyProtocol": true,
                "proxies": ["198.51.100.0/24", "2001:db8::/32"]},
        ],
        "clients": {"namespaces": {"from": "All"}, "cidrs": ["192.0.2.0/24", "2001:db8::/32"]},
        "domains": {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"mail": "yes"}}}},
        "delivery": {
            "smarthosts": [
                {"host": "smtp.example.net", "port": 465, "tls": "Implicit",
                    "credentialsSecretRef": {"name": "provider"}},
                {"host": "2001:db8::25", "priority": 0, "weight": 65535},
                {"host": "old.example.net", "tls": "Opportunistic", "allowUnverifiedLogin": true,
                    "credentialsSecretRef": {"name": "old"}},
                {"host": "near.example.net", "tls": "Opportunistic"},
            ],
            "reports": {"returnPath": "postmaster@example.com"},
            "retry": {"initial": "30s", "maximum": "1h30m", "expireAfter": "48h", "delayAfter": "2h"},
            "routes": [
                {"name": "partner", "recipientDomains": ["partner.example", "*.partner.example"],
                    "senderDomains": ["<>", "*.shop.example"], "tls": "Verified"},
                {"name": "microsoft", "mxSuffixes": ["mail.protection.outlook.com"],
                    "tags": ["bulk", "news_2026.11"], "smarthosts": [
                    {"host": "example.com", "lookup": "Srv",
                        "credentialsSecretRef": {"name": "app"},
                        "oauth2": {"tokenUrl": "https://login.example.com/x/oauth2/v2.0/token",
                            "scope": "https://outlook.office365.com/.default"}}]},
            ],
            "addressLiterals": "Refuse",
            "permittedNetworks": ["10.0.0.0/8"],
            "dnssec": "Validate",
            "mtaSts": {"enabled": true, "port": 8443},
            "tlsOverrides": [
                {"domain": "a.example", "policy": "None", "expires": "2026-12-01T00:00:00Z"},
                {"domain": "xn--gr-zia.example", "policy": "Verified",
                    "expires": "2026-12-01T00:00:00Z", "reason": "ticket 7"},
            ],
            "caSecretRef": {"name": "authorities"},
        },
        "dns": {"servers": ["10.96.0.10", "192.0.2.1:5353", "[2001:db8::1]:53", "2001:db8::1"],
            "trustAnchors": ["corp.example. IN DNSKEY 257 3 13 AAAA"]},
        "queue": {"size": "10Gi", "storageClassName": "fast"},
        "limits": {"messageSize": "50Mi", "recipients": 200, "headerSize": "64Ki",
            "connectionsPerAddress": 20, "connectionsPerIdentity": 20, "commands": 100,
            "sessionTimeout": "30m", "minimumRate": 0, "maximumHold": "0s"},
    });
    assert_eq!(relay(&json!({})), "");
    assert_eq!(relay(&full), "");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_a_relay_alone_can_show_to_be_wrong_is_refused() {
    let listeners = |list: Value| json!({"listeners": list});
    let smarthost = |host: Value| json!({"delivery": {"smarthosts": [host]}});
    let routes = |list: Value| json!({"delivery": {"routes": list}});
    let tokens = |url: &str| {
        smarthost(
            json!({"host": "a.example", "credentialsSecretRef": {"name": "s"},
            "oauth2": {"tokenUrl": url}}),
        )
    };
    let rows = [
        (
            listeners(json!([{"name": "smtp", "port": 25, "nodePort": 30025}])),
            "nodePort has a meaning with service.type: NodePort or LoadBalancer only",
        ),
        (
            json!({"service": {"type": "NodePort"}, "listeners": [
                {"name": "a", "port": 25, "nodePort": 30025}, {"name": "b", "port": 26, "nodePort": 30025}]}),
            "each listener needs a nodePort of its own",
        ),
        (
            json!({"service": {"externalTrafficPolicy": "Local"}}),
            "externalTrafficPolicy has a meaning with type: NodePort or LoadBalancer only",
        ),
        (
            json!({"service": {"type": "NodePort", "loadBalancerClass": "a/b"}}),
            "loadBalancerClass has a meaning with type: LoadBalancer only",
        ),
        (
            json!({"service": {"type": "ClusterIP", "loadBalancerSourceRanges": ["192.0.2.0/24"]}}),
            "loadBalancerSourceRanges has a meaning with type: LoadBalancer only",
        ),
        (
            json!({"service": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["192.0.2.1"]}}),
            "each entry must be a network in CIDR notation",
        ),
        (
            json!({"drainTimeout": "721h"}),
            "must be at most 720h (30 days), such as 1h",
        ),
        (
            listeners(json!([{"name": "smtp", "port": 25, "authentication": "None"}])),
            "name the client networks in clients.cidrs",
        ),
        (
            listeners(json!([{"name": "mx", "port": 25, "role": "Bounces"}])),
            "role: Bounces needs authentication: None",
        ),
        (
            routes(json!([{"name": "a", "tags": ["x"]}, {"name": "a", "tags": ["y"]}])),
            "each route needs a name of its own",
        ),
        (
            routes(json!([{"name": "a"}])),
            "matches nothing in particular",
        ),
        (
            routes(json!([{"name": "A b", "tags": ["x"]}])),
            "must be of a-z, 0-9 and hyphens",
        ),
        (
            routes(json!([{"name": "a", "tags": ["x"], "tls": "Verified",
                "smarthosts": [{"host": "b.example"}]}])),
            "tls is about MX hosts",
        ),
        (
            routes(json!([{"name": "a", "recipientDomains": ["*"]}])),
            "must be a domain in lower case such as a.example or *.a.example",
        ),
        (
            routes(json!([{"name": "a", "recipientDomains": ["<>"]}])),
            "must be a domain in lower case such as a.example or *.a.example",
        ),
        (
            routes(json!([{"name": "a", "senderDomains": ["a.*.example"]}])),
            "or <> for bounces",
        ),
        (
            routes(json!([{"name": "a", "mxSuffixes": ["*.google.com"]}])),
            "must be a name in lower case, such as google.com",
        ),
        (
            routes(json!([{"name": "a", "tags": ["two words"]}])),
            "must be one word of letters, digits",
        ),
        (
            smarthost(json!({"host": "192.0.2.1", "lookup": "Srv"})),
            "lookup: Srv needs a domain in host",
        ),
        (
            smarthost(json!({"host": "a.example", "oauth2": {"tokenUrl": "https://b.example/t"}})),
            "oauth2 needs credentialsSecretRef",
        ),
        (
            tokens("http://b.example/t"),
            "must be of the form https://host/path",
        ),
        (
            tokens("https://u:p@b.example/t"),
            "must be of the form https://host/path",
        ),
        (
            tokens("https://b.example/t#f"),
            "must be of the form https://host/path",
        ),
        (
            listeners(json!([{"name": "smtp", "port": 25}, {"name": "smtp", "port": 26}])),
            "each listener needs a name of its own",
        ),
        (
            listeners(json!([{"name": "a", "port": 25}, {"name": "b", "port": 25}])),
            "each listener needs a port of its own",
        ),
        (
            listeners(json!([{"name": "a", "port": 25}, {"name": "b", "port": 10025}])),
            "also takes the one 10000 above it",
        ),
        (
            listeners(json!([{"name": "a", "port": 25, "proxyProtocol": true}])),
            "proxyProtocol: true and the networks in proxies need each other",
        ),
        (
            listeners(json!([{"name": "a", "port": 25, "proxies": ["10.0.0.0/8"]}])),
            "proxyProtocol: true and the networks in proxies need each other",
        ),
        (
            listeners(json!([{"name": "a", "port": 25, "proxyProtocol": true, "proxies": ["lb"]}])),
            "each entry must be a network in CIDR notation",
        ),
        (
            json!({"limits": {"headerSize": "1Mi"}}),
            "must be a size from 4Ki to 512Ki",
        ),
        (
            json!({"limits": {"maximumHold": "2161h"}}),
            "must be at most 2160h",
        ),
        (
            json!({"limits": {"sessionTimeout": "0s"}}),
            "must be above 0, such as 30m",
        ),
        (
            listeners(json!([{"name": "a", "port": 8080}])),
            "choose another port",
        ),
        (
            listeners(json!([{"name": "health", "port": 25}])),
            "choose another name",
        ),
        (
            listeners(json!([{"name": "Big_Name", "port": 25}])),
            "a-z, 0-9 and hyphens",
        ),
        (json!({"hostname": "mail"}), "must be a full host name"),
        (
            json!({"hostname": "mail.example.com."}),
            "without a trailing dot",
        ),
        (
            json!({"hostname": "mail example.com"}),
            "must be a full host name",
        ),
        (
            json!({"clients": {"cidrs": ["10.0.0.1/33"]}}),
            "CIDR notation",
        ),
        (
            json!({"clients": {"namespaces": {"from": "Selector"}}}),
            "selector belongs to from: Selector",
        ),
        (
            json!({"domains": {"namespaces": {"from": "All", "selector": {}}}}),
            "selector belongs to from: Selector",
        ),
        (
            smarthost(
                json!({"host": "smtp.example", "tls": "None", "credentialsSecretRef": {"name": "x"}}),
            ),
            "would send the password in clear text",
        ),
        (
            smarthost(
                json!({"host": "smtp.example", "tls": "Opportunistic", "credentialsSecretRef": {"name": "x"}}),
            ),
            "verifies no certificate",
        ),
        (
            smarthost(json!({"host": "smtp.example:587"})),
            "without port",
        ),
        (
            json!({"delivery": {"retry": {"initial": "2h"}}}),
            "initial (default 1m) must be at most maximum (default 1h)",
        ),
        (
            json!({"delivery": {"retry": {"initial": "0s"}}}),
            "must be above 0",
        ),
        (
            json!({"delivery": {"permittedNetworks": ["all"]}}),
            "CIDR notation",
        ),
        (
            json!({"dns": {"servers": ["ns.example.com"]}}),
            "must be an IP address",
        ),
        (json!({"queue": {"size": "1Mi"}}), "at least 128Mi"),
        (json!({"queue": {"size": "many"}}), "at least 128Mi"),
        (
            json!({"queue": {"storage": "Ephemeral", "storageClassName": "fast"}}),
            "has no meaning with storage: Ephemeral",
        ),
        (
            json!({"limits": {"messageSize": "1Gi"}}),
            "from 64Ki to 128Mi",
        ),
    ];
    for (spec, expected) in rows {
        refused(&relay(&spec), expected, &spec);
    }
}

#[test]
fn a_relay_name_must_fit_its_service() {
    for name in ["1st", "a.b", &"a".repeat(46)] {
        let found = faults::<SmtpRelay>("SmtpRelay", name, &json!({}));
        refused(
            &found,
            "metadata.name becomes the Service's name",
            &json!(name),
        );
    }
    assert_eq!(
        faults::<SmtpRelay>("SmtpRelay", &"a".repeat(45), &json!({})),
        ""
    );
}

#[test]
fn o22_what_a_claim_cannot_follow_is_refused() {
    let rows = [
        (
            json!({}),
            json!({"queue": {"storage": "Ephemeral"}}),
            "queue.storage cannot be changed",
        ),
        (
            json!({"queue": {"size": "2Gi"}}),
            json!({}),
            "queue.size cannot shrink",
        ),
        (
            json!({}),
            json!({"queue": {"size": "512Mi"}}),
            "queue.size cannot shrink",
        ),
    ];
    for (old, new, expected) in rows {
        refused(
            &change_faults::<SmtpRelay>("SmtpRelay", &old, &new),
            expected,
            &new,
        );
    }
    let grown = json!({"queue": {"size": "2Gi", "storage": "Persistent"}});
    assert_eq!(
        change_faults::<SmtpRelay>("SmtpRelay", &json!({}), &grown),
        ""
    );
}

#[test]
fn credentials_have_usable_names_that_stay() {
    let spec = |extra: Value| {
        let mut spec = json!({"relayRef": {"name": "outbox"}});
        spec.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        spec
    };
    let credential = |spec: &Value| faults::<SmtpCredential>("SmtpCredential", "orders", spec);
    assert_eq!(
        credential(&spec(
            json!({"username": "orders@shop", "secretName": "orders.smtp"})
        )),
        ""
    );
    let rows = [
        (
            json!({"username": "two words"}),
            "printable ASCII without spaces",
        ),
        (
            json!({"username": "bücher"}),
            "printable ASCII without spaces",
        ),
        (json!({"secretName": "Orders"}), "must be a Secret's name"),
    ];
    for (extra, expected) in rows {
        refused(&credential(&spec(extra.clone())), expected, &extra);
    }
    let (old, new) = (
        spec(json!({"secretName": "a"})),
        spec(json!({"secretName": "b"})),
    );
    let found = change_faults::<SmtpCredential>("SmtpCredential", &old, &new);
    refused(&found, "secretName cannot be changed", &new);
}

#[test]
fn issuers_of_tokens_have_names_and_https_urls_of_their_own() {
    let oidc = |list: Value| relay(&json!({"authentication": {"oidc": list}}));
    let issuer =
        |name: &str, url: &str| json!({"name": name, "issuerUrl": url, "audiences": ["mail"]});
    let corp = issuer("corp", "https://id.example");
    assert_eq!(
        oidc(json!([corp, issuer("lab", "https://lab.example/realms/a")])),
        ""
    );
    for (list, expected) in [
        (
            json!([corp, issuer("corp", "https://lab.example")]),
            "a name of its own",
        ),
        (
            json!([corp, issuer("lab", "https://id.example")]),
            "each issuerUrl may stand once",
        ),
        (
            json!([issuer("corp", "http://id.example")]),
            "must be an https:// URL",
        ),
        (
            json!([issuer("kubernetes", "https://id.example")]),
            "not be kubernetes",
        ),
        (
            json!([issuer("Corp", "https://id.example")]),
            "a-z, 0-9 and inner hyphens",
        ),
    ] {
        refused(&oidc(list.clone()), expected, &list);
    }
}
