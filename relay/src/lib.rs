//! Outbound mail relay: accepts, queues durably, signs and delivers.
//!
//! The way of a message: [`listener`] → [`session`] → [`policy`] → [`intake`] → queue → `250`;
//! then [`delivery`] takes it from the queue to the recipients' servers or back as a bounce.
//! Protocol rules live in `relay-smtp`, durability in `relay-queue`; this crate holds the effects.
