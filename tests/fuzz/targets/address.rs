//! Envelope addresses: whatever is taken for one is written as it would be read again, and can put
//! nothing else onto the wire.
#![no_main]

use libfuzzer_sys::fuzz_target;
use relay_smtp::Address;

fuzz_target!(|text: &str| {
    let Ok(address) = Address::parse(text) else {
        return;
    };
    let written = address.as_str();
    assert!(written.len() <= 254 && address.local_part().len() <= 64);
    assert!(written.chars().all(|one| !one.is_control()), "{written:?}");
    assert!(address.domain().is_ascii());
    // The tag of an IPv6 literal has capitals.
    let domain = address.domain().replace("[IPv6:", "");
    assert!(!domain.bytes().any(|octet| octet.is_ascii_uppercase()));
    // The local part is untouched; quoting stays (cases R21, R47).
    assert!(text.starts_with(address.local_part()));
    assert_eq!(Address::parse(written).as_ref(), Ok(&address));
    assert_eq!(
        format!("{}@{}", address.local_part(), address.domain()),
        written
    );
});
