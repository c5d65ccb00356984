//! Each fault by a token that has this one and no other.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;

use super::*;

pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
pub(crate) const AUDIENCE: &str = "outbox.mail.svc";
pub(crate) const NOW: u64 = 1_800_000_000;

/// Signs tokens as an issuer does.
pub(crate) struct Mint {
    key: EcdsaKeyPair,
    id: String,
}

impl Mint {
    pub(crate) fn new(id: &str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { key, id: id.into() }
    }

    pub(crate) fn jwks(&self) -> Value {
        let point = self.key.public_key().as_ref();
        let part = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
        json!({"keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.id,
            "x": part(&point[1..33]), "y": part(&point[33..]),
        }]})
    }

    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.unwrap()))
    }

    pub(crate) fn header(&self) -> String {
        json!({"alg": "ES256", "kid": self.id, "typ": "JWT"}).to_string()
    }

    /// A token with these changes to the claims of [`claims`]; null removes one.
    pub(crate) fn token(&self, changes: &Value) -> String {
        let mut claims = claims();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => claims.remove(name),
                value => claims.insert(name.clone(), value.clone()),
            };
        }
        self.sign(&self.header(), &Value::Object(claims).to_string())
    }
}

/// What the API server writes into a projected token.
fn claims() -> Map<String, Value> {
    let claims = json!({
        "iss": ISSUER, "aud": [AUDIENCE], "exp": NOW + 3600, "nbf": NOW, "iat": NOW,
        "sub": "system:serviceaccount:shop:checkout",
        "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "checkout", "uid": "1"}},
    });
    claims.as_object().unwrap().clone()
}

pub(crate) fn issuer(mint: &Mint, kind: IssuerKind, claim: Option<&str>) -> Issuer {
    Issuer {
        settings: relay_config::Issuer {
            name: "corp".into(),
            issuer: ISSUER.into(),
            audiences: vec![AUDIENCE.into(), "second".into()],
            kind,
            identity_claim: claim.map(Into::into),
            jwks: None,
            jwks_file: None,
        },
        keys: KeySet::from_value(&mint.jwks()).unwrap(),
    }
}

fn judge(mint: &Mint, token: &str) -> Result<String, TokenFault> {
    let issuers = [issuer(mint, IssuerKind::Kubernetes, None)];
    verify(token, &issuers, NOW).map(|proof| proof.identity)
}

#[test]
fn a_service_account_is_known_by_its_token() {
    let mint = Mint::new("a");
    let proof = verify(
        &mint.token(&json!({})),
        &[issuer(&mint, IssuerKind::Kubernetes, None)],
        NOW,
    );
    assert_eq!(
        proof,
        Ok(Proof {
            identity: "sa:shop/checkout".into(),
            expires_at: NOW + 3600,
            issuer: "corp".into(),
        })
    );
    for changes in [
        json!({"kubernetes.io": null}),
        json!({"aud": AUDIENCE}),
        json!({"aud": ["x", "second"]}),
        json!({"nbf": null}),
        json!({"nbf": NOW + 60}),
        json!({"exp": NOW - 59}),
        json!({"exp": 1_800_003_600.5}),
    ] {
        let verdict = judge(&mint, &mint.token(&changes));
        assert_eq!(verdict.as_deref(), Ok("sa:shop/checkout"), "{changes}");
    }
}

