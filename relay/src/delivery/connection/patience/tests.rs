use super::*;

const LIMIT: Duration = Duration::from_mins(5);
const MINUTE: Duration = Duration::from_mins(1);

#[test]
fn one_reply_has_its_time_whatever_comes_of_it() {
    let now = Instant::now();
    let mut patience = Patience::default();
    for minute in 0..5 {
        let until = patience.until(7, LIMIT, now + MINUTE * minute);
        assert_eq!(until, now + LIMIT);
        assert!(matches!(
            patience.late(LIMIT),
            ConnectionError::Silent(LIMIT)
        ));
    }
    let until = patience.until(8, LIMIT, now + MINUTE * 5);
    assert_eq!(until, now + LIMIT * 2);
}

#[test]
fn any_reply_to_an_envelope_may_take_its_time_and_all_of_them_may_not() {
    let now = Instant::now();
    let mut patience = Patience::default();
    patience.begin(100, LIMIT, now);
    // Whichever it is, the one slow reply has all of its time.
    for replies in 0..100_u32 {
        let at = now + Duration::from_secs(1) * replies;
        let until = patience.until(u64::from(replies), LIMIT, at);
        assert_eq!(until, at + LIMIT);
    }
    patience.begin(100, LIMIT, now);
    let (mut at, mut replies) = (now, 0);
    loop {
        let until = patience.until(replies, LIMIT, at);
        if until < at + LIMIT {
            at = until;
            break;
        }
        (at, replies) = (until, replies + 1);
    }
    // 5 minutes, and 15 seconds for each of 103 others.
    let whole = Duration::from_secs(300 + 103 * 15);
    assert_eq!(at, now + whole);
    let late = patience.late(LIMIT);
    assert!(
        matches!(late, ConnectionError::Slow(told) if told == whole),
        "{late}"
    );
}

#[test]
fn what_follows_the_envelope_has_times_of_its_own() {
    let now = Instant::now();
    let mut patience = Patience::default();
    patience.begin(1, LIMIT, now);
    patience.end();
    let until = patience.until(3, LIMIT * 2, now + LIMIT);
    assert_eq!(until, now + LIMIT * 3);
}
