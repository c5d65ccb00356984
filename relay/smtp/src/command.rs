//! Commands of a client: RFC 5321 section 4.1, with STARTTLS (RFC 3207), AUTH (RFC 4954), SIZE (RFC
//! 1870), 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531), CHUNKING and BINARYMIME (RFC 3030), and the
//! parameters of [`crate::options`].
//!
//! Strict where laxness would let two servers read one stream differently: line ends, control
//! characters, what an address is. [`Syntax::Lenient`] forgives what harms nobody and real clients
//! do: white space and missing angle brackets (cases R24, R25, R28). What a client calls itself
//! blocks no mail in either (cases R32 and R33), and neither does the case of a keyword or tag.

use std::fmt;

use crate::address::Address;
use crate::options::{MailOptions, RecipientOptions};

mod parameters;
mod path;

/// How `MAIL` and `RCPT` are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// As RFC 5321 section 4.1.2 writes them: `MAIL FROM:<path>`, and spaces only between
    /// parameters.
    Strict,
    /// White space anywhere around the path, and no brackets around it, too.
    Lenient,
}

/// A command line, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// `HELO name`.
    Helo(&'a str),
    /// `EHLO name`.
    Ehlo(&'a str),
    /// `MAIL FROM:<path> parameters`.
    Mail(Mail),
    /// `RCPT TO:<path> parameters`.
    Rcpt(Recipient, RecipientOptions),
    /// `DATA`.
    Data,
    /// `BDAT size [LAST]`; this many octets follow the line, whatever the reply (RFC 3030 section
    /// 2).
    Bdat {
        /// Octets of the chunk; what does not fit into 64 bits is `u64::MAX`.
        size: u64,
        /// Whether the chunk ends the message; `Err` when what follows the size is no `LAST`.
        last: Result<bool, CommandError>,
    },
    /// `RSET`.
    Rset,
    /// `NOOP`, whatever follows.
    Noop,
    /// `QUIT`.
    Quit,
    /// `VRFY text`.
    Vrfy,
    /// `HELP`, whatever follows.
    Help,
    /// `EXPN` and other commands of RFC 5321 and its kin that this server knows and does not run.
    NotImplemented(&'a str),
    /// `STARTTLS`.
    StartTls,
    /// `AUTH mechanism [initial-response]`.
    Auth {
        /// Mechanism as written.
        mechanism: &'a str,
        /// Initial response in base 64; `=` for an empty one.
        initial: Option<&'a str>,
    },
    /// A verb of HTTP: a browser or another service was led here to speak for an attacker.
    Foreign,
}

/// What `MAIL` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mail {
    /// Reverse path; `None` is `<>`.
    pub sender: Option<Address>,
    /// `SIZE=`: octets that the client announces.
    pub size: Option<u64>,
    /// `BODY=8BITMIME`.
    pub eight_bit: bool,
    /// `BODY=BINARYMIME` (RFC 3030 section 3).
    pub binary: bool,
    /// `SMTPUTF8`.
    pub smtputf8: bool,
    /// What else is asked for.
    pub options: MailOptions,
}

/// What `RCPT` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// An address.
    Address(Address),
    /// `<Postmaster>`, without a domain (RFC 5321 section 4.1.1.3).
    Postmaster,
}

/// Why a line is no command: the reply's code, its enhanced code (RFC 3463) and words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError {
    /// 500, 501, 504, 553 or 555.
    pub code: u16,
    /// Enhanced code.
    pub enhanced: &'static str,
    /// What is wrong and what would do.
    pub text: String,
}

impl CommandError {
    fn new(code: u16, enhanced: &'static str, text: impl Into<String>) -> Self {
        let mut text = text.into();
        // It may quote the client, and goes into logs too.
        if text.contains(char::is_control) {
            text = text.replace(char::is_control, "?");
        }
        Self {
            code,
            enhanced,
            text,
        }
    }

    /// 501 5.5.4: the command is known, its argument is wrong.
    pub(crate) fn argument(text: impl Into<String>) -> Self {
        Self::new(501, "5.5.4", text)
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} {}", self.code, self.enhanced, self.text)
    }
}

impl<'a> Command<'a> {
    /// Parses one line without its CRLF.
    pub fn parse(line: &'a [u8], syntax: Syntax) -> Result<Self, CommandError> {
        // Case R4: the rest of the mail world may take a lone return for a line end.
        if memchr::memchr3(b'\r', b'\n', b'\0', line).is_some() {
            return Err(CommandError::new(
                500,
                "5.5.2",
                "a bare CR, LF or NUL stands in the command line",
            ));
        }
        let Ok(line) = std::str::from_utf8(line) else {
            return Err(CommandError::new(
                501,
                "5.5.2",
                "the command line is not valid UTF-8",
            ));
        };
        let line = match syntax {
            Syntax::Strict => line.trim_end_matches(WHITE_SPACE),
            Syntax::Lenient => line.trim_matches(WHITE_SPACE),
        };
        let (verb, rest) = match syntax {
            Syntax::Strict => line.split_once(' ').unwrap_or((line, "")),
            Syntax::Lenient => {
                let (verb, rest) = line.split_once(WHITE_SPACE).unwrap_or((line, ""));
                (verb, rest.trim_start_matches(WHITE_SPACE))
            }
        };
        Self::of(verb, rest, syntax)
    }

