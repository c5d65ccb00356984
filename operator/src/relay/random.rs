//! Random specs, most of them senseless: nothing panics, each ends in conditions that say why, and the
//! same spec makes the same objects.

use operator_api::conditions::reason;
use operator_api::{ShardPhase, ShardStatus};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::dereference::fixtures;
use super::{build, status, validate};
use crate::context::Settings;

/// What a violation of the spec may be called.
const REASONS: [&str; 5] = [
    reason::INVALID_SPEC,
    reason::SECRET_NOT_FOUND,
    reason::CERTIFICATE_MISSING,
    reason::CERTIFICATE_INVALID,
    reason::CERTIFICATE_EXPIRED,
];

/// Text that a schema without a pattern lets through.
fn text() -> impl Strategy<Value = Value> {
    prop_oneof![
        "[a-z0-9.:/-]{0,20}",
        "\\PC{0,12}",
        Just("2001:db8::1".to_owned())
    ]
    .prop_map(Value::from)
}

fn size() -> impl Strategy<Value = Value> {
    let known = ["1Gi", "0", "-1", "128Mi", "1e99", "25M", "abc", ""];
    proptest::sample::select(known.to_vec()).prop_map(Value::from)
}

fn duration() -> impl Strategy<Value = Value> {
    let known = ["10m", "0s", "99999h", "1h1h1h1h", "-1s", "x", "720h"];
    proptest::sample::select(known.to_vec()).prop_map(Value::from)
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![1..65536_i32, any::<i32>(), Just(0), Just(8443)].prop_map(Value::from)
}

fn word(words: &'static [&'static str]) -> impl Strategy<Value = Value> {
    proptest::sample::select(words).prop_map(Value::from)
}

/// An object with some of the fields.
fn object(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let (names, values): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
    let values: Vec<_> = values.into_iter().map(option::of).collect();
    let pair = move |values: Vec<Option<Value>>| {
        let given = names.iter().zip(values);
        let given = given.filter_map(|(name, value)| Some(((*name).to_owned(), value?)));
        Value::Object(given.collect())
    };
    values.prop_map(pair).boxed()
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

fn listener() -> BoxedStrategy<Value> {
    let rest = object(vec![
        ("tls", word(&["None", "StartTls", "Implicit"]).boxed()),
        (
            "authentication",
            word(&["Required", "Optional", "None"]).boxed(),
        ),
        ("role", word(&["Submission", "Bounces"]).boxed()),
        ("nodePort", number().boxed()),
        ("proxyProtocol", any::<bool>().prop_map(Value::from).boxed()),
        ("proxies", vec(text(), 0..3).prop_map(Value::from).boxed()),
    ]);
    ("[a-z][a-z0-9-]{0,3}", number(), rest)
        .prop_map(|(name, port, rest)| with(with(rest, "name", name.into()), "port", port))
        .boxed()
}

fn container() -> BoxedStrategy<Value> {
    let named = |name: &'static str, inner: BoxedStrategy<Value>| {
        vec(inner, 0..3)
            .prop_map(move |list| {
                list.into_iter()
                    .map(|value| with(json!({}), name, value))
                    .collect::<Vec<_>>()
            })
            .prop_map(Value::from)
            .boxed()
    };
    let rest = object(vec![
        ("image", text().boxed()),
        ("args", vec(text(), 0..2).prop_map(Value::from).boxed()),
        (
            "env",
            named("name", word(&["POD_NAME", "RUST_LOG", ""]).boxed()),
        ),
        ("ports", named("containerPort", number().boxed())),
        (
            "volumeMounts",
            named("mountPath", word(&["/etc/mailrelay", "/x", ""]).boxed()),
        ),
        (
            "resources",
            size()
                .prop_map(|size| json!({"limits": {"memory": size}}))
                .boxed(),
        ),
    ]);
    (word(&["relay", "shipper", ""]), rest)
        .prop_map(|(name, rest)| with(rest, "name", name))
        .boxed()
}

fn pod_template() -> BoxedStrategy<Value> {
    let labels = word(&["mailrelay.dev/shard", "cost", ""])
        .prop_map(|label| json!({"labels": {(label.as_str().unwrap_or_default()): "x"}}));
    object(vec![
        ("metadata", labels.boxed()),
        (
            "spec",
            object(vec![
                (
                    "containers",
                    vec(container(), 0..3).prop_map(Value::from).boxed(),
                ),
                ("hostNetwork", any::<bool>().prop_map(Value::from).boxed()),
                (
                    "terminationGracePeriodSeconds",
                    any::<i64>().prop_map(Value::from).boxed(),
                ),
                (
                    "volumes",
                    word(&["config", "logs"])
                        .prop_map(|name| json!([{"name": name}]))
                        .boxed(),
                ),
            ]),
        ),
    ])
}

