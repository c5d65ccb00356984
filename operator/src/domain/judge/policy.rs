//! What receivers are asked to do with mail that proves nothing (RFC 9989), and to show with mail that does.

use operator_api::{DmarcPolicy, DnsRecordState};

use super::{Facts, Judgement, is_presentable, optional};
use crate::domain::dmarc::{self, Applies, Found, Policy, Stop};
use crate::domain::records::{Finding, WantedRecord};
use crate::domain::services;
use crate::domain::spf::Answers;

impl From<Stop> for Judgement {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Needs(question) => Self::Needs(question),
            Stop::Unknown => Self::Unknown,
        }
    }
}

/// The record says that its domain wants reports.
pub(super) fn judge_reports(texts: &[String]) -> Finding {
    let wants = |text: &String| {
        let first = text.split(';').next().unwrap_or_default();
        first.split_whitespace().collect::<String>() == "v=DMARC1"
    };
    if texts.iter().any(wants) {
        return Finding::verified();
    }
    Finding::fault(
        DnsRecordState::Mismatch,
        "does not say that reports are wanted, so none are sent there; publish the value in status.dnsRecords",
    )
}

impl Facts<'_> {
    pub(super) fn judge_dmarc(&self, answers: &Answers) -> Judgement {
        let name = &self.domain.spec.domain;
        let (own, applies) = match (dmarc::at(name, answers), dmarc::applies(name, answers)) {
            (Ok(own), Ok(applies)) => (own, applies),
            (Err(stop), _) | (_, Err(stop)) => return stop.into(),
        };
        if own == Found::Several {
            let message = "is there several times, which counts as none; leave one";
            return Judgement::Found(Finding::fault(DnsRecordState::Conflict, message));
        }
        let Some(applies) = applies else {
            return Judgement::Found(Finding::missing());
        };
        let existing = (applies.at == *name).then_some(applies.text.as_str());
        let value = self.dmarc_value(existing.filter(|text| is_presentable(text)));
        let state = existing.map_or(DnsRecordState::Missing, |_| DnsRecordState::Mismatch);
        let fault = |message: String| {
            Judgement::Found(Finding::fault(state, message).publishing(value.clone()))
        };
        let policy = match dmarc::policy(&applies, name) {
            Ok(policy) => policy,
            Err(what) => return fault(format!("{what}; publish the value in status.dnsRecords")),
        };
        if let Some(wanted) = self.dmarc_policy().filter(|wanted| policy < *wanted) {
            return fault(format!(
                "says p={}, and spec.dns.dmarc.policy asks for {}; publish the value in status.dnsRecords",
                policy.word(),
                wanted.word()
            ));
        }
        if let Some(address) = dmarc::lacks(&applies.text, self.dmarc_reports()) {
            return fault(format!(
                "sends no reports to {address} of spec.dns.dmarc.reports; publish the value in status.dnsRecords"
            ));
        }
        let value = existing
            .filter(|text| is_presentable(text))
            .map(str::to_owned);
        Judgement::Found(Finding {
            message: self.remark(&applies, policy),
            value,
            ..Finding::verified()
        })
    }

    /// What to know of a record that is right. DKIM signatures are always aligned: they are of the very
    /// domain of From.
    fn remark(&self, applies: &Applies, policy: Policy) -> Option<String> {
        let name = &self.domain.spec.domain;
        let bounces = self.domain.spec.bounces.as_ref();
        let paths = bounces.and_then(|bounces| {
            let of_address = || {
                bounces
                    .address
                    .as_deref()?
                    .rsplit_once('@')
                    .map(|(_, host)| host)
            };
            bounces.domain.as_deref().or_else(of_address)
        });
        let elsewhere = paths.filter(|paths| paths != name);
        if let Some(paths) = elsewhere.filter(|_| dmarc::is_strict_spf(&applies.text)) {
            return Some(format!(
                "has aspf=s, with which SPF does not count for return paths at {paths}; DKIM does"
            ));
        }
        if applies.at != *name {
            return Some(format!(
                "is not needed: that of {} applies, with p={}",
                applies.at,
                policy.word()
            ));
        }
        (policy == Policy::None).then(|| {
            "says p=none, which only watches; go on to quarantine and reject once reports show that all mail \
             of the domain is signed"
                .to_owned()
        })
    }

    /// A logo is shown only with a policy that acts.
    pub(super) fn judge_bimi(
        &self,
        wanted: &WantedRecord,
        texts: &[String],
        answers: &Answers,
    ) -> Judgement {
        let dns = self.domain.spec.dns.as_ref();
        let logo = dns.and_then(|dns| dns.bimi_logo.as_deref());
        let name = &self.domain.spec.domain;
        let judged = optional(wanted, texts, services::bimi(texts, logo));
        let Judgement::Found(mut finding) = judged else {
            return judged;
        };
        if finding.state == DnsRecordState::Verified {
            let applies = match dmarc::applies(name, answers) {
                Ok(applies) => applies,
                Err(stop) => return stop.into(),
            };
            let policy = applies.map(|applies| dmarc::policy(&applies, name));
            if !matches!(policy, Some(Ok(Policy::Quarantine | Policy::Reject))) {
                let message = "has no effect: logos are shown only with a DMARC policy of quarantine or reject";
                finding.message = Some(message.to_owned());
            }
        }
        Judgement::Found(finding)
    }

    /// Domain of the applying record, and domains of others that it sends reports to.
    pub(super) fn strangers(&self, answers: &Answers) -> Vec<(String, String)> {
        let found = dmarc::applies(&self.domain.spec.domain, answers);
        let Ok(Some(applies)) = found else {
            return Vec::new();
        };
        let strangers = dmarc::strangers(&applies, answers).unwrap_or_default();
        strangers
            .into_iter()
            .map(|host| (applies.at.clone(), host))
            .collect()
    }

    /// What has to be asked to know who gets reports.
    pub(super) fn strangers_need(&self, answers: &Answers) -> Option<super::Question> {
        let applies = dmarc::applies(&self.domain.spec.domain, answers).ok()??;
        match dmarc::strangers(&applies, answers) {
            Err(Stop::Needs(question)) => Some(question),
            _ => None,
        }
    }

    pub(super) fn dmarc_value(&self, existing: Option<&str>) -> String {
        let before = existing.map(|text| {
            let at = self.domain.spec.domain.clone();
            let text = text.to_owned();
            dmarc::policy(&Applies { at, text }, &self.domain.spec.domain)
        });
        let before = before.and_then(Result::ok);
        let policy = self.dmarc_policy().max(before).unwrap_or(Policy::None);
        dmarc::record_with(existing, policy, self.dmarc_reports())
    }

    fn dmarc_policy(&self) -> Option<Policy> {
        let dns = self.domain.spec.dns.as_ref()?;
        Some(match dns.dmarc.as_ref()?.policy? {
            DmarcPolicy::None => Policy::None,
            DmarcPolicy::Quarantine => Policy::Quarantine,
            DmarcPolicy::Reject => Policy::Reject,
        })
    }

    fn dmarc_reports(&self) -> &[String] {
        let dns = self.domain.spec.dns.as_ref();
        let dmarc = dns.and_then(|dns| dns.dmarc.as_ref());
        dmarc.map_or(&[], |dmarc| &dmarc.reports)
    }
}
