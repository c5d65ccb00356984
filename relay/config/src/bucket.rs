//! Buckets: what grows with the number of domains and credentials.
//!
//! A Kubernetes Secret holds at most 1 MiB and a new mount means a new pod, so a relay mounts a
//! fixed number of optional Secrets from the start and each name has its place by a hash. The hash
//! must never change between versions: it is FNV-1a, written out here, and not the standard
//! library's, which may.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Credential, Domain};

/// Number of buckets. At about 3 KiB per domain with two keys, 64 MiB hold 20,000 domains.
pub const BUCKETS: usize = 64;

/// Content of one bucket file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Bucket {
    /// Domains, sorted by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<Domain>,
    /// Credentials, sorted by user name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<Credential>,
}

/// The bucket (0 to 63) of a domain or user name.
pub fn bucket_of(name: &str) -> usize {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // Folded to 16 bits first: FNV's low bits alone mix short names poorly.
    let folded = (hash ^ (hash >> 32) ^ (hash >> 16)) & 0xffff;
    usize::try_from(folded).unwrap_or_default() % BUCKETS
}

/// File of bucket `index` below the bucket directory, `00.json` to `63.json`.
pub fn bucket_file(index: usize) -> PathBuf {
    PathBuf::from(format!("{index:02}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_bucket_for_ever() {
        // Values are fixed: a change here would move every domain of every installation at once.
        let buckets = ["example.com", "shop.example", "invoices"].map(bucket_of);
        assert_eq!(buckets, [2, 35, 40]);
    }

    #[test]
    fn names_spread_over_all_buckets() {
        let mut counts = [0_u32; BUCKETS];
        for number in 0..6400 {
            counts[bucket_of(&format!("team{number}.example"))] += 1;
        }
        assert!(
            counts.iter().all(|&count| (50..200).contains(&count)),
            "{counts:?}"
        );
    }
}
