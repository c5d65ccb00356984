//! Ways that some of the mail takes.

use serde::{Deserialize, Serialize};

use crate::{ConfigError, DeliveryTls, Smarthost};

/// In [`Route::sender_domains`]: reports, which have no sender.
pub const NULL_SENDER: &str = "<>";
/// Octets of a tag.
pub const LONGEST_TAG: usize = 64;

/// A way for the recipients that it matches. Each list that is given must match, by any of its
/// entries; at least one must be given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// Unique name, used in logs: letters, digits and hyphens, at most 63.
    pub name: String,
    /// Domains of recipients: `a.example`, or `*.a.example` for all below it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipient_domains: Vec<String>,
    /// Domains of envelope senders, likewise; [`NULL_SENDER`] matches reports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sender_domains: Vec<String>,
    /// Names that the preferred MX hosts of the recipient's domain have or end in, such as
    /// `google.com`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mx_suffixes: Vec<String>,
    /// Words that the message has in its header field `X-Mailrelay-Tag`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Servers that take this mail. Default none: it goes to the recipients' MX hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub smarthosts: Vec<Smarthost>,
    /// Encryption towards the MX hosts of this route. Default: that of `delivery.tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<DeliveryTls>,
}

impl Route {
    pub(crate) fn validate(&self, field: &str) -> Result<(), ConfigError> {
        let fault = |name: &str, message: String| {
            Err(ConfigError::Invalid {
                field: format!("{field}.{name}"),
                message,
            })
        };
        let good = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
        if self.name.is_empty() || self.name.len() > 63 || !self.name.bytes().all(good) {
            let text = "is not a name; use letters, digits and hyphens, at most 63";
            return fault("name", format!("{:?} {text}", self.name));
        }
        let lists = [
            &self.recipient_domains,
            &self.sender_domains,
            &self.mx_suffixes,
            &self.tags,
        ];
        if lists.iter().all(|list| list.is_empty()) {
            let text = "matches nothing in particular; give recipientDomains, senderDomains, \
                        mxSuffixes or tags, or use delivery.smarthosts for all mail";
            return fault("recipientDomains", text.into());
        }
        for (name, list) in [
            ("recipientDomains", &self.recipient_domains),
            ("senderDomains", &self.sender_domains),
            ("mxSuffixes", &self.mx_suffixes),
        ] {
            for entry in list {
                let special = name == "senderDomains" && entry == NULL_SENDER;
                let plain = match entry.strip_prefix("*.") {
                    Some(rest) if name != "mxSuffixes" => rest,
                    _ => entry,
                };
                if !special && !is_domain(plain) {
                    let text = "is not a domain; write a.example in lower case, IDNs as A-labels";
                    return fault(name, format!("{entry:?} {text}"));
                }
            }
        }
        if let Some(tag) = self.tags.iter().find(|tag| !is_tag(tag)) {
            let text = "is not a tag; use letters, digits and . _ -, at most 64";
            return fault("tags", format!("{tag:?} {text}"));
        }
        if self.tls.is_some() && !self.smarthosts.is_empty() {
            let text = "is about MX hosts, and this route has smarthosts; set their tls";
            return fault("tls", text.into());
        }
        Ok(())
    }
}

/// Whether text can be a tag.
pub fn is_tag(text: &str) -> bool {
    let good = |octet: u8| octet.is_ascii_alphanumeric() || b"._-".contains(&octet);
    (1..=LONGEST_TAG).contains(&text.len()) && text.bytes().all(good)
}

fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| {
                octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"-_".contains(&octet)
            })
    };
    name.len() <= 253 && name.split('.').all(label)
}
