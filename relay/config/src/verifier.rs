//! What a password is checked against: SCRAM-SHA-256 keys (RFC 5802 section 3, RFC 7677), in the
//! text form that PostgreSQL made common: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.
//!
//! The form serves `AUTH PLAIN` and `LOGIN` (the password is hashed and compared) as well as
//! `SCRAM-SHA-256`. It cannot be turned back into the password or used to log in elsewhere.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

const SCHEME: &str = "SCRAM-SHA-256";
/// A verifier from outside must not cost minutes per login.
const MOST_ITERATIONS: u32 = 1_000_000;
/// RFC 7677 section 4 asks for at least this many.
const FEWEST_ITERATIONS: u32 = 4096;

/// A parsed verifier.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

/// Why text is not a verifier. Never shows the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not a verifier of the form SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>; \
     make one with `relay hash-password`"
)]
pub struct VerifierError;

impl ScramVerifier {
    /// Iterations for passwords of which nothing is known. Generated ones of 128 random bits and
    /// more need no more than RFC 7677's minimum, [`Self::GENERATED_ITERATIONS`].
    pub const CHOSEN_ITERATIONS: u32 = 100_000;

    /// Iterations for generated passwords.
    pub const GENERATED_ITERATIONS: u32 = FEWEST_ITERATIONS;

    /// Derives the verifier of `password` with `salt` (16 random octets).
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        let iterations =
            NonZeroU32::new(iterations.max(FEWEST_ITERATIONS)).unwrap_or(NonZeroU32::MIN);
        let salted = salted_password(password, salt, iterations);
        let client_key = mac(&salted, b"Client Key");
        let mut stored_key = [0; 32];
        stored_key.copy_from_slice(digest::digest(&digest::SHA256, &client_key).as_ref());
        Self {
            iterations,
            salt: salt.to_vec(),
            stored_key,
            server_key: mac(&salted, b"Server Key"),
        }
    }

    /// Salt that the keys were made with.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// Iterations that the keys were made with.
    pub fn iterations(&self) -> u32 {
        self.iterations.get()
    }

    /// `StoredKey`, by which a client's proof is checked.
    pub fn stored_key(&self) -> [u8; 32] {
        self.stored_key
    }

    /// `ServerKey`, by which the server proves that it knows the user.
    pub fn server_key(&self) -> [u8; 32] {
        self.server_key
    }

    /// Whether `password` is the one that this was made of; compared in constant time.
    pub fn matches(&self, password: &str) -> bool {
        let salted = salted_password(password, &self.salt, self.iterations);
        let client_key = mac(&salted, b"Client Key");
        let stored = digest::digest(&digest::SHA256, &client_key);
        constant_time::verify_slices_are_equal(stored.as_ref(), &self.stored_key).is_ok()
    }
}

fn salted_password(password: &str, salt: &[u8], iterations: NonZeroU32) -> [u8; 32] {
    let mut salted = [0; 32];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        iterations,
        salt,
        password.as_bytes(),
        &mut salted,
    );
    salted
}

fn mac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut result = [0; 32];
    result.copy_from_slice(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref());
    result
}

impl FromStr for ScramVerifier {
    type Err = VerifierError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('$');
        let (Some(SCHEME), Some(cost), Some(keys), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(VerifierError);
        };
        let (iterations, salt) = cost.split_once(':').ok_or(VerifierError)?;
        let (stored_key, server_key) = keys.split_once(':').ok_or(VerifierError)?;
        let iterations: NonZeroU32 = iterations.parse().map_err(|_| VerifierError)?;
        if !(FEWEST_ITERATIONS..=MOST_ITERATIONS).contains(&iterations.get()) {
            return Err(VerifierError);
        }
        let key = |text: &str| -> Result<[u8; 32], VerifierError> {
            BASE64
                .decode(text)
                .ok()
                .and_then(|key| key.try_into().ok())
                .ok_or(VerifierError)
        };
        Ok(Self {
            iterations,
            salt: BASE64.decode(salt).map_err(|_| VerifierError)?,
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }
}

impl fmt::Display for ScramVerifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored, server] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|part| BASE64.encode(part));
        write!(
            formatter,
            "{SCHEME}${}:{salt}${stored}:{server}",
            self.iterations
        )
    }
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ScramVerifier([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677 section 3: user "user", password "pencil"; the keys as PostgreSQL stores them.
    #[test]
    fn the_example_of_rfc_7677_has_the_known_keys() {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = ScramVerifier::derive("pencil", &salt, 4096);
        assert_eq!(
            verifier.to_string(),
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==\
             $WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
    }

    #[test]
    fn only_the_right_password_matches_after_a_round_trip() {
        let verifier = ScramVerifier::derive("blue-otter-42", b"0123456789abcdef", 4096);
        let verifier: ScramVerifier = verifier.to_string().parse().unwrap();
        assert!(verifier.matches("blue-otter-42"));
        assert!(!verifier.matches("blue-otter-43"));
        assert!(!verifier.matches(""));
    }

    #[test]
    fn malformed_verifiers_are_refused_and_not_shown() {
        let good = ScramVerifier::derive("x", b"salt", 4096).to_string();
        for text in [
            "",
            "plaintext-password",
            &good.replace("4096", "0"),
            &good.replace("4096", "4294967295"),
            &good.replace("SHA-256", "SHA-1"),
            &format!("{good}$"),
            &good[..good.len() - 4],
        ] {
            let error = text.parse::<ScramVerifier>().unwrap_err().to_string();
            assert!(error.contains("relay hash-password"));
            assert!(text.is_empty() || !error.contains(text));
        }
    }
}
