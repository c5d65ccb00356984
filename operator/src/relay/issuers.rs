//! The issuers of a relay: what its spec names, with the keys that were found. Pure but for the
//! reading itself.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use kube::runtime::reflector::ObjectRef;
use operator_api::names::config_secret;
use operator_api::{OidcIssuer, SmtpRelay};
use relay_config::{Issuer, IssuerKind, KeySet, MAIN_FILE};
use serde::Deserialize as _;
use serde_json::Value;

use super::dereference::data;
use super::{Key, RelayError};
use crate::context::Context;
use crate::issuers::Known;

/// Name of the cluster's own issuer.
const CLUSTER: &str = "kubernetes";
/// Entry of a ConfigMap with keys.
const JWKS: &str = "jwks.json";

/// The issuers that can be rendered, and what is wrong with the others.
#[derive(Clone, Debug, Default)]
pub(super) struct Issuers {
    pub(super) usable: Vec<Issuer>,
    pub(super) faults: Vec<String>,
}

/// Reads the keys of all issuers that the spec names.
pub(super) async fn run(
    relay: &SmtpRelay,
    context: &Context,
    key: &Key,
    now: Timestamp,
) -> Result<Issuers, RelayError> {
    let mut known = BTreeMap::new();
    if relay.token_audience().is_some() {
        let cluster = context.issuers.cluster(&context.client, now).await;
        known.insert(CLUSTER.to_owned(), cluster);
    }
    for issuer in relay.oidc_issuers() {
        let found = match &issuer.jwks_config_map_ref {
            None => context.issuers.at(&issuer.issuer_url, now).await,
            Some(reference) => {
                let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &key.0);
                let map = api.get_opt(&reference.name).await?;
                let entry = reference.key.as_deref().unwrap_or(JWKS);
                from_config_map(issuer, map.as_ref(), &reference.name, entry)
            }
        };
        known.insert(issuer.name.clone(), found);
    }
    Ok(build(relay, &known, &previous(context, key)))
}

fn from_config_map(issuer: &OidcIssuer, map: Option<&ConfigMap>, name: &str, entry: &str) -> Known {
    let text = map.and_then(|map| map.data.as_ref()?.get(entry));
    let jwks = text
        .ok_or_else(|| format!("ConfigMap {name} has no entry {entry:?}; add it"))
        .and_then(|text| {
            KeySet::from_slice(text.as_bytes())
                .map_err(|error| format!("entry {entry:?} of ConfigMap {name} {error}"))?;
            serde_json::from_str(text).map_err(|error| error.to_string())
        });
    match jwks {
        Ok(jwks) => Known {
            discovered: Some(crate::issuers::Discovered {
                issuer: issuer.issuer_url.clone(),
                jwks,
            }),
            fault: None,
        },
        Err(fault) => Known {
            discovered: None,
            fault: Some(fault),
        },
    }
}

/// What the relay runs now: the last good keys of a former operator process.
fn previous(context: &Context, (namespace, name): &Key) -> Vec<Issuer> {
    let reference = ObjectRef::new(&config_secret(name)).within(namespace);
    let secret = context.stores.secrets.get(&reference);
    secret.map_or_else(Vec::new, |secret| {
        issuers_in(data(&secret).get(MAIN_FILE).map_or(&[], Vec::as_slice))
    })
}

/// The issuers in a configuration that another version of the operator may have written: whatever else
/// stands there, and whichever of them is not understood, says nothing about the others.
fn issuers_in(config: &[u8]) -> Vec<Issuer> {
    let config: Value = serde_json::from_slice(config).unwrap_or_default();
    let issuers = config.pointer("/authentication/issuers");
    let issuers = issuers.and_then(Value::as_array).into_iter().flatten();
    issuers
        .filter_map(|issuer| Issuer::deserialize(issuer).ok())
        .collect()
}

/// What is rendered of what is known now and was known before.
fn build(relay: &SmtpRelay, known: &BTreeMap<String, Known>, previous: &[Issuer]) -> Issuers {
    let mut built = Issuers::default();
    if let Some(audience) = relay.token_audience() {
        let settings = Issuer {
            name: CLUSTER.to_owned(),
            issuer: String::new(),
            audiences: vec![audience],
            kind: IssuerKind::Kubernetes,
            identity_claim: None,
            jwks: None,
            jwks_file: None,
        };
        built.add(settings, known, previous);
    }
    for issuer in relay.oidc_issuers() {
        let settings = Issuer {
            name: issuer.name.clone(),
            issuer: issuer.issuer_url.clone(),
            audiences: issuer.audiences.clone(),
            kind: IssuerKind::Oidc,
            identity_claim: issuer.identity_claim.clone(),
            jwks: None,
            jwks_file: None,
        };
        built.add(settings, known, previous);
    }
    built
}

