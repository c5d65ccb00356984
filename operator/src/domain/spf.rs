//! Whether a domain's SPF record lets an address send (RFC 7208). Pure: answers of DNS go in, and what is
//! still to be asked comes out.
//!
//! Errors that last and errors that pass are told apart, since only the first are the owner's to mend. The
//! local part of macros is `postmaster`: a record that looks at it is judged for that one.

mod macros;
mod parse;
mod paste;
mod walk;

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::records::{Answer, Kind, Question};
use macros::Values;
use parse::{Lengths, Mechanism, Qualifier, Record};

pub(super) use parse::is_spf;
pub(super) use paste::record_with;
pub(super) use walk::{exceeds, fault, includes};

/// Terms that ask DNS, over all records of one evaluation (section 4.6.4).
pub(super) const MOST_LOOKUPS: u8 = 10;
/// Of them, how many may find nothing.
const MOST_VOID: u8 = 2;
/// Hosts of one `mx` and names of one `ptr`.
const MOST_HOSTS: usize = 10;

/// Answers by question.
pub(super) type Answers = BTreeMap<Question, Answer>;

/// What an evaluation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The address may send.
    Pass,
    /// It may not: `-`, or `~`, `?`, or nothing matches.
    Fail,
    SoftFail,
    Neutral,
    /// There is no record.
    None,
    /// The record cannot be evaluated, whoever tries; with what is wrong.
    Permanent(String),
    /// DNS did not answer; with what it said.
    Temporary(String),
    /// This has to be asked first.
    Needs(Question),
}

/// Why an evaluation ends early.
enum Stop {
    Permanent(String),
    Temporary(String),
    Needs(Question),
}

impl From<Stop> for Outcome {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Permanent(what) => Self::Permanent(what),
            Stop::Temporary(what) => Self::Temporary(what),
            Stop::Needs(question) => Self::Needs(question),
        }
    }
}

/// Evaluates the record of `domain` for `ip`; `helo` is the name by which the client greets.
pub(super) fn evaluate(ip: IpAddr, domain: &str, helo: &str, answers: &Answers) -> Outcome {
    // What a socket calls an IPv4 address in an IPv6 one is an IPv4 address.
    let ip = ip.to_canonical();
    let mut evaluation = Evaluation {
        ip,
        sender: domain,
        helo,
        answers,
        lookups: 0,
        void: 0,
    };
    evaluation.check(domain).unwrap_or_else(Outcome::from)
}

/// Whether the terms of a record can be read, or which cannot.
pub(super) fn check_syntax(text: &str, domain: &str) -> Result<(), String> {
    parse::parse(text)
        .map(|_| ())
        .map_err(|term| unreadable(&term, domain))
}

fn unreadable(term: &str, domain: &str) -> String {
    let term: String = term
        .chars()
        .filter(|one| !one.is_control())
        .take(80)
        .collect();
    format!("the record of {domain} has the term {term}, which is not valid")
}

struct Evaluation<'a> {
    ip: IpAddr,
    sender: &'a str,
    helo: &'a str,
    answers: &'a Answers,
    lookups: u8,
    void: u8,
}

