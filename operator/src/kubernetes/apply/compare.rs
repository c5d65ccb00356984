//! Whether an object is as it should be: pure, on JSON.

use aws_lc_rs::digest;
use operator_api::names::APPLIED_ANNOTATION;
use serde_json::Value;

/// SHA-256, in hexadecimal, of the object without its content.
pub(super) fn digest_of(value: &Value) -> String {
    let mut reduced = value.clone();
    if let Some(object) = reduced.as_object_mut() {
        for content in CONTENT {
            object.remove(content);
        }
    }
    // Maps of serde_json are sorted, so the text is the same for the same object.
    let digest = digest::digest(&digest::SHA256, reduced.to_string().as_bytes());
    digest.as_ref()[..16]
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Fields of Secrets and ConfigMaps that hold what users put there.
const CONTENT: [&str; 2] = ["data", "binaryData"];

pub(super) fn annotate(value: &mut Value, digest: &str) {
    value["metadata"]["annotations"][APPLIED_ANNOTATION] = digest.into();
}

/// Maps of which a further key changes the meaning: it selects other pods.
const WHOLE: [&str; 2] = ["selector", "matchLabels"];

/// Whether `live` has every field of `desired` with its value, and the same content.
pub(super) fn covers(live: &Value, desired: &Value) -> bool {
    same_content(live, desired) && contains(live, desired)
}

pub(super) fn same_content(live: &Value, desired: &Value) -> bool {
    let empty = Value::Object(serde_json::Map::new());
    let part = |value: &Value, name: &str| match value.get(name) {
        None | Some(Value::Null) => empty.clone(),
        Some(content) => content.clone(),
    };
    CONTENT
        .iter()
        .all(|name| part(live, name) == part(desired, name))
}

/// Lists must have the same length; what the API server adds to their items is passed over.
pub(super) fn contains(live: &Value, desired: &Value) -> bool {
    match (live, desired) {
        (_, Value::Null) => true,
        (Value::Object(live), Value::Object(desired)) => desired.iter().all(|(name, wanted)| {
            live.get(name).map_or_else(
                || is_empty(wanted),
                |found| {
                    if WHOLE.contains(&name.as_str()) {
                        found == wanted
                    } else {
                        contains(found, wanted)
                    }
                },
            )
        }),
        (Value::Array(live), Value::Array(desired)) => {
            live.len() == desired.len()
                && live
                    .iter()
                    .zip(desired)
                    .all(|(found, wanted)| contains(found, wanted))
        }
        (live, desired) => live == desired,
    }
}

/// The API server drops empty fields.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().all(is_empty),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}
