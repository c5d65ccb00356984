//! Services, NetworkPolicy, PodDisruptionBudget.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use operator_api::names::{
    ACCEPTING_LABEL, ADMIN_PORT, HEALTH_PORT, RELAY_LABEL, shards_service as shards_name,
};
use operator_api::{ListenerRole, NamespaceFrom, ServiceType, SmtpRelay, TrafficPolicy};

use super::{metadata, relay_name};
use crate::context::Settings;

/// Label that every namespace carries.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// Name of the operator's pods in the chart.
const OPERATOR_NAME: &str = "mailrelay-operator";

pub(super) fn service(relay: &SmtpRelay) -> Service {
    let settings = relay.spec.service.clone().unwrap_or_default();
    let port = |listener: operator_api::Listener| ServicePort {
        target_port: Some(IntOrString::String(listener.name.clone())),
        name: Some(listener.name),
        port: listener.port,
        node_port: listener.node_port,
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    };
    let type_ = match settings.r#type.unwrap_or_default() {
        ServiceType::ClusterIp => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    };
    let mut meta = metadata(relay, relay_name(relay).to_owned(), "service");
    if !settings.annotations.is_empty() {
        meta.annotations = Some(settings.annotations);
    }
    let mut selector = selector(relay);
    selector.insert(ACCEPTING_LABEL.to_owned(), "true".to_owned());
    Service {
        metadata: meta,
        spec: Some(ServiceSpec {
            type_: Some(type_.to_owned()),
            selector: Some(selector),
            ports: Some(relay.spec.listeners().into_iter().map(port).collect()),
            ip_family_policy: settings.ip_family_policy,
            // Left out when not asked for, or the API server's own choice would be fought over.
            ip_families: Some(settings.ip_families).filter(|families| !families.is_empty()),
            external_traffic_policy: settings.external_traffic_policy.map(policy_name),
            internal_traffic_policy: settings.internal_traffic_policy.map(policy_name),
            load_balancer_class: settings.load_balancer_class,
            load_balancer_source_ranges: Some(settings.load_balancer_source_ranges)
                .filter(|ranges| !ranges.is_empty()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn policy_name(policy: TrafficPolicy) -> String {
    match policy {
        TrafficPolicy::Cluster => "Cluster",
        TrafficPolicy::Local => "Local",
    }
    .to_owned()
}

/// Gives every pod of the relay a name in cluster DNS. Pods that are not ready are in it, too: one that
/// goes is reached as long as it runs.
pub(super) fn shards_service(relay: &SmtpRelay) -> Service {
    Service {
        metadata: metadata(relay, shards_name(relay_name(relay)), "shards-service"),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(selector(relay)),
            ports: Some(vec![ServicePort {
                name: Some("admin".to_owned()),
                port: ADMIN_PORT,
                target_port: Some(IntOrString::String("admin".to_owned())),
                protocol: Some("TCP".to_owned()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn selector(relay: &SmtpRelay) -> BTreeMap<String, String> {
    BTreeMap::from([(RELAY_LABEL.to_owned(), relay_name(relay).to_owned())])
}

fn pods(relay: &SmtpRelay) -> LabelSelector {
    LabelSelector {
        match_labels: Some(selector(relay)),
        ..LabelSelector::default()
    }
}

/// At most one shard at a time, so that a drain of nodes is slowed down but never blocked for ever.
pub(super) fn budget(relay: &SmtpRelay) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata(relay, relay_name(relay).to_owned(), "disruption-budget"),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(pods(relay)),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}

pub(super) fn policy(relay: &SmtpRelay, settings: &Settings) -> Option<NetworkPolicy> {
    if !relay
        .spec
        .network_policy
        .clone()
        .unwrap_or_default()
        .enabled
    {
        return None;
    }
    let mut ingress = vec![
        NetworkPolicyIngressRule {
            from: Some(clients(relay)),
            ports: Some(
                relay
                    .spec
                    .listeners()
                    .iter()
                    .filter(|listener| !takes_reports(listener))
                    .map(|listener| tcp(listener.container_port()))
                    .collect(),
            ),
        },
        // Prometheus, wherever it runs. The kubelet's probes come from the node and pass anyway.
        NetworkPolicyIngressRule {
            from: Some(vec![namespaces(LabelSelector::default())]),
            ports: Some(vec![tcp(HEALTH_PORT)]),
        },
        // Outside a cluster the operator has no pod to select; certificates guard the port.
        NetworkPolicyIngressRule {
            from: settings.namespace.as_deref().map(|own| vec![operator(own)]),
            ports: Some(vec![tcp(ADMIN_PORT)]),
        },
        NetworkPolicyIngressRule {
            from: Some(vec![siblings(relay)]),
            ports: Some(vec![tcp(ADMIN_PORT)]),
        },
    ];
    ingress.extend(proxies(relay));
    ingress.extend(reporters(relay));
    let mut egress = vec![
        NetworkPolicyEgressRule {
            to: None,
            ports: Some(dns_ports(relay)),
        },
        NetworkPolicyEgressRule {
            to: None,
            ports: Some(outgoing_ports(relay).into_iter().map(tcp).collect()),
        },
        NetworkPolicyEgressRule {
            to: Some(vec![siblings(relay)]),
            ports: Some(vec![tcp(ADMIN_PORT)]),
        },
    ];
    egress.extend(services(relay));
    Some(NetworkPolicy {
        metadata: metadata(relay, relay_name(relay).to_owned(), "network-policy"),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(pods(relay)),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(ingress),
            egress: Some(egress),
        }),
    })
}

fn clients(relay: &SmtpRelay) -> Vec<NetworkPolicyPeer> {
    let rule = relay.spec.client_namespaces();
    let mut peers = vec![match rule.from {
        NamespaceFrom::Same => NetworkPolicyPeer {
            pod_selector: Some(LabelSelector::default()),
            ..NetworkPolicyPeer::default()
        },
        NamespaceFrom::All => namespaces(LabelSelector::default()),
        NamespaceFrom::Selector => namespaces(rule.selector.unwrap_or_default()),
    }];
    peers.extend(relay.spec.client_cidrs().iter().map(|cidr| network(cidr)));
    peers
}

/// The relay's own pods.
fn siblings(relay: &SmtpRelay) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        pod_selector: Some(pods(relay)),
        ..NetworkPolicyPeer::default()
    }
}

/// Load balancers that speak the PROXY protocol, each to the listeners that expect it.
fn proxies(relay: &SmtpRelay) -> Vec<NetworkPolicyIngressRule> {
    let listeners = relay.spec.listeners();
    let behind = listeners.iter().filter(|listener| listener.proxy_protocol);
    behind
        .map(|listener| NetworkPolicyIngressRule {
            from: Some(listener.proxies.iter().map(|cidr| network(cidr)).collect()),
            ports: Some(vec![tcp(listener.container_port())]),
        })
        .collect()
}

/// Everybody, to the listeners that take reports: other mail servers are anywhere. Behind proxies it is
/// those that connect.
fn reporters(relay: &SmtpRelay) -> Option<NetworkPolicyIngressRule> {
    let listeners = relay.spec.listeners();
    let ports: Vec<_> = listeners
        .iter()
        .filter(|listener| takes_reports(listener) && !listener.proxy_protocol)
        .map(|listener| tcp(listener.container_port()))
        .collect();
    (!ports.is_empty()).then_some(NetworkPolicyIngressRule {
        from: None,
        ports: Some(ports),
    })
}

fn takes_reports(listener: &operator_api::Listener) -> bool {
    listener.role == Some(ListenerRole::Bounces)
}

fn network(cidr: &str) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: cidr.to_owned(),
            except: None,
        }),
        ..NetworkPolicyPeer::default()
    }
}

fn namespaces(selector: LabelSelector) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: Some(selector),
        ..NetworkPolicyPeer::default()
    }
}

