//! The questions that DANE and MTA-STS ask of DNS.

use std::time::Instant;

use hickory_resolver::proto::rr::rdata::TLSA;
use hickory_resolver::proto::rr::{RData, RecordType};

use super::{ALIASES, Answer, ResolveError, Resolver, absolute, text};

/// TXT records of one name that are looked at, and octets of each.
const TEXTS: usize = 32;
const TEXT_OCTETS: usize = 1024;

/// An answer that is proven, and until when it holds.
pub(in crate::delivery) struct Proven<T> {
    pub(in crate::delivery) answer: T,
    pub(in crate::delivery) until: Instant,
}

impl Resolver {
    /// Whether DNSSEC proves which mail exchangers `domain` has. A domain without any is its own, and
    /// what there is to prove is its address.
    pub(in crate::delivery) async fn proves_exchangers(
        &self,
        domain: &str,
    ) -> Result<bool, ResolveError> {
        let (judged, answer) = self.ask(domain, RecordType::MX).await?;
        Ok(match (judged, answer) {
            (Some(judged), Answer::Records(_)) => {
                let mut records = judged.lookup.answers().iter();
                records.all(|record| {
                    !is_of_answer(record.record_type(), RecordType::MX) || judged.is_secure(record)
                })
            }
            (_, Answer::NoRecords) => true,
            _ => false,
        })
    }

    /// The names at which TLSA records of `host` may lie, in the order in which they count: where its
    /// aliases lead to, if all of the way is proven, and its own name, if that much is (RFC 7672
    /// section 2.2.2). None when the addresses are not proven, since then records would be of no use,
    /// and asking for them has been seen to fail (section 2.1.1).
    pub(in crate::delivery) async fn tlsa_bases(
        &self,
        host: &str,
    ) -> Result<Proven<Vec<String>>, ResolveError> {
        let four = self.ask(host, RecordType::A).await?;
        let (judged, kind) = match four {
            (Some(judged), Answer::Records(_)) => (judged, RecordType::A),
            _ => match self.ask(host, RecordType::AAAA).await? {
                (Some(judged), Answer::Records(_)) => (judged, RecordType::AAAA),
                _ => return Ok(nothing()),
            },
        };
        let until = judged.lookup.valid_until();
        let records = judged.lookup.answers();
        let mut name = absolute(host)?;
        let own = text(&name);
        let mut proven = true;
        let mut own_proven = None;
        for _ in 0..ALIASES {
            let alias = records.iter().find_map(|record| match &record.data {
                RData::CNAME(target) if record.name == name => Some((record, target.0.clone())),
                _ => None,
            });
            let Some((record, target)) = alias else {
                break;
            };
            proven &= judged.is_secure(record);
            own_proven.get_or_insert(proven);
            name = target;
        }
        let addresses: Vec<_> = records
            .iter()
            .filter(|record| record.record_type() == kind && record.name == name)
            .collect();
        proven &= !addresses.is_empty() && addresses.iter().all(|one| judged.is_secure(one));
        let mut bases = Vec::new();
        if proven {
            bases.push(text(&name));
        }
        let own_proven = match own_proven {
            // The resolver speaks of the whole: ask it about the first step alone.
            Some(false) => self.proves_alias(host).await?,
            Some(true) => true,
            None => proven,
        };
        if own_proven && !bases.contains(&own) {
            bases.push(own);
        }
        Ok(Proven {
            answer: bases,
            until,
        })
    }

    async fn proves_alias(&self, host: &str) -> Result<bool, ResolveError> {
        let (judged, _) = self.ask(host, RecordType::CNAME).await?;
        Ok(judged.is_some_and(|judged| {
            let mut records = judged.lookup.answers().iter();
            records
                .any(|record| record.record_type() == RecordType::CNAME && judged.is_secure(record))
        }))
    }

    /// The TLSA records for a port of `base`; none unless they are proven. That there are none is
    /// believed only when it is proven, too, or when the zone is not signed: everything else is an
    /// error.
    pub(in crate::delivery) async fn tlsa(
        &self,
        base: &str,
        port: u16,
    ) -> Result<Proven<Vec<TLSA>>, ResolveError> {
        let name = format!("_{port}._tcp.{base}");
        let (judged, answer) = self.ask(&name, RecordType::TLSA).await?;
        let (Some(judged), Answer::Records(_)) = (judged, answer) else {
            return Ok(nothing());
        };
        let of_answer = |kind| is_of_answer(kind, RecordType::TLSA);
        let records = judged.lookup.answers();
        let proven = records
            .iter()
            .filter(|record| of_answer(record.record_type()))
            .all(|record| judged.is_secure(record));
        let tlsa = records.iter().filter_map(|record| match &record.data {
            RData::TLSA(tlsa) if proven => Some(tlsa.clone()),
            _ => None,
        });
        Ok(Proven {
            answer: tlsa.collect(),
            until: judged.lookup.valid_until(),
        })
    }

    /// The TXT records of a name, each with its strings joined; none when there are none.
    pub(in crate::delivery) async fn texts(&self, name: &str) -> Result<Vec<String>, ResolveError> {
        let (_, answer) = self.ask(name, RecordType::TXT).await?;
        let Answer::Records(records) = answer else {
            return Ok(Vec::new());
        };
        let texts = records
            .iter()
            .take(TEXTS)
            .filter_map(|record| match record {
                RData::TXT(text) => {
                    let mut octets = text.txt_data.concat();
                    octets.truncate(TEXT_OCTETS);
                    Some(String::from_utf8_lossy(&octets).into_owned())
                }
                _ => None,
            });
        Ok(texts.collect())
    }
}

/// Signatures and the like stand beside an answer and are no part of it.
fn is_of_answer(kind: RecordType, asked: RecordType) -> bool {
    kind == asked || kind == RecordType::CNAME
}

fn nothing<T: Default>() -> Proven<T> {
    Proven {
        answer: T::default(),
        until: Instant::now(),
    }
}
