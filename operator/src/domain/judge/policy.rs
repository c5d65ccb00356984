//! What receivers are asked to do with mail that proves nothing (RFC 9989), and to show with mail that does.

use operator_api::{DmarcPolicy, DnsRecordState};

use super::{Facts, Judgement, PUBLISH, is_presentable, optional};
use crate::domain::dmarc::{self, Applies, Found, Policy, Says, Stop};
use crate::domain::records::Finding;
use crate::domain::spf::Answers;
use crate::domain::{services, tags};

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
    let mut texts = texts.iter();
    if texts.any(|text| tags::is_version(text, dmarc::VERSION)) {
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
            let fault = Finding::fault(DnsRecordState::Conflict, message);
            return Judgement::Found(fault.publishing_nothing());
        }
        let Some(applies) = applies else {
            return Judgement::Found(Finding::missing());
        };
        let says = dmarc::policy(&applies, name);
        let existing = (applies.at == *name).then_some(applies.text.as_str());
        let Some(what) = self.dmarc_fault(&applies, &says) else {
            let message = says.ok().and_then(|says| self.remark(&applies, says));
            return Judgement::Found(Finding {
                message,
                ..Finding::satisfied(existing.filter(|text| is_presentable(text)))
            });
        };
        let state = existing.map_or(DnsRecordState::Missing, |_| DnsRecordState::Mismatch);
        let finding = if existing.is_none_or(is_presentable) {
            let value = self.dmarc_value(existing, says.ok());
            Finding::fault(state, format!("{what}; {PUBLISH}")).publishing(value)
        } else {
            Finding::fault(state, format!("{what}; correct the record")).publishing_nothing()
        };
        Judgement::Found(finding)
    }

    /// What the record that applies lacks.
    fn dmarc_fault(&self, applies: &Applies, says: &Result<Says, String>) -> Option<String> {
        let says = match says {
            Ok(says) => says,
            Err(what) => return Some(what.clone()),
        };
        let wanted = self.dmarc_policy();
        if let Some(wanted) = wanted.filter(|wanted| says.effective() < *wanted) {
            let wanted = wanted.word();
            return Some(format!(
                "says {says}, and spec.dns.dmarc.policy asks for {wanted}"
            ));
        }
        let address = dmarc::lacks(&applies.text, self.dmarc_reports())?;
        Some(format!(
            "sends no reports to {address} of spec.dns.dmarc.reports"
        ))
    }

    /// What to know of a record that is right. DKIM signatures are always aligned: they are of the very
    /// domain of From.
    fn remark(&self, applies: &Applies, says: Says) -> Option<String> {
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
                "is not needed: that of {} applies, with {says}",
                applies.at
            ));
        }
        if says.is_testing && says.policy != Policy::None {
            return Some(format!(
                "says {says}; remove t=y once reports show that all mail of the domain is signed"
            ));
        }
        (says.policy == Policy::None).then(|| {
            "says p=none, which only watches; go on to quarantine and reject once reports show that all mail \
             of the domain is signed"
                .to_owned()
        })
    }

    /// A logo is shown only with a policy that acts.
    pub(super) fn judge_bimi(&self, texts: &[String], answers: &Answers) -> Judgement {
        let dns = self.domain.spec.dns.as_ref();
        let logo = dns.and_then(|dns| dns.bimi_logo.as_deref());
        let name = &self.domain.spec.domain;
        let judged = optional(logo.is_some(), texts, services::bimi(texts, logo));
        let Judgement::Found(mut finding) = judged else {
            return judged;
        };
        if finding.state == DnsRecordState::Verified {
            let applies = match dmarc::applies(name, answers) {
                Ok(applies) => applies,
                Err(stop) => return stop.into(),
            };
            let says = applies.and_then(|applies| dmarc::policy(&applies, name).ok());
            if says.is_none_or(|says| says.effective() == Policy::None) {
                let message = "has no effect: logos are shown only with a DMARC policy of quarantine or reject";
                finding.message = Some(message.to_owned());
            }
        }
        Judgement::Found(finding)
    }

    /// Domain of the applying record, and domains of others that it sends reports to.
    pub(super) fn strangers(&self, answers: &Answers) -> Result<Vec<(String, String)>, Stop> {
        let found = dmarc::applies(&self.domain.spec.domain, answers)?;
        let Some(applies) = found else {
            return Ok(Vec::new());
        };
        let strangers = dmarc::strangers(&applies, answers)?.into_iter();
        Ok(strangers.map(|host| (applies.at.clone(), host)).collect())
    }

    /// Whether it can be told who gets reports.
    pub(in crate::domain) fn knows_strangers(&self, answers: &Answers) -> bool {
        self.strangers(answers).is_ok()
    }

    /// What has to be asked to know who gets reports.
    pub(super) fn strangers_need(&self, answers: &Answers) -> Option<super::Question> {
        match self.strangers(answers) {
            Err(Stop::Needs(question)) => Some(question),
            _ => None,
        }
    }

    /// The record to publish where `existing` stands, or none of the domain's own, and `says` is what
    /// applies: never less strict than that.
    pub(super) fn dmarc_value(&self, existing: Option<&str>, says: Option<Says>) -> String {
        dmarc::record_with(existing, says, self.dmarc_policy(), self.dmarc_reports())
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
