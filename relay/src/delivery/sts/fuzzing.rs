//! What has to hold for any record and policy.

use super::text::{Policy, record_id};
use super::{Mode, Verdict, verdict};

/// Panics where something does not hold.
pub(crate) fn sts(input: &[u8]) {
    if let Ok(text) = str::from_utf8(input) {
        record(text);
    }
    let Ok(policy) = Policy::parse(input) else {
        return;
    };
    assert!(policy.max_age.as_secs() <= 31_557_600);
    assert!(policy.mode == Mode::None || !policy.patterns().is_empty());
    let lines = policy.lines();
    assert!(
        lines
            .iter()
            .all(|line| !line.contains('\n') && !line.is_empty())
    );
    for pattern in policy.patterns() {
        admission(&policy, pattern);
    }
    assert!(!policy.admits(""));
    // What is kept for reports says the same, unless it was cut or has line ends of its own.
    let is_same = |line: &String| line.chars().count() < 253 && !line.contains('\r');
    let is_whole = lines.len() < 72 && lines.iter().all(is_same);
    if is_whole {
        let again = Policy::parse(lines.join("\n").as_bytes());
        assert_eq!(again.as_ref(), Ok(&policy), "{lines:?}");
    }
}

fn record(text: &str) {
    let Some(id) = record_id(text.split('\n')) else {
        return;
    };
    assert!((1..=32).contains(&id.len()) && id.bytes().all(|one| one.is_ascii_alphanumeric()));
    let plain = format!("v=STSv1; id={id};");
    assert_eq!(record_id([&*plain]), Some(id));
    // Two records are none (section 3.1).
    let twice = text.split('\n').chain([&*plain]);
    assert_eq!(record_id(twice), None);
}

/// A pattern admits its own hosts, and a wildcard exactly one label (section 4.1).
fn admission(policy: &Policy, pattern: &str) {
    assert!(!pattern.bytes().any(|one| one.is_ascii_uppercase()));
    assert!(!pattern.is_empty() && pattern.len() <= 253);
    let Some(parent) = pattern.strip_prefix("*.") else {
        assert!(!pattern.contains('*'), "{pattern}");
        assert!(policy.admits(pattern));
        return;
    };
    assert!(policy.admits(&format!("mx.{parent}")));
    let others = |host: &str| {
        policy
            .patterns()
            .iter()
            .any(|other| other != pattern && admits(other, host))
    };
    for host in [
        parent.to_owned(),
        format!("a.mx.{parent}"),
        format!(".{parent}"),
        format!("mx{parent}"),
    ] {
        assert_eq!(
            policy.admits(&host),
            others(&host) || admits(pattern, &host),
            "{host} by {pattern}"
        );
    }
    if policy.mode == Mode::Enforce && !policy.admits(parent) {
        assert_eq!(verdict(Some(policy), parent), Verdict::Excluded);
    }
}

/// By labels, as section 4.1 says it.
fn admits(pattern: &str, host: &str) -> bool {
    let (pattern, host): (Vec<&str>, Vec<&str>) =
        (pattern.split('.').collect(), host.split('.').collect());
    let same = |(one, other): (&&str, &&str)| one == other;
    pattern.len() == host.len()
        && pattern[1..].iter().zip(&host[1..]).all(same)
        && (pattern[0] == host[0] || (pattern[0] == "*" && !host[0].is_empty()))
}
