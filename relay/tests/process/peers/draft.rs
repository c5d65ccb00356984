//! The plan of all servers and zones, as domains are added to it.

use std::net::Ipv4Addr;

use mailrelay_tests::peers::names::{Signing, Zone};
use mailrelay_tests::peers::{Host, Offer, Plan};
use mailrelay_tests::zone::Record;

use super::certificates::Shown;
use super::policies::Policy;

/// Octets of the largest message that every server takes.
pub(super) const SIZE_LIMIT: u32 = 65_536;
/// Local parts that exist in every domain.
const KNOWN: [&str; 5] = ["ada", "bob", "billing", "gr\u{fc}n", GREYLISTED];
/// The one that has to be tried twice.
pub(super) const GREYLISTED: &str = "later";

/// A server of the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Postfix,
    Exim,
    /// OpenSMTPD with working TLS.
    OpenSmtpd,
    /// OpenSMTPD as Debian 12 ships it.
    OldOpenSmtpd,
    Haraka,
}

impl Who {
    pub(super) const ALL: [Self; 5] = [
        Self::Postfix,
        Self::Exim,
        Self::OpenSmtpd,
        Self::OldOpenSmtpd,
        Self::Haraka,
    ];
}

/// What is to be started.
pub(super) struct Draft {
    pub(super) zones: Vec<Zone>,
    /// Policies of MTA-STS, by domain.
    pub(super) policies: Vec<(String, Policy)>,
    plans: Vec<(Who, Plan)>,
    next: u8,
}

impl Draft {
    /// Nothing but empty zones.
    pub(super) fn new(zones: &[(&str, Signing)]) -> Self {
        let zones = zones
            .iter()
            .map(|(name, signing)| Zone {
                name: (*name).to_owned(),
                signing: *signing,
                records: Vec::new(),
            })
            .collect();
        let plan = |who| {
            let plan = Plan {
                hosts: Vec::new(),
                resolver: Ipv4Addr::UNSPECIFIED,
                recipients: Vec::new(),
                greylisted: Vec::new(),
                size_limit: SIZE_LIMIT,
            };
            (who, plan)
        };
        Self {
            zones,
            policies: Vec::new(),
            plans: Who::ALL.map(plan).to_vec(),
            next: 0,
        }
    }

    /// An address that nothing has. Runs at the same time on one machine have different ones.
    pub(super) fn address(&mut self) -> Ipv4Addr {
        let [.., low, run] = std::process::id().to_be_bytes();
        self.next += 1;
        Ipv4Addr::new(127, 64 + run % 128, low, self.next)
    }

    /// Adds a record to the zone that its name lies in.
    pub(super) fn publish(&mut self, record: Record) {
        let zone = self
            .zones
            .iter_mut()
            .filter(|zone| {
                record.name == zone.name || record.name.ends_with(&format!(".{}", zone.name))
            })
            .max_by_key(|zone| zone.name.len());
        zone.unwrap().records.push(record);
    }

    /// Adds a domain whose mail `who` takes at a host of its own, `mx.<domain>`, with the local parts
    /// of [`KNOWN`]; `tlsa` is the data of the host's TLSA records.
    pub(super) fn domain(
        &mut self,
        who: Who,
        domain: &str,
        shown: &Shown,
        offer: Offer,
        tlsa: &[String],
    ) {
        let name = format!("mx.{domain}");
        self.host(who, &name, shown, offer);
        self.tlsa(&name, tlsa);
        self.alias(who, domain, &name);
        self.plan_mut(who)
            .greylisted
            .push(format!("{GREYLISTED}@{domain}"));
    }

    /// Adds a host that takes no mail by itself.
    pub(super) fn host(&mut self, who: Who, name: &str, shown: &Shown, offer: Offer) {
        let address = self.address();
        self.publish(Record::address(name, address));
        self.plan_mut(who).hosts.push(Host {
            name: name.to_owned(),
            address,
            chain: shown.chain.clone(),
            key: shown.key.clone(),
            offer,
        });
    }

    /// TLSA records for the port of mail at a name.
    pub(super) fn tlsa(&mut self, name: &str, records: &[String]) {
        for data in records {
            self.publish(Record {
                name: format!("_25._tcp.{name}"),
                kind: "TLSA".into(),
                value: data.clone(),
            });
        }
    }

    /// Says in DNS that `domain` has a policy, which a host at `address` has.
    pub(super) fn policy(&mut self, domain: &str, address: Ipv4Addr, policy: Policy) {
        self.publish(Record::text(
            &format!("_mta-sts.{domain}"),
            "v=STSv1; id=1;",
        ));
        self.publish(Record::address(&format!("mta-sts.{domain}"), address));
        self.policies.push((domain.to_owned(), policy));
    }

    /// Mail for `domain` goes to a host of `who`, which knows its recipients.
    pub(super) fn alias(&mut self, who: Who, domain: &str, host: &str) {
        self.publish(Record::mail_exchanger(domain, host));
        self.plan_mut(who)
            .recipients
            .extend(KNOWN.map(|local| format!("{local}@{domain}")));
    }

    /// What a server is to be, with its name server.
    pub(super) fn plan(&self, who: Who, resolver: Ipv4Addr) -> Plan {
        let (_, plan) = self.plans.iter().find(|(known, _)| *known == who).unwrap();
        Plan {
            resolver,
            ..plan.clone()
        }
    }

    fn plan_mut(&mut self, who: Who) -> &mut Plan {
        let (_, plan) = self
            .plans
            .iter_mut()
            .find(|(known, _)| *known == who)
            .unwrap();
        plan
    }
}
