//! What has to hold for the value of any header field.

use super::{authors, trace};
use crate::fields;

/// Panics where something does not hold.
pub(crate) fn value(value: &[u8]) {
    if let Ok(found) = authors::parse(value) {
        let plain: Vec<String> = found.iter().map(|author| format!("<{author}>")).collect();
        let again = authors::parse(plain.join(", ").as_bytes());
        assert_eq!(again.as_ref(), Ok(&found), "{plain:?}");
        let folded = authors::parse(plain.join(",\r\n\t").as_bytes());
        assert_eq!(folded, Ok(found), "{plain:?}");
    }
    let Some(hidden) = trace::hidden(value, "outbox.example") else {
        return;
    };
    let header = fields::parse(hidden.as_bytes());
    let count = header.map(|header| (header.fields.len(), header.end));
    assert_eq!(count, Ok((1, hidden.len())), "{hidden:?}");
    assert!(
        !trace::is_by(hidden.as_bytes(), "outbox.example"),
        "{hidden:?}"
    );
    let twice = trace::hidden(&hidden.as_bytes()["Received:".len()..], "outbox.example");
    assert_eq!(twice.as_deref(), Some(&*hidden));
}
