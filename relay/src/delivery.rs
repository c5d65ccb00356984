//! Takes messages from the queue to the next servers.
