//! What the API server itself refuses by the chart's policies, and what it lets through.

use anyhow::ensure;
use mailrelay_tests::namespace::Kind;
use mailrelay_tests::process::Finished;
use mailrelay_tests::scenario::{self, DOMAIN, PATIENCE, RELAY, Scenario};
use mailrelay_tests::wait;

/// An open listener, for the networks given.
fn open(replicas: u32, networks: &str) -> String {
    format!(
        "apiVersion: mailrelay.dev/v1alpha1\nkind: SmtpRelay\nmetadata: {{name: {RELAY}}}\nspec:\n  \
         replicas: {replicas}\n  listeners: [{{name: printers, port: 2526, authentication: None}}]\n  \
         clients: {{cidrs: [{networks}]}}\n"
    )
}

/// As [`open`] with one replica, with these listeners.
fn with(listeners: &str, networks: &str) -> String {
    format!(
        "apiVersion: mailrelay.dev/v1alpha1\nkind: SmtpRelay\nmetadata: {{name: {RELAY}}}\nspec:\n  \
         listeners: [{listeners}]\n  clients: {{cidrs: [{networks}]}}\n"
    )
}

/// `kubectl` with these arguments as a user of the namespace, who has Kubernetes' role `role`.
async fn user(
    scenario: &Scenario,
    role: &str,
    arguments: &[&str],
    input: &str,
) -> anyhow::Result<Finished> {
    let account = format!("system:serviceaccount:{}:{role}", scenario.namespace.name);
    scenario
        .namespace
        .kubectl()
        .arg(format!("--as={account}"))
        .args(arguments)
        .input(input)
        .finish()
        .await
}

const APPLY: &[&str] = &["apply", "--filename", "-"];

fn refused(finished: &Finished, words: &str) -> anyhow::Result<()> {
    let said = finished.said();
    ensure!(finished.code != Some(0) && said.contains(words), "{said}");
    Ok(())
}

fn done(finished: &Finished) -> anyhow::Result<()> {
    ensure!(finished.code == Some(0), "{}", finished.said());
    Ok(())
}

#[tokio::test]
async fn claims_with_mail_and_keys_are_not_deleted_by_mistake() -> anyhow::Result<()> {
    scenario::run("keep", 73, async |scenario: &mut Scenario| {
        scenario.set_up("").await?;
        let namespace = &scenario.namespace;
        let delete = async |arguments: &[&str]| {
            let command = namespace.kubectl().args(["delete", "--wait=false"]);
            command.args(arguments).finish().await
        };
        let (claim, keys) = (
            format!("pvc/{RELAY}-queue-0"),
            format!("secret/{DOMAIN}-dkim"),
        );
        refused(
            &delete(&[&claim]).await?,
            "accepted mail may wait on this claim",
        )?;
        refused(
            &delete(&["pvc", "--all"]).await?,
            "accepted mail may wait on this claim",
        )?;
        refused(&delete(&[&keys]).await?, "mailrelay.dev/rotate-now")?;
        let authority = format!("secret/{RELAY}-authority");
        refused(
            &delete(&[&authority]).await?,
            "clients trust certificates of this authority",
        )?;

        // What can be made again may go, and so may what somebody says is to go.
        done(&delete(&[&format!("secret/{RELAY}-tls")]).await?)?;
        let allow = ["annotate", &keys, "mailrelay.dev/allow-deletion=true"];
        done(&namespace.kubectl().args(allow).finish().await?)?;
        done(&delete(&[&keys]).await?)?;

        // The operator deletes the claim of a relay that goes.
        namespace.remove(Kind::SmtpRelay, RELAY).await?;
        namespace.gone(Kind::SmtpRelay, RELAY, PATIENCE).await?;
        let claim = format!("{RELAY}-queue-0");
        namespace
            .gone(Kind::PersistentVolumeClaim, &claim, PATIENCE)
            .await
    })
    .await
}

#[tokio::test]
async fn who_edits_a_namespace_has_relays_in_it_and_only_its_administrator_opens_them()
-> anyhow::Result<()> {
    scenario::run("roles", 74, async |scenario: &mut Scenario| {
        let namespace = &scenario.namespace;
        for role in ["edit", "admin"] {
            let manifest = format!(
                "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {role}}}\n---\n\
                 apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: {role}}}\n\
                 roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {role}}}\n\
                 subjects: [{{kind: ServiceAccount, name: {role}, namespace: {}}}]\n",
                namespace.name
            );
            namespace.apply(&manifest).await?;
        }
        // Kubernetes adds the rules to its own roles in its own time.
        let closed = scenario.manifests("");
        wait::until("the editor's relay", PATIENCE, async || {
            match user(scenario, "edit", APPLY, &closed).await {
                Ok(finished) if finished.code == Some(0) => Ok(()),
                Ok(finished) => Err(finished.said()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await?;
        let one = open(1, "10.0.0.0/8");
        refused(&user(scenario, "edit", APPLY, &one).await?, "needs the verb \"open\"")?;
        done(&user(scenario, "admin", APPLY, &one).await?)?;

        // What an administrator opened does not keep an editor from other edits, but opens no further.
        done(&user(scenario, "edit", APPLY, &open(0, "10.0.0.0/8")).await?)?;
        let wider = open(0, "10.0.0.0/8, 172.16.0.0/12");
        refused(&user(scenario, "edit", APPLY, &wider).await?, "needs the verb \"open\"")?;
        let printers = "{name: printers, port: 2526, authentication: None}";
        let second = format!("{printers}, {{name: scanners, port: 2527, authentication: None}}");
        let second = with(&second, "10.0.0.0/8");
        refused(&user(scenario, "edit", APPLY, &second).await?, "send by printers, scanners")?;

        // A login that is left to the client is one that nobody needs.
        let optional = "{name: desks, port: 2528, authentication: Optional}";
        done(&user(scenario, "edit", APPLY, &with(optional, "")).await?)?;
        let desks = with(optional, "10.0.0.0/8");
        refused(&user(scenario, "edit", APPLY, &desks).await?, "send by desks")?;
        done(&user(scenario, "admin", APPLY, &desks).await?)?;
        done(&user(scenario, "edit", APPLY, &desks).await?)?;
        let closed = scenario.manifests("");
        done(&user(scenario, "edit", APPLY, &closed).await?)
    })
    .await
}
