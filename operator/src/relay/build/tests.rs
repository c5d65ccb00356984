//! Golden objects: the files beside this one. Write them anew with `INSTA_UPDATE=always`.

use operator_api::{SmtpRelay, names};
use serde_json::{Value, json};

use super::{network, workload};
use crate::context::Settings;

#[expect(
    clippy::needless_pass_by_value,
    reason = "reads better with the JSON in place"
)]
fn relay(spec: Value) -> SmtpRelay {
    serde_json::from_value(json!({
        "apiVersion": "mailrelay.dev/v1alpha1",
        "kind": "SmtpRelay",
        "metadata": {"name": "outbox", "namespace": "post", "uid": "7b1c"},
        "spec": spec,
    }))
    .unwrap()
}

fn settings() -> Settings {
    Settings {
        relay_image: "registry.example/relay:1".to_owned(),
        dns_servers: Vec::new(),
        namespace: Some("operators".to_owned()),
        scope: crate::kubernetes::watch::Scope::Cluster,
    }
}

/// Everything that a user can ask of the pods and the network.
fn full() -> SmtpRelay {
    relay(json!({
        "replicas": 2,
        "listeners": [
            {"name": "inside", "port": 587, "nodePort": 30587},
            {"name": "printers", "port": 2526, "tls": "None", "authentication": "None"},
        ],
        "tls": {"secretName": "bought"},
        "clients": {
            "namespaces": {"from": "Selector", "selector": {"matchLabels": {"mail": "yes"}}},
            "cidrs": ["192.0.2.0/24"],
        },
        "delivery": {"mxPort": 2500, "smarthosts": [{"host": "smart.example", "port": 2465}]},
        "dns": {"servers": ["192.0.2.53:5353"]},
        "queue": {"size": "5Gi", "storageClassName": "fast"},
        "podTemplate": {
            "metadata": {"annotations": {"team": "post"}, "labels": {"cost": "7"}},
            "spec": {
                "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                    {"topologyKey": "kubernetes.io/hostname",
                        "labelSelector": {"matchLabels": {"mailrelay.dev/relay": "outbox"}}}]}},
                "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
                "imagePullSecrets": [{"name": "pull"}],
                "initContainers": [{"name": "wait", "image": "registry.example/wait:1"}],
                "nodeSelector": {"disk": "ssd"},
                "priorityClassName": "high",
                "runtimeClassName": "gvisor",
                "securityContext": {"supplementalGroups": [7]},
                "terminationGracePeriodSeconds": 120,
                "tolerations": [{"key": "mail", "operator": "Exists"}],
                "topologySpreadConstraints": [{"topologyKey": "topology.kubernetes.io/zone",
                    "whenUnsatisfiable": "DoNotSchedule", "maxSkew": 1,
                    "labelSelector": {"matchLabels": {"mailrelay.dev/relay": "outbox"}}}],
                "volumes": [{"name": "logs", "emptyDir": {}}],
                "containers": [
                    {
                        "name": "relay",
                        "image": "registry.example/own:2",
                        "resources": {"limits": {"memory": "1Gi"}},
                        "env": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4317"}],
                        "ports": [{"containerPort": 10587, "hostPort": 587}],
                        "volumeMounts": [{"name": "logs", "mountPath": "/logs"}],
                    },
                    {"name": "shipper", "image": "registry.example/logs:3"},
                ],
            },
        },
        "service": {
            "type": "LoadBalancer",
            "annotations": {"balancer": "internal"},
            "ipFamilyPolicy": "PreferDualStack",
            "ipFamilies": ["IPv6", "IPv4"],
            "externalTrafficPolicy": "Local",
            "internalTrafficPolicy": "Cluster",
            "loadBalancerClass": "example.com/inner",
            "loadBalancerSourceRanges": ["192.0.2.0/24"],
        },
    }))
}

#[test]
fn the_objects_of_an_empty_spec_are_as_recorded() {
    let relay = relay(json!({}));
    insta::assert_yaml_snapshot!(
        "deployment",
        workload::deployment(&relay, 0, &settings(), true)
    );
    insta::assert_yaml_snapshot!("claim", workload::claim(&relay, 0));
    insta::assert_yaml_snapshot!("service_account", workload::service_account(&relay));
    insta::assert_yaml_snapshot!("service", network::service(&relay));
    insta::assert_yaml_snapshot!("shards_service", network::shards_service(&relay));
    insta::assert_yaml_snapshot!("network_policy", network::policy(&relay, &settings()));
    insta::assert_yaml_snapshot!("budget", network::budget(&relay));
}

#[test]
fn the_objects_of_a_full_spec_are_as_recorded() {
    let relay = full();
    insta::assert_yaml_snapshot!(
        "full_deployment",
        workload::deployment(&relay, 1, &settings(), true)
    );
    insta::assert_yaml_snapshot!("full_claim", workload::claim(&relay, 1));
    insta::assert_yaml_snapshot!("full_service", network::service(&relay));
    insta::assert_yaml_snapshot!("full_network_policy", network::policy(&relay, &settings()));
}

