//! Making the kubelet refresh a pod's files at once: it syncs a pod whose annotation changed, and
//! otherwise looks about once a minute. Pure.
//!
//! The value is `<start of the hash>.<attempt>.<seconds since 1970>`. The kubelet may have synced
//! before its own cache had the new Secret, so the touch is repeated, ever more rarely.

use jiff::Timestamp;

/// Characters of the hash in the annotation.
const HASH_LENGTH: usize = 16;
/// Wait before the second touch, in seconds; each further one waits twice as long.
const FIRST_WAIT: i64 = 3;
/// Longest wait, in seconds.
const LONGEST_WAIT: i64 = 60;

/// The value to write now; `None` when nothing needs to be written.
pub(super) fn next(current: Option<&str>, hash: &str, now: Timestamp) -> Option<String> {
    let hash = hash.get(..HASH_LENGTH).unwrap_or(hash);
    let now = now.as_second();
    let attempt = match current.and_then(parse) {
        Some((known, attempt, at)) if known == hash => {
            let wait = (FIRST_WAIT << attempt.min(10)).min(LONGEST_WAIT);
            if now.saturating_sub(at) < wait {
                return None;
            }
            attempt.saturating_add(1)
        }
        _ => 0,
    };
    Some(format!("{hash}.{attempt}.{now}"))
}

fn parse(value: &str) -> Option<(&str, u32, i64)> {
    let mut parts = value.split('.');
    let parsed = (
        parts.next()?,
        parts.next()?.parse().ok()?,
        parts.next()?.parse().ok()?,
    );
    parts.next().is_none().then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_new_hash_is_told_at_once_and_again_ever_more_rarely() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let rows = [
            (None, 100, Some("0123456789abcdef.0.100")),
            (
                Some("someotherhash000.7.99"),
                100,
                Some("0123456789abcdef.0.100"),
            ),
            (Some("0123456789abcdef.0.100"), 102, None),
            (
                Some("0123456789abcdef.0.100"),
                103,
                Some("0123456789abcdef.1.103"),
            ),
            (Some("0123456789abcdef.1.103"), 108, None),
            (Some("0123456789abcdef.4000000000.103"), 162, None),
            (
                Some("0123456789abcdef.9.103"),
                163,
                Some("0123456789abcdef.10.163"),
            ),
            (Some("not one of ours"), 5, Some("0123456789abcdef.0.5")),
        ];
        for (current, now, expected) in rows {
            assert_eq!(
                next(current, HASH, at(now)).as_deref(),
                expected,
                "{current:?} {now}"
            );
        }
    }
}
