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
    open_by(0, directory, now)
}

fn open_by(shard: u32, directory: &Path, now: Timestamp) -> Arc<Table<Word>> {
    let (table, damaged) = Table::open(directory, shard, now).unwrap();
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
    let (table, damaged) = Table::<Word>::open(directory.path(), 0, NOW).unwrap();
    assert_eq!((table.len(), damaged), (1, 1));
}

/// Tells `to` what `from` holds and `to` does not, as two shards do; how many changes were news.
async fn compare(from: &Arc<Table<Word>>, to: &Arc<Table<Word>>, now: Timestamp) -> usize {
    let buckets = to.digest(now).differences(&from.digest(now));
    let mut after = None;
    let mut merged = 0;
    loop {
        let changes = from.part(&buckets, after.as_ref(), 2, now);
        let Some(last) = changes.last() else {
            return merged;
        };
        after = Some(Place {
            domain: last.domain().to_owned(),
            mark: last.mark(),
        });
        merged += to.merge(changes, now).await.unwrap();
    }
}

#[tokio::test]
async fn the_last_change_wins_on_every_shard_whatever_way_and_order_it_comes() {
    let directories = [(); 3].map(|()| tempfile::tempdir().unwrap());
    for seed in 0..40 {
        let random = fastrand::Rng::with_seed(seed);
        shards_agree(random, &directories.each_ref().map(tempfile::TempDir::path)).await;
        for directory in &directories {
            std::fs::remove_file(directory.path().join("words.log")).unwrap();
        }
    }
}

/// Some changes on three shards with clocks of their own, of which some are told to some; then they
/// compare in a chain, so that the last hears of the first by the one between alone.
async fn shards_agree(mut random: fastrand::Rng, directories: &[&Path; 3]) {
    let shards = [0, 1, 2].map(|shard: usize| {
        let number = u32::try_from(shard).unwrap();
        open_by(number, directories[shard], NOW)
    });
    let mut told = shards.each_ref().map(|shard| shard.changes());
    let mut time = NOW.0;
    for _ in 0..30 {
        time += random.u64(0..3);
        let at = random.usize(..3);
        let now = Timestamp(time + 7 * u64::try_from(at).unwrap());
        let name = ["a", "b", "c"][random.usize(..3)];
        if random.u8(..3) == 0 {
            shards[at]
                .remove(SHOP.into(), mark(name), now)
                .await
                .unwrap();
        } else {
            let text = format!("{at} at {time}");
            shards[at]
                .add(word(name, &text, Some(100_000)), now)
                .await
                .unwrap();
        }
        while let Ok(change) = told[at].try_recv() {
            for (_, other) in shards.iter().enumerate().filter(|(shard, _)| *shard != at) {
                if random.bool() {
                    other.merge(vec![change.clone()], now).await.unwrap();
                }
            }
        }
    }
    let now = Timestamp(time + 100);
    for (from, to) in [(0, 1), (1, 2), (2, 1), (1, 0)] {
        compare(&shards[from], &shards[to], now).await;
    }
    let first = shards[0].digest(now);
    let rows = shards[0].page(None, None, 10, now);
    for shard in &shards {
        assert_eq!(shard.page(None, None, 10, now), rows);
        assert_eq!(shard.digest(now), first);
        assert_eq!(compare(shard, &shards[0], now).await, 0);
    }
    // What was taken over is durable.
    drop(shards);
    for directory in directories {
        assert_eq!(open(directory, NOW).page(None, None, 10, now), rows);
    }
}

#[tokio::test]
async fn a_removed_row_does_not_come_back_from_a_shard_that_was_away() {
    let directories = [0, 1].map(|shard| (shard, tempfile::tempdir().unwrap()));
    let [here, away] = directories
        .each_ref()
        .map(|(shard, one)| open_by(*shard, one.path(), NOW));
    here.add(word("a", "one", None), NOW).await.unwrap();
    assert_eq!(compare(&here, &away, NOW).await, 1);
    // By a clock that is behind.
    let before = Timestamp(NOW.0 - 5000);
    assert!(here.remove(SHOP.into(), mark("a"), before).await.unwrap());
    assert_eq!(compare(&away, &here, NOW).await, 0);
    assert_eq!(said(&here, "a", NOW), None);
    assert_eq!(compare(&here, &away, NOW).await, 1);
    assert_eq!(said(&away, "a", NOW), None);
    // A year later nobody has it any more.
    let later = NOW.after(REMEMBERED);
    assert_eq!(here.digest(later), away.digest(later));
    assert_eq!(compare(&here, &away, later).await, 0);
}

#[tokio::test]
async fn what_was_changed_in_one_millisecond_on_two_shards_ends_the_same_on_both() {
    let directories = [0, 1].map(|shard| (shard, tempfile::tempdir().unwrap()));
    let [one, other] = directories
        .each_ref()
        .map(|(shard, one)| open_by(*shard, one.path(), NOW));
    one.add(word("a", "one", Some(1000)), NOW).await.unwrap();
    other
        .add(word("a", "other", Some(2000)), NOW)
        .await
        .unwrap();
    assert_ne!(one.digest(NOW), other.digest(NOW));
    let merged = compare(&one, &other, NOW).await + compare(&other, &one, NOW).await;
    assert_eq!(merged, 1);
    assert_eq!(said(&one, "a", NOW), said(&other, "a", NOW));
}

#[tokio::test]
async fn a_full_table_takes_news_of_its_own_rows_and_leaves_the_rest_out() {
    let directories = [0, 1].map(|shard| (shard, tempfile::tempdir().unwrap()));
    let [full, other] = directories
        .each_ref()
        .map(|(shard, one)| open_by(*shard, one.path(), NOW));
    for name in ["a", "b", "c"] {
        full.add(word(name, "old", None), NOW).await.unwrap();
    }
    let later = Timestamp(NOW.0 + 10);
    for name in ["d", "e", "b"] {
        other.add(word(name, "new", None), later).await.unwrap();
    }
    assert_eq!(compare(&other, &full, later).await, 1);
    assert_eq!(said(&full, "b", later).as_deref(), Some("new"));
    assert_eq!(full.len(), 3);
}

#[test]
fn expired_rows_and_those_of_another_time_do_not_count_for_the_digest() {
    let digest = |rows: &[(&str, Option<u64>)], at: u64| {
        let changes: Vec<_> = rows
            .iter()
            .map(|(name, expires)| Change::put(word(name, "x", *expires), None, NOW, 0))
            .collect();
        let at = Timestamp(NOW.0 + at);
        Digest::of(changes.iter().filter(|change| change.holds(at)))
    };
    assert_eq!(
        digest(&[("a", None), ("b", Some(10))], 10),
        digest(&[("a", None)], 0)
    );
    assert_ne!(
        digest(&[("a", None), ("b", Some(10))], 9),
        digest(&[("a", None)], 0)
    );
    assert_ne!(digest(&[("a", None)], 0), digest(&[], 0));
    // The same in every version, or all shards would send all they have during an update.
    let text = serde_json::to_string(&digest(&[("a", None)], 0)).unwrap();
    let sums: Vec<u64> = serde_json::from_str(&text).unwrap();
    assert_eq!(sums.len(), 256);
    assert_eq!(sums.iter().max(), Some(&9_508_109_690_878_442_703));
}
