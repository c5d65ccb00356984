//! What is to be published, what stays, and what goes. Pure.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use operator_api::{
    DnsRecord, DnsRecordPurpose, DnsRecordState, Publication, PublishedKind, PublishedRecord,
    Rfc2136, SendingDomain,
};

use super::{former, rfc2136, setting};
use crate::domain::records::{Answer, Question, WantedRecord};
use crate::domain::spf::{self, Answers};

/// Time to live of records whose setting names none.
const TTL: u32 = 300;

/// A record to publish.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::domain) struct Item {
    pub(super) question: Question,
    pub(super) value: String,
    pub(super) purpose: DnsRecordPurpose,
    pub(super) hold: Hold,
    /// Whether DNS shows it, or another that does the same.
    pub(super) is_shown: bool,
}

/// What may be done to records that stand in the place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Hold {
    /// The record is there for the relay alone: what the operator put there may go.
    Ours,
    /// It says that a key is revoked: every key that stands there may go, since the spec names the selector.
    Revoked,
    /// The owner's, who wants it replaced: these may go, and nothing may go when others stand there.
    Owners(Vec<String>),
}

/// What to do.
#[derive(Clone, Debug, Default)]
pub(in crate::domain) struct Planned {
    /// Records that are to stand there.
    pub(super) records: Vec<Item>,
    /// Records of ours that go.
    pub(super) gone: Vec<PublishedRecord>,
    /// Records of ours that nothing needs any more but that stay for a while.
    pub(super) stay: Vec<PublishedRecord>,
    /// What the status says until something was done.
    pub(super) kept: Option<Publication>,
    /// Time to live, in seconds.
    pub(super) ttl: u32,
    /// Whether anything may be changed now.
    pub(super) is_open: bool,
    /// Whether it goes to external-dns.
    pub(super) is_handed_over: bool,
    /// Records that stay in a zone that is not written to any more.
    pub(super) left: Option<String>,
}

/// What a plan is made of.
pub(in crate::domain) struct Facts<'a> {
    pub(in crate::domain) domain: &'a SendingDomain,
    /// Records by what they are for.
    pub(in crate::domain) wanted: Vec<WantedRecord>,
    /// The same as the status shows them.
    pub(in crate::domain) shown: &'a [DnsRecord],
    pub(in crate::domain) answers: &'a Answers,
    /// Selectors of keys that go now, since no mail of theirs can be on its way.
    pub(in crate::domain) removed: BTreeSet<String>,
    /// How long mail may be on its way.
    pub(in crate::domain) retirement: SignedDuration,
    /// Whether the domain is the object's and its keys are known.
    pub(in crate::domain) is_open: bool,
}

impl Item {
    /// As the status has it.
    pub(super) fn record(&self) -> PublishedRecord {
        PublishedRecord {
            name: self.question.name.clone(),
            r#type: self.question.kind.name().to_owned(),
            value: self.value.clone(),
            unneeded_since: None,
        }
    }

    fn is(&self, record: &PublishedRecord) -> bool {
        self.is_at(record) && self.value == record.value
    }

    /// Whether both have the same name and type.
    pub(super) fn is_at(&self, record: &PublishedRecord) -> bool {
        self.question.name == record.name && self.question.kind.name() == record.r#type
    }
}

impl Planned {
    /// Whether DNS shows all of it.
    pub(super) fn is_shown(&self) -> bool {
        self.gone.is_empty() && self.records.iter().all(|item| item.is_shown)
    }

    /// What is remembered once external-dns has it; records of a zone that was written to before as well, which go
    /// with the domain.
    pub(super) fn handed_over(&self) -> Vec<PublishedRecord> {
        let items = self.records.iter().map(Item::record);
        let was_written = self.kept.iter().any(|kept| kept.rfc2136.is_some());
        let gone = self.gone.iter().filter(|_| was_written);
        items.chain(self.stay.iter().chain(gone).cloned()).collect()
    }

    /// Whether there is nothing to do and nothing to find out.
    pub(super) fn is_settled(&self) -> bool {
        let known = self.kept.iter().flat_map(|kept| &kept.records);
        let is_known =
            |item: &Item| item.hold != Hold::Ours || known.clone().any(|record| item.is(record));
        self.is_shown() && self.records.iter().all(is_known)
    }
}

