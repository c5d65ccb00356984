//! Parameters of `MAIL` and `RCPT`: RFC 5321 section 4.1.2 `Mail-parameters`.
//!
//! Those of [`crate::options`] are read there.

use super::{CommandError, Mail, WHITE_SPACE};
use crate::options::{self, RecipientOptions};

/// `Mail` without its sender.
pub(super) fn mail(text: &str) -> Result<Mail, CommandError> {
    let mut mail = Mail::default();
    let mut seen = Seen::default();
    for (keyword, value) in split(text) {
        seen.once(keyword)?;
        let name = keyword.to_ascii_uppercase();
        if options::mail(&mut mail.options, &name, value)? {
            continue;
        }
        match (name.as_str(), value) {
            ("SIZE", Some(value)) => mail.size = Some(size(value)?),
            ("BODY", Some(value)) if value.eq_ignore_ascii_case("7BIT") => {}
            ("BODY", Some(value)) if value.eq_ignore_ascii_case("8BITMIME") => {
                mail.eight_bit = true;
            }
            ("BODY", Some(value)) if value.eq_ignore_ascii_case("BINARYMIME") => {
                mail.binary = true;
            }
            ("BODY", _) => {
                return Err(CommandError::argument(
                    "BODY is 7BIT, 8BITMIME or BINARYMIME",
                ));
            }
            ("SMTPUTF8", None) => mail.smtputf8 = true,
            ("SMTPUTF8", Some(_)) => {
                return Err(CommandError::argument("SMTPUTF8 takes no value"));
            }
            // RFC 4954 section 5: who is trusted to name another identity is nobody here.
            ("AUTH", Some(value)) if is_visible(value) => {}
            ("SIZE" | "AUTH", _) => return Err(bad_value(keyword)),
            _ => return Err(unknown("MAIL", keyword)),
        }
    }
    Ok(mail)
}

pub(super) fn recipient(text: &str) -> Result<RecipientOptions, CommandError> {
    let mut recipient = RecipientOptions::default();
    let mut seen = Seen::default();
    for (keyword, value) in split(text) {
        seen.once(keyword)?;
        if !options::recipient(&mut recipient, &keyword.to_ascii_uppercase(), value)? {
            return Err(unknown("RCPT", keyword));
        }
    }
    Ok(recipient)
}

fn split(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    text.split(WHITE_SPACE)
        .filter(|word| !word.is_empty())
        .map(|word| match word.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (word, None),
        })
}

/// Keywords so far. A second one of a name would leave open which counts.
#[derive(Default)]
struct Seen<'a>(Vec<&'a str>);

impl<'a> Seen<'a> {
    fn once(&mut self, keyword: &'a str) -> Result<(), CommandError> {
        if self.0.iter().any(|seen| seen.eq_ignore_ascii_case(keyword)) {
            return Err(CommandError::argument(format!("{keyword} stands twice")));
        }
        self.0.push(keyword);
        Ok(())
    }
}

/// RFC 1870 section 4: up to 20 digits. More than fits is more than any limit.
fn size(value: &str) -> Result<u64, CommandError> {
    if value.is_empty() || value.len() > 20 || !value.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(CommandError::argument("SIZE is a number of octets"));
    }
    Ok(value.parse().unwrap_or(u64::MAX))
}

/// Wider than the `xtext` of RFC 4954 section 5, since clients forget to encode it and it is not
/// used.
fn is_visible(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_graphic())
}

fn bad_value(keyword: &str) -> CommandError {
    CommandError::argument(format!("the value of {keyword} cannot be used"))
}

fn unknown(verb: &str, keyword: &str) -> CommandError {
    CommandError::new(
        555,
        "5.5.4",
        format!("{verb} has no parameter {keyword} here; EHLO lists what is offered"),
    )
}