fn operator(namespace: &str) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: Some(labelled(NAMESPACE_NAME, namespace)),
        pod_selector: Some(labelled("app.kubernetes.io/name", OPERATOR_NAME)),
        ..NetworkPolicyPeer::default()
    }
}

fn labelled(key: &str, value: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some(BTreeMap::from([(key.to_owned(), value.to_owned())])),
        ..LabelSelector::default()
    }
}

/// Name servers need not be pods, so DNS is allowed by port.
fn dns_ports(relay: &SmtpRelay) -> Vec<NetworkPolicyPort> {
    let servers = relay.spec.dns.iter().flat_map(|dns| &dns.servers);
    let named = servers.filter_map(|server| server.parse::<std::net::SocketAddr>().ok());
    let ports: BTreeSet<i32> = named
        .map(|server| i32::from(server.port()))
        .chain([53])
        .collect();
    let both = |number: i32| ["UDP", "TCP"].map(|protocol| port(number, protocol));
    ports.into_iter().flat_map(both).collect()
}

/// Mail servers, smarthosts and where their access tokens come from, and collectors that the environment names.
fn outgoing_ports(relay: &SmtpRelay) -> BTreeSet<i32> {
    let mut ports = BTreeSet::from([25, 465, 587]);
    ports.extend(policy_port(relay));
    ports.extend(
        relay
            .spec
            .delivery
            .iter()
            .filter_map(|delivery| delivery.mx_port),
    );
    ports.extend(smarthosts(relay).map(|host| host.port));
    ports.extend(urls(relay).filter_map(url_port));
    ports
}

