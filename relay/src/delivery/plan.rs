//! Which hosts of a route are tried, in which order, how encrypted, and which addresses are out of bounds.
//! Pure: what DNS says comes in, an order goes out.

use std::net::IpAddr;
use std::sync::Arc;

use relay_config::{Cidr, Delivery, DeliveryTls, Smarthost, SmarthostId, SmarthostTls};

use super::route::RouteNumber;

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
    /// Which smarthost of the configuration it belongs to.
    pub(super) smarthost: Option<SmarthostId>,
    /// The name that its certificate has to have, if not `host`: SRV records that lead out of the
    /// domain that has them prove nothing (RFC 6186 section 6).
    pub(super) identity: Option<Arc<str>>,
}

/// A mail exchanger as DNS tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exchanger {
    pub(super) preference: u16,
    /// Without a trailing dot.
    pub(super) host: String,
}

/// The address in `[...]` of a recipient's domain, if it is a literal.
pub(super) fn literal(domain: &str) -> Option<IpAddr> {
    let text = domain.strip_prefix('[')?.strip_suffix(']')?;
    text.strip_prefix("IPv6:").unwrap_or(text).parse().ok()
}

/// By how much the weights of servers are multiplied.
const SCALE: u32 = 100;

/// A server among others to choose from (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice<T> {
    /// Lower ones come first.
    pub(super) priority: u16,
    /// Share of those of its priority.
    pub(super) weight: u16,
    pub(super) what: T,
}

/// By priority, and among equals by chance in proportion to their weights (RFC 2782). `random` gives
/// a number from 0 to what it is given, both included. Weights count [`SCALE`]-fold, so that those of
/// no weight have the very small chance that the RFC wants them to have, and the others their share.
pub(super) fn ordered<T>(
    mut choices: Vec<Choice<T>>,
    mut random: impl FnMut(u32) -> u32,
) -> Vec<T> {
    // Those of no weight stand first among equals, so that chance picks them at 0 only.
    choices.sort_by_key(|one| (one.priority, one.weight > 0));
    let mut ordered = Vec::with_capacity(choices.len());
    while let Some(priority) = choices.first().map(|one| one.priority) {
        let equals = choices.iter().take_while(|one| one.priority == priority);
        let scaled = |one: &Choice<T>| u32::from(one.weight) * SCALE;
        let sum = equals.clone().map(scaled).fold(0, u32::saturating_add);
        let drawn = random(sum);
        let mut running = 0;
        let place = equals.clone().position(|one| {
            running = u32::saturating_add(running, scaled(one));
            running >= drawn
        });
        ordered.push(choices.remove(place.unwrap_or(0)).what);
    }
    ordered
}

/// The smarthosts of a route in the order in which they are tried.
pub(super) fn smarthosts(
    delivery: &Delivery,
    route: RouteNumber,
    random: impl FnMut(u32) -> u32,
) -> Vec<SmarthostId> {
    let smarthosts = delivery.smarthosts_of(route).iter().enumerate();
    let choices = smarthosts.map(|(place, smarthost)| Choice {
        priority: smarthost
            .priority
            .unwrap_or(u16::try_from(place).unwrap_or(u16::MAX)),
        weight: smarthost.weight,
        what: SmarthostId { route, place },
    });
    ordered(choices.collect(), random)
}

/// A server of a smarthost. `host` is the smarthost's own name or what its SRV records name.
pub(super) fn smarthost(smarthost: &Smarthost, id: SmarthostId, host: &str, port: u16) -> Hop {
    Hop {
        host: host.trim_end_matches('.').into(),
        port,
        security: match smarthost.tls {
            SmarthostTls::StartTls => Security::Verified,
            SmarthostTls::Implicit => Security::Implicit,
            SmarthostTls::Opportunistic => Security::Opportunistic,
            SmarthostTls::None => Security::Clear,
        },
        smarthost: Some(id),
        identity: (!is_below(host, &smarthost.host)).then(|| smarthost.host.as_str().into()),
    }
}

/// A server that SRV records name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
}

/// The name whose SRV records name the servers of a smarthost (RFC 6186 section 3.1, RFC 8314
/// section 5.1). Which one is a matter of the configuration alone, so that DNS cannot choose the
/// weaker.
pub(super) fn service(smarthost: &Smarthost) -> String {
    let service = match smarthost.tls {
        SmarthostTls::Implicit => "_submissions._tcp",
        _ => "_submission._tcp",
    };
    format!("{service}.{}", smarthost.host.trim_end_matches('.'))
}

