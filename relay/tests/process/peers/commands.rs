//! `MAIL` and `RCPT` as Postfix reads them and as this relay does: every command that one takes and the other
//! refuses is listed, with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};

use bytes::BytesMut;
use relay_smtp::server::{Event, Server, Settings};

use super::stage::stage;
use crate::relay::PATIENCE;

/// Commands of one connection; Postfix ends it after twenty errors.
const PER_CONNECTION: usize = 10;

/// Paths for both commands, `{64}` and the like standing for so many letters.
const PATHS: &[&str] = &[
    "<a@b.example>",
    "a@b.example",
    "<a@b.example",
    "a@b.example>",
    "< a@b.example >",
    " <a@b.example>",
    "  <a@b.example>  ",
    "<a @b.example>",
    "<a@ b.example>",
    "<a@b .example>",
    "<\"a b\"@c.example>",
    "<\"a\\\"b\"@c.example>",
    "<\"a\\\\b\"@c.example>",
    "<\"a@b\"@c.example>",
    "<\"\"@b.example>",
    "<\"a\"b@c.example>",
    "<\"a\".b@c.example>",
    "<\"a@c.example>",
    "<a\"b@c.example>",
    "<a\\b@c.example>",
    "<a\\@b@c.example>",
    "<a..b@c.example>",
    "<.a@b.example>",
    "<a.@b.example>",
    "<a@b..example>",
    "<a@.b.example>",
    "<a@b.example.>",
    "<a@-b.example>",
    "<a@b-.example>",
    "<a@b_c.example>",
    "<a@b>",
    "<A@B.EXAMPLE>",
    "<@r.example:a@b.example>",
    "<@r.example,@s.example:a@b.example>",
    "<@r.example:>",
    "<@r:a@b.example>",
    "<a@[192.0.2.1]>",
    "<a@[IPv6:2001:db8::1]>",
    "<a@[ipv6:2001:DB8::1]>",
    "<a@[2001:db8::1]>",
    "<a@[300.0.0.1]>",
    "<a@[192.0.2]>",
    "<a@[]>",
    "<a@[192.0.2.1>",
    "<a@[x400:y]>",
    "<a@192.0.2.1>",
    "<a>",
    "<postmaster>",
    "<PostMaster>",
    "<@>",
    "<a@>",
    "<@b.example>",
    "<a@b@c.example>",
    "<a%c.example@b.example>",
    "<b.example!a@c.example>",
    "<b.example!a>",
    "<a(comment)@b.example>",
    "<a@b.example (comment)>",
    "<a,b@c.example>",
    "<a;b@c.example>",
    "<a:b@c.example>",
    "<a<b@c.example>",
    "<a>b@c.example>",
    "<a[b]@c.example>",
    "<a+tag@b.example>",
    "<-a@b.example>",
    "<o'a@b.example>",
    "<`|{}~^*/=?&$#_!@b.example>",
    "<{64}@b.example>",
    "<{65}@b.example>",
    "<a@{63}.example>",
    "<a@{64}.example>",
    "<a@{63}.{63}.{63}.{40}.example>",
    "<a@{63}.{63}.{63}.{61}.example>",
    "<a@{63}.{63}.{63}.{63}.{63}>",
    "<ä@b.example>",
    "<a@bücher.example>",
    "<a@xn--bcher-kva.example>",
    "Name <a@b.example>",
    "\"Name\" <a@b.example>",
    "<<a@b.example>>",
    "<a@b.example>x",
    "<a@b.example> <c@d.example>",
    "<a@b.example>,<c@d.example>",
    "<a\t@b.example>",
    "<a\u{1}@b.example>",
    "<a\u{7f}@b.example>",
    "<a@b\u{1}.example>",
    "",
    " ",
    "<",
    ">",
    "<>",
    "< >",
    "<> ",
    "<>x",
];

/// How a command begins.
const BEGINNINGS: &[&str] = &[
    "mail from:",
    "MAIL FROM: ",
    "MAIL FROM :",
    "MAIL  FROM:",
    "MAIL\tFROM:",
    "MAIL FROM",
    "MAIL",
    "MAIL TO:",
    " MAIL FROM:",
    "rcpt to:",
    "RCPT TO: ",
    "RCPT TO :",
    "RCPT  TO:",
    "RCPT FROM:",
    "RCPT",
];

