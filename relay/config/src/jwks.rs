//! Keys of token issuers: JSON Web Key Sets (RFC 7517) for the signatures of JWS (RFC 7515, 7518,
//! 8037). Both sides use this: the operator so that it renders only what can be used, the relay to
//! check tokens.
//!
//! Verification is a call of aws-lc-rs per algorithm, for which no library is needed; what a
//! library would add, the reading of tokens and claims, must tell each fault from the others here.
//! Only asymmetric algorithms exist: a shared secret would let the relay make tokens, and `none`
//! anybody.

use std::fmt;

use aws_lc_rs::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

/// Keys of one issuer; more are refused, since a hostile set must not fill the memory.
const MOST_KEYS: usize = 64;
/// Octets of an RSA modulus: 2048 to 8192 bits.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;

/// Signature algorithms of tokens, by their names in JWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "registered names of RFC 7518 section 3.1 and RFC 8037"
)]
pub enum TokenAlgorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl TokenAlgorithm {
    /// The algorithm of a name; names are case-sensitive.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "EdDSA" => Self::EdDsa,
            _ => return None,
        })
    }
}

/// Why no key of a set judges a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// No key has this id; or there is no id, and more than one key that it could be.
    Unknown,
    /// The key of this id is of another type, or for another algorithm.
    Mismatch,
    /// The signature is not of this key over this text.
    Signature,
}

/// Why JSON is not a usable set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a usable JSON Web Key Set: {0}")]
pub struct KeySetError(String);

/// The usable keys of one issuer.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySet(Vec<Key>);

impl fmt::Debug for KeySet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KeySet({} keys)", self.0.len())
    }
}

#[derive(Clone, PartialEq, Eq)]
struct Key {
    id: Option<String>,
    /// The only algorithm that the key is for, if it says so.
    algorithm: Option<TokenAlgorithm>,
    public: Public,
}

#[derive(Clone, PartialEq, Eq)]
enum Public {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// Uncompressed point.
    P256(Vec<u8>),
    /// Uncompressed point.
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

/// RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2.
#[derive(Deserialize)]
struct Entry {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a set from its JSON text.
    pub fn from_slice(text: &[u8]) -> Result<Self, KeySetError> {
        let value = serde_json::from_slice(text).map_err(|error| KeySetError(error.to_string()))?;
        Self::from_value(&value)
    }

    /// Reads a set. Keys for other uses, of unknown types or too weak are passed over (RFC 7517
    /// section 5); a set without a usable key is an error.
    pub fn from_value(value: &Value) -> Result<Self, KeySetError> {
        let document =
            Document::deserialize(value).map_err(|error| KeySetError(error.to_string()))?;
        if document.keys.len() > MOST_KEYS {
            return Err(KeySetError(format!("it has more than {MOST_KEYS} keys")));
        }
        let keys: Vec<_> = document.keys.iter().filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err(KeySetError(
                "it has no key for RS256, PS256, ES256, ES384 or EdDSA signatures".into(),
            ));
        }
        Ok(Self(keys))
    }

    /// How many keys are usable.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: a set has a key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Judges `signature` over `text` by the key of the id `id`.
    pub fn verify(
        &self,
        algorithm: TokenAlgorithm,
        id: Option<&str>,
        text: &[u8],
        signature: &[u8],
    ) -> Result<(), KeyFault> {
        let mut candidates = self.0.iter().filter(|key| match id {
            Some(_) => key.id.as_deref() == id,
            None => key.fits(algorithm),
        });
        let first = candidates.next().ok_or(KeyFault::Unknown)?;
        // Without an id there is no choice among several: each would be one more guess.
        if id.is_none() && candidates.next().is_some() {
            return Err(KeyFault::Unknown);
        }
        let key = std::iter::once(first)
            .chain(candidates)
            .find(|key| key.fits(algorithm))
            .ok_or(KeyFault::Mismatch)?;
        if key.public.verifies(algorithm, text, signature) {
            Ok(())
        } else {
            Err(KeyFault::Signature)
        }
    }
}