#[test]
fn each_false_claim_is_a_fault_of_its_own() {
    let mint = Mint::new("a");
    for (changes, fault) in [
        (
            json!({"iss": "https://evil.example"}),
            TokenFault::IssuerUnknown,
        ),
        (json!({"iss": null}), TokenFault::IssuerUnknown),
        (json!({"aud": "vault"}), TokenFault::AudienceWrong),
        (json!({"aud": []}), TokenFault::AudienceWrong),
        (json!({"aud": null}), TokenFault::AudienceWrong),
        (json!({"exp": null}), TokenFault::ExpiryMissing),
        (json!({"exp": NOW - 60}), TokenFault::Expired),
        (json!({"exp": -5}), TokenFault::Malformed),
        (json!({"exp": "never"}), TokenFault::Malformed),
        (json!({"nbf": NOW + 61}), TokenFault::NotYetValid),
        (json!({"sub": null}), TokenFault::IdentityMissing),
        (json!({"sub": "alice"}), TokenFault::IdentityMissing),
        (
            json!({"sub": "system:serviceaccount:shop"}),
            TokenFault::IdentityMissing,
        ),
        (
            json!({"sub": "system:serviceaccount:shop:*"}),
            TokenFault::IdentityMissing,
        ),
        (
            json!({"sub": "system:serviceaccount:ops:checkout"}),
            TokenFault::IdentityMissing,
        ),
        (
            json!({"sub": "system:serviceaccount:shop:a/b"}),
            TokenFault::IdentityMissing,
        ),
    ] {
        assert_eq!(judge(&mint, &mint.token(&changes)), Err(fault), "{changes}");
    }
}

