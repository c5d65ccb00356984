//! DKIM private keys: made, read back, and turned into the public text of their DNS record
//! (RFC 6376 section 3.6.1, RFC 8463 section 3).
//!
//! Knows no Kubernetes and no DNS.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use parking_lot::Mutex;
use relay_config::{DkimAlgorithm, Secret};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;

/// Octets of an RSA modulus: 2048 bits at least (RFC 8301 section 3.2), and 4096 at most, since
/// verifiers need not take more.
const RSA_MODULUS: std::ops::RangeInclusive<usize> = 256..=512;

/// A private key with its public half.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// Algorithm.
    pub algorithm: DkimAlgorithm,
    /// PKCS#8 in PEM.
    pub private: Secret,
    /// Base64 of the record's `p=`.
    pub public: String,
}

/// Shows no private key.
impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "SigningKey({:?}, {})",
            self.algorithm, self.public
        )
    }
}

/// Why a key cannot be made or used. Never shows key material.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The library could not make a key.
    #[error("a key cannot be generated; the system's source of randomness may be missing")]
    Generate,
    /// Not PEM.
    #[error("is no private key in PEM; give an unencrypted key, RSA or Ed25519")]
    NotPem,
    /// Of another kind.
    #[error("is neither an RSA key of 2048 to 4096 bits nor an Ed25519 key; make one of these")]
    Unsuitable,
}

/// Makes a new key. RSA takes some tenths of a second of CPU: not for an async thread.
pub fn generate(algorithm: DkimAlgorithm) -> Result<SigningKey, KeyError> {
    match algorithm {
        DkimAlgorithm::RsaSha256 => {
            let key =
                rsa::KeyPair::generate(rsa::KeySize::Rsa2048).map_err(|_| KeyError::Generate)?;
            from_rsa(&key).ok_or(KeyError::Generate)
        }
        DkimAlgorithm::Ed25519Sha256 => {
            let key = Ed25519KeyPair::generate().map_err(|_| KeyError::Generate)?;
            from_ed25519(&key).ok_or(KeyError::Generate)
        }
    }
}

/// Keys of which it is remembered what they are: some for each of ten thousand domains.
const MOST_KNOWN: usize = 65_536;

/// What keys in the form that [`generate`] writes are, by the digest of their text. To read an RSA key is to
/// check it, which takes a millisecond, and each is read many times.
static KNOWN: LazyLock<Mutex<HashMap<[u8; 32], Known>>> = LazyLock::new(Mutex::default);

/// The public half.
#[derive(Clone)]
struct Known {
    algorithm: DkimAlgorithm,
    public: Box<str>,
}

/// Reads a key in PEM: PKCS#8, or PKCS#1 as `openssl genrsa` once wrote it.
pub fn parse(pem: &[u8]) -> Result<SigningKey, KeyError> {
    let mut name = [0; 32];
    name.copy_from_slice(digest(&SHA256, pem).as_ref());
    let known = KNOWN.lock().get(&name).cloned();
    if let (Some(known), Ok(text)) = (known, std::str::from_utf8(pem)) {
        return Ok(SigningKey {
            algorithm: known.algorithm,
            private: Secret::new(text.to_owned()),
            public: known.public.into(),
        });
    }
    let key = read(pem)?;
    // What is written in another form is read anew each time.
    if key.private.expose().as_bytes() == pem {
        let mut all = KNOWN.lock();
        if all.len() >= MOST_KNOWN {
            all.clear();
        }
        let known = Known {
            algorithm: key.algorithm,
            public: key.public.clone().into(),
        };
        all.insert(name, known);
    }
    Ok(key)
}

