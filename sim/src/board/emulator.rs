//! One emulated board, as a separate process.

use crate::Error;
use std::fs::{File, create_dir_all, read_to_string, remove_file};
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Boots the image that `hsm/firmware/build.sh` made, from the root of the repository.
const RUN: &str = "hsm/firmware/run.sh";

/// How long the emulator may take before it listens. It may have to be installed first.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often to check whether it listens.
const LOOK: Duration = Duration::from_millis(2);

/// One emulated board. Dropped, it loses power.
pub struct Board {
    emulator: Child,
    /// What the emulator and the board print for people.
    console: PathBuf,
}

/// How a board is booted.
#[derive(Clone, Default)]
pub struct Boot {
    /// An image other than the one that `hsm/firmware/build.sh` makes.
    pub image: Option<PathBuf>,
    /// A file of entropy, instead of the machine's.
    pub entropy: Option<PathBuf>,
    /// More arguments for the emulator.
    pub arguments: Vec<String>,
}

impl Board {
    /// Boots a board whose flash is in `folder`, and is created if there is none. When this returns, its link is on
    /// `socket`.
    ///
    /// # Errors
    /// There is no script here to boot it with, or it cannot be run; or it ended at once, and said why.
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
        // An emulator that is gone leaves its socket behind.
        if socket.exists() {
            remove_file(socket)?;
        }
        let mut board = Self { emulator: command.spawn()?, console };
        board.connect(socket)?;
        Ok(board)
    }

    /// Connects to a socket of the emulator as soon as it listens there.
    pub(super) fn connect(&mut self, socket: &Path) -> Result<UnixStream, Error> {
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
        // It may have ended already; then there is nothing to kill.
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
    }
}
