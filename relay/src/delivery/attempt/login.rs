//! Who we are to a smarthost.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay_config::SmarthostAuthentication;
use relay_smtp::client::{Credentials, Proof};

/// Octets of chance in a nonce.
const NONCE: usize = 18;

/// With a password, if that is what is configured.
pub(super) fn by_password(authentication: &SmarthostAuthentication) -> Option<Credentials> {
    let password = authentication.password.as_ref()?;
    Some(Credentials {
        username: authentication.username.clone(),
        proof: Proof::Password {
            password: password.expose().into(),
            nonce: nonce(),
        },
    })
}

/// Should the system have no chance left to give, the empty text: a server then sees a nonce that it
/// must refuse.
fn nonce() -> String {
    let mut octets = [0; NONCE];
    match rand::fill(&mut octets) {
        Ok(()) => STANDARD.encode(octets),
        Err(_) => String::new(),
    }
}
