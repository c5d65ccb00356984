//! Words of our own about a recipient.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Words that cost no memory for each recipient that they are said of: fixed ones are in the program,
/// others are shared.
#[derive(Clone, Debug)]
pub(in crate::delivery) enum Text {
    /// In the program.
    Fixed(&'static str),
    /// Made once for all whom they are said of.
    Shared(Arc<str>),
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Fixed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text {}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self::Fixed(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::Shared(text.into())
    }
}