    fn of(verb: &'a str, argument: &'a str, syntax: Syntax) -> Result<Self, CommandError> {
        let is = |name: &str| verb.eq_ignore_ascii_case(name);
        if is("MAIL") {
            return mail(argument, syntax).map(Self::Mail);
        }
        if is("RCPT") {
            return recipient(argument, syntax);
        }
        if is("DATA") {
            return alone("DATA", argument, Self::Data);
        }
        if is("BDAT") {
            return bdat(argument);
        }
        if is("EHLO") {
            return client_name("EHLO", argument).map(Self::Ehlo);
        }
        if is("QUIT") {
            return alone("QUIT", argument, Self::Quit);
        }
        if is("RSET") {
            return alone("RSET", argument, Self::Rset);
        }
        if is("AUTH") {
            return auth(argument);
        }
        if is("STARTTLS") {
            return alone("STARTTLS", argument, Self::StartTls);
        }
        if is("HELO") {
            return client_name("HELO", argument).map(Self::Helo);
        }
        if is("NOOP") {
            return Ok(Self::Noop);
        }
        if is("HELP") {
            return Ok(Self::Help);
        }
        if is("VRFY") && argument.is_empty() {
            return Err(CommandError::argument(
                "VRFY needs an address: VRFY name@domain",
            ));
        }
        if is("VRFY") {
            return Ok(Self::Vrfy);
        }
        if ["EXPN", "ETRN", "TURN", "SEND", "SOML", "SAML"]
            .iter()
            .any(|name| is(name))
        {
            return Ok(Self::NotImplemented(verb));
        }
        let web = [
            "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "PATCH", "Host:",
        ];
        if web.iter().any(|name| is(name)) {
            return Ok(Self::Foreign);
        }
        Err(CommandError::new(
            500,
            "5.5.1",
            "command not recognised; HELP lists those that are",
        ))
    }
}

/// What separates words: a space, and the tab that some clients send.
const WHITE_SPACE: [char; 2] = [' ', '\t'];

fn alone<'a>(
    verb: &str,
    argument: &str,
    command: Command<'a>,
) -> Result<Command<'a>, CommandError> {
    if argument.is_empty() {
        return Ok(command);
    }
    Err(CommandError::argument(format!("{verb} takes no argument")))
}

/// The size says where the next command is, so what follows it is judged apart.
fn bdat(argument: &str) -> Result<Command<'_>, CommandError> {
    let mut words = argument.split(WHITE_SPACE).filter(|word| !word.is_empty());
    let digits = words.next().unwrap_or_default();
    if !(1..=20).contains(&digits.len()) || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(CommandError::argument(
            "BDAT needs the chunk's size in octets: BDAT 1024, or BDAT 1024 LAST",
        ));
    }
    let last = match (words.next(), words.next()) {
        (None, _) => Ok(false),
        (Some(word), None) if word.eq_ignore_ascii_case("LAST") => Ok(true),
        _ => Err(CommandError::argument(
            "only LAST may follow the size: BDAT 1024 LAST",
        )),
    };
    Ok(Command::Bdat {
        size: digits.parse().unwrap_or(u64::MAX),
        last,
    })
}

/// Any word will do: a client's idea of its own name must not block mail (case R33). Who shows it
/// to anybody has to make it safe first.
fn client_name<'a>(verb: &str, argument: &'a str) -> Result<&'a str, CommandError> {
    match argument.split(WHITE_SPACE).next() {
        Some(name) if !name.is_empty() && !name.chars().any(char::is_control) => Ok(name),
        _ => Err(CommandError::argument(format!(
            "{verb} needs the client's host name: {verb} client.example"
        ))),
    }
}

fn auth(argument: &str) -> Result<Command<'_>, CommandError> {
    let mut words = argument.split(WHITE_SPACE).filter(|word| !word.is_empty());
    let (Some(mechanism), initial, None) = (words.next(), words.next(), words.next()) else {
        return Err(CommandError::argument(
            "AUTH needs a mechanism and at most one initial response: AUTH PLAIN [response]",
        ));
    };
    Ok(Command::Auth { mechanism, initial })
}

fn mail(argument: &str, syntax: Syntax) -> Result<Mail, CommandError> {
    let (path, rest) = path::split("MAIL", "FROM", argument, syntax)?;
    let sender = path::reverse(path)?;
    let mut mail = parameters::mail(rest)?;
    if !mail.smtputf8 && sender.as_ref().is_some_and(Address::is_utf8) {
        return Err(needs_smtputf8());
    }
    mail.sender = sender;
    Ok(mail)
}

fn recipient(argument: &str, syntax: Syntax) -> Result<Command<'_>, CommandError> {
    let (path, rest) = path::split("RCPT", "TO", argument, syntax)?;
    let recipient = path::forward(path)?;
    Ok(Command::Rcpt(recipient, parameters::recipient(rest)?))
}

/// RFC 6531 section 3.5.
pub(crate) fn needs_smtputf8() -> CommandError {
    CommandError::new(
        553,
        "5.6.7",
        "the address is not ASCII; give the SMTPUTF8 parameter with MAIL to use it",
    )
}

#[cfg(test)]
mod tests;