/// Everything in namespaces with Services that the relay is told to use: a policy sees the ports of pods, which
/// need not be those of their Service.
fn services(relay: &SmtpRelay) -> Option<NetworkPolicyEgressRule> {
    let hosts = smarthosts(relay).map(|host| host.host.as_str());
    let hosts = hosts.chain(urls(relay).filter_map(url_host));
    let found: BTreeSet<&str> = hosts.filter_map(service_namespace).collect();
    let peers: Vec<NetworkPolicyPeer> = found
        .into_iter()
        .map(|namespace| namespaces(labelled(NAMESPACE_NAME, namespace)))
        .collect();
    (!peers.is_empty()).then_some(NetworkPolicyEgressRule {
        to: Some(peers),
        ports: None,
    })
}

/// Namespace of a Service by its name in cluster DNS, such as `smtp.mail.svc.cluster.local`.
fn service_namespace(host: &str) -> Option<&str> {
    let mut labels = host.split('.').skip(1);
    let namespace = labels.next()?;
    // A value that is no label would have the API server refuse the whole policy.
    (labels.next() == Some("svc") && is_label(namespace)).then_some(namespace)
}

/// Whether this is a label as the name of a namespace is one (RFC 1123 section 2.1).
fn is_label(text: &str) -> bool {
    let inner = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn smarthosts(relay: &SmtpRelay) -> impl Iterator<Item = &operator_api::Smarthost> {
    let delivery = relay.spec.delivery.iter();
    delivery.flat_map(|delivery| delivery.all_smarthosts().map(|(_, host)| host))
}

/// Where access tokens come from, and collectors that the environment names.
fn urls(relay: &SmtpRelay) -> impl Iterator<Item = &str> {
    let tokens =
        smarthosts(relay).filter_map(|host| Some(host.oauth2.as_ref()?.token_url.as_str()));
    let templates = relay.spec.pod_template.iter();
    let collectors = templates
        .filter_map(|template| template.spec.as_ref())
        .flat_map(|spec| &spec.containers)
        .flat_map(|container| container.env.iter().flatten())
        .filter(|variable| {
            variable.name.starts_with("OTEL_EXPORTER_OTLP") && variable.name.ends_with("ENDPOINT")
        })
        .filter_map(|variable| variable.value.as_deref());
    tokens.chain(collectors)
}

/// Where MTA-STS policies are fetched from, and TLS reports are posted to.
fn policy_port(relay: &SmtpRelay) -> Option<i32> {
    let delivery = relay.spec.delivery.as_ref();
    let settings = delivery.and_then(|delivery| delivery.mta_sts.clone());
    let settings = settings.unwrap_or_default();
    let enabled = settings.enabled.unwrap_or(true);
    let reports = delivery.and_then(|delivery| delivery.reports.as_ref());
    let reports = reports.is_some_and(|reports| reports.tls.is_some());
    (enabled || reports).then(|| settings.port.unwrap_or(443))
}

/// `host:port` or `host` of `http://user@host:port/path`, and the scheme.
fn url_authority(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    Some((scheme, authority.rsplit('@').next()?))
}

/// Port of a URL; that of the scheme when it names none.
fn url_port(url: &str) -> Option<i32> {
    let (scheme, host) = url_authority(url)?;
    let after_host = host.rsplit(']').next()?;
    match after_host.rsplit_once(':') {
        Some((_, port)) => port.parse::<u16>().ok().map(i32::from),
        None if scheme == "https" => Some(443),
        None => Some(80),
    }
}

/// Host of a URL; nothing useful for a literal of IPv6.
fn url_host(url: &str) -> Option<&str> {
    let (_, host) = url_authority(url)?;
    host.split(':').next()
}

fn tcp(number: i32) -> NetworkPolicyPort {
    port(number, "TCP")
}

fn port(number: i32, protocol: &str) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(number)),
        protocol: Some(protocol.to_owned()),
        end_port: None,
    }
}

#[cfg(test)]
mod tests {
    use super::url_port;

    #[test]
    fn the_port_of_a_collector_is_found() {
        let rows = [
            ("http://collector.observability:4317", Some(4317)),
            ("http://[2001:db8::1]:4318/v1/traces", Some(4318)),
            ("https://otlp.example.com", Some(443)),
            ("http://collector/v1", Some(80)),
            ("collector:4317", None),
            ("http://collector:many", None),
        ];
        for (url, port) in rows {
            assert_eq!(url_port(url), port, "{url}");
        }
    }
}
