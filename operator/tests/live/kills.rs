//! The operator is killed right before and right after each write of its reconciles in turn; the next one
//! always ends where an undisturbed one does.
//!
//! All in one namespace, which is emptied between rounds: an API server takes seconds to start, a round
//! takes two.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Client, ResourceExt as _};
use mailrelay_tests::control_plane::{ControlPlane, Fault, Names, Proxy, User};
use mailrelay_tests::wait;
use operator_api::names::ROTATE_NOW_ANNOTATION;
use serde_json::{Value, json};

use crate::objects::{credential, domain, namespace, operator, plane, relay};

const LIMIT: Duration = Duration::from_secs(40);
/// Writes of a round at most: more would be a loop.
const MOST_WRITES: usize = 120;
/// Nothing is under way when nothing was written for this long.
const QUIET: Duration = Duration::from_secs(2);
const NAMESPACE: &str = "post";

/// Kinds of which the end states are compared.
const KINDS: [(&str, &str, &str, &str); 12] = [
    ("mailrelay.dev", "v1alpha1", "SmtpRelay", "smtprelays"),
    (
        "mailrelay.dev",
        "v1alpha1",
        "SendingDomain",
        "sendingdomains",
    ),
    (
        "mailrelay.dev",
        "v1alpha1",
        "SmtpCredential",
        "smtpcredentials",
    ),
    ("", "v1", "Secret", "secrets"),
    ("", "v1", "ConfigMap", "configmaps"),
    ("", "v1", "Service", "services"),
    ("", "v1", "ServiceAccount", "serviceaccounts"),
    ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    ("apps", "v1", "Deployment", "deployments"),
    (
        "policy",
        "v1",
        "PodDisruptionBudget",
        "poddisruptionbudgets",
    ),
    (
        "networking.k8s.io",
        "v1",
        "NetworkPolicy",
        "networkpolicies",
    ),
    ("", "v1", "Pod", "pods"),
];

/// What is done to the objects, each time from the end of the one before.
#[derive(Clone, Copy, Debug)]
enum Step {
    Create,
    ScaleDown,
    Rotate,
    Delete,
}

const STEPS: [Step; 4] = [Step::Create, Step::ScaleDown, Step::Rotate, Step::Delete];

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_killed_at_any_write_leaves_what_the_next_one_brings_in_order() {
    let mut plane = plane().await.unwrap();
    plane.start_collectors().await.unwrap();
    namespace(&plane.client, NAMESPACE).await.unwrap();
    let upstream = plane.client_of(User::Operator).await.unwrap();
    let proxy = Proxy::start(upstream).await.unwrap();
    let names = Names::start(&plane, "example", &[]).await.unwrap();
    let dns = format!("--dns-server={}", names.address);
    let mut points = 0;
    for (index, step) in STEPS.iter().enumerate() {
        let undisturbed = round(&plane, &proxy, &dns, (index, None), Fault::None)
            .await
            .unwrap();
        let writes = undisturbed.writes;
        println!("{step:?}: {} writes", writes.len());
        assert!(writes.len() < MOST_WRITES, "{writes:#?}");
        for number in (1..=writes.len()).step_by(stride(writes.len())) {
            for after in [false, true] {
                let fault = Fault::HoldWrite { number, after };
                let moment = if after { "after" } else { "before" };
                let point = format!("{step:?}, killed {moment} {number}: {}", writes[number - 1]);
                let wanted = Some(&undisturbed.state);
                let ended = round(&plane, &proxy, &dns, (index, wanted), fault).await;
                ended.unwrap_or_else(|error| panic!("{point}: {error:#}"));
                println!("  {point}");
                points += 1;
            }
        }
    }
    println!("killed at {points} points");
}

/// With `OPERATOR_KILLS=all` every write is tried; else a few of each step, which takes a minute.
fn stride(writes: usize) -> usize {
    if std::env::var("OPERATOR_KILLS").is_ok_and(|wanted| wanted == "all") {
        return 1;
    }
    writes.div_ceil(2).max(1)
}

/// Objects by kind and name.
type State = BTreeMap<String, Value>;

struct Ended {
    /// What exists at the end, by kind and name, without what differs each time.
    state: State,
    /// The writes of the last step.
    writes: Vec<String>,
}

