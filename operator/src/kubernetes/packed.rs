//! Objects as they lie in a cache: deflated JSON (RFC 1951), a tenth of what the typed form of the same
//! object takes, most of whose fields are empty. Reading one costs some ten microseconds.

use std::cell::RefCell;
use std::marker::PhantomData;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// JSON that is longer when it is unpacked is not read: etcd holds no object of this size.
const LONGEST: usize = 16 << 20;
/// What JSON of Kubernetes is longer than when it is deflated, mostly.
const RATIO: usize = 4;

/// An object, packed.
pub(super) struct Packed<K> {
    bytes: Box<[u8]>,
    length: u32,
    kind: PhantomData<fn() -> K>,
}

/// Why an object cannot be packed or unpacked.
#[derive(Debug, thiserror::Error)]
pub(super) enum PackError {
    /// It has no form in JSON, or has one that is not read.
    #[error("not in JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It is too long, or damaged.
    #[error("it cannot be compressed or read back")]
    Compression,
}

thread_local! {
    /// Its tables are larger than most objects are.
    static DEFLATE: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
    static INFLATE: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

impl<K: Serialize + DeserializeOwned> Packed<K> {
    /// Packs `object`.
    pub(super) fn new(object: &K) -> Result<Self, PackError> {
        let text = serde_json::to_vec(object)?;
        if text.len() > LONGEST {
            return Err(PackError::Compression);
        }
        let length = u32::try_from(text.len()).map_err(|_| PackError::Compression)?;
        Ok(Self {
            bytes: deflate(&text)?,
            length,
            kind: PhantomData,
        })
    }

    /// The object as it was.
    pub(super) fn unpack(&self) -> Result<K, PackError> {
        let length = usize::try_from(self.length).map_err(|_| PackError::Compression)?;
        let text = inflate(&self.bytes, length)?;
        Ok(serde_json::from_slice(&text)?)
    }
}

fn deflate(text: &[u8]) -> Result<Box<[u8]>, PackError> {
    DEFLATE.with_borrow_mut(|state| {
        state.reset();
        let mut packed = Vec::with_capacity(text.len() / RATIO + 64);
        loop {
            let consumed = usize::try_from(state.total_in()).unwrap_or(text.len());
            let rest = text.get(consumed..).unwrap_or_default();
            let status = state.compress_vec(rest, &mut packed, FlushCompress::Finish);
            match status.map_err(|_| PackError::Compression)? {
                Status::StreamEnd => return Ok(packed.into_boxed_slice()),
                Status::Ok | Status::BufError => packed.reserve(packed.capacity().max(64)),
            }
        }
    })
}

fn inflate(packed: &[u8], length: usize) -> Result<Vec<u8>, PackError> {
    INFLATE.with_borrow_mut(|state| {
        state.reset(false);
        let mut text = Vec::with_capacity(length);
        let status = state.decompress_vec(packed, &mut text, FlushDecompress::Finish);
        match status {
            Ok(Status::StreamEnd) if text.len() == length => Ok(text),
            _ => Err(PackError::Compression),
        }
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_comes_back_as_it_was_and_takes_less_meanwhile() {
        let ports: Vec<_> = (0..20)
            .map(|port| json!({"containerPort": 2500 + port, "protocol": "TCP"}))
            .collect();
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": {"name": "outbox-0", "labels": {"a": "b"}},
            "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "relay", "ports": ports}]}}},
        }))
        .unwrap();
        let packed = Packed::new(&deployment).unwrap();
        assert_eq!(packed.unpack().unwrap(), deployment);
        let size = serde_json::to_vec(&deployment).unwrap().len();
        assert!(
            packed.bytes.len() * RATIO < size,
            "{} of {size}",
            packed.bytes.len()
        );
    }

    #[test]
    fn damage_is_an_error() {
        let mut packed = Packed::new(&"one two three one two three".to_owned()).unwrap();
        packed.bytes = packed.bytes[..packed.bytes.len() - 2].into();
        assert!(packed.unpack().is_err());
        let mut packed = Packed::new(&"one".to_owned()).unwrap();
        packed.length = 2;
        assert!(packed.unpack().is_err());
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in prop_oneof![".{0,40}", "[ab]{0,4000}", "\\PC{0,4000}"]) {
            let packed = Packed::new(&text).unwrap();
            prop_assert_eq!(packed.unpack().unwrap(), text);
        }
    }
}
