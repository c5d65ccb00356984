//! Everything that belongs to the operator, with the path that users see.

use serde_json::{Value, json};

use super::*;

fn judge(template: &Value) -> Result<(), String> {
    let relay: SmtpRelay = serde_json::from_value(json!({
        "apiVersion": "mailrelay.dev/v1alpha1",
        "kind": "SmtpRelay",
        "metadata": {"name": "outbox", "namespace": "post"},
        "spec": {"podTemplate": template},
    }))
    .unwrap();
    check(&relay).map_err(|violation| {
        assert_eq!(violation.reason, reason::INVALID_SPEC);
        violation.message
    })
}

fn relay(fields: Value) -> Value {
    let mut fields = fields;
    fields["name"] = "relay".into();
    json!({"spec": {"containers": [fields]}})
}

#[test]
fn what_the_relay_cannot_do_without_is_refused_with_its_path_and_the_remedy() {
    let label = |name: &str| json!({"metadata": {"labels": {name: "x"}}});
    let rows = [
        (
            label("mailrelay.dev/shard"),
            "metadata.labels[mailrelay.dev/shard]",
        ),
        (
            label("app.kubernetes.io/managed-by"),
            "metadata.labels[app.kubernetes.io/managed-by]",
        ),
        (
            json!({"metadata": {"annotations": {"mailrelay.dev/draining-since": "0"}}}),
            "metadata.annotations[mailrelay.dev/draining-since]",
        ),
        (json!({"spec": {"hostname": "a"}}), "spec.hostname"),
        (json!({"spec": {"subdomain": "a"}}), "spec.subdomain"),
        (
            json!({"spec": {"terminationGracePeriodSeconds": 5}}),
            "spec.terminationGracePeriodSeconds: 5 is too short for transactions under way; give 30 or more",
        ),
        (
            json!({"spec": {"volumes": [{"name": "queue"}]}}),
            "spec.volumes[queue]",
        ),
        (
            json!({"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}),
            "spec.containers[a]: another container has this name",
        ),
        (
            json!({"spec": {"initContainers": [{"name": "relay"}]}}),
            "spec.initContainers[relay]: another container has this name",
        ),
        (relay(json!({"args": ["x"]})), "spec.containers[relay].args"),
        (
            relay(json!({"command": []})),
            "spec.containers[relay].command",
        ),
        (
            relay(json!({"env": [{"name": "POD_NAME", "value": "x"}]})),
            "spec.containers[relay].env[POD_NAME]",
        ),
        (
            relay(json!({"env": [{"name": "RELAY_SHARD", "value": "x"}]})),
            "spec.containers[relay].env[RELAY_SHARD]",
        ),
        (
            relay(
                json!({"volumeMounts": [{"name": "a", "mountPath": "/var/lib/mailrelay/queue"}]}),
            ),
            "spec.containers[relay].volumeMounts[/var/lib/mailrelay/queue]",
        ),
        (
            relay(json!({"volumeMounts": [{"name": "a", "mountPath": "/etc/mailrelay/"}]})),
            "spec.containers[relay].volumeMounts[/etc/mailrelay/]",
        ),
        (
            relay(json!({"livenessProbe": {"exec": {"command": ["true"]}}})),
            "spec.containers[relay].livenessProbe.exec",
        ),
        (
            relay(json!({"ports": [{"containerPort": 10025, "name": "mine"}]})),
            "spec.containers[relay].ports[10025].name",
        ),
        (
            relay(json!({"ports": [{"containerPort": 9000, "name": "admin"}]})),
            "spec.containers[relay].ports[9000].name",
        ),
        (
            json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 8443}]}]}}),
            "spec.containers[a].ports[8443]",
        ),
    ];
    for (template, path) in rows {
        let message = judge(&template).unwrap_err();
        let expected = format!("spec.podTemplate.{path}");
        assert!(message.starts_with(&expected), "{template}\n{message}");
        assert!(message.contains("; "), "no remedy: {message}");
    }
}

#[test]
fn everything_else_is_the_users() {
    let rows = [
        json!({}),
        json!({"metadata": {"labels": {"cost": "7"}, "annotations": {"mailrelay.develop/x": "y"}}}),
        json!({"spec": {
            "terminationGracePeriodSeconds": 300,
            "hostNetwork": true,
            "containers": [{"name": "shipper", "ports": [{"containerPort": 9000, "name": "logs"}]}],
            "volumes": [{"name": "queues"}],
        }}),
        relay(json!({
            "image": "own:2",
            "env": [{"name": "RUST_LOG", "value": "debug"}],
            "ports": [{"containerPort": 10025, "hostPort": 25}, {"containerPort": 9000, "name": "own"},
                {"containerPort": 10025, "name": "smtp"}],
            "volumeMounts": [{"name": "a", "mountPath": "/var/lib/mailrelay2"}],
            "readinessProbe": {"periodSeconds": 30},
            "securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE"]}},
        })),
    ];
    for template in rows {
        assert_eq!(judge(&template), Ok(()), "{template}");
    }
}
