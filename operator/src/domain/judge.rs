//! What DNS shows of each record, by what the record does. Pure: what is still to be asked comes out.

mod egress;
mod policy;

use operator_api::{
    DnsRecordPurpose, DnsRecordRequirement, DnsRecordState, SendingDomain, SmtpRelay,
};

use super::dns::Progress;
use super::records::{Answer, Finding, Kind, Question, WantedRecord};
use super::spf::Answers;
use super::{bounces, dmarc, services, tags};
pub(super) use egress::Egress;

/// The remedy where there is a value.
const PUBLISH: &str = "publish the value in status.dnsRecords";

/// Longest foreign record that a value to publish is made of, in octets.
const LONGEST: usize = 2048;

/// What a record is judged by, besides DNS.
pub(super) struct Facts<'a> {
    pub(super) domain: &'a SendingDomain,
    pub(super) egress: Egress<'a>,
}

/// What can be said of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Found(Finding),
    /// DNS did not answer.
    Unknown,
    /// This has to be asked first.
    Needs(Question),
    /// It is not there, and nobody asks for it.
    Unwanted,
}

impl<'a> Facts<'a> {
    pub(super) fn new(domain: &'a SendingDomain, relay: Option<&'a SmtpRelay>) -> Self {
        Self {
            domain,
            egress: Egress::of(relay),
        }
    }

    /// Whether `answers` show the record.
    pub(super) fn judge(&self, wanted: &WantedRecord, answers: &Answers) -> Judgement {
        let texts = match answers.get(&wanted.question) {
            None => return Judgement::Needs(wanted.question.clone()),
            Some(Answer::Failed(_)) => return Judgement::Unknown,
            Some(Answer::None) => &[][..],
            Some(Answer::Records(texts)) => texts,
        };
        let simple = |judge: &dyn Fn() -> Finding| {
            Judgement::Found(if texts.is_empty() {
                Finding::missing()
            } else {
                judge()
            })
        };
        match wanted.purpose {
            DnsRecordPurpose::Dkim => simple(&|| tags::judge_dkim(texts, &wanted.value)),
            DnsRecordPurpose::ReturnPathMx => simple(&|| bounces::judge_mx(texts, &wanted.value)),
            DnsRecordPurpose::Spf => self.judge_spf(wanted, texts, answers),
            DnsRecordPurpose::ReturnPathSpf => self.judge_return_spf(wanted, texts, answers),
            DnsRecordPurpose::Dmarc => self.judge_dmarc(answers),
            DnsRecordPurpose::DmarcReports => simple(&|| policy::judge_reports(texts)),
            // Its policy is a file on the web, of which the spec says nothing.
            DnsRecordPurpose::MtaSts => optional(false, texts, services::mta_sts(texts)),
            DnsRecordPurpose::TlsReports => {
                let reports = self.tls_reports();
                let judged = services::tls_reports(texts, reports);
                optional(!reports.is_empty(), texts, judged)
            }
            DnsRecordPurpose::Bimi => self.judge_bimi(texts, answers),
        }
    }

    /// What has to be asked before every one of `wanted` can be judged.
    pub(super) fn needs(&self, wanted: &[WantedRecord], answers: &Answers) -> Vec<Question> {
        let judged = wanted
            .iter()
            .filter_map(|wanted| match self.judge(wanted, answers) {
                Judgement::Needs(question) => Some(question),
                _ => None,
            });
        let mut needs: Vec<Question> = judged.chain(self.strangers_need(answers)).collect();
        needs.sort();
        needs.dedup();
        needs
    }

    /// How far the records have come.
    pub(super) fn progress(&self, wanted: &[WantedRecord], answers: &Answers) -> Progress {
        let lacking = wanted
            .iter()
            .filter(|wanted| match self.judge(wanted, answers) {
                Judgement::Found(finding) => finding.state != DnsRecordState::Verified,
                Judgement::Unwanted => false,
                Judgement::Unknown | Judgement::Needs(_) => true,
            });
        let mut progress = Progress::Settled;
        for wanted in lacking {
            if wanted.requirement == DnsRecordRequirement::Required {
                return Progress::Open;
            }
            progress = Progress::Optional;
        }
        progress
    }

    /// Records besides those of keys and of the bounce domain, as far as `answers` tell.
    pub(super) fn others(&self, answers: &Answers) -> Vec<WantedRecord> {
        let name = &self.domain.spec.domain;
        let dns = self.domain.spec.dns.as_ref();
        let record = |name: String, purpose, requirement, value: String| WantedRecord {
            question: Question::new(&name, Kind::Txt),
            value,
            purpose,
            requirement,
        };
        let spf = self.egress.value(&[]);
        let spf_requirement = if self.egress.is_known() {
            DnsRecordRequirement::Required
        } else {
            DnsRecordRequirement::Recommended
        };
        let mut records = vec![
            record(name.clone(), DnsRecordPurpose::Spf, spf_requirement, spf),
            record(
                format!("_dmarc.{name}"),
                DnsRecordPurpose::Dmarc,
                DnsRecordRequirement::Recommended,
                self.dmarc_value(None, None),
            ),
        ];
        for receiver in self.strangers(answers).unwrap_or_default() {
            records.push(record(
                dmarc::report_name(&receiver.0, &receiver.1),
                DnsRecordPurpose::DmarcReports,
                DnsRecordRequirement::Recommended,
                "v=DMARC1".to_owned(),
            ));
        }
        let optional = DnsRecordRequirement::Optional;
        // Nobody asks for it, so that there is nothing to publish.
        records.push(record(
            format!("_mta-sts.{name}"),
            DnsRecordPurpose::MtaSts,
            optional,
            String::new(),
        ));
        let reports = match self.tls_reports() {
            [] => String::new(),
            reports => format!("v=TLSRPTv1; rua={}", reports.join(",")),
        };
        records.push(record(
            format!("_smtp._tls.{name}"),
            DnsRecordPurpose::TlsReports,
            optional,
            reports,
        ));
        if let Some(logo) = dns.and_then(|dns| dns.bimi_logo.as_ref()) {
            let value = format!("v=BIMI1; l={logo}");
            records.push(record(
                format!("default._bimi.{name}"),
                DnsRecordPurpose::Bimi,
                optional,
                value,
            ));
        }
        records
    }

    fn tls_reports(&self) -> &'a [String] {
        let dns = self.domain.spec.dns.as_ref();
        dns.map_or(&[], |dns| &dns.tls_reports)
    }
}

/// A record that a domain may do without: shown where it is published, or asked for.
fn optional(is_asked_for: bool, texts: &[String], judged: Option<Result<(), String>>) -> Judgement {
    match judged {
        None if is_asked_for => Judgement::Found(Finding::missing()),
        None => Judgement::Unwanted,
        Some(Ok(())) => Judgement::Found(match texts {
            [text] if is_presentable(text) => Finding::satisfied(Some(text)),
            _ => Finding::satisfied(None),
        }),
        Some(Err(fault)) => Judgement::Found(Finding::fault(DnsRecordState::Mismatch, fault)),
    }
}

/// Whether a foreign record may stand in a value to publish.
fn is_presentable(text: &str) -> bool {
    text.len() <= LONGEST
        && text
            .bytes()
            .all(|octet| octet == b' ' || octet.is_ascii_graphic())
}

#[cfg(test)]
mod tests;
