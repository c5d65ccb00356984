//! Which hosts are tried, in which order, how encrypted, and which addresses are out of bounds.
//! Pure: what DNS says comes in, an order goes out.

use std::net::IpAddr;
use std::sync::Arc;

use relay_config::{Cidr, Delivery, DeliveryTls, SmarthostTls};

/// Encryption of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    /// Clear text.
    Clear,
    /// `STARTTLS` if it is offered and works; clear text otherwise.
    Opportunistic,
    /// `STARTTLS` with any certificate.
    Required,
    /// `STARTTLS` with a certificate that is valid for the host.
    Verified,
    /// TLS from the first octet, verified.
    Implicit,
    /// `STARTTLS` with a certificate that the host's TLSA records name.
    Dane,
}

impl Security {
    /// Whether nothing is sent before the server proved its name.
    pub(super) const fn is_verified(self) -> bool {
        matches!(self, Self::Verified | Self::Implicit | Self::Dane)
    }

    /// Whether nothing is sent in clear text.
    pub(super) const fn is_encrypted(self) -> bool {
        self.is_verified() || matches!(self, Self::Required)
    }

    /// For logs and metrics.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Opportunistic => "opportunistic",
            Self::Required => "required",
            Self::Verified => "verified",
            Self::Implicit => "implicit",
            Self::Dane => "dane",
        }
    }

    /// At least verified: for a message that must not go otherwise (RFC 8689 section 4.2.1).
    pub(super) const fn or_verified(self) -> Self {
        match self {
            Self::Implicit | Self::Dane => self,
            _ => Self::Verified,
        }
    }
}

/// A host to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    /// Name without a trailing dot, or an address in text form.
    pub(super) host: Arc<str>,
    pub(super) port: u16,
    pub(super) security: Security,
    /// Index into the smarthosts of the configuration.
    pub(super) smarthost: Option<usize>,
}

/// A mail exchanger as DNS tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exchanger {
    pub(super) preference: u16,
    /// Without a trailing dot.
    pub(super) host: String,
}

/// Where to go for a recipient's domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// To the smarthosts, whatever the domain.
    Smarthosts,
    /// To the mail exchangers of the domain.
    Exchangers(&'a str),
    /// To the address in `[...]`.
    Literal(IpAddr),
}

/// The route of a domain.
pub(super) fn route<'a>(delivery: &Delivery, domain: &'a str) -> Route<'a> {
    if !delivery.smarthosts.is_empty() {
        return Route::Smarthosts;
    }
    let literal = domain.strip_prefix('[').and_then(|rest| {
        let text = rest.strip_suffix(']')?;
        text.strip_prefix("IPv6:").unwrap_or(text).parse().ok()
    });
    literal.map_or(Route::Exchangers(domain), Route::Literal)
}

/// The smarthosts in the order of the configuration.
pub(super) fn smarthosts(delivery: &Delivery) -> Vec<Hop> {
    delivery
        .smarthosts
        .iter()
        .enumerate()
        .map(|(index, smarthost)| Hop {
            host: smarthost.host.trim_end_matches('.').into(),
            port: smarthost.port,
            security: match smarthost.tls {
                SmarthostTls::StartTls => Security::Verified,
                SmarthostTls::Implicit => Security::Implicit,
                SmarthostTls::Opportunistic => Security::Opportunistic,
                SmarthostTls::None => Security::Clear,
            },
            smarthost: Some(index),
        })
        .collect()
}

/// Mail exchangers by preference, in random order among equals (RFC 5321 section 5.1).
pub(super) fn exchangers(
    delivery: &Delivery,
    mut exchangers: Vec<Exchanger>,
    shuffle: impl FnOnce(&mut [Exchanger]),
) -> Vec<Hop> {
    shuffle(&mut exchangers);
    exchangers.sort_by_key(|exchanger| exchanger.preference);
    exchangers
        .into_iter()
        .map(|exchanger| host(delivery, &exchanger.host))
        .collect()
}

/// One host that was not configured, under the policy for such hosts.
pub(super) fn host(delivery: &Delivery, host: &str) -> Hop {
    Hop {
        host: host.into(),
        port: delivery.mx_port,
        security: match delivery.tls {
            DeliveryTls::Opportunistic => Security::Opportunistic,
            DeliveryTls::Required => Security::Required,
            DeliveryTls::Verified => Security::Verified,
        },
        smarthost: None,
    }
}

