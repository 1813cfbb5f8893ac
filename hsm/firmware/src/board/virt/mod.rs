//! QEMU's `virt` board, 32-bit RISC-V, machine mode: its registers, and nothing else.
//!
//! Owns every address. Being emulated, it protects nothing: whoever runs the emulator can read its RAM and copy its
//! flash.
#![allow(unsafe_code, reason = "registers are raw memory")]

mod port;
mod start;
mod virtio;

use crate::device::{Halt, run, trapped};
use crate::heap::HEAP;
use core::arch::asm;
use core::mem::MaybeUninit;
use core::ptr::{addr_of, with_exposed_provenance, with_exposed_provenance_mut};
pub(crate) use port::{Console, Port};
use strongroom_hsm_firmware::cfi::{Bus, Cfi, CfiError};
pub(crate) use virtio::Entropy;

/// The board's name, in the version.
macro_rules! name {
    () => {
        "emulated riscv32imac board, protects nothing"
    };
}
pub(crate) use name;

/// The second of the board's two flash banks; the first is where other images boot from.
const FLASH: usize = 0x2200_0000;
/// What `start.rs` paints the stack with.
const PAINT: u32 = 0x57ac_57ac;

unsafe extern "C" {
    static __image_start: u8;
    static __image_end: u8;
    static __stack_bottom: u32;
    static __stack_top: u32;
    static __heap_start: u8;
    static __ram_end: u8;
    fn _wipe(word: u32) -> !;
}

/// The board. There is one.
pub(crate) struct Board(());

#[unsafe(no_mangle)]
extern "C" fn started() -> ! {
    let (from, to) = (addr_of!(__heap_start).addr(), addr_of!(__ram_end).addr());
    // SAFETY: the linker leaves this range to the heap, `_start` calls this once, and any byte is a `MaybeUninit`.
    let memory = unsafe {
        core::slice::from_raw_parts_mut(with_exposed_provenance_mut::<MaybeUninit<u8>>(from), to - from)
    };
    HEAP.begin(memory);
    run(Board(()))
}

#[unsafe(no_mangle)]
extern "C" fn on_trap(cause: usize, at: usize, address: usize) -> ! {
    trapped(cause, at, address)
}

/// Wipes all RAM, and ends the emulator with a status that says why. A board stops until its next reset.
pub(crate) fn halt(why: Halt) -> ! {
    let fail = 0x3333;
    // SAFETY: it needs no stack, and nothing runs after it.
    unsafe { _wipe((why as u32) << 16 | fail) }
}

impl Board {
    /// The bytes of the image, as `strongroom-hsm.bin` holds them.
    pub(crate) fn image(&self) -> &'static [u8] {
        let (from, to) = (addr_of!(__image_start), addr_of!(__image_end).addr());
        // SAFETY: the linker puts the image there, and it cannot be written to.
        unsafe { core::slice::from_raw_parts(from, to - from.addr()) }
    }

    /// How deep the stack ever went, and its size, in bytes.
    pub(crate) fn stack_mark(&self) -> (usize, usize) {
        let (bottom, top) = (addr_of!(__stack_bottom), addr_of!(__stack_top).addr());
        let words = (top - bottom.addr()) / 4;
        // SAFETY: within the stack, of which only words below the deepest frame are looked at until one was written.
        let untouched = (0..words).take_while(|i| unsafe { bottom.add(*i).read_volatile() } == PAINT).count();
        ((words - untouched) * 4, words * 4)
    }

    /// Instructions since the reset. QEMU counts them only with `-icount`; else this is a clock.
    pub(crate) fn instructions(&self) -> u64 {
        loop {
            let (high, low, again): (u32, u32, u32);
            // SAFETY: reads counters, and no memory.
            unsafe {
                asm!("csrr {0}, minstreth", "csrr {1}, minstret", "csrr {2}, minstreth",
                    out(reg) high, out(reg) low, out(reg) again, options(nomem, nostack));
            }
            if high == again {
                return u64::from(high) << 32 | u64::from(low);
            }
        }
    }

    /// The entropy device.
    pub(crate) fn entropy(&self) -> Entropy {
        Entropy::find()
    }

    /// The flash for NVRAM.
    pub(crate) fn flash(&mut self) -> Result<Cfi<Bank>, CfiError> {
        Cfi::probe(Bank(()))
    }

    /// The way to the agent: a virtio console, or the UART if the board has none.
    pub(crate) fn carrier(&self) -> Port {
        Port::find()
    }
}

/// The flash bank on the bus.
pub(crate) struct Bank(());

impl Bus for Bank {
    fn read(&mut self, offset: u32) -> u32 {
        let at = with_exposed_provenance::<u32>(FLASH + (offset as usize & 0x01ff_fffc));
        // SAFETY: within the bank, aligned; no Rust object lies there.
        unsafe { at.read_volatile() }
    }

    fn write(&mut self, offset: u32, word: u32) {
        let at = with_exposed_provenance_mut::<u32>(FLASH + (offset as usize & 0x01ff_fffc));
        // SAFETY: as above.
        unsafe { at.write_volatile(word) }
    }

    fn bytes(&self) -> u32 {
        32 << 20
    }
}

/// Reads a register of 32 bits.
fn read(at: usize) -> u32 {
    // SAFETY: callers name aligned registers of this board; no Rust object lies there.
    unsafe { with_exposed_provenance::<u32>(at).read_volatile() }
}

/// Writes a register of 32 bits.
fn write(at: usize, word: u32) {
    // SAFETY: as for `read`.
    unsafe { with_exposed_provenance_mut::<u32>(at).write_volatile(word) }
}
