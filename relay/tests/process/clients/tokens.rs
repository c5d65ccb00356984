//! The programs of `docs/how-to-send.md` that send with a token, and the clients of `tests/clients`
//! that know mechanisms for tokens and for SCRAM.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{HOST, Stage, report};
use crate::client::Security;

const ISSUER: &str = "https://issuer.test";
const AUDIENCE: &str = "outbox.test";

/// An issuer's key.
pub(super) struct Mint(EcdsaKeyPair);

impl Mint {
    pub(super) fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    /// The issuer in the form of the configuration.
    pub(super) fn issuer(&self) -> Value {
        let point = self.0.public_key().as_ref();
        json!({
            "name": "kubernetes", "issuer": ISSUER, "audiences": [AUDIENCE], "kind": "Kubernetes",
            "jwks": {"keys": [{
                "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "one",
                "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]),
            }]},
        })
    }

    /// A token of ServiceAccount `shop/checkout` that is valid for an hour, as long as real ones are.
    pub(super) fn token(&self, audience: &str) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let header = json!({"alg": "ES256", "kid": "one", "typ": "JWT"}).to_string();
        let claims = json!({
            "iss": ISSUER, "aud": [audience], "exp": now + 3600, "nbf": now - 5, "iat": now - 5,
            "sub": "system:serviceaccount:shop:checkout",
            "kubernetes.io": {
                "namespace": "shop", "serviceaccount": {"name": "checkout", "uid": "1".repeat(36)},
                "node": {"name": "n".repeat(60), "uid": "1".repeat(36)},
                "pod": {"name": "p".repeat(200), "uid": "1".repeat(36)},
            },
        })
        .to_string();
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let signature = self
            .0
            .sign(&SystemRandom::new(), signed.as_bytes())
            .unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn top() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every program, and the command that runs it.
const PROGRAMS: [(&str, &[&str]); 4] = [
    ("send.py", &["python3", "send.py"]),
    ("send.go", &["go", "run", "send.go"]),
    ("send.js", &["node", "send.js"]),
    ("Send.java", &["sh", "-c", JAVA]),
];

/// With the authority in a trust store, as the program's comment says.
const JAVA: &str = "keytool -importcert -noprompt -alias relay -file \"$SMTP_CA\" -keystore trust.p12 \
    -storetype PKCS12 -storepass changeit 2>/dev/null && \
    exec java -Djavax.net.ssl.trustStore=trust.p12 -Djavax.net.ssl.trustStorePassword=changeit \
    -cp \"$CLIENTS/angus/jars/*\" Send.java";

#[test]
fn the_programs_of_the_documentation_send_with_a_token_and_not_with_another_audiences() {
    let mint = Mint::new();
    let stage = Stage::with(|config| {
        config["authentication"] = json!({"issuers": [mint.issuer()]});
        config["domains"] = json!([{"name": "shop.example", "senders": ["sa:shop/checkout"]}]);
    });
    let page = std::fs::read_to_string(top().join("docs/how-to-send.md")).unwrap();
    let mut rows = Vec::new();
    for (program, command) in PROGRAMS {
        let text = std::fs::read_to_string(top().join("examples/tokens").join(program)).unwrap();
        assert!(
            page.contains(&text),
            "{program} is not what docs/how-to-send.md shows"
        );
        let sends = run(&stage, program, &text, command, &mint.token(AUDIENCE));
        let refused = match run(&stage, program, &text, command, &mint.token("other.test")) {
            Ok(()) => Err("sent with a token for another audience".into()),
            Err(_) => Ok(()),
        };
        rows.push((program.to_owned(), vec![sends, refused]));
    }
    report(&["program", "token", "other audience"], rows);
    let arrived = |count| {
        stage.receiver.wait_until(|messages| {
            let ours = messages
                .iter()
                .filter(|one| one.content.contains("Subject: Your order"));
            ours.count() == count
        });
    };
    arrived(PROGRAMS.len());
}

fn run(
    stage: &Stage,
    program: &str,
    text: &str,
    command: &[&str],
    token: &str,
) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(program), text).unwrap();
    std::fs::write(directory.path().join("token"), token).unwrap();
    let output = Command::new("timeout")
        .arg("120")
        .args(command)
        .current_dir(directory.path())
        .env("CLIENTS", &stage.clients)
        .env("NODE_PATH", stage.clients.join("nodemailer/node_modules"))
        .env("SMTP_HOST", HOST)
        .env("SMTP_PORT", stage.port(Security::StartTls).to_string())
        .env("SMTP_CA", stage.setup.path("ca.pem"))
        .env("SMTP_TOKEN", directory.path().join("token"))
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!(
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&said)
    ))
}

#[test]
fn clients_send_with_tokens_and_with_scram() {
    let mint = Mint::new();
    let stage = Stage::with(|config| {
        config["authentication"] = json!({"issuers": [mint.issuer()]});
    });
    let token = mint.token(AUDIENCE);
    let mut rows = Vec::new();
    for (client, mechanism) in [
        ("curl", "OAUTHBEARER"),
        ("curl", "XOAUTH2"),
        ("msmtp", "OAUTHBEARER"),
        ("msmtp", "XOAUTH2"),
        ("angus", "XOAUTH2"),
        ("swaks", "PLAIN"),
        ("nodemailer", "PLAIN"),
    ] {
        let result = stage.sends(client, Security::StartTls, mechanism, ("token", &token));
        rows.push((format!("{client} {mechanism}, a token"), vec![result]));
    }
    for (client, mechanism) in [("msmtp", "SCRAM-SHA-256"), ("mutt", "SCRAM-SHA-256")] {
        let result = stage.sends(client, Security::StartTls, mechanism, super::LOGIN);
        rows.push((format!("{client} {mechanism}"), vec![result]));
    }
    report(&["client", "STARTTLS"], rows);
}
