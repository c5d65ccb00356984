//! Secrets of a domain's return paths, in its key Secret beside the DKIM keys.
//!
//! | entry | content |
//! |---|---|
//! | `return-path-<n>.secret` | 32 random octets in base 64 |
//! | `return-path-<n>.made` | when it was made, RFC 3339 |
//!
//! The newest makes return paths. One is made anew after [`LIFE`]; an older one is kept for as long as
//! a return path is good after that, so that what is under way still finds home. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use relay_config::Secret;

use crate::certificates::SecretData;

/// Age at which the next is made.
const LIFE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// How long one is kept once there is a newer one: a return path is good for as long at most.
const OVERLAP: SignedDuration = SignedDuration::from_hours(35 * 24);

const PREFIX: &str = "return-path-";
const SECRET: &str = ".secret";
const MADE: &str = ".made";

/// The secrets, newest first.
pub fn read(data: &SecretData) -> Vec<Secret> {
    let text = |number: &u32| {
        let secret = data.get(&name(*number, SECRET))?;
        let text = std::str::from_utf8(secret).ok()?.trim();
        (!text.is_empty()).then(|| Secret::new(text))
    };
    numbers(data).keys().rev().filter_map(text).collect()
}

/// The data with the secrets as they should be now; `fresh` is used if one is due. Without a bounce
/// address nothing changes: the secrets are there when it comes back.
pub fn apply(mut data: SecretData, wanted: bool, fresh: &str, now: Timestamp) -> SecretData {
    if !wanted {
        return data;
    }
    let numbers = numbers(&data);
    let newest = numbers
        .last_key_value()
        .map(|(number, made)| (*number, *made));
    let age = newest.map(|(_, made)| now.duration_since(made));
    if age.is_none_or(|age| age >= LIFE) {
        let number = newest.map_or(1, |(number, _)| number.saturating_add(1));
        data.insert(name(number, SECRET), fresh.as_bytes().to_vec());
        let whole = Timestamp::from_second(now.as_second()).unwrap_or(now);
        data.insert(name(number, MADE), whole.to_string().into_bytes());
        return data;
    }
    if age.is_some_and(|age| age >= OVERLAP) {
        for number in numbers.keys().rev().skip(1) {
            data.remove(&name(*number, SECRET));
            data.remove(&name(*number, MADE));
        }
    }
    data
}

/// When each was made; an unreadable date is a very old one.
fn numbers(data: &SecretData) -> BTreeMap<u32, Timestamp> {
    let entries = data.keys().filter_map(|entry| {
        let number = entry.strip_prefix(PREFIX)?.strip_suffix(SECRET)?;
        number.parse().ok()
    });
    entries
        .map(|number| {
            let made = data.get(&name(number, MADE));
            let made = made.and_then(|made| std::str::from_utf8(made).ok()?.trim().parse().ok());
            (number, made.unwrap_or(Timestamp::UNIX_EPOCH))
        })
        .collect()
}

fn name(number: u32, suffix: &str) -> String {
    format!("{PREFIX}{number}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(number: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + number * 86_400).unwrap()
    }

    fn secrets(data: &SecretData) -> Vec<String> {
        let secrets = read(data);
        secrets.iter().map(|one| one.expose().to_owned()).collect()
    }

    #[test]
    fn a_secret_is_made_once_and_anew_after_its_life_with_overlap() {
        let mut data = SecretData::from([("mr-r1.pem".to_owned(), b"other".to_vec())]);
        let mut at = |days, fresh| {
            data = apply(data.clone(), true, fresh, day(days));
            assert!(data.contains_key("mr-r1.pem"));
            secrets(&data)
        };
        assert_eq!(at(0, "a"), ["a"]);
        assert_eq!(at(89, "b"), ["a"]);
        assert_eq!(at(90, "b"), ["b", "a"]);
        assert_eq!(at(124, "c"), ["b", "a"]);
        assert_eq!(at(125, "c"), ["b"]);
        assert_eq!(at(180, "c"), ["c", "b"]);
    }

    #[test]
    fn without_a_bounce_address_nothing_is_made_and_nothing_lost() {
        let data = apply(SecretData::new(), false, "a", day(0));
        assert!(data.is_empty());
        let data = apply(data, true, "a", day(0));
        let later = apply(data.clone(), false, "b", day(900));
        assert_eq!(later, data);
    }
}
