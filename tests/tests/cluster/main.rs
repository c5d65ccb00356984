//! End to end: the operator on a real cluster, its relays between real clients and a real mail
//! server. Run with `make test`; needs root, or `KUBECONFIG` (see `tests/cluster/README.md`).

mod admission;
mod autoscaling;
mod bounce;
mod certificates;
mod changes;
mod chaos;
mod credentials;
mod domains;
mod durability;
mod flow;
mod identity;
mod issuer;
mod lifecycle;
mod network;
mod outage;
mod refusal;
mod smarthost;
mod submission;
mod tenant;
mod upgrade;
mod waiting;
mod workload;
