use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection};

use super::*;

fn file<'a>(path: &'a str, content: &'a str) -> PemFile<'a> {
    PemFile {
        field: "tls",
        path: Path::new(path),
        content: content.as_bytes(),
    }
}

#[test]
fn t14_a_client_that_knows_the_root_alone_is_shown_the_whole_chain() {
    let authority = || {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let key = || KeyPair::generate().unwrap();
    let root = CertifiedIssuer::self_signed(authority(), key()).unwrap();
    let mut between = authority();
    between
        .distinguished_name
        .push(rcgen::DnType::CommonName, "between");
    let between = CertifiedIssuer::signed_by(between, key(), &root).unwrap();
    let own = key();
    let leaf = CertificateParams::new(vec!["relay.test".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&own, &between).unwrap();
    for (chain, passes) in [(leaf.pem() + &between.pem(), true), (leaf.pem(), false)] {
        let key = own.serialize_pem();
        let certified = certified_key(file("tls.crt", &chain), file("tls.key", &key)).unwrap();
        let mut server = ServerConnection::new(server(Arc::new(certified)).unwrap()).unwrap();
        let client = client(Some(file("ca.crt", &root.pem()))).unwrap();
        let name = ServerName::try_from("relay.test").unwrap();
        let mut client = ClientConnection::new(client, name).unwrap();
        assert_eq!(shake_hands(&mut client, &mut server).is_ok(), passes);
    }
}

fn shake_hands(
    client: &mut ClientConnection,
    server: &mut ServerConnection,
) -> Result<(), rustls::Error> {
    while client.is_handshaking() || server.is_handshaking() {
        let mut octets = Vec::new();
        client.write_tls(&mut octets).unwrap();
        server.read_tls(&mut &octets[..]).unwrap();
        server.process_new_packets()?;
        octets.clear();
        server.write_tls(&mut octets).unwrap();
        client.read_tls(&mut &octets[..]).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}
