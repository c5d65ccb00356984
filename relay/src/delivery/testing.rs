//! Peers for the tests of delivery: a scripted mail server, a DNS server, certificates and a relay
//! context around a real queue directory.

pub(super) mod dns;
pub(super) mod lies;
pub(super) mod peer;
pub(super) mod raw;
pub(super) mod signed;
pub(crate) mod web;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use relay_queue::{Envelope, MessageId, NewMessage, Options};
use relay_smtp::Address;
use tokio::task::JoinHandle;

use crate::context::{Context, SharedContext, now};

/// Waits are bounded by this; a test that needs it has failed.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// A running delivery engine around a queue in a directory of its own.
pub(super) struct Relay {
    pub(super) context: SharedContext,
    task: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

/// The main configuration file for these tests: `delivery` is its content in YAML flow form.
pub(super) fn configuration(port: u16, dns: Option<SocketAddr>, delivery: &str) -> String {
    let servers = dns.map_or(String::new(), |dns| format!("\"{dns}\""));
    format!(
        "{{version: 1, relay: test/relay, hostname: relay.example, \
          listeners: [{{name: submission, address: \"127.0.0.1:0\", tls: None}}], \
          dns: {{servers: [{servers}], timeout: 1s}}, \
          delivery: {{mxPort: {port}, permittedNetworks: [127.0.0.0/8], \
            timeouts: {{connect: 10s, greeting: 10s, tls: 10s, command: 10s, data: 10s, dataReply: 10s}}, \
            {delivery}}}}}"
    )
}

impl Relay {
    /// Starts delivery.
    pub(super) fn start(configuration: &str) -> Self {
        Self::start_with(configuration, &[])
    }

    /// The same with files that the configuration names.
    pub(super) fn start_with(configuration: &str, files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let context = Context::for_test_with(configuration, files, directory.path());
        let task = tokio::spawn(crate::delivery::run(context.clone()));
        Self {
            context,
            task,
            _directory: directory,
        }
    }

    /// Puts a message into the queue.
    pub(super) async fn submit(
        &self,
        sender: Option<&str>,
        recipients: &[&str],
        content: &str,
    ) -> MessageId {
        self.submit_asking(Options::default(), sender, recipients, content)
            .await
    }

    /// The same, asking for more than delivery.
    pub(super) async fn submit_asking(
        &self,
        options: Options,
        sender: Option<&str>,
        recipients: &[&str],
        content: &str,
    ) -> MessageId {
        let id = MessageId::new(now(), fastrand::u128(..));
        self.context
            .queue
            .append(NewMessage {
                id,
                envelope: Envelope {
                    options,
                    ..envelope(sender, recipients, content)
                },
                content: vec![Bytes::from(content.to_owned())],
            })
            .await
            .unwrap();
        id
    }

    /// Waits until that many messages are queued.
    pub(super) async fn queued(&self, count: u64) {
        let reached = async {
            loop {
                let changed = self.context.queue.changed();
                if self.context.queue.status().0 == count {
                    return;
                }
                changed.await;
            }
        };
        let result = tokio::time::timeout(PATIENCE, reached).await;
        assert!(
            result.is_ok(),
            "{} messages queued",
            self.context.queue.status().0
        );
    }

    /// Waits until nothing is due any more: what is queued waits for its next attempt.
    pub(super) async fn settled(&self) {
        let reached = async {
            loop {
                let changed = self.context.queue.changed();
                let later = self.context.queue.next_due().is_some_and(|due| due > now());
                if later {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap();
    }

    /// Waits until that many attempts have ended since the start.
    pub(super) async fn attempted(&self, count: u64) {
        let reached = async {
            loop {
                let changed = self.context.queue.changed();
                if self.context.queue.counters().settled >= count {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap();
    }

    /// Stops delivery in good order.
    pub(super) async fn stop(self) {
        self.context.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .unwrap()
            .unwrap();
        self.context.queue.close();
    }
}

pub(super) fn envelope(sender: Option<&str>, recipients: &[&str], content: &str) -> Envelope {
    let address = |text: &str| Address::parse(text).unwrap();
    Envelope {
        sender: sender.map(address),
        recipients: recipients.iter().copied().map(address).collect(),
        accepted_at: now(),
        eight_bit: !content.is_ascii(),
        smtputf8: !content.is_ascii(),
        identity: None,
        trace_parent: None,
        options: relay_queue::Options::default(),
    }
}

/// A TLS server with a self-signed certificate for these names, and the certificate as PEM.
pub(super) fn tls_server(names: &[&str]) -> (Arc<rustls::ServerConfig>, String) {
    let names: Vec<String> = names.iter().copied().map(String::from).collect();
    let certified = rcgen::generate_simple_self_signed(names).unwrap();
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.into())
        .unwrap();
    (Arc::new(config), certified.cert.pem())
}
