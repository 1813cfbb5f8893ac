//! The HSM firmware on an emulated board, as a process beside this one; and a link that tells how long each message took.
//!
//! An emulated board protects nothing: whoever runs the emulator reads its memory.

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
