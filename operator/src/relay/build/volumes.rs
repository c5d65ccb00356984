//! The two volumes of a shard's pod.

use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, KeyToPath, PersistentVolumeClaimVolumeSource, ProjectedVolumeSource,
    SecretProjection, Volume, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use operator_api::names::{self, BUCKET_ENTRY};
use operator_api::{SmtpRelay, Storage};
use relay_config::{BUCKETS, bucket_file};

use super::workload::DEFAULT_QUEUE;
use super::{relay_name, tls_secret};
use crate::certificates::{CA, CERTIFICATE, KEY};
use crate::render::{BUCKET_DIRECTORY, INTERNAL_DIRECTORY, TLS_DIRECTORY};

/// Read for the group that the kubelet gives the files to.
const FILE_MODE: i32 = 0o440;

/// All files in one volume, so that they change together. Buckets are optional and mounted from the
/// start: a new domain changes no pod.
pub(super) fn configuration(relay: &SmtpRelay) -> Volume {
    let name = relay_name(relay);
    let mut sources = vec![
        files(names::config_secret(name), None, false),
        files(
            names::internal_secret(name),
            Some(items(INTERNAL_DIRECTORY, &[CERTIFICATE, KEY, CA])),
            false,
        ),
    ];
    if let Some(secret) = tls_secret(relay) {
        let entries = items(TLS_DIRECTORY, &[CERTIFICATE, KEY]);
        sources.push(files(secret, Some(entries), false));
    }
    sources.extend((0..BUCKETS).map(|index| {
        let entry = KeyToPath {
            key: BUCKET_ENTRY.to_owned(),
            path: format!("{BUCKET_DIRECTORY}/{}", bucket_file(index).display()),
            mode: None,
        };
        files(names::bucket_secret(name, index), Some(vec![entry]), true)
    }));
    Volume {
        name: "config".to_owned(),
        projected: Some(ProjectedVolumeSource {
            default_mode: Some(FILE_MODE),
            sources: Some(sources),
        }),
        ..Volume::default()
    }
}

fn files(secret: String, items: Option<Vec<KeyToPath>>, optional: bool) -> VolumeProjection {
    VolumeProjection {
        secret: Some(SecretProjection {
            name: secret,
            items,
            optional: Some(optional),
        }),
        ..VolumeProjection::default()
    }
}

fn items(directory: &str, entries: &[&str]) -> Vec<KeyToPath> {
    entries
        .iter()
        .map(|entry| KeyToPath {
            key: (*entry).to_owned(),
            path: format!("{directory}/{entry}"),
            mode: None,
        })
        .collect()
}

pub(super) fn queue(relay: &SmtpRelay, index: i32) -> Volume {
    let mut volume = Volume {
        name: "queue".to_owned(),
        ..Volume::default()
    };
    match relay.spec.storage() {
        Storage::Persistent => {
            volume.persistent_volume_claim = Some(PersistentVolumeClaimVolumeSource {
                claim_name: names::claim(relay_name(relay), index),
                read_only: None,
            });
        }
        Storage::Ephemeral => {
            let queue = relay.spec.queue.clone().unwrap_or_default();
            volume.empty_dir = Some(EmptyDirVolumeSource {
                size_limit: Some(
                    queue
                        .size
                        .unwrap_or_else(|| Quantity(DEFAULT_QUEUE.to_owned())),
                ),
                medium: None,
            });
        }
    }
    volume
}
