//! What a device is built with: its limits, and what it says that it runs.

use alloc::string::String;
use strongroom_proto::hsm::{Limits, MAX_BATCH_REQUESTS};
use strongroom_proto::ids::BuildDigest;
use strongroom_proto::tree::MAX_TREE_NODES;

/// What a device is built with.
#[derive(Clone, Debug)]
pub struct Config {
    /// What it can take. Every reply fits in `max_frame_bytes` if `max_pending_replies` of them do.
    pub limits: Limits,
    /// The most sessions that keep their last reply; beyond that, the reply that is needed least is forgotten.
    pub session_replies: u32,
    /// What it runs, in words.
    pub version: String,
    /// What it runs, as a digest.
    pub build: BuildDigest,
}

impl Config {
    /// The software HSM: frames of 1 MiB, batches of 128, 1,024 waiting replies, 16,384 sessions.
    ///
    /// 1,024 replies of at most 528 bytes are 528 KiB. A full batch sends at most 2,128 bytes of client message and, in
    /// a tree of 30 levels, 1,989 bytes of path for each request: 515 KiB. `tests/sizes.rs` holds this arithmetic.
    #[must_use]
    pub fn software() -> Self {
        let limits = Limits {
            max_frame_bytes: 1 << 20,
            max_batch_requests: MAX_BATCH_REQUESTS as u32,
            max_pending_entries: 256,
            max_pending_replies: 1024,
            max_sessions: 16_384,
            max_tree_nodes: MAX_TREE_NODES as u32,
        };
        let version =
            String::from(concat!("strongroom-hsm ", env!("CARGO_PKG_VERSION"), " (software simulation)"));
        Self { limits, session_replies: limits.max_sessions, version, build: BuildDigest([0; 32]) }
    }

    /// A board with 512 KiB of RAM: frames of 88 KiB, batches of 16, 64 waiting replies, 256 sessions.
    ///
    /// 192 of the sessions may be between Recover2 and Recover3: about as many as 100 recoveries a second keep open
    /// during a phone's round trip of two seconds. A session with its reply takes 800 bytes, without it 250.
    ///
    /// A frame takes the longest capture, 64 of the largest entries, and a full batch in a tree of 24 levels, whose
    /// nodes are counted too; one path of 256 levels takes 513. `tests/sizes.rs` holds this arithmetic, and
    /// `strongroom-sim firmware bounds` shows that all of it fits in the RAM at once.
    #[must_use]
    pub const fn firmware(version: String, build: BuildDigest) -> Self {
        let limits = Limits {
            max_frame_bytes: 88 << 10,
            max_batch_requests: 16,
            max_pending_entries: 64,
            max_pending_replies: 64,
            max_sessions: 256,
            max_tree_nodes: 16 * (2 * 24 + 1),
        };
        Self { limits, session_replies: 64, version, build }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::software()
    }
}
