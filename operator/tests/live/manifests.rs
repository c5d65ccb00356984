//! Random manifests, made after the schema and now and then beside it: the API server refuses some; the operator
//! survives the others, says something of each, and comes to rest.
//!
//! `OPERATOR_MANIFESTS` is how many are to be taken, `OPERATOR_SEED` repeats a run.

use std::time::{Duration, Instant};

use fastrand::Rng;
use kube::api::{Api, ListParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Client, CustomResourceExt as _, Resource, ResourceExt as _};
use mailrelay_tests::control_plane::Operator;
use mailrelay_tests::wait;
use operator_api::{SendingDomain, SmtpCredential, SmtpRelay};
use serde_json::{Map, Value, json};

use crate::objects::{namespace, operator, plane};

const NAMESPACE: &str = "random";
/// Manifests that are taken, if the environment names no other number.
const TAKEN: usize = 60;
/// For each that is taken so many may be refused.
const TRIES: usize = 40;
const LIMIT: Duration = Duration::from_mins(2);
/// Requests of the operator for each object: to make all that belongs to it takes some thirty.
const MOST_REQUESTS: u64 = 150;
/// How long an operator at rest is watched, and what it may ask for meanwhile: relays are looked at each minute.
const REST: Duration = Duration::from_secs(10);

/// Makes values.
struct Maker {
    random: Rng,
}

impl Maker {
    fn often(&mut self, percent: u8) -> bool {
        self.random.u8(..100) < percent
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.random.usize(..of.len())]
    }

    /// A value that `schema` describes, mostly.
    fn value(&mut self, schema: &Value, depth: usize) -> Value {
        if self.often(1) {
            return self
                .one(&[
                    &json!(null),
                    &json!(-1),
                    &json!("astray"),
                    &json!([]),
                    &json!({}),
                ])
                .clone();
        }
        if let Some(words) = schema["enum"].as_array() {
            return words[self.random.usize(..words.len())].clone();
        }
        if schema["x-kubernetes-int-or-string"] == true {
            return if self.often(50) {
                self.number(schema)
            } else {
                self.text().into()
            };
        }
        match schema["type"].as_str() {
            Some("object") => self.object(schema, depth),
            Some("array") => {
                let least = schema["minItems"].as_u64().unwrap_or(0);
                let count = self.random.u64(least..=least + 2);
                (0..count)
                    .map(|_| self.value(&schema["items"], depth + 1))
                    .collect()
            }
            Some("boolean") => self.random.bool().into(),
            Some("integer" | "number") => self.number(schema),
            _ => self.text().into(),
        }
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Value {
        let mut made = Map::new();
        let required: Vec<&str> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        // The further down, the more: a field that is named is to have content.
        let given = if depth == 0 { 25 } else { 40 };
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            if required.contains(&name.as_str()) || (depth < 6 && self.often(given)) {
                made.insert(name.clone(), self.value(inner, depth + 1));
            }
        }
        if schema["additionalProperties"].is_object() {
            for _ in 0..self.random.usize(..3) {
                let value = self.value(&schema["additionalProperties"], depth + 1);
                made.insert(self.text(), value);
            }
        }
        made.into()
    }

    /// Small numbers, ports, and the edges of what is allowed and of the type.
    fn number(&mut self, schema: &Value) -> Value {
        let edges = ["minimum", "maximum"].map(|edge| schema[edge].as_f64());
        let known = [
            0.0,
            1.0,
            2.0,
            25.0,
            587.0,
            8443.0,
            65535.0,
            2_147_483_647.0,
            -1.0,
        ];
        let mut all: Vec<f64> = edges.into_iter().flatten().collect();
        all.extend(edges.into_iter().flatten());
        all.extend(known);
        #[expect(clippy::cast_possible_truncation, reason = "whole numbers")]
        let number = all[self.random.usize(..all.len())] as i64;
        number.into()
    }

    fn text(&mut self) -> String {
        let long = "x".repeat(300);
        self.one(&[
            "",
            "a",
            "relay",
            "mail.example.com",
            "10.0.0.0/8",
            "2001:db8::/32",
            "192.0.2.1",
            "1Gi",
            "0",
            "10m",
            "0s",
            "720h",
            "someone@example.com",
            "https://issuer.example",
            "smtp",
            "*",
            "ä\u{202e}",
            "2026-12-01T00:00:00Z",
            "2001-01-01T00:00:00Z",
            "a.b",
            "tls.crt",
            "random-1",
            "mailrelay.dev/shard",
            "localhost",
            "xn--bcher-kva.example",
            &long,
        ])
        .to_owned()
    }

    /// A manifest of one of the three kinds.
    fn manifest(&mut self, number: usize) -> (ApiResource, Value) {
        let (resource, definition) = match number % 4 {
            0 => (
                ApiResource::erase::<SendingDomain>(&()),
                SendingDomain::crd(),
            ),
            1 => (
                ApiResource::erase::<SmtpCredential>(&()),
                SmtpCredential::crd(),
            ),
            _ => (ApiResource::erase::<SmtpRelay>(&()), SmtpRelay::crd()),
        };
        let schema = serde_json::to_value(&definition.spec.versions[0].schema).unwrap();
        let schema = &schema["openAPIV3Schema"]["properties"]["spec"];
        let mut spec = self.value(schema, 0);
        let relay = format!("random-{}", 2 + 4 * self.random.usize(..20));
        if resource.kind != "SmtpRelay" && spec.is_object() {
            spec["relayRef"] = json!({"name": relay});
        }
        if resource.kind == "SendingDomain" && spec.is_object() && self.often(90) {
            spec["domain"] = format!("{}.example", self.random.u8(..)).into();
        }
        let mut name = format!("random-{number}");
        if self.often(5) {
            name += &"y".repeat(self.random.usize(20..60));
        }
        let manifest = json!({"apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec});
        (resource, manifest)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_manifest_the_api_server_takes_ends_in_conditions_and_in_rest() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let seed = number("OPERATOR_SEED").unwrap_or_else(|| fastrand::u64(..));
    let wanted =
        number("OPERATOR_MANIFESTS").map_or(TAKEN, |wanted| usize::try_from(wanted).unwrap());
    println!("manifests: OPERATOR_SEED={seed}");
    let plane = plane().await.unwrap();
    let client = &plane.client;
    namespace(client, NAMESPACE).await.unwrap();
    let dns = "--dns-server=127.0.0.1:9";
    let running = operator(&plane, None, "lone", &["--leader-election=false", dns]).unwrap();
    running.leads().await.unwrap();
    let mut maker = Maker {
        random: Rng::with_seed(seed),
    };
    let before: u64 = plane.requests().await.unwrap().values().sum();
    let (mut taken, mut refused) = (0, 0);
    while taken < wanted {
        let (resource, manifest) = maker.manifest(taken + refused);
        let object: Result<DynamicObject, _> = serde_json::from_value(manifest.clone());
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), NAMESPACE, &resource);
        match api.create(&PostParams::default(), &object.unwrap()).await {
            Ok(_) => taken += 1,
            Err(kube::Error::Api(status)) if [400, 422].contains(&status.code) => refused += 1,
            Err(error) => panic!("{error}: {manifest}"),
        }
        assert!(
            refused < wanted * TRIES,
            "only {taken} were taken, {refused} refused"
        );
    }
    let started = Instant::now();
    wait::until("all are judged", LIMIT, || async {
        let open = [
            unjudged::<SmtpRelay>(client).await,
            unjudged::<SendingDomain>(client).await,
            unjudged::<SmtpCredential>(client).await,
        ];
        let open = open.concat();
        if open.is_empty() {
            Ok(())
        } else {
            Err(open.join("\n"))
        }
    })
    .await
    .unwrap_or_else(|error| panic!("{error:#}\n{}", running.log()));
    let judged = started.elapsed();
    let asked: u64 = plane.requests().await.unwrap().values().sum::<u64>() - before;
    let at_rest = rests(&plane, &running).await;
    println!(
        "manifests: {taken} taken and {refused} refused; judged within {judged:?}; {} requests for each, all of \
         them counted; at rest {at_rest} in {REST:?}",
        asked / taken as u64
    );
    assert!(asked < MOST_REQUESTS * taken as u64, "{asked}");
    // One look at each, and what the API server asks itself.
    assert!(at_rest < 4 * taken as u64 + 150, "{at_rest}");
    let log = running.whole_log().unwrap();
    assert!(!log.contains("panicked"), "{log}");
    running.stop().await.unwrap();
}