impl Issuers {
    fn add(&mut self, mut settings: Issuer, known: &BTreeMap<String, Known>, previous: &[Issuer]) {
        let nothing = Known::default();
        let known = known.get(&settings.name).unwrap_or(&nothing);
        if let Some(fault) = &known.fault {
            self.faults.push(format!("{}: {fault}", settings.name));
        }
        let before = previous.iter().find(|before| {
            before.name == settings.name
                && before.kind == settings.kind
                && (settings.issuer.is_empty() || before.issuer == settings.issuer)
        });
        let (issuer, jwks) = match (&known.discovered, before) {
            (Some(found), _) => (found.issuer.clone(), Some(found.jwks.clone())),
            (None, Some(before)) => (before.issuer.clone(), before.jwks.clone()),
            (None, None) => return,
        };
        // Two issuers that say the same of themselves cannot be told apart.
        if self.usable.iter().any(|other| other.issuer == issuer) {
            self.faults.push(format!(
                "{}: another issuer of this relay has the same issuer {issuer:?}",
                settings.name
            ));
            return;
        }
        settings.issuer = issuer;
        settings.jwks = jwks;
        self.usable.push(settings);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::issuers::Discovered;
    use crate::render::fixtures::relay;

    fn known(issuer: &str, key: &str) -> Known {
        Known {
            discovered: Some(Discovered {
                issuer: issuer.into(),
                jwks: json!({"keys": [key]}),
            }),
            fault: None,
        }
    }

    fn failed(fault: &str) -> Known {
        Known {
            discovered: None,
            fault: Some(fault.into()),
        }
    }

    const CORP: &str = "https://id.example";

    fn spec() -> serde_json::Value {
        json!({"authentication": {"oidc": [
            {"name": "corp", "issuerUrl": CORP, "audiences": ["mail"], "identityClaim": "email"},
        ]}})
    }

    #[test]
    fn a_relay_believes_the_clusters_service_accounts_unless_told_otherwise() {
        let all = BTreeMap::from([("kubernetes".to_owned(), known("https://cluster", "a"))]);
        let built = build(&relay(json!({})), &all, &[]);
        assert_eq!(built.faults, [""; 0]);
        assert_eq!(built.usable[0].issuer, "https://cluster");
        assert_eq!(built.usable[0].audiences, ["outbox.mail.svc"]);
        assert_eq!(built.usable[0].kind, IssuerKind::Kubernetes);
        let chosen = json!({"authentication": {"serviceAccounts": {"audience": "mail"}}});
        let built = build(&relay(chosen), &all, &[]);
        assert_eq!(built.usable[0].audiences, ["mail"]);
        let off = json!({"authentication": {"serviceAccounts": {"enabled": false}}});
        assert!(build(&relay(off), &all, &[]).usable.is_empty());
    }

    #[test]
    fn the_last_good_keys_stay_in_force_over_a_restart_of_the_operator() {
        let all = BTreeMap::from([
            ("kubernetes".to_owned(), known("https://cluster", "a")),
            ("corp".to_owned(), known(CORP, "b")),
        ]);
        let before = build(&relay(spec()), &all, &[]);
        assert_eq!(before.usable[1].identity_claim.as_deref(), Some("email"));
        let none = BTreeMap::from([
            ("kubernetes".to_owned(), failed("403 Forbidden")),
            ("corp".to_owned(), failed("connection refused")),
        ]);
        let after = build(&relay(spec()), &none, &before.usable);
        assert_eq!(after.usable, before.usable);
        assert_eq!(
            after.faults,
            ["kubernetes: 403 Forbidden", "corp: connection refused"]
        );
        // Without any keys an issuer is left out and the others go on.
        let built = build(&relay(spec()), &none, &before.usable[..1]);
        assert_eq!(built.usable, before.usable[..1]);
        // Keys of another issuer under the same name are not taken.
        let mut other = before.usable.clone();
        other[1].issuer = "https://old.example".into();
        assert_eq!(build(&relay(spec()), &none, &other).usable.len(), 1);
    }

    #[test]
    fn keys_of_a_configuration_of_another_version_are_read() {
        let all = BTreeMap::from([
            ("kubernetes".to_owned(), known("https://cluster", "a")),
            ("corp".to_owned(), known(CORP, "b")),
        ]);
        let before = build(&relay(spec()), &all, &[]).usable;
        let mut issuers = json!(before);
        let mut config = json!({
            "siblings": {"staying": 2},
            "authentication": {"issuers": issuers, "unheardOf": true},
        });
        let read = |config: &Value| issuers_in(config.to_string().as_bytes());
        assert_eq!(read(&config), before);
        issuers[0]["unheardOf"] = true.into();
        config["authentication"]["issuers"] = issuers;
        assert_eq!(read(&config), before[1..]);
        for none in ["", "{", "[]", r#"{"authentication": {"issuers": 7}}"#] {
            assert_eq!(issuers_in(none.as_bytes()), [], "{none}");
        }
    }

    #[test]
    fn an_issuer_cannot_pose_as_the_cluster() {
        let all = BTreeMap::from([
            ("kubernetes".to_owned(), known(CORP, "a")),
            ("corp".to_owned(), known(CORP, "b")),
        ]);
        let built = build(&relay(spec()), &all, &[]);
        assert_eq!(built.usable.len(), 1);
        assert!(built.faults[0].contains("has the same issuer"));
    }

    #[test]
    fn keys_from_a_config_map_are_judged() {
        let relay = relay(spec());
        let issuer = &relay.oidc_issuers()[0];
        let map = |text: &str| ConfigMap {
            data: Some([("jwks.json".to_owned(), text.to_owned())].into()),
            ..ConfigMap::default()
        };
        let good = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        let read = |map: Option<&ConfigMap>| from_config_map(issuer, map, "keys", JWKS);
        let known = read(Some(&map(good)));
        assert_eq!(
            known.discovered.map(|found| found.issuer).as_deref(),
            Some(CORP)
        );
        for map in [
            None,
            Some(map("{}")),
            Some(map("x")),
            Some(ConfigMap::default()),
        ] {
            let known = read(map.as_ref());
            assert!(known.discovered.is_none());
            assert!(
                known
                    .fault
                    .is_some_and(|fault| fault.contains("ConfigMap keys"))
            );
        }
    }
}
