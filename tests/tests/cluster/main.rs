//! End to end: the operator on a real cluster, its relays between real clients and a real mail
//! server. Run with `make test`; needs root, or `KUBECONFIG` (see `tests/cluster/README.md`).

mod bounce;
mod changes;
mod chaos;
mod domains;
mod durability;
mod flow;
mod identity;
mod lifecycle;
mod refusal;
mod submission;
mod workload;
