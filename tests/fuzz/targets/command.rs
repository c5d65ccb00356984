//! Command lines: no line panics, every refusal is one printable line, and what is taken for an
//! address is one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use relay_smtp::Address;
use relay_smtp::command::{Command, Recipient, Syntax};

fuzz_target!(|line: &[u8]| {
    judge(line, Syntax::Lenient);
    judge(line, Syntax::Strict);
});

fn judge(line: &[u8], syntax: Syntax) {
    match Command::parse(line, syntax) {
        Ok(command) => {
            assert!(!line.iter().any(|octet| b"\r\n\0".contains(octet)));
            match command {
                Command::Mail(mail) => mail.sender.as_ref().into_iter().for_each(same),
                Command::Rcpt(Recipient::Address(address), _) => same(&address),
                _ => {}
            }
        }
        Err(error) => {
            assert!((500..=599).contains(&error.code));
            assert!(error.enhanced.starts_with('5'));
            assert!(error.text.chars().all(|one| !one.is_control()), "{error}");
        }
    }
}

fn same(address: &Address) {
    assert_eq!(Address::parse(address.as_str()).as_ref(), Ok(address));
}
