//! Commands of a client: RFC 5321 section 4.1, with STARTTLS (RFC 3207), AUTH (RFC 4954), SIZE (RFC
//! 1870), 8BITMIME (RFC 6152) and SMTPUTF8 (RFC 6531).
//!
//! Strict where laxness would let two servers read one stream differently: line ends, control
//! characters, what an address is. Lenient where it harms nobody and real clients need it: white
//! space, missing angle brackets, host names that are none (cases R24, R25, R28, R32, R33).

use std::fmt;

use crate::address::Address;

mod parameters;
mod path;

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
    Rcpt(Recipient),
    /// `DATA`.
    Data,
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
    /// `SMTPUTF8`.
    pub smtputf8: bool,
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
    fn argument(text: impl Into<String>) -> Self {
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
    pub fn parse(line: &'a [u8]) -> Result<Self, CommandError> {
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
        let line = line.trim_matches(WHITE_SPACE);
        let (verb, rest) = line.split_once(WHITE_SPACE).unwrap_or((line, ""));
        Self::of(verb, rest.trim_start_matches(WHITE_SPACE))
    }

    fn of(verb: &'a str, argument: &'a str) -> Result<Self, CommandError> {
        let is = |name: &str| verb.eq_ignore_ascii_case(name);
        if is("MAIL") {
            return mail(argument).map(Self::Mail);
        }
        if is("RCPT") {
            return recipient(argument).map(Self::Rcpt);
        }
        if is("DATA") {
            return alone("DATA", argument, Self::Data);
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
        if ["EXPN", "BDAT", "ETRN", "TURN", "SEND", "SOML", "SAML"]
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

fn mail(argument: &str) -> Result<Mail, CommandError> {
    let (path, rest) = path::split("MAIL", "FROM", argument)?;
    let sender = path::reverse(path)?;
    let mut mail = parameters::mail(rest)?;
    if !mail.smtputf8 && sender.as_ref().is_some_and(Address::is_utf8) {
        return Err(needs_smtputf8());
    }
    mail.sender = sender;
    Ok(mail)
}

fn recipient(argument: &str) -> Result<Recipient, CommandError> {
    let (path, rest) = path::split("RCPT", "TO", argument)?;
    let recipient = path::forward(path)?;
    parameters::recipient(rest)?;
    Ok(recipient)
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
