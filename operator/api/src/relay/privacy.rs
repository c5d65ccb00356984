//! What recipients learn of the clients.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What recipients learn of the clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Privacy {
    /// Keep the addresses and names of clients and of the relay's pods out of messages. The relay's
    /// own `Received` then names the relay's `hostname` alone, `Received` fields that a client sent
    /// keep nothing but their date, and `X-Originating-IP` is removed; the relay's log still has
    /// everything under the id in `Received`. Default false: recipients see the address and the EHLO
    /// name of the pod, as RFC 5321 section 4.4 asks.
    #[serde(default)]
    pub hide_clients: bool,
}
