//! The header of the PROXY protocol (version 2.2 of HAProxy's document, both of its formats), with
//! which a proxy says where the connection that it passes on really comes from.
//!
//! It says so before anything else, TLS included, and what follows belongs to another protocol: so
//! the parser tells how many octets more are the header's for sure, and the caller reads no more
//! than those. A header is as true as who writes it; whom to believe is for the caller to know.
//! Version 1 has at most [`LONGEST_TEXT`] octets, version 2 [`LONGEST_BINARY`]; its extensions
//! (TLVs) are skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Octets of a header of version 1.
pub const LONGEST_TEXT: usize = 107;
/// Octets of a header of version 2; the document allows for more, nobody sends it.
pub const LONGEST_BINARY: usize = 4096;

const TEXT: &[u8] = b"PROXY ";
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// `PROXY UNKNOWN` and its line end: no header of either version is shorter.
const SHORTEST: usize = 15;
/// Octets of version 2 before the addresses.
const BINARY_HEAD: usize = 16;

const MALFORMED: ProxyError =
    ProxyError("the PROXY line is not of the form PROXY TCP4 source destination port port");
const SHORT: ProxyError = ProxyError("the PROXY header is shorter than its addresses");

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client at this address.
    Client(SocketAddr),
    /// The proxy itself, as when it looks whether we are well, or it does not know.
    Proxy,
}

/// How far a header has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many octets more belong to it, one or more; perhaps not all.
    Need(usize),
    /// It is complete.
    Done(Origin),
}

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProxyError(pub &'static str);

/// Reads a header from its first octet. `octets` must not be longer than it.
pub fn parse(octets: &[u8]) -> Result<Progress, ProxyError> {
    let begins = |signature: &[u8]| {
        let length = octets.len().min(signature.len());
        octets[..length] == signature[..length]
    };
    let (is_text, is_binary) = (begins(TEXT), begins(BINARY));
    if !is_text && !is_binary {
        return Err(ProxyError(
            "the connection does not begin with a PROXY header",
        ));
    }
    if octets.len() < SHORTEST {
        return Ok(Progress::Need(SHORTEST - octets.len()));
    }
    if is_text {
        text(octets)
    } else {
        binary(octets)
    }
}

fn text(octets: &[u8]) -> Result<Progress, ProxyError> {
    let Some(end) = memchr::memchr(b'\n', octets) else {
        let missing = if octets.ends_with(b"\r") { 1 } else { 2 };
        if octets.len() + missing > LONGEST_TEXT {
            return Err(ProxyError("the PROXY line is too long"));
        }
        return Ok(Progress::Need(missing));
    };
    let line = octets
        .strip_suffix(b"\r\n")
        .filter(|line| line.len() + 1 == end && !line.contains(&b'\r'))
        .and_then(|line| std::str::from_utf8(line).ok())
        .ok_or(ProxyError("the PROXY line does not end in one CRLF"))?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        return Ok(Progress::Done(Origin::Proxy));
    }
    let (Some(source), Some(destination), Some(source_port), Some(port), None) = (
        words.next(),
        words.next(),
        words.next(),
        words.next(),
        words.next(),
    ) else {
        return Err(MALFORMED);
    };
    let address = |word: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let number = |word: &str| -> Option<u16> {
        let digits = word.bytes().all(|octet| octet.is_ascii_digit());
        let plain = word == "0" || !word.starts_with('0');
        (digits && plain).then(|| word.parse().ok())?
    };
    let client = address(source).zip(number(source_port));
    let (Some((ip, from)), Some(_), Some(_)) = (client, address(destination), number(port)) else {
        return Err(MALFORMED);
    };
    Ok(Progress::Done(Origin::Client(SocketAddr::new(ip, from))))
}

