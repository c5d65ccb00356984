//! Settings of transport security.

use std::collections::HashSet;

use jiff::Timestamp;

use super::{host_name, invalid};
use crate::{Config, ConfigError, Delivery, TlsOverride};

impl Config {
    pub(super) fn validate_transport(&self) -> Result<(), ConfigError> {
        if self.delivery.mta_sts.port == 0 {
            let message = "is 0; give a positive number or leave it out";
            return invalid("delivery.mtaSts.port", message.into());
        }
        let mut domains = HashSet::new();
        for (index, one) in self.delivery.tls_overrides.iter().enumerate() {
            let field = format!("delivery.tlsOverrides[{index}].domain");
            host_name(&field, &one.domain)?;
            if one.domain.bytes().any(|byte| byte.is_ascii_uppercase()) {
                let message = format!(
                    "{:?} has upper-case letters; write it in lower case",
                    one.domain
                );
                return invalid(field, message);
            }
            if !domains.insert(&one.domain) {
                return invalid(
                    field,
                    format!("{:?} stands twice; keep one entry per domain", one.domain),
                );
            }
        }
        Ok(())
    }
}

impl Delivery {
    /// The override that is in force for a recipient domain at `now`.
    pub fn tls_override(&self, domain: &str, now: Timestamp) -> Option<&TlsOverride> {
        self.tls_overrides
            .iter()
            .find(|one| one.domain == domain && now < one.expires)
    }

    /// The overrides that have no effect any more at `now`, with their places in the list.
    pub fn expired_overrides(&self, now: Timestamp) -> impl Iterator<Item = (usize, &TlsOverride)> {
        let all = self.tls_overrides.iter().enumerate();
        all.filter(move |(_, one)| one.expires <= now)
    }
}

#[cfg(test)]
mod tests {
    use crate::OverridePolicy;

    use super::*;

    fn entry(domain: &str, expires: &str) -> TlsOverride {
        TlsOverride {
            domain: domain.into(),
            policy: OverridePolicy::Opportunistic,
            expires: expires.parse().unwrap(),
            reason: String::new(),
        }
    }

    #[test]
    fn an_override_ends_with_its_time_and_is_then_named() {
        let delivery = Delivery {
            tls_overrides: vec![
                entry("a.example", "2026-12-01T00:00:00Z"),
                entry("b.example", "2026-12-02T00:00:00Z"),
            ],
            ..Delivery::default()
        };
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let before = at("2026-11-30T23:59:59Z");
        assert!(delivery.tls_override("a.example", before).is_some());
        assert!(delivery.tls_override("x.a.example", before).is_none());
        assert_eq!(delivery.expired_overrides(before).count(), 0);
        let then = at("2026-12-01T00:00:00Z");
        assert!(delivery.tls_override("a.example", then).is_none());
        assert!(delivery.tls_override("b.example", then).is_some());
        let expired: Vec<usize> = delivery.expired_overrides(then).map(|(i, _)| i).collect();
        assert_eq!(expired, [0]);
    }
}