const SENDER_PARAMETERS: &[&str] = &[
    "SIZE=1",
    "SIZE=0",
    "size=1",
    "Size=0001",
    "SIZE=",
    "SIZE",
    "SIZE=x",
    "SIZE=-1",
    "SIZE=1x",
    "SIZE=99999999999",
    "SIZE=99999999999999999999999",
    "SIZE=1 SIZE=2",
    "BODY=7BIT",
    "BODY=8BITMIME",
    "body=8bitmime",
    "BODY=",
    "BODY",
    "BODY=x",
    "BODY=7BIT BODY=8BITMIME",
    "SMTPUTF8",
    "smtputf8",
    "SMTPUTF8=",
    "SMTPUTF8=x",
    "RET=FULL",
    "RET=hdrs",
    "RET=x",
    "RET=",
    "RET",
    "RET=FULL RET=HDRS",
    "ENVID=a",
    "ENVID=",
    "ENVID=a+3Db",
    "ENVID=a+3db",
    "ENVID=a+zz",
    "ENVID=a=b",
    "ENVID={100}",
    "ENVID={101}",
    "ENVID=a ENVID=b",
    "X=y",
    "X",
    "=",
    "X=y=z",
    " SIZE=1",
    "SIZE=1  ",
    "SIZE=1\tBODY=7BIT",
    "NOTIFY=NEVER",
];

const RECIPIENT_PARAMETERS: &[&str] = &[
    "NOTIFY=NEVER",
    "NOTIFY=SUCCESS",
    "notify=success,failure",
    "NOTIFY=SUCCESS,FAILURE,DELAY",
    "NOTIFY=SUCCESS,SUCCESS",
    "NOTIFY=NEVER,DELAY",
    "NOTIFY=DELAY,NEVER",
    "NOTIFY=",
    "NOTIFY",
    "NOTIFY=x",
    "NOTIFY=,DELAY",
    "NOTIFY=DELAY,",
    "NOTIFY=DELAY NOTIFY=NEVER",
    "ORCPT=rfc822;a@b.example",
    "orcpt=RFC822;a@b.example",
    "ORCPT=rfc822;a+3Db",
    "ORCPT=rfc822;a+zz",
    "ORCPT=rfc822;a=b",
    "ORCPT=rfc822;",
    "ORCPT=rfc822",
    "ORCPT=;a",
    "ORCPT=",
    "ORCPT",
    "ORCPT=x;y ORCPT=z;y",
    "ORCPT=utf-8;a\\x{E4}@b.example",
    "ORCPT=rfc822;{480}",
    "NOTIFY=DELAY ORCPT=rfc822;a",
    "SIZE=1",
    "X=y",
    "X",
];

