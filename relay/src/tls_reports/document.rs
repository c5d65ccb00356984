//! The report about one domain and day (RFC 8460 sections 4.4 and 5.1). Pure.

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp as Moment;
use relay_queue::Timestamp;
use serde::Serialize;

use super::results::{Day, Failure, Policies, Policy, Tally};

/// Who reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Submitter {
    /// Name of the organisation.
    pub(crate) organization: String,
    /// Whom to ask.
    pub(crate) contact: String,
    /// Domain that signs the report.
    pub(crate) domain: String,
}

/// A finished report.
#[derive(Debug)]
pub(crate) struct Document {
    /// The same whenever the report is made, so that one that arrives twice is known to be one.
    pub(crate) id: String,
    /// Name of the file in a mail.
    pub(crate) file: String,
    /// The JSON, compressed by gzip.
    pub(crate) gzip: Vec<u8>,
    /// Sessions in which the policy was kept to, and others.
    pub(crate) sessions: (u64, u64),
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::struct_field_names, reason = "the names of RFC 8460")]
struct Report<'a> {
    organization_name: &'a str,
    date_range: DateRange,
    contact_info: &'a str,
    report_id: &'a str,
    policies: Vec<Entry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct DateRange {
    start_datetime: String,
    end_datetime: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Entry<'a> {
    policy: &'a Policy,
    summary: Summary,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failure_details: Vec<Detail<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Summary {
    total_successful_session_count: u64,
    total_failure_session_count: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Detail<'a> {
    #[serde(flatten)]
    failure: &'a Failure,
    failed_session_count: u64,
}

/// Makes the report about `domain`.
pub(crate) fn build(
    submitter: &Submitter,
    domain: &str,
    day: Day,
    policies: &Policies,
) -> io::Result<Document> {
    let (start, last) = (day.start(), Timestamp(day.end().0 - 1000));
    let id = format!("{}.{domain}@{}", seconds(start), submitter.domain);
    let entries = policies.iter().map(|(policy, tally)| entry(policy, tally));
    let report = Report {
        organization_name: &submitter.organization,
        date_range: DateRange {
            start_datetime: rfc3339(start),
            end_datetime: rfc3339(last),
        },
        contact_info: &submitter.contact,
        report_id: &id,
        policies: entries.collect(),
    };
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&serde_json::to_vec(&report)?)?;
    let sum = |count: fn(&Tally) -> u64| policies.values().map(count).sum();
    Ok(Document {
        file: format!(
            "{}!{domain}!{}!{}.json.gz",
            submitter.domain,
            seconds(start),
            seconds(last)
        ),
        gzip: gzip.finish()?,
        sessions: (sum(|tally| tally.successful), sum(|tally| tally.failed)),
        id,
    })
}

fn entry<'a>(policy: &'a Policy, tally: &'a Tally) -> Entry<'a> {
    let details = tally.failures.iter().map(|(failure, count)| Detail {
        failure,
        failed_session_count: *count,
    });
    Entry {
        policy,
        summary: Summary {
            total_successful_session_count: tally.successful,
            total_failure_session_count: tally.failed,
        },
        failure_details: details.collect(),
    }
}

const fn seconds(at: Timestamp) -> u64 {
    at.0 / 1000
}

/// `2026-11-27T00:00:00Z`.
fn rfc3339(at: Timestamp) -> String {
    let seconds = i64::try_from(seconds(at)).unwrap_or_default();
    Moment::from_second(seconds).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests;
