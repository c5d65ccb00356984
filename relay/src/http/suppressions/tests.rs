//! The API as its callers see it.

use axum::body::Body;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};

use super::*;
use crate::context::Context;

struct Api {
    context: SharedContext,
    _directory: tempfile::TempDir,
}

impl Api {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let text = "{version: 1, relay: a, hostname: a.example, \
            listeners: [{name: one, address: \"127.0.0.1:0\", tls: None}], \
            domains: [{name: shop.example}, {name: news.example}]}";
        Self {
            context: Context::for_test(text, directory.path()),
            _directory: directory,
        }
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json");
        send(routes(self.context.clone()), request, body).await
    }
}

async fn send(router: Router, request: axum::http::request::Builder, body: Value) -> (u16, Value) {
    let request = request.body(Body::from(body.to_string())).unwrap();
    let response = TowerToHyperService::new(router)
        .call(request)
        .await
        .unwrap();
    let code = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    (
        code,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

#[tokio::test]
async fn an_entry_is_added_seen_and_removed() {
    let api = Api::new();
    let path = "/v1/suppressions";
    let new = json!({"domain": "Shop.example", "address": "To@dest.example", "detail": "asked", "expiresIn": 60});
    let (code, added) = api.ask("PUT", path, new).await;
    assert_eq!((code, &added["cause"]), (200, &json!("manual")));
    let (code, page) = api
        .ask("GET", "/v1/suppressions?domain=shop.example", Value::Null)
        .await;
    assert_eq!(code, 200);
    assert_eq!(page, json!({"entries": [added]}));
    let (_, page) = api
        .ask("GET", "/v1/suppressions?domain=news.example", Value::Null)
        .await;
    assert_eq!(page, json!({"entries": []}));
    let one = "/v1/suppressions?domain=shop.example&address=to%40dest.example";
    assert_eq!(api.ask("DELETE", one, Value::Null).await.0, 204);
    assert_eq!(api.ask("DELETE", one, Value::Null).await.0, 404);
    assert_eq!(api.context.suppressions.len(), 0);
}

#[tokio::test]
async fn pages_lead_to_each_other_and_end() {
    let api = Api::new();
    for number in 0..5 {
        let to = format!("to{number}@dest.example");
        let new = json!({"domain": "shop.example", "address": to});
        assert_eq!(api.ask("PUT", "/v1/suppressions", new).await.0, 200);
    }
    let mut path = "/v1/suppressions?limit=2".to_owned();
    let mut sizes = Vec::new();
    loop {
        let (_, page) = api.ask("GET", &path, Value::Null).await;
        sizes.push(page["entries"].as_array().unwrap().len());
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/v1/suppressions?limit=2&after={next}");
    }
    assert_eq!(sizes, [2, 2, 1]);
}

#[tokio::test]
async fn a_fault_names_field_and_value() {
    let api = Api::new();
    for (method, path, body, text) in [
        (
            "PUT",
            "/v1/suppressions",
            json!({"domain": "bank.example", "address": "a@b.example"}),
            "domain: bank.example is not a sending domain",
        ),
        (
            "PUT",
            "/v1/suppressions",
            json!({"domain": "shop.example", "address": "a"}),
            "address: \"a\": it has no domain",
        ),
        (
            "DELETE",
            "/v1/suppressions?domain=shop.example",
            Value::Null,
            "give address or mark",
        ),
        (
            "DELETE",
            "/v1/suppressions?domain=shop.example&mark=x",
            Value::Null,
            "mark: is not",
        ),
        (
            "GET",
            "/v1/suppressions?after=x",
            Value::Null,
            "after: is not",
        ),
    ] {
        let (code, answer) = api.ask(method, path, body).await;
        assert_eq!(code, 400, "{path}");
        assert!(answer.as_str().unwrap().starts_with(text), "{answer}");
    }
}

#[tokio::test]
async fn in_clear_text_only_programs_on_this_machine_get_an_answer() {
    let api = Api::new();
    for (peer, host, origin, expected) in [
        (Some("127.0.0.1:5"), "127.0.0.1:8080", None, 200),
        (Some("[::ffff:127.0.0.1]:5"), "localhost", None, 200),
        (Some("[::1]:5"), "[::1]:8080", None, 200),
        (Some("10.1.2.3:5"), "127.0.0.1:8080", None, 403),
        (None, "127.0.0.1:8080", None, 403),
        (Some("127.0.0.1:5"), "evil.example", None, 403),
        (
            Some("127.0.0.1:5"),
            "localhost:8080",
            Some("http://evil.example"),
            403,
        ),
    ] {
        let mut request = Request::builder()
            .uri("/v1/suppressions")
            .header("host", host);
        if let Some(peer) = peer {
            request = request.extension(Peer(peer.parse().unwrap()));
        }
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let router = local_routes(api.context.clone());
        assert_eq!(
            send(router, request, Value::Null).await.0,
            expected,
            "{peer:?} {host}"
        );
    }
}
