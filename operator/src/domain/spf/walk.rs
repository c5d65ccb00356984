//! What a record leads to, whatever the address: whether a provider's record is reached, and how many
//! lookups all of its terms cost (RFC 7208). Pure.

use super::parse::{Mechanism, Qualifier, Record};
use super::{Answers, MOST_LOOKUPS, Outcome, Question, Stop, read};

/// What the record of `domain` says of an address that only the record of `target` lets send; or what is to be
/// asked first.
pub(in crate::domain) fn includes(domain: &str, target: &str, answers: &Answers) -> Outcome {
    let mut walk = Walk::new(answers);
    walk.target = Some(target);
    match walk.check(domain) {
        Ok(Some(Qualifier::Pass)) => Outcome::Pass,
        Ok(Some(Qualifier::Fail)) => Outcome::Fail,
        Ok(Some(Qualifier::SoftFail)) => Outcome::SoftFail,
        Ok(Some(Qualifier::Neutral) | None) => Outcome::Neutral,
        Err(stop) => stop.into(),
    }
}

/// What is wrong with the record of `domain` and those that it leads to, as far as `answers` tell.
pub(in crate::domain) fn fault(domain: &str, answers: &Answers) -> Option<String> {
    match Walk::new(answers).check(domain) {
        Err(Stop::Permanent(what)) => Some(what),
        _ => None,
    }
}

/// Whether the terms of `text` cost more lookups than receivers make, if it were the record of `domain`; or
/// what is to be asked first. What cannot be read or looked up costs no more.
pub(in crate::domain) fn exceeds(
    domain: &str,
    text: &str,
    answers: &Answers,
) -> Result<bool, Question> {
    let mut walk = Walk::new(answers);
    walk.published = Some((domain, text));
    match walk.check(domain) {
        Err(Stop::Needs(question)) => Err(question),
        _ => Ok(walk.lookups > MOST_LOOKUPS),
    }
}

struct Walk<'a> {
    answers: &'a Answers,
    /// Domain of the record that is looked for.
    target: Option<&'a str>,
    /// Domain and text of a record that DNS does not have yet.
    published: Option<(&'a str, &'a str)>,
    lookups: u8,
}

impl<'a> Walk<'a> {
    fn new(answers: &'a Answers) -> Self {
        Self {
            answers,
            target: None,
            published: None,
            lookups: 0,
        }
    }

    /// The qualifier of what matches. Ends, since each further record costs a lookup.
    fn check(&mut self, domain: &str) -> Result<Option<Qualifier>, Stop> {
        let Some(record) = self.record(domain)? else {
            return Ok(None);
        };
        for (qualifier, mechanism) in &record.directives {
            match mechanism {
                // What comes after it means nothing (section 5.1), and redirect neither (section 6.1).
                Mechanism::All => return Ok(Some(*qualifier)),
                Mechanism::Ip4(..) | Mechanism::Ip6(..) => {}
                Mechanism::A(..) | Mechanism::Mx(..) | Mechanism::Ptr(_) | Mechanism::Exists(_) => {
                    self.count()?;
                }
                Mechanism::Include(name) => {
                    if self.leads("include:", name)? == Some(Qualifier::Pass) {
                        return Ok(Some(*qualifier));
                    }
                }
            }
        }
        match &record.redirect {
            Some(name) => self.leads("redirect=", name),
            None => Ok(None),
        }
    }

    /// To follow a term to another record.
    fn leads(&mut self, term: &str, name: &str) -> Result<Option<Qualifier>, Stop> {
        self.count()?;
        // Macros are not followed: whom they lead to depends on the message.
        if name.contains('%') {
            return Ok(None);
        }
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if self.record(&name)?.is_none() {
            return Err(Stop::Permanent(format!(
                "{term}{name} leads to no SPF record"
            )));
        }
        if self.target == Some(name.as_str()) {
            return Ok(Some(Qualifier::Pass));
        }
        self.check(&name)
    }

    fn record(&self, domain: &str) -> Result<Option<Record>, Stop> {
        if let Some((_, text)) = self.published.filter(|(name, _)| *name == domain) {
            return read(text, domain).map(Some);
        }
        super::record(domain, self.answers)
    }

    fn count(&mut self) -> Result<(), Stop> {
        super::count(&mut self.lookups)
    }
}
