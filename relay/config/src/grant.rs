//! Who may send as a domain: one pattern over identities, and the local parts that it holds for.

use serde::{Deserialize, Serialize};

/// Kinds of identities that a grant names, each before a colon.
const KINDS: [&str; 3] = ["sa", "credential", "oidc"];

/// A grant. Written as its pattern alone when it holds for all local parts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Form", into = "Form")]
pub struct Grant {
    /// `sa:namespace/name` (a ServiceAccount), `credential:namespace/name` (an SmtpCredential),
    /// `oidc:issuer/value`, each with `*` in place of the last part for all of them; or `*` for
    /// everybody, clients without a login included.
    pub identity: String,
    /// Local parts that may stand before the domain, compared without regard to case; all when
    /// empty.
    pub local_parts: Vec<String>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Pattern(String),
    #[serde(rename_all = "camelCase")]
    Whole {
        identity: String,
        local_parts: Vec<String>,
    },
}

impl From<Form> for Grant {
    fn from(form: Form) -> Self {
        match form {
            Form::Pattern(identity) => Self {
                identity,
                local_parts: Vec::new(),
            },
            Form::Whole {
                identity,
                local_parts,
            } => Self {
                identity,
                local_parts,
            },
        }
    }
}

impl From<Grant> for Form {
    fn from(grant: Grant) -> Self {
        if grant.local_parts.is_empty() {
            Self::Pattern(grant.identity)
        } else {
            Self::Whole {
                identity: grant.identity,
                local_parts: grant.local_parts,
            }
        }
    }
}

impl From<&str> for Grant {
    fn from(identity: &str) -> Self {
        Form::Pattern(identity.into()).into()
    }
}

impl Grant {
    /// Whether it holds for an identity, local parts aside. A client without one has only what
    /// everybody has.
    pub fn names(&self, identity: Option<&str>) -> bool {
        if self.identity == "*" {
            return true;
        }
        let Some(identity) = identity else {
            return false;
        };
        match self.identity.strip_suffix("/*") {
            Some(group) => identity
                .strip_prefix(group)
                .and_then(|rest| rest.strip_prefix('/'))
                .is_some_and(|name| !name.is_empty()),
            None => self.identity == identity,
        }
    }

    /// Whether it holds for a local part.
    pub fn covers(&self, local_part: &str) -> bool {
        self.local_parts.is_empty()
            || self
                .local_parts
                .iter()
                .any(|known| known.eq_ignore_ascii_case(local_part))
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        let known = self.identity.split_once(':').is_some_and(|(kind, rest)| {
            KINDS.contains(&kind)
                && rest.split_once('/').is_some_and(|(group, name)| {
                    !group.is_empty() && !group.contains('*') && !name.is_empty()
                })
        });
        if self.identity == "*" || known {
            return Ok(());
        }
        Err(format!(
            "{:?} is no identity; write sa:namespace/name, credential:namespace/name or \
             oidc:issuer/value, with * in place of the last part for all, or * for everybody",
            self.identity
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_a_pattern_or_a_pattern_with_local_parts() {
        let grants: Vec<Grant> = serde_json::from_str(
            r#"["sa:shop/*",{"identity":"oidc:corp/alice","localParts":["Orders"]}]"#,
        )
        .unwrap();
        assert_eq!(grants[0], Grant::from("sa:shop/*"));
        assert!(grants[1].covers("orders") && !grants[1].covers("refunds"));
        assert!(grants[0].covers("anything"));
        assert_eq!(
            serde_json::to_string(&grants).unwrap(),
            r#"["sa:shop/*",{"identity":"oidc:corp/alice","localParts":["Orders"]}]"#
        );
    }

    #[test]
    fn kinds_of_identities_are_never_confused() {
        for (grant, identity, expected) in [
            ("sa:shop/checkout", "sa:shop/checkout", true),
            ("sa:shop/checkout", "credential:shop/checkout", false),
            ("credential:shop/*", "credential:shop/checkout", true),
            ("credential:shop/*", "sa:shop/checkout", false),
            ("credential:shop/*", "credential:shopping/checkout", false),
            ("credential:shop/*", "credential:shop/", false),
            ("oidc:corp/*", "oidc:corp/sa:shop/checkout", true),
            ("oidc:corp/*", "oidc:corporate/x", false),
            ("*", "sa:shop/checkout", true),
        ] {
            let holds = Grant::from(grant).names(Some(identity));
            assert_eq!(holds, expected, "{grant} {identity}");
        }
        assert!(Grant::from("*").names(None));
        assert!(!Grant::from("sa:shop/*").names(None));
    }

    #[test]
    fn what_names_no_kind_is_refused_with_the_form() {
        for good in [
            "*",
            "sa:shop/*",
            "credential:shop/checkout",
            "oidc:corp/a@b.example",
        ] {
            assert_eq!(Grant::from(good).check(), Ok(()), "{good}");
        }
        for bad in [
            "",
            "shop/checkout",
            "sa:shop",
            "sa:/x",
            "sa:*/x",
            "sa:shop/",
            "user:a/b",
        ] {
            assert!(Grant::from(bad).check().is_err(), "{bad}");
        }
    }
}
