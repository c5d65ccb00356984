//! DMARC records: which one applies to a domain, what it says, and who may be sent reports (RFC 9989,
//! RFC 9990). Pure: answers of DNS go in, and what is still to be asked comes out.
//!
//! The domain of an organisation is found by walking up the tree, and not by a list of public suffixes:
//! that is how RFC 9989 section 4.10 has it.

use std::fmt;

use super::records::{Answer, Kind, Question};
use super::spf::Answers;
use super::tags::{Tags, is_version};

/// Labels of the longest name that is asked after the domain itself (RFC 9989 section 4.10).
const MOST_LABELS: usize = 7;
/// Receivers of reports that are looked at.
const MOST_RECEIVERS: usize = 8;

/// With which a record begins.
pub(super) const VERSION: &str = "DMARC1";

/// Why something cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// This has to be asked first.
    Needs(Question),
    /// DNS did not answer.
    Unknown,
}

/// What receivers do with mail that proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Policy {
    None,
    Quarantine,
    Reject,
}

impl Policy {
    /// As in `p=`.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }

    fn read(text: &str) -> Option<Self> {
        let policies = [Self::None, Self::Quarantine, Self::Reject];
        policies
            .into_iter()
            .find(|policy| policy.word().eq_ignore_ascii_case(text))
    }
}

/// What stands at `_dmarc.` of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    One(String),
    Several,
}

/// The record that applies to a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Applies {
    /// Domain whose record it is: the domain itself or one above it.
    pub(super) at: String,
    pub(super) text: String,
}

/// What stands at `_dmarc.` of `domain`.
pub(super) fn at(domain: &str, answers: &Answers) -> Result<Found, Stop> {
    let question = Question::new(&format!("_dmarc.{domain}"), Kind::Txt);
    let texts = match answers.get(&question) {
        None => return Err(Stop::Needs(question)),
        Some(Answer::Failed(_)) => return Err(Stop::Unknown),
        Some(Answer::None) => return Ok(Found::Nothing),
        Some(Answer::Records(texts)) => texts,
    };
    // Section 4.7: the version comes first, and in upper case.
    let mut records = texts.iter().filter(|text| is_version(text, VERSION));
    Ok(match (records.next(), records.next()) {
        (None, _) => Found::Nothing,
        (Some(text), None) => Found::One(text.clone()),
        (Some(_), Some(_)) => Found::Several,
    })
}

/// The record that applies to `domain`: its own, or else that of its organisation, or else that of the
/// public suffix.
pub(super) fn applies(domain: &str, answers: &Answers) -> Result<Option<Applies>, Stop> {
    if let Found::One(text) = at(domain, answers)? {
        let at = domain.to_owned();
        return Ok(Some(Applies { at, text }));
    }
    let organisation = organisation(domain, answers)?;
    let found = walk(domain, answers)?;
    let of_organisation = found.iter().find(|one| one.at == organisation);
    let of_suffix = || found.iter().find(|one| psd(&one.text) == Some('y'));
    Ok(of_organisation.or_else(of_suffix).cloned())
}

/// The domain of the organisation that `domain` belongs to (section 4.10.2).
pub(super) fn organisation(domain: &str, answers: &Answers) -> Result<String, Stop> {
    let found = walk(domain, answers)?;
    let Some(last) = found.last() else {
        return Ok(domain.to_owned());
    };
    // A public suffix has organisations right below it.
    if psd(&last.text) == Some('y') && last.at != domain {
        let below = domain.strip_suffix(&last.at).unwrap_or_default();
        let below = below.trim_end_matches('.');
        let label = below.rsplit('.').next().unwrap_or_default();
        return Ok(format!("{label}.{}", last.at));
    }
    Ok(last.at.clone())
}

/// Records from the domain upwards, until one says where to stop (section 4.10).
fn walk(domain: &str, answers: &Answers) -> Result<Vec<Applies>, Stop> {
    let mut found = Vec::new();
    let labels: Vec<&str> = domain.split('.').collect();
    let parents = 1.max(labels.len().saturating_sub(MOST_LABELS))..labels.len();
    let parents = parents.map(|first| labels[first..].join("."));
    for name in std::iter::once(domain.to_owned()).chain(parents) {
        let Found::One(text) = at(&name, answers)? else {
            continue;
        };
        let stops = match psd(&text) {
            Some('n') => true,
            Some('y') => name != domain,
            _ => false,
        };
        found.push(Applies { at: name, text });
        if stops {
            break;
        }
    }
    Ok(found)
}

/// Whether a record is that of a public suffix (`y`), of an organisation (`n`), or does not say.
fn psd(text: &str) -> Option<char> {
    let tags = Tags::parse_leniently(text)?;
    tags.get("psd")?
        .chars()
        .next()
        .map(|it| it.to_ascii_lowercase())
}

/// What a record says of mail from a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Says {
    /// As it stands there.
    pub(super) policy: Policy,
    /// `t=y`: receivers act a level lower (section 4.7).
    pub(super) is_testing: bool,
}

impl Says {
    /// By what receivers act.
    pub(super) const fn effective(self) -> Policy {
        match (self.policy, self.is_testing) {
            (policy, false) => policy,
            (Policy::Reject, true) => Policy::Quarantine,
            (Policy::Quarantine | Policy::None, true) => Policy::None,
        }
    }
}

/// For messages.
impl fmt::Display for Says {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "p={}", self.policy.word())?;
        if self.is_testing {
            let effective = self.effective().word();
            write!(formatter, " and t=y, which counts as p={effective}")?;
        }
        Ok(())
    }
}

