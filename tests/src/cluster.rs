//! The cluster: the one that `KUBECONFIG` names, else the project's own (`tests/cluster`), started
//! when it does not run; and the operator in it, installed by its chart.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::audit;
use crate::prerequisites;
use crate::process::{Run, checkout};

/// Where the operator is installed.
pub const OPERATOR_NAMESPACE: &str = "mailrelay-system";
/// Name of the release.
pub const RELEASE: &str = "mailrelay";
/// Name of the operator's Deployment and ServiceAccount in it.
pub const OPERATOR: &str = "mailrelay-mailrelay-operator";
/// Building Kubernetes on a cold machine takes most of this.
const UP_LIMIT: Duration = Duration::from_mins(40);
/// Compiling both binaries on a cold machine takes most of this.
const IMAGES_LIMIT: Duration = Duration::from_mins(50);
pub(crate) const INSTALL_LIMIT: Duration = Duration::from_mins(3);
/// The own cluster's name server, which answers pods and this host alike.
const OWN_RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
const OWN_STATE: &str = "/run/mailrelay-cluster";

/// A cluster that is up.
#[derive(Clone)]
pub struct Cluster {
    /// Client with the rights of the kubeconfig.
    pub client: kube::Client,
    /// Name server of pods.
    pub resolver: Ipv4Addr,
    /// Directory of zone files that this name server serves.
    pub zones: PathBuf,
    /// What tells the operator's and the relay's images from others of the same name, once loaded.
    pub images: String,
    pub(crate) kubeconfig: PathBuf,
    kubectl: PathBuf,
    pub(crate) helm: PathBuf,
    own: bool,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Cluster")
            .field("kubeconfig", &self.kubeconfig)
            .finish_non_exhaustive()
    }
}

/// Says that a test is not run, and why: on standard error itself, since nobody sees what a test that passes
/// prints.
pub fn not_run(why: &str) {
    let _ = writeln!(std::io::stderr(), "not run: {why}");
}

impl Cluster {
    /// Paths of `kubectl` and of the kubeconfig, for programs that run it themselves.
    pub fn programs(&self) -> (&Path, &Path) {
        (&self.kubectl, &self.kubeconfig)
    }

