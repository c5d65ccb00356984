//! The words of servers, made comparable, and what they are looked through for.
//!
//! Only distinctive phrases, in lower case, as the big receivers and the common servers write them.
//! Addresses are taken out first: an address may be called `spam-blocked@…`.

/// Octets of a text that are looked at.
const LONGEST: usize = 1024;

/// A text in lower case, its lines joined, white space single, without addresses. On the stack, so
/// that judging a refusal allocates nothing.
pub(super) struct Words {
    octets: [u8; LONGEST],
    length: usize,
}

impl Words {
    pub(super) fn of(text: &str) -> Self {
        // A space first, so that a phrase may ask for the start of a word.
        let mut words = Self {
            octets: [b' '; LONGEST],
            length: 1,
        };
        for word in text
            .as_bytes()
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty() && !is_address(word))
        {
            let room = LONGEST - words.length;
            if word.len() + 1 > room {
                break;
            }
            let place = &mut words.octets[words.length..words.length + word.len()];
            place.copy_from_slice(word);
            place.make_ascii_lowercase();
            words.length += word.len();
            words.length += 1;
        }
        words
    }

    /// Whether one of the phrases stands in it.
    pub(super) fn any(&self, phrases: &[&str]) -> bool {
        let text = &self.octets[..self.length];
        phrases
            .iter()
            .any(|phrase| memchr::memmem::find(text, phrase.as_bytes()).is_some())
    }
}

fn is_address(word: &[u8]) -> bool {
    memchr::memchr(b'@', word).is_some()
}

/// The sender's address, domain or content is distrusted.
pub(super) const REPUTATION: &[&str] = &[
    "spamhaus",
    "spamcop",
    "sorbs",
    "barracuda",
    "dnsbl",
    " rbl",
    "block list",
    "blocklist",
    "blacklist",
    "black list",
    "denylist",
    "blocked using",
    "listed in",
    "listed by",
    "listed at",
    "reputation",
    "ipcheck.proofpoint",
    "dnsbl-lookup",
    "unsolicited",
    "spam",
    "junk mail",
    "likely suspicious",
    "user complaints",
    "unusual rate",
    "originating from your ip",
    "unexpected volume",
    "permanently deferred",
    "is not authorized to send email directly",
    "the ip you're using to send mail",
    "banned sending ip",
    "banned sender",
    "bad outbound sender",
    "traffic not accepted from this ip",
    "ip address is blocked",
    "connections will not be accepted from",
    "client host rejected: access denied",
    "you are not allowed to connect",
    "senderscore",
    "talos",
    "(ask your postmaster",
    "nemesis esmtp service not available",
    "transaction failed reject due to",
    "temporarily blocked",
    "rate limited",
    "too many messages from",
];

/// The mailbox is full.
pub(super) const QUOTA: &[&str] = &[
    "over quota",
    "overquota",
    "over the quota",
    "quota exceeded",
    "exceeded quota",
    "exceeds quota",
    "exceeded its quota",
    "quota full",
    "out of quota",
    "mailbox full",
    "mailbox is full",
    "mailbox has exceeded",
    "inbox is full",
    "user is full",
    "account is full",
    "exceeded storage allocation",
    "out of storage",
    "mailbox size limit",
    "not enough storage",
    "storage quota",
];

/// It is the sender of whom the text speaks.
pub(super) const SENDER: &[&str] = &["sender", "mail from", "from address", "from domain"];

/// It is the recipient.
pub(super) const RECIPIENT: &[&str] = &["recipient", "rcpt to"];

/// There is no such mailbox, or it takes no mail.
pub(super) const NO_MAILBOX: &[&str] = &[
    "user unknown",
    "unknown user",
    "unknown local part",
    "unknown mailbox",
    "unknown recipient",
    "recipient unknown",
    "address unknown",
    "unknown address",
    "no such user",
    "no such mailbox",
    "no such recipient",
    "no such address",
    "no such person",
    "no mailbox",
    "no account by that name",
    "no valid recipients",
    "no user record found",
    "user not found",
    "user doesn't exist",
    "user does not exist",
    "mailbox does not exist",
    "mailbox doesn't exist",
    "account does not exist",
    "account that you tried to reach does not exist",
    "address does not exist",
    "recipient does not exist",
    "does not have a",
    "doesn't have a",
    "mailbox not found",
    "mailbox unavailable",
    "mailbox is unavailable",
    "mailbox is disabled",
    "mailbox disabled",
    "mailbox is inactive",
    "mailbox inactive",
    "account is disabled",
    "account disabled",
    "account that you tried to reach is disabled",
    "account that you tried to reach is inactive",
    "account is inactive",
    "account inactive",
    "account has been disabled",
    "recipient not found",
    "recipientnotfound",
    "invalid recipient",
    "invalid mailbox",
    "not a valid recipient",
    "not a valid mailbox",
    "not a known user",
    "recipient rejected",
    "recipient address rejected: access denied",
    "unrouteable address",
    "unroutable address",
    "is no longer valid",
    "no longer available",
    "not our customer",
];

/// A rule of the receiver.
pub(super) const POLICY: &[&str] = &[
    "dmarc",
    "dkim",
    " spf ",
    "(spf",
    "spf)",
    "spf check",
    "spf fail",
    "sender policy framework",
    "unauthenticated",
    "authentication information",
    "authentication required",
    "authentication checks",
    "anti-spoofing",
    "antispoofing",
    "ptr record",
    "reverse dns",
    "cannot find your",
    "relay access denied",
    "relay not permitted",
    "relaying denied",
    "relaying not allowed",
    "not permitted to relay",
    "unable to relay",
    "must issue a starttls",
    "encryption required",
    "tls required",
    "tls is required",
    "for policy reasons",
    "local policy",
    "policy violation",
    "policy rejection",
    "security policy",
    "administrative prohibition",
    "administratively prohibited",
    "not owned by user",
    "virus",
    "malware",
    "attachment",
];
