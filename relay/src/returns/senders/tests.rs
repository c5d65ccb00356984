//! Who is remembered, for how long, and who is told.

use super::*;

const NOW: Timestamp = Timestamp(1_790_000_000_000);
const HOLDS: Duration = Duration::from_hours(720);
const HOUR: Duration = Duration::from_hours(1);

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn open(directory: &Path, now: Timestamp) -> Senders {
    let (senders, damaged) = Senders::open(directory, 0, now).unwrap();
    assert_eq!(damaged, 0);
    senders
}

fn path(number: u128, sender: Option<Mark>) -> Known {
    Known {
        id: MessageId::new(NOW, number),
        mark: Mark::of(&address("to@dest.example")),
        sender,
    }
}

#[tokio::test]
async fn a_sender_is_known_until_the_last_path_has_ended_after_a_restart_too() {
    let directory = tempfile::tempdir().unwrap();
    let desk = address("Desk@shop.example");
    let senders = open(directory.path(), NOW);
    let mark = senders.remember("shop.example", &desk, HOLDS, NOW).await;
    assert!(mark.is_some());
    drop(senders);
    let end = NOW.after(HOLDS);
    let senders = open(directory.path(), end);
    assert_eq!(
        senders.whom("shop.example", &path(1, mark), end),
        Some(desk)
    );
    assert_eq!(senders.whom("news.example", &path(2, mark), end), None);
    assert_eq!(senders.whom("shop.example", &path(3, None), end), None);
    let late = end.after(SPARE);
    assert_eq!(senders.whom("shop.example", &path(4, mark), late), None);
}

#[tokio::test]
async fn a_sender_in_use_is_written_down_once_a_day() {
    let directory = tempfile::tempdir().unwrap();
    let senders = open(directory.path(), NOW);
    let file = directory.path().join("senders.log");
    let mut lengths = Vec::new();
    for hour in 0..48 {
        let now = NOW.after(HOUR * hour);
        senders
            .remember("shop.example", &address("desk@shop.example"), HOLDS, now)
            .await;
        lengths.push(std::fs::metadata(&file).unwrap().len());
    }
    lengths.dedup();
    assert_eq!(lengths.len(), 2);
}

#[tokio::test]
async fn a_domain_with_too_many_senders_keeps_the_first_ones_and_others_are_not_held_up() {
    let directory = tempfile::tempdir().unwrap();
    let senders = open(directory.path(), NOW);
    let rows = (0..MOST_OF_DOMAIN).map(|number| Sender {
        domain: "shop.example".into(),
        address: address(&format!("bounce-{number}@shop.example")),
        expires: NOW.after(HOLDS).after(SPARE),
    });
    // One by one they would take a sync of the disk each.
    senders.table.fill(rows, NOW);
    let remember = |text: &'static str| {
        let (senders, domain) = (&senders, text.split('@').next_back().unwrap());
        async move { senders.remember(domain, &address(text), HOLDS, NOW).await }
    };
    assert_eq!(remember("bounce-x@shop.example").await, None);
    assert!(remember("bounce-7@shop.example").await.is_some());
    assert!(remember("desk@news.example").await.is_some());
    assert_eq!(senders.table.len(), MOST_OF_DOMAIN + 1);
}

#[test]
fn reports_are_counted_in_bounded_room_and_recent_ones_are_not_forgotten() {
    let mut reports = Reports::default();
    assert_eq!(reports.count(&path(1, None)), 1);
    for number in 0..u128::try_from(5 * COUNTED).unwrap() {
        reports.count(&path(10 + number, None));
        assert!(reports.young.len() + reports.old.len() <= 2 * COUNTED);
    }
    let last = path(9 + u128::try_from(5 * COUNTED).unwrap(), None);
    assert_eq!(reports.count(&last), 2);
    assert_eq!(reports.count(&path(1, None)), 1);
}