/// Taken here and refused by Postfix, or the other way round: a path in both commands, or a whole command, and why.
/// What Postfix takes beyond RFC 5321 it reads as a header's address, and leaves it to the next server to
/// understand what it makes of it; here an address goes out as it came in, so it has to be one.
const DIFFERENCES: &[(&str, &str)] = &[
    ("a@b.example>", BRACKETS),
    ("<<a@b.example>>", BRACKETS),
    ("MAIL FROM:>", BRACKETS),
    ("<>x", BRACKETS),
    ("<a @b.example>", SPACE),
    ("<a@ b.example>", SPACE),
    ("<a@b .example>", SPACE),
    ("<a\t@b.example>", SPACE),
    ("<a\u{1}@b.example>", CONTROL),
    ("<a\u{7f}@b.example>", CONTROL),
    ("<a(comment)@b.example>", COMMENT),
    ("<a@b.example (comment)>", COMMENT),
    ("<\"a\".b@c.example>", LOCAL_PART),
    ("<a\\b@c.example>", LOCAL_PART),
    ("<a\\@b@c.example>", LOCAL_PART),
    ("<a:b@c.example>", LOCAL_PART),
    ("<a@b@c.example>", LOCAL_PART),
    ("<@b.example>", LOCAL_PART),
    ("MAIL FROM:<@r.example:>", LOCAL_PART),
    ("<a..b@c.example>", DOTS),
    ("<.a@b.example>", DOTS),
    ("<a.@b.example>", DOTS),
    (
        "<{65}@b.example>",
        "a local part has at most 64 octets (section 4.5.3.1.1)",
    ),
    (
        "<a@b.example.>",
        "a domain has no dot at its end (section 2.3.5); some servers refuse one",
    ),
    (
        "<a@[192.0.2.1>",
        "a literal ends in a bracket (section 4.1.3); Postfix adds it",
    ),
    ("<a>", NO_DOMAIN),
    ("<postmaster>", NO_DOMAIN),
    ("<PostMaster>", NO_DOMAIN),
    ("<b.example!a>", NO_DOMAIN),
    (
        "<ä@b.example>",
        "needs the parameter SMTPUTF8 (RFC 6531 section 3.3); Postfix asks for it at the next hop",
    ),
    (
        "<a@bücher.example>",
        "the domain is taken as its A-labels (RFC 5891), which need no SMTPUTF8",
    ),
    (
        "<-a@b.example>",
        "well-formed (section 4.1.2); Postfix keeps it from programs that would take it for an option",
    ),
    ("MAIL FROM :<a@b.example>", COLON),
    ("RCPT TO :<a@b.example>", COLON),
    ("MAIL FROM:<a@b.example> SIZE=1 SIZE=2", TWICE),
    ("MAIL FROM:<a@b.example> BODY=7BIT BODY=8BITMIME", TWICE),
    ("MAIL FROM:<a@b.example> ENVID=a+3db", XTEXT),
    ("MAIL FROM:<a@b.example> ENVID=a=b", XTEXT),
    ("RCPT TO:<a@b.example> ORCPT=rfc822;a=b", XTEXT),
    (
        "MAIL FROM:<a@b.example> ENVID={101}",
        "at most 100 characters (RFC 3461 section 4.4)",
    ),
    (
        "RCPT TO:<a@b.example> ORCPT=rfc822;",
        "an address has to follow (RFC 3461 section 4.2)",
    ),
    ("RCPT TO:<a@b.example> NOTIFY=,DELAY", LIST),
    ("RCPT TO:<a@b.example> NOTIFY=DELAY,", LIST),
];

const BRACKETS: &str =
    "brackets come in pairs and the path ends with them (section 4.1.2); both may be left out here";
const SPACE: &str = "no white space within an address (section 4.1.2); Postfix takes it out";
const CONTROL: &str = "no control characters in an address (section 4.1.2)";
const COMMENT: &str = "comments are of headers (RFC 5322 section 3.2.2), not of envelopes";
const LOCAL_PART: &str = "neither a dot-string nor a quoted string before the @ (section 4.1.2)";
const DOTS: &str = "dots stand between words (section 4.1.2); quoted, it is taken";
const NO_DOMAIN: &str = "a relay has no domain and no mailboxes of its own to complete it with (section 4.1.1.3 is about those)";
const COLON: &str = "harmless, and taken from old software (`lenient`); section 4.1.1.2 has none";
const TWICE: &str =
    "a parameter stands once (section 4.1.1.11); which of two counts is anybody's guess";
const XTEXT: &str = "no xtext (RFC 3461 section 4): capitals in +HH, and = only so";
const LIST: &str = "an empty element in a list that has none (RFC 3461 section 4.1)";

/// Braces with a number in them stand for so many letters.
fn filled(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('{') {
        let parts = after.split_once('}');
        let count = parts.and_then(|(count, after)| Some((count.parse().ok()?, after)));
        out.push_str(before);
        if let Some((count, after)) = count {
            out.push_str(&"x".repeat(count));
            rest = after;
        } else {
            out.push('{');
            rest = after;
        }
    }
    out + rest
}

/// All commands, each once, as they are named in [`DIFFERENCES`].
fn commands() -> Vec<String> {
    let mut commands = Vec::new();
    for path in PATHS {
        commands.push(format!("MAIL FROM:{path}"));
        commands.push(format!("RCPT TO:{path}"));
    }
    for beginning in BEGINNINGS {
        commands.push(format!("{beginning}<a@b.example>"));
    }
    for parameter in SENDER_PARAMETERS {
        commands.push(format!("MAIL FROM:<a@b.example> {parameter}"));
    }
    for parameter in RECIPIENT_PARAMETERS {
        commands.push(format!("RCPT TO:<a@b.example> {parameter}"));
    }
    commands.push("MAIL FROM:<ä@b.example> SMTPUTF8".into());
    commands.push("MAIL FROM:<a@bücher.example> SMTPUTF8".into());
    commands
}

