//! From where mail of a relay leaves, and whether SPF records let it.

use std::net::IpAddr;

use operator_api::{DnsRecordState, SmtpRelay};

use super::{Facts, Judgement, LONGEST, PUBLISH};
use crate::domain::bounces;
use crate::domain::records::{Finding, WantedRecord};
use crate::domain::spf::{self, Answers, Outcome};

/// From where mail of a relay leaves: what its spec says, since a cluster cannot know by what addresses
/// others see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::domain) struct Egress<'a> {
    addresses: Vec<IpAddr>,
    includes: Vec<&'a str>,
    helo: &'a str,
}

impl<'a> Egress<'a> {
    pub(super) fn of(relay: Option<&'a SmtpRelay>) -> Self {
        let spec = relay.map(|relay| &relay.spec);
        let egress = spec.and_then(|spec| spec.egress.as_ref());
        let addresses = egress.iter().flat_map(|egress| &egress.addresses);
        let includes = egress.iter().flat_map(|egress| &egress.spf_includes);
        Self {
            // The schema lets nothing else pass.
            addresses: addresses.filter_map(|text| text.parse().ok()).collect(),
            includes: includes.map(String::as_str).collect(),
            helo: spec
                .and_then(|spec| spec.hostname.as_deref())
                .unwrap_or("unknown"),
        }
    }

    /// Whether anybody said from where mail leaves.
    pub(in crate::domain) fn is_known(&self) -> bool {
        !self.addresses.is_empty() || !self.includes.is_empty()
    }

    /// The record to publish where `texts` stand.
    pub(super) fn value(&self, texts: &[String]) -> String {
        spf::record_with(texts, &self.addresses, &self.includes)
    }

    /// What is not let through by the record at `name`, and why.
    fn refused(&self, name: &str, answers: &Answers) -> Result<Refused<'a>, Judgement> {
        let mut refused = Refused::default();
        for address in &self.addresses {
            let why = match spf::evaluate(*address, name, self.helo, answers) {
                Outcome::Pass => continue,
                Outcome::Needs(question) => return Err(Judgement::Needs(question)),
                Outcome::Temporary(_) => return Err(Judgement::Unknown),
                Outcome::Permanent(what) => {
                    refused.broken.get_or_insert(what);
                    refused.addresses.push(*address);
                    continue;
                }
                Outcome::Fail => "-",
                Outcome::SoftFail => "~",
                Outcome::Neutral | Outcome::None => "?",
            };
            refused.addresses.push(*address);
            refused.qualifier.get_or_insert(why);
        }
        for target in &self.includes {
            match spf::includes(name, target, answers) {
                Outcome::Pass => {}
                Outcome::Needs(question) => return Err(Judgement::Needs(question)),
                Outcome::Temporary(_) => return Err(Judgement::Unknown),
                Outcome::Permanent(what) => {
                    refused.broken.get_or_insert(what);
                    refused.includes.push(target);
                }
                _ => refused.includes.push(target),
            }
        }
        Ok(refused)
    }
}

/// What an SPF record does not let through.
#[derive(Default)]
struct Refused<'a> {
    addresses: Vec<IpAddr>,
    includes: Vec<&'a str>,
    /// Why the record cannot be evaluated.
    broken: Option<String>,
    qualifier: Option<&'static str>,
}

impl Refused<'_> {
    fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.includes.is_empty()
    }

    fn message(&self) -> String {
        if let Some(what) = &self.broken {
            return format!("cannot be evaluated, {what}");
        }
        if let Some(address) = self.addresses.first() {
            let qualifier = self.qualifier.unwrap_or("?");
            return format!("does not let {address} send ({qualifier})");
        }
        let include = self.includes.first().copied().unwrap_or_default();
        format!("does not include {include}")
    }
}

