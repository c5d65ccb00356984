//! What most tests start from: an operator on a cluster, and for each test a namespace, a DNS zone
//! and a receiving mail server of its own.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::sync::{OnceCell, RwLock, Semaphore};

use crate::clients::{Account, Encryption, Place};
use crate::cluster::Cluster;
use crate::namespace::{Kind, Namespace, has_condition, text};
use crate::prerequisites;
use crate::receiver::{More, Plan, Receiver};
use crate::zone::{Record, Zone};

/// The relay of every scenario.
pub const RELAY: &str = "outbox";
/// The sending domain of every scenario.
pub const DOMAIN: &str = "shop";
/// The credential of every scenario.
pub const CREDENTIAL: &str = "storefront";
/// How long anything may take that should take seconds. The machine has two cores and builds
/// beside; where a figure is promised, the test that shows it has its own limit.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// An idle cluster sees no write for this long.
const QUIET: Duration = Duration::from_secs(15);

/// The cluster with the operator of this checkout in it, prepared once per process.
static PREPARED: OnceCell<Cluster> = OnceCell::const_new();
/// Scenarios at one time: they wait for pods more than they work, but the machine has two cores.
static PLACES: Semaphore = Semaphore::const_new(5);
/// Held for writing by a scenario that must have the cluster to itself.
static CLUSTER: RwLock<()> = RwLock::const_new(());

/// One test's world.
#[derive(Debug)]
pub struct Scenario {
    /// The cluster.
    pub cluster: Cluster,
    /// The relay's and the application's namespace.
    pub namespace: Namespace,
    /// The test's zone.
    pub zone: Zone,
    /// The receiving server of the zone's mail.
    pub receiver: Receiver,
    /// Where the clients run.
    pub place: Place,
}

/// Runs a test in a scenario named `name` with the receiving server at `10.250.0.host`, beside
/// others, and removes the scenario when the test has passed. After a failure it stays, to be looked
/// at; the next run removes it.
pub async fn run(
    name: &str,
    host: u8,
    test: impl AsyncFnOnce(&mut Scenario) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // The place first: whoever waits for one must not keep the cluster from those that want it whole.
    let _place = PLACES.acquire().await?;
    let _others = CLUSTER.read().await;
    whole(name, host, test).await
}

/// As [`run`], with no other scenario at the same time: for a test that measures, or that disturbs
/// the operator of all.
pub async fn run_alone(
    name: &str,
    host: u8,
    test: impl AsyncFnOnce(&mut Scenario) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let _alone = CLUSTER.write().await;
    whole(name, host, test).await
}

async fn whole(
    name: &str,
    host: u8,
    test: impl AsyncFnOnce(&mut Scenario) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let prepared = PREPARED.get_or_try_init(prepare).await?.reconnect().await?;
    let start = Instant::now();
    let mut scenario = Scenario::start(&prepared, name, host).await?;
    if let Err(error) = test(&mut scenario).await {
        let situation = scenario.namespace.situation(Kind::SmtpRelay, RELAY).await;
        eprintln!("{name} failed; its namespace said:\n{situation}\n");
        return Err(error);
    }
    scenario.finish().await?;
    let seconds = start.elapsed().as_secs();
    let _ = writeln!(std::io::stderr(), "scenario {name}: {seconds} s");
    Ok(())
}

async fn prepare() -> anyhow::Result<Cluster> {
    prerequisites::ensure(&["mail", "receiver"]).await?;
    let mut cluster = Cluster::connect().await?;
    cluster.load_images().await?;
    cluster.install().await?;
    Ok(cluster)
}

impl Scenario {
    /// Namespace, zone and receiving server, without any of our resources yet.
    pub async fn start(cluster: &Cluster, name: &str, host: u8) -> anyhow::Result<Self> {
        let address = Ipv4Addr::new(10, 250, 0, host);
        cluster.add_address(address).await?;
        // Not below `test`, which the verifier's resolver answers itself (RFC 6761 section 6.2).
        let zone_name = format!("{name}.example");
        let namespace = Namespace::create(cluster, &format!("t-{name}")).await?;
        let exchanger = format!("mx.{zone_name}");
        let receiver = Receiver::start(Plan {
            host: exchanger.clone(),
            address,
            resolver: cluster.resolver,
            recipients: vec![
                format!("customer@inbox.{zone_name}"),
                format!("hidden@inbox.{zone_name}"),
                format!("load-*@inbox.{zone_name}"),
                format!("orders@shop.{zone_name}"),
            ],
            more: More::default(),
        })
        .await?;
        let mut zone = Zone::new(&cluster.zones, &zone_name);
        zone.publish([
            Record::address(&exchanger, address),
            Record::mail_exchanger(&format!("inbox.{zone_name}"), &exchanger),
            Record::mail_exchanger(&format!("shop.{zone_name}"), &exchanger),
        ])?;
        let place = Place::pod(cluster.resolver, &namespace.name)?;
        Ok(Self {
            cluster: cluster.clone(),
            namespace,
            zone,
            receiver,
            place,
        })
    }

    /// A recipient that the receiving server knows.
    pub fn customer(&self) -> String {
        format!("customer@inbox.{}", self.zone.name())
    }

    /// The sender: an address of the sending domain, whose mail comes to the receiving server, too.
    pub fn sender(&self) -> String {
        format!("orders@{}", self.domain())
    }

    /// The sending domain's name in DNS.
    pub fn domain(&self) -> String {
        format!("shop.{}", self.zone.name())
    }

