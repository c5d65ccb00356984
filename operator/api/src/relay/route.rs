//! Ways that some of the mail takes.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{DeliveryTls, Smarthost};

/// A way for the recipients that it matches. Each list that is given must match, by any of its
/// entries; at least one must be given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.recipientDomains) || has(self.senderDomains) || has(self.mxSuffixes) || has(self.tags)")
        .message("matches nothing in particular; give recipientDomains, senderDomains, mxSuffixes or tags, or use delivery.smarthosts for all mail"),
    validation = Rule::new("!has(self.tls) || !has(self.smarthosts) || size(self.smarthosts) == 0")
        .message("tls is about MX hosts, and this route has smarthosts; set their tls")
        .field_path(".tls"),
)]
pub struct Route {
    /// Name in logs, unique in the relay: lower-case letters, digits and hyphens.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
            .message("must be of a-z, 0-9 and hyphens, and begin and end with a letter or digit")
    )]
    pub name: String,

    /// Domains of recipients: `a.example`, or `*.a.example` for all below it. IDNs as A-labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 255)))]
    #[x_kube(
        validation = Rule::new("self.all(domain, domain.matches('^([*][.])?[a-z0-9_-]+([.][a-z0-9_-]+)*$'))")
            .message("each entry must be a domain in lower case such as a.example or *.a.example; IDNs as A-labels (xn--)")
    )]
    pub recipient_domains: Vec<String>,

    /// Domains of envelope senders, likewise; `<>` matches bounces, which have no sender.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 255)))]
    #[x_kube(
        validation = Rule::new("self.all(domain, domain == '<>' || domain.matches('^([*][.])?[a-z0-9_-]+([.][a-z0-9_-]+)*$'))")
            .message("each entry must be a domain in lower case such as a.example or *.a.example, or <> for bounces; IDNs as A-labels (xn--)")
    )]
    pub sender_domains: Vec<String>,

    /// Names that a preferred MX host of the recipient's domain has or ends in, such as `google.com`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    #[x_kube(
        validation = Rule::new("self.all(name, name.matches('^[a-z0-9_-]+([.][a-z0-9_-]+)*$'))")
            .message("each entry must be a name in lower case, such as google.com")
    )]
    pub mx_suffixes: Vec<String>,

    /// Words of which the message has one in its header field `X-Mailrelay-Tag`. The relay takes the
    /// field out. Letters, digits and `.` `_` `-`, at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)))]
    #[x_kube(
        validation = Rule::new("self.all(tag, tag.matches('^[A-Za-z0-9._-]+$'))")
            .message("each entry must be one word of letters, digits and . _ -")
    )]
    pub tags: Vec<String>,

    /// Servers that take this mail; tried in order unless they have priorities. Default none: it goes
    /// to the recipients' MX hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub smarthosts: Vec<Smarthost>,

    /// Encryption towards the MX hosts of this route. Default: that of `delivery.tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<DeliveryTls>,
}
