//! Reading the main file, its buckets and the PEM files that it names, in one consistent pass.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::{BUCKETS, Bucket, Config, ConfigError, ConfigHash, bucket_file};

/// Largest file read, in octets: what a Secret can hold, doubled for files written by hand.
pub const FILE_LIMIT: u64 = 2 * 1024 * 1024;

/// Name of the main file that the operator renders.
pub const MAIN_FILE: &str = "relay.json";

/// Where files come from: a directory, or a map in a test or in the operator.
pub trait Source {
    /// The content of `path`, or `None` when there is no such file.
    fn get(&self, path: &Path) -> Result<Option<Vec<u8>>, ConfigError>;
}

impl Source for BTreeMap<PathBuf, Vec<u8>> {
    fn get(&self, path: &Path) -> Result<Option<Vec<u8>>, ConfigError> {
        Ok(BTreeMap::get(self, path).cloned())
    }
}

/// Files below a directory.
struct Directory<'a>(&'a Path);

impl Source for Directory<'_> {
    fn get(&self, path: &Path) -> Result<Option<Vec<u8>>, ConfigError> {
        let path = self.0.join(path);
        let unreadable = |source| ConfigError::Unreadable {
            path: path.clone(),
            source,
        };
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let mut content = Vec::new();
        file.take(FILE_LIMIT + 1)
            .read_to_end(&mut content)
            .map_err(unreadable)?;
        let size = content.len() as u64;
        if size > FILE_LIMIT {
            return Err(ConfigError::TooLarge {
                path,
                size,
                limit: FILE_LIMIT,
            });
        }
        Ok(Some(content))
    }
}

/// A configuration with everything it refers to.
#[derive(Clone, Debug)]
pub struct ConfigFiles {
    /// Validated, with the domains and credentials of all buckets added.
    pub config: Config,
    /// PEM files by the path that the configuration gives them.
    pub pem: BTreeMap<PathBuf, Vec<u8>>,
    /// Hash over all files.
    pub hash: ConfigHash,
}

/// Reads the main file at `path` and all that it names, relative to its directory.
///
/// In a cluster the directory is a mounted volume that the kubelet swaps by one symbolic link;
/// the link is resolved once here, so that all files come from one generation.
pub fn read(path: &Path) -> Result<ConfigFiles, ConfigError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let generation = directory.join("..data");
    let directory = fs::canonicalize(&generation).unwrap_or_else(|_| directory.to_path_buf());
    let name = path.file_name().map(PathBuf::from).unwrap_or_default();
    parse_files(&name, &Directory(&directory))
}

/// As [`read`], from any source. Pure when the source is.
pub fn parse_files(name: &Path, source: &dyn Source) -> Result<ConfigFiles, ConfigError> {
    let mut hash = ConfigHash::builder();
    let main = required(source, name)?;
    hash.add(name, &main);
    let mut config: Config = parse(name, &main)?;
    if let Some(directory) = config.buckets.clone() {
        for index in 0..BUCKETS {
            let path = directory.join(bucket_file(index));
            let Some(content) = source.get(&path)? else {
                continue;
            };
            hash.add(&path, &content);
            let bucket: Bucket = parse(&path, &content)?;
            config.domains.extend(bucket.domains);
            config.credentials.extend(bucket.credentials);
        }
    }
    config.validate()?;
    let mut pem = BTreeMap::new();
    for path in config.pem_files() {
        let content = required(source, &path)?;
        hash.add(&path, &content);
        pem.insert(path, content);
    }
    Ok(ConfigFiles {
        config,
        pem,
        hash: hash.finish(),
    })
}

fn required(source: &dyn Source, path: &Path) -> Result<Vec<u8>, ConfigError> {
    source.get(path)?.ok_or_else(|| ConfigError::Unreadable {
        path: path.to_path_buf(),
        source: std::io::ErrorKind::NotFound.into(),
    })
}

/// JSON by the name's ending, YAML otherwise.
fn parse<T: serde::de::DeserializeOwned>(path: &Path, content: &[u8]) -> Result<T, ConfigError> {
    let result = if path
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        serde_json::from_slice(content).map_err(|error| error.to_string())
    } else {
        serde_yaml::from_slice(content).map_err(|error| error.to_string())
    };
    result.map_err(|message| ConfigError::Malformed {
        path: path.to_path_buf(),
        message: without_value(&message),
    })
}

