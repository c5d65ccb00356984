//! Makes received data a message to queue.
