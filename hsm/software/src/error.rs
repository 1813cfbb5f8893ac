//! Why a software HSM does not start. Each message says what to do.

use crate::Address;
use std::io;
use std::path::PathBuf;

/// Why a software HSM does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has the NVRAM file locked.
    #[error(
        "{path} is in use by another process: stop that one, or give this HSM a file of its own with --nvram \
         (two HSMs on one NVRAM file, or on copies of it, would undo the guess limit)"
    )]
    Locked {
        /// The NVRAM file.
        path: PathBuf,
    },
    /// The NVRAM file does not begin with the header of one.
    #[error(
        "{path} is not an NVRAM file of this program: give another with --nvram; it has not been changed"
    )]
    NotNvram {
        /// The file.
        path: PathBuf,
    },
    /// The NVRAM file was cut or extended.
    #[error(
        "{path} has {found} bytes where an NVRAM file has {expected}: it is damaged. Do not restore it from a copy. \
         Remove it and enrol this HSM as a new one"
    )]
    WrongSize {
        /// The NVRAM file.
        path: PathBuf,
        /// Its size in bytes.
        found: u64,
        /// The size in bytes of every NVRAM file.
        expected: u64,
    },
    /// The operating system refused an operation on the NVRAM file.
    #[error(
        "cannot {action} {path} ({source}): check that the folder exists and that this user may write to it"
    )]
    File {
        /// What was tried.
        action: &'static str,
        /// The NVRAM file, or its folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Something listens there already, or a file that is not a socket is in the way.
    #[error("{address} is in use: stop what listens there, or choose another address with --listen")]
    AddressInUse {
        /// The address.
        address: Address,
    },
    /// The address cannot be bound.
    #[error("cannot listen on {address} ({source}): choose another address with --listen")]
    Listen {
        /// The address.
        address: Address,
        /// The cause.
        source: io::Error,
    },
    /// The core refuses this NVRAM.
    #[error(
        "{source} (the NVRAM is {nvram}; a software HSM is reset by removing it, never by restoring a copy)"
    )]
    Start {
        /// The NVRAM file.
        nvram: PathBuf,
        /// The core's reason, and what to do.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