impl Evaluation<'_> {
    /// Section 4. Ends, since each further record costs a lookup.
    fn check(&mut self, domain: &str) -> Result<Outcome, Stop> {
        if !is_name(domain) || !domain.contains('.') {
            return Ok(Outcome::None);
        }
        let Some(record) = record(domain, self.answers)? else {
            return Ok(Outcome::None);
        };
        for (qualifier, mechanism) in &record.directives {
            if self.matches(mechanism, domain)? {
                return Ok(match qualifier {
                    Qualifier::Pass => Outcome::Pass,
                    Qualifier::Fail => Outcome::Fail,
                    Qualifier::SoftFail => Outcome::SoftFail,
                    Qualifier::Neutral => Outcome::Neutral,
                });
            }
        }
        let Some(redirect) = &record.redirect else {
            return Ok(Outcome::Neutral);
        };
        self.count()?;
        let target = self.expand(redirect, domain)?;
        match self.check(&target)? {
            Outcome::None => Err(Stop::Permanent(format!(
                "redirect={target} leads to no SPF record"
            ))),
            outcome => Ok(outcome),
        }
    }

    fn matches(&mut self, mechanism: &Mechanism, domain: &str) -> Result<bool, Stop> {
        match mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Ip4(network, length) => Ok(covers((*network).into(), *length, self.ip)),
            Mechanism::Ip6(network, length) => Ok(covers((*network).into(), *length, self.ip)),
            Mechanism::Include(target) => {
                self.count()?;
                let target = self.expand(target, domain)?;
                match self.check(&target)? {
                    Outcome::Pass => Ok(true),
                    Outcome::None => Err(Stop::Permanent(format!(
                        "include:{target} leads to no SPF record"
                    ))),
                    _ => Ok(false),
                }
            }
            Mechanism::A(target, lengths) => {
                self.count()?;
                let host = self.target(target.as_ref(), domain)?;
                self.is_host(&host, *lengths, true)
            }
            Mechanism::Mx(target, lengths) => {
                self.count()?;
                let name = self.target(target.as_ref(), domain)?;
                let hosts = self.ask_counted(&name, Kind::Mx)?;
                if hosts.len() > MOST_HOSTS {
                    return Err(Stop::Permanent(format!(
                        "{name} has more than {MOST_HOSTS} MX records"
                    )));
                }
                let host =
                    |record: &String| record.split(' ').next_back().map(str::to_ascii_lowercase);
                for host in hosts.iter().filter_map(host) {
                    if self.is_host(&host, *lengths, true)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Mechanism::Exists(target) => {
                self.count()?;
                let name = self.expand(target, domain)?;
                Ok(!self.ask_counted(&name, Kind::A)?.is_empty())
            }
            Mechanism::Ptr(target) => {
                self.count()?;
                let target = self.target(target.as_ref(), domain)?;
                let names = self.names(true)?;
                Ok(names.iter().any(|name| is_below(name, &target)))
            }
        }
    }

    /// Whether the address is one of a host's.
    fn is_host(&mut self, host: &str, lengths: Lengths, counted: bool) -> Result<bool, Stop> {
        let (kind, length) = match self.ip {
            IpAddr::V4(_) => (Kind::A, lengths.four),
            IpAddr::V6(_) => (Kind::Aaaa, lengths.six),
        };
        let addresses = if counted {
            self.ask_counted(host, kind)?
        } else {
            self.ask(host, kind)?
        };
        let mut addresses = addresses.iter().filter_map(|text| text.parse().ok());
        Ok(addresses.any(|address| covers(address, length, self.ip)))
    }

    /// Names of the address that lead back to it (section 5.5). Errors mean that there are none.
    fn names(&mut self, counted: bool) -> Result<Vec<String>, Stop> {
        let reverse = macros::reverse_name(self.ip);
        let found = if counted {
            self.ask_counted(&reverse, Kind::Ptr)
        } else {
            self.ask(&reverse, Kind::Ptr)
        };
        let names = match found {
            Err(Stop::Temporary(_)) => Vec::new(),
            found => found?,
        };
        let exact = Lengths { four: 32, six: 128 };
        let mut good = Vec::new();
        for name in names.iter().take(MOST_HOSTS) {
            let name = name.to_ascii_lowercase();
            match self.is_host(&name, exact, false) {
                Ok(true) => good.push(name),
                Ok(false) | Err(Stop::Temporary(_)) => {}
                Err(stop) => return Err(stop),
            }
        }
        Ok(good)
    }

    fn target(&mut self, target: Option<&String>, domain: &str) -> Result<String, Stop> {
        target.map_or(Ok(domain.to_owned()), |target| self.expand(target, domain))
    }

    fn expand(&mut self, text: &str, domain: &str) -> Result<String, Stop> {
        let name = if macros::needs_name(text) {
            let names = self.names(false)?;
            let exact = names.iter().find(|name| *name == domain);
            let below = || names.iter().find(|name| is_below(name, domain));
            let best = exact.or_else(below).or_else(|| names.first());
            best.cloned().unwrap_or_else(|| "unknown".to_owned())
        } else {
            String::new()
        };
        let values = Values {
            ip: self.ip,
            domain,
            sender: self.sender,
            helo: self.helo,
        };
        Ok(macros::expand(text, &values, &name))
    }

    fn count(&mut self) -> Result<(), Stop> {
        count(&mut self.lookups)
    }

    /// Like [`Self::ask`]; to find nothing counts.
    fn ask_counted(&mut self, name: &str, kind: Kind) -> Result<Vec<String>, Stop> {
        let found = self.ask(name, kind)?;
        if found.is_empty() {
            self.void += 1;
            if self.void > MOST_VOID {
                return Err(Stop::Permanent(format!(
                    "more than {MOST_VOID} names of the record lead to nothing, the last of them {name}"
                )));
            }
        }
        Ok(found)
    }

    fn ask(&self, name: &str, kind: Kind) -> Result<Vec<String>, Stop> {
        ask(name, kind, self.answers)
    }
}

