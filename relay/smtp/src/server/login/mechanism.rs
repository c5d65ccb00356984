//! Which mechanisms there are, and which are offered when.

/// A SASL mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Mechanism {
    ScramSha256Plus,
    ScramSha256,
    OauthBearer,
    Xoauth2,
    Plain,
    Login,
}

/// What is known of a session that decides which mechanisms it offers.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts; an enum of their products would hide them"
)]
pub(in crate::server) struct Circumstances {
    /// `AUTH` is part of what the port does.
    pub(in crate::server) logins: bool,
    /// The connection is encrypted, or the settings say that clear text will do.
    pub(in crate::server) confidential: bool,
    /// The client can still ask for encryption.
    pub(in crate::server) can_encrypt: bool,
    /// There is something that a PLUS mechanism can be bound to.
    pub(in crate::server) channel_binding: bool,
    /// There are issuers of tokens.
    pub(in crate::server) tokens: bool,
}

impl Mechanism {
    /// In the order in which a client should prefer them.
    pub(in crate::server) const ALL: [Self; 6] = [
        Self::ScramSha256Plus,
        Self::ScramSha256,
        Self::OauthBearer,
        Self::Xoauth2,
        Self::Plain,
        Self::Login,
    ];

    /// As registered with IANA, and used in metrics.
    pub(in crate::server) fn name(self) -> &'static str {
        match self {
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::OauthBearer => "OAUTHBEARER",
            Self::Xoauth2 => "XOAUTH2",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }

    /// The mechanism of a name, in any case of letters.
    pub(in crate::server) fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|mechanism| name.eq_ignore_ascii_case(mechanism.name()))
    }

    /// Whether it can be used now.
    ///
    /// A password or token in clear text is for whoever shares the network. SCRAM shows neither, so
    /// a port that knows no TLS offers it; where TLS can still be had it waits for that, since the
    /// messages that follow are worth as much as the password.
    pub(in crate::server) fn is_offered(self, now: Circumstances) -> bool {
        now.logins
            && match self {
                Self::ScramSha256Plus => now.channel_binding,
                Self::ScramSha256 => now.confidential || !now.can_encrypt,
                Self::OauthBearer | Self::Xoauth2 => now.tokens && now.confidential,
                Self::Plain | Self::Login => now.confidential,
            }
    }
}
