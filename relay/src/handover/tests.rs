use std::time::Instant;

use relay_queue::{Batch, Cursor, Envelope, NewMessage, Timestamp, Work};
use relay_smtp::Address;

use super::wire::{Given, Open, Opened, Taken};
use super::*;
use crate::siblings::testing::Shards;
use crate::siblings::{Channel, ask};

const LATE: Timestamp = Timestamp(u64::MAX);

fn message(number: u64, content: Vec<u8>) -> NewMessage {
    NewMessage {
        id: MessageId::new(Timestamp(number), 7),
        envelope: Envelope {
            sender: Some(Address::parse("orders@shop.example").unwrap()),
            recipients: vec![Address::parse("ada@reader.example").unwrap()],
            accepted_at: Timestamp(number),
            ..Envelope::default()
        },
        content: vec![content.into()],
    }
}

async fn fill(context: &Context, messages: u64) {
    let appends = (1..=messages).map(|number| {
        let text = format!("Subject: {number}\r\n\r\n");
        tokio::spawn(context.queue.append(message(number, text.into_bytes())))
    });
    for append in appends.collect::<Vec<_>>() {
        append.await.unwrap().unwrap();
    }
}

fn take_all(context: &Context) -> Vec<Work> {
    std::iter::from_fn(|| context.queue.take(LATE, &mut |_| true)).collect()
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_mins(1), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn messages(context: &Context) -> u64 {
    context.queue.status().0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_goes_hands_everything_to_those_that_stay() {
    let shards = Shards::start(3, 2).await;
    let [first, second, leaving] = &shards.contexts[..] else {
        panic!();
    };
    // A figure is had with HAND_OVER_MESSAGES=50000 and --nocapture.
    let number = std::env::var("HAND_OVER_MESSAGES").map_or(2000, |text| text.parse().unwrap());
    fill(leaving, number).await;
    let large = vec![b'x'; 9 << 20];
    leaving
        .queue
        .append(message(number + 1, large.clone()))
        .await
        .unwrap();
    let begun = Instant::now();
    assert!(look(leaving).await);
    eprintln!("{number} messages in {:?}", begun.elapsed());
    assert_eq!((messages(leaving), leaving.queue.marked()), (0, vec![]));
    assert_eq!(leaving.hand_over.status(), Some(HandOverStatus::default()));
    assert!(messages(first) > 0 && messages(second) > 0, "in turn");
    let mut ids = Vec::new();
    for context in [first, second] {
        assert_eq!(context.queue.marked(), []);
        for work in take_all(context) {
            let content = context.queue.content(work.id).unwrap().concat();
            let number = work.id.timestamp().0;
            let text = format!("Subject: {number}\r\n\r\n");
            assert!(content == text.as_bytes() || content == large);
            assert_eq!(work.envelope.accepted_at, Timestamp(number));
            ids.push(number);
        }
    }
    ids.sort_unstable();
    assert!(ids.into_iter().eq(1..=number + 1));
    // A shard that stays gives nothing away.
    assert!(look(first).await);
    assert_eq!(first.hand_over.status(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_shard_that_takes_it_mail_stays_and_is_delivered() {
    let shards = Shards::start(2, 1).await;
    let [staying, leaving] = &shards.contexts[..] else {
        panic!();
    };
    fill(leaving, 3).await;
    staying
        .listening
        .store(false, std::sync::atomic::Ordering::Release);
    assert!(!look(leaving).await);
    let error = leaving.hand_over.status().unwrap().error.unwrap();
    assert_eq!(
        error,
        "shard 0 takes no mail: it is not ready, or is to go itself"
    );
    staying.shutdown.cancel();
    until("the port closes", || {
        std::net::TcpStream::connect((host(staying, 0), shards.port)).is_err()
    })
    .await;
    assert!(!look(leaving).await);
    let error = leaving.hand_over.status().unwrap().error.unwrap();
    assert!(error.starts_with("shard 0 (127."), "{error}");
    assert_eq!(take_all(leaving).len(), 3);
}

fn host(context: &Context, shard: u32) -> String {
    let siblings = context.snapshot.load().config.siblings.clone().unwrap();
    siblings.host(shard).unwrap().to_owned()
}

/// What a giver of this test says for itself.
async fn open(context: &Context, offered: Vec<MessageId>) -> Opened {
    let open = Open { from: 1, offered };
    ask(context, 0, "/v1/siblings/hand-over/open", &open)
        .await
        .unwrap()
}

/// Offers all that waits at `giver` to shard 0, and no more than that.
async fn offer(giver: &Context, token: u64) -> Result<Vec<MessageId>, SiblingError> {
    let whole = Batch {
        messages: 100,
        bytes: 1 << 20,
    };
    let transfers = giver
        .queue
        .offer(0, &mut Cursor::default(), whole)
        .await
        .unwrap();
    let mut batch = Vec::new();
    for transfer in transfers {
        let content = giver.queue.content(transfer.id).unwrap();
        wire::add(&mut batch, transfer, content).unwrap();
    }
    let mut channel = Channel::open(giver, 0).await.unwrap();
    let path = format!("/v1/siblings/hand-over/offer?from=1&token={token}");
    let answer = channel
        .post(&path, batch, Duration::from_mins(1), 1 << 20)
        .await?;
    let taken: Taken = serde_json::from_slice(&answer).unwrap();
    Ok(taken.ids)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_from_before_a_question_is_refused_after_it() {
    let shards = Shards::start(2, 1).await;
    let [staying, leaving] = &shards.contexts[..] else {
        panic!();
    };
    fill(leaving, 3).await;
    let stale = open(leaving, Vec::new()).await.token;
    let fresh = open(leaving, Vec::new()).await;
    assert!(fresh.accepting && fresh.held.is_empty());
    let refused = offer(leaving, stale).await.unwrap_err();
    let conflict = hyper::StatusCode::CONFLICT;
    assert!(matches!(refused, SiblingError::Refused { code, .. } if code == conflict));
    assert_eq!(messages(staying), 0);
    // The giver finds its marks and asks; only at the next look does it offer again, so that what is
    // refused again and again is delivered in between.
    assert!(!look(leaving).await);
    assert_eq!((messages(leaving), messages(staying)), (3, 0));
    assert!(look(leaving).await);
    assert_eq!((messages(leaving), messages(staying)), (0, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_waits_until_its_giver_says_what_became_of_it() {
    let shards = Shards::start(2, 1).await;
    let [staying, leaving] = &shards.contexts[..] else {
        panic!();
    };
    fill(leaving, 3).await;
    let token = open(leaving, Vec::new()).await.token;
    let held = offer(leaving, token).await.unwrap();
    assert_eq!(held.len(), 3);
    // The giver is about to write down that it gave them away.
    look(staying).await;
    assert_eq!(staying.queue.marked().len(), 3);
    assert!(take_all(staying).is_empty() && take_all(leaving).is_empty());
    // One it did give away and could not say so, one it took back.
    leaving.queue.give_away(0, &held[..1]).await.unwrap();
    leaving.queue.take_back(0, &held[1..2]).await.unwrap();
    look(staying).await;
    let mine = |context: &Context| {
        take_all(context)
            .iter()
            .map(|work| work.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (mine(staying), mine(leaving)),
        (vec![held[0]], vec![held[1]])
    );
    assert_eq!(staying.queue.marked(), [(held[2], Mark::HeldFor(1))]);
    // A word about others changes nothing.
    let word = Given {
        from: 3,
        ids: held.clone(),
    };
    let released: Taken = ask(leaving, 0, "/v1/siblings/hand-over/given", &word)
        .await
        .unwrap();
    assert_eq!(released.ids, []);
    // The last one is found out by its giver.
    look(leaving).await;
    assert_eq!(
        (leaving.queue.marked(), staying.queue.marked()),
        (vec![], vec![])
    );
    assert_eq!(mine(staying), [held[2]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_gone_for_good_keeps_nobody_waiting() {
    let shards = Shards::start(2, 1).await;
    let [staying, leaving] = &shards.contexts[..] else {
        panic!();
    };
    fill(leaving, 2).await;
    let token = open(leaving, Vec::new()).await.token;
    let held = offer(leaving, token).await.unwrap();
    leaving.queue.give_away(0, &held).await.unwrap();
    // A configuration without any word of shards says nothing of them.
    let silent = crate::context::Context::for_test(
        "version: 1\nrelay: a\nhostname: a.example\nlisteners:\n\
         - {name: first, address: '127.0.0.1:0', tls: None}\n",
        tempfile::tempdir().unwrap().path(),
    );
    staying.snapshot.store(silent.snapshot.load_full());
    look(staying).await;
    assert!(take_all(staying).is_empty());
    let alone = Shards::start(1, 1).await;
    staying
        .snapshot
        .store(alone.contexts[0].snapshot.load_full());
    look(staying).await;
    assert_eq!(take_all(staying).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_gone_between_others_keeps_nobody_waiting() {
    let shards = Shards::start(3, 2).await;
    let [staying, gone, _] = &shards.contexts[..] else {
        panic!();
    };
    fill(gone, 2).await;
    let token = open(gone, Vec::new()).await.token;
    let held = offer(gone, token).await.unwrap();
    gone.queue.give_away(0, &held).await.unwrap();
    // What waits at the other side was offered to one that never got it.
    let other = message(9, Vec::new());
    staying.queue.append(other).await.unwrap();
    let mut cursor = Cursor::default();
    let offered = staying.queue.offer(1, &mut cursor, give::BATCH).await;
    assert_eq!(offered.unwrap().len(), 1);
    gone.shutdown.cancel();
    until("the port closes", || {
        std::net::TcpStream::connect((host(gone, 1), shards.port)).is_err()
    })
    .await;
    look(staying).await;
    assert!(take_all(staying).is_empty(), "nobody has said anything");
    staying.snapshot.store(shards.snapshot(0, &[2], &[1]));
    look(staying).await;
    assert_eq!(take_all(staying).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_shard_goes_as_any_other() {
    let shards = Shards::start(2, 2).await;
    let [first, second] = &shards.contexts[..] else {
        panic!();
    };
    fill(first, 3).await;
    for (shard, context) in (0..).zip(&shards.contexts) {
        context.snapshot.store(shards.snapshot(shard, &[0], &[]));
    }
    assert!(look(first).await && look(second).await);
    assert_eq!((messages(first), take_all(second).len()), (0, 3));
    assert!(!first.place().is_first() && second.place().is_first());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_to_go_takes_no_offer_of_a_conversation_that_it_began_before() {
    let shards = Shards::start(2, 1).await;
    let [staying, leaving] = &shards.contexts[..] else {
        panic!();
    };
    fill(leaving, 2).await;
    let token = open(leaving, Vec::new()).await.token;
    let none_stay = shards.snapshot(0, &[0, 1], &[]);
    staying.snapshot.store(none_stay);
    let refused = offer(leaving, token).await.unwrap_err();
    let conflict = hyper::StatusCode::CONFLICT;
    assert!(matches!(refused, SiblingError::Refused { code, .. } if code == conflict));
    assert_eq!(messages(staying), 0);
}

#[test]
fn a_batch_comes_back_as_it_was_and_damage_is_told() {
    let transfer = relay_queue::Transfer {
        id: MessageId(9),
        envelope: message(1, Vec::new()).envelope,
        pending: vec![relay_queue::Pending {
            recipient: 0,
            attempts: 4,
            due: Timestamp(77),
        }],
        delay_told: true,
    };
    let mut batch = Vec::new();
    wire::add(&mut batch, transfer.clone(), vec!["ab".into(), "c".into()]).unwrap();
    let first = batch.concat().len();
    wire::add(&mut batch, transfer.clone(), Vec::new()).unwrap();
    let octets = batch.concat();
    let read = wire::read(octets.clone().into()).unwrap();
    let expected = [
        (transfer.clone(), "abc".into()),
        (transfer, bytes::Bytes::new()),
    ];
    assert_eq!(read, expected);
    for end in (1..octets.len()).filter(|end| *end != first) {
        assert!(wire::read(octets[..end].to_vec().into()).is_err(), "{end}");
    }
    for hostile in [&[0xff; 8][..], b"\x02\0\0\0{}", b"\x04\0\0\0null"] {
        assert!(wire::read(hostile.to_vec().into()).is_err());
    }
}