fn binary(octets: &[u8]) -> Result<Progress, ProxyError> {
    let Some(head) = octets.first_chunk::<BINARY_HEAD>() else {
        return Ok(Progress::Need(BINARY_HEAD - octets.len()));
    };
    let is_local = match head[12] {
        0x20 => true,
        0x21 => false,
        _ => {
            return Err(ProxyError(
                "the PROXY header has another version than 2, or an unknown command",
            ));
        }
    };
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if BINARY_HEAD + length > LONGEST_BINARY {
        return Err(ProxyError("the PROXY header is too long"));
    }
    let body = &octets[BINARY_HEAD..];
    if body.len() < length {
        return Ok(Progress::Need(length - body.len()));
    }
    if body.len() > length {
        return Err(ProxyError("something follows the PROXY header"));
    }
    if is_local {
        return Ok(Progress::Done(Origin::Proxy));
    }
    let origin = match head[13] {
        0x11 => {
            let block = body.first_chunk::<12>().ok_or(SHORT)?;
            let [a, b, c, d, ..] = *block;
            let port = u16::from_be_bytes([block[8], block[9]]);
            Origin::Client(SocketAddr::from(([a, b, c, d], port)))
        }
        0x21 => {
            let block = body.first_chunk::<36>().ok_or(SHORT)?;
            let ip: [u8; 16] = *block.first_chunk().ok_or(SHORT)?;
            let port = u16::from_be_bytes([block[32], block[33]]);
            Origin::Client(SocketAddr::from((ip, port)))
        }
        // Unspecified, or a socket of the proxy's own machine.
        0x00 | 0x31 => Origin::Proxy,
        _ => {
            return Err(ProxyError(
                "the PROXY header is about something other than TCP",
            ));
        }
    };
    Ok(Progress::Done(origin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As a caller does: never more than is needed.
    fn read(wire: &[u8]) -> Result<(Origin, usize), Option<ProxyError>> {
        let mut taken = 0;
        loop {
            match parse(&wire[..taken]) {
                Ok(Progress::Done(origin)) => return Ok((origin, taken)),
                Ok(Progress::Need(_)) if taken == wire.len() => return Err(None),
                Ok(Progress::Need(more)) => {
                    assert!(more > 0);
                    taken = wire.len().min(taken + more);
                }
                Err(error) => return Err(Some(error)),
            }
        }
    }

    fn client(text: &str) -> Origin {
        Origin::Client(text.parse().unwrap())
    }

    fn version_2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [BINARY, &[command, family], &length, body].concat()
    }

    #[test]
    fn version_1_is_read_to_its_line_end_and_no_further() {
        let rows = [
            (
                "PROXY TCP4 192.0.2.7 198.51.100.1 56324 25\r\n",
                client("192.0.2.7:56324"),
            ),
            (
                "PROXY TCP6 2001:db8::7 2001:db8::1 0 65535\r\n",
                client("[2001:db8::7]:0"),
            ),
            ("PROXY UNKNOWN\r\n", Origin::Proxy),
            ("PROXY UNKNOWN ff:: whatever 1 2\r\n", Origin::Proxy),
        ];
        for (header, origin) in rows {
            let wire = format!("{header}EHLO c\r\n");
            assert_eq!(
                read(wire.as_bytes()),
                Ok((origin, header.len())),
                "{header}"
            );
        }
    }

    #[test]
    fn version_2_is_read_with_its_extensions_and_no_further() {
        let four = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 0, 25];
        let mut six = [0; 36];
        six[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        six[15] = 7;
        six[33] = 80;
        let extended = [four.as_slice(), b"\x04\x00\x03abc"].concat();
        let rows = [
            (version_2(0x21, 0x11, &four), client("192.0.2.7:56324")),
            (version_2(0x21, 0x11, &extended), client("192.0.2.7:56324")),
            (version_2(0x21, 0x21, &six), client("[2001:db8::7]:80")),
            (version_2(0x20, 0x00, b""), Origin::Proxy),
            (version_2(0x20, 0x11, &four), Origin::Proxy),
            (version_2(0x21, 0x00, b"x"), Origin::Proxy),
            (version_2(0x21, 0x31, &[0; 216]), Origin::Proxy),
        ];
        for (header, origin) in rows {
            let wire = [header.as_slice(), b"\x16\x03\x01"].concat();
            assert_eq!(read(&wire), Ok((origin, header.len())), "{header:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused_as_soon_as_it_shows() {
        let long = format!("PROXY TCP4 {}\r\n", "1".repeat(100));
        let rows: [&[u8]; 22] = [
            b"EHLO client\r\n",
            b"E",
            b"\x16\x03\x01",
            b"\r\n\r\n\0\r\nQUIX",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 25 9\r\n",
            b"PROXY TCP4 192.0.2.7  198.51.100.1 56324 25\r\n",
            b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
            b"PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 25\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 25\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 01 25\r\n",
            b"PROXY TCP4 192.0.2.07 198.51.100.1 1 25\r\n",
            b"PROXY UDP4 192.0.2.7 198.51.100.1 1 25\r\n",
            b"PROXY tcp4 192.0.2.7 198.51.100.1 1 25\r\n",
            b"PROXY UNKNOWN abc\n",
            b"PROXY UNKNOWN\rabc\r\n",
            long.as_bytes(),
            &version_2(0x11, 0x11, &[0; 12]),
            &version_2(0x22, 0x11, &[0; 12]),
            &version_2(0x21, 0x12, &[0; 12]),
            &version_2(0x21, 0x11, &[0; 11]),
        ];
        for wire in rows {
            let result = read(wire);
            assert!(matches!(result, Err(Some(_))), "{wire:?}: {result:?}");
        }
        let huge = [BINARY, &[0x21, 0x11, 0xff, 0xff]].concat();
        assert_eq!(
            read(&huge),
            Err(Some(ProxyError("the PROXY header is too long")))
        );
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic_or_ask_for_nothing(
            start in prop::sample::select(vec![b"".as_slice(), TEXT, b"PROXY TCP4 ", BINARY]),
            rest: Vec<u8>,
        ) {
            let wire = [start, &rest].concat();
            let _ = read(&wire);
            let _ = parse(&wire);
        }
    }
}
