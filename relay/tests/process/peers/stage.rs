//! All servers and zones, started once for all tests of the process; they end with it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mailrelay_tests::peers::names::{Names, Signing};
use mailrelay_tests::peers::{self, Keys, Kind, Plan, Server};
use mailrelay_tests::receiver::{Delivered, More, Plan as ReceiverPlan, Receiver};
use mailrelay_tests::wait;
use mailrelay_tests::zone::Record;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::runtime::Runtime;

use super::draft::{Draft, SIZE_LIMIT, Who};
use crate::authority::Authority;
use crate::client::Line;
use crate::relay::{PATIENCE, Relay, Setup, dkim_key};

/// Whom all mail comes from.
pub(super) const SENDER: &str = "billing@shop.example";
/// The public half of [`dkim_key`] (RFC 8463 appendix A.2).
const EDWARDS_KEY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

static STAGE: LazyLock<Stage> = LazyLock::new(Stage::start);

/// The servers.
pub(super) struct Stage {
    runtime: Runtime,
    names: Names,
    postfix: Receiver,
    servers: Vec<(Who, Server)>,
    /// File with the authority of most servers.
    authority: NamedTempFile,
    /// Keys of [`SENDER`]'s domain, as a relay's configuration has them.
    dkim: Value,
}

/// The servers, started when they are asked for first.
pub(super) fn stage() -> &'static Stage {
    &STAGE
}

impl Stage {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let mut draft = Draft::new(&[
            ("plain.example", Signing::Unsigned),
            ("shop.example", Signing::Unsigned),
            ("signed.example", Signing::Signed),
            ("forged.example", Signing::ForgedTlsa),
            ("silent.example", Signing::WithoutDenial),
            ("stale.example", Signing::Expired),
            ("hashed.example", Signing::HashedDenial),
        ]);
        let authority = Authority::new();
        super::plain::draft(&mut draft, &authority);
        super::dane::draft(&mut draft, &authority);
        let web = draft.address();
        super::sts::draft(&mut draft, &authority, web);
        let dkim = dkim(&mut draft);
        draft.alias(Who::Postfix, "shop.example", "mx.postfix.plain.example");
        let (authoritative, resolver) = (draft.address(), draft.address());
        let own = draft.address();
        let policies = std::mem::take(&mut draft.policies);
        let (names, postfix, servers) = runtime.block_on(async {
            let fetched = peers::fetch().await.unwrap();
            super::policies::serve(web, policies).await;
            let names = Names::start(&fetched, authoritative, resolver, &draft.zones);
            let postfix = Receiver::start(postfix(own, draft.plan(Who::Postfix, resolver)));
            let server = |who, kind| server(kind, &fetched, draft.plan(who, resolver));
            let (names, postfix, exim, smtpd, old, haraka) = tokio::join!(
                names,
                postfix,
                server(Who::Exim, Kind::Exim),
                server(Who::OpenSmtpd, Kind::OpenSmtpd(Keys::Corrected)),
                server(Who::OldOpenSmtpd, Kind::OpenSmtpd(Keys::AsShipped)),
                server(Who::Haraka, Kind::Haraka),
            );
            let servers = vec![
                (Who::Exim, exim),
                (Who::OpenSmtpd, smtpd),
                (Who::OldOpenSmtpd, old),
                (Who::Haraka, haraka),
            ];
            (names.unwrap(), postfix.unwrap(), servers)
        });
        let file = NamedTempFile::new().unwrap();
        std::fs::write(&file, authority.pem()).unwrap();
        Self {
            runtime,
            names,
            postfix,
            servers,
            authority: file,
            dkim,
        }
    }

    /// Where Postfix listens.
    pub(super) fn postfix(&self) -> SocketAddr {
        self.postfix.address()
    }

    /// A relay that delivers by MX and asks the stage's resolver; `configure` changes the `delivery`
    /// part of its configuration.
    pub(super) fn relay(&self, configure: impl FnOnce(&mut Value)) -> Running {
        self.relay_with(json!({"dnssec": "Disabled"}), configure)
    }

    /// A relay that validates DNS answers itself, from the key of the stage's root zone.
    pub(super) fn validating_relay(&self) -> Running {
        let anchors = std::fs::read_to_string(self.names.trust_anchor()).unwrap();
        let anchors: Vec<&str> = anchors.lines().collect();
        self.relay_with(
            json!({"dnssec": "Validate", "trustAnchors": anchors}),
            |_| {},
        )
    }

    /// A relay that believes the stage's resolver.
    pub(super) fn trusting_relay(&self) -> Running {
        self.relay_with(json!({"dnssec": "TrustResolver"}), |_| {})
    }

    /// A relay that knows the authority of most servers, and of the policies' host.
    pub(super) fn relay_with_authority(&self) -> Running {
        let file = self.authority.path().to_owned();
        self.relay(|delivery| delivery["certificateAuthorities"] = json!(file))
    }

    /// File with that authority.
    pub(super) fn authority(&self) -> &Path {
        self.authority.path()
    }

    fn relay_with(&self, dns: Value, configure: impl FnOnce(&mut Value)) -> Running {
        let mut setup = Setup::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)));
        setup.config["dns"] = dns;
        setup.config["dns"]["servers"] = json!([SocketAddr::from((self.names.resolver(), 53))]);
        setup.config["domains"][0]["dkim"] = self.dkim.clone();
        setup.config["delivery"] = json!({
            "permittedNetworks": ["127.0.0.0/8"],
            "retry": {"initial": "500ms", "maximum": "1s"},
        });
        configure(&mut setup.config["delivery"]);
        setup.write();
        Running {
            relay: setup.start(),
            _setup: setup,
        }
    }

    /// Waits until a mailbox has a message with a line, and returns it.
    pub(super) fn arrived(&self, who: Who, recipient: &str, line: &str) -> Delivered {
        let awaited = format!("a message for {recipient} with {line:?}");
        let wanted = |message: &Delivered| message.text().lines().any(|found| found == line);
        let look = || async {
            let messages = self.mailbox(who, recipient);
            let count = messages.len();
            let found = messages.into_iter().find(wanted);
            found.ok_or_else(|| format!("{count} others; the server says:\n{}", self.log(who)))
        };
        self.block_on(wait::until(&awaited, PATIENCE, look))
            .unwrap()
    }

    /// The messages of a mailbox so far.
    pub(super) fn mailbox(&self, who: Who, recipient: &str) -> Vec<Delivered> {
        match who {
            Who::Postfix => self.postfix.mailbox(recipient),
            _ => self.server(who).mailbox(recipient),
        }
        .unwrap()
    }

    /// What `posttls-finger`, `opendkim` and the like run in.
    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// The address of the validating resolver.
    pub(super) fn resolver(&self) -> Ipv4Addr {
        self.names.resolver()
    }

    fn log(&self, who: Who) -> String {
        match who {
            Who::Postfix => self.postfix.log(),
            _ => self.server(who).log(),
        }
    }

    fn server(&self, who: Who) -> &Server {
        let (_, server) = self
            .servers
            .iter()
            .find(|(known, _)| *known == who)
            .unwrap();
        server
    }
}

