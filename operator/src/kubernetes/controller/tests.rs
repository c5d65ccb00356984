//! What the driver waits for, in paused time.

use operator_api::SmtpRelay;

use super::*;

/// Longer than anything that is due.
const LONG: Duration = Duration::from_secs(10);

/// A relay is due at once; `running` never ends, and there may be `concurrency`.
async fn is_woken(concurrency: usize) -> bool {
    let triggers = Triggers::<SmtpRelay>::default();
    let key = Key::new("mail", "outbox");
    triggers.push_name("mail", "outbox");
    assert_eq!(triggers.take(), Some(key.clone()));
    triggers.done(&key, Instant::now(), Some(Duration::from_nanos(1)));
    let mut running = JoinSet::new();
    running.spawn(std::future::pending());
    let stop = CancellationToken::new();
    // The signal of the first request is still there.
    assert!(wait(&mut running, 2, &triggers, &stop).await.is_none());
    let waited = wait(&mut running, concurrency, &triggers, &stop);
    tokio::time::timeout(LONG, waited).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn what_is_due_wakes_nobody_while_there_is_no_room_for_it() {
    assert!(!is_woken(1).await);
    assert!(is_woken(2).await);
}

#[tokio::test(start_paused = true)]
async fn without_room_the_end_of_a_reconcile_and_a_stop_are_seen() {
    let triggers = Triggers::<SmtpRelay>::default();
    let mut running = JoinSet::new();
    running.spawn(async { Action::await_change() });
    let stop = CancellationToken::new();
    let ended = wait(&mut running, 1, &triggers, &stop).await;
    assert_eq!(ended.unwrap().unwrap().1, Action::await_change());
    running.spawn(std::future::pending());
    let (woken, ()) = tokio::join!(wait(&mut running, 1, &triggers, &stop), async {
        stop.cancel();
    });
    assert!(woken.is_none());
}