/// What a record says of mail from `domain`; a record without a policy says `none` (section 4.7).
pub(super) fn policy(record: &Applies, domain: &str) -> Result<Says, String> {
    let tags = Tags::parse_leniently(&record.text).ok_or_else(|| "has a tag twice".to_owned())?;
    let is_testing = tags.get("t").is_some_and(|it| it.eq_ignore_ascii_case("y"));
    let says = |policy| Says { policy, is_testing };
    let inherited = (record.at != domain).then(|| tags.get("sp")).flatten();
    let Some(text) = inherited.or_else(|| tags.get("p")) else {
        return Ok(says(Policy::None));
    };
    Policy::read(text).map(says).ok_or_else(|| {
        let text: String = text
            .chars()
            .filter(|one| !one.is_control())
            .take(40)
            .collect();
        format!("has p={text}; p is none, quarantine or reject")
    })
}

/// Whether SPF counts only for the very domain of From (`aspf=s`).
pub(super) fn is_strict_spf(text: &str) -> bool {
    Tags::parse_leniently(text).is_some_and(|tags| {
        tags.get("aspf")
            .is_some_and(|it| it.eq_ignore_ascii_case("s"))
    })
}

/// Domains that get reports by mail, in order, each once.
fn receivers(text: &str) -> Vec<String> {
    let Some(tags) = Tags::parse_leniently(text) else {
        return Vec::new();
    };
    let lists = ["rua", "ruf"].into_iter().filter_map(|tag| tags.get(tag));
    let hosts = lists.flat_map(|list| list.split(',')).filter_map(|uri| {
        let uri = uri.trim();
        let scheme = uri.get(..7)?;
        // What follows ! is a size.
        let address = uri[7..].split('!').next()?;
        let host = address
            .rsplit_once('@')?
            .1
            .trim_end_matches('.')
            .to_ascii_lowercase();
        let plain = host
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || b".-_".contains(&octet));
        (scheme.eq_ignore_ascii_case("mailto:") && plain && host.contains('.')).then_some(host)
    });
    let mut distinct: Vec<String> = Vec::new();
    for host in hosts {
        if !distinct.contains(&host) && distinct.len() < MOST_RECEIVERS {
            distinct.push(host);
        }
    }
    distinct
}

/// Domains of others that a record sends reports to, and that have to say that they want them (RFC 9990
/// section 4).
pub(super) fn strangers(record: &Applies, answers: &Answers) -> Result<Vec<String>, Stop> {
    let own = organisation(&record.at, answers)?;
    let mut strangers = Vec::new();
    for host in receivers(&record.text) {
        if host != own && organisation(&host, answers)? != own {
            strangers.push(host);
        }
    }
    Ok(strangers)
}

/// Name of the record by which `receiver` says that it wants reports about `domain`.
pub(super) fn report_name(domain: &str, receiver: &str) -> String {
    format!("{domain}._report._dmarc.{receiver}")
}

/// The record to publish: what stands there, with the policy and the addresses that are asked for. Where
/// `says` is of less effect than `asked`, `t=y` goes, and else stays.
pub(super) fn record_with(
    existing: Option<&str>,
    says: Option<Says>,
    asked: Option<Policy>,
    reports: &[String],
) -> String {
    let is_testing = says.is_some_and(|says| {
        let suffices = asked.is_none_or(|asked| says.effective() >= asked);
        says.is_testing && suffices
    });
    let policy = asked.max(says.map(|says| says.policy));
    let policy = policy.unwrap_or(Policy::None);
    let mut tags: Vec<(String, String)> = Vec::new();
    for tag in existing.unwrap_or_default().split(';') {
        if let Some((name, value)) = tag.split_once('=')
            && !tags.iter().any(|(known, _)| known == name.trim())
        {
            tags.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    tags.retain(|(name, _)| !["v", "p", "t"].contains(&name.as_str()));
    if is_testing {
        tags.insert(0, ("t".to_owned(), "y".to_owned()));
    }
    let uri = |address: &String| format!("mailto:{address}");
    let known = tags.iter_mut().find(|(name, _)| name == "rua");
    match known {
        Some((_, list)) => {
            let mut all: Vec<String> = list.split(',').map(|uri| uri.trim().to_owned()).collect();
            let lacking = reports.iter().filter(|address| !gets(list, address));
            all.extend(lacking.map(uri));
            *list = all.join(",");
        }
        None if !reports.is_empty() => {
            let list = reports.iter().map(uri).collect::<Vec<_>>().join(",");
            tags.insert(0, ("rua".to_owned(), list));
        }
        None => {}
    }
    let version = format!("v=DMARC1; p={}", policy.word());
    let tags = tags
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"));
    std::iter::once(version)
        .chain(tags)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Addresses that are asked for and get no reports.
pub(super) fn lacks<'a>(text: &str, reports: &'a [String]) -> Option<&'a String> {
    let tags = Tags::parse_leniently(text);
    let rua = tags.and_then(|tags| tags.get("rua")).unwrap_or_default();
    reports.iter().find(|address| !gets(rua, address))
}

/// Whether an address is one of `rua`.
fn gets(rua: &str, address: &str) -> bool {
    let wanted = format!("mailto:{address}");
    // What follows ! is a size.
    let target = |uri: &str| uri.trim().split('!').next().map(str::to_owned);
    rua.split(',')
        .any(|uri| target(uri).is_some_and(|it| it.eq_ignore_ascii_case(&wanted)))
}

#[cfg(test)]
mod tests;
