//! The device: what comes up in which order, and what stops it.

use crate::board::{Board, Console, halt};
use crate::heap::HEAP;
use alloc::string::String;
use core::cell::Cell;
use core::fmt::{self, Write as _};
use core::panic::PanicInfo;
use sha2::{Digest as _, Sha256};
use strongroom_hsm::{Config, Core, Drbg, EntropyError, EntropySource, Env, Flash, StartError};
use strongroom_hsm_firmware::cfi::CfiError;
use strongroom_hsm_firmware::link::Link;
use strongroom_proto::ids::BuildDigest;

/// What a host reads as the version.
const VERSION: &str =
    concat!("strongroom-hsm ", env!("CARGO_PKG_VERSION"), " (firmware, ", crate::board::name!(), ")");
/// What follows it in an image that is not for use.
const FOR_MEASURING: &str = if cfg!(feature = "marks") { " for measuring" } else { "" };

/// How the device ended, for whoever reads its exit status.
#[derive(Clone, Copy)]
pub(crate) enum Halt {
    /// A panic: a defect, or an allocation that did not fit.
    Panic = 1,
    /// The CPU refused an access or an instruction: a defect, or the stack ran out.
    Trap = 2,
    /// No entropy, no service.
    NoEntropy = 3,
    /// NVRAM is missing, or cannot be trusted.
    NoNvram = 4,
}

/// Why the device does not serve.
enum Refused {
    Entropy(EntropyError),
    Flash(CfiError),
    Start(StartError),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entropy(error) => write!(f, "no service: {error}"),
            Self::Flash(error) => write!(f, "no service: {error}"),
            Self::Start(error) => write!(f, "no service: {error}"),
        }
    }
}

/// The device under the core.
struct Device<F, S> {
    flash: F,
    rng: Drbg<S>,
}

impl<F: Flash, S: EntropySource> Env for Device<F, S> {
    type Flash = F;
    type Rng = Drbg<S>;

    fn flash(&mut self) -> &mut F {
        &mut self.flash
    }

    fn rng(&mut self) -> &mut Drbg<S> {
        &mut self.rng
    }

    fn show(&mut self, line: fmt::Arguments<'_>) {
        say(line);
    }
}

/// Starts, and serves until the power goes or something breaks.
pub(crate) fn run(board: Board) -> ! {
    let refused = match serve(board) {
        Err(refused) => refused,
        Ok(never) => match never {},
    };
    say(format_args!("{refused}"));
    halt(match refused {
        Refused::Entropy(_) => Halt::NoEntropy,
        Refused::Flash(_) | Refused::Start(_) => Halt::NoNvram,
    })
}

fn serve(mut board: Board) -> Result<core::convert::Infallible, Refused> {
    let build = BuildDigest(Sha256::digest(board.image()).into());
    say(format_args!("{VERSION}{FOR_MEASURING}, image {build}"));
    let rng = Drbg::start(board.entropy()).map_err(Refused::Entropy)?;
    let flash = board.flash().map_err(Refused::Flash)?;
    let mut device = Device { flash, rng };
    let config = Config::firmware(String::from(VERSION) + FOR_MEASURING, build);
    let limit = config.limits.max_frame_bytes;
    let mut link = Link::new(board.carrier(), limit);
    let mut core = Core::start(&mut device, config).map_err(Refused::Start)?;
    say(format_args!("ready for the agent"));
    let mut told = Marks::default();
    let last = Cell::new(0);
    let mut handle = |request: &[u8]| {
        let from = counter(&board);
        let reply = core.handle(&mut device, request);
        last.set(counter(&board).wrapping_sub(from));
        reply
    };
    loop {
        link.step(&mut handle, || told.tell(&board, last.get()));
    }
}

/// Instructions so far, if they may be reported.
fn counter(board: &Board) -> u64 {
    if cfg!(feature = "marks") { board.instructions() } else { 0 }
}

/// The most memory ever in use, and how much work the last message was.
///
/// Only an image for measuring reports it: what a batch took would tell a host its outcome before the commit (invariant
/// 5).
#[derive(Default, PartialEq)]
struct Marks {
    heap: usize,
    stack: usize,
    instructions: u64,
}

impl Marks {
    /// Prints them if they have changed.
    fn tell(&mut self, board: &Board, instructions: u64) {
        if !cfg!(feature = "marks") {
            return;
        }
        let (stack, stack_bytes) = board.stack_mark();
        let (heap, heap_bytes) = HEAP.mark();
        let now = Self { heap, stack, instructions };
        if now != *self {
            *self = now;
            say(format_args!(
                "high water: heap {heap} of {heap_bytes} bytes, stack {stack} of {stack_bytes} bytes; the last message \
                 took {instructions} instructions"
            ));
        }
    }
}

fn say(line: fmt::Arguments<'_>) {
    // An unread console is no reason to stop.
    let _ = writeln!(Console, "strongroom: {line}");
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // Only the location: the message may quote the data being worked on.
    match info.location() {
        Some(at) => say(format_args!("halted and wiped: a panic at {}:{}", at.file(), at.line())),
        None => say(format_args!("halted and wiped: a panic")),
    }
    halt(Halt::Panic)
}

/// What a trap handler does: say what it was, and stop.
pub(crate) fn trapped(cause: usize, at: usize, address: usize) -> ! {
    say(format_args!("halted and wiped: trap {cause:#x} at {at:#x}, address {address:#x}"));
    halt(Halt::Trap)
}
