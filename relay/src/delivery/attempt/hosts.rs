//! Which hosts and addresses an attempt tries: the plan's order, with what DNS says.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use super::Attempt;
use super::fault::{forbidden, hopeful, of_host_lookup};
use crate::delivery::outcome::Fate;
use crate::delivery::plan::{self, Hop, Route};
use crate::delivery::resolve::{ResolveError, Resolver};

impl Attempt<'_> {
    /// The hosts of the route, best first.
    pub(super) async fn hops(&self, domain: &str) -> Result<Vec<Hop>, ResolveError> {
        let delivery = &self.snapshot.config.delivery;
        match plan::route(delivery, domain) {
            Route::Smarthosts => Ok(plan::smarthosts(delivery)),
            Route::Literal(address) => Ok(vec![plan::host(delivery, &address.to_string())]),
            Route::Exchangers(domain) => {
                let resolver = self.engine.resolvers.get(&self.snapshot.config.dns)?;
                let exchangers = resolver.exchangers(domain).await?;
                Ok(plan::exchangers(delivery, exchangers, |all| {
                    fastrand::shuffle(all);
                }))
            }
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
        Ok(addresses)
    }
}

/// Whether `address` is one of this machine's: only then would the kernel choose it as the source
/// for a packet to itself. No packet is sent.
pub(super) fn is_own(address: IpAddr) -> bool {
    let any: SocketAddr = if address.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0; 16], 0).into()
    };
    let source = UdpSocket::bind(any).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address)
}
