//! What a server offers in its reply to `EHLO` (RFC 5321 section 4.1.1.1).

use crate::reply::Reply;

/// Offers that a client makes use of; the others are ignored.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an extension that a server offers or not"
)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The name that the server gave itself.
    pub name: String,
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 1870: offered, and the largest message in octets, 0 when no limit is told.
    pub size: Option<u64>,
    /// RFC 4616.
    pub auth_plain: bool,
    /// The mechanism that was never standardised.
    pub auth_login: bool,
    /// RFC 7677.
    pub auth_scram_sha_256: bool,
    /// RFC 7677, bound to the TLS connection.
    pub auth_scram_sha_256_plus: bool,
    /// RFC 7628.
    pub auth_oauthbearer: bool,
    /// What Google and Microsoft had before that.
    pub auth_xoauth2: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 2852: offered, and the least time in seconds, 0 when none is told.
    pub deliver_by: Option<u64>,
    /// RFC 6710.
    pub mt_priority: bool,
    /// RFC 8689.
    pub require_tls: bool,
    /// RFC 9422: most recipients of one transaction, if told.
    pub recipients: Option<usize>,
}

impl Capabilities {
    /// Those of a server that only knows `HELO`.
    pub(super) fn of_helo(reply: &Reply) -> Self {
        Self {
            name: reply
                .lines()
                .next()
                .and_then(|line| line.split(' ').next())
                .unwrap_or_default()
                .into(),
            ..Self::default()
        }
    }

    /// Keywords are read in any case; a line that makes no sense is no offer.
    pub(super) fn of_ehlo(reply: &Reply) -> Self {
        let mut capabilities = Self::of_helo(reply);
        for line in reply.lines().skip(1) {
            let line = line.to_ascii_uppercase();
            let mut words = line.split_ascii_whitespace();
            match words.next().unwrap_or_default() {
                "PIPELINING" => capabilities.pipelining = true,
                "8BITMIME" => capabilities.eight_bit_mime = true,
                "SMTPUTF8" => capabilities.smtputf8 = true,
                "STARTTLS" => capabilities.starttls = true,
                "SIZE" => {
                    let limit = words.next().and_then(|word| word.parse().ok());
                    capabilities.size = Some(limit.unwrap_or(0));
                }
                "DSN" => capabilities.dsn = true,
                "DELIVERBY" => {
                    let least = words.next().and_then(|word| word.parse().ok());
                    capabilities.deliver_by = Some(least.unwrap_or(0));
                }
                "MT-PRIORITY" => capabilities.mt_priority = true,
                "REQUIRETLS" => capabilities.require_tls = true,
                "LIMITS" => {
                    let limit = words.find_map(|word| word.strip_prefix("RCPTMAX=")?.parse().ok());
                    capabilities.recipients = limit.filter(|limit| *limit > 0);
                }
                "AUTH" => words.for_each(|word| capabilities.mechanism(word)),
                // An old form that some servers still send beside the new one.
                first => {
                    if let Some(mechanism) = first.strip_prefix("AUTH=") {
                        capabilities.mechanism(mechanism);
                        words.for_each(|word| capabilities.mechanism(word));
                    }
                }
            }
        }
        capabilities
    }

    fn mechanism(&mut self, name: &str) {
        match name {
            "PLAIN" => self.auth_plain = true,
            "LOGIN" => self.auth_login = true,
            "SCRAM-SHA-256" => self.auth_scram_sha_256 = true,
            "SCRAM-SHA-256-PLUS" => self.auth_scram_sha_256_plus = true,
            "OAUTHBEARER" => self.auth_oauthbearer = true,
            "XOAUTH2" => self.auth_xoauth2 = true,
            _ => {}
        }
    }
}
