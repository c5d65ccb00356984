//! Who may connect: by network and by number.

use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use relay_config::{Authentication, Listener, ListenerTls};
use tokio::net::TcpStream;

use super::tally::{Claim, Tally, client_of};

/// Why somebody may not connect.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) reason: &'static str,
    pub(super) reply: &'static str,
}

/// Judges a connection before anything is read from it.
pub(super) fn judge(
    listener: &Listener,
    peer: IpAddr,
    open: u32,
    most: u32,
) -> Result<(), Refused> {
    if listener.proxy_protocol && !listener.is_proxy(peer) {
        return Err(Refused {
            reason: "no_proxy",
            reply: "554 5.7.1 this port is for proxies, and your address is none of theirs\r\n",
        });
    }
    if open >= most {
        return Err(Refused {
            reason: "limit",
            reply: "421 4.3.2 too many sessions; try again later\r\n",
        });
    }
    Ok(())
}

/// Judges the client, who may have come through a proxy, and counts it.
pub(super) fn judge_client(
    listener: &Listener,
    client: IpAddr,
    addresses: &Arc<Tally<IpAddr>>,
    most: u32,
) -> Result<Claim<IpAddr>, Refused> {
    // With optional authentication the networks say who may do without it, not who may connect.
    let gated = listener.authentication != Authentication::Optional && !listener.clients.is_empty();
    if gated && !listener.is_client(client) {
        return Err(Refused {
            reason: "client_network",
            reply: "554 5.7.1 your address is in none of the networks that this port is for\r\n",
        });
    }
    addresses.claim(client_of(client), most).ok_or(Refused {
        reason: "address_limit",
        reply: "421 4.7.0 too many sessions from your address; close some, or reuse them\r\n",
    })
}

/// Says why and closes, at once: a refused client is worth no wait. A client that speaks TLS from
/// the start could not read it.
pub(super) fn dismiss(stream: TcpStream, listener: &Listener, reply: &str) {
    if listener.tls == ListenerTls::Implicit {
        return;
    }
    // The socket does not block and its buffer is empty, so this writes all or nothing.
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write_all(reply.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(authentication: Authentication, clients: &[&str], proxies: &[&str]) -> Listener {
        let networks = |texts: &[&str]| {
            texts
                .iter()
                .map(|network| network.parse().unwrap())
                .collect()
        };
        Listener {
            name: "submission".into(),
            role: relay_config::ListenerRole::Submission,
            address: "127.0.0.1:0".parse().unwrap(),
            tls: ListenerTls::None,
            authentication,
            cleartext_authentication: false,
            clients: networks(clients),
            lenient: true,
            proxy_protocol: !proxies.is_empty(),
            proxies: networks(proxies),
        }
    }

    /// Why a connection that is not the first of its address is refused, if it is.
    fn refusal(listener: &Listener, peer: &str, open: u32) -> Option<&'static str> {
        let peer = peer.parse().unwrap();
        let addresses = Arc::new(Tally::default());
        let _first = addresses.claim(client_of(peer), 9).unwrap();
        judge(listener, peer, open, 10)
            .and_then(|()| judge_client(listener, peer, &addresses, 2))
            .err()
            .map(|refused| refused.reason)
    }

    #[test]
    fn clients_are_let_in_by_network_and_number() {
        for (clients, peer, open, reason) in [
            (&[][..], "192.0.2.1", 9, None),
            (&[], "192.0.2.1", 10, Some("limit")),
            (&["10.0.0.0/8", "192.0.2.0/24"], "192.0.2.1", 0, None),
            (&["192.0.2.0/24"], "::ffff:192.0.2.1", 0, None),
            (&["10.0.0.0/8"], "192.0.2.1", 0, Some("client_network")),
            (&["10.0.0.0/8"], "2001:db8::1", 9, Some("client_network")),
        ] {
            let listener = listener(Authentication::None, clients, &[]);
            assert_eq!(refusal(&listener, peer, open), reason, "{peer} {open}");
        }
        let listener = listener(Authentication::Optional, &["10.0.0.0/8"], &[]);
        assert_eq!(refusal(&listener, "192.0.2.1", 0), None);
    }

    #[test]
    fn where_proxies_are_expected_nobody_else_gets_a_word_in() {
        let listener = listener(Authentication::Required, &[], &["10.0.0.0/8"]);
        assert_eq!(refusal(&listener, "10.1.2.3", 0), None);
        assert_eq!(refusal(&listener, "192.0.2.1", 0), Some("no_proxy"));
    }

    #[test]
    fn one_address_cannot_take_all_sessions() {
        let listener = listener(Authentication::Required, &[], &[]);
        let addresses = Arc::new(Tally::default());
        let claim = |peer: &str| judge_client(&listener, peer.parse().unwrap(), &addresses, 1);
        let first = claim("192.0.2.1").unwrap();
        assert_eq!(claim("192.0.2.1").unwrap_err().reason, "address_limit");
        let _other = claim("192.0.2.2").unwrap();
        drop(first);
        assert!(claim("192.0.2.1").is_ok());
    }
}
