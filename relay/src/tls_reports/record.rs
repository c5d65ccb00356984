//! The TXT record by which a domain asks for reports (RFC 8460 section 3). Pure.

use hyper::Uri;
use relay_smtp::Address;

/// Places that one domain's report goes to.
const PLACES: usize = 4;
/// Octets of a place.
const LONGEST: usize = 512;

/// Where a report goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// By mail.
    Mail(Address),
    /// By a POST over HTTPS.
    Post(Uri),
}

/// The places in the TXT records of `_smtp._tls.<domain>`; `None` unless exactly one record is of this
/// kind, and names a place that can be used. Of a record with many the first count.
pub(crate) fn places<'a>(records: impl IntoIterator<Item = &'a str>) -> Option<Vec<Place>> {
    let mut ours = records.into_iter().filter(|text| {
        let version = text.split(';').next().unwrap_or_default();
        version.trim_end_matches(is_blank) == "v=TLSRPTv1"
    });
    let (Some(text), None) = (ours.next(), ours.next()) else {
        return None;
    };
    let value = text.split(';').skip(1).find_map(|field| {
        let (name, value) = field.split_once('=')?;
        (name.trim_matches(is_blank) == "rua").then_some(value)
    })?;
    let mut places = Vec::new();
    for place in value.split(',').filter_map(place) {
        if places.len() < PLACES && !places.contains(&place) {
            places.push(place);
        }
    }
    (!places.is_empty()).then_some(places)
}

fn place(text: &str) -> Option<Place> {
    let text = text.trim_matches(is_blank);
    let (scheme, rest) = text.split_once(':')?;
    if text.len() > LONGEST {
        return None;
    }
    if scheme.eq_ignore_ascii_case("mailto") {
        // Header fields that the link would set are nobody's business.
        let address = rest.split('?').next().unwrap_or_default();
        return Some(Place::Mail(Address::parse(&unescaped(address)?).ok()?));
    }
    if !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let uri: Uri = text.parse().ok()?;
    // `https:name` reads as a name and its port.
    let authority = uri.authority().filter(|_| uri.scheme().is_some())?;
    // Strangers choose the host; they do not choose the port, nor who we are there.
    let usual = authority.port_u16().is_none_or(|port| port == 443);
    (usual && !authority.as_str().contains('@') && !authority.host().is_empty())
        .then_some(Place::Post(uri))
}

/// Text without its percent-encoding (RFC 3986 section 2.1).
fn unescaped(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        if octet != b'%' {
            octets.push(octet);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        octets.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(octets).ok()
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t')
}

#[cfg(test)]
mod tests;