    /// Connects; starts the project's own cluster first unless `KUBECONFIG` is set.
    pub async fn connect() -> anyhow::Result<Self> {
        match std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty()) {
            Some(path) => Self::other(path.into()).await,
            None => Self::own().await,
        }
    }

    async fn own() -> anyhow::Result<Self> {
        ensure!(
            prerequisites::is_root()?,
            "the test cluster needs root; run this as root, or set KUBECONFIG to a cluster"
        );
        let said = tool()
            .arg("up")
            .progress()
            .limit(UP_LIMIT)
            .succeed()
            .await?;
        let kubeconfig = said
            .lines()
            .last()
            .context("`tests/cluster/cluster up` said nothing")?;
        let program = async |name: &str| -> anyhow::Result<PathBuf> {
            Ok(tool().args(["bin", name]).succeed().await?.trim().into())
        };
        let kubeconfig = PathBuf::from(kubeconfig.trim());
        Ok(Self {
            client: client(&kubeconfig).await?,
            resolver: OWN_RESOLVER,
            zones: state().join("zones"),
            kubectl: program("kubectl").await?,
            helm: program("helm").await?,
            kubeconfig,
            images: String::new(),
            own: true,
        })
    }

    /// A cluster of the user's: its DNS has to serve our zones and its pods have to reach this
    /// machine, which only the user can arrange.
    async fn other(kubeconfig: PathBuf) -> anyhow::Result<Self> {
        let setting = |name: &str, meaning: &str| {
            std::env::var(name)
                .with_context(|| format!("KUBECONFIG is set, so {name} must be, too: {meaning}"))
        };
        let resolver = setting(
            "MAILRELAY_TEST_RESOLVER",
            "the IPv4 address of the cluster's name server, as seen from this machine",
        )?;
        let zones = setting(
            "MAILRELAY_TEST_ZONES",
            "a directory of db.<zone> files that this name server serves",
        )?;
        Ok(Self {
            client: client(&kubeconfig).await?,
            resolver: resolver.parse().with_context(|| {
                format!("MAILRELAY_TEST_RESOLVER: {resolver} is no IPv4 address")
            })?,
            zones: zones.into(),
            kubectl: "kubectl".into(),
            helm: "helm".into(),
            kubeconfig,
            images: String::new(),
            own: false,
        })
    }

    /// A client of its own for the calling runtime: a client's connections end with the runtime
    /// that made it.
    pub async fn reconnect(&self) -> anyhow::Result<Self> {
        Ok(Self {
            client: client(&self.kubeconfig).await?,
            ..self.clone()
        })
    }

    /// Builds the images and gives them to the cluster's node.
    ///
    /// Where `MAILRELAY_TEST_IMAGES=REGISTRY:TAG` names images that the node has or can pull, those
    /// are used as they are; on another cluster that is the only way.
    pub async fn load_images(&mut self) -> anyhow::Result<()> {
        if let Ok(given) = std::env::var("MAILRELAY_TEST_IMAGES") {
            self.images = given.replace(['/', ':'], "-");
            return Ok(());
        }
        ensure!(
            self.own,
            "KUBECONFIG is set, so MAILRELAY_TEST_IMAGES must be, too: REGISTRY:TAG of the images \
             relay and operator, such as registry.example.com/mailrelay:dev"
        );
        self.images = self.load_build(&[]).await?;
        Ok(())
    }

    /// Gives the node the images that `tests/images/build` makes with these arguments; what tells them
    /// from others.
    pub(crate) async fn load_build(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let said = Run::new(checkout().join("tests/images/build"))
            .args(arguments)
            .progress()
            .limit(IMAGES_LIMIT)
            .succeed()
            .await?;
        let mut archives = Vec::new();
        let mut identity = String::new();
        for line in said.lines() {
            if let Some((archive, image)) = line.split_once(".tar: ") {
                archives.push(format!("{archive}.tar"));
                let digest = image.split([':', ',']).nth(2).unwrap_or_default();
                identity.push_str(digest.get(..16).unwrap_or_default());
            }
        }
        ensure!(
            archives.len() == 2 && identity.len() == 32,
            "tests/images/build made no two archives:\n{said}"
        );
        tool()
            .arg("load-image")
            .args(archives)
            .limit(INSTALL_LIMIT)
            .succeed()
            .await?;
        Ok(identity)
    }

    /// Ends the project's own cluster; leaves any other one alone.
    pub async fn down() -> anyhow::Result<()> {
        tool()
            .arg("down")
            .progress()
            .limit(INSTALL_LIMIT)
            .succeed()
            .await?;
        Ok(())
    }

    /// Whether this is the project's own cluster.
    pub fn is_own(&self) -> bool {
        self.own
    }

    /// The operator's Deployment, as `deployment.apps/NAME`.
    pub async fn operator_deployment(&self) -> anyhow::Result<String> {
        let said = self
            .kubectl()
            .args([
                "--namespace",
                OPERATOR_NAMESPACE,
                "get",
                "deployments",
                "--output=name",
            ])
            .succeed()
            .await?;
        let name = said
            .lines()
            .next()
            .context("the chart made no Deployment")?;
        Ok(name.to_owned())
    }

    /// `kubectl` for this cluster.
    pub fn kubectl(&self) -> Run {
        Run::new(&self.kubectl).env("KUBECONFIG", &self.kubeconfig)
    }

    /// Gives this machine one more address that pods reach, for a receiving mail server.
    pub async fn add_address(&self, address: Ipv4Addr) -> anyhow::Result<()> {
        if self.own {
            tool()
                .args(["address", "add", &address.to_string()])
                .succeed()
                .await?;
        }
        Ok(())
    }

    /// Gives the cluster's node an image of one static program, for a pod that runs it.
    pub async fn load_program(&self, reference: &str, program: &Path) -> anyhow::Result<()> {
        ensure!(
            self.own,
            "{reference} is made for this harness's own cluster: unset KUBECONFIG"
        );
        tool()
            .args(["load-program", reference])
            .arg(program)
            .succeed()
            .await?;
        Ok(())
    }

    /// Path of its kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Does `work` while a component of the own cluster, such as `kube-apiserver`, is ended; its data stays. It is
    /// started again, and serves, whatever comes of `work`.
    pub async fn without<T>(
        &self,
        component: &str,
        work: impl AsyncFnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let stopped = tool().args(["stop", component]).succeed().await;
        let done = match stopped {
            Ok(_) => work().await,
            Err(error) => Err(error),
        };
        tool()
            .args(["start", component])
            .limit(INSTALL_LIMIT)
            .succeed()
            .await?;
        done
    }

    /// What the operator in `namespace` has asked of the API server; empty on a cluster that is not ours.
    pub fn audit(&self, namespace: &str) -> anyhow::Result<Vec<audit::Request>> {
        if !self.own {
            return Ok(Vec::new());
        }
        let account = format!("system:serviceaccount:{namespace}:{OPERATOR}");
        audit::read(&state().join("logs/audit.log"), &account)
    }

    /// What the operator said last, for errors.
    pub async fn operator_log(&self) -> String {
        let Ok(deployment) = self.operator_deployment().await else {
            return "the operator is not installed".into();
        };
        self.kubectl()
            .args([
                "--namespace",
                OPERATOR_NAMESPACE,
                "logs",
                "--tail=40",
                &deployment,
            ])
            .finish()
            .await
            .map_or_else(|error| error.to_string(), |finished| finished.said())
    }
}

/// A Namespace that enforces PodSecurity `restricted`, as YAML.
pub fn namespace_manifest(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels:\n    \
         kubernetes.io/metadata.name: {name}\n    \
         pod-security.kubernetes.io/enforce: restricted\n    \
         pod-security.kubernetes.io/warn: restricted\n"
    )
}

fn state() -> PathBuf {
    std::env::var_os("MAILRELAY_CLUSTER_STATE")
        .map_or_else(|| PathBuf::from(OWN_STATE), PathBuf::from)
}

pub(crate) fn tool() -> Run {
    Run::new(checkout().join("tests/cluster/cluster"))
}

async fn client(kubeconfig: &std::path::Path) -> anyhow::Result<kube::Client> {
    // Both crypto features may be compiled in by others; the choice is made once per process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let read = Kubeconfig::read_from(kubeconfig)
        .with_context(|| format!("{}: no kubeconfig", kubeconfig.display()))?;
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    let client = kube::Client::try_from(config)?;
    let nodes: Api<Node> = Api::all(client.clone());
    nodes
        .list(&ListParams::default().limit(1))
        .await
        .with_context(|| format!("{}: the cluster does not answer", kubeconfig.display()))?;
    Ok(client)
}
