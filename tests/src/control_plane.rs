//! An API server with nothing behind it: etcd and kube-apiserver on loopback ports of their own, so
//! that several can run at once, without root, a node or a kubelet. For tests of the operator alone.
//!
//! No pod ever runs here. The garbage collector and the namespace controller run only where a test
//! asks for them.

mod audit;
mod names;
mod operator;
mod pki;
mod proxy;
mod usage;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::cluster::{OPERATOR_NAMESPACE, RELEASE};
use crate::process::{Run, checkout};
use crate::wait;

pub use audit::Write;
pub use names::Names;
pub use operator::Operator;
pub use proxy::{Fault, Proxy, Request};

/// Building Kubernetes on a cold machine takes most of this.
const BUILD_LIMIT: Duration = Duration::from_mins(40);
/// Two busy cores need most of this.
const START_LIMIT: Duration = Duration::from_mins(1);
const INSTALL_LIMIT: Duration = Duration::from_mins(1);
/// The server must say this version to the chart, which asks for 1.33 at least.
const VERSION: &str = "1.34.4";
/// Name that the operator's ServiceAccount has in the chart.
const ACCOUNT: &str = "mailrelay-mailrelay-operator";

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// May do everything.
    Admin,
    /// The operator's ServiceAccount: what the chart's RBAC allows.
    Operator,
    /// The cluster's own controllers, under the name that they have in every cluster.
    Controllers,
}

impl User {
    /// A token from the server's table of fixed tokens; it exists only on this loopback port.
    fn token(self) -> &'static str {
        match self {
            Self::Admin => "of-the-admin",
            Self::Operator => "of-the-operator",
            Self::Controllers => "of-the-controllers",
        }
    }

    /// Name in audit records.
    fn name(self) -> String {
        match self {
            Self::Admin => "admin".to_owned(),
            Self::Operator => format!("system:serviceaccount:{OPERATOR_NAMESPACE}:{ACCOUNT}"),
            Self::Controllers => "system:kube-controller-manager".to_owned(),
        }
    }
}

/// A running API server. Its processes end with it.
pub struct ControlPlane {
    /// Client of an administrator.
    pub client: kube::Client,
    directory: TempDir,
    programs: PathBuf,
    etcd: SocketAddr,
    api: SocketAddr,
    server: Option<Child>,
    others: Vec<Child>,
}

impl ControlPlane {
    /// Starts one, empty.
    pub async fn start() -> anyhow::Result<Self> {
        // Both crypto features may be compiled in by others; the choice is made once per process.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let said = Run::new(checkout().join("tests/cluster/cluster"))
            .arg("build")
            .progress()
            .limit(BUILD_LIMIT)
            .succeed()
            .await?;
        let programs = PathBuf::from(said.trim());
        let directory = tempfile::tempdir()?;
        let files = directory.path();
        let [etcd, peer, api] = ports::<3>()?;
        pki::create(files)?;
        std::fs::write(files.join("tokens.csv"), tokens())?;
        std::fs::write(
            files.join("audit.yaml"),
            audit::policy(&User::Operator.name()),
        )?;
        for user in [User::Admin, User::Operator, User::Controllers] {
            kubeconfig(files, user, &format!("https://{api}"), &format!("{user:?}"))?;
        }
        let client = client(&files.join("kubeconfig.Admin")).await?;
        let store = spawn(&programs, files, "etcd", &etcd_arguments(files, etcd, peer))?;
        wait::for_port(etcd, START_LIMIT).await?;
        let mut plane = Self {
            client,
            programs,
            etcd,
            api,
            server: None,
            others: vec![store],
            directory,
        };
        plane.start_server().await?;
        Ok(plane)
    }

    /// Applies the chart's CRDs and rights, without its Deployment.
    pub async fn install(&self) -> anyhow::Result<()> {
        let chart = checkout().join("charts/mailrelay-operator");
        let rendered = Run::new(self.programs.join("helm"))
            .args(["template", RELEASE])
            .arg(chart)
            .args(["--namespace", OPERATOR_NAMESPACE, "--kube-version", VERSION])
            .succeed()
            .await?;
        let documents = rendered.split("\n---");
        let kept: Vec<&str> = documents
            .filter(|document| !document.contains("\nkind: Deployment"))
            .collect();
        self.kubectl()
            .args(["create", "namespace", OPERATOR_NAMESPACE])
            .succeed()
            .await?;
        self.kubectl()
            .args(["apply", "--server-side", "-f", "-"])
            .input(kept.join("\n---"))
            .limit(INSTALL_LIMIT)
            .succeed()
            .await?;
        self.kubectl()
            .args(["wait", "--for=condition=Established", "crd", "--all"])
            .succeed()
            .await?;
        Ok(())
    }

