//! Who may send what to whom.
