//! The Strongroom HSM core as a process: NVRAM in a file, randomness of the operating system, a Unix or TCP socket.
//!
//! This is a **simulation and protects nothing**. It trusts its whole machine: whoever reads the NVRAM file has the
//! realm's keys, and whoever copies, restores or snapshots it undoes guesses. It exists to develop and test against,
//! with the very same core that runs on real hardware.
//!
//! Owns what the core leaves to its device ([`FileFlash`], [`SoftwareEnv`]) and the link to the agent ([`Address`],
//! [`Server`]). Decides nothing: what comes in is handed to the core, what the core answers goes out. The agent is
//! not trusted; a frame that is too long ends its connection, and each connection is bounded by one frame.
#![forbid(unsafe_code)]

mod address;
mod error;
mod file_flash;
mod link;
mod server;

pub use address::Address;
pub use error::Error;
pub use file_flash::{FILE_GEOMETRY, FileFlash};
pub use link::Listener;
pub use server::{MAX_CONNECTIONS, Server, Stopper};

use getrandom::SysRng;
use rand_core::UnwrapErr;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use strongroom_hsm::{Config, Core, Env};

/// Where a software HSM shows its lines. A device has a console of its own; here whoever runs the process is both host and
/// console, so it only stands in for one.
#[derive(Clone)]
pub struct Console(Arc<dyn Fn(&str) + Send + Sync>);

impl Console {
    /// A console that gives each line to `show`.
    pub fn new(show: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(show))
    }

    /// A console that nobody looks at.
    #[must_use]
    pub fn dark() -> Self {
        Self::new(|_| {})
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Console")
    }
}

/// The device under a software HSM.
#[derive(Debug)]
pub struct SoftwareEnv {
    flash: FileFlash,
    console: Console,
    // A machine that cannot give randomness must not run on: `UnwrapErr` panics, and the server ends.
    rng: UnwrapErr<SysRng>,
}

impl SoftwareEnv {
    /// The device with this NVRAM and this console.
    #[must_use]
    pub fn new(flash: FileFlash, console: Console) -> Self {
        Self { flash, console, rng: UnwrapErr(SysRng) }
    }
}

impl Env for SoftwareEnv {
    type Flash = FileFlash;
    type Rng = UnwrapErr<SysRng>;

    fn flash(&mut self) -> &mut FileFlash {
        &mut self.flash
    }

    fn rng(&mut self) -> &mut UnwrapErr<SysRng> {
        &mut self.rng
    }

    fn show(&mut self, line: fmt::Arguments<'_>) {
        (self.console.0)(&line.to_string());
    }
}

/// What a software HSM needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// The NVRAM file; created when there is none.
    pub nvram: PathBuf,
    /// Where the agent connects.
    pub listen: Address,
    /// The core's bounds.
    pub config: Config,
    /// Where it shows what custodians compare.
    pub console: Console,
}

/// Starts a software HSM in threads of this process: locks the NVRAM file, starts the core, listens.
///
/// # Errors
/// The NVRAM file is in use, damaged or not one; the core refuses to start; the address cannot be bound.
pub fn start(options: Options) -> Result<Server, Error> {
    let mut env = SoftwareEnv::new(FileFlash::open(&options.nvram)?, options.console);
    let limit = options.config.limits.max_frame_bytes;
    let mut core = Core::start(&mut env, options.config)
        .map_err(|source| Error::Start { nvram: options.nvram, source: Box::new(source) })?;
    // Only now: a socket file that is there already may be that of the process that holds the NVRAM file.
    let listener = Listener::bind(&options.listen)?;
    Server::spawn(listener, limit, move |request| core.handle(&mut env, request))
}