    /// Starts what removes objects whose owner or namespace is gone.
    pub async fn start_collectors(&mut self) -> anyhow::Result<()> {
        let [port] = ports::<1>()?;
        let files = self.directory.path();
        let arguments = [
            format!(
                "--kubeconfig={}",
                files.join("kubeconfig.Controllers").display()
            ),
            "--controllers=garbage-collector-controller,namespace-controller".to_owned(),
            "--authentication-skip-lookup=true".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", port.port()),
            "--leader-elect=false".to_owned(),
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
        ];
        let child = spawn(&self.programs, files, "kube-controller-manager", &arguments)?;
        self.others.push(child);
        wait::for_port(port, START_LIMIT).await
    }

    /// Starts the API server, again after [`Self::stop_server`].
    pub async fn start_server(&mut self) -> anyhow::Result<()> {
        let files = self.directory.path();
        let arguments = server_arguments(files, self.etcd, self.api);
        self.server = Some(spawn(&self.programs, files, "kube-apiserver", &arguments)?);
        let client = &self.client;
        wait::until("a ready API server", START_LIMIT, || async {
            let request = axum::http::Request::get("/readyz").body(Vec::new());
            let request = request.map_err(|error| error.to_string())?;
            let answer = client.request_text(request).await;
            answer.map(drop).map_err(|error| error.to_string())
        })
        .await
        .with_context(|| format!("kube-apiserver:\n{}", self.log("kube-apiserver")))
    }

    /// Ends the API server at once; what it stored stays.
    pub async fn stop_server(&mut self) -> anyhow::Result<()> {
        if let Some(mut server) = self.server.take() {
            server.kill().await?;
        }
        Ok(())
    }

    /// `kubectl` as the administrator.
    pub fn kubectl(&self) -> Run {
        let config = self.directory.path().join("kubeconfig.Admin");
        Run::new(self.programs.join("kubectl")).env("KUBECONFIG", config)
    }

    /// A kubeconfig of `user`; through `proxy` when there is one.
    pub fn kubeconfig(&self, user: User, proxy: Option<&Proxy>) -> anyhow::Result<PathBuf> {
        let Some(proxy) = proxy else {
            return Ok(self.directory.path().join(format!("kubeconfig.{user:?}")));
        };
        let address = proxy.address();
        let name = format!("{user:?}-{}", address.port());
        kubeconfig(
            self.directory.path(),
            user,
            &format!("http://{address}"),
            &name,
        )
    }

    /// A client of `user`.
    pub async fn client_of(&self, user: User) -> anyhow::Result<kube::Client> {
        client(&self.kubeconfig(user, None)?).await
    }

    /// Where one of the cluster's programs lies, such as `coredns`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// What the operator wrote so far, oldest first.
    pub fn writes(&self) -> anyhow::Result<Vec<Write>> {
        audit::read(&self.directory.path().join("audit.log"))
    }

    /// CPU time of the API server and its store so far, in seconds.
    pub fn cpu(&self) -> anyhow::Result<f64> {
        let all = self.others.iter().chain(&self.server);
        all.filter_map(Child::id).map(usage::cpu).sum()
    }

    /// Requests that the API server answered since it started, whoever asked, by verb, resource and code.
    pub async fn requests(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let request = axum::http::Request::get("/metrics").body(Vec::new())?;
        let text = self.client.request_text(request).await?;
        let lines = text
            .lines()
            .filter_map(|line| line.strip_prefix("apiserver_request_total{"));
        let mut counts = BTreeMap::new();
        for (labels, count) in lines.filter_map(|line| line.rsplit_once("} ")) {
            let value = |name: &str| {
                let found = labels
                    .split("\",")
                    .find_map(|label| label.strip_prefix(name)?.strip_prefix("=\""));
                found.unwrap_or_default().trim_end_matches('"')
            };
            let mut resource = value("resource").to_owned();
            if !value("subresource").is_empty() {
                resource = format!("{resource}/{}", value("subresource"));
            }
            let key = format!("{} {resource} {}", value("verb"), value("code"));
            let count: f64 = count.parse()?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a counter"
            )]
            let count = count as u64;
            *counts.entry(key).or_default() += count;
        }
        Ok(counts)
    }

    /// The end of a component's log.
    pub fn log(&self, name: &str) -> String {
        tail(&self.directory.path().join(format!("{name}.log")))
    }

    /// A directory that lives as long as this.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// The last part of a file, for an error.
