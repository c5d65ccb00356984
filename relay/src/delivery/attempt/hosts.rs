//! Which hosts and addresses an attempt tries: the plan's order, with what DNS says.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use relay_config::{AddressLiterals, SmarthostId, SmarthostLookup};
use tokio::time::Instant;

use super::Attempt;
use super::fault::{forbidden, hopeful, of_host_lookup, of_resolve, refused_literal};
use crate::delivery::outcome::Fate;
use crate::delivery::plan::{self, Exchanger, Hop};
use crate::delivery::resolve::{ResolveError, Resolver};
use crate::delivery::route::{Asked, RouteNumber, Way};

impl Attempt<'_, '_> {
    /// The hosts to try, best first. What keeps hosts from being known is noted for `open`.
    pub(super) async fn hops(&mut self, asked: Asked<'_>, open: &[usize]) -> Vec<Hop> {
        let mut way = self.snapshot.routes.way(asked);
        let mut found = None;
        if let Way::Undecided(domain) = way {
            let exchangers = self.lookup(domain).await;
            // A domain that is not in DNS may be known to a smarthost; one that does not answer may
            // belong to any of the routes.
            let known = match &exchangers {
                Ok(exchangers) => &exchangers[..],
                Err(error) if error.is_definite() => &[],
                Err(error) => {
                    let fate = of_resolve(error);
                    self.note(open, &fate);
                    self.unreachable(&fate);
                    return Vec::new();
                }
            };
            way = self.snapshot.routes.decide(asked, known);
            found = Some(exchangers);
        }
        let (route, domain) = match way {
            Way::Smarthosts(route) => return self.smarthosts(route, open).await,
            Way::Exchangers(route, domain) => (route, domain),
            Way::Undecided(domain) => (None, domain),
        };
        let delivery = &self.snapshot.config.delivery;
        if let Some(address) = plan::literal(domain) {
            return match delivery.address_literals {
                AddressLiterals::Deliver => vec![plan::host(delivery, route, &address.to_string())],
                AddressLiterals::Refuse => {
                    self.note(open, &refused_literal(domain));
                    Vec::new()
                }
            };
        }
        let found = match found {
            Some(found) => found,
            None => self.lookup(domain).await,
        };
        match found {
            Ok(exchangers) => plan::exchangers(delivery, route, exchangers, |all| {
                fastrand::shuffle(all);
            }),
            Err(error) => {
                let fate = of_resolve(&error);
                self.note(open, &fate);
                if !error.is_definite() {
                    self.unreachable(&fate);
                }
                Vec::new()
            }
        }
    }

    async fn lookup(&self, domain: &str) -> Result<Vec<Exchanger>, ResolveError> {
        let resolver = self.engine.resolvers.get(&self.snapshot.config.dns)?;
        resolver.exchangers(domain).await
    }

    /// The servers of all smarthosts of a route.
    async fn smarthosts(&mut self, route: RouteNumber, open: &[usize]) -> Vec<Hop> {
        let delivery = &self.snapshot.config.delivery;
        let mut hops = Vec::new();
        for id in plan::smarthosts(delivery, route, |most| fastrand::u32(0..=most)) {
            match self.servers(id).await {
                Ok(servers) => hops.extend(servers),
                Err(error) => self.note(open, &hopeful(of_host_lookup(&error))),
            }
        }
        hops
    }

    /// The servers of one smarthost. Without SRV records it is one itself.
    async fn servers(&self, id: SmarthostId) -> Result<Vec<Hop>, ResolveError> {
        let config = &self.snapshot.config;
        let Some(smarthost) = config.delivery.smarthost(id) else {
            return Ok(Vec::new());
        };
        let itself = || plan::smarthost(smarthost, id, &smarthost.host, smarthost.port);
        if smarthost.lookup == SmarthostLookup::Address {
            return Ok(vec![itself()]);
        }
        let resolver = self.engine.resolvers.plain(&config.dns)?;
        let service = plan::service(smarthost);
        match resolver.services(&service).await {
            Ok(services) => Ok(plan::ordered(services, |most| fastrand::u32(0..=most))
                .into_iter()
                .map(|server| plan::smarthost(smarthost, id, &server.host, server.port))
                .collect()),
            Err(ResolveError::NoRecords(_) | ResolveError::NoSuchName(_)) => Ok(vec![itself()]),
            Err(error) => Err(error),
        }
    }

    fn resolver_of(&self, hop: &Hop) -> Result<Arc<Resolver>, ResolveError> {
        let dns = &self.snapshot.config.dns;
        match hop.smarthost {
            Some(_) => self.engine.resolvers.plain(dns),
            None => self.engine.resolvers.get(dns),
        }
    }

    /// The addresses of a host that mail may go to. A smarthost is named by the administrator, so it
    /// may be anywhere.
    pub(super) async fn addresses(&self, hop: &Hop) -> Result<Vec<IpAddr>, Fate> {
        let found = match hop.host.parse() {
            Ok(address) => Ok(vec![address]),
            Err(_) => match self.resolver_of(hop) {
                Ok(resolver) => resolver.addresses(&hop.host).await,
                Err(error) => Err(error),
            },
        };
        let mut addresses = found.map_err(|error| {
            let fate = of_host_lookup(&error);
            if hop.smarthost.is_some() {
                hopeful(fate)
            } else {
                fate
            }
        })?;
        if hop.smarthost.is_none() {
            let permitted = &self.snapshot.config.delivery.permitted_networks;
            let count = addresses.len();
            addresses.retain(|address| !plan::is_forbidden(*address, permitted, is_own));
            if addresses.is_empty() && count > 0 {
                return Err(forbidden(&hop.host));
            }
        }
        Ok(self.engine.families.order(addresses, Instant::now()))
    }
}

/// Whether `address` is one of this machine's: only then would the kernel choose it as the source
/// for a packet to itself.
pub(super) fn is_own(address: IpAddr) -> bool {
    source_towards(address) == Some(address)
}

/// The own address that packets to `address` come from. None is sent.
pub(super) fn source_towards(address: IpAddr) -> Option<IpAddr> {
    let any: SocketAddr = if address.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0; 16], 0).into()
    };
    let source = UdpSocket::bind(any).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    source.ok().map(|source| source.ip())
}
