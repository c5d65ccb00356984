//! The main configuration file.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use operator_api::conditions::reason;
use operator_api::{self as api, names};
use relay_config::{
    Admin, Authentication, AuthenticationSettings, CertificateFiles, Cidr, Config, Dns, Duration,
    Health, Listener, ListenerRole, ListenerTls, Privacy, QueueSettings, Siblings, VERSION,
};

use super::{BUCKET_DIRECTORY, INTERNAL_DIRECTORY, RelayInputs, TLS_DIRECTORY, Violation};
use crate::certificates::{CA, CERTIFICATE, KEY, SecretData};

mod delivery;
mod limits;
mod transport;

/// Shards that a relay is told of; the label of a stray claim may name any number.
const MOST_SHARDS: i32 = 1024;

/// The configuration, and the files that it names and that come with it in one Secret.
pub(super) fn build(inputs: &RelayInputs<'_>) -> Result<(Config, SecretData), Violation> {
    let spec = &inputs.relay.spec;
    let name = inputs.relay.metadata.name.as_deref().unwrap_or_default();
    let namespace = inputs
        .relay
        .metadata
        .namespace
        .as_deref()
        .unwrap_or_default();
    let clients = networks("spec.clients.cidrs", spec.client_cidrs())?;
    let listeners: Vec<_> = spec
        .listeners()
        .iter()
        .map(|listener| build_listener(listener, &clients))
        .collect::<Result<_, _>>()?;
    let uses_tls = listeners
        .iter()
        .any(|listener| listener.tls != ListenerTls::None);
    let (delivery, files) = delivery::build(inputs)?;
    let config = Config {
        version: VERSION,
        relay: format!("{namespace}/{name}"),
        hostname: hostname(inputs.relay),
        listeners,
        tls: uses_tls.then(|| certificate_files(TLS_DIRECTORY)),
        authentication: AuthenticationSettings {
            issuers: inputs.issuers.to_vec(),
        },
        limits: limits::build(spec.limits.as_ref())?,
        privacy: Privacy {
            hide_clients: spec.privacy.as_ref().is_some_and(|it| it.hide_clients),
        },
        queue: QueueSettings {
            directory: Path::new(names::STATE_DIRECTORY).join("queue"),
            lock_timeout: Duration::from_secs(LOCK_TIMEOUT),
            ..QueueSettings::default()
        },
        delivery,
        dns: build_dns(spec)?,
        health: Health {
            address: any(names::HEALTH_PORT, "health")?,
        },
        admin: Some(Admin {
            address: any(names::ADMIN_PORT, "admin")?,
            certificate: certificate_files(INTERNAL_DIRECTORY),
            client_authority: Path::new(INTERNAL_DIRECTORY).join(CA),
        }),
        siblings: siblings(inputs, namespace, name)?,
        buckets: Some(PathBuf::from(BUCKET_DIRECTORY)),
        domains: Vec::new(),
        credentials: Vec::new(),
    };
    Ok((config, files))
}

/// Seconds. A pod that is evicted or deleted gets its successor before it has ended, for which it has its
/// whole grace period.
const LOCK_TIMEOUT: u64 = 120;

/// The name by which a relay greets; also a name in its certificate.
pub(crate) fn hostname(relay: &api::SmtpRelay) -> String {
    relay.spec.hostname.clone().unwrap_or_else(|| {
        format!(
            "{}.{}.svc",
            relay.metadata.name.as_deref().unwrap_or_default(),
            relay.metadata.namespace.as_deref().unwrap_or_default()
        )
    })
}

/// The relay's shards. Those that are to go stand among them as long as they exist, since they may have
/// handed mail to each other.
fn siblings(
    inputs: &RelayInputs<'_>,
    namespace: &str,
    name: &str,
) -> Result<Option<Siblings>, Violation> {
    // A stray claim may carry any number.
    let known = |index: &&i32| (0..MOST_SHARDS).contains(*index);
    let existing = inputs.staying.union(inputs.leaving).filter(known);
    let Some(last) = existing.clone().max() else {
        return Ok(None);
    };
    let existing: BTreeSet<&i32> = existing.collect();
    let gone = (0..*last).filter(|index| !existing.contains(index));
    Ok(Some(Siblings {
        hosts: (0..=*last)
            .map(|index| names::shard_host(name, namespace, index))
            .collect(),
        leaving: inputs
            .leaving
            .iter()
            .filter(known)
            .map(|index| index.unsigned_abs())
            .collect(),
        gone: gone.map(i32::unsigned_abs).collect(),
        port: build_port("admin", names::ADMIN_PORT)?,
        server_name: names::internal_server_name(name),
    }))
}

