use std::fs;
use std::path::Path;

/// Runs a property over the committed inputs of its target.
fn hold(target: &str, property: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fuzz/corpus")
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
fn what_fuzzing_found_of_records_holds() {
    hold("record", super::record);
}

#[test]
fn what_fuzzing_found_of_segments_holds() {
    hold("segment", super::segment);
    hold("segment", super::journal);
}
