use hyper::{Request, Response};
use kube::client::Body;
use operator_api::SendingDomain;
use serde_json::json;
use tower_test::mock;

use super::*;

fn owner() -> SendingDomain {
    serde_json::from_value(json!({
        "apiVersion": "mailrelay.dev/v1alpha1", "kind": "SendingDomain",
        "metadata": {"name": "shop-example", "namespace": "shop", "uid": "uid-1"},
        "spec": {"domain": "shop.example", "relayRef": {"name": "outbox"}},
    }))
    .unwrap()
}

fn data(entries: &[(&str, &str)]) -> SecretData {
    let own = |(entry, content): &(&str, &str)| ((*entry).to_owned(), content.as_bytes().to_vec());
    entries.iter().map(own).collect()
}

fn desired(data: &SecretData) -> Desired<'_> {
    Desired {
        name: "shop-example-dkim",
        kind: "Opaque",
        component: "dkim",
        data,
    }
}

/// The Secret as the API server would show it.
fn live(data: &SecretData) -> Secret {
    let mut secret = make(&owner(), &desired(data), labels::common("dkim"));
    secret.metadata.uid = Some("uid-2".into());
    secret.metadata.resource_version = Some("41".into());
    secret
}

/// Writes `change` to a server that expects one request and answers it with `code`.
async fn write(change: Change, code: u16) -> (Result<(), WriteError>, Request<Vec<u8>>) {
    let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
    let client = Client::new(service, "shop");
    let server = tokio::spawn(async move {
        let (request, send) = handle.next_request().await.unwrap();
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap().to_vec();
        let answer = if code == 200 {
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}})
        } else {
            json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code,
                "reason": "AlreadyExists", "message": "no", "metadata": {}})
        };
        let answer = serde_json::to_vec(&answer).unwrap();
        send.send_response(
            Response::builder()
                .status(code)
                .body(Body::from(answer))
                .unwrap(),
        );
        Request::from_parts(parts, body)
    });
    let result = change.write(&client).await;
    (result, server.await.unwrap())
}

#[tokio::test]
async fn a_new_secret_is_created_and_goes_with_its_owner() {
    let data = data(&[("a.pem", "key")]);
    let (result, request) = write(change(&owner(), None, &desired(&data)), 200).await;
    result.unwrap();
    assert_eq!(request.method(), "POST");
    assert!(
        request.uri().path().ends_with("/namespaces/shop/secrets"),
        "{}",
        request.uri()
    );
    let body: Value = serde_json::from_slice(request.body()).unwrap();
    assert_eq!(body["metadata"]["ownerReferences"][0]["uid"], "uid-1");
    assert_eq!(body["metadata"]["namespace"], "shop");
    assert_eq!(body["data"], json!({"a.pem": "a2V5"}));
}

#[tokio::test]
async fn a_second_writer_never_overwrites() {
    let data = data(&[("a.pem", "key")]);
    let (result, request) = write(change(&owner(), None, &desired(&data)), 409).await;
    assert_eq!(request.method(), "POST");
    assert!(
        matches!(result, Err(WriteError::Conflict { .. })),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_change_names_the_version_that_was_read_and_only_what_differs() {
    let old = data(&[("a.pem", "key"), ("b.pem", "old")]);
    let new = data(&[("a.pem", "key"), ("c.pem", "new")]);
    let (result, request) = write(change(&owner(), Some(&live(&old)), &desired(&new)), 409).await;
    assert!(matches!(result, Err(WriteError::Conflict { .. })));
    assert_eq!(request.method(), "PATCH");
    assert_eq!(
        request.headers()["content-type"],
        "application/merge-patch+json"
    );
    let body: Value = serde_json::from_slice(request.body()).unwrap();
    assert_eq!(body["metadata"]["resourceVersion"], "41");
    assert_eq!(body["metadata"]["uid"], "uid-2");
    assert_eq!(body["data"], json!({"b.pem": null, "c.pem": "bmV3"}));
}

#[tokio::test]
async fn what_is_in_order_is_not_written() {
    let data = data(&[("a.pem", "key")]);
    let change = change(&owner(), Some(&live(&data)), &desired(&data));
    assert!(change.is_none());
    let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
    drop(handle);
    change.write(&Client::new(service, "shop")).await.unwrap();
}

#[test]
fn lost_labels_are_put_back() {
    let data = data(&[("a.pem", "key")]);
    let mut secret = live(&data);
    secret.metadata.labels = None;
    assert!(!change(&owner(), Some(&secret), &desired(&data)).is_none());
}

#[test]
fn o5_a_copy_in_another_namespace_is_not_the_owners() {
    let secret = live(&data(&[]));
    assert!(is_owned(&owner(), &secret));
    let mut copy = secret.clone();
    copy.metadata.namespace = Some("bank".into());
    assert!(!is_owned(&owner(), &copy));
    let mut former = secret.clone();
    former.metadata.owner_references.as_mut().unwrap()[0].uid = "uid-0".into();
    assert!(!is_owned(&owner(), &former));
    let mut unborn = owner();
    unborn.metadata.uid = None;
    assert!(!is_owned(&unborn, &secret));
}
