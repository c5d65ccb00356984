//! Shards of one relay in one process, each with its own address of the loopback network.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};

use crate::context::{Context, SharedContext};
use crate::delivery::testing::web::Authority;
use crate::http;
use crate::snapshot::Snapshot;

/// Name in the certificates of the shards.
pub(crate) const SERVER_NAME: &str = "outbox.shards.test";

/// Running shards, and the authority of their certificates.
pub(crate) struct Shards {
    pub(crate) authority: Authority,
    pub(crate) contexts: Vec<SharedContext>,
    pub(crate) port: u16,
    config: String,
    files: Vec<(&'static str, String)>,
    _directories: Vec<tempfile::TempDir>,
}

impl Shards {
    /// So many shards, of which the first `staying` stay.
    pub(crate) async fn start(number: u32, staying: u32) -> Self {
        let authority = Authority::new();
        let (certificate, key) = authority.leaf(Some(SERVER_NAME));
        // A block of the loopback network of this test's own, so that all can have one port.
        let block = format!("127.{}.{}", fastrand::u8(1..255), fastrand::u8(..));
        let host = |shard: u32| format!("{block}.{}", shard + 1);
        let mut sockets = Vec::new();
        let mut port = 0;
        for shard in 0..number {
            let address: SocketAddr = format!("{}:{port}", host(shard)).parse().unwrap();
            let socket = http::bind(address).await.unwrap();
            port = socket.local_addr().unwrap().port();
            sockets.push(socket);
        }
        let hosts: Vec<String> = (0..number).map(host).collect();
        let leaving: Vec<u32> = (staying..number).collect();
        let config = format!(
            "version: 1\nrelay: a\nhostname: a.example\nlisteners:\n\
             - {{name: first, address: '127.0.0.1:0', tls: None}}\n\
             admin: {{address: '127.0.0.1:0', certificate: a.crt, key: a.key, clientAuthority: ca.crt}}\n\
             siblings: {{hosts: {hosts:?}, leaving: {leaving:?}, port: {port}, serverName: {SERVER_NAME}}}\n",
        );
        let root = authority.pem();
        let files = [
            ("a.crt", &*certificate),
            ("a.key", &*key),
            ("ca.crt", &*root),
        ];
        let mut contexts = Vec::new();
        let mut directories = Vec::new();
        for (shard, socket) in (0..).zip(sockets) {
            let directory = tempfile::tempdir().unwrap();
            let context = Context::for_shard(&config, &files, directory.path(), shard);
            let router = http::admin(Arc::clone(&context));
            let stop = context.shutdown.clone();
            tokio::spawn(http::serve_mutual_tls(
                socket,
                router,
                Arc::clone(&context),
                stop,
            ));
            contexts.push(context);
            directories.push(directory);
        }
        Self {
            authority,
            contexts,
            port,
            files: files.map(|(name, text)| (name, text.to_owned())).into(),
            config,
            _directories: directories,
        }
    }

    /// Their configuration as it is when others of them leave or are gone.
    pub(crate) fn snapshot(&self, shard: u32, leaving: &[u32], gone: &[u32]) -> Arc<Snapshot> {
        let (before, rest) = self.config.split_once("leaving: ").unwrap();
        let (_, after) = rest.split_once("],").unwrap();
        let config = format!("{before}leaving: {leaving:?}, gone: {gone:?},{after}");
        let files: Vec<_> = self
            .files
            .iter()
            .map(|(name, text)| (*name, &**text))
            .collect();
        let directory = tempfile::tempdir().unwrap();
        let context = Context::for_shard(&config, &files, directory.path(), shard);
        context.snapshot.load_full()
    }
}

impl Authority {
    /// A certificate for both sides of a connection, and its key; with a DNS name or none.
    pub(crate) fn leaf(&self, name: Option<&str>) -> (String, String) {
        let names: Vec<String> = name.into_iter().map(str::to_owned).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "leaf");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        (self.sign(&params, &key).pem(), key.serialize_pem())
    }
}