    /// Relay, domain and credential, with quick retries; `spec` holds further lines of the relay's
    /// spec.
    pub fn manifests(&self, spec: &str) -> String {
        let domain = self.domain();
        format!(
            "\
apiVersion: mailrelay.dev/v1alpha1
kind: SmtpRelay
metadata: {{name: {RELAY}}}
spec:
  delivery: {{retry: {{initial: 1s, maximum: 4s}}}}
{spec}
---
apiVersion: mailrelay.dev/v1alpha1
kind: SendingDomain
metadata: {{name: {DOMAIN}}}
spec: {{domain: {domain}, relayRef: {{name: {RELAY}}}}}
---
apiVersion: mailrelay.dev/v1alpha1
kind: SmtpCredential
metadata: {{name: {CREDENTIAL}}}
spec: {{relayRef: {{name: {RELAY}}}}}
"
        )
    }

    /// Applies relay, domain and credential, publishes the DNS records that the status prints, and
    /// waits until all is ready. Returns the application's account at port 587.
    pub async fn set_up(&mut self, spec: &str) -> anyhow::Result<Account> {
        self.namespace.apply(&self.manifests(spec)).await?;
        let account = self.ready().await?;
        self.publish().await?;
        Ok(account)
    }

    /// Waits until relay and credential are ready, and reads the account from the binding Secret as
    /// an application does.
    pub async fn ready(&self) -> anyhow::Result<Account> {
        let namespace = &self.namespace;
        namespace
            .condition(Kind::SmtpRelay, RELAY, "Ready", "True", PATIENCE)
            .await?;
        namespace
            .condition(Kind::SendingDomain, DOMAIN, "KeysReady", "True", PATIENCE)
            .await?;
        self.account(CREDENTIAL).await
    }

    /// The account that a ready credential gives, at port 587.
    pub async fn account(&self, credential: &str) -> anyhow::Result<Account> {
        account(&self.namespace, credential, PATIENCE).await
    }

    /// Publishes the records of the domain's status and waits until the operator has seen them.
    pub async fn publish(&mut self) -> anyhow::Result<()> {
        let records = dns_records(&self.namespace, DOMAIN, PATIENCE).await?;
        self.zone.publish(records)?;
        self.namespace
            .condition(Kind::SendingDomain, DOMAIN, "DnsVerified", "True", PATIENCE)
            .await?;
        Ok(())
    }

    /// Names of the objects of a kind that carry the relay's label.
    pub async fn made(&self, kind: Kind) -> anyhow::Result<Vec<String>> {
        let objects = self.namespace.list(kind).await?;
        objects
            .iter()
            .filter(|object| object["metadata"]["labels"]["mailrelay.dev/relay"] == RELAY)
            .map(|object| text(object, "/metadata/name"))
            .collect()
    }

    /// Waits until what `look` sees stays the same for [`QUIET`]: nobody writes.
    pub async fn quiet<Seen: PartialEq>(
        &self,
        look: impl AsyncFn() -> anyhow::Result<Seen>,
    ) -> anyhow::Result<()> {
        let start = Instant::now();
        let mut seen = look().await?;
        let mut since = Instant::now();
        while since.elapsed() < QUIET {
            ensure!(
                start.elapsed() < PATIENCE,
                "objects are still written after {PATIENCE:?}"
            );
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = look().await?;
            if now != seen {
                seen = now;
                since = Instant::now();
            }
        }
        Ok(())
    }

    /// Removes everything.
    async fn finish(mut self) -> anyhow::Result<()> {
        self.namespace.delete().await?;
        self.receiver.stop().await?;
        self.zone.remove()
    }
}

/// Reads an application's account from the Secret that the credential's status names.
pub async fn account(
    namespace: &Namespace,
    credential: &str,
    limit: Duration,
) -> anyhow::Result<Account> {
    let object = namespace
        .condition(Kind::SmtpCredential, credential, "Ready", "True", limit)
        .await?;
    let secret = text(&object, "/status/binding/name")?;
    let value = async |key: &str| namespace.secret(&secret, key).await;
    let port = value("port").await?;
    Ok(Account {
        host: value("host").await?,
        port: port
            .parse()
            .with_context(|| format!("Secret {secret}: port {port}"))?,
        encryption: Encryption::StartTls,
        authority: value("ca.crt").await?,
        login: Some((value("username").await?, value("password").await?)),
    })
}

/// The records that a domain's status prints once all its keys are made.
pub async fn dns_records(
    namespace: &Namespace,
    domain: &str,
    limit: Duration,
) -> anyhow::Result<Vec<Record>> {
    let printed = |object: Option<&Value>| {
        object
            .filter(|object| has_condition(object, "KeysReady", "True"))
            .and_then(|object| object.pointer("/status/dnsRecords"))
            .and_then(Value::as_array)
            .is_some_and(|records| !records.is_empty())
    };
    let object = namespace
        .watch(
            Kind::SendingDomain,
            domain,
            "DNS records in its status",
            limit,
            printed,
        )
        .await?
        .context("the domain is gone")?;
    let records = object["status"]["dnsRecords"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    records
        .iter()
        // Where there is nothing to publish, there is no value.
        .filter(|record| record["value"] != "")
        .map(|record| {
            Ok(Record {
                name: text(record, "/name")?,
                kind: text(record, "/type")?,
                value: text(record, "/value")?,
            })
        })
        .collect()
}