/// What serde says of a value of a wrong type, without the value: it may be a password that stands where a
/// list has to, or one of digits alone that nobody put in quotes.
fn without_value(message: &str) -> String {
    let starts = ["invalid type: ", "invalid value: "];
    let start = starts
        .iter()
        .filter_map(|start| Some(message.find(start)? + start.len()))
        .min();
    let Some(start) = start else {
        return message.to_owned();
    };
    let (before, fault) = message.split_at(start);
    let Some((value, expected)) = fault.rsplit_once(", expected ") else {
        return before.trim_end_matches([':', ' ']).to_owned();
    };
    let kind = value.split(['`', '"', '\'']).next().unwrap_or_default();
    format!("{before}{}, expected {expected}", kind.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(files: &[(&str, &str)]) -> BTreeMap<PathBuf, Vec<u8>> {
        files
            .iter()
            .map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec()))
            .collect()
    }

    const MAIN: &str = r#"{"version":1,"relay":"mail/outbox","hostname":"outbox.example","buckets":"buckets",
        "listeners":[{"name":"submission","address":"127.0.0.1:2525","tls":"None"}]}"#;

    #[test]
    fn domains_of_buckets_join_those_of_the_main_file() {
        let files = source(&[
            ("relay.json", MAIN),
            (
                "buckets/07.json",
                r#"{"domains":[{"name":"shop.example","senders":["sa:shop/*"]}]}"#,
            ),
        ]);
        let read = parse_files(Path::new("relay.json"), &files).unwrap();
        assert_eq!(read.config.domains[0].name, "shop.example");
    }

    #[test]
    fn any_change_of_any_file_changes_the_hash() {
        let hash = |bucket: &str| {
            let files = source(&[("relay.json", MAIN), ("buckets/07.json", bucket)]);
            parse_files(Path::new("relay.json"), &files)
                .unwrap()
                .hash
                .to_string()
        };
        assert_eq!(hash("{}"), hash("{}"));
        assert_ne!(hash("{}"), hash("{ }"));
        assert_eq!(hash("{}").len(), 64);
    }

    #[test]
    fn a_fault_names_its_file_or_field_and_the_remedy() {
        let rows = [
            (MAIN.replace("\"version\":1", "\"version\":2"), "version: 2 is not known"),
            (MAIN.replace("hostname", "hostnam"), "relay.json: unknown field `hostnam`"),
            (MAIN.replace("None", "StartTls"), "tls: is missing; listener \"submission\" needs a certificate"),
            (
                MAIN.replace("\"None\"", "\"None\",\"authentication\":\"None\""),
                "listeners[0].clients: is empty; without authentication",
            ),
            (
                MAIN.replace("\"None\"", "\"None\",\"proxyProtocol\":true"),
                "listeners[0].proxies: names the networks of the proxies; give it with",
            ),
            (
                MAIN.replace("\"None\"", "\"None\",\"proxies\":[\"10.0.0.0/8\"]"),
                "listeners[0].proxies: names the networks of the proxies; give it with",
            ),
            (
                MAIN.replace("\"buckets\":\"buckets\"", "\"limits\":{\"headerBytes\":600000}"),
                "limits.headerBytes: 600000 is more than 524288",
            ),
            (
                MAIN.replace("\"buckets\":\"buckets\"", "\"limits\":{\"sessionTimeout\":\"0s\"}"),
                "limits.sessionTimeout: is 0s",
            ),
            (
                MAIN.replace("\"buckets\":\"buckets\"", "\"limits\":{\"shutdownDelay\":\"61s\"}"),
                "limits.shutdownDelay: 1m1s is more than 1m",
            ),
            (
                MAIN.replace("\"buckets\":\"buckets\"", "\"limits\":{\"maximumHold\":\"2161h\"}"),
                "limits.maximumHold: 2161h is more than 90 days",
            ),
            (
                MAIN.replace("\"buckets\":\"buckets\"", "\"limits\":{\"connectionsPerAddress\":0}"),
                "limits.connectionsPerAddress: is 0",
            ),
            (
                MAIN.replace("\"buckets\":\"buckets\"", "\"delivery\":{\"reports\":{\"returnPath\":\"postmaster\"}}"),
                "delivery.reports.returnPath: \"postmaster\" is not a plain address",
            ),
            (
                MAIN.replace("\"None\"", "\"None\",\"role\":\"Bounces\""),
                "listeners[0].authentication: must be None with role: Bounces",
            ),
            (
                MAIN.replace("\"buckets\":\"buckets\"", "\"domains\":[{\"name\":\"a.example\",\"bounces\":{}}]"),
                "domains[a.example].bounces: give domain or address",
            ),
            (
                MAIN.replace("\"buckets\":\"buckets\"", "\"domains\":[{\"name\":\"a.example\",\"bounces\":{\"domain\":\"xa.example\"}}]"),
                "domains[a.example].bounces.domain: xa.example is neither a.example nor a domain below it",
            ),
            (
                MAIN.replace("\"buckets\":\"buckets\"", "\"domains\":[{\"name\":\"a.example\",\"bounces\":{\"address\":\"long-bounces@a.example\"}}]"),
                "domains[a.example].bounces.address: \"long-bounces@a.example\" is not a plain address",
            ),
            (
                MAIN.replace("\"buckets\":\"buckets\"", "\"domains\":[{\"name\":\"a.example\",\"bounces\":{\"domain\":\"b.a.example\"}}]"),
                "domains[a.example].bounces.keys: is empty",
            ),
            (MAIN.replace("outbox.example", "out box"), "hostname: \"out box\" is not a host name"),
            (MAIN.replace("127.0.0.1:2525", "here"), "relay.json: invalid socket address"),
            (MAIN.replace("\"buckets\":\"buckets\"", "\"limits\":{\"recipients\":5}"), "limits.recipients: 5 is less than 100"),
            (
                MAIN.replace(
                    "\"buckets\":\"buckets\"",
                    "\"delivery\":{\"smarthosts\":[{\"host\":\"smart.example\",\"port\":25,\"tls\":\"None\",\
                     \"authentication\":{\"username\":\"u\",\"password\":\"hunter2\"}}]}",
                ),
                "delivery.smarthosts[0].tls: is None, which would send the password in clear text",
            ),
        ];
        for (text, expected) in rows {
            let error = parse_files(Path::new("relay.json"), &source(&[("relay.json", &text)]))
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(expected), "{error}\nnot {expected}");
            assert!(!error.contains("hunter2"));
        }
    }

    #[test]
    fn a_login_at_a_server_that_proves_nothing_has_to_be_allowed() {
        let smarthost = |more: &str| {
            let text = MAIN.replace(
                "\"buckets\":\"buckets\"",
                &format!("\"delivery\":{{\"smarthosts\":[{{\"host\":\"smart.example\",\"port\":25,{more}}}]}}"),
            );
            let parsed = parse_files(Path::new("relay.json"), &source(&[("relay.json", &text)]));
            parsed.err().map(|error| error.to_string())
        };
        let login = "\"authentication\":{\"username\":\"u\",\"password\":\"p\"}";
        let rows = [
            (format!("\"tls\":\"Opportunistic\",{login}"), false),
            (
                format!("\"tls\":\"Opportunistic\",\"allowUnverifiedLogin\":true,{login}"),
                true,
            ),
            ("\"tls\":\"Opportunistic\"".to_owned(), true),
            (format!("\"tls\":\"StartTls\",{login}"), true),
            (format!("\"tls\":\"Implicit\",{login}"), true),
            (
                format!("\"tls\":\"None\",\"allowUnverifiedLogin\":true,{login}"),
                false,
            ),
        ];
        for (more, good) in rows {
            let fault = smarthost(&more);
            assert_eq!(fault.is_none(), good, "{more}: {fault:?}");
        }
        let fault = smarthost(&format!("\"tls\":\"Opportunistic\",{login}")).unwrap();
        let expected =
            "delivery.smarthosts[0].tls: is Opportunistic, which verifies no certificate";
        assert!(fault.starts_with(expected), "{fault}");
        assert!(fault.ends_with("use StartTls or Implicit, or set allowUnverifiedLogin"));
    }

    #[test]
    fn a_fault_among_the_siblings_names_the_field_and_the_remedy() {
        let config = |siblings: &str| {
            let admin = r#""admin":{"address":"127.0.0.1:0","certificate":"a","key":"b","clientAuthority":"c"}"#;
            MAIN.replace(
                "\"buckets\":\"buckets\"",
                &format!("{admin},\"siblings\":{{\"serverName\":\"x.internal\",{siblings}}}"),
            )
        };
        let rows = [
            (
                MAIN.replace(
                    "\"buckets\":\"buckets\"",
                    "\"siblings\":{\"serverName\":\"x\",\"hosts\":[\"a\"]}",
                ),
                "siblings: needs admin",
            ),
            (
                config("\"hosts\":[]"),
                "siblings.hosts: names 0 shards; give 1 to 1024",
            ),
            (
                config("\"hosts\":[\"a.b\",\"a b\"]"),
                "siblings.hosts[1]: \"a b\" is not a host name",
            ),
            (
                config("\"hosts\":[\"a.b\",\"a.b\"]"),
                "siblings.hosts[1]: \"a.b\" stands twice",
            ),
            (
                config("\"hosts\":[\"a\"],\"port\":0"),
                "siblings.port: is 0",
            ),
            (
                config("\"hosts\":[\"a\",\"::1\"],\"leaving\":[2]"),
                "siblings.leaving: 2 is none of the 2 shards of siblings.hosts",
            ),
            (
                config("\"hosts\":[\"a\",\"::1\"],\"leaving\":[1],\"gone\":[1]"),
                "siblings.gone: 1 stands twice in siblings.leaving and siblings.gone",
            ),
            (
                config("\"hosts\":[\"a\"]").replace("x.internal", "x internal"),
                "siblings.serverName: \"x internal\" is not a host name",
            ),
        ];
        for (text, expected) in rows {
            let error = parse_files(Path::new("relay.json"), &source(&[("relay.json", &text)]));
            let error = error.unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}\nnot {expected}");
        }
        let text =
            config("\"hosts\":[\"a\",\"192.0.2.1\",\"b\",\"c\"],\"leaving\":[0],\"gone\":[2]");
        let files = [("relay.json", &*text), ("a", ""), ("b", ""), ("c", "")];
        let read = parse_files(Path::new("relay.json"), &source(&files)).unwrap();
        let siblings = read.config.siblings.unwrap();
        assert_eq!(siblings.staying().collect::<Vec<_>>(), [1, 3]);
        assert_eq!(siblings.existing().collect::<Vec<_>>(), [0, 1, 3]);
        assert_eq!(siblings.port, 8443);
        let hosts = [0, 1, 2, 4].map(|shard| siblings.host(shard));
        assert_eq!(hosts, [Some("a"), Some("192.0.2.1"), None, None]);
    }

    #[test]
    fn a_fault_of_a_route_or_smarthost_names_the_list_that_it_stands_in() {
        let delivery = |content: &str| {
            MAIN.replace(
                "\"buckets\":\"buckets\"",
                &format!("\"delivery\":{{{content}}}"),
            )
        };
        let route = |content: &str| delivery(&format!("\"routes\":[{{\"name\":\"a\",{content}}}]"));
        let smarthost = |content: &str| {
            delivery(&format!(
                "\"smarthosts\":[{{\"host\":\"smart.example\",\"port\":25,{content}}}]"
            ))
        };
        let oauth2 = |content: &str| {
            smarthost(&format!(
                "\"authentication\":{{\"username\":\"u\",\"oauth2\":{{{content}}}}}"
            ))
        };
        let rows = [
            (
                route("\"tls\":\"Verified\""),
                "delivery.routes[0].recipientDomains: matches nothing",
            ),
            (
                route("\"recipientDomains\":[\"A.example\"]"),
                "delivery.routes[0].recipientDomains: \"A.example\" is not a domain",
            ),
            (
                route("\"mxSuffixes\":[\"*.a.example\"]"),
                "delivery.routes[0].mxSuffixes: \"*.a.example\" is not a domain",
            ),
            (
                route("\"tags\":[\"a b\"]"),
                "delivery.routes[0].tags: \"a b\" is not a tag",
            ),
            (
                route(
                    "\"tags\":[\"a\"],\"tls\":\"Verified\",\
                     \"smarthosts\":[{\"host\":\"b.example\",\"port\":25}]",
                ),
                "delivery.routes[0].tls: is about MX hosts",
            ),
            (
                route("\"tags\":[\"a\"]},{\"name\":\"a\",\"tags\":[\"b\"]"),
                "delivery.routes[1].name: \"a\" stands twice",
            ),
            (
                route("\"tags\":[\"a\"],\"smarthosts\":[{\"host\":\"b.example\",\"port\":0}]"),
                "delivery.routes[0].smarthosts[0].port: is 0",
            ),
            (
                smarthost("\"lookup\":\"Srv\"").replace("smart.example", "192.0.2.1"),
                "delivery.smarthosts[0].lookup: is Srv, which needs a domain",
            ),
            (
                smarthost("\"authentication\":{\"username\":\"u\"}"),
                "delivery.smarthosts[0].authentication.password: give either it or oauth2",
            ),
            (
                oauth2(
                    "\"tokenUrl\":\"http://a/\",\"clientId\":\"c\",\"clientSecret\":\"hunter2\"",
                ),
                "delivery.smarthosts[0].authentication.oauth2.tokenUrl: is not of the form https://",
            ),
            (
                oauth2("\"tokenUrl\":\"https://a/\",\"clientId\":\"c\""),
                "delivery.smarthosts[0].authentication.oauth2.clientSecret: is missing",
            ),
        ];
        for (text, expected) in rows {
            let error = parse_files(Path::new("relay.json"), &source(&[("relay.json", &text)]))
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(expected), "{error}\nnot {expected}");
            assert!(!error.contains("hunter2"));
        }
    }

    #[test]
    fn a_secret_in_a_wrong_place_is_not_in_the_message() {
        let smarthost = |login: &str| {
            let delivery = format!(
                "\"delivery\":{{\"smarthosts\":[{{\"host\":\"smart.example\",\"port\":25,\"tls\":\"StartTls\",\
                 \"authentication\":{login}}}]}}"
            );
            MAIN.replace("\"buckets\":\"buckets\"", &delivery)
        };
        let rows = [
            (
                smarthost(r#"{"username":"u","password":31415926}"#),
                "31415926",
            ),
            (smarthost(r#""hunter2""#), "hunter2"),
            (
                smarthost(r#"{"username":"u","oauth2":"hunter2, expected"}"#),
                "hunter2",
            ),
            (r#""hunter2""#.into(), "hunter2"),
        ];
        for ((text, secret), name) in rows
            .iter()
            .flat_map(|row| [(row, "a.json"), (row, "a.yaml")])
        {
            // YAML takes a number without quotes for text.
            let Err(error) = parse_files(Path::new(name), &source(&[(name, text)])) else {
                assert_eq!((*secret, name), ("31415926", "a.yaml"));
                continue;
            };
            let error = error.to_string();
            assert!(!error.contains(secret), "{error}");
            assert!(error.contains("invalid type: "), "{error}");
            assert!(error.contains(", expected "), "{error}");
        }
    }

    #[test]
    fn yaml_is_read_where_a_person_writes() {
        let text = "version: 1\nrelay: laptop\nhostname: laptop.example\nlisteners:\n\
                    - {name: local, address: '127.0.0.1:2525', tls: None}\n\
                    delivery:\n  retry: {initial: 5s, maximum: 1m}\n";
        let read = parse_files(Path::new("relay.yaml"), &source(&[("relay.yaml", text)])).unwrap();
        assert_eq!(
            read.config.delivery.retry.initial,
            crate::Duration::from_secs(5)
        );
    }

    #[test]
    fn a_missing_certificate_file_is_named() {
        let text = MAIN.replace(
            "\"buckets\":\"buckets\"",
            r#""tls":{"certificate":"tls/tls.crt","key":"tls/tls.key"}"#,
        );
        let error =
            parse_files(Path::new("relay.json"), &source(&[("relay.json", &text)])).unwrap_err();
        assert!(
            error.to_string().starts_with("tls/tls.crt: cannot be read"),
            "{error}"
        );
    }
}