/// Whether mail must not go to `address` although DNS names it (cases M11 and M12): DNS is written
/// by strangers, who would make the relay talk to its own pod or node.
pub(super) fn is_forbidden(
    address: IpAddr,
    permitted: &[Cidr],
    is_own: impl FnOnce(IpAddr) -> bool,
) -> bool {
    if permitted.iter().any(|network| network.contains(address)) {
        return false;
    }
    let special = match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_loopback()
                || address.octets()[0] == 0
                || address.is_link_local()
                || address.is_multicast()
                || address.is_broadcast()
        }
        IpAddr::V6(address) => {
            address.is_loopback()
                || address.is_unspecified()
                || address.is_unicast_link_local()
                || address.is_multicast()
        }
    };
    special || is_own(address)
}

/// Whether a mail exchanger that calls itself `name` is this relay, as behind the address of its own
/// Service (case M12), which no look at the pod's addresses shows. Mail would go round for ever.
pub(super) fn is_loop(name: &str, own: &str, address: IpAddr, permitted: &[Cidr]) -> bool {
    let bare = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
    bare(name) == bare(own) && !permitted.iter().any(|network| network.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_config::Smarthost;

    #[test]
    fn exchangers_go_by_preference_and_equals_by_chance() {
        let exchanger = |preference, host: &str| Exchanger {
            preference,
            host: host.into(),
        };
        let given = vec![
            exchanger(20, "c.test"),
            exchanger(10, "a.test"),
            exchanger(10, "b.test"),
        ];
        let hosts = |shuffle: fn(&mut [Exchanger])| {
            exchangers(&Delivery::default(), given.clone(), shuffle)
                .into_iter()
                .map(|hop| hop.host.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(hosts(|_| ()), ["a.test", "b.test", "c.test"]);
        assert_eq!(
            hosts(<[Exchanger]>::reverse),
            ["b.test", "a.test", "c.test"]
        );
    }

    #[test]
    fn m11_m12_addresses_that_are_not_of_the_internet_are_forbidden_unless_permitted() {
        let permitted: Vec<Cidr> = vec!["127.0.0.2/32".parse().unwrap()];
        let rows = [
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("0.0.0.0", true),
            ("0.1.2.3", true),
            ("169.254.1.1", true),
            ("224.0.0.1", true),
            ("255.255.255.255", true),
            ("::", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("fe80::1", true),
            ("ff02::1", true),
            ("192.0.2.1", true),
            ("198.51.100.1", false),
            ("10.0.0.1", false),
            ("2001:db8::1", false),
        ];
        let own: IpAddr = "192.0.2.1".parse().unwrap();
        for (text, expected) in rows {
            let address = text.parse().unwrap();
            let forbidden = is_forbidden(address, &permitted, |address| address == own);
            assert_eq!(forbidden, expected, "{text}");
        }
    }

    #[test]
    fn m12_a_server_with_our_own_name_is_a_loop_unless_its_network_is_permitted() {
        let permitted: Vec<Cidr> = vec!["10.0.0.0/8".parse().unwrap()];
        let rows = [
            ("Relay.Example.", "192.0.2.1", true),
            ("relay.example", "10.1.2.3", false),
            ("mx.relay.example", "192.0.2.1", false),
            ("", "192.0.2.1", false),
        ];
        for (name, address, expected) in rows {
            let address = address.parse().unwrap();
            let found = is_loop(name, "relay.example", address, &permitted);
            assert_eq!(found, expected, "{name} {address}");
        }
    }

    #[test]
    fn smarthosts_take_all_mail_in_their_order() {
        let smarthost = |host: &str, tls| Smarthost {
            host: host.into(),
            port: 587,
            tls,
            authentication: None,
            certificate_authorities: None,
        };
        let delivery = Delivery {
            smarthosts: vec![
                smarthost("first.test.", SmarthostTls::StartTls),
                smarthost("192.0.2.1", SmarthostTls::Implicit),
            ],
            ..Delivery::default()
        };
        assert_eq!(route(&delivery, "[192.0.2.7]"), Route::Smarthosts);
        let hops = smarthosts(&delivery);
        assert_eq!(&*hops[0].host, "first.test");
        assert_eq!(hops[0].security, Security::Verified);
        assert_eq!(&*hops[1].host, "192.0.2.1");
        assert_eq!(hops[1].security, Security::Implicit);
    }

    #[test]
    fn address_literals_are_routes_of_their_own() {
        let delivery = Delivery::default();
        let literal = |text: &str| Route::Literal(text.parse().unwrap());
        assert_eq!(route(&delivery, "[192.0.2.7]"), literal("192.0.2.7"));
        assert_eq!(
            route(&delivery, "[IPv6:2001:db8::7]"),
            literal("2001:db8::7")
        );
        assert_eq!(route(&delivery, "a.test"), Route::Exchangers("a.test"));
    }
}
