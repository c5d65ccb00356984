//! What has to hold for changes that another shard tells of.

use relay_queue::Timestamp;

use super::{Change, Changes, Mark, Row};
use crate::fuzzing::again;

/// Of two changes of a row one wins, whoever asks; a change never wins over itself.
pub(crate) fn changes<R: Row>(body: &[u8]) {
    let Some(Changes { changes }) = again::<Changes<R>>(body) else {
        return;
    };
    for one in &changes {
        assert!(!one.wins_over(one));
        let removed = one.remove(Timestamp(1), 0);
        assert!(removed.wins_over(one) || one.changed.0 == u64::MAX);
        assert_eq!(
            (removed.domain(), removed.mark()),
            (one.domain(), one.mark())
        );
        for other in &changes {
            let same = (one.changed, one.by) == (other.changed, other.by);
            assert_eq!(one.wins_over(other), !same && !other.wins_over(one));
        }
    }
    let _: Option<&Change<R>> = changes.first();
}

/// A mark is written as it is read.
pub(crate) fn mark(text: &[u8]) {
    let Some(mark) = str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse::<Mark>().ok())
    else {
        return;
    };
    let written = mark.to_string();
    assert_eq!(written.parse::<Mark>().ok(), Some(mark));
    assert_eq!(
        Some(written.to_ascii_lowercase()),
        str::from_utf8(text).ok().map(str::to_ascii_lowercase)
    );
}