/// Whether `name` is `domain` or lies below it.
fn is_below(name: &str, domain: &str) -> bool {
    let bare = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
    let (name, domain) = (bare(name), bare(domain));
    name.strip_suffix(&domain)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Mail exchangers by preference, in random order among equals (RFC 5321 section 5.1).
pub(super) fn exchangers(
    delivery: &Delivery,
    route: RouteNumber,
    mut exchangers: Vec<Exchanger>,
    shuffle: impl FnOnce(&mut [Exchanger]),
) -> Vec<Hop> {
    shuffle(&mut exchangers);
    exchangers.sort_by_key(|exchanger| exchanger.preference);
    exchangers
        .into_iter()
        .map(|exchanger| host(delivery, route, &exchanger.host))
        .collect()
}

/// One host that was not configured, under the policy for such hosts.
pub(super) fn host(delivery: &Delivery, route: RouteNumber, host: &str) -> Hop {
    let route = route.and_then(|number| delivery.routes.get(number));
    Hop {
        host: host.into(),
        port: delivery.mx_port,
        security: match route.and_then(|route| route.tls).unwrap_or(delivery.tls) {
            DeliveryTls::Opportunistic => Security::Opportunistic,
            DeliveryTls::Required => Security::Required,
            DeliveryTls::Verified => Security::Verified,
        },
        smarthost: None,
        identity: None,
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
            exchangers(&Delivery::default(), None, given.clone(), shuffle)
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

    fn smarthost_at(host: &str, tls: SmarthostTls) -> Smarthost {
        let text = serde_json::json!({"host": host, "port": 587});
        Smarthost {
            tls,
            ..serde_json::from_value(text).unwrap()
        }
    }

    #[test]
    fn smarthosts_without_priorities_are_tried_in_order() {
        let delivery = Delivery {
            smarthosts: ["first.test", "second.test", "third.test"]
                .map(|host| smarthost_at(host, SmarthostTls::StartTls))
                .into(),
            ..Delivery::default()
        };
        let places: Vec<usize> = smarthosts(&delivery, None, |most| most)
            .into_iter()
            .map(|id| id.place)
            .collect();
        assert_eq!(places, [0, 1, 2]);
        assert_eq!(smarthosts(&delivery, Some(0), |most| most), []);
    }

    /// Priorities and weights, draws, the order that comes of them.
    type Row<'a> = (&'a [(u16, u16)], &'a [u32], &'a [usize]);

    #[test]
    fn equals_are_drawn_in_proportion_to_their_weights() {
        let choices = |weights: &[(u16, u16)]| -> Vec<Choice<usize>> {
            let choices = weights.iter().enumerate();
            let choice = |(what, (priority, weight)): (usize, &(u16, u16))| Choice {
                priority: *priority,
                weight: *weight,
                what,
            };
            choices.map(choice).collect()
        };
        let rows: [Row<'_>; 5] = [
            (&[(20, 1), (10, 1)], &[1, 1], &[1, 0]),
            // Running sums 300 and 1000.
            (&[(1, 3), (1, 7)], &[300, 700], &[0, 1]),
            (&[(1, 3), (1, 7)], &[301, 300], &[1, 0]),
            // Without weight only at 0.
            (&[(1, 5), (1, 0)], &[0, 500], &[1, 0]),
            (&[(1, 5), (1, 0)], &[1, 0], &[0, 1]),
        ];
        for (weights, draws, expected) in rows {
            let mut draws = draws.iter().copied();
            let order = ordered(choices(weights), |_| draws.next().unwrap());
            assert_eq!(order, expected, "{weights:?}");
        }
        let mut firsts = [0; 2];
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..1000 {
            let order = ordered(choices(&[(1, 1), (1, 3)]), |most| random.u32(0..=most));
            firsts[order[0]] += 1;
        }
        assert!((650..850).contains(&firsts[1]), "{firsts:?}");
    }

    #[test]
    fn a_host_that_srv_records_name_outside_of_their_domain_must_prove_the_domain() {
        let id = SmarthostId {
            route: None,
            place: 0,
        };
        let configured = smarthost_at("mail.test", SmarthostTls::Implicit);
        let rows = [
            ("mail.test", None),
            ("Smtp.Mail.test.", None),
            ("smtp.elsewhere.test", Some("mail.test")),
            ("notmail.test", Some("mail.test")),
        ];
        for (host, identity) in rows {
            let hop = smarthost(&configured, id, host, 465);
            assert_eq!(hop.identity.as_deref(), identity, "{host}");
            assert_eq!(hop.security, Security::Implicit);
        }
    }

    #[test]
    fn a_route_has_its_own_tls_towards_mx_hosts() {
        let route = serde_json::json!({"name": "a", "tags": ["a"], "tls": "Verified"});
        let delivery = Delivery {
            routes: vec![serde_json::from_value(route).unwrap()],
            ..Delivery::default()
        };
        assert_eq!(host(&delivery, Some(0), "mx").security, Security::Verified);
        assert_eq!(
            host(&delivery, None, "mx").security,
            Security::Opportunistic
        );
    }

    #[test]
    fn address_literals_are_told_from_domains() {
        let rows = [
            ("[192.0.2.7]", Some("192.0.2.7")),
            ("[IPv6:2001:db8::7]", Some("2001:db8::7")),
            ("a.test", None),
        ];
        for (domain, address) in rows {
            let expected = address.map(|address| address.parse().unwrap());
            assert_eq!(literal(domain), expected);
        }
    }
}
