//! What senders ask for survives, and says when and in which order work is due.

use relay_smtp::options::{Notify, RecipientOptions};

use super::*;
use crate::Options;

fn asking(number: u64, options: Options) -> NewMessage {
    let mut message = message(number, &["a@dest.example", "b@dest.example"], "x\r\n");
    message.envelope.options = options;
    message
}

#[test]
fn a_held_message_is_due_at_its_release_before_and_after_a_restart() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    let options = Options {
        release_at: Some(Timestamp(900_000)),
        priority: -9,
        ..Options::default()
    };
    wait(queue.append(asking(1, options.clone()))).unwrap();
    assert_eq!(queue.next_due(), Some(Timestamp(900_000)));
    assert!(queue.take(Timestamp(899_999), &mut |_| true).is_none());
    queue.close();
    drop(queue);
    let (queue, _) = bench.open();
    assert_eq!(queue.next_due(), Some(Timestamp(900_000)));
    let work = queue.take(Timestamp(900_000), &mut |_| true).unwrap();
    assert_eq!(work.envelope.options, options);
    assert_eq!(work.envelope.released_at(), Timestamp(900_000));
}

#[test]
fn higher_priority_goes_first_before_and_after_a_restart() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    for (number, priority) in [(1, 0), (2, -1), (3, 9), (4, 0)] {
        let options = Options {
            priority,
            ..Options::default()
        };
        wait(queue.append(asking(number, options))).unwrap();
    }
    queue.close();
    drop(queue);
    let (queue, _) = bench.open();
    let order: Vec<u64> = take_all(&queue)
        .iter()
        .map(|work| work.id.timestamp().0 - 1_000_000)
        .collect();
    assert_eq!(order, [3, 1, 4, 2]);
}

#[test]
fn envelopes_of_older_versions_load_and_nothing_asked_for_is_not_written() {
    let envelope = message(1, &["a@dest.example"], "").envelope;
    let text = serde_json::to_string(&envelope).unwrap();
    assert!(!text.contains("options"), "{text}");
    assert_eq!(serde_json::from_str::<Envelope>(&text).unwrap(), envelope);
    let mut asked = envelope;
    let never = RecipientOptions {
        notify: Some(Notify::default()),
        original: None,
    };
    asked.options.recipients.insert(0, never);
    asked.options.require_tls = true;
    let text = serde_json::to_string(&asked).unwrap();
    assert!(
        text.contains(r#""options":{"recipients":{"0":{"notify":{}}},"requireTls":true}"#),
        "{text}"
    );
    assert_eq!(serde_json::from_str::<Envelope>(&text).unwrap(), asked);
}

#[test]
fn routes_see_the_tag_before_and_after_a_restart() {
    let bench = Bench::new();
    let by_tag = || {
        Box::new(|envelope: &Envelope, _: &Address| {
            Destination::from(envelope.options.tag.as_deref().unwrap_or("none"))
        })
    };
    let open = |disk| {
        let (settings, tuning) = (bench.settings.clone(), bench.tuning);
        Queue::open_on(disk, settings, tuning, Timestamp(0), by_tag()).unwrap()
    };
    let disk = Arc::new(bench.disk.clone());
    let (queue, _) = open(disk.clone());
    let options = Options {
        tag: Some("bulk".into()),
        ..Options::default()
    };
    wait(queue.append(asking(1, options))).unwrap();
    queue.close();
    drop(queue);
    let (queue, _) = open(disk);
    let work = queue.take(LATE, &mut |_| true).unwrap();
    assert_eq!(&*work.destination, "bulk");
}

#[test]
fn b32_the_envelope_as_it_was_changed_before_the_append_is_what_a_crash_leaves() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    // What intake and the hooks of a session may have done to it.
    let mut changed = asking(1, Options::default());
    let envelope = &mut changed.envelope;
    envelope.sender = Some(Address::parse("rewritten@origin.example").unwrap());
    envelope.recipients.remove(0);
    envelope
        .recipients
        .push(Address::parse("added@dest.example").unwrap());
    envelope.identity = Some("sa:shop/checkout".into());
    envelope.options.priority = 3;
    let expected = envelope.clone();
    wait(queue.append(changed)).unwrap();
    for disk in [bench.disk.power_cut(), bench.disk.kill()] {
        let (copy, _) = Bench::on(disk).open();
        let work = copy.take(LATE, &mut |_| true).unwrap();
        assert_eq!(*work.envelope, expected);
        assert_eq!(work.recipients, [0, 1]);
    }
}
