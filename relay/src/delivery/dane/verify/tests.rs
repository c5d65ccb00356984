use aws_lc_rs::digest;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;
use crate::delivery::dane::{Association, Form, Part, Usage};
use crate::tls::provider;

/// A chain as a server sends it: its own certificate, the intermediate one, and the authority's.
struct Chain {
    own: CertificateDer<'static>,
    intermediate: CertificateDer<'static>,
    root: CertificateDer<'static>,
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

/// For `name`, valid in `years`.
fn chain(name: &str, years: (i32, i32)) -> Chain {
    let root = CertifiedIssuer::self_signed(authority("root"), key()).unwrap();
    let intermediate = CertifiedIssuer::signed_by(authority("between"), key(), &root).unwrap();
    let mut own = CertificateParams::new(vec![name.to_owned()]).unwrap();
    own.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    own.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    let own = own.signed_by(&key(), &intermediate).unwrap();
    Chain {
        own: own.der().clone(),
        intermediate: intermediate.der().clone(),
        root: root.der().clone(),
    }
}

fn good() -> Chain {
    chain("mx.test", (2020, 2090))
}

fn digest_of(usage: Usage, part: Part, certificate: &CertificateDer<'_>) -> Association {
    let octets = match part {
        Part::Certificate => certificate,
        Part::PublicKey => public_key(certificate).unwrap(),
    };
    Association {
        usage,
        part,
        form: Form::Sha256,
        data: digest::digest(&digest::SHA256, octets).as_ref().to_vec(),
    }
}

/// Whether a chain passes for a host that may be called so.
fn judge(association: &Association, names: &[&str], chain: &[&CertificateDer<'static>]) -> bool {
    let tlsa = Tlsa {
        associations: Arc::new([association.clone()]),
        names: names.iter().copied().map(Arc::from).collect(),
    };
    let rest: Vec<_> = chain[1..].iter().map(|one| (*one).clone()).collect();
    let name = ServerName::try_from("anything.test").unwrap();
    verifier(Arc::new(tlsa), provider())
        .verify_server_cert(chain[0], &rest, &name, &[], UnixTime::now())
        .is_ok()
}

#[test]
fn dane_ee_looks_at_nothing_but_certificate_or_key() {
    let chain = chain("another.test", (2000, 2001));
    for part in [Part::Certificate, Part::PublicKey] {
        let right = digest_of(Usage::EndEntity, part, &chain.own);
        assert!(judge(&right, &["mx.test"], &[&chain.own]));
        let wrong = digest_of(Usage::EndEntity, part, &chain.intermediate);
        assert!(!judge(
            &wrong,
            &["mx.test"],
            &[&chain.own, &chain.intermediate]
        ));
    }
}

#[test]
fn dane_ta_takes_a_chain_from_its_anchor_with_one_of_the_names() {
    let chain = good();
    let sent = [&chain.own, &chain.intermediate, &chain.root];
    for part in [Part::Certificate, Part::PublicKey] {
        for anchor in [&chain.intermediate, &chain.root] {
            let record = digest_of(Usage::TrustAnchor, part, anchor);
            assert!(judge(&record, &["mx.test"], &sent));
            assert!(judge(&record, &["host.test", "mx.test"], &sent));
            assert!(!judge(&record, &["host.test"], &sent));
            assert!(!judge(&record, &["mx.test."], &sent[..1]));
        }
        let other = digest_of(Usage::TrustAnchor, part, &good().root);
        assert!(!judge(&other, &["mx.test"], &sent));
    }
}

#[test]
fn dane_ta_minds_dates_and_the_whole_of_the_chain() {
    let expired = chain("mx.test", (2000, 2001));
    let record = digest_of(Usage::TrustAnchor, Part::Certificate, &expired.root);
    let sent = [&expired.own, &expired.intermediate, &expired.root];
    assert!(!judge(&record, &["mx.test"], &sent));
    // The anchor is there, and nothing leads to it.
    let chain = good();
    let record = digest_of(Usage::TrustAnchor, Part::Certificate, &chain.root);
    assert!(!judge(&record, &["mx.test"], &[&chain.own, &chain.root]));
    assert!(!judge(
        &record,
        &["mx.test"],
        &[&expired.own, &chain.intermediate, &chain.root]
    ));
}

#[test]
fn an_anchor_that_stands_whole_in_dns_need_not_be_sent() {
    let chain = good();
    let record = Association {
        usage: Usage::TrustAnchor,
        part: Part::Certificate,
        form: Form::Whole,
        data: chain.root.to_vec(),
    };
    assert!(judge(
        &record,
        &["mx.test"],
        &[&chain.own, &chain.intermediate]
    ));
    assert!(!judge(
        &record,
        &["mx.test"],
        &[&good().own, &chain.intermediate]
    ));
}

#[test]
fn a_self_signed_certificate_may_be_its_own_anchor_if_name_and_dates_are_right() {
    for is_ca in [false, true] {
        let certificate = |name: &str, until: i32| {
            let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.not_before = rcgen::date_time_ymd(2000, 1, 1);
            params.not_after = rcgen::date_time_ymd(until, 1, 1);
            if is_ca {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }
            params.self_signed(&key()).unwrap().der().clone()
        };
        let passes = |certificate: &CertificateDer<'static>| {
            let record = digest_of(Usage::TrustAnchor, Part::PublicKey, certificate);
            judge(&record, &["mx.test"], &[certificate])
        };
        assert!(passes(&certificate("mx.test", 2090)));
        assert!(!passes(&certificate("mx.test", 2001)));
        assert!(!passes(&certificate("another.test", 2090)));
    }
}

#[test]
fn what_is_no_certificate_is_refused() {
    let record = digest_of(Usage::EndEntity, Part::Certificate, &good().own);
    let garbage = CertificateDer::from(vec![0x30; 40]);
    assert!(!judge(&record, &["mx.test"], &[&garbage]));
    let long: Vec<_> = (0..200).map(|_| &garbage).collect();
    assert!(!judge(&record, &["mx.test"], &long));
}
