//! Releases of the chart: what `helm` does with them.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize as _;
use serde_json::Value;

use crate::cluster::{Cluster, INSTALL_LIMIT, OPERATOR_NAMESPACE, RELEASE, namespace_manifest};
use crate::process::{Run, checkout};

/// This checkout's chart.
pub const CHART: &str = "charts/mailrelay-operator";
/// The kept chart of an earlier state of the project, with its own resource definitions.
pub const PREVIOUS: &str = "tests/chart/mailrelay-operator-0.0.1.tgz";
/// Where a chart has its definitions.
const DEFINITIONS: &str = "files/crds";
/// Schema of the status in a definition.
const STATUS: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/status";
/// Images of an earlier version: today's under another tag, since no registry has others.
const PREVIOUS_TAG: &str = "previous";

/// A release of the operator's chart. Its name is [`RELEASE`].
#[derive(Clone, Debug)]
pub struct Release {
    /// Its namespace.
    pub namespace: String,
    /// The chart, packaged or not.
    pub chart: PathBuf,
    /// Tag of the images, where the harness made them.
    pub tag: String,
    /// `--set` values beside the images.
    pub values: Vec<String>,
}

impl Default for Release {
    /// This checkout's chart as it comes.
    fn default() -> Self {
        Self {
            namespace: OPERATOR_NAMESPACE.into(),
            chart: checkout().join(CHART),
            tag: "dev".into(),
            values: Vec::new(),
        }
    }
}

impl Release {
    /// The earlier chart, unpacked into `folder`. Its operator is today's under another tag, which writes
    /// today's status: so the status of its definitions is today's, too, and nothing else.
    pub async fn previous(folder: &Path) -> anyhow::Result<Self> {
        Run::new("tar")
            .args(["--extract", "--gzip", "--strip-components=1", "--file"])
            .arg(checkout().join(PREVIOUS))
            .arg("--directory")
            .arg(folder)
            .succeed()
            .await?;
        for entry in std::fs::read_dir(folder.join(DEFINITIONS))? {
            let earlier = entry?.path();
            let name = earlier.file_name().context("no name")?;
            let today = checkout().join(CHART).join(DEFINITIONS).join(name);
            let read = |path: &Path| -> anyhow::Result<Value> {
                Ok(serde_yaml::from_str(&std::fs::read_to_string(path)?)?)
            };
            let mut definition = read(&earlier)?;
            let of_today = read(&today)?;
            let status = of_today.pointer(STATUS).context("no status")?;
            *definition.pointer_mut(STATUS).context("no status")? = status.clone();
            std::fs::write(&earlier, serde_yaml::to_string(&definition)?)?;
        }
        Ok(Self {
            chart: folder.into(),
            tag: PREVIOUS_TAG.into(),
            ..Self::default()
        })
    }
}

impl Cluster {
    /// Installs the operator with its chart, or upgrades it, and waits until it is there.
    pub async fn install(&self) -> anyhow::Result<()> {
        self.deploy(&Release::default()).await
    }

    /// Installs a release, or upgrades it, and waits until its pods are ready.
    ///
    /// Its namespace enforces PodSecurity `restricted`. The images' identity goes into an annotation, so
    /// that new images of the same name are run.
    pub async fn deploy(&self, release: &Release) -> anyhow::Result<()> {
        self.kubectl()
            .args(["apply", "--server-side", "-f", "-"])
            .input(namespace_manifest(&release.namespace))
            .succeed()
            .await?;
        let mut helm = self
            .helm(&release.namespace)
            .args(["upgrade", "--install", RELEASE])
            .arg(&release.chart)
            // Definitions may have been applied by hand before.
            .args(["--wait", "--timeout", "120s", "--take-ownership"])
            .args([
                "--set-string",
                &format!("podAnnotations.mailrelay-images={}", self.images),
            ]);
        for value in image_values(&release.tag).iter().chain(&release.values) {
            helm = helm.args(["--set", value]);
        }
        match helm.limit(INSTALL_LIMIT).succeed().await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.context(format!("operator:\n{}", self.operator_log().await))),
        }
    }

    /// Removes the operator, as `helm uninstall` does; CRDs and what they hold stay.
    pub async fn uninstall(&self) -> anyhow::Result<()> {
        self.remove(OPERATOR_NAMESPACE).await
    }

    /// Removes the release in a namespace.
    pub async fn remove(&self, namespace: &str) -> anyhow::Result<()> {
        self.helm(namespace)
            .args(["uninstall", RELEASE, "--ignore-not-found", "--wait"])
            .limit(INSTALL_LIMIT)
            .succeed()
            .await?;
        Ok(())
    }

    /// Gives the node today's images under the tag that [`Release::previous`] names. Nothing is
    /// compiled.
    pub async fn load_previous_images(&self) -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let output = folder.path().to_string_lossy().into_owned();
        self.load_build(&["--no-build", "--tag", PREVIOUS_TAG, "--output", &output])
            .await?;
        Ok(())
    }

    fn helm(&self, namespace: &str) -> Run {
        Run::new(&self.helm)
            .env("KUBECONFIG", &self.kubeconfig)
            .args(["--namespace", namespace])
    }
}

/// Renders this checkout's chart with `--set` values; its objects, those of hooks included.
pub async fn render(values: &[&str]) -> anyhow::Result<Vec<Value>> {
    render_chart(CHART, values).await
}

/// As [`render()`], with a chart of that path in the checkout.
pub async fn render_chart(chart: &str, values: &[&str]) -> anyhow::Result<Vec<Value>> {
    let helm = Run::new(checkout().join(".ci/tools"))
        .arg("helm")
        .succeed()
        .await?;
    let mut run = Run::new(helm.trim())
        .args(["template", "outbox"])
        .arg(checkout().join(chart))
        .args(["--namespace", "mail", "--kube-version", "1.34.0"]);
    for value in values {
        run = run.args(["--set", value]);
    }
    let text = run.succeed().await?;
    serde_yaml::Deserializer::from_str(&text)
        .map(|document| Ok(Value::deserialize(document)?))
        .collect()
}

/// `--set` values that name the images: those just built, or `MAILRELAY_TEST_IMAGES`.
fn image_values(tag: &str) -> Vec<String> {
    let built = format!("mailrelay.dev:{tag}");
    let images = std::env::var("MAILRELAY_TEST_IMAGES").unwrap_or(built);
    let (registry, tag) = images.rsplit_once(':').unwrap_or((&images, tag));
    vec![
        format!("image.repository={registry}/operator"),
        format!("image.tag={tag}"),
        format!("relayImage.repository={registry}/relay"),
        format!("relayImage.tag={tag}"),
    ]
}
