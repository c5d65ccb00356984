//! Checks credentials.
