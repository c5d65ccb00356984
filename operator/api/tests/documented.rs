//! What users meet in conditions is in the operations guide, and what the guide lists exists.

use std::collections::BTreeSet;

const CONDITIONS: &str = include_str!("../src/conditions.rs");
const GUIDE: &str = include_str!("../../../docs/operations.md");

/// Values of the string constants of `conditions.rs`: condition types and reasons.
fn words() -> BTreeSet<&'static str> {
    CONDITIONS
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub const ")?.split('"').nth(1))
        .collect()
}

/// Words in back quotes in the first column of the guide's tables of conditions and reasons.
fn listed() -> BTreeSet<&'static str> {
    let (_, rest) = GUIDE.split_once("## Conditions").unwrap_or_default();
    let (tables, _) = rest.split_once("## Where is my mail").unwrap_or_default();
    tables
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('|').next())
        .flat_map(|cell| cell.split('`'))
        .filter(|word| word.starts_with(|first: char| first.is_ascii_uppercase()))
        .collect()
}

#[test]
fn every_condition_and_reason_is_in_the_operations_guide_and_no_other() {
    assert_eq!(words(), listed());
}