/// The zone that is written to.
pub(super) fn zone(domain: &SendingDomain, target: &Rfc2136) -> String {
    let zone = target.zone.as_ref();
    zone.unwrap_or(&domain.spec.domain).clone()
}

pub(in crate::domain) fn plan(facts: &Facts<'_>, now: Timestamp) -> Planned {
    let domain = facts.domain;
    let kept = former(domain).cloned();
    let Some(setting) = setting(domain).filter(|_| facts.is_open) else {
        return Planned {
            kept: kept.map(|kept| without_endpoint(domain, kept)),
            ..Planned::default()
        };
    };
    let chosen = setting.records.clone();
    let chosen = chosen.unwrap_or_else(|| vec![PublishedKind::Dkim, PublishedKind::ReturnPath]);
    let is_handed_over = setting.external_dns.is_some();
    let records = items(facts, &chosen, is_handed_over);
    let (kept, left) = same_zone(domain, kept);
    let known = kept.iter().flat_map(|kept| kept.records.clone());
    let unneeded = known.filter(|record| !records.iter().any(|item| item.is(record)));
    let (gone, stay) = unneeded
        .map(|record| dated(record, facts, &chosen, now))
        .partition(|record| is_due(record, facts.retirement, now));
    let mut planned = Planned {
        records,
        gone,
        stay,
        kept,
        ttl: setting.ttl.as_deref().map_or(TTL, seconds),
        is_open: true,
        is_handed_over,
        left,
    };
    planned.remember();
    planned
}

impl Planned {
    /// What is known of records that are not needed, also should nothing come of the plan.
    fn remember(&mut self) {
        let Some(kept) = &mut self.kept else { return };
        let items = &self.records;
        kept.records
            .retain(|record| items.iter().any(|item| item.is(record)));
        let unneeded = self.stay.iter().chain(&self.gone);
        kept.records.extend(unneeded.cloned());
    }
}

/// Once nothing is handed over there is no DNSEndpoint, and its records are not the operator's.
fn without_endpoint(domain: &SendingDomain, mut kept: Publication) -> Publication {
    let handed = setting(domain).is_some_and(|setting| setting.external_dns.is_some());
    if !handed && kept.dns_endpoint.take().is_some() && kept.rfc2136.is_none() {
        kept.records.clear();
    }
    kept
}

/// Records in another zone than that which the spec names stay there: to take them away could leave mail without
/// them.
fn same_zone(
    domain: &SendingDomain,
    kept: Option<Publication>,
) -> (Option<Publication>, Option<String>) {
    let Some(mut kept) = kept.map(|kept| without_endpoint(domain, kept)) else {
        return (None, None);
    };
    let (Some(target), Some(before)) = (rfc2136(domain), &kept.rfc2136) else {
        return (Some(kept), None);
    };
    let before = zone(domain, before);
    if before == zone(domain, target) || kept.records.is_empty() {
        return (Some(kept), None);
    }
    let names: Vec<&str> = kept
        .records
        .iter()
        .map(|record| record.name.as_str())
        .collect();
    let left = format!(
        "records stay in zone {before}, which spec.dns.publish.rfc2136 does not name any more; remove them there \
         once nobody needs them: {}",
        names.join(", ")
    );
    kept.records.clear();
    (Some(kept), Some(left))
}

fn items(facts: &Facts<'_>, chosen: &[PublishedKind], is_handed_over: bool) -> Vec<Item> {
    let wanted = facts.wanted.iter().filter_map(|wanted| {
        let kind = kind(wanted.purpose)?;
        let shown = facts.shown.iter().find(|record| {
            (&record.name, record.purpose) == (&wanted.question.name, wanted.purpose)
        });
        if !chosen.contains(&kind) {
            return None;
        }
        let is_shown = shown.is_some_and(|record| record.state == DnsRecordState::Verified);
        let item = |value: &str, hold| Item {
            question: wanted.question.clone(),
            value: value.to_owned(),
            purpose: wanted.purpose,
            hold,
            is_shown,
        };
        match kind {
            PublishedKind::Dkim if wanted.is_revocation() => {
                Some(item(&wanted.value, Hold::Revoked))
            }
            PublishedKind::Dkim | PublishedKind::ReturnPath => {
                Some(item(&wanted.value, Hold::Ours))
            }
            _ => {
                let value = &shown.filter(|record| !record.value.is_empty())?.value;
                // What external-dns is not told of any more, it removes.
                let is_wrong = matches!(
                    shown?.state,
                    DnsRecordState::Missing | DnsRecordState::Mismatch | DnsRecordState::Conflict
                );
                let seen = texts(facts.answers, &wanted.question, wanted.purpose);
                (is_wrong || is_handed_over).then(|| item(value, Hold::Owners(seen)))
            }
        }
    });
    wanted.collect()
}

