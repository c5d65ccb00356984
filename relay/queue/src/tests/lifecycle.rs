//! The ordinary life of messages, and reopening.

use super::*;
use crate::{AppendError, OpenError, Outcome};

#[test]
fn a_message_is_taken_delivered_and_gone() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        Queue::open(
            settings(directory.path()),
            Timestamp(0),
            Box::new(by_domain),
        )
    };
    let (queue, recovery) = open().unwrap();
    assert_eq!(recovery, Recovery::default());
    let new = message(1, &["ann@dest.example"], "Subject: one\r\n\r\nbody\r\n");
    let envelope = new.envelope.clone();
    wait(queue.append(new)).unwrap();
    assert_eq!(queue.status(), (1, Some(Timestamp(1001))));
    assert_eq!(queue.next_due(), Some(Timestamp(1001)));
    assert!(queue.take(Timestamp(1000), &mut |_| true).is_none());
    queue.close();
    drop(queue);

    let (queue, recovery) = open().unwrap();
    assert_eq!(
        recovery,
        Recovery {
            messages: 1,
            ..Recovery::default()
        }
    );
    let work = queue.take(Timestamp(1001), &mut |_| true).unwrap();
    assert_eq!(&*work.destination, "dest.example");
    assert_eq!((work.attempts, &work.recipients[..]), (0, &[0][..]));
    assert_eq!(*work.envelope, envelope);
    assert_eq!(content(&queue, work.id), b"Subject: one\r\n\r\nbody\r\n");
    assert!(queue.take(LATE, &mut |_| true).is_none());
    wait(queue.settle(work, &[Outcome::Delivered], LATE, None)).unwrap();
    assert_eq!(queue.status(), (0, None));
    assert!(queue.content(id(1)).is_err());
    drop(queue);
    let (_queue, recovery) = open().unwrap();
    assert_eq!(recovery, Recovery::default());
}

#[test]
fn a_second_opener_is_told_and_a_stale_lock_file_is_no_obstacle() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        Queue::open(
            settings(directory.path()),
            Timestamp(0),
            Box::new(by_domain),
        )
    };
    let (queue, _) = open().unwrap();
    assert!(matches!(open(), Err(OpenError::InUse(_))));
    let clone = queue.clone();
    queue.close();
    assert!(directory.path().join("lock").exists());
    let (again, _) = open().unwrap();
    assert!(matches!(
        wait(clone.append(message(1, &["a@b.example"], "x"))),
        Err(AppendError::Closed)
    ));
    drop((queue, clone));
    assert!(matches!(open(), Err(OpenError::InUse(_))));
    drop(again);
    open().unwrap();
}