fn delivery() -> BoxedStrategy<Value> {
    let smarthost = (text(), number()).prop_map(|(host, port)| json!({"host": host, "port": port}));
    object(vec![
        (
            "smarthosts",
            vec(smarthost, 0..3).prop_map(Value::from).boxed(),
        ),
        (
            "retry",
            object(vec![
                ("initial", duration().boxed()),
                ("expireAfter", duration().boxed()),
            ]),
        ),
        ("mxPort", number().boxed()),
    ])
}

fn spec() -> BoxedStrategy<Value> {
    object(vec![
        ("replicas", (0..4_i32).prop_map(Value::from).boxed()),
        (
            "scaleToZeroPolicy",
            word(&["Refuse", "Wait", "Discard"]).boxed(),
        ),
        (
            "deletionPolicy",
            word(&["Drain", "Retain", "Discard"]).boxed(),
        ),
        ("drainTimeout", duration().boxed()),
        ("hostname", word(&["mail.example.com", "a.b"]).boxed()),
        (
            "listeners",
            vec(listener(), 1..4).prop_map(Value::from).boxed(),
        ),
        (
            "tls",
            text().prop_map(|name| json!({"secretName": name})).boxed(),
        ),
        (
            "clients",
            vec(text(), 0..3)
                .prop_map(|list| json!({"cidrs": list}))
                .boxed(),
        ),
        (
            "dns",
            vec(text(), 0..3)
                .prop_map(|list| json!({"servers": list}))
                .boxed(),
        ),
        ("delivery", delivery()),
        (
            "queue",
            object(vec![
                ("size", size().boxed()),
                ("storage", word(&["Persistent", "Ephemeral"]).boxed()),
                ("storageClassName", text().boxed()),
            ]),
        ),
        (
            "limits",
            object(vec![
                ("messageSize", size().boxed()),
                ("headerSize", size().boxed()),
                ("recipients", number().boxed()),
                ("sessionTimeout", duration().boxed()),
                ("maximumHold", duration().boxed()),
            ]),
        ),
        ("podTemplate", pod_template()),
        (
            "service",
            object(vec![
                (
                    "type",
                    word(&["ClusterIP", "NodePort", "LoadBalancer"]).boxed(),
                ),
                ("externalTrafficPolicy", word(&["Cluster", "Local"]).boxed()),
                ("loadBalancerClass", text().boxed()),
            ]),
        ),
    ])
}

fn settings() -> Settings {
    Settings {
        relay_image: "registry.example/relay:1".to_owned(),
        dns_servers: Vec::new(),
        namespace: None,
        scope: crate::kubernetes::watch::Scope::Cluster,
    }
}

/// What is applied of a spec, but for certificates, which are new each time.
fn objects(prepared: &build::Prepared) -> String {
    let shards = prepared.workload.as_ref().map(|workload| {
        let shards = workload.shards.iter();
        shards
            .map(|shard| json!([shard.deployment, shard.claim]))
            .collect::<Vec<_>>()
    });
    json!([
        prepared.service,
        prepared.shards_service,
        prepared.policy,
        prepared.budget,
        shards.map_err(|violation| violation.message.clone()),
    ])
    .to_string()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_spec_ends_in_conditions_and_makes_the_same_objects_each_time(spec in spec()) {
        let found = fixtures::found(spec, true);
        let now = fixtures::NOW;
        let built = || {
            let judged = validate::run(&found, now).map_err(|error| error.to_string())?;
            Ok::<_, String>(build::run(&found, judged, &settings(), now))
        };
        let (one, two) = (built().unwrap(), built().unwrap());
        prop_assert_eq!(objects(&one), objects(&two));
        let refused = one.workload.as_ref().err();
        if let Some(violation) = refused {
            prop_assert!(REASONS.contains(&violation.reason), "{:?}", violation);
            prop_assert!(violation.message.len() > 20, "{:?}", violation);
        }
        let shards: Vec<ShardStatus> = found
            .shards
            .iter()
            .map(|shard| ShardStatus {
                name: format!("outbox-{}", shard.index),
                phase: ShardPhase::Running,
                programmed: true,
                ..ShardStatus::default()
            })
            .collect();
        let verdicts = status::judge(&found, refused, &one.tls, &shards, now);
        let ready = verdicts.last().unwrap();
        prop_assert_eq!(ready.kind, "Ready");
        prop_assert!(verdicts.iter().all(|one| !one.message.is_empty() && !one.reason.is_empty()));
        let none = found.relay.spec.replicas == 0;
        prop_assert_eq!(ready.holds(), refused.is_none() && !none, "{:?}", ready);
    }
}
