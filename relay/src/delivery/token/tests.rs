use super::*;
use crate::delivery::resolve::Resolvers;
use crate::delivery::testing::{PATIENCE, tls_server};
use crate::delivery::tls::Tls;
use crate::metrics::Metrics;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

fn settings(url: &str, refresh: Option<&str>) -> OAuth2 {
    OAuth2 {
        token_url: url.into(),
        client_id: "id 1".into(),
        client_secret: Some(Secret::new("s&cret")),
        refresh_token: refresh.map(Secret::new),
        scope: Some("https://mail.example/.default".into()),
        certificate_authorities: None,
    }
}

fn read(status: u16, body: &str) -> Result<(String, u64, Option<String>), TokenError> {
    exchange::read(status, body.as_bytes()).map(|granted| {
        let refresh = granted.refresh_token.map(|one| one.expose().to_owned());
        (
            granted.token.expose().to_owned(),
            granted.lifetime.as_secs(),
            refresh,
        )
    })
}

#[test]
fn the_forms_are_those_of_rfc_6749() {
    let refresh = Secret::new("r/1");
    assert_eq!(
        exchange::form(&settings("", None), None),
        "grant_type=client_credentials&client_id=id%201&client_secret=s%26cret\
         &scope=https%3A%2F%2Fmail.example%2F.default"
    );
    assert_eq!(
        exchange::form(&settings("", None), Some(&refresh)),
        "grant_type=refresh_token&refresh_token=r%2F1&client_id=id%201&client_secret=s%26cret\
         &scope=https%3A%2F%2Fmail.example%2F.default"
    );
}

#[test]
fn answers_of_google_and_microsoft_are_read() {
    let google =
        r#"{"access_token":"ya29.a0","expires_in":3599,"scope":"x","token_type":"Bearer"}"#;
    assert_eq!(read(200, google), Ok(("ya29.a0".into(), 3599, None)));
    let microsoft = r#"{"token_type":"Bearer","expires_in":"3599","ext_expires_in":3599,
        "access_token":"eyJ0","refresh_token":"0.AS"}"#;
    let expected = ("eyJ0".into(), 3599, Some("0.AS".into()));
    assert_eq!(read(200, microsoft), Ok(expected));
    let long = r#"{"access_token":"a","expires_in":99999999999}"#;
    assert_eq!(read(200, long), Ok(("a".into(), 86_400, None)));
    assert_eq!(
        read(200, r#"{"access_token":"a"}"#),
        Ok(("a".into(), 300, None))
    );
}