/// Does all steps up to the one at `last`, which `fault` hits, and which ends as `wanted`.
async fn round(
    plane: &ControlPlane,
    proxy: &Proxy,
    dns: &str,
    (last, wanted): (usize, Option<&State>),
    fault: Fault,
) -> anyhow::Result<Ended> {
    let client = &plane.client;
    empty(client).await?;
    let lone = ["--leader-election=false", dns];
    let mut running = operator(plane, Some(proxy), "lone", &lone)?;
    for (index, step) in STEPS.iter().take(last + 1).enumerate() {
        let hit = if index == last {
            fault.clone()
        } else {
            Fault::None
        };
        let kills = hit != Fault::None;
        proxy.set(hit);
        proxy.clear();
        act(client, *step).await?;
        if kills && proxy.holds(LIMIT).await {
            running.kill().await?;
            proxy.set(Fault::None);
            running = operator(plane, Some(proxy), "lone", &lone)?;
        }
        let wanted = wanted.filter(|_| index == last);
        settle(client, proxy, *step, wanted).await?;
    }
    let requests = proxy.requests();
    let writes = requests.into_iter().filter(|request| request.writes);
    let writes = writes.map(|request| request.line).collect();
    let state = state(client).await?;
    running.kill().await?;
    Ok(Ended { state, writes })
}

async fn act(client: &Client, step: Step) -> anyhow::Result<()> {
    let spec = |replicas: i32| json!({"replicas": replicas, "queue": {"storage": "Ephemeral"}});
    match step {
        Step::Create => {
            relay(client, NAMESPACE, "outbox", spec(2)).await?;
            let dkim = json!({"dkim": {"algorithms": ["Ed25519Sha256"], "selectorPrefix": "key"}});
            domain(client, NAMESPACE, "shop", "outbox", dkim).await?;
            credential(client, NAMESPACE, "orders", "outbox").await?;
        }
        Step::ScaleDown => {
            relay(client, NAMESPACE, "outbox", spec(1)).await?;
        }
        Step::Rotate => {
            let domains = api(client, &KINDS[1]);
            let asked = json!({"metadata": {"annotations": {ROTATE_NOW_ANNOTATION: "1"}}});
            let parameters = PatchParams::default();
            domains
                .patch("shop", &parameters, &Patch::Merge(asked))
                .await?;
            let secrets = api(client, &KINDS[3]);
            secrets
                .delete("outbox-tls", &DeleteParams::default())
                .await?;
        }
        Step::Delete => {
            for kind in &KINDS[..3] {
                let all = api(client, kind);
                all.delete_collection(&DeleteParams::default(), &ListParams::default())
                    .await?;
            }
        }
    }
    Ok(())
}

/// Waits for the end of a step: `wanted` where that is known; else what should be there is there, and nothing
/// was written for a while.
async fn settle(
    client: &Client,
    proxy: &Proxy,
    step: Step,
    wanted: Option<&State>,
) -> anyhow::Result<()> {
    wait::until(&format!("the end of {step:?}"), LIMIT, || async move {
        let state = state(client).await.map_err(|error| format!("{error:#}"))?;
        if let Some(wanted) = wanted {
            let differs = difference(wanted, &state);
            return if differs.is_empty() {
                Ok(())
            } else {
                Err(format!("{differs:#?}"))
            };
        }
        let requests = proxy.requests();
        let last = requests.iter().rev().find(|request| request.writes);
        if last.is_some_and(|last| last.at.elapsed() < QUIET) {
            return Err(format!("{last:?}"));
        }
        if is_done(&state, step) {
            Ok(())
        } else {
            Err(format!("{:#?}", state.keys()))
        }
    })
    .await
}

