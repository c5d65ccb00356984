//! DANE for SMTP (RFC 7672): what the TLSA records of a host ask of its certificate. Pure.
//!
//! Only the usages that SMTP allows count, DANE-TA(2) and DANE-EE(3) (section 3.1.3); records with
//! anything else, or with data that cannot be a digest, are unusable and as good as none, except that
//! a host with records demands TLS even when none of them is usable (section 2.2). Of the digests of
//! one certificate only those of the strongest algorithm count (RFC 7671 section 9), or a weak one
//! could be added beside it.

mod lookup;
mod verify;

use std::fmt::Write as _;
use std::sync::Arc;

use aws_lc_rs::digest;
use hickory_resolver::proto::rr::rdata::TLSA;
use hickory_resolver::proto::rr::rdata::tlsa::{CertUsage, Matching, Selector};

pub(super) use lookup::{Dane, Hosts};
pub(super) use verify::verifier;

/// Records of one host that are looked at; DNS is written by strangers.
const RECORDS: usize = 100;

/// Which certificate a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Usage {
    /// One that issued the server's, whose name then counts.
    TrustAnchor,
    /// The server's own, whatever its names and dates are.
    EndEntity,
}

/// What is compared of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The certificate.
    Certificate,
    /// Its public key (`SubjectPublicKeyInfo`).
    PublicKey,
}

/// How it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Sha256,
    Sha512,
    Whole,
}

/// A usable record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Association {
    usage: Usage,
    part: Part,
    form: Form,
    data: Vec<u8>,
}

/// The usable records of a host and the names that its certificate may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tlsa {
    associations: Arc<[Association]>,
    /// The TLSA base domain first, which is also the name in the handshake (RFC 7672 section 8.1).
    names: Vec<Arc<str>>,
}

impl Tlsa {
    /// The name to ask for in the handshake.
    pub(super) fn server_name(&self) -> Option<&Arc<str>> {
        self.names.first()
    }

    /// The records that count, as in a zone file.
    pub(super) fn texts(&self) -> Vec<String> {
        self.associations.iter().map(Association::text).collect()
    }

    /// Whether a record names the server's own certificate.
    fn matches_end_entity(&self, certificate: Parts<'_>) -> bool {
        self.matches(Usage::EndEntity, certificate)
    }

    /// Whether a record names `certificate` as one that may issue the server's.
    fn matches_trust_anchor(&self, certificate: Parts<'_>) -> bool {
        self.matches(Usage::TrustAnchor, certificate)
    }

    fn matches(&self, usage: Usage, certificate: Parts<'_>) -> bool {
        self.associations
            .iter()
            .filter(|one| one.usage == usage)
            .any(|one| one.names(certificate))
    }

    /// Whole certificates of trust anchors, which a server may leave out of its chain.
    fn trust_anchors(&self) -> impl Iterator<Item = &[u8]> {
        self.associations
            .iter()
            .filter(|one| {
                one.usage == Usage::TrustAnchor
                    && one.part == Part::Certificate
                    && one.form == Form::Whole
            })
            .map(|one| &one.data[..])
    }
}

#[cfg(test)]
impl Tlsa {
    /// Records that no certificate fits.
    pub(super) fn for_test(names: &[&str]) -> Self {
        let none = Association {
            usage: Usage::EndEntity,
            part: Part::PublicKey,
            form: Form::Sha256,
            data: vec![0; 32],
        };
        Self {
            associations: Arc::new([none]),
            names: names.iter().copied().map(Arc::from).collect(),
        }
    }
}

/// The two things that a record can be about.
#[derive(Clone, Copy)]
struct Parts<'a> {
    certificate: &'a [u8],
    public_key: &'a [u8],
}

impl Association {
    fn text(&self) -> String {
        let usage = match self.usage {
            Usage::TrustAnchor => 2,
            Usage::EndEntity => 3,
        };
        let part = match self.part {
            Part::Certificate => 0,
            Part::PublicKey => 1,
        };
        let form = match self.form {
            Form::Whole => 0,
            Form::Sha256 => 1,
            Form::Sha512 => 2,
        };
        let mut text = format!("{usage} {part} {form} ");
        for octet in &self.data {
            // Writing to a string does not fail.
            let _ = write!(text, "{octet:02X}");
        }
        text
    }

    fn names(&self, certificate: Parts<'_>) -> bool {
        let octets = match self.part {
            Part::Certificate => certificate.certificate,
            Part::PublicKey => certificate.public_key,
        };
        let hashed = |algorithm| digest::digest(algorithm, octets).as_ref() == &self.data[..];
        match self.form {
            Form::Whole => octets == &self.data[..],
            Form::Sha256 => hashed(&digest::SHA256),
            Form::Sha512 => hashed(&digest::SHA512),
        }
    }
}

/// The usable of `records`, without those that a stronger digest outdoes.
fn usable<'a>(records: impl IntoIterator<Item = &'a TLSA>) -> Vec<Association> {
    let all: Vec<Association> = records
        .into_iter()
        .take(RECORDS)
        .filter_map(association)
        .collect();
    all.iter()
        .filter(|one| !is_outdone(one, &all))
        .cloned()
        .collect()
}

fn association(record: &TLSA) -> Option<Association> {
    let usage = match record.cert_usage {
        CertUsage::DaneTa => Usage::TrustAnchor,
        CertUsage::DaneEe => Usage::EndEntity,
        _ => return None,
    };
    let part = match record.selector {
        Selector::Full => Part::Certificate,
        Selector::Spki => Part::PublicKey,
        _ => return None,
    };
    let (form, fits) = match record.matching {
        Matching::Raw => (Form::Whole, !record.cert_data.is_empty()),
        Matching::Sha256 => (Form::Sha256, record.cert_data.len() == 32),
        Matching::Sha512 => (Form::Sha512, record.cert_data.len() == 64),
        _ => return None,
    };
    fits.then(|| Association {
        usage,
        part,
        form,
        data: record.cert_data.clone(),
    })
}

/// Digest agility: a digest does not count beside a stronger one of the same usage and part. Whole
/// data stands outside of it.
fn is_outdone(one: &Association, all: &[Association]) -> bool {
    one.form != Form::Whole
        && all.iter().any(|other| {
            other.usage == one.usage
                && other.part == one.part
                && other.form != Form::Whole
                && other.form > one.form
        })
}

#[cfg(test)]
mod tests;
