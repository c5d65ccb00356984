//! Records that a domain may do without: MTA-STS (RFC 8461), TLS reports (RFC 8460), BIMI. Pure.
//!
//! They are looked at where they are published or asked for, and never decide whether a domain is ready.

use super::tags::{Tags, is_version};

/// Whether the texts at `_mta-sts.` of a domain are one record that senders follow (RFC 8461 section 3.1).
pub(super) fn mta_sts(texts: &[String]) -> Option<Result<(), String>> {
    let tags = match single(texts, "STSv1")? {
        Ok(tags) => tags,
        Err(fault) => return Some(Err(fault)),
    };
    let id = tags.get("id").unwrap_or_default();
    let good =
        (1..=32).contains(&id.len()) && id.bytes().all(|octet| octet.is_ascii_alphanumeric());
    Some(if good {
        Ok(())
    } else {
        Err("needs id= of 1 to 32 letters and digits, which changes with the policy".to_owned())
    })
}

/// Whether the texts at `_smtp._tls.` of a domain are one record that tells where reports go (RFC 8460
/// section 3), and those that are asked for.
pub(super) fn tls_reports(texts: &[String], wanted: &[String]) -> Option<Result<(), String>> {
    let tags = match single(texts, "TLSRPTv1")? {
        Ok(tags) => tags,
        Err(fault) => return Some(Err(fault)),
    };
    let uris: Vec<&str> = tags
        .get("rua")
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .collect();
    let good = |uri: &&str| uri.starts_with("mailto:") || uri.starts_with("https://");
    if !uris.iter().all(good) {
        return Some(Err("needs rua= with mailto: or https: addresses".to_owned()));
    }
    let lacks = wanted.iter().find(|uri| !uris.contains(&uri.as_str()));
    Some(lacks.map_or(Ok(()), |uri| Err(format!("does not send reports to {uri}"))))
}

/// Whether the texts at `default._bimi.` of a domain are one record that shows a logo.
pub(super) fn bimi(texts: &[String], wanted: Option<&str>) -> Option<Result<(), String>> {
    let tags = match single(texts, "BIMI1")? {
        Ok(tags) => tags,
        Err(fault) => return Some(Err(fault)),
    };
    let logo = tags.get("l").unwrap_or_default();
    Some(match wanted {
        Some(wanted) if wanted != logo => Err(format!("does not show the logo {wanted} in l=")),
        _ if logo.is_empty() || logo.starts_with("https://") => Ok(()),
        _ => Err("needs an https: address in l=".to_owned()),
    })
}

/// The tags of the one record of a version; `None` when there is none, and what is wrong when there are
/// several.
fn single<'a>(texts: &'a [String], version: &str) -> Option<Result<Tags<'a>, String>> {
    let mut records = texts.iter().filter(|text| is_version(text, version));
    let text = records.next()?;
    if records.next().is_some() {
        return Some(Err(
            "is there several times, which counts as none; leave one".to_owned(),
        ));
    }
    Some(Tags::parse(text).ok_or_else(|| "is no list of tags".to_owned()))
}

#[cfg(test)]
mod tests;