fn is_recipient(command: &str) -> bool {
    command
        .trim_start()
        .to_ascii_lowercase()
        .starts_with("rcpt")
}

/// Whether the syntax was taken, from a reply; a recipient that is unknown, or not relayed to, was read.
fn taken(reply: &str) -> bool {
    let refused_by_policy = ["5.1.1", "5.1.2", "5.7.1"]
        .iter()
        .any(|code| reply.get(4..9) == Some(code));
    reply.starts_with(['2', '4']) || refused_by_policy
}

/// What Postfix says of each command, with all that a session needs before it.
fn by_postfix(address: SocketAddr, commands: &[String]) -> Vec<String> {
    let mut replies = Vec::new();
    for some in commands.chunks(PER_CONNECTION) {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut lines = BufReader::new(&stream).split(b'\n');
        let mut reply = || {
            loop {
                let line = lines.next().unwrap().unwrap();
                if line.get(3) != Some(&b'-') {
                    return String::from_utf8_lossy(&line).trim_end().to_owned();
                }
            }
        };
        let say = |text: &str| {
            (&stream)
                .write_all(format!("{text}\r\n").as_bytes())
                .unwrap();
        };
        reply();
        say("EHLO app.test");
        reply();
        for command in some {
            say("RSET");
            assert!(reply().starts_with("250"));
            if is_recipient(command) {
                say("MAIL FROM:<billing@shop.example>");
                assert!(reply().starts_with("250"));
            }
            say(&filled(command));
            replies.push(reply());
        }
    }
    replies
}

/// The same of this relay.
fn by_us(commands: &[String]) -> Vec<String> {
    commands.iter().map(|command| ours(command)).collect()
}

fn ours(command: &str) -> String {
    let mut server = Server::new(Settings::default());
    let mut input = BytesMut::from("EHLO app.test\r\n");
    if is_recipient(command) {
        input.extend_from_slice(b"MAIL FROM:<billing@shop.example>\r\n");
    }
    input.extend_from_slice(filled(command).as_bytes());
    input.extend_from_slice(b"\r\n");
    while let Some(event) = server.next(&mut input) {
        match event {
            Event::Mail(_) => server.answer_mail(Ok(())),
            Event::Flush | Event::Refused(_) => {}
            event => unreachable!("{command}: {event:?}"),
        }
    }
    let output = String::from_utf8_lossy(server.output());
    output.lines().last().unwrap().to_owned()
}

#[test]
fn commands_are_read_as_postfix_reads_them_but_for_what_is_listed() {
    let commands = commands();
    let theirs = by_postfix(stage().postfix(), &commands);
    let ours = by_us(&commands);
    let listed: BTreeMap<&str, &str> = DIFFERENCES.iter().copied().collect();
    assert_eq!(listed.len(), DIFFERENCES.len(), "something is listed twice");
    let mut left: BTreeSet<&str> = listed.keys().copied().collect();
    let (mut count, mut unknown) = (0, Vec::new());
    for ((command, theirs), ours) in commands.iter().zip(&theirs).zip(&ours) {
        if taken(theirs) == taken(ours) {
            continue;
        }
        count += 1;
        let path = ["MAIL FROM:", "RCPT TO:"]
            .iter()
            .find_map(|start| command.strip_prefix(start));
        let found = [Some(command.as_str()), path]
            .into_iter()
            .flatten()
            .find(|key| listed.contains_key(key));
        match found {
            Some(key) => {
                left.remove(key);
            }
            None => unknown.push(format!(
                "{command:?}\n  Postfix: {theirs}\n  here:    {ours}"
            )),
        }
    }
    assert!(
        unknown.is_empty(),
        "{} differences:\n{}",
        unknown.len(),
        unknown.join("\n")
    );
    assert!(
        left.is_empty(),
        "listed, and no difference any more: {left:?}"
    );
    println!("commands: {} read, {count} differences", commands.len());
}
