//! Processes of pods on this machine, which is the own cluster's node: for faults that no API call
//! makes.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::namespace::{Namespace, text};
use crate::process::Run;

/// Ends the relay process of a pod with SIGKILL: no chance to close anything.
///
/// On a cluster whose node is elsewhere the pod is deleted without grace, which is the nearest.
pub async fn kill_relay(namespace: &Namespace, pod: &Value) -> anyhow::Result<()> {
    let name = text(pod, "/metadata/name")?;
    if !namespace.cluster.is_own() {
        namespace
            .kubectl()
            .args([
                "delete",
                "pod",
                &name,
                "--grace-period=0",
                "--force",
                "--wait=false",
            ])
            .succeed()
            .await?;
        return Ok(());
    }
    let identity = text(pod, "/metadata/uid")?;
    let processes = processes(&identity)?;
    ensure!(
        !processes.is_empty(),
        "no relay process of pod {name} on this machine"
    );
    Run::new("kill")
        .arg("-KILL")
        .args(processes)
        .succeed()
        .await?;
    Ok(())
}

/// A command of this machine in the network of a pod with a relay process, where the pod's own image has no
/// programs.
pub fn in_network_of(pod: &Value) -> anyhow::Result<Run> {
    let processes = processes(&text(pod, "/metadata/uid")?)?;
    let process = processes
        .first()
        .context("no relay process of the pod on this machine")?;
    Ok(Run::new("nsenter").args(["--net", "--target", process]))
}

/// Ids of the processes named `relay` whose control group is that of the pod.
fn processes(pod: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").context("/proc")? {
        let path = entry?.path();
        // Processes come and go while this looks at them.
        let (Ok(name), Ok(groups)) = (
            std::fs::read_to_string(path.join("comm")),
            std::fs::read_to_string(path.join("cgroup")),
        ) else {
            continue;
        };
        // The systemd driver writes underscores for hyphens.
        let of_pod = groups.contains(pod) || groups.contains(&pod.replace('-', "_"));
        if of_pod && name.trim() == "relay" {
            found.extend(path.file_name().map(|id| id.to_string_lossy().into_owned()));
        }
    }
    Ok(found)
}