async fn server(kind: Kind, fetched: &Path, plan: Plan) -> Server {
    Server::start(kind, fetched, plan).await.unwrap()
}

/// Postfix's own host is not used: its certificate is made by the receiver.
fn postfix(own: Ipv4Addr, plan: Plan) -> ReceiverPlan {
    ReceiverPlan {
        host: "unused.plain.example".into(),
        address: own,
        resolver: plan.resolver,
        recipients: plan.recipients,
        more: More {
            hosts: plan.hosts,
            greylisted: plan.greylisted,
            size_limit: Some(SIZE_LIMIT),
        },
    }
}

/// Two keys for the sender's domain: the configuration's part of them, while the public halves are
/// published.
fn dkim(draft: &mut Draft) -> Value {
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let private: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let public: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    let publish = |selector: &str, kind: &str, public: &str| {
        Record::text(
            &format!("{selector}._domainkey.shop.example"),
            &format!("v=DKIM1; k={kind}; p={public}"),
        )
    };
    draft.publish(publish("winter", "ed25519", EDWARDS_KEY));
    draft.publish(publish("autumn", "rsa", &BASE64.encode(public.as_ref())));
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        BASE64.encode(private.as_ref())
    );
    json!([
        dkim_key(),
        {"selector": "autumn", "algorithm": "RsaSha256", "privateKey": pem},
    ])
}

/// A relay and its directory.
pub(super) struct Running {
    pub(super) relay: Relay,
    _setup: Setup,
}

impl Running {
    /// Submits a message as it is; the queue's id of it.
    pub(super) fn submit(&self, recipients: &[&str], content: &str) -> String {
        let (mut line, _) = Line::open(self.relay.open());
        let greeting = line.say("EHLO app.test");
        assert!(greeting.contains("SMTPUTF8"), "{greeting}");
        let international = recipients.iter().all(|recipient| recipient.is_ascii());
        let parameter = if international { "" } else { " SMTPUTF8" };
        let expect = |reply: String, code: &str| {
            assert!(reply.starts_with(code), "{reply}");
            reply
        };
        let from = format!("MAIL FROM:<{SENDER}> BODY=8BITMIME{parameter}");
        expect(line.say(&from), "250");
        for recipient in recipients {
            expect(line.say(&format!("RCPT TO:<{recipient}>")), "250");
        }
        expect(line.say("DATA"), "354");
        for text in content.split_inclusive("\r\n") {
            let dot = if text.starts_with('.') { "." } else { "" };
            line.write(&format!("{dot}{text}"));
        }
        let reply = expect(line.say("."), "250 2.0.0");
        let (_, id) = reply.trim_end().rsplit_once(' ').unwrap();
        id.to_owned()
    }

    /// The log line of a recipient's first outcome of this kind.
    pub(super) fn outcome(&self, id: &str, recipient: &str, outcome: &str) -> Value {
        let what = format!("{outcome} outcome of {id} for {recipient}");
        self.relay.wait_for(&what, |line| {
            line["message"] == "delivery outcome"
                && line["message_id"] == id
                && line["recipient"] == recipient
                && line["outcome"] == outcome
        })
    }
}
