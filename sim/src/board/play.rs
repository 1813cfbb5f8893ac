//! A board repeats what a software HSM did.

use super::emulator::{Board, Boot};
use super::gdb::Gdb;
use super::twin::is_same;
use super::wire::Wire;
use crate::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use strongroom_hsm::Config;
use strongroom_proto::hsm::{DeviceStatus, Reply, Request};
use strongroom_testkit::{Event, request_name};

/// Bytes of the flash as it comes from the factory.
pub(super) const FLASH_BYTES: usize = 32 << 20;
/// More than the time that a board is quiet before it reports its marks: a busy machine is slow.
const QUIET: Duration = Duration::from_millis(600);

/// Where boards are booted, one after another.
pub(super) struct Bench {
    folder: tempfile::TempDir,
    how: Boot,
    /// Whether the emulator counts instructions, which makes it slower.
    counts: bool,
    on: Option<(Board, Wire)>,
    /// How often a board was booted.
    pub(super) boots: usize,
}

impl Bench {
    /// A bench for boards with this image, or without one, with the one that `build.sh` makes.
    pub(super) fn new(image: Option<PathBuf>) -> Result<Self, Error> {
        let folder = tempfile::Builder::new().prefix("strongroom-board-").tempdir()?;
        let how = Boot { image, ..Boot::default() };
        Ok(Self { folder, how, counts: false, on: None, boots: 0 })
    }

    /// [`Self::new`] with an emulator that counts instructions.
    pub(super) fn counting(image: PathBuf) -> Result<Self, Error> {
        Ok(Self { counts: true, ..Self::new(Some(image))? })
    }

    pub(super) fn flash(&self) -> PathBuf {
        self.folder.path().join("flash.img")
    }

    /// A new board.
    pub(super) fn erase(&mut self) -> Result<(), Error> {
        self.on = None;
        Ok(std::fs::write(self.flash(), vec![0xff; FLASH_BYTES])?)
    }

    /// Cuts the power, and restores it.
    pub(super) fn boot(&mut self, entropy: Option<&[u8]>) -> Result<(), Error> {
        self.boot_with(entropy, &[])
    }

    fn boot_with(&mut self, entropy: Option<&[u8]>, arguments: &[&str]) -> Result<(), Error> {
        self.on = None;
        let _ = std::fs::remove_file(self.debugger());
        self.how.entropy = entropy.map(|_| self.folder.path().join("entropy"));
        if let (Some(bytes), Some(file)) = (entropy, &self.how.entropy) {
            std::fs::write(file, bytes)?;
        }
        self.how.arguments = Gdb::arguments(&self.debugger());
        let counting: &[&str] = if self.counts { &["-icount", "shift=0"] } else { &[] };
        self.how.arguments.extend(arguments.iter().chain(counting).copied().map(String::from));
        let socket = self.folder.path().join("hsm.sock");
        let mut board = Board::boot(self.folder.path(), &socket, &self.how)?;
        self.boots += 1;
        let wire = Wire::new(board.connect(&socket)?)?;
        self.on = Some((board, wire));
        Ok(())
    }

    fn debugger(&self) -> PathBuf {
        self.folder.path().join("gdb.sock")
    }

    /// Boots it without starting its CPU.
    pub(super) fn boot_stopped(&mut self) -> Result<(), Error> {
        self.boot_with(None, &["-S"])
    }

    /// Connects a debugger, which stops the CPU.
    pub(super) fn attach(&mut self) -> Result<Gdb, Error> {
        let debugger = self.debugger();
        let (board, _) = self.on.as_mut().ok_or("no board is on")?;
        Gdb::attach(board.connect(&debugger)?)
    }

    /// Cuts the power.
    pub(super) fn cut(&mut self) {
        self.on = None;
    }

    pub(super) fn wire(&mut self) -> Result<&mut Wire, Error> {
        Ok(&mut self.on.as_mut().ok_or("no board is on")?.1)
    }