impl Key {
    fn read(value: &Value) -> Option<Self> {
        let entry = Entry::deserialize(value).ok()?;
        let is_for_signatures = entry
            .r#use
            .as_deref()
            .is_none_or(|purpose| purpose == "sig")
            && entry
                .key_ops
                .as_ref()
                .is_none_or(|operations| operations.iter().any(|name| name == "verify"));
        if !is_for_signatures {
            return None;
        }
        let algorithm = match &entry.alg {
            Some(name) => Some(TokenAlgorithm::named(name)?),
            None => None,
        };
        let public = Public::read(&entry)?;
        Some(Self {
            id: entry.kid,
            algorithm,
            public,
        })
    }

    fn fits(&self, algorithm: TokenAlgorithm) -> bool {
        self.algorithm.is_none_or(|only| only == algorithm) && self.public.fits(algorithm)
    }
}

impl Public {
    fn read(entry: &Entry) -> Option<Self> {
        let octets = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_ref()?).ok();
        let point = |length: usize| {
            let (x, y) = (octets(&entry.x)?, octets(&entry.y)?);
            let whole = x.len() == length && y.len() == length;
            whole.then(|| [&[4][..], &x, &y].concat())
        };
        match (entry.kty.as_str(), entry.crv.as_deref()) {
            ("RSA", _) => {
                let modulus = octets(&entry.n)?;
                let exponent = octets(&entry.e)?;
                let usable = MODULUS.contains(&modulus.len())
                    && modulus[0] != 0
                    && (1..=8).contains(&exponent.len())
                    && exponent[0] != 0;
                usable.then_some(Self::Rsa { modulus, exponent })
            }
            ("EC", Some("P-256")) => {
                let point = point(32)?;
                let key = UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, &point);
                key.parse().ok()?;
                Some(Self::P256(point))
            }
            ("EC", Some("P-384")) => {
                let point = point(48)?;
                let key = UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, &point);
                key.parse().ok()?;
                Some(Self::P384(point))
            }
            ("OKP", Some("Ed25519")) => octets(&entry.x)
                .filter(|key| key.len() == 32)
                .map(Self::Ed25519),
            _ => None,
        }
    }

    fn fits(&self, algorithm: TokenAlgorithm) -> bool {
        use TokenAlgorithm as A;
        match self {
            Self::Rsa { .. } => matches!(
                algorithm,
                A::Rs256 | A::Rs384 | A::Rs512 | A::Ps256 | A::Ps384 | A::Ps512
            ),
            Self::P256(_) => algorithm == A::Es256,
            Self::P384(_) => algorithm == A::Es384,
            Self::Ed25519(_) => algorithm == A::EdDsa,
        }
    }

    fn verifies(&self, algorithm: TokenAlgorithm, text: &[u8], signature: &[u8]) -> bool {
        use TokenAlgorithm as A;
        match self {
            Self::Rsa { modulus, exponent } => {
                let parameters = match algorithm {
                    A::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    A::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                    A::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                    A::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
                    A::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
                    A::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
                    A::Es256 | A::Es384 | A::EdDsa => return false,
                };
                let key = RsaPublicKeyComponents {
                    n: modulus,
                    e: exponent,
                };
                key.verify(parameters, text, signature).is_ok()
            }
            Self::P256(point) => {
                let key = UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point);
                key.verify(text, signature).is_ok()
            }
            Self::P384(point) => {
                let key = UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point);
                key.verify(text, signature).is_ok()
            }
            Self::Ed25519(key) => {
                let key = UnparsedPublicKey::new(&signature::ED25519, key);
                key.verify(text, signature).is_ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7515 appendix A.2: RS256.
    const RSA: &str = r#"{"kty":"RSA","kid":"r","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}"#;
    const RSA_TEXT: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const RSA_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    /// RFC 7515 appendix A.3: ES256.
    const EC: &str = r#"{"kty":"EC","crv":"P-256","kid":"e","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    const EC_TEXT: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const EC_SIGNATURE: &str =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    /// RFC 8037 appendix A.4: EdDSA.
    const ED: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"o","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    const ED_TEXT: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    const ED_SIGNATURE: &str =
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

    fn set(keys: &[&str]) -> Result<KeySet, KeySetError> {
        KeySet::from_slice(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes())
    }

    fn verdict(
        keys: &[&str],
        algorithm: &str,
        id: Option<&str>,
        text: &str,
        signature: &str,
    ) -> Result<(), KeyFault> {
        let algorithm = TokenAlgorithm::named(algorithm).unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        set(keys)
            .unwrap()
            .verify(algorithm, id, text.as_bytes(), &signature)
    }

    #[test]
    fn the_examples_of_the_standards_verify_and_nothing_else_does() {
        let all = [RSA, EC, ED];
        for (algorithm, id, text, signature) in [
            ("RS256", "r", RSA_TEXT, RSA_SIGNATURE),
            ("ES256", "e", EC_TEXT, EC_SIGNATURE),
            ("EdDSA", "o", ED_TEXT, ED_SIGNATURE),
        ] {
            let judge = |id, text: &str| verdict(&all, algorithm, id, text, signature);
            assert_eq!(judge(Some(id), text), Ok(()), "{algorithm}");
            // One key fits the algorithm, so the id may be missing.
            assert_eq!(judge(None, text), Ok(()), "{algorithm}");
            assert_eq!(judge(Some("x"), text), Err(KeyFault::Unknown));
            let altered = text.replace('J', "K");
            assert_eq!(judge(Some(id), &altered), Err(KeyFault::Signature));
            assert_eq!(
                verdict(&all, algorithm, Some(id), text, "AAAA"),
                Err(KeyFault::Signature)
            );
        }
        for (algorithm, id) in [
            ("PS256", "e"),
            ("ES384", "e"),
            ("RS256", "o"),
            ("EdDSA", "r"),
        ] {
            assert_eq!(
                verdict(&all, algorithm, Some(id), "text", "AAAA"),
                Err(KeyFault::Mismatch)
            );
        }
        assert_eq!(
            verdict(&all, "PS256", Some("r"), RSA_TEXT, RSA_SIGNATURE),
            Err(KeyFault::Signature)
        );
    }

    #[test]
    fn a_key_keeps_to_its_algorithm_and_its_use() {
        let only = RSA.replace("\"kid\"", "\"alg\":\"PS256\",\"kid\"");
        assert_eq!(
            verdict(&[&only], "RS256", Some("r"), RSA_TEXT, RSA_SIGNATURE),
            Err(KeyFault::Mismatch)
        );
        for field in [
            r#""use":"enc","#,
            r#""key_ops":["sign"],"#,
            r#""alg":"HS256","#,
        ] {
            let key = RSA.replace("\"kid\"", &format!("{field}\"kid\""));
            assert!(set(&[&key]).is_err(), "{field}");
        }
        let twins = [RSA, &RSA.replace("\"r\"", "\"s\"")];
        assert_eq!(
            verdict(&twins, "RS256", None, RSA_TEXT, RSA_SIGNATURE),
            Err(KeyFault::Unknown)
        );
    }

    #[test]
    fn unusable_keys_are_passed_over_and_a_set_without_one_is_refused() {
        let short = r#"{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNg","e":"AQAB"}"#;
        let shared = r#"{"kty":"oct","k":"c2VjcmV0"}"#;
        let off_curve = EC.replace("f83O", "g83O");
        assert_eq!(set(&[short, shared, &off_curve, RSA]).unwrap().len(), 1);
        for keys in [&[][..], &[short], &[shared], &[&off_curve], &["7"]] {
            let error = set(keys).unwrap_err().to_string();
            assert!(error.contains("has no key for"), "{error}");
        }
        assert!(set(&[RSA; 65]).is_err());
        for text in ["", "{}", "[]", r#"{"keys":{}}"#] {
            assert!(KeySet::from_slice(text.as_bytes()).is_err(), "{text}");
        }
    }
}
