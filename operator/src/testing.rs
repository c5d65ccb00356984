//! A scripted API server for tests.

pub(crate) mod api;

use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower_test::mock::{self, Handle};

/// The server's side of a connection.
pub(crate) type Server = Handle<axum::http::Request<Body>, axum::http::Response<Body>>;

/// A client and the server that it talks to.
pub(crate) fn pair() -> (Client, Server) {
    let (service, server) = mock::pair();
    (Client::new(service, "mail"), server)
}

/// Answers the next request, which must be `method` on a path that ends in `path`; its body.
pub(crate) async fn answer(
    server: &mut Server,
    method: &str,
    path: &str,
    code: u16,
    body: &Value,
) -> Value {
    let (request, reply) = server.next_request().await.unwrap();
    assert_eq!(request.method(), method, "{}", request.uri());
    assert!(
        request.uri().path().ends_with(path),
        "{} is not {path}",
        request.uri()
    );
    let sent = request.into_body().collect().await.unwrap().to_bytes();
    let response = axum::http::Response::builder().status(code);
    reply.send_response(
        response
            .body(Body::from(body.to_string().into_bytes()))
            .unwrap(),
    );
    serde_json::from_slice(&sent).unwrap_or(Value::Null)
}

/// A failure as the API server words it.
pub(crate) fn failure(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason,
        "message": reason, "code": code})
}