#[test]
fn a_token_that_is_not_signed_by_the_issuer_proves_nothing() {
    let (mint, stranger) = (Mint::new("a"), Mint::new("a"));
    let claims = Value::Object(claims()).to_string();
    let header = |text: &str| mint.sign(text, &claims);
    let good = mint.token(&json!({}));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (head, _) = signed.split_once('.').unwrap();
    let other = URL_SAFE_NO_PAD.encode(claims.replace("checkout", "billing"));
    for (token, fault) in [
        (stranger.token(&json!({})), TokenFault::SignatureWrong),
        (
            format!("{head}.{other}.{signature}"),
            TokenFault::SignatureWrong,
        ),
        (format!("{signed}."), TokenFault::SignatureWrong),
        (Mint::new("b").token(&json!({})), TokenFault::KeyUnknown),
        (header(r#"{"alg":"none"}"#), TokenFault::AlgorithmNone),
        (
            header(r#"{"alg":"NoNe","kid":"a"}"#),
            TokenFault::AlgorithmNone,
        ),
        (
            header(r#"{"alg":"HS256","kid":"a"}"#),
            TokenFault::AlgorithmUnknown,
        ),
        (
            header(r#"{"alg":"es256","kid":"a"}"#),
            TokenFault::AlgorithmUnknown,
        ),
        (
            header(r#"{"alg":"RS256","kid":"a"}"#),
            TokenFault::KeyMismatch,
        ),
        (
            header(r#"{"alg":"ES384","kid":"a"}"#),
            TokenFault::KeyMismatch,
        ),
        (
            header(r#"{"alg":"ES256","kid":"a","crit":["b64"]}"#),
            TokenFault::Malformed,
        ),
        (
            header(r#"{"alg":"ES256","alg":"none","kid":"a"}"#),
            TokenFault::Malformed,
        ),
        (header(r#"{"kid":"a"}"#), TokenFault::Malformed),
    ] {
        assert_eq!(judge(&mint, &token), Err(fault), "{token}");
    }
}

#[test]
fn text_of_another_form_is_malformed_or_too_long() {
    let mint = Mint::new("a");
    let good = mint.token(&json!({}));
    let long = mint.token(&json!({"groups": "x".repeat(LONGEST)}));
    assert_eq!(judge(&mint, &long), Err(TokenFault::TooLong));
    for token in [
        String::new(),
        "..".into(),
        "a.b".into(),
        format!("{good}.{good}"),
        format!(" {good}"),
        format!("{good}="),
        format!("{good}\n"),
        good.replace('.', ".!"),
        mint.sign("[]", "{}"),
        mint.sign(&mint.header(), "[]"),
        mint.sign(&mint.header(), r#"{"iss":"a","iss":"b"}"#),
    ] {
        assert_eq!(judge(&mint, &token), Err(TokenFault::Malformed), "{token}");
    }
    assert_eq!(verify(&good, &[], NOW), Err(TokenFault::NotConfigured));
}

#[test]
fn an_issuer_names_its_people_by_the_claim_that_was_chosen() {
    let mint = Mint::new("a");
    let named = |claim: Option<&str>, changes: Value| {
        let issuers = [issuer(&mint, IssuerKind::Oidc, claim)];
        verify(&mint.token(&changes), &issuers, NOW).map(|proof| proof.identity)
    };
    for (claim, changes, identity) in [
        (None, json!({"sub": "f47a"}), "oidc:corp/f47a"),
        (
            Some("email"),
            json!({"email": "a@b.example"}),
            "oidc:corp/a@b.example",
        ),
        (
            Some("email"),
            json!({"email": "a@b.example", "email_verified": true}),
            "oidc:corp/a@b.example",
        ),
        // Not a ServiceAccount, whatever it says.
        (
            None,
            json!({}),
            "oidc:corp/system:serviceaccount:shop:checkout",
        ),
    ] {
        assert_eq!(
            named(claim, changes.clone()).as_deref(),
            Ok(identity),
            "{changes}"
        );
    }
    for (claim, changes) in [
        (Some("email"), json!({})),
        (Some("email"), json!({"email": 7})),
        (
            Some("email"),
            json!({"email": "a@b.example", "email_verified": false}),
        ),
        (None, json!({"sub": ""})),
        (None, json!({"sub": "*"})),
        (None, json!({"sub": "a\nb"})),
        (None, json!({"sub": "x".repeat(321)})),
    ] {
        let verdict = named(claim, changes.clone());
        assert_eq!(verdict, Err(TokenFault::IdentityMissing), "{changes}");
    }
}

#[test]
fn every_fault_has_a_name_and_a_reply_of_its_own() {
    use TokenFault as F;
    let all = [
        F::NotConfigured,
        F::TooLong,
        F::Malformed,
        F::AlgorithmNone,
        F::AlgorithmUnknown,
        F::IssuerUnknown,
        F::KeyUnknown,
        F::KeyMismatch,
        F::SignatureWrong,
        F::AudienceWrong,
        F::ExpiryMissing,
        F::Expired,
        F::NotYetValid,
        F::IdentityMissing,
        F::OtherIdentity,
    ];
    let names: std::collections::HashSet<_> = all.iter().map(|fault| fault.name()).collect();
    let texts: std::collections::HashSet<_> =
        all.iter().map(|fault| fault.answer().to_string()).collect();
    assert_eq!((names.len(), texts.len()), (all.len(), all.len()));
    assert!(
        texts
            .iter()
            .all(|text| text.starts_with("535 5.7.8 ") && text.len() < 200)
    );
}

#[test]
fn a_token_in_place_of_a_password_is_told_from_one() {
    let token = Mint::new("a").token(&json!({}));
    assert!(looks_like_one(&token));
    for password in ["", "otter", "eyJ", "eyJ.only.two.dots", "abc.def.ghi"] {
        assert!(!looks_like_one(password), "{password}");
    }
}

proptest::proptest! {
    #[test]
    fn no_change_of_a_token_makes_another_one(place in 0_usize..2000, octet in 33_u8..127) {
        let mint = Mint::new("a");
        let good = mint.token(&json!({}));
        let mut changed = good.clone().into_bytes();
        let place = place % changed.len();
        changed[place] = octet;
        let changed = String::from_utf8(changed).unwrap();
        // The last character of a signature has bits that mean nothing; they must be zero.
        let verdict = judge(&mint, &changed);
        proptest::prop_assert_eq!(verdict.is_ok(), changed == good);
    }

    #[test]
    fn no_text_panics(text in "[A-Za-z0-9._=-]{0,200}") {
        proptest::prop_assert!(judge(&Mint::new("a"), &text).is_err());
    }
}