fn tail(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let from = text.len().saturating_sub(4000);
    String::from_utf8_lossy(&text[from..]).into_owned()
}

/// Loopback ports that were free a moment ago.
pub fn ports<const N: usize>() -> anyhow::Result<[SocketAddr; N]> {
    let mut listeners = Vec::new();
    for _ in 0..N {
        listeners.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
    }
    let addresses: Vec<SocketAddr> = listeners
        .iter()
        .map(TcpListener::local_addr)
        .collect::<Result<_, _>>()?;
    addresses
        .try_into()
        .map_err(|_| anyhow::anyhow!("not {N} ports"))
}

fn tokens() -> String {
    let accounts = format!("system:serviceaccounts,system:serviceaccounts:{OPERATOR_NAMESPACE}");
    let users = [
        (User::Admin, "system:masters"),
        (User::Operator, &accounts),
        (User::Controllers, "system:masters"),
    ];
    let mut table = String::new();
    for (number, (user, groups)) in users.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "{},{},{number},\"{groups}\"",
            user.token(),
            user.name()
        );
    }
    table
}

fn etcd_arguments(files: &Path, client: SocketAddr, peer: SocketAddr) -> [String; 6] {
    [
        format!("--data-dir={}", files.join("etcd").display()),
        format!("--listen-client-urls=http://{client}"),
        format!("--advertise-client-urls=http://{client}"),
        format!("--listen-peer-urls=http://{peer}"),
        format!("--initial-advertise-peer-urls=http://{peer}"),
        format!("--initial-cluster=default=http://{peer}"),
    ]
}

fn server_arguments(files: &Path, etcd: SocketAddr, api: SocketAddr) -> Vec<String> {
    let file = |option: &str, name: &str| format!("--{option}={}", files.join(name).display());
    vec![
        format!("--etcd-servers=http://{etcd}"),
        format!("--bind-address={}", api.ip()),
        format!("--advertise-address={}", api.ip()),
        format!("--secure-port={}", api.port()),
        // Port of the lone server; nobody uses the Service.
        "--endpoint-reconciler-type=none".to_owned(),
        file("tls-cert-file", "server.crt"),
        file("tls-private-key-file", "server.key"),
        file("token-auth-file", "tokens.csv"),
        file("audit-policy-file", "audit.yaml"),
        file("audit-log-path", "audit.log"),
        "--service-cluster-ip-range=10.97.0.0/16".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        file("service-account-key-file", "tokens.pub"),
        file("service-account-signing-key-file", "tokens.key"),
        "--authorization-mode=RBAC".to_owned(),
        "--profiling=false".to_owned(),
    ]
}

fn spawn(programs: &Path, files: &Path, name: &str, arguments: &[String]) -> anyhow::Result<Child> {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(files.join(format!("{name}.log")))?;
    let mut command = Command::new(programs.join(name));
    command
        .args(arguments)
        .current_dir(files)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true);
    if name == "etcd" {
        // Made anew for each test.
        command.arg("--unsafe-no-fsync");
    }
    command
        .spawn()
        .with_context(|| format!("{name} does not start"))
}

/// Writes `kubeconfig.NAME`; its path.
fn kubeconfig(files: &Path, user: User, server: &str, name: &str) -> anyhow::Result<PathBuf> {
    let mut cluster = serde_json::json!({"server": server});
    if server.starts_with("https:") {
        cluster["certificate-authority"] = files.join("ca.crt").display().to_string().into();
    }
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "plane",
        "clusters": [{"name": "plane", "cluster": cluster}],
        "users": [{"name": "user", "user": {"token": user.token()}}],
        "contexts": [{"name": "plane", "context": {"cluster": "plane", "user": "user"}}],
    });
    let path = files.join(format!("kubeconfig.{name}"));
    std::fs::write(&path, config.to_string())?;
    Ok(path)
}

async fn client(kubeconfig: &Path) -> anyhow::Result<kube::Client> {
    let read = Kubeconfig::read_from(kubeconfig)?;
    ensure!(!read.clusters.is_empty(), "an empty kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}
