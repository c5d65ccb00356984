//! The lists and what they say.

use super::*;

const NOW: Timestamp = Timestamp(1_790_000_000_000);

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn entry(domain: &str, recipient: &str, cause: Cause) -> Entry {
    Entry {
        domain: domain.into(),
        mark: Mark::of(&address(recipient)),
        address: Some(address(recipient)),
        cause,
        source: Source::Reply,
        detail: "550 5.1.1 no\r\nsuch user".into(),
        message: None,
        since: NOW,
        expires: Some(Timestamp(NOW.0 + 1000)),
    }
}

fn open(directory: &std::path::Path) -> std::sync::Arc<Suppressions> {
    let (list, damaged) = Suppressions::open(directory, 0, NOW).unwrap();
    assert_eq!(damaged, 0);
    std::sync::Arc::new(list)
}

fn reply(list: &Suppressions, domain: &str, recipient: &str, now: Timestamp) -> Option<String> {
    judge(list, domain, &address(recipient), now).map(|denial| denial.answer.to_string())
}

#[test]
fn a_mark_reads_back_the_same_whatever_the_case_and_differs_between_addresses() {
    let mark = Mark::of(&address("To@dest.example"));
    assert_eq!(mark, Mark::of(&address("tO@DEST.example")));
    assert_ne!(mark, Mark::of(&address("to2@dest.example")));
    assert_eq!(mark.to_string().parse::<Mark>().unwrap(), mark);
    assert_eq!(
        mark.to_string().to_uppercase().parse::<Mark>().unwrap(),
        mark
    );
    for text in ["", "0123", "0123456789abc", "0123456789a!", "0123456789au"] {
        assert!(text.parse::<Mark>().is_err(), "{text}");
    }
}

#[tokio::test]
async fn an_entry_counts_for_its_domain_until_it_expires_and_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let list = open(directory.path());
    let to = "To@dest.example";
    assert_eq!(reply(&list, "shop.example", to, NOW), None);
    list.add(entry("shop.example", to, Cause::HardBounce), NOW)
        .await
        .unwrap();
    for list in [list, open(directory.path())] {
        let text = reply(&list, "shop.example", "to@dest.example", NOW).unwrap();
        assert!(text.starts_with("550 5.1.1 <to@dest.example> is on the suppression list of shop.example until 2026-09-21T14:13:21Z: there is no such mailbox; take it off"), "{text}");
        assert_eq!(reply(&list, "news.example", to, NOW), None);
        let later = Timestamp(NOW.0 + 1000);
        assert_eq!(reply(&list, "shop.example", to, later), None);
        let page = list.page(None, None, 10, NOW);
        assert_eq!(page[0].detail, "550 5.1.1 no  such user");
        assert!(list.page(None, None, 10, later).is_empty());
    }
}

#[tokio::test]
async fn a_bounce_does_not_shorten_what_lasts_longer_and_prolongs_what_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let text = "{version: 1, relay: a, hostname: a.example, \
        listeners: [{name: one, address: \"127.0.0.1:0\", tls: None}]}";
    let context = crate::context::Context::for_test(text, directory.path());
    let to = "to@dest.example";
    let lasting = |cause, expires: Option<u64>| Entry {
        expires: expires.map(|after| Timestamp(NOW.0 + after)),
        ..entry("shop.example", to, cause)
    };
    for (new, expected) in [
        (lasting(Cause::HardBounce, Some(1000)), Cause::HardBounce),
        (lasting(Cause::Complaint, Some(5000)), Cause::Complaint),
        (lasting(Cause::HardBounce, Some(2000)), Cause::Complaint),
        (lasting(Cause::HardBounce, Some(6000)), Cause::HardBounce),
        (lasting(Cause::Manual, None), Cause::Manual),
        (lasting(Cause::Complaint, Some(9000)), Cause::Manual),
    ] {
        assert!(note(&context, new, NOW).await);
        let mark = Mark::of(&address(to));
        let held = context
            .suppressions
            .find("shop.example", mark, NOW)
            .unwrap();
        assert_eq!(held.cause, expected);
    }
    let mark = Mark::of(&address(to));
    let after = context
        .suppressions
        .find("shop.example", mark, Timestamp(NOW.0 + 9000));
    assert_eq!(after.map(|entry| entry.cause), Some(Cause::Manual));
}

#[tokio::test]
async fn an_entry_that_is_removed_is_gone_after_a_restart_too() {
    let directory = tempfile::tempdir().unwrap();
    let list = open(directory.path());
    let one = entry("shop.example", "a@dest.example", Cause::Complaint);
    list.add(one.clone(), NOW).await.unwrap();
    assert!(
        list.remove("shop.example".into(), one.mark, NOW)
            .await
            .unwrap()
    );
    assert!(
        !list
            .remove("shop.example".into(), one.mark, NOW)
            .await
            .unwrap()
    );
    for list in [list, open(directory.path())] {
        assert_eq!(list.len(), 0);
    }
}

#[tokio::test]
async fn pages_go_through_all_entries_of_a_domain_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let list = open(directory.path());
    for number in 0..7 {
        for domain in ["a.example", "b.example"] {
            let to = format!("to{number}@dest.example");
            list.add(entry(domain, &to, Cause::Manual), NOW)
                .await
                .unwrap();
        }
    }
    let mut seen = Vec::new();
    loop {
        let last = seen
            .last()
            .map(|one: &Entry| (one.domain.as_str(), one.mark));
        let page = list.page(Some("b.example"), last, 3, NOW);
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 3);
        seen.extend(page);
    }
    assert_eq!(seen.len(), 7);
    assert!(seen.iter().all(|one| one.domain == "b.example"));
    assert!(seen.is_sorted_by_key(|one| one.mark));
}

#[tokio::test]
async fn a_file_of_mostly_past_entries_is_written_anew() {
    let directory = tempfile::tempdir().unwrap();
    let list = open(directory.path());
    let mut one = entry("shop.example", "a@dest.example", Cause::HardBounce);
    one.detail = "x".repeat(400);
    for _ in 0..2500 {
        list.add(one.clone(), NOW).await.unwrap();
    }
    let file = directory.path().join("suppressions.log");
    assert!(std::fs::metadata(file).unwrap().len() < 1_100_000);
    assert_eq!(open(directory.path()).len(), 1);
}