fn build_listener(listener: &api::Listener, clients: &[Cidr]) -> Result<Listener, Violation> {
    let authentication = match listener.authentication {
        api::Authentication::Required => Authentication::Required,
        api::Authentication::Optional => Authentication::Optional,
        api::Authentication::None => Authentication::None,
    };
    Ok(Listener {
        name: listener.name.clone(),
        address: any(
            listener.container_port(),
            &format!("spec.listeners[{}].port", listener.name),
        )?,
        role: match listener.role.unwrap_or_default() {
            api::ListenerRole::Submission => ListenerRole::Submission,
            api::ListenerRole::Bounces => ListenerRole::Bounces,
        },
        tls: match listener.tls {
            api::ListenerTls::None => ListenerTls::None,
            api::ListenerTls::StartTls => ListenerTls::StartTls,
            api::ListenerTls::Implicit => ListenerTls::Implicit,
        },
        authentication,
        cleartext_authentication: false,
        lenient: listener.lenient.unwrap_or(true),
        proxy_protocol: listener.proxy_protocol,
        proxies: networks(
            &format!("spec.listeners[{}].proxies", listener.name),
            &listener.proxies,
        )?,
        // Pods have no fixed networks, so where all must authenticate it is the NetworkPolicy that
        // says who may connect.
        clients: match authentication {
            // Reports come from anywhere; they are for nobody else's domains.
            _ if listener.role == Some(api::ListenerRole::Bounces) => Vec::new(),
            Authentication::Required => Vec::new(),
            Authentication::Optional | Authentication::None => clients.to_vec(),
        },
    })
}

fn build_dns(spec: &api::SmtpRelaySpec) -> Result<Dns, Violation> {
    let dns = spec.dns.as_ref();
    let mut built = Dns {
        dnssec: transport::dnssec(spec.delivery.as_ref()),
        trust_anchors: dns.map(|dns| dns.trust_anchors.clone()).unwrap_or_default(),
        ..Dns::default()
    };
    for server in dns.iter().flat_map(|dns| &dns.servers) {
        let address = server.parse::<SocketAddr>().or_else(|_| {
            let lone = server.parse::<IpAddr>();
            lone.map(|address| SocketAddr::new(address, 53))
        });
        built.servers.push(address.map_err(|_| {
            let remedy = "is not a name server; write 192.0.2.1 or 192.0.2.1:53";
            invalid("spec.dns.servers", server, remedy)
        })?);
    }
    Ok(built)
}

fn networks(field: &str, texts: &[String]) -> Result<Vec<Cidr>, Violation> {
    let parse = |text: &String| {
        let parsed = text.parse::<Cidr>();
        parsed.map_err(|error| Violation::new(reason::INVALID_SPEC, format!("{field}: {error}")))
    };
    texts.iter().map(parse).collect()
}

fn certificate_files(directory: &str) -> CertificateFiles {
    CertificateFiles {
        certificate: Path::new(directory).join(CERTIFICATE),
        key: Path::new(directory).join(KEY),
    }
}

/// `port` on all addresses of both families; the relay falls back to IPv4 where there is no IPv6.
fn any(port: i32, field: &str) -> Result<SocketAddr, Violation> {
    let port = build_port(field, port)?;
    Ok(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
}

fn build_port(field: &str, port: i32) -> Result<u16, Violation> {
    match u16::try_from(port) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(invalid(
            field,
            &port.to_string(),
            "is not a port; give 1 to 65535",
        )),
    }
}

fn invalid(field: &str, value: &str, remedy: &str) -> Violation {
    Violation::new(reason::INVALID_SPEC, format!("{field}: {value:?} {remedy}"))
}
