//! Records as they are found in the world, and as an enemy writes them.

use super::*;

fn read(records: &[&str]) -> Option<Vec<String>> {
    let places = places(records.iter().copied())?;
    let text = |place: &Place| match place {
        Place::Mail(address) => format!("mail {address}"),
        Place::Post(uri) => format!("post {uri}"),
    };
    Some(places.iter().map(text).collect())
}

#[test]
fn places_are_read_as_rfc_8460_writes_them() {
    let rows: &[(&str, &[&str])] = &[
        (
            "v=TLSRPTv1;rua=mailto:reports@example.com",
            &["mail reports@example.com"],
        ),
        (
            "v=TLSRPTv1; rua=https://reporting.example.com/v1/tlsrpt",
            &["post https://reporting.example.com/v1/tlsrpt"],
        ),
        (
            "v=TLSRPTv1 ; x=y; rua = mailto:a@example.com , HTTPS://b.example.com:443/?q=1 ;",
            &["mail a@example.com", "post https://b.example.com:443/?q=1"],
        ),
        (
            "v=TLSRPTv1; rua=mailto:a%2Bb@example.com?subject=x",
            &["mail a+b@example.com"],
        ),
        (
            "v=TLSRPTv1; rua=ftp://x.example.com/,mailto:a@example.com",
            &["mail a@example.com"],
        ),
        (
            "v=TLSRPTv1; rua=mailto:a@example.com,mailto:a@example.com",
            &["mail a@example.com"],
        ),
    ];
    for (record, expected) in rows {
        assert_eq!(read(&[record]).unwrap(), *expected, "{record}");
    }
    let two = ["v=spf1 -all", rows[0].0];
    assert_eq!(read(&two).unwrap(), rows[0].1, "other records do not count");
}

#[test]
fn what_is_no_record_asks_for_no_report() {
    let rows: &[&[&str]] = &[
        &[],
        &["v=TLSRPTv2; rua=mailto:a@example.com"],
        &["rua=mailto:a@example.com; v=TLSRPTv1"],
        &["v=TLSRPTv1"],
        &["v=TLSRPTv1; rua="],
        &["v=TLSRPTv1; rua=mailto:"],
        &["v=TLSRPTv1; rua=mailto:nobody"],
        &["v=TLSRPTv1; rua=https:reports.example.com"],
        &["v=TLSRPTv1; rua=https:++.example.com"],
        &["v=TLSRPTv1; rua=mailto:a%0D%0ABcc:%20b@example.com"],
        &["v=TLSRPTv1; rua=mailto:a%zz@example.com"],
        &["v=TLSRPTv1; rua=http://example.com/"],
        // Where strangers may not send the relay.
        &["v=TLSRPTv1; rua=https://example.com:22/"],
        &["v=TLSRPTv1; rua=https://user:password@example.com/"],
        &["v=TLSRPTv1; rua=https:///path"],
        &[
            "v=TLSRPTv1; rua=mailto:a@example.com",
            "v=TLSRPTv1; rua=mailto:b@example.com",
        ],
    ];
    for records in rows {
        assert_eq!(read(records), None, "{records:?}");
    }
    let long = format!(
        "v=TLSRPTv1; rua=https://example.com/{}",
        "x".repeat(LONGEST)
    );
    assert_eq!(read(&[&long]), None);
    let many: Vec<String> = (0..1000)
        .map(|one| format!("mailto:a{one}@example.com"))
        .collect();
    let many = format!("v=TLSRPTv1; rua={}", many.join(","));
    assert_eq!(read(&[&many]).unwrap().len(), PLACES);
}
