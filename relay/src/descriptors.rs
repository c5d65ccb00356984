//! File descriptors of the process. A session, a connection and a look at the disk take one each; many
//! systems start a process with a soft limit of 1,024 and let it raise that itself.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What to count on where the system says that there is no limit.
const PLENTY: u64 = 1 << 20;

/// Raises the soft limit to the hard one, and returns it. Where that is not allowed, what there is stays.
pub(crate) fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, limit = limit.current, "the limit of open files stays as it is");
    }
    available()
}

/// Descriptors that the process may have.
pub(crate) fn available() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(PLENTY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_hard_one_afterwards() {
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(PLENTY);
        assert_eq!(raise(), hard);
        assert_eq!(available(), hard);
    }
}
