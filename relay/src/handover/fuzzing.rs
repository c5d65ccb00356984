//! What has to hold for what another shard says.

use bytes::Bytes;

use super::wire::{self, Given, Offer, Open, Opened, Owned, Owner, Taken};
use crate::fuzzing::again;

/// A batch of messages: written again, it holds the same.
pub(crate) fn batch(body: &[u8]) {
    let Ok(messages) = wire::read(Bytes::copy_from_slice(body)) else {
        return;
    };
    let mut pieces = Vec::new();
    for (transfer, content) in &messages {
        let added = wire::add(&mut pieces, transfer.clone(), vec![content.clone()]);
        assert!(added.is_ok(), "{:?}", added.err());
    }
    assert_eq!(wire::read(pieces.concat().into()), Ok(messages));
}

/// The small things.
pub(crate) fn words(body: &[u8]) {
    again::<Open>(body);
    again::<Opened>(body);
    again::<Offer>(body);
    again::<Taken>(body);
    again::<Given>(body);
    again::<Owner>(body);
    again::<Owned>(body);
}
