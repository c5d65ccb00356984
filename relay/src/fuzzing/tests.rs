use std::fs;
use std::path::Path;

use super::*;

/// Runs a property over the committed inputs of its target.
fn hold(target: &str, property: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fuzz/corpus")
        .join(target);
    let mut count = 0;
    for file in fs::read_dir(&directory).unwrap() {
        let path = file.unwrap().path();
        println!("{}", path.display());
        property(&fs::read(path).unwrap());
        count += 1;
    }
    assert!(count > 3, "{}: {count} inputs", directory.display());
}

#[test]
fn what_fuzzing_found_of_headers_holds() {
    hold("header", header);
}

#[test]
fn what_fuzzing_found_of_conversions_holds() {
    hold("mime", convert);
}

#[test]
fn what_fuzzing_found_of_signatures_holds() {
    hold("dkim", |input| sign(&[input]));
}

#[test]
fn what_fuzzing_found_of_mta_sts_policies_holds() {
    hold("sts", sts);
}

#[test]
fn what_fuzzing_found_of_tls_reports_holds() {
    hold("tls_report", tls_report);
}

#[test]
fn what_fuzzing_found_of_incoming_reports_holds() {
    hold("report", report);
}

#[test]
fn what_fuzzing_found_of_outgoing_reports_holds() {
    hold("bounce", bounce);
}

#[test]
fn what_fuzzing_found_of_requests_holds() {
    hold("request", request);
}
