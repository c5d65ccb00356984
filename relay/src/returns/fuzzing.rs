//! What has to hold for reports.

use relay_smtp::Address;

use super::report::{self, Report};

/// Whatever comes in: reading is bounded, and an address is one.
pub(crate) fn read(content: &[u8]) {
    let Some(report) = report::read(content) else {
        return;
    };
    let addresses: Vec<&Address> = match &report {
        Report::Delivery(statuses) => {
            assert!((1..=100).contains(&statuses.len()));
            assert!(
                statuses
                    .iter()
                    .all(|status| status.detail.len() <= 3 * 4096)
            );
            statuses
                .iter()
                .flat_map(|status| &status.addresses)
                .collect()
        }
        Report::Complaint(complaint) => {
            assert!(complaint.addresses.len() <= 100 && complaint.paths.len() <= 100);
            assert!(complaint.detail.len() <= 3 * 8192);
            complaint.addresses.iter().chain(&complaint.paths).collect()
        }
    };
    for address in addresses {
        assert_eq!(Address::parse(address.as_str()).as_ref(), Ok(address));
    }
    // Servers on the way put fields in front, and the report stays what it is.
    let later = [b"Received: by mx.dest.example; a date\r\n", content].concat();
    if later.len() < 512 * 1024 {
        assert_eq!(report::read(&later), Some(report));
    }
}

/// Panics unless a report says this of these recipients.
pub(crate) fn says(content: &[u8], expected: &[(Address, bool)]) {
    let text = || content.escape_ascii().to_string();
    let found: Vec<(Option<Address>, bool)> = match report::read(content) {
        Some(Report::Delivery(statuses)) => statuses
            .into_iter()
            .map(|status| (status.addresses.into_iter().next(), status.failed.is_some()))
            .collect(),
        other => {
            assert!(other.is_some(), "no report: {}", text());
            return;
        }
    };
    assert_eq!(found.len(), expected.len(), "{}", text());
    for ((address, failed), (recipient, given_up)) in found.iter().zip(expected) {
        // The form of RFC 6533 for reports in ASCII is another text of the same address.
        if recipient.as_str().is_ascii() {
            assert_eq!(address.as_ref(), Some(recipient), "{}", text());
        }
        assert_eq!(failed, given_up, "{recipient}: {}", text());
    }
}