fn is_done(state: &State, step: Step) -> bool {
    let count = |start: &str| state.keys().filter(|key| key.starts_with(start)).count();
    let judged = |key: &str| {
        state
            .get(key)
            .is_some_and(|object| !object["status"].is_null())
    };
    let all = judged("SmtpRelay outbox")
        && judged("SendingDomain shop")
        && judged("SmtpCredential orders");
    let domain = &state.get("SendingDomain shop").unwrap_or(&Value::Null)["status"];
    let relay = &state.get("SmtpRelay outbox").unwrap_or(&Value::Null)["status"];
    let shards = |wanted: usize| {
        count("Deployment ") == wanted
            && relay["replicas"] == wanted
            && relay["domains"] == 1
            && relay["credentials"] == 1
    };
    match step {
        Step::Create => all && shards(2),
        Step::ScaleDown => all && shards(1),
        Step::Rotate => {
            let keys = domain["keys"].as_array().map_or(0, Vec::len);
            all && keys == 2 && state.contains_key("Secret outbox-tls")
        }
        // The cluster's own ConfigMap and ServiceAccount stay.
        Step::Delete => state.is_empty(),
    }
}

fn api(
    client: &Client,
    (group, version, kind, plural): &(&str, &str, &str, &str),
) -> Api<DynamicObject> {
    let version = GroupVersionKind::gvk(group, version, kind);
    let resource = ApiResource::from_gvk_with_plural(&version, plural);
    Api::namespaced_with(client.clone(), NAMESPACE, &resource)
}

/// Removes everything, whoever made it, while no operator runs.
async fn empty(client: &Client) -> anyhow::Result<()> {
    for kind in &KINDS {
        let all = api(client, kind);
        for object in all.list(&ListParams::default()).await? {
            let name = object.name_any();
            // The chart's admission policy keeps what clients trust from being deleted by mistake.
            let free = json!({"metadata": {"finalizers": null,
                "annotations": {"mailrelay.dev/allow-deletion": "true"}}});
            let parameters = PatchParams::default();
            let freed = all.patch(&name, &parameters, &Patch::Merge(free)).await;
            let deleted = match freed {
                Ok(_) => all.delete(&name, &DeleteParams::default()).await.map(drop),
                Err(error) => Err(error),
            };
            match deleted {
                // The garbage collector was faster.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                result => result?,
            }
        }
    }
    wait::until("an empty namespace", LIMIT, || async {
        let state = state(client).await.map_err(|error| format!("{error:#}"))?;
        if state.is_empty() {
            Ok(())
        } else {
            Err(format!("{:?}", state.keys()))
        }
    })
    .await
}

/// Everything in the namespace, by kind and name, without what differs each time.
async fn state(client: &Client) -> anyhow::Result<State> {
    let mut state = BTreeMap::new();
    for kind in &KINDS {
        for object in api(client, kind).list(&ListParams::default()).await? {
            let name = object.name_any();
            if name == "default" || name == "kube-root-ca.crt" {
                continue;
            }
            let mut value = serde_json::to_value(&object)?;
            if matches!(kind.2, "Secret" | "ConfigMap")
                && let Some(data) = value["data"].as_object_mut()
            {
                // Key material is new each time; that it is there is not.
                data.values_mut()
                    .for_each(|content| *content = json!("..."));
            }
            strip(&mut value);
            state.insert(format!("{} {name}", kind.2), value);
        }
    }
    Ok(state)
}

/// Where two states differ, and how.
fn difference(one: &State, other: &State) -> Vec<String> {
    let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let mut differs = Vec::new();
    for key in keys {
        let empty = Value::Null;
        let pair = [one, other].map(|state| state.get(key).unwrap_or(&empty));
        compare(key, pair, &mut differs);
    }
    differs
}

fn compare(path: &str, [one, other]: [&Value; 2], differs: &mut Vec<String>) {
    if let (Value::Object(left), Value::Object(right)) = (one, other) {
        let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
        for name in names {
            let path = format!("{path}.{name}");
            compare(&path, [&one[name.as_str()], &other[name.as_str()]], differs);
        }
    } else if one != other {
        differs.push(format!("{path}: {one} became {other}"));
    }
}

/// What differs from one object to the next of the same meaning.
const PASSING: [&str; 18] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "observedGeneration",
    "managedFields",
    "lastTransitionTime",
    "createdAt",
    "certificateNotAfter",
    "clusterIP",
    "clusterIPs",
    "nodePort",
    "value",
    "splitValue",
    "mailrelay.dev/applied",
    "lastRotation",
    "rotatedAt",
    "zone",
];

fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|name, _| !PASSING.contains(&name.as_str()));
            map.values_mut().for_each(strip);
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}
