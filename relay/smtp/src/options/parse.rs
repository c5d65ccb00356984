//! Values of parameters, each with its own words when it is wrong.

use crate::command::CommandError;

use super::{
    ByMode, DeliverBy, GiveBack, Hold, LONGEST_ENVELOPE_ID, LONGEST_ORIGINAL, MailOptions, Notify,
    OriginalRecipient, RecipientOptions, date_time, decode_unicode, decode_xtext,
};

/// What follows the `=`, if there is one.
type Value<'a> = Option<&'a str>;

/// Takes a parameter of `MAIL`, its keyword in upper case; false when it is none of these.
pub(crate) fn mail(
    options: &mut MailOptions,
    keyword: &str,
    value: Value<'_>,
) -> Result<bool, CommandError> {
    match keyword {
        "RET" => options.give_back = Some(read(value, give_back, RET)?),
        "ENVID" => options.envelope_id = Some(read(value, envelope_id, ENVID)?),
        "BY" => options.deliver_by = Some(deliver_by(value)?),
        "HOLDFOR" | "HOLDUNTIL" if options.hold.is_some() => {
            return Err(CommandError::argument(
                "give HOLDFOR or HOLDUNTIL, not both",
            ));
        }
        "HOLDFOR" => options.hold = Some(read(value, hold_for, HOLDFOR)?),
        "HOLDUNTIL" => options.hold = Some(read(value, hold_until, HOLDUNTIL)?),
        "MT-PRIORITY" => options.priority = read(value, priority, MT_PRIORITY)?,
        "REQUIRETLS" if value.is_some() => {
            return Err(CommandError::argument("REQUIRETLS takes no value"));
        }
        "REQUIRETLS" => options.require_tls = true,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Takes a parameter of `RCPT`, its keyword in upper case; false when it is none of these.
pub(crate) fn recipient(
    options: &mut RecipientOptions,
    keyword: &str,
    value: Value<'_>,
) -> Result<bool, CommandError> {
    match keyword {
        "NOTIFY" => options.notify = Some(read(value, notify, NOTIFY)?),
        "ORCPT" => options.original = Some(read(value, original, ORCPT)?),
        _ => return Ok(false),
    }
    Ok(true)
}

const RET: &str = "RET is FULL or HDRS";
const ENVID: &str =
    "ENVID is up to 100 characters of xtext: printable ASCII with + = and space written as +HH";
const HOLDFOR: &str = "HOLDFOR is a number of seconds with up to 9 digits, from 1";
const HOLDUNTIL: &str = "HOLDUNTIL is a date and time such as 2030-01-31T09:00:00Z";
const MT_PRIORITY: &str = "MT-PRIORITY is a number from -9 to 9";
const NOTIFY: &str =
    "NOTIFY is NEVER, or of SUCCESS, FAILURE and DELAY what is wanted, with commas";
const ORCPT: &str = "ORCPT is a type and an address of up to 500 characters: rfc822;name@domain, \
                     with + = and space written as +HH";
const BY: &str =
    "BY is seconds and a mode: BY=3600;R to have the message back, BY=3600;N to be told";

fn read<T>(
    value: Value<'_>,
    parse: impl FnOnce(&str) -> Option<T>,
    usage: &str,
) -> Result<T, CommandError> {
    value
        .and_then(parse)
        .ok_or_else(|| CommandError::argument(usage))
}

fn give_back(value: &str) -> Option<GiveBack> {
    if value.eq_ignore_ascii_case("FULL") {
        Some(GiveBack::Full)
    } else if value.eq_ignore_ascii_case("HDRS") {
        Some(GiveBack::Headers)
    } else {
        None
    }
}

fn envelope_id(value: &str) -> Option<String> {
    if !(1..=LONGEST_ENVELOPE_ID).contains(&value.len()) {
        return None;
    }
    decode_xtext(value)
}

fn notify(value: &str) -> Option<Notify> {
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(Notify::default());
    }
    let mut notify = Notify::default();
    for word in value.split(',') {
        let wanted = match word.to_ascii_uppercase().as_str() {
            "SUCCESS" => &mut notify.success,
            "FAILURE" => &mut notify.failure,
            "DELAY" => &mut notify.delay,
            _ => return None,
        };
        // Twice the same word says nothing that is not clear.
        *wanted = true;
    }
    Some(notify)
}

fn original(value: &str) -> Option<OriginalRecipient> {
    let (kind, address) = value.split_once(';')?;
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '-';
    if kind.is_empty() || !kind.chars().all(is_word) || value.len() > LONGEST_ORIGINAL {
        return None;
    }
    let address = if kind.eq_ignore_ascii_case("utf-8") {
        decode_unicode(address)?
    } else {
        decode_xtext(address)?
    };
    (!address.is_empty()).then(|| OriginalRecipient {
        kind: kind.into(),
        address,
    })
}

fn deliver_by(value: Value<'_>) -> Result<DeliverBy, CommandError> {
    let by = read(value, by_value, BY)?;
    if by.mode == ByMode::Return && by.seconds <= 0 {
        return Err(CommandError::argument(
            "BY with mode R needs a time to come: more than 0 seconds",
        ));
    }
    Ok(by)
}

fn by_value(value: &str) -> Option<DeliverBy> {
    let (time, mode) = value.split_once(';')?;
    let digits = time.strip_prefix(['+', '-']).unwrap_or(time);
    let seconds: i64 = number(digits, 9)?.try_into().ok()?;
    let (mode, trace) = match mode.to_ascii_uppercase().as_str() {
        "N" => (ByMode::Notify, false),
        "NT" => (ByMode::Notify, true),
        "R" => (ByMode::Return, false),
        "RT" => (ByMode::Return, true),
        _ => return None,
    };
    Some(DeliverBy {
        seconds: if time.starts_with('-') {
            -seconds
        } else {
            seconds
        },
        mode,
        trace,
    })
}

fn hold_for(value: &str) -> Option<Hold> {
    number(value, 9)
        .filter(|seconds| *seconds > 0)
        .map(Hold::For)
}

fn hold_until(value: &str) -> Option<Hold> {
    date_time::read(value).map(Hold::Until)
}

fn priority(value: &str) -> Option<i8> {
    let digits = value.strip_prefix('-').unwrap_or(value);
    let number = i8::try_from(number(digits, 1)?).ok()?;
    Some(if value.starts_with('-') {
        -number
    } else {
        number
    })
}

/// One to `most` digits.
fn number(digits: &str, most: usize) -> Option<u64> {
    let good =
        (1..=most).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
    good.then(|| digits.parse().ok())?
}