    pub(super) fn call(&mut self, request: &[u8]) -> Result<Vec<u8>, Error> {
        let reply = self.wire()?.call(request);
        reply.map_err(|error| format!("{error}; the console says: {}", self.console().trim()).into())
    }

    pub(super) fn ask(&mut self, request: &Request) -> Result<Reply, Error> {
        Ok(minicbor::decode(&self.call(&minicbor::to_vec(request)?)?)?)
    }

    /// Boots a new board, and checks what it was built from: other code than this would answer differently.
    pub(super) fn config(&mut self) -> Result<Config, Error> {
        self.erase()?;
        self.boot(None)?;
        let status = self.status()?;
        let config = Config::firmware(status.version, status.build);
        if config.limits == status.limits {
            return Ok(config);
        }
        Err("the image was built from other code than this: run hsm/firmware/build.sh".into())
    }

    pub(super) fn status(&mut self) -> Result<DeviceStatus, Error> {
        match self.ask(&Request::DeviceStatus)? {
            Reply::Device(status) => Ok(status),
            other => Err(format!("no status but {other:?}").into()),
        }
    }

    /// What the board has printed since it was booted.
    pub(super) fn console(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("console.log")).unwrap_or_default()
    }

    /// Has a new board repeat a tape. Returns the first answer that differs, if any.
    pub(super) fn play(&mut self, tape: &[Event]) -> Result<Option<String>, Error> {
        self.erase()?;
        for (at, event) in tape.iter().enumerate() {
            match event {
                Event::Boot(entropy) => self.boot(Some(entropy))?,
                Event::Exchange { request, reply } => {
                    let own =
                        self.call(request).map_err(|error| format!("{}: {error}", named(at, request)))?;
                    if !is_same(reply, &own) {
                        return Ok(Some(difference(at, request, reply, &own)));
                    }
                }
            }
        }
        Ok(None)
    }

    /// What an image for measuring reports: the most heap and stack that were in use since the boot, and how much there
    /// is; and the work of the last message.
    pub(super) fn marks(&self) -> Result<Marks, Error> {
        let from = Instant::now();
        let mut last = (self.console(), Instant::now());
        while last.1.elapsed() < QUIET && from.elapsed() < 100 * QUIET {
            std::thread::sleep(QUIET / 20);
            let now = self.console();
            if now != last.0 {
                last = (now, Instant::now());
            }
        }
        let line = last.0.lines().rev().find(|line| line.contains("high water")).unwrap_or_default();
        let numbers: Vec<usize> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        match numbers[..] {
            [heap, heap_bytes, stack, stack_bytes, instructions] => {
                Ok(Marks { heap, heap_bytes, stack, stack_bytes, instructions })
            }
            _ => Err("the board tells no marks: build its image with `build.sh --marks`".into()),
        }
    }
}

/// The most bytes of RAM in use, and how many there are; how many instructions the last message took.
#[derive(Clone, Copy)]
pub(super) struct Marks {
    pub(super) heap: usize,
    pub(super) heap_bytes: usize,
    pub(super) stack: usize,
    pub(super) stack_bytes: usize,
    pub(super) instructions: usize,
}

fn named(at: usize, request: &[u8]) -> String {
    let name = minicbor::decode(request).map_or("(garbage)", |request| request_name(&request));
    format!("event {at}, {name}")
}

fn difference(at: usize, request: &[u8], expected: &[u8], own: &[u8]) -> String {
    let first = expected.iter().zip(own).position(|(a, b)| a != b).unwrap_or(expected.len().min(own.len()));
    let (event, long, own) = (named(at, request), expected.len(), own.len());
    format!("{event}: from byte {first} on another reply, {own} bytes instead of {long}")
}

/// A path as it is printed.
pub(super) fn image_or_default(image: Option<&Path>) -> PathBuf {
    image.map_or_else(|| PathBuf::from("target/firmware/strongroom-hsm.elf"), Path::to_path_buf)
}