/// What DNS has at the name that is a record of the purpose.
fn texts(answers: &Answers, question: &Question, purpose: DnsRecordPurpose) -> Vec<String> {
    match answers.get(question) {
        Some(Answer::Records(texts)) => {
            let mut texts: Vec<String> = texts
                .iter()
                .filter(|text| concerns(purpose, text))
                .cloned()
                .collect();
            texts.sort();
            texts
        }
        _ => Vec::new(),
    }
}

/// Whether a record at the name is one of the purpose, of which there must be only one.
pub(super) fn concerns(purpose: DnsRecordPurpose, text: &str) -> bool {
    let begins = |tag: &str| {
        let start = text.trim_start().get(..tag.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(tag))
    };
    match purpose {
        DnsRecordPurpose::Spf | DnsRecordPurpose::ReturnPathSpf => spf::is_spf(text),
        DnsRecordPurpose::Dmarc | DnsRecordPurpose::DmarcReports => begins("v=DMARC1"),
        DnsRecordPurpose::TlsReports => begins("v=TLSRPTv1"),
        DnsRecordPurpose::MtaSts => begins("v=STSv1"),
        DnsRecordPurpose::Bimi => begins("v=BIMI1"),
        DnsRecordPurpose::Dkim | DnsRecordPurpose::ReturnPathMx => true,
    }
}

const fn kind(purpose: DnsRecordPurpose) -> Option<PublishedKind> {
    match purpose {
        DnsRecordPurpose::Dkim => Some(PublishedKind::Dkim),
        DnsRecordPurpose::ReturnPathMx | DnsRecordPurpose::ReturnPathSpf => {
            Some(PublishedKind::ReturnPath)
        }
        DnsRecordPurpose::Spf => Some(PublishedKind::Spf),
        DnsRecordPurpose::Dmarc => Some(PublishedKind::Dmarc),
        DnsRecordPurpose::TlsReports => Some(PublishedKind::TlsReports),
        DnsRecordPurpose::Bimi => Some(PublishedKind::Bimi),
        // The first lies in another's zone, the second announces a file of which nothing is known.
        DnsRecordPurpose::DmarcReports | DnsRecordPurpose::MtaSts => None,
    }
}

/// A key may be gone because its Secret was lost, and mail that it signed is on its way all the same; where that
/// is not so, the record counts as unneeded for long.
fn dated(
    mut record: PublishedRecord,
    facts: &Facts<'_>,
    chosen: &[PublishedKind],
    now: Timestamp,
) -> PublishedRecord {
    let selector = record
        .name
        .strip_suffix(&format!("._domainkey.{}", facts.domain.spec.domain));
    let is_key = selector.is_some() && chosen.contains(&PublishedKind::Dkim);
    let is_over = selector.is_some_and(|selector| facts.removed.contains(selector))
        || record.value == WantedRecord::REVOKED;
    if is_key && !is_over {
        record.unneeded_since.get_or_insert(Time(now));
    } else {
        let since = now.checked_sub(facts.retirement).unwrap_or(now);
        record.unneeded_since = Some(Time(since));
    }
    record
}

fn is_due(record: &PublishedRecord, retirement: SignedDuration, now: Timestamp) -> bool {
    let since = record.unneeded_since.as_ref();
    since.is_some_and(|since| now.duration_since(since.0) >= retirement)
}

/// What the schema lets pass can be read.
fn seconds(text: &str) -> u32 {
    let duration: Result<relay_config::Duration, _> = text.parse();
    duration.map_or(TTL, |duration| {
        u32::try_from(duration.get().as_secs())
            .unwrap_or(u32::MAX)
            .max(1)
    })
}

#[cfg(test)]
mod tests;