#[test]
fn refusals_faults_and_nonsense_are_told_apart() {
    let refused = read(
        400,
        r#"{"error":"invalid_grant","error_description":"AADSTS70008: expired\r\nTrace"}"#,
    );
    assert_eq!(
        refused.unwrap_err().to_string(),
        "the token endpoint refuses: invalid_grant (AADSTS70008: expired  Trace)"
    );
    for (status, body) in [(503, "busy"), (429, "{}"), (500, r#"{"error":"x"}"#)] {
        let error = read(status, body).unwrap_err();
        assert!(matches!(error, TokenError::Unreachable(_)), "{error}");
    }
    let rows = [
        (200, "<html>"),
        (200, "{}"),
        (302, "{}"),
        (404, "not found"),
        (200, r#"{"access_token":""}"#),
        (200, r#"{"access_token":"a b"}"#),
        (200, r#"{"access_token":"a\r\nb"}"#),
        (200, r#"{"access_token":"a","expires_in":"soon"}"#),
        (200, r#"{"access_token":"a","expires_in":0}"#),
        (200, r#"{"access_token":"a","expires_in":-5}"#),
    ];
    for (status, body) in rows {
        let error = read(status, body).unwrap_err();
        assert!(matches!(error, TokenError::Malformed(_)), "{body}: {error}");
    }
}

fn granted(token: &str, seconds: u64) -> exchange::Granted {
    exchange::Granted {
        token: Secret::new(token),
        lifetime: Duration::from_secs(seconds),
        refresh_token: None,
    }
}

#[test]
fn a_token_is_renewed_before_it_expires_and_used_on_when_that_fails() {
    let at = |second: u64| Timestamp(1_000_000 + second * 1000);
    let error = TokenError::Unreachable("down".into());
    let usable = |text: &str| Step::Use(Secret::new(text));
    let mut state = State::default();
    assert_eq!(state.step(at(0)), Step::Fetch);
    state.learn(Ok(granted("one", 3600)), at(0)).unwrap();
    assert_eq!(state.step(at(3299)), usable("one"));
    assert_eq!(state.step(at(3300)), Step::Fetch);
    let kept = state.learn(Err(error.clone()), at(3300));
    assert_eq!(kept, Ok(Secret::new("one")));
    // The endpoint is left alone for a while.
    assert_eq!(state.step(at(3329)), usable("one"));
    assert_eq!(state.step(at(3330)), Step::Fetch);
    assert_eq!(
        state.learn(Err(error.clone()), at(3590)),
        Ok(Secret::new("one"))
    );
    assert_eq!(state.step(at(3600)), Step::Fail(error.clone()));
    assert_eq!(state.step(at(3620)), Step::Fetch);
    assert_eq!(state.learn(Err(error.clone()), at(3620)), Err(error));
    state.learn(Ok(granted("two", 3600)), at(3650)).unwrap();
    assert_eq!(state.step(at(3651)), usable("two"));
}

#[test]
fn a_refused_token_is_dropped_unless_it_is_new() {
    let mut state = State::default();
    assert!(!state.reject("one", Timestamp(0)));
    state.learn(Ok(granted("one", 3600)), Timestamp(0)).unwrap();
    assert!(!state.reject("one", Timestamp(59_999)));
    assert!(state.reject("one", Timestamp(60_000)));
    assert_eq!(state.step(Timestamp(60_000)), Step::Fetch);
    state
        .learn(Ok(granted("two", 3600)), Timestamp(60_000))
        .unwrap();
    // Another attempt has renewed it already.
    assert!(state.reject("one", Timestamp(60_001)));
    assert_eq!(state.step(Timestamp(60_001)), Step::Use(Secret::new("two")));
}

/// A token endpoint at `localhost` that gives `answers` in turn, and its requests.
pub(in crate::delivery) struct Endpoint {
    pub(in crate::delivery) url: String,
    /// Its certificate.
    pub(in crate::delivery) pem: String,
    pub(in crate::delivery) way: Way,
    requests: Arc<Mutex<Vec<String>>>,
    pub(in crate::delivery) count: Arc<AtomicUsize>,
}

impl Tokens {
    /// For how many settings something is known.
    pub(in crate::delivery) fn count(&self) -> usize {
        self.0.lock().len()
    }

    /// Makes all tokens old enough to be dropped.
    pub(in crate::delivery) fn age(&self) {
        for slot in self.0.lock().iter() {
            if let Some(token) = &mut slot.state.lock().token {
                token.fetched_at = Timestamp(0);
            }
        }
    }
}

pub(in crate::delivery) async fn endpoint(answers: &'static [&'static str]) -> Endpoint {
    endpoint_that(answers, false).await
}

/// With `stalls`, the connection stays open after the answer.
async fn endpoint_that(answers: &'static [&'static str], stalls: bool) -> Endpoint {
    let (config, pem) = tls_server(&["127.0.0.1"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/token?x=1", listener.local_addr().unwrap());
    let requests: Arc<Mutex<Vec<String>>> = Arc::default();
    let count = Arc::new(AtomicUsize::new(0));
    let (seen, counted) = (requests.clone(), count.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answers[counted
                .fetch_add(1, Ordering::SeqCst)
                .min(answers.len() - 1)];
            let acceptor = tokio_rustls::TlsAcceptor::from(config.clone());
            let seen = seen.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut buffer = vec![0; 65_536];
                let mut text = String::new();
                while !text.contains("scope=") {
                    let length = stream.read(&mut buffer).await.unwrap_or(0);
                    if length == 0 {
                        return;
                    }
                    text.push_str(&String::from_utf8_lossy(&buffer[..length]));
                }
                seen.lock().push(text);
                let _ = stream.write_all(answer.as_bytes()).await;
                if stalls {
                    let _ = stream.flush().await;
                    std::future::pending::<()>().await;
                }
                let _ = stream.shutdown().await;
            });
        }
    });
    let file = crate::tls::PemFile {
        field: "test",
        path: std::path::Path::new("ca.pem"),
        content: pem.as_bytes(),
    };
    let resolvers = Resolvers::new(Tls::new().unwrap(), Metrics::unread(), Arc::new(|| ()));
    let dns = relay_config::Dns {
        servers: vec![([127, 0, 0, 1], 1).into()],
        ..relay_config::Dns::default()
    };
    let way = Way {
        resolver: resolvers.plain(&dns).unwrap(),
        tls: crate::tls::client(Some(file)).unwrap(),
        limit: LIMIT,
    };
    Endpoint {
        url,
        pem,
        way,
        requests,
        count,
    }
}

pub(in crate::delivery) const GOOD: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n\
    {\"access_token\":\"tok1\",\"expires_in\":3600,\"refresh_token\":\"r2\"}";

#[tokio::test]
async fn one_request_serves_all_who_wait_and_the_new_refresh_token_is_used_next() {
    let endpoint = endpoint(&[GOOD]).await;
    let settings = settings(&endpoint.url, Some("r1"));
    let tokens = Arc::new(Tokens::default());
    let all = (0..20).map(|_| tokens.get(&settings, &endpoint.way));
    for token in futures_join(all).await {
        assert_eq!(token.unwrap().expose(), "tok1");
    }
    assert_eq!(endpoint.count.load(Ordering::SeqCst), 1);
    let slot = tokens.slot(&settings);
    slot.state.lock().token = None;
    tokens.get(&settings, &endpoint.way).await.unwrap();
    let requests = endpoint.requests.lock().clone();
    assert!(
        requests[0].starts_with("POST /token?x=1 HTTP/1.1\r\n"),
        "{}",
        requests[0]
    );
    assert!(requests[0].contains("refresh_token=r1&"));
    assert!(requests[1].contains("refresh_token=r2&"));
}

async fn futures_join<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    let mut done = Vec::new();
    while let Some(mut one) = all.pop() {
        // The others are polled beside it, so that they wait as it does.
        let result = std::future::poll_fn(|context| {
            for other in &mut all {
                if let std::task::Poll::Ready(result) = other.as_mut().poll(context) {
                    return std::task::Poll::Ready(Err(result));
                }
            }
            one.as_mut().poll(context).map(Ok)
        });
        match result.await {
            Ok(result) => done.push(result),
            Err(_) => return done,
        }
    }
    done
}

#[tokio::test]
async fn a_hostile_endpoint_costs_bounded_time_and_leaves_an_error() {
    let huge = |head: &str| {
        let text = format!(
            "HTTP/1.1 200 OK\r\n{head}connection: close\r\n\r\n{}",
            "x".repeat(2 << 20)
        );
        &*Box::leak(text.into_boxed_str())
    };
    let header = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n{{}}", "x".repeat(1 << 20));
    let rows: [(&'static str, &str); 9] = [
        (
            "HTTP/1.1 302 Found\r\nlocation: https://127.0.0.1:1/\r\nconnection: close\r\n\r\n{}",
            "302 without an error",
        ),
        (
            "HTTP/1.1 400 Bad\r\nconnection: close\r\n\r\n{\"error\":\"invalid_grant\"}",
            "refuses: invalid_grant",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 99\r\nconnection: close\r\n\r\n{",
            "ends early",
        ),
        ("nonsense\r\n\r\n", "cannot be asked"),
        (huge(""), "more than 65536 octets"),
        (
            huge("content-length: 2097152\r\n"),
            "more than 65536 octets",
        ),
        (Box::leak(header.into_boxed_str()), "cannot be asked"),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n<html></html>",
            "200 without the JSON",
        ),
        (
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"access_token\":\"a\",\"expires_in\":1e300}",
            "expires_in that is no number of seconds",
        ),
    ];
    for (answer, why) in rows {
        let endpoint = endpoint(Box::leak(Box::new([answer]))).await;
        let settings = settings(&endpoint.url, None);
        let tokens = Tokens::default();
        let asked = tokio::time::timeout(PATIENCE, tokens.get(&settings, &endpoint.way));
        let error = asked.await.unwrap().unwrap_err();
        assert!(error.to_string().contains(why), "{why}: {error}");
        // It is not asked again at once.
        let again = tokens.get(&settings, &endpoint.way).await.unwrap_err();
        assert_eq!(error, again);
        assert_eq!(endpoint.count.load(Ordering::SeqCst), 1, "{error}");
    }
}

#[tokio::test]
async fn an_endpoint_that_never_answers_is_given_up() {
    // It says the first part of an answer, and keeps the connection.
    let mut endpoint =
        endpoint_that(&["HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"], true).await;
    endpoint.way.limit = Duration::from_millis(300);
    let settings = settings(&endpoint.url, None);
    let tokens = Tokens::default();
    let asked = tokio::time::timeout(PATIENCE, tokens.get(&settings, &endpoint.way));
    let error = asked.await.unwrap().unwrap_err();
    assert_eq!(
        error,
        TokenError::Unreachable("no answer within 300 ms".into())
    );
}

#[test]
fn a_life_without_end_is_a_day() {
    for seconds in ["18446744073709551615", "\"18446744073709551615\"", "86401"] {
        let body = format!("{{\"access_token\":\"a\",\"expires_in\":{seconds}}}");
        assert_eq!(
            read(200, &body),
            Ok(("a".into(), 86_400, None)),
            "{seconds}"
        );
    }
}
