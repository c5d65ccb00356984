//! The configuration as a person or the operator writes it: what is taken is taken again when it is written
//! down, and a fault does not show what stands in place of a secret, whatever its form.
#![no_main]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use relay_config::parse_files;
use serde_json::{Value, json};

/// Fields that hold secrets.
const FIELDS: [&str; 5] = [
    "privateKey",
    "password",
    "clientSecret",
    "keys",
    "verifiers",
];
/// Put into them, as text and as a number that somebody did not put in quotes.
const SECRET: &str = "hunter2hunter2";
const NUMBER: u64 = 3_141_592_653_589;

fn read(name: &str, text: &[u8]) -> Result<Value, String> {
    let mut files = BTreeMap::from([(PathBuf::from(name), text.to_vec())]);
    // Files that inputs may name.
    for other in ["tls.crt", "tls.key", "ca.crt", "jwks.json"] {
        files.insert(PathBuf::from(other), b"{}".to_vec());
    }
    let parsed = parse_files(Path::new(name), &files).map_err(|error| error.to_string())?;
    let mut config = parsed.config;
    // Buckets are not among the files.
    config.buckets = None;
    assert!(config.validate().is_ok());
    Ok(serde_json::to_value(&config).expect("what was read can be written"))
}

/// Puts a secret, in a form that `choice` says, in place of each.
fn put_secrets(value: &mut Value, choice: u8) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if FIELDS.contains(&name.as_str()) {
                    *value = match choice % 5 {
                        0 => json!(SECRET),
                        1 => json!([SECRET]),
                        2 => json!({"a": SECRET}),
                        3 => json!([[SECRET, NUMBER]]),
                        _ => json!(NUMBER),
                    };
                } else {
                    put_secrets(value, choice);
                }
            }
        }
        Value::Array(values) => values
            .iter_mut()
            .for_each(|value| put_secrets(value, choice)),
        _ => {}
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, text)) = input.split_first() else {
        return;
    };
    let name = if choice & 1 == 0 {
        "relay.json"
    } else {
        "relay.yaml"
    };
    if let Ok(config) = read(name, text) {
        let written = serde_json::to_vec(&config).expect("JSON is written");
        assert_eq!(read("relay.json", &written), Ok(config));
    }
    let text = String::from_utf8_lossy(text);
    if text.contains(SECRET) || text.contains("31415926") {
        return;
    }
    if let Ok(mut value) = serde_json::from_str::<Value>(&text) {
        put_secrets(&mut value, *choice >> 1);
        let written = serde_json::to_vec(&value).expect("JSON is written");
        for name in ["relay.json", "relay.yaml"] {
            if let Err(fault) = read(name, &written) {
                assert!(
                    !fault.contains(SECRET) && !fault.contains("31415926"),
                    "{fault}"
                );
            }
        }
    }
});
