//! The Strongroom HSM as a bare-metal image: the core, on the registers of one board.
//!
//! Owns the order in which the device comes up, and the rule that it does not come up without entropy or without NVRAM
//! that can be trusted. All else is the core's. `unsafe` is in `board/` and `heap.rs` only.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![cfg_attr(target_os = "none", deny(unsafe_code))]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
#[cfg_attr(target_arch = "riscv32", path = "board/virt/mod.rs")]
#[cfg_attr(target_arch = "arm", path = "board/mps2.rs")]
mod board;
#[cfg(target_os = "none")]
mod device;
#[cfg(target_os = "none")]
mod heap;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this is a firmware: build it with hsm/firmware/build.sh and boot it with hsm/firmware/run.sh");
    std::process::exit(2);
}
