use serde_json::{Value, json};

use super::testing::{SERVER_NAME, Shards};
use super::*;
use crate::tls;

const STATE: &str = "/v1/siblings/state";

fn client(shards: &Shards, name: Option<&str>) -> Arc<rustls::ClientConfig> {
    let (certificate, key) = shards.authority.leaf(name);
    let root = shards.authority.pem();
    let file = |content| tls::PemFile {
        field: "test",
        path: std::path::Path::new("test"),
        content,
    };
    let key = tls::certified_key(file(certificate.as_bytes()), file(key.as_bytes())).unwrap();
    tls::sibling(Arc::new(key), file(root.as_bytes())).unwrap()
}

/// What the shard that lives at the address of shard `at` answers to one who means shard `meant`.
async fn answer(
    shards: &Shards,
    name: Option<&str>,
    at: u32,
    meant: u32,
    path: &str,
) -> StatusCode {
    let siblings = shards.contexts[0]
        .snapshot
        .load()
        .config
        .siblings
        .clone()
        .unwrap();
    let host = siblings.host(at).unwrap();
    let tls = client(shards, name);
    let (mut sender, _driver) = connect(host, shards.port, SERVER_NAME, &tls).await.unwrap();
    let body = vec![Bytes::from_static(b"{}")];
    let exchanged = exchange(&mut sender, meant, host, path, body, 1000).await;
    exchanged.unwrap().0
}

#[tokio::test]
async fn a_shard_is_asked_by_its_number_and_answers_for_itself() {
    let shards = Shards::start(3, 2).await;
    for (shard, leaving) in [(0, false), (1, false), (2, true)] {
        let state: SiblingState = ask(&shards.contexts[1], shard, STATE, &json!({}))
            .await
            .unwrap();
        let expected = SiblingState {
            shard,
            leaving,
            accepting: true,
        };
        assert_eq!(state, expected);
    }
    let place = |index: usize| shards.contexts[index].place();
    assert_eq!(
        place(1),
        Place {
            number: 1,
            staying: vec![0, 1],
        }
    );
    assert!(place(2).is_leaving() && !place(1).is_leaving());
}

#[tokio::test]
async fn a_request_for_another_shard_is_refused() {
    let shards = Shards::start(2, 2).await;
    let name = Some(SERVER_NAME);
    assert_eq!(answer(&shards, name, 1, 1, STATE).await, StatusCode::OK);
    let misdirected = answer(&shards, name, 1, 0, STATE).await;
    assert_eq!(misdirected, StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn operator_and_siblings_get_at_their_own_routes_only() {
    let shards = Shards::start(1, 1).await;
    let forbidden = StatusCode::FORBIDDEN;
    let rows = [
        (Some(SERVER_NAME), STATE, StatusCode::OK),
        (Some(SERVER_NAME), "/v1/status", forbidden),
        (Some(SERVER_NAME), "/v1/suppressions", forbidden),
        (None, STATE, forbidden),
        (Some("another.shards.test"), STATE, forbidden),
        (None, "/v1/siblings/tables/suppressions/page", forbidden),
        (None, "/v1/siblings/tables/senders/changes", forbidden),
        // It gets as far as the method.
        (None, "/v1/status", StatusCode::METHOD_NOT_ALLOWED),
    ];
    for (name, path, expected) in rows {
        assert_eq!(
            answer(&shards, name, 0, 0, path).await,
            expected,
            "{name:?} {path}"
        );
    }
}

#[tokio::test]
async fn a_shard_that_is_not_there_is_told_from_one_that_refuses() {
    let shards = Shards::start(2, 2).await;
    let context = &shards.contexts[0];
    let asked: Result<Value, _> = ask(context, 7, STATE, &json!({})).await;
    assert!(matches!(asked, Err(SiblingError::NoSuchShard(7))));
    let asked: Result<Value, _> = ask(context, 1, "/v1/nothing", &json!({})).await;
    let is_refused = |error| {
        matches!(
            error,
            SiblingError::Refused {
                shard: 1,
                code: StatusCode::NOT_FOUND,
                ..
            }
        )
    };
    assert!(is_refused(asked.unwrap_err()));
    shards.contexts[1].shutdown.cancel();
    let unreachable = async {
        // The port closes a moment after the word.
        loop {
            let asked: Result<Value, _> = ask(context, 1, STATE, &json!({})).await;
            if let Err(SiblingError::Unreachable { shard: 1, .. }) = asked {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), unreachable)
        .await
        .unwrap();
}

#[test]
fn a_shard_must_know_its_number_where_there_are_others() {
    let alone = config("");
    let others = config(
        "admin: {address: '127.0.0.1:0', certificate: a, key: b, clientAuthority: c}\n\
         siblings: {hosts: [a, b], serverName: x.test}\n",
    );
    assert_eq!(own_number(&alone, None), Ok(0));
    assert_eq!(own_number(&alone, Some("3")), Ok(0));
    assert_eq!(own_number(&others, Some("1")), Ok(1));
    assert_eq!(own_number(&others, Some("7")), Ok(7));
    assert!(
        own_number(&others, None)
            .unwrap_err()
            .starts_with("RELAY_SHARD: is not set")
    );
    let fault = own_number(&others, Some("one")).unwrap_err();
    assert!(
        fault.starts_with("RELAY_SHARD: \"one\" is not a number"),
        "{fault}"
    );
}

fn config(more: &str) -> Config {
    let text = format!(
        "version: 1\nrelay: a\nhostname: a.example\nlisteners:\n\
         - {{name: first, address: '127.0.0.1:2525', tls: None}}\n{more}"
    );
    let name = std::path::Path::new("relay.yaml");
    let mut source = std::collections::BTreeMap::from([(name.to_path_buf(), text.into_bytes())]);
    source.extend(["a", "b", "c"].map(|file| (file.into(), Vec::new())));
    relay_config::parse_files(name, &source).unwrap().config
}
