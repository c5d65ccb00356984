//! The two texts of MTA-STS (RFC 8461): the TXT record that says that there is a policy and which, and
//! the policy itself. Pure, and strict where leniency would weaken a policy.

use std::time::Duration;

/// Octets of an `id`.
const LONGEST_ID: usize = 32;
/// Patterns of one policy.
const PATTERNS: usize = 64;
/// Lines that are kept as they are.
const LINES: usize = 72;
/// Octets of a pattern: a domain name.
const LONGEST_PATTERN: usize = 253;
/// RFC 8461 section 3.2: about a year.
const LONGEST_AGE: u64 = 31_557_600;

/// What a policy asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::delivery) enum Mode {
    /// Hosts outside of the policy, or without a valid certificate, get no mail.
    Enforce,
    /// They get mail, and the domain wants to hear of them.
    Testing,
    /// There is no policy (any more).
    None,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::delivery) struct Policy {
    pub(in crate::delivery) mode: Mode,
    /// How long it holds after it was fetched.
    pub(super) max_age: Duration,
    /// Names of mail exchangers in lower case; `*.` stands for exactly one label.
    patterns: Vec<String>,
    /// As it was published, for reports.
    lines: Vec<String>,
}

/// Why a text is no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::delivery) enum PolicyError {
    #[error("it is not UTF-8")]
    NotUtf8,
    #[error("its version is not STSv1")]
    Version,
    #[error("its mode is none of enforce, testing and none")]
    Mode,
    #[error("its max_age is no number of seconds up to 31557600")]
    MaxAge,
    #[error("it names no mx")]
    NoExchangers,
    #[error("it names more than {PATTERNS} mx")]
    TooManyExchangers,
    #[error("one of its mx is no host name")]
    Exchanger,
    #[error("a line has no colon")]
    Line,
}

/// The `id` in the TXT records of `_mta-sts.<domain>`; `None` unless exactly one record is of MTA-STS and
/// is well formed (RFC 8461 section 3.1).
pub(super) fn record_id<'a>(records: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut ours = records.into_iter().filter(|text| {
        let version = text.split(';').next().unwrap_or_default();
        version.trim_end_matches(is_blank) == "v=STSv1"
    });
    let (Some(text), None) = (ours.next(), ours.next()) else {
        return None;
    };
    let id = text.split(';').skip(1).find_map(|field| {
        let (name, value) = field.split_once('=')?;
        (name.trim_matches(is_blank) == "id").then_some(value.trim_matches(is_blank))
    })?;
    let good =
        (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    good.then_some(id)
}

impl Policy {
    /// Reads a policy (RFC 8461 section 3.2): lines of `name: value`, of which names that are not
    /// known are passed over, and of repeated ones other than `mx` the first counts.
    pub(in crate::delivery) fn parse(text: &[u8]) -> Result<Self, PolicyError> {
        let text = std::str::from_utf8(text).map_err(|_| PolicyError::NotUtf8)?;
        let (mut version, mut mode, mut max_age) = (None, None, None);
        let (mut patterns, mut lines) = (Vec::new(), Vec::new());
        for line in text.split('\n') {
            let line = line
                .strip_suffix('\r')
                .unwrap_or(line)
                .trim_matches(is_blank);
            if line.is_empty() {
                continue;
            }
            let (name, value) = line.split_once(':').ok_or(PolicyError::Line)?;
            if lines.len() < LINES {
                lines.push(line.chars().take(LONGEST_PATTERN).collect());
            }
            let value = value.trim_matches(is_blank);
            match name.trim_end_matches(is_blank) {
                "version" => version = version.or(Some(value)),
                "mode" => mode = mode.or(Some(value)),
                "max_age" => max_age = max_age.or(Some(value)),
                "mx" if patterns.len() == PATTERNS => return Err(PolicyError::TooManyExchangers),
                "mx" => patterns.push(pattern(value).ok_or(PolicyError::Exchanger)?),
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err(PolicyError::Version);
        }
        let mode = match mode {
            Some("enforce") => Mode::Enforce,
            Some("testing") => Mode::Testing,
            Some("none") => Mode::None,
            _ => return Err(PolicyError::Mode),
        };
        let max_age = max_age.and_then(seconds).ok_or(PolicyError::MaxAge)?;
        if patterns.is_empty() && mode != Mode::None {
            return Err(PolicyError::NoExchangers);
        }
        Ok(Self {
            mode,
            max_age,
            patterns,
            lines,
        })
    }

    /// Names of mail exchangers, with wildcards.
    pub(in crate::delivery) fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// The lines of the policy, not all if there are many.
    pub(in crate::delivery) fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Whether a mail exchanger, in lower case without a trailing dot, is one of the policy's (RFC 8461
    /// section 4.1).
    pub(in crate::delivery) fn admits(&self, host: &str) -> bool {
        self.patterns.iter().any(|pattern| {
            match pattern.strip_prefix("*.") {
                // Exactly one label in the wildcard's place.
                Some(parent) => host
                    .split_once('.')
                    .is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
                None => pattern == host,
            }
        })
    }
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t')
}

fn seconds(text: &str) -> Option<Duration> {
    let digits = (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = digits.then(|| text.parse::<u64>().ok()).flatten()?;
    (seconds <= LONGEST_AGE).then(|| Duration::from_secs(seconds))
}

/// A host name, or one with a wildcard as its first label.
fn pattern(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let name = text.strip_prefix("*.").unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let good = text.len() <= LONGEST_PATTERN && name.split('.').all(label);
    good.then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests;
