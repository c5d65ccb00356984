//! What the operator wrote, as the API server's audit log has it.

use std::path::Path;

use serde_json::Value;

/// A request that changed something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// `create`, `update`, `patch`, `delete`.
    pub verb: String,
    /// Plural of the kind, with the subresource if there is one: `smtprelays/status`.
    pub resource: String,
    /// Namespace, empty for cluster-wide kinds.
    pub namespace: String,
    /// Name; empty where the server made it up.
    pub name: String,
    /// HTTP status of the answer.
    pub code: u64,
    /// When it came, RFC 3339.
    pub time: String,
}

impl std::fmt::Display for Write {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            verb,
            resource,
            namespace,
            name,
            code,
            time,
        } = self;
        write!(
            formatter,
            "{time} {verb} {resource} {namespace}/{name} {code}"
        )
    }
}

/// Records writes of `user` and nothing else.
pub(super) fn policy(user: &str) -> String {
    serde_json::json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "Metadata", "users": [user], "verbs": ["create", "update", "patch", "delete"]},
            {"level": "None"},
        ],
    })
    .to_string()
}

pub(super) fn read(log: &Path) -> anyhow::Result<Vec<Write>> {
    let text = std::fs::read_to_string(log)?;
    // The last line may be half written.
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    Ok(lines.map(|event: Value| write(&event)).collect())
}

fn write(event: &Value) -> Write {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &event["objectRef"];
    let resource = match object["subresource"].as_str() {
        None => text(&object["resource"]),
        Some(part) => format!("{}/{part}", text(&object["resource"])),
    };
    Write {
        verb: text(&event["verb"]),
        resource,
        namespace: text(&object["namespace"]),
        name: text(&object["name"]),
        code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
        time: text(&event["requestReceivedTimestamp"]),
    }
}
