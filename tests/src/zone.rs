//! DNS zones served to pods by the test cluster's CoreDNS, which reads each file again when its
//! serial number has grown.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

/// One zone and its records. Writing the file anew replaces the whole zone.
#[derive(Debug)]
pub struct Zone {
    name: String,
    file: PathBuf,
    records: Vec<Record>,
    serial: u64,
}

/// One record, as a zone file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Absolute name, with or without the trailing dot.
    pub name: String,
    /// `A`, `MX`, `TXT`, …
    pub kind: String,
    /// The data: for `TXT` the joined text, otherwise as in a zone file.
    pub value: String,
}

impl Record {
    /// An `MX` record of preference 10.
    pub fn mail_exchanger(domain: &str, host: &str) -> Self {
        let value = format!("10 {}.", host.trim_end_matches('.'));
        Self {
            name: domain.into(),
            kind: "MX".into(),
            value,
        }
    }

    /// An `A` record.
    pub fn address(host: &str, address: Ipv4Addr) -> Self {
        Self {
            name: host.into(),
            kind: "A".into(),
            value: address.to_string(),
        }
    }

    /// A `TXT` record.
    pub fn text(name: &str, text: &str) -> Self {
        Self {
            name: name.into(),
            kind: "TXT".into(),
            value: text.into(),
        }
    }

    /// The record's line in a zone file.
    pub(crate) fn line(&self) -> anyhow::Result<String> {
        let data = if self.kind == "TXT" {
            character_strings(&self.value)?
        } else {
            self.value.clone()
        };
        let name = self.name.trim_end_matches('.');
        Ok(format!("{name}. {} {data}", self.kind))
    }
}

impl Zone {
    /// A zone without records in the directory that the name server watches.
    pub fn new(directory: &std::path::Path, name: &str) -> Self {
        Self {
            name: name.into(),
            file: directory.join(format!("db.{name}")),
            records: Vec::new(),
            serial: 0,
        }
    }

    /// Name of the zone, without the trailing dot.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds records; a record of the same name and type is replaced by the new ones.
    pub fn publish(&mut self, records: impl IntoIterator<Item = Record>) -> anyhow::Result<()> {
        let records: Vec<Record> = records.into_iter().collect();
        self.records.retain(|old| {
            !records
                .iter()
                .any(|new| new.name == old.name && new.kind == old.kind)
        });
        self.records.extend(records);
        self.write()
    }

    /// Removes the zone from the name server.
    pub fn remove(&self) -> anyhow::Result<()> {
        match std::fs::remove_file(&self.file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| self.file.display().to_string())
            }
            _ => Ok(()),
        }
    }

    fn write(&mut self) -> anyhow::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        self.serial = now.max(self.serial + 1);
        let text = self.text()?;
        // The name server must never read half a file.
        let temporary = self.file.with_file_name(format!(".new.{}", self.name));
        std::fs::write(&temporary, text)
            .and_then(|()| std::fs::rename(&temporary, &self.file))
            .with_context(|| format!("{}: cannot be written", self.file.display()))
    }

    fn text(&self) -> anyhow::Result<String> {
        // Short lives: a changed record is seen at once, a missing one is asked for again.
        let mut text = format!(
            "$TTL 1\n{name}. SOA ns.{name}. nobody.{name}. {serial} 60 60 600 1\n{name}. NS ns.{name}.\n\
             ns.{name}. A 127.0.0.1\n",
            name = self.name,
            serial = self.serial,
        );
        for record in &self.records {
            writeln!(text, "{}", record.line()?)?;
        }
        Ok(text)
    }
}

/// A text as quoted character strings of at most 255 octets (RFC 1035 section 3.3.14).
fn character_strings(text: &str) -> anyhow::Result<String> {
    anyhow::ensure!(text.is_ascii(), "TXT records are ASCII here: {text}");
    let quoted: Vec<String> = text
        .as_bytes()
        .chunks(255)
        .map(|chunk| {
            let chunk = String::from_utf8_lossy(chunk);
            format!("\"{}\"", chunk.replace('\\', "\\\\").replace('"', "\\\""))
        })
        .collect();
    Ok(quoted.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_file_has_the_records_and_a_growing_serial() {
        let directory = tempfile::tempdir().unwrap();
        let mut zone = Zone::new(directory.path(), "fjord.example");
        zone.publish([Record::mail_exchanger(
            "in.fjord.example",
            "mx.fjord.example",
        )])
        .unwrap();
        let first = zone.serial;
        let long = "k".repeat(300);
        zone.publish([Record {
            name: "blue._domainkey.fjord.example.".into(),
            kind: "TXT".into(),
            value: long.clone(),
        }])
        .unwrap();
        assert!(zone.serial > first);
        let text = std::fs::read_to_string(directory.path().join("db.fjord.example")).unwrap();
        assert!(
            text.contains("\nin.fjord.example. MX 10 mx.fjord.example.\n"),
            "{text}"
        );
        let split = format!("TXT \"{}\" \"{}\"\n", &long[..255], &long[255..]);
        assert!(
            text.contains(&format!("\nblue._domainkey.fjord.example. {split}")),
            "{text}"
        );
        zone.remove().unwrap();
        assert!(
            std::fs::read_dir(directory.path())
                .unwrap()
                .next()
                .is_none()
        );
    }
}
