//! Sends one mail with the token of the pod's ServiceAccount.

use std::env::var;
use std::error::Error;
use std::fs;

use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport};

fn main() -> Result<(), Box<dyn Error>> {
    let host = var("SMTP_HOST")?;
    let authority = Certificate::from_pem(&fs::read(var("SMTP_CA")?)?)?;
    let tls = TlsParameters::builder(host.clone())
        .add_root_certificate(authority)
        .build()?;
    // Read anew for each connection: the kubelet renews the file.
    let token = fs::read_to_string(var("SMTP_TOKEN")?)?.trim().to_owned();
    let relay = SmtpTransport::builder_dangerous(host)
        .port(var("SMTP_PORT")?.parse()?)
        .tls(Tls::Required(tls))
        .authentication(vec![Mechanism::Xoauth2])
        .credentials(Credentials::new("token".into(), token))
        .build();
    let message = Message::builder()
        .from("orders@shop.example".parse()?)
        .to("ada@reader.example".parse()?)
        .subject("Your order")
        .body("It is on its way.\n".to_owned())?;
    relay.send(&message)?;
    Ok(())
}