#[test]
fn o18_containers_listen_above_1024_and_the_service_shows_the_usual_ports() {
    let relay = relay(json!({}));
    let deployment =
        serde_json::to_value(workload::deployment(&relay, 0, &settings(), true)).unwrap();
    let ports = &deployment["spec"]["template"]["spec"]["containers"][0]["ports"];
    for port in ports.as_array().unwrap() {
        assert!(port["containerPort"].as_i64().unwrap() > 1024, "{port}");
    }
    let service = serde_json::to_value(network::service(&relay)).unwrap();
    let numbers: Vec<i64> = service["spec"]["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| port["port"].as_i64().unwrap())
        .collect();
    assert_eq!(numbers, [25, 465, 587, 2525, 8025]);
}

#[test]
fn every_name_made_from_the_longest_name_of_a_relay_fits() {
    let relay = "a".repeat(45);
    let labels = [
        // Services, and values of labels and host names.
        relay.clone(),
        names::shards_service(&relay),
        names::shard(&relay, 63),
    ];
    for name in labels {
        assert!(name.len() <= 63, "{name}");
    }
    let objects = [
        names::claim(&relay, i32::MAX),
        names::config_secret(&relay),
        names::bucket_secret(&relay, 63),
        names::tls_secret(&relay),
        names::authority_secret(&relay),
        names::internal_secret(&relay),
        names::ca_config_map(&relay),
    ];
    for name in objects {
        assert!(name.len() <= 253, "{name}");
    }
    // A name in a certificate has labels of at most 63 octets and 253 in all.
    let host = names::shard_host(&relay, &"n".repeat(63), 63);
    assert!(host.len() <= 253 && host.split('.').all(|label| label.len() <= 63));
    assert!(names::internal_server_name(&relay).len() <= 253);
}

#[test]
fn o4_only_objects_of_the_same_namespace_have_an_owner_and_claims_have_none() {
    let relay = relay(json!({}));
    let service = network::service(&relay);
    assert_eq!(service.metadata.namespace, relay.metadata.namespace);
    assert_eq!(service.metadata.owner_references.unwrap()[0].uid, "7b1c");
    assert_eq!(workload::claim(&relay, 0).metadata.owner_references, None);
}

#[test]
fn o21_a_claim_carries_nothing_that_changes_between_versions() {
    let labels = workload::claim(&relay(json!({})), 0)
        .metadata
        .labels
        .unwrap();
    assert!(
        !labels.contains_key("app.kubernetes.io/version"),
        "{labels:?}"
    );
}

#[test]
fn o23_a_volume_is_never_wanted_by_two_pods_at_once() {
    let deployment = workload::deployment(&relay(json!({})), 0, &settings(), true);
    let strategy = deployment.spec.unwrap().strategy.unwrap();
    assert_eq!(strategy.type_.as_deref(), Some("Recreate"));
}

#[test]
fn pods_have_a_name_in_dns_by_which_the_others_find_them_however_long_the_relays_is() {
    let mut relay = relay(json!({"replicas": 2}));
    relay.metadata.name = Some("a".repeat(45));
    let shards = workload::deployment(&relay, i32::MAX, &settings(), true);
    let pod = shards.spec.unwrap().template.spec.unwrap();
    let (host, subdomain) = (pod.hostname.unwrap(), pod.subdomain.unwrap());
    assert!(
        host.len() <= 63 && subdomain.len() <= 63,
        "{host} {subdomain}"
    );
    let service = network::shards_service(&relay);
    assert_eq!(service.metadata.name.as_ref(), Some(&subdomain));
    let name = operator_api::names::shard_host(&"a".repeat(45), "post", i32::MAX);
    assert_eq!(name, format!("{host}.{subdomain}.post.svc"));
    // A pod that leaves the Service for clients is found all the same.
    assert!(
        !service
            .spec
            .unwrap()
            .selector
            .unwrap()
            .contains_key("mailrelay.dev/accepting")
    );
}

#[test]
fn no_policy_is_made_where_it_is_switched_off() {
    let relay = relay(json!({"networkPolicy": {"enabled": false}}));
    assert_eq!(network::policy(&relay, &settings()), None);
}

#[test]
fn an_ephemeral_queue_has_no_claim() {
    let relay = relay(json!({"queue": {"storage": "Ephemeral", "size": "2Gi"}}));
    assert!(super::claim(&relay, 0).is_none());
    let deployment =
        serde_json::to_value(workload::deployment(&relay, 0, &settings(), true)).unwrap();
    let volume = &deployment["spec"]["template"]["spec"]["volumes"][1];
    assert_eq!(volume["emptyDir"]["sizeLimit"], "2Gi");
}

#[test]
fn a_shard_that_is_to_go_has_pods_outside_the_service() {
    let relay = relay(json!({"replicas": 1}));
    let labels = |index| {
        let objects = super::shard_objects(&relay, index, index < 1, &settings());
        let template = objects.deployment.spec.unwrap().template;
        template.metadata.unwrap().labels.unwrap()["mailrelay.dev/accepting"].clone()
    };
    assert_eq!([labels(0), labels(1)], ["true", "false"]);
    let selector = network::service(&relay).spec.unwrap().selector.unwrap();
    assert_eq!(selector["mailrelay.dev/accepting"], "true");
}

#[test]
fn load_balancers_reach_the_listeners_that_expect_them_and_no_other() {
    let relay = relay(json!({"listeners": [
        {"name": "smtp", "port": 25},
        {"name": "balanced", "port": 2527, "proxyProtocol": true, "proxies": ["198.51.100.0/24"]},
    ]}));
    let policy = network::policy(&relay, &settings()).unwrap();
    let rules = serde_json::to_value(policy.spec.unwrap().ingress.unwrap()).unwrap();
    assert_eq!(
        rules.as_array().unwrap().last().unwrap(),
        &json!({
            "from": [{"ipBlock": {"cidr": "198.51.100.0/24"}}],
            "ports": [{"port": 2527, "protocol": "TCP"}],
        })
    );
}

#[test]
fn reports_come_from_anywhere_to_their_listener_and_to_no_other() {
    let relay = relay(json!({"listeners": [
        {"name": "submission", "port": 587},
        {"name": "mx", "port": 25, "role": "Bounces", "authentication": "None"},
    ]}));
    let policy = network::policy(&relay, &settings()).unwrap();
    let rules = serde_json::to_value(policy.spec.unwrap().ingress.unwrap()).unwrap();
    let rules = rules.as_array().unwrap();
    assert_eq!(
        rules.last().unwrap(),
        &json!({"ports": [{"port": 10025, "protocol": "TCP"}]})
    );
    assert_eq!(
        rules[0]["ports"],
        json!([{"port": 10587, "protocol": "TCP"}])
    );
}

#[test]
fn o30_what_a_shard_may_reach_at_its_siblings_they_let_in_and_both_directions_are_ruled() {
    for relay in [relay(json!({"replicas": 3})), full()] {
        let policy = network::policy(&relay, &settings()).unwrap();
        let spec = serde_json::to_value(policy.spec.unwrap()).unwrap();
        assert_eq!(spec["policyTypes"], json!(["Ingress", "Egress"]));
        let own = &spec["podSelector"];
        let sides: Vec<Vec<&Value>> = [("ingress", "from"), ("egress", "to")]
            .map(|(side, peer)| {
                let rules = spec[side].as_array().unwrap().iter();
                let siblings = rules.filter(|rule| rule[peer] == json!([{"podSelector": own}]));
                siblings.map(|rule| &rule["ports"]).collect()
            })
            .to_vec();
        assert_eq!(sides[0], sides[1]);
        assert_eq!(sides[0], [&json!([{"port": 8443, "protocol": "TCP"}])]);
    }
}

#[test]
fn a_service_that_the_spec_names_is_reached_at_whatever_port_its_pods_have() {
    let rule = |spec| {
        let policy = network::policy(&relay(spec), &settings()).unwrap();
        let spec = serde_json::to_value(policy.spec.unwrap()).unwrap();
        let rules = spec["egress"].as_array().unwrap().clone();
        rules.into_iter().find(|rule| rule.get("ports").is_none())
    };
    assert_eq!(rule(json!({})), None);
    let long = format!("a.{}.svc", "b".repeat(64));
    let outside = [
        "smart.example",
        "mail.svc.example",
        "10.0.0.1",
        "a._b.svc",
        "a.B.svc",
        &long,
    ];
    for host in outside {
        let spec = json!({"delivery": {"smarthosts": [{"host": host}]}});
        assert_eq!(rule(spec), None, "{host}");
    }
    let spec = json!({
        "delivery": {"smarthosts": [
            {"host": "smtp.mail.svc.cluster.local"},
            {"host": "other.mail.svc", "credentialsSecretRef": {"name": "a"},
             "oauth2": {"tokenUrl": "https://issuer.sso.svc:8443/token"}},
        ]},
    });
    let to = ["mail", "sso"].map(
        |name| json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}),
    );
    assert_eq!(rule(spec), Some(json!({"to": to})));
}

#[test]
fn o31_each_probe_is_a_request_that_the_relay_itself_answers() {
    for relay in [relay(json!({})), full()] {
        let deployment =
            serde_json::to_value(workload::deployment(&relay, 0, &settings(), true)).unwrap();
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let ports = container["ports"].as_array().unwrap();
        for kind in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let probe = container[kind].as_object().unwrap();
            assert!(!probe.contains_key("exec"), "{kind}: {probe:?}");
            let port = &probe["httpGet"]["port"];
            assert!(
                ports.iter().any(|one| one["name"] == *port),
                "{kind}: {port}"
            );
        }
    }
}

#[test]
fn o27_families_of_addresses_are_the_clusters_choice_unless_the_spec_names_them() {
    let families = |relay: &SmtpRelay| {
        let service = serde_json::to_value(network::service(relay)).unwrap();
        ["ipFamilyPolicy", "ipFamilies"].map(|field| service["spec"].get(field).cloned())
    };
    assert_eq!(families(&relay(json!({}))), [None, None]);
    assert_eq!(
        families(&full()),
        [
            Some(json!("PreferDualStack")),
            Some(json!(["IPv6", "IPv4"]))
        ]
    );
}
