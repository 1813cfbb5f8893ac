//! The HSM firmware on an emulated board, as a separate process; and a link that records how long each message took.
//!
//! An emulated board protects nothing: anyone who runs the emulator can read its memory.

mod bounds;
mod cut;
mod emulator;
mod gdb;
mod host;
mod play;
mod same;
mod timed;
mod twin;
mod wear;
mod wire;
mod work;

pub use bounds::bounds;
pub use cut::cut;
pub use emulator::{Board, Boot};
pub use same::same;
pub use timed::{Heard, TimedLink, Times};
pub use wear::wear;
pub use work::work;
