//! The HSM firmware on an emulated board, as a process beside this one; and a link that tells how long each message took.
//!
//! An emulated board protects nothing: whoever runs the emulator reads its memory.

mod bounds;
mod cut;
mod gdb;
mod host;
mod play;
mod same;
pub mod tape;
mod twin;
mod wear;
mod wire;
mod work;

use crate::cluster::request_name;
use crate::local::Error;
use async_trait::async_trait;
pub use bounds::bounds;
pub use cut::cut;
pub use same::same;
use std::collections::BTreeMap;
use std::fs::{File, create_dir_all, read_to_string, remove_file};
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use strongroom_agent::link::{Link, Lost};
pub use tape::{Entropy, Event, Tape};
pub use twin::Twin;
pub use wear::wear;
pub use wire::Wire;
pub use work::work;

/// Boots the image that `hsm/firmware/build.sh` made, from the root of the repository.
const RUN: &str = "hsm/firmware/run.sh";

/// How long the emulator may take until it listens. It may have to be installed first.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often it is looked whether it does.
const LOOK: Duration = Duration::from_millis(2);

/// One emulated board. Dropped, it loses power.
pub struct Board {
    emulator: Child,
    /// What the emulator and the board say to people.
    console: PathBuf,
}

/// How a board is booted.
#[derive(Clone, Default)]
pub struct Boot {
    /// Another image than the one that `hsm/firmware/build.sh` makes.
    pub image: Option<PathBuf>,
    /// A file of entropy instead of the machine's.
    pub entropy: Option<PathBuf>,
    /// More arguments for the emulator.
    pub arguments: Vec<String>,
}

impl Board {
    /// Boots a board whose flash is in `folder`, made if there is none. When this returns, its link is on `socket`.
    ///
    /// # Errors
    /// There is no script here to boot it with, or it cannot be run; it ended at once, and said why.
    pub fn boot(folder: &Path, socket: &Path, how: &Boot) -> Result<Self, Error> {
        if !Path::new(RUN).exists() {
            return Err(format!("there is no {RUN} here; run this in the root of the repository").into());
        }
        create_dir_all(folder)?;
        let console = folder.join("console.log");
        let log = File::create(&console)?;
        let mut command = Command::new("bash");
        command.arg(RUN).arg(folder).env("STRONGROOM_SOCKET", socket).stdin(Stdio::null());
        command.args(&how.arguments).stderr(log.try_clone()?).stdout(log);
        if let Some(image) = &how.image {
            command.env("STRONGROOM_IMAGE", image);
        }
        if let Some(entropy) = &how.entropy {
            command.env("STRONGROOM_ENTROPY", entropy);
        }
        // Of an emulator that is gone, the socket stays.
        if socket.exists() {
            remove_file(socket)?;
        }
        let mut board = Self { emulator: command.spawn()?, console };
        board.connect(socket)?;
        Ok(board)
    }

    /// Connects to a socket of the emulator as soon as that listens there.
    fn connect(&mut self, socket: &Path) -> Result<UnixStream, Error> {
        let from = Instant::now();
        loop {
            match UnixStream::connect(socket) {
                Ok(stream) => return Ok(stream),
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
                Err(error) => return Err(error.into()),
            }
            if self.emulator.try_wait()?.is_some() {
                return Err(format!("no board: {}", read_to_string(&self.console)?.trim()).into());
            }
            if from.elapsed() > PATIENCE {
                return Err("the emulator does not listen".into());
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        // It may be gone already; then there is nothing to end.
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
    }
}

/// How often each kind of message was sent, and how long all of its replies took.
#[derive(Clone, Default)]
pub struct Times(Arc<Mutex<BTreeMap<&'static str, (u32, Duration)>>>);

impl Times {
    /// Forgets what there was.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Kind of message, how often, and the mean time from request to reply.
    #[must_use]
    pub fn means(&self) -> Vec<(&'static str, u32, Duration)> {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.iter().map(|(name, (count, all))| (*name, *count, *all / (*count).max(1))).collect()
    }

    fn add(&self, name: &'static str, took: Duration) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, all) = times.entry(name).or_default();
        (*count, *all) = (*count + 1, *all + took);
    }
}

/// What went over the link of one board, up to a reply that was lost.
#[derive(Clone)]
pub struct Heard(Arc<Mutex<(Vec<Event>, bool)>>);

impl Heard {
    /// Of a board that is about to boot with this entropy.
    #[must_use]
    pub fn from_boot(entropy: Arc<[u8]>) -> Self {
        Self(Arc::new(Mutex::new((vec![Event::Boot(entropy)], true))))
    }

    fn add(&self, request: Vec<u8>, reply: Option<&[u8]>) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (events, is_whole) = &mut *heard;
        match reply {
            Some(reply) if *is_whole => events.push(Event::Exchange { request, reply: reply.into() }),
            _ => *is_whole = false,
        }
    }

    /// How many replies the software HSM gives byte by byte as the board gave them.
    ///
    /// # Errors
    /// It gives another one.
    pub fn compare(&self) -> Result<usize, Error> {
        same::compare(&self.0.lock().unwrap_or_else(PoisonError::into_inner).0)
    }
}

/// A link that notes how long each message took, and what went over it.
pub struct TimedLink<L> {
    /// The link.
    pub link: L,
    /// Where the time is noted.
    pub times: Times,
    /// Where what went over it is noted.
    pub heard: Option<Heard>,
}

#[async_trait]
impl<L: Link> Link for TimedLink<L> {
    async fn call(&self, request: Vec<u8>) -> Result<Vec<u8>, Lost> {
        let name = minicbor::decode(&request).map_or("(other)", |request| request_name(&request));
        let from = Instant::now();
        let noted = self.heard.as_ref().map(|heard| (heard, request.clone()));
        let reply = self.link.call(request).await;
        if reply.is_ok() {
            self.times.add(name, from.elapsed());
        }
        if let Some((heard, request)) = noted {
            heard.add(request, reply.as_deref().ok());
        }
        reply
    }
}