/// Objects of which nothing is said yet.
async fn unjudged<K>(client: &Client) -> Vec<String>
where
    K: Resource<DynamicType = ()>,
{
    let resource = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), NAMESPACE, &resource);
    let all = api.list(&ListParams::default()).await.unwrap();
    let is_judged = |object: &DynamicObject| {
        let status = &object.data["status"];
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let told = conditions.iter().all(|one| {
            ["type", "reason", "message"]
                .iter()
                .all(|part| one[*part].as_str().is_some_and(|text| !text.is_empty()))
        });
        let ready = conditions.iter().any(|one| one["type"] == "Ready");
        ready && told && status["observedGeneration"] == json!(object.metadata.generation)
    };
    let open = all.items.iter().filter(|object| !is_judged(object));
    open.map(|object| format!("{} {} {}", resource.kind, object.name_any(), object.data))
        .collect()
}

/// Requests while nothing happens, once all that was under way is done.
async fn rests(plane: &mailrelay_tests::control_plane::ControlPlane, running: &Operator) -> u64 {
    // How long that takes nobody says; an object that failed comes again within this.
    tokio::time::sleep(REST).await;
    let before: u64 = plane.requests().await.unwrap().values().sum();
    tokio::time::sleep(REST).await;
    assert!(running.cpu().is_ok(), "{}", running.log());
    plane.requests().await.unwrap().values().sum::<u64>() - before
}
