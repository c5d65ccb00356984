//! What a table holds, in 2 KiB: by it two shards find out where they differ. Pure.
//!
//! Rows fall into [`BUCKETS`] by their marks; a bucket's sum changes with every change of a row in it.
//! Sums are the same on every machine and in every version, or all would be sent for nothing.

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::{Change, Mark, Row};

/// Of 500,000 rows about two thousand are in one.
const BUCKETS: usize = 256;

/// A sum for each bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Digest(Vec<u64>);

impl Digest {
    /// The digest of rows in the order of their domains.
    pub(super) fn of<'a, R: Row>(changes: impl Iterator<Item = &'a Change<R>>) -> Self {
        let mut sums = vec![0_u64; BUCKETS];
        let mut last: Option<(&str, u64)> = None;
        for change in changes {
            let domain = change.domain();
            let hash = match last {
                Some((name, hash)) if name == domain => hash,
                _ => name_hash(domain),
            };
            last = Some((domain, hash));
            // When and by whom: no two changes of a row have both.
            let changed = mix(change.changed.0 ^ mix(hash ^ u64::from(change.by)));
            let bucket = Self::bucket(change.mark());
            if let Some(sum) = sums.get_mut(bucket) {
                *sum = sum.wrapping_add(mix(change.mark().bits() ^ changed));
            }
        }
        Self(sums)
    }

    /// The bucket of a mark.
    pub(super) fn bucket(mark: Mark) -> usize {
        usize::try_from(mark.bits() % BUCKETS as u64).unwrap_or_default()
    }

    /// Which buckets differ; all of them from a digest of another form.
    pub(super) fn differences(&self, other: &Self) -> Vec<bool> {
        let sums = self.0.iter().enumerate();
        sums.map(|(bucket, sum)| other.0.get(bucket) != Some(sum))
            .collect()
    }
}

fn name_hash(domain: &str) -> u64 {
    let hash = digest(&SHA256, domain.as_bytes());
    u64::from_be_bytes(hash.as_ref().first_chunk().copied().unwrap_or_default())
}

/// Spreads a difference in one bit over all: the last step of `SplitMix64` (Steele, Lea, Flood 2014).
const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
