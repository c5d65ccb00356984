//! Each kind of list by its keys, and what is left of the operator's own.

use serde_json::{Value, json};

use super::*;

fn own() -> PodTemplateSpec {
    let constraint = |key: &str| json!({"topologyKey": key, "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"});
    serde_json::from_value(json!({
        "metadata": {"labels": {"mailrelay.dev/relay": "outbox"}},
        "spec": {
            "terminationGracePeriodSeconds": 60,
            "securityContext": {"runAsNonRoot": true, "fsGroup": 7},
            "topologySpreadConstraints": [constraint("zone"), constraint("host")],
            "tolerations": [{"key": "own"}],
            "volumes": [{"name": "config"}],
            "containers": [{
                "name": "relay",
                "image": "own:1",
                "env": [{"name": "RELAY_SHARD", "value": "0"}],
                "ports": [{"containerPort": 10025, "name": "smtp", "protocol": "TCP"}],
                "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
                "readinessProbe": {"httpGet": {"path": "/readyz", "port": "health"}, "periodSeconds": 2},
                "volumeMounts": [{"name": "config", "mountPath": "/etc/mailrelay"}],
            }],
        },
    }))
    .unwrap()
}

/// The pod's spec with `users` over the operator's.
#[expect(
    clippy::needless_pass_by_value,
    reason = "reads better with the JSON in place"
)]
fn merged(users: Value) -> Value {
    let users: PodTemplate = serde_json::from_value(json!({"spec": users})).unwrap();
    let merged = serde_json::to_value(over(own(), &users)).unwrap();
    merged["spec"].clone()
}

fn relay(users: Value) -> Value {
    let mut users = users;
    users["name"] = "relay".into();
    merged(json!({"containers": [users]}))["containers"][0].clone()
}

#[test]
fn a_template_without_a_spec_changes_nothing_but_labels_and_annotations() {
    let users = json!({"metadata": {"labels": {"cost": "7"}, "annotations": {"team": "post"}}});
    let users: PodTemplate = serde_json::from_value(users).unwrap();
    let merged = over(own(), &users);
    assert_eq!(merged.spec, own().spec);
    let metadata = merged.metadata.unwrap();
    assert_eq!(
        json!(metadata.labels),
        json!({"cost": "7", "mailrelay.dev/relay": "outbox"})
    );
    assert_eq!(json!(metadata.annotations), json!({"team": "post"}));
    assert_eq!(over(own(), &PodTemplate::default()), own());
}

#[test]
fn containers_volumes_environment_and_mounts_are_found_by_their_keys() {
    let pod = merged(json!({
        "containers": [
            {"name": "shipper", "image": "logs:3"},
            {"name": "relay", "image": "own:2",
                "env": [{"name": "RUST_LOG", "value": "debug"}],
                "volumeMounts": [{"name": "extra", "mountPath": "/extra"}]},
        ],
        "initContainers": [{"name": "first", "image": "wait:1"}],
        "volumes": [{"name": "extra", "emptyDir": {}}],
    }));
    let names = |list: &Value| -> Vec<String> {
        let list = list.as_array().unwrap().iter();
        list.map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&pod["containers"]), ["relay", "shipper"]);
    assert_eq!(names(&pod["initContainers"]), ["first"]);
    assert_eq!(names(&pod["volumes"]), ["config", "extra"]);
    let relay = &pod["containers"][0];
    assert_eq!(relay["image"], "own:2");
    assert_eq!(names(&relay["env"]), ["RELAY_SHARD", "RUST_LOG"]);
    assert_eq!(names(&relay["volumeMounts"]), ["config", "extra"]);
}

#[test]
fn a_port_is_found_by_number_and_protocol_of_which_tcp_goes_without_saying() {
    let relay = relay(json!({"ports": [
        {"containerPort": 10025, "hostPort": 25},
        {"containerPort": 10025, "protocol": "UDP"},
        {"containerPort": 9000},
    ]}));
    assert_eq!(
        relay["ports"],
        json!([
            {"containerPort": 10025, "hostPort": 25, "name": "smtp", "protocol": "TCP"},
            {"containerPort": 10025, "protocol": "UDP"},
            {"containerPort": 9000},
        ])
    );
}

#[test]
fn a_spread_constraint_is_found_by_both_of_its_keys() {
    let pod = merged(json!({"topologySpreadConstraints": [
        {"topologyKey": "host", "whenUnsatisfiable": "DoNotSchedule", "maxSkew": 1},
        {"topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "maxSkew": 4},
    ]}));
    let list = pod["topologySpreadConstraints"].as_array().unwrap();
    let list: Vec<String> = list
        .iter()
        .map(|one| {
            let text = |name: &str| one[name].as_str().unwrap().to_owned();
            format!(
                "{} {} {}",
                text("topologyKey"),
                text("whenUnsatisfiable"),
                one["maxSkew"]
            )
        })
        .collect();
    assert_eq!(
        list,
        [
            "zone ScheduleAnyway 4",
            "host ScheduleAnyway 1",
            "host DoNotSchedule 1"
        ]
    );
}

#[test]
fn structures_are_merged_field_by_field_and_other_lists_replaced() {
    let pod = merged(json!({
        "terminationGracePeriodSeconds": 300,
        "securityContext": {"fsGroup": 9},
        "tolerations": [{"key": "theirs"}],
        "priorityClassName": "high",
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
        "dnsConfig": {"nameservers": ["192.0.2.53"]},
        "runtimeClassName": "gvisor",
        "nodeSelector": {"disk": "ssd"},
    }));
    assert_eq!(pod["terminationGracePeriodSeconds"], 300);
    assert_eq!(
        pod["securityContext"],
        json!({"runAsNonRoot": true, "fsGroup": 9})
    );
    assert_eq!(pod["tolerations"], json!([{"key": "theirs"}]));
    assert_eq!(pod["priorityClassName"], "high");
    assert!(pod["affinity"]["nodeAffinity"].is_object());
    assert_eq!(pod["dnsConfig"]["nameservers"], json!(["192.0.2.53"]));
    assert_eq!(
        [&pod["runtimeClassName"], &pod["nodeSelector"]["disk"]],
        ["gvisor", "ssd"]
    );
    assert_eq!(pod["containers"][0]["image"], "own:1");
}

#[test]
fn a_limit_below_the_default_request_takes_the_requests_place() {
    let relay = relay(json!({"resources": {"limits": {"memory": "32Mi"}}}));
    assert_eq!(
        relay["resources"],
        json!({"limits": {"memory": "32Mi"}, "requests": {"cpu": "50m"}})
    );
}

#[test]
fn probes_keep_the_relays_own_question() {
    let relay = relay(json!({"readinessProbe": {"periodSeconds": 30}}));
    assert_eq!(
        relay["readinessProbe"],
        json!({"httpGet": {"path": "/readyz", "port": "health"}, "periodSeconds": 30})
    );
}

#[test]
fn a_pod_in_the_nodes_network_still_finds_names_of_the_cluster() {
    assert_eq!(
        merged(json!({"hostNetwork": true}))["dnsPolicy"],
        "ClusterFirstWithHostNet"
    );
    let own = json!({"hostNetwork": true, "dnsPolicy": "Default"});
    assert_eq!(merged(own)["dnsPolicy"], "Default");
    assert_eq!(merged(json!({}))["dnsPolicy"], Value::Null);
}
