//! What holds for every table.

use std::path::Path;
use std::sync::Arc;

use relay_smtp::Address;
use serde::Deserialize;

use super::*;

const NOW: Timestamp = Timestamp(1_790_000_000_000);
const SHOP: &str = "shop.example";

/// A row that says one word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Word {
    domain: String,
    mark: Mark,
    text: String,
    expires: Option<Timestamp>,
}

impl Row for Word {
    const NAME: &'static str = "words";
    const MOST: usize = 3;

    fn domain(&self) -> &str {
        &self.domain
    }

    fn mark(&self) -> Mark {
        self.mark
    }

    fn expires(&self) -> Option<Timestamp> {
        self.expires
    }
}

fn mark(name: &str) -> Mark {
    Mark::of(&Address::parse(&format!("{name}@dest.example")).unwrap())
}

fn word(name: &str, word: &str, expires: Option<u64>) -> Word {
    Word {
        domain: SHOP.into(),
        mark: mark(name),
        text: word.into(),
        expires: expires.map(|after| Timestamp(NOW.0 + after)),
    }
}

fn open(directory: &Path, now: Timestamp) -> Arc<Table<Word>> {
    let (table, damaged) = Table::open(directory, now).unwrap();
    assert_eq!(damaged, 0);
    Arc::new(table)
}

fn said(table: &Table<Word>, name: &str, now: Timestamp) -> Option<String> {
    table.find(SHOP, mark(name), now).map(|row| row.text)
}

#[tokio::test]
async fn the_last_word_counts_even_if_the_clock_went_back() {
    let directory = tempfile::tempdir().unwrap();
    let table = open(directory.path(), NOW);
    let before = Timestamp(NOW.0 - 5000);
    table.add(word("a", "one", None), NOW).await.unwrap();
    table.add(word("a", "two", None), before).await.unwrap();
    for table in [&table, &open(directory.path(), NOW)] {
        assert_eq!(said(table, "a", NOW).as_deref(), Some("two"));
    }
    assert!(table.remove(SHOP.into(), mark("a"), before).await.unwrap());
    for table in [&table, &open(directory.path(), NOW)] {
        assert_eq!(said(table, "a", NOW), None);
        assert_eq!(table.len(), 0);
    }
}

#[tokio::test]
async fn a_removed_row_takes_room_until_every_copy_of_it_would_have_expired() {
    let directory = tempfile::tempdir().unwrap();
    let table = open(directory.path(), NOW);
    for name in ["a", "b", "c"] {
        table.add(word(name, name, Some(1000)), NOW).await.unwrap();
    }
    assert!(table.remove(SHOP.into(), mark("a"), NOW).await.unwrap());
    let full = table.add(word("d", "d", None), NOW).await.unwrap_err();
    assert_eq!(
        full.to_string(),
        "the table words has 3 rows, which is all it can hold; remove some"
    );
    // A row that is there already may change.
    table.add(word("b", "new", Some(2000)), NOW).await.unwrap();
    let later = Timestamp(NOW.0 + 1000);
    table.add(word("d", "d", None), later).await.unwrap();
    assert_eq!(said(&table, "b", later).as_deref(), Some("new"));
    assert_eq!(said(&table, "d", later).as_deref(), Some("d"));
}

#[tokio::test]
async fn an_expired_row_is_not_there_to_be_removed() {
    let directory = tempfile::tempdir().unwrap();
    let table = open(directory.path(), NOW);
    table.add(word("a", "one", Some(1000)), NOW).await.unwrap();
    let later = Timestamp(NOW.0 + 1000);
    assert!(!table.remove(SHOP.into(), mark("a"), later).await.unwrap());
    assert!(!table.remove(SHOP.into(), mark("b"), NOW).await.unwrap());
}

#[tokio::test]
async fn what_another_version_wrote_is_counted_and_the_rest_is_read() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path(), NOW)
        .add(word("a", "one", None), NOW)
        .await
        .unwrap();
    let (mut journal, _) =
        relay_queue::journal::Journal::open(directory.path(), "words.log").unwrap();
    journal
        .append(br#"{"changed":1,"state":{"rumour":{}}}"#)
        .unwrap();
    drop(journal);
    let (table, damaged) = Table::<Word>::open(directory.path(), NOW).unwrap();
    assert_eq!((table.len(), damaged), (1, 1));
}
