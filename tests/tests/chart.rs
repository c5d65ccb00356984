//! The chart as Helm renders it: values that are used, definitions that lose nothing.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use mailrelay_tests::chart::{CHART, PREVIOUS, render_chart as render};
use mailrelay_tests::process::checkout;
use serde_json::Value;

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects
        .iter()
        .filter(|object| object["kind"] == kind)
        .collect()
}

#[tokio::test]
async fn o20_each_pod_has_the_security_contexts_of_the_values() -> anyhow::Result<()> {
    let values = [
        "podSecurityContext.fsGroup=7",
        "securityContext.runAsUser=8",
    ];
    let objects = render(CHART, &values).await?;
    for (kind, count) in [("Deployment", 1), ("Job", 1)] {
        let found = of_kind(&objects, kind);
        ensure!(found.len() == count, "{} {kind}", found.len());
        let pod = &found[0]["spec"]["template"]["spec"];
        let outer = &pod["securityContext"];
        ensure!(outer["fsGroup"] == 7, "{kind}: {outer}");
        // What makes the pod fit `restricted` stays.
        ensure!(outer["runAsNonRoot"] == true, "{kind}: {outer}");
        ensure!(
            outer["seccompProfile"]["type"] == "RuntimeDefault",
            "{kind}: {outer}"
        );
        for container in pod["containers"].as_array().context("no containers")? {
            let inner = &container["securityContext"];
            ensure!(inner["runAsUser"] == 8, "{kind}: {inner}");
            ensure!(inner["readOnlyRootFilesystem"] == true, "{kind}: {inner}");
            ensure!(
                inner["allowPrivilegeEscalation"] == false,
                "{kind}: {inner}"
            );
            ensure!(inner["capabilities"]["drop"][0] == "ALL", "{kind}: {inner}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn o2_definitions_are_templates_that_an_uninstall_keeps() -> anyhow::Result<()> {
    let objects = render(CHART, &[]).await?;
    let definitions = of_kind(&objects, "CustomResourceDefinition");
    ensure!(definitions.len() == 3, "{} definitions", definitions.len());
    for definition in definitions {
        let policy = &definition["metadata"]["annotations"]["helm.sh/resource-policy"];
        ensure!(
            policy == "keep",
            "{}: {policy}",
            definition["metadata"]["name"]
        );
    }
    // Helm never upgrades what lies in `crds/`.
    ensure!(
        !checkout().join(CHART).join("crds").exists(),
        "{CHART}/crds"
    );
    Ok(())
}

/// Paths of all fields of a schema.
fn fields(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        fields(inner, &path, found);
        found.insert(path);
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[key].is_object() {
            fields(&schema[key], &format!("{path}{mark}"), found);
        }
    }
}

/// Fields by version of each definition, and the versions that are stored.
fn versions(objects: &[Value]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for definition in of_kind(objects, "CustomResourceDefinition") {
        let plural = definition["spec"]["names"]["plural"]
            .as_str()
            .unwrap_or_default();
        for version in definition["spec"]["versions"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let name = version["name"].as_str().unwrap_or_default();
            let path = format!("{plural}/{name}");
            if version["served"] == true {
                found.insert(path.clone());
            }
            fields(&version["schema"]["openAPIV3Schema"], &path, &mut found);
        }
    }
    found
}

#[tokio::test]
async fn o3_no_version_or_field_that_was_released_is_gone_and_would_be_pruned() -> anyhow::Result<()>
{
    let before = versions(&render(PREVIOUS, &[]).await?);
    let after = versions(&render(CHART, &[]).await?);
    ensure!(before.len() > 100, "{PREVIOUS} has {} fields", before.len());
    let gone: Vec<&String> = before.difference(&after).collect();
    ensure!(
        gone.is_empty(),
        "objects that are stored would lose these; keep them, or convert: {gone:?}"
    );
    Ok(())
}
