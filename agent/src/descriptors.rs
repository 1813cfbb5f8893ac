//! How many files and sockets this process may have open.

use crate::front::CLOSING;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::num::NonZeroU32;

/// Descriptors that are not for clients: the HSM, the store, the other agents, the operator, files.
const RESERVED: u64 = 256;

/// Allows this process as many as the system permits. Call it at the start of a daemon: many systems begin with 1,024,
/// for the sake of programs that use `select`, and permit more on request.
pub fn raise() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit on open files stays low; raise it in what starts the agent");
    }
}

/// As many of `wanted` connections as there are descriptors for.
#[must_use]
pub fn for_connections(wanted: NonZeroU32) -> NonZeroU32 {
    // `None` means no limit.
    let Some(descriptors) = getrlimit(Resource::Nofile).current else { return wanted };
    let possible = possible(wanted, descriptors);
    if possible < wanted {
        tracing::warn!(
            "max_connections is {wanted}, but with {descriptors} open files there is room for {possible}; raise the \
             limit on open files (`LimitNOFILE=` in systemd, `ulimit -n`)"
        );
    }
    possible
}

fn possible(wanted: NonZeroU32, descriptors: u64) -> NonZeroU32 {
    let left = descriptors.saturating_sub(RESERVED + u64::from(CLOSING)).max(1);
    wanted.min(u32::try_from(left).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        for (wanted, descriptors, given) in [
            (4096, 1024, 704),
            (4096, 1 << 20, 4096),
            (4096, 4416, 4096),
            (4096, 4415, 4095),
            (5, 10, 1),
            (5, u64::MAX, 5),
        ] {
            let wanted = NonZeroU32::new(wanted).expect("not zero");
            assert_eq!(possible(wanted, descriptors).get(), given, "{descriptors}");
        }
    }
}