fn read(pem: &[u8]) -> Result<SigningKey, KeyError> {
    let key = match PrivateKeyDer::from_pem_slice(pem).map_err(|_| KeyError::NotPem)? {
        PrivateKeyDer::Pkcs8(der) => {
            let der = der.secret_pkcs8_der();
            let rsa = rsa::KeyPair::from_pkcs8(der)
                .ok()
                .and_then(|key| from_rsa(&key));
            rsa.or_else(|| {
                Ed25519KeyPair::from_pkcs8(der)
                    .ok()
                    .and_then(|key| from_ed25519(&key))
            })
        }
        PrivateKeyDer::Pkcs1(der) => rsa::KeyPair::from_der(der.secret_pkcs1_der())
            .ok()
            .and_then(|key| from_rsa(&key)),
        _ => None,
    };
    key.ok_or(KeyError::Unsuitable)
}

fn from_rsa(key: &rsa::KeyPair) -> Option<SigningKey> {
    if !RSA_MODULUS.contains(&key.public_modulus_len()) {
        return None;
    }
    let private: Pkcs8V1Der<'_> = key.as_der().ok()?;
    let public: PublicKeyX509Der<'_> = key.public_key().as_der().ok()?;
    Some(SigningKey {
        algorithm: DkimAlgorithm::RsaSha256,
        private: pem(private.as_ref()),
        public: BASE64.encode(public.as_ref()),
    })
}

fn from_ed25519(key: &Ed25519KeyPair) -> Option<SigningKey> {
    // Version 1, which OpenSSL's tools read as well.
    let private = key.to_pkcs8v1().ok()?;
    Some(SigningKey {
        algorithm: DkimAlgorithm::Ed25519Sha256,
        private: pem(private.as_ref()),
        public: BASE64.encode(key.public_key().as_ref()),
    })
}

/// RFC 7468 section 10.
fn pem(der: &[u8]) -> Secret {
    let encoded = BASE64.encode(der);
    let mut text = String::from("-----BEGIN PRIVATE KEY-----\n");
    for (index, character) in encoded.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str("\n-----END PRIVATE KEY-----\n");
    Secret::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_reads_back_the_same() {
        for algorithm in [DkimAlgorithm::RsaSha256, DkimAlgorithm::Ed25519Sha256] {
            let key = generate(algorithm).unwrap();
            let pem = key.private.expose().as_bytes();
            assert_eq!(read(pem).unwrap(), key);
            // The second time it is known.
            for _ in 0..2 {
                assert_eq!(parse(pem).unwrap(), key);
            }
            let name: [u8; 32] = digest(&SHA256, pem).as_ref().try_into().unwrap();
            assert!(KNOWN.lock().contains_key(&name));
            assert_ne!(generate(algorithm).unwrap(), key);
        }
    }

    #[test]
    fn public_texts_have_the_form_of_their_rfc() {
        // RFC 6376: SubjectPublicKeyInfo, which for 2048 bits always begins and ends so.
        let rsa = generate(DkimAlgorithm::RsaSha256).unwrap().public;
        assert!(
            rsa.starts_with("MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA"),
            "{rsa}"
        );
        assert!(rsa.ends_with("IDAQAB"), "{rsa}");
        // RFC 8463: the bare 32 octets.
        let ed25519 = generate(DkimAlgorithm::Ed25519Sha256).unwrap().public;
        assert_eq!(BASE64.decode(ed25519).unwrap().len(), 32);
    }

    /// RFC 8463 appendix A.2.
    #[test]
    fn the_ed25519_example_of_the_rfc_gives_its_record() {
        let seed = BASE64
            .decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
            .unwrap();
        let key = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let key = from_ed25519(&key).unwrap();
        assert_eq!(key.public, "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
    }

    #[test]
    fn what_is_no_usable_key_is_refused_and_not_shown() {
        let elliptic = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let good = generate(DkimAlgorithm::Ed25519Sha256).unwrap();
        let cut = &good.private.expose()[..60];
        for (text, expected) in [
            ("", KeyError::NotPem),
            ("hunter2", KeyError::NotPem),
            (cut, KeyError::NotPem),
            (&elliptic[..], KeyError::Unsuitable),
            (
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                KeyError::Unsuitable,
            ),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n",
                KeyError::Unsuitable,
            ),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err(), expected, "{text}");
        }
        assert!(!format!("{good:?}").contains("PRIVATE"));
    }
}
