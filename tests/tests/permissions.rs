//! The operator's rights are those that it uses. Judges what the cluster tests before it made the operator
//! do, by the audit log of the cluster's API server, so that it says something only after all of them.

use std::collections::BTreeSet;

use anyhow::ensure;
use mailrelay_tests::audit::{self, Right};
use mailrelay_tests::chart;
use mailrelay_tests::cluster::{Cluster, OPERATOR_NAMESPACE, not_run};
use serde_json::Value;

/// Rights that no test makes the operator use, and why it has them.
const RESERVED: &[(&str, &str, &str, &str)] = &[
    (
        "mailrelay.dev",
        "smtprelays/finalizers",
        "update",
        "asked for by clusters with OwnerReferencesPermissionEnforcement alone",
    ),
    (
        "mailrelay.dev",
        "sendingdomains/finalizers",
        "update",
        "asked for by clusters with OwnerReferencesPermissionEnforcement alone",
    ),
    (
        "mailrelay.dev",
        "smtpcredentials/finalizers",
        "update",
        "asked for by clusters with OwnerReferencesPermissionEnforcement alone",
    ),
    (
        "events.k8s.io",
        "events",
        "patch",
        "a series of one Event that is told again within minutes",
    ),
];

fn texts<'a>(rule: &'a Value, field: &str) -> Vec<&'a str> {
    let list = rule[field].as_array().into_iter().flatten();
    list.filter_map(Value::as_str).collect()
}

fn rights(rule: &Value) -> Vec<Right> {
    let mut found = Vec::new();
    for verb in texts(rule, "verbs") {
        for path in texts(rule, "nonResourceURLs") {
            found.push((String::new(), path.to_owned(), verb.to_owned()));
        }
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                found.push((group.to_owned(), resource.to_owned(), verb.to_owned()));
            }
        }
    }
    found
}

/// What the roles that are bound to the operator allow.
fn granted(objects: &[Value]) -> BTreeSet<Right> {
    let is_hook = |object: &Value| !object["metadata"]["annotations"]["helm.sh/hook"].is_null();
    let bound: Vec<&Value> = objects
        .iter()
        .filter(|object| object["roleRef"].is_object() && !is_hook(object))
        .map(|binding| &binding["roleRef"]["name"])
        .collect();
    objects
        .iter()
        .filter(|object| bound.contains(&&object["metadata"]["name"]) && !is_hook(object))
        .flat_map(|role| role["rules"].as_array().into_iter().flatten())
        .flat_map(rights)
        .collect()
}

#[tokio::test]
async fn the_operator_uses_all_its_rights_and_is_refused_nothing() -> anyhow::Result<()> {
    let cluster = Cluster::connect().await?;
    if !cluster.is_own() {
        not_run("KUBECONFIG names a cluster whose audit log is elsewhere");
        return Ok(());
    }
    let requests = cluster.audit(OPERATOR_NAMESPACE)?;
    ensure!(
        requests.len() > 1000,
        "{} requests in the audit log: run the cluster tests first, on the same cluster",
        requests.len()
    );
    let granted = granted(&chart::render(&[]).await?);
    ensure!(
        granted.len() > 20,
        "the chart grants {} rights",
        granted.len()
    );
    // What the chart grants is refused for other reasons: by an API server that has just started and does
    // not know its roles yet, in a namespace that goes, after an uninstall.
    let lacks = |request: &&audit::Request| {
        let by_policy = request.line().contains("ValidatingAdmissionPolicy");
        request.code() == 403 && (by_policy || !audit::needed(request).is_subset(&granted))
    };
    let refused: Vec<String> = requests
        .iter()
        .filter(lacks)
        .map(audit::Request::line)
        .collect();
    ensure!(refused.is_empty(), "refused: {refused:#?}");

    let used = audit::used(&requests);
    let mut unused = Vec::new();
    for right in granted.difference(&used) {
        let (group, resource, verb) = right;
        let reserved = RESERVED
            .iter()
            .find(|one| (one.0, one.1, one.2) == (group, resource, verb));
        match reserved {
            Some((.., why)) => println!("reserved: {verb} {resource}.{group}: {why}"),
            None => unused.push(format!("{verb} {resource}.{group}")),
        }
    }
    println!(
        "{} requests, {} rights, {} used",
        requests.len(),
        granted.len(),
        used.len()
    );
    ensure!(unused.is_empty(), "granted and never used: {unused:#?}");
    Ok(())
}
