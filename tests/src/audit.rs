//! What the operator asked of the API server, as the own cluster's audit log has it.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

/// One request, without its content.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// What was asked, such as `patch`.
    pub verb: String,
    /// Path and query.
    #[serde(rename = "requestURI")]
    pub uri: String,
    /// Who asked.
    pub user: User,
    /// About what; `None` for a path that is no resource.
    pub object_ref: Option<Object>,
    /// `None` until an answer has begun.
    pub response_status: Option<Status>,
}

/// Who asked.
#[derive(Clone, Debug, Deserialize)]
pub struct User {
    /// Such as `system:serviceaccount:mailrelay-system:mailrelay-operator`.
    pub username: String,
}

/// About what.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Object {
    /// Empty for the core group.
    pub api_group: String,
    /// Plural.
    pub resource: String,
    /// Empty for the object itself.
    pub subresource: String,
    /// Empty for all namespaces.
    pub namespace: String,
    /// Empty for lists.
    pub name: String,
}

/// The answer.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// HTTP status; 0 where none is given.
    #[serde(default)]
    pub code: u16,
    /// Why not.
    #[serde(default)]
    pub message: String,
}

impl Request {
    /// Verbs that it needed: to make an object by a patch is to create it, too.
    pub fn verbs(&self) -> Vec<&str> {
        let made = self.verb == "patch" && self.code() == 201;
        [self.verb.as_str()]
            .into_iter()
            .chain(made.then_some("create"))
            .collect()
    }

    /// HTTP status of the answer; 0 while there is none.
    pub fn code(&self) -> u16 {
        self.response_status
            .as_ref()
            .map_or(0, |status| status.code)
    }

    /// Group and resource as a rule names them, such as `mailrelay.dev` and `smtprelays/status`.
    pub fn resource(&self) -> Option<(String, String)> {
        let object = self.object_ref.as_ref()?;
        let mut resource = object.resource.clone();
        if !object.subresource.is_empty() {
            resource.push('/');
            resource.push_str(&object.subresource);
        }
        Some((object.api_group.clone(), resource))
    }

    /// One line about it.
    pub fn line(&self) -> String {
        let said = self.response_status.as_ref();
        let said = said.map_or("", |status| status.message.as_str());
        format!("{} {} {}: {said}", self.verb, self.uri, self.code())
    }
}

/// All requests in the log of `user`, which may end in the middle of a line.
pub fn read(log: &Path, user: &str) -> anyhow::Result<Vec<Request>> {
    let file = std::fs::File::open(log).with_context(|| log.display().to_string())?;
    let mut requests = Vec::new();
    for line in BufReader::new(file).lines() {
        if let Ok(request) = serde_json::from_str::<Request>(&line?)
            && request.user.username == user
        {
            requests.push(request);
        }
    }
    Ok(requests)
}

/// Group, resource and verb of a rule, or of a request.
pub type Right = (String, String, String);

/// The rights that a request needed.
pub fn needed(request: &Request) -> BTreeSet<Right> {
    let (group, resource) = request
        .resource()
        .unwrap_or_else(|| (String::new(), path(&request.uri).to_owned()));
    let right = |verb: &str| (group.clone(), resource.clone(), verb.to_owned());
    request.verbs().into_iter().map(right).collect()
}

/// The rights that requests needed and had.
pub fn used(requests: &[Request]) -> BTreeSet<Right> {
    let allowed = requests.iter().filter(|request| request.code() != 403);
    allowed.flat_map(needed).collect()
}

fn path(uri: &str) -> &str {
    uri.split_once('?').map_or(uri, |(path, _)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_a_patch_makes_needs_both_rights() {
        let line = |code: u16| {
            let text = format!(
                r#"{{"verb":"patch","requestURI":"/apis/apps/v1/x","user":{{"username":"op"}},
                "objectRef":{{"apiGroup":"apps","resource":"deployments","subresource":"status"}},
                "responseStatus":{{"code":{code}}}}}"#
            );
            serde_json::from_str::<Request>(&text).unwrap()
        };
        let right = |verb: &str| {
            let (group, resource) = ("apps".to_owned(), "deployments/status".to_owned());
            (group, resource, verb.to_owned())
        };
        assert_eq!(used(&[line(200)]), BTreeSet::from([right("patch")]));
        assert_eq!(
            used(&[line(201)]),
            BTreeSet::from([right("patch"), right("create")])
        );
    }
}
