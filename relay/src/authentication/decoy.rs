//! What SCRAM challenges a user with who does not exist: always the same salt for the same name, of
//! the length of a real one, and the iterations that most credentials have.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::hmac;
use relay_config::ScramVerifier;

use crate::snapshot::Credential;

/// Octets of a generated salt.
const SALT: usize = 16;

/// Makes salts of those who do not exist.
pub(crate) struct Decoy {
    key: hmac::Key,
    iterations: u32,
}

impl Decoy {
    /// `secret` must stay the same for as long as possible, be the same in all shards, and be known
    /// to nobody outside: whoever sees a salt change knows that it is none.
    pub(crate) fn new(secret: &[u8], credentials: &HashMap<String, Arc<Credential>>) -> Self {
        let mut counts: HashMap<u32, usize> = HashMap::new();
        for verifier in credentials
            .values()
            .filter_map(|known| known.verifiers.first())
        {
            *counts.entry(verifier.iterations()).or_default() += 1;
        }
        let common = counts
            .into_iter()
            .max_by_key(|(iterations, count)| (*count, *iterations));
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
            iterations: common.map_or(ScramVerifier::GENERATED_ITERATIONS, |(iterations, _)| {
                iterations
            }),
        }
    }

    pub(super) fn salt(&self, username: &str) -> Vec<u8> {
        hmac::sign(&self.key, username.as_bytes()).as_ref()[..SALT].to_vec()
    }

    pub(super) fn iterations(&self) -> u32 {
        self.iterations
    }
}
