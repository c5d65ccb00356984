//! An API server that keeps what it is sent, for tests of whole reconciles. It merges nothing: what is
//! applied is the object.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use kube::runtime::events::{Recorder, Reporter};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{failure, pair};
use crate::context::{Asking, Context, Settings, Stores};
use crate::kubernetes::store::{Cached, Store};
use crate::kubernetes::watch::Scope;

/// The server.
pub(crate) struct Api {
    client: Client,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// By path below the namespace.
    objects: BTreeMap<String, Value>,
    requests: Vec<String>,
    version: u64,
    /// Part of the paths at which nothing may be written.
    refused: Option<&'static str>,
}

impl Api {
    /// A server without objects. It answers for as long as the test runs.
    pub(crate) fn empty() -> Self {
        let (client, mut server) = pair();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Some((request, reply)) = server.next_request().await {
                reply.send_response(answer(&shared, request).await);
            }
        });
        Self { client, state }
    }

    /// A context whose caches are empty.
    pub(crate) fn context(&self) -> Arc<Context> {
        let reporter = Reporter {
            controller: "test".to_owned(),
            instance: None,
        };
        Arc::new(Context {
            recorder: Recorder::new(self.client.clone(), reporter),
            client: self.client.clone(),
            stores: Stores::empty(),
            triggers: Asking::default(),
            applier: Arc::default(),
            backoff: crate::kubernetes::backoff::Backoff::default(),
            key_maker: Arc::default(),
            dns: crate::domain::dns::Dns::new(&[([127, 0, 0, 1], 9).into()]).unwrap(),
            programmed: crate::render::Programmed::default(),
            issuers: crate::issuers::IssuerKeys::default(),
            admin: crate::relay::admin::AdminClients::default(),
            metrics: crate::telemetry::Metrics::unheard(),
            settings: Settings {
                relay_image: "relay.example/relay:test".to_owned(),
                dns_servers: Vec::new(),
                namespace: None,
                scope: Scope::Cluster,
            },
        })
    }

    /// Everything that was asked, oldest first; without Events and the keys of token issuers.
    pub(crate) fn requests(&self) -> Vec<String> {
        let mut requests = self.state.lock().requests.clone();
        requests.retain(|request| !request.contains("events") && !request.contains("openid"));
        requests
    }

    /// As [`Self::requests`], those that change something.
    pub(crate) fn writes(&self) -> Vec<String> {
        let mut requests = self.requests();
        requests.retain(|request| !request.starts_with("GET "));
        requests
    }

    /// Takes nothing any more at paths that contain `part`.
    pub(crate) fn refuse(&self, part: &'static str) {
        self.state.lock().refused = Some(part);
    }

    /// Forgets what was asked so far.
    pub(crate) fn clear(&self) {
        self.state.lock().requests.clear();
    }

    /// The status that was last written of an object.
    pub(crate) fn status<S: DeserializeOwned>(&self, path: &str) -> Option<S> {
        let state = self.state.lock();
        let object = state.objects.get(&format!("{path}/status"))?;
        serde_json::from_value(object["status"].clone()).ok()
    }

    /// Tells the caches of all objects.
    pub(crate) fn show(&self, context: &Context) {
        let stores = &context.stores;
        for (path, object) in &self.state.lock().objects {
            match path.split('/').next().unwrap_or_default() {
                "secrets" => put(&stores.secrets, object),
                "configmaps" => put(&stores.config_maps, object),
                "deployments" => put(&stores.deployments, object),
                "services" => put(&stores.services, object),
                "serviceaccounts" => put(&stores.service_accounts, object),
                "persistentvolumeclaims" => put(&stores.claims, object),
                "poddisruptionbudgets" => put(&stores.budgets, object),
                "networkpolicies" => put(&stores.policies, object),
                _ => {}
            }
        }
    }
}

fn put<K: Cached>(store: &Store<K>, object: &Value) {
    store.put(&serde_json::from_value(object.clone()).unwrap());
}

async fn answer(state: &Mutex<State>, request: Request<Body>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    // What comes after `/namespaces/NAME/`.
    let short = path
        .split_once("/namespaces/")
        .and_then(|(_, rest)| rest.split_once('/'));
    let short = short.map_or(path.as_str(), |(_, rest)| rest).to_owned();
    let method = request.method().clone();
    let sent = request.into_body().collect().await.unwrap().to_bytes();
    let mut sent: Value = serde_json::from_slice(&sent).unwrap_or_default();
    let mut state = state.lock();
    state.requests.push(format!("{method} {short}"));
    state.version += 1;
    let (code, body) = match method {
        Method::GET => match state.objects.get(&short) {
            Some(object) => (200, object.clone()),
            None => (404, failure(404, "NotFound")),
        },
        _ if state.refused.is_some_and(|part| short.contains(part)) => {
            (422, failure(422, "Invalid"))
        }
        Method::DELETE => {
            state.objects.remove(&short);
            (
                200,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}),
            )
        }
        _ => {
            sent["metadata"]["resourceVersion"] = state.version.to_string().into();
            // What a status does not say of its object is of no interest to anybody here.
            if short.ends_with("/status") {
                sent["spec"] = json!({"domain": "", "relayRef": {"name": ""}});
            }
            state.objects.insert(short, sent.clone());
            (200, sent)
        }
    };
    Response::builder()
        .status(code)
        .body(Body::from(body.to_string().into_bytes()))
        .unwrap()
}