/// Adds the remedy to a fault: `value`, made of `records` and offered in the words of `publish`, unless that would
/// lose or break what the owner has.
fn offer(
    mut fault: Finding,
    name: &str,
    records: &[String],
    (publish, value): (&str, String),
    answers: &Answers,
) -> Judgement {
    let is_long = records.iter().any(|text| text.len() > LONGEST);
    let exceeds = match spf::exceeds(name, &value, answers) {
        Ok(exceeds) => exceeds,
        Err(question) => return Judgement::Needs(question),
    };
    let remedy = match (is_long, exceeds) {
        (true, _) => {
            "correct the record, which is too long for a value to be made of it".to_owned()
        }
        (_, true) => format!(
            "a record with all that is needed would ask DNS for more than {} terms, which is an error to receivers; \
             remove terms such as include",
            spf::MOST_LOOKUPS
        ),
        _ => publish.to_owned(),
    };
    let told = fault.message.unwrap_or_default();
    fault.message = Some(format!("{told}; {remedy}"));
    let is_good = !is_long && !exceeds;
    Judgement::Found(fault.publishing(if is_good { value } else { String::new() }))
}

impl Facts<'_> {
    /// The domain's own record. While nobody knows from where mail leaves, only what is wrong in itself is
    /// told.
    pub(super) fn judge_spf(
        &self,
        wanted: &WantedRecord,
        texts: &[String],
        answers: &Answers,
    ) -> Judgement {
        let records: Vec<String> = texts
            .iter()
            .filter(|text| spf::is_spf(text))
            .cloned()
            .collect();
        let name = &wanted.question.name;
        if records.len() > 1 {
            let what = "is there several times, which receivers take for an error";
            let fault = Finding::fault(DnsRecordState::Conflict, what);
            let publish = "leave one, the value in status.dnsRecords";
            let value = self.egress.value(&records);
            return offer(fault, name, &records, (publish, value), answers);
        }
        if !self.egress.is_known() {
            return self.judge_unknown(name, &records, answers);
        }
        if records.is_empty() {
            return Judgement::Found(Finding::missing());
        }
        let refused = match self.egress.refused(name, answers) {
            Ok(refused) => refused,
            Err(judgement) => return judgement,
        };
        if refused.is_empty() {
            let existing = records.first().filter(|text| text.len() <= LONGEST);
            let finding = Finding::satisfied(existing.map(String::as_str));
            return Judgement::Found(finding);
        }
        let value = spf::record_with(&records, &refused.addresses, &refused.includes);
        let fault = Finding::fault(DnsRecordState::Mismatch, refused.message());
        offer(fault, name, &records, (PUBLISH, value), answers)
    }

    /// Nothing is asked for it: terms that nobody can read are told of.
    fn judge_unknown(&self, name: &str, records: &[String], answers: &Answers) -> Judgement {
        let Some(text) = records.first() else {
            return Judgement::Unwanted;
        };
        match spf::check_syntax(text, name) {
            Ok(()) => Judgement::Unwanted,
            Err(what) => {
                let message = format!("cannot be evaluated, {what}");
                let fault = Finding::fault(DnsRecordState::Mismatch, message);
                let value = self.egress.value(records);
                offer(fault, name, records, (PUBLISH, value), answers)
            }
        }
    }

    /// That of the bounce domain. A record that does as the sending domain's does is right: what that one
    /// lacks is told of there.
    pub(super) fn judge_return_spf(
        &self,
        wanted: &WantedRecord,
        texts: &[String],
        answers: &Answers,
    ) -> Judgement {
        let basic = bounces::judge_spf(texts);
        if basic.state != DnsRecordState::Verified || !self.egress.is_known() {
            return Judgement::Found(basic);
        }
        let follows = texts
            .iter()
            .any(|text| text.trim().eq_ignore_ascii_case(&wanted.value));
        if follows {
            return Judgement::Found(basic);
        }
        let own = WantedRecord {
            value: String::new(),
            ..wanted.clone()
        };
        self.judge_spf(&own, texts, answers)
    }
}