/// The record of a domain (section 4.5).
fn record(domain: &str, answers: &Answers) -> Result<Option<Record>, Stop> {
    let texts = ask(domain, Kind::Txt, answers)?;
    let mut records = texts.iter().filter(|text| is_spf(text));
    let Some(text) = records.next() else {
        return Ok(None);
    };
    if records.next().is_some() {
        return Err(Stop::Permanent(format!("{domain} has several SPF records")));
    }
    read(text, domain).map(Some)
}

fn read(text: &str, domain: &str) -> Result<Record, Stop> {
    parse::parse(text).map_err(|term| Stop::Permanent(unreadable(&term, domain)))
}

/// One lookup more (section 4.6.4).
fn count(lookups: &mut u8) -> Result<(), Stop> {
    *lookups += 1;
    if *lookups <= MOST_LOOKUPS {
        return Ok(());
    }
    Err(Stop::Permanent(format!(
        "the record asks DNS for more than {MOST_LOOKUPS} terms, with those that it includes"
    )))
}

fn ask(name: &str, kind: Kind, answers: &Answers) -> Result<Vec<String>, Stop> {
    if !is_name(name) {
        return Ok(Vec::new());
    }
    let question = Question::new(name, kind);
    match answers.get(&question) {
        None => Err(Stop::Needs(question)),
        Some(Answer::None) => Ok(Vec::new()),
        Some(Answer::Records(records)) => Ok(records.clone()),
        Some(Answer::Failed(cause)) => Err(Stop::Temporary(format!(
            "{} {name} cannot be looked up: {cause}",
            kind.name()
        ))),
    }
}

/// Whether DNS could hold such a name.
fn is_name(name: &str) -> bool {
    let labels = |label: &str| (1..=63).contains(&label.len());
    name.len() <= 253
        && name.split('.').all(labels)
        && name.bytes().all(|octet| octet.is_ascii_graphic())
}

/// Whether `name` is `domain` or lies below it.
fn is_below(name: &str, domain: &str) -> bool {
    let rest = name.strip_suffix(domain);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether an address lies in a network.
fn covers(network: IpAddr, length: u8, ip: IpAddr) -> bool {
    let (network, ip, width) = match (network, ip) {
        (IpAddr::V4(network), IpAddr::V4(ip)) => {
            (u128::from(network.to_bits()), u128::from(ip.to_bits()), 32)
        }
        (IpAddr::V6(network), IpAddr::V6(ip)) => (network.to_bits(), ip.to_bits(), 128),
        _ => return false,
    };
    let shift = width - u32::from(length).min(width);
    network.checked_shr(shift).unwrap_or(0) == ip.checked_shr(shift).unwrap_or(0)
}

#[cfg(test)]
mod tests;
