//! QEMU's `mps2-an505` board, Cortex-M33, secure state: its registers, and nothing else.
//!
//! Owns every address, the way from reset to Rust, and the way from any trap or panic to a wiped, halted device. Once
//! `_start` has set up the protection, this image cannot write to its code, execute its data, run past the end of its
//! stack, or reach memory beyond its 512 KiB.
//!
//! The board has neither an entropy device nor flash, so the device refuses service. It shows that the whole core
//! builds, links and fits on another architecture. Being emulated, it protects nothing.
#![allow(unsafe_code, reason = "registers are raw memory")]

use crate::device::{Halt, run, trapped};
use crate::heap::HEAP;
use core::arch::{asm, global_asm};
use core::fmt;
use core::hint::black_box;
use core::mem::MaybeUninit;
use core::ptr::{addr_of, with_exposed_provenance, with_exposed_provenance_mut};
use strongroom_hsm::{EntropyError, EntropySource};
use strongroom_hsm_firmware::cfi::{Bus, Cfi, CfiError};
use strongroom_hsm_firmware::link::Carrier;

/// The board's name, in the version.
macro_rules! name {
    () => {
        "emulated thumbv8m.main board, protects nothing"
    };
}
pub(crate) use name;

/// The timer that is the clock, and the one that ends a sleep: CTRL, VALUE, RELOAD, INTCLEAR. Both count down.
const CLOCK: usize = 0x5000_0000;
const ALARM: usize = 0x5000_1000;
const ALARM_INTERRUPT: u32 = 4;
const TICKS_PER_MS: u64 = 20_000;
/// The longest sleep, in ticks. The clock must be read before its timer, of 32 bits, wraps around.
const MAX_SLEEP: u64 = 1 << 31;

/// The UART for people, and the one to the agent: DATA, STATE, CTRL, INTCLEAR, BAUDDIV.
const CONSOLE: usize = 0x5020_0000;
const AGENT: usize = 0x5020_1000;
const AGENT_INTERRUPT: u32 = 34;
/// 115,200 baud.
const BAUD_DIVISOR: u32 = 20_000_000 / 115_200;
const TX_FULL: u32 = 1;
const RX_FULL: u32 = 2;
/// A byte has arrived, or one arrived before the previous one was taken.
const RX_EVENTS: u32 = 0b1010;

const NVIC_ENABLE: usize = 0xe000_e100;
const NVIC_UNPEND: usize = 0xe000_e280;
const FAULT_STATUS: usize = 0xe000_ed28;
const MEMORY_FAULT_HAS_ADDRESS: u32 = 1 << 7;
const BUS_FAULT_HAS_ADDRESS: u32 = 1 << 15;
const MEMORY_FAULT_ADDRESS: usize = 0xe000_ed34;
const BUS_FAULT_ADDRESS: usize = 0xe000_ed38;

/// What `_start` paints the stack with.
const PAINT: u32 = 0x57ac_57ac;

global_asm!(
    r#"
    .syntax unified
    .thumb
    .section .text.start, "ax"
    .balign 128
    .word __stack_top
    .word _start
    .rept 14
    .word _trap
    .endr

    // Memory protection: base and rights, last byte and kind of memory. All the rest: nothing.
    .balign 8
_regions:
    .word 0x10000000 | 0b100, 0x1007ffe0 | 1    // code, read and run
    .word 0x38000000 | 0b001, 0x3807ffe0 | 1    // RAM, read and write
    .word 0x50000000 | 0b001, 0x50001fe0 | 3    // timers
    .word 0x50200000 | 0b001, 0x50201fe0 | 3    // UARTs
    .word 0x50300000 | 0b001, 0x50300fe0 | 3    // LEDs
_regions_end:

    .globl _start
    .thumb_func
_start:
    // No interrupt is ever taken: one that is pending ends a sleep, and that is all.
    cpsid i
    ldr  r0, =__stack_bottom
    msr  msplim, r0

    ldr  r0, =0xe000ed94            // MPU_CTRL
    movs r1, #0x44                  // kind 0: memory, not cached; kind 1: device
    str  r1, [r0, #0x2c]
    adr  r1, _regions
    movs r2, #0
1:  str  r2, [r0, #0x04]
    ldrd r3, r4, [r1], #8
    str  r3, [r0, #0x08]
    str  r4, [r0, #0x0c]
    adds r2, #1
    cmp  r2, #(_regions_end - _regions) / 8
    blo  1b
    movs r1, #1
    str  r1, [r0]
    dsb
    isb

    // Nothing of an earlier run stays, whatever ended it.
    ldr  r0, =__stack_bottom
    ldr  r1, =__ram_end
    movs r2, #0
2:  str  r2, [r0], #4
    cmp  r0, r1
    blo  2b
    ldr  r0, =__data_load
    ldr  r1, =__data_start
    ldr  r2, =__data_end
3:  cmp  r1, r2
    bhs  4f
    ldr  r3, [r0], #4
    str  r3, [r1], #4
    b    3b
    // The stack is painted, so that its high-water mark can be read.
4:  ldr  r0, =__stack_bottom
    ldr  r1, =__stack_top
    ldr  r2, =0x57ac57ac
5:  str  r2, [r0], #4
    cmp  r0, r1
    blo  5b
    bl   started

    .thumb_func
_trap:
    // What the CPU saved tells where it was, unless the stack had no room to save it.
    movs r0, #0
    ldr  r1, =0xe000ed28            // fault status
    ldr  r1, [r1]
    ldr  r2, =0x00101010            // stack limit; bus or memory fault while saving
    tst  r1, r2
    it   eq
    ldreq r0, [sp, #24]
    // Nothing returns from here, so the stack may be used from its top again, even if it is what ran out.
    ldr  r1, =__stack_top
    mov  sp, r1
    bl   on_trap

    // Wipes all RAM and registers, then shows the number in r0 on the LEDs.
    .globl _wipe
    .thumb_func
_wipe:
    cpsid i
    ldr  r1, =__stack_bottom
    ldr  r2, =__ram_end
    movs r3, #0
6:  str  r3, [r1], #4
    cmp  r1, r2
    blo  6b
    ldr  r1, =0x50300004
    str  r0, [r1]
    .irp r, r0, r1, r2, r4, r5, r6, r7, r8, r9, r10, r11, r12, lr
    mov  \r, r3
    .endr
7:  wfi
    b    7b
    .pool
"#
);

unsafe extern "C" {
    static __image_start: u8;
    static __image_end: u8;
    static __stack_bottom: u32;
    static __stack_top: u32;
    static __heap_start: u8;
    static __ram_end: u8;
    fn _wipe(shown: u32) -> !;
}

/// Reads a register.
fn read(at: usize) -> u32 {
    // SAFETY: callers name aligned registers of this board; no Rust object lies there.
    unsafe { with_exposed_provenance::<u32>(at).read_volatile() }
}

/// Writes a register.
fn write(at: usize, word: u32) {
    // SAFETY: as for `read`.
    unsafe { with_exposed_provenance_mut::<u32>(at).write_volatile(word) }
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
    uart_start(CONSOLE, 0b0001);
    run(Board(()))
}

#[unsafe(no_mangle)]
extern "C" fn on_trap(at: usize) -> ! {
    let cause = read(FAULT_STATUS);
    let address = if cause & MEMORY_FAULT_HAS_ADDRESS != 0 {
        read(MEMORY_FAULT_ADDRESS)
    } else if cause & BUS_FAULT_HAS_ADDRESS != 0 {
        read(BUS_FAULT_ADDRESS)
    } else {
        0
    };
    trapped(cause as usize, at, address as usize)
}

/// Wipes all RAM, and stops until the next reset. The LEDs show why, as a binary number.
pub(crate) fn halt(why: Halt) -> ! {
    // SAFETY: it needs no stack, and nothing runs after it.
    unsafe { _wipe(why as u32) }
}

impl Board {
    /// The bytes of the image, as `strongroom-hsm-mps2.bin` holds them.
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

    /// Instructions since the reset: this board has no counter of them.
    pub(crate) fn instructions(&self) -> u64 {
        0
    }

    /// The entropy device: there is none.
    pub(crate) fn entropy(&self) -> Entropy {
        Entropy(())
    }

    /// The flash for NVRAM: nothing answers.
    pub(crate) fn flash(&mut self) -> Result<Cfi<Bank>, CfiError> {
        Cfi::probe(Bank(()))
    }

    /// The way to the agent: the second UART.
    pub(crate) fn carrier(&self) -> Port {
        Port::start()
    }
}

/// The entropy device that is missing.
pub(crate) struct Entropy(());

impl EntropySource for Entropy {
    fn fill(&mut self, _: &mut [u8]) -> Result<(), EntropyError> {
        // A compiler that knew the answer would leave the core out of the image, and the board would show nothing about
        // it.
        black_box(Err(EntropyError::Device))
    }
}

/// A bus without flash: it reads as undriven lines do.
pub(crate) struct Bank(());

impl Bus for Bank {
    fn read(&mut self, _: u32) -> u32 {
        // Hidden from the compiler, for the same reason.
        black_box(u32::MAX)
    }

    fn write(&mut self, _: u32, word: u32) {
        black_box(word);
    }

    fn bytes(&self) -> u32 {
        black_box(0)
    }
}

fn uart_start(uart: usize, control: u32) {
    write(uart + 0x10, BAUD_DIVISOR);
    write(uart + 0x08, control);
}

fn uart_send(uart: usize, byte: u8) {
    while read(uart + 0x04) & TX_FULL != 0 {}
    write(uart, u32::from(byte));
}

/// The console for people.
pub(crate) struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| uart_send(CONSOLE, byte));
        Ok(())
    }
}

/// The way to the agent, with the clock.
pub(crate) struct Port {
    /// What the clock's timer last read, and all ticks up to then.
    seen: u32,
    ticks: u64,
}

impl Port {
    fn start() -> Self {
        uart_start(AGENT, 0b1011);
        write(CLOCK + 0x08, u32::MAX);
        write(CLOCK + 0x04, u32::MAX);
        write(CLOCK, 0b0001);
        for interrupt in [ALARM_INTERRUPT, AGENT_INTERRUPT] {
            write(NVIC_ENABLE + 4 * (interrupt / 32) as usize, 1 << (interrupt % 32));
        }
        Self { seen: u32::MAX, ticks: 0 }
    }

    fn ticks(&mut self) -> u64 {
        let now = read(CLOCK + 0x04);
        self.ticks += u64::from(self.seen.wrapping_sub(now));
        self.seen = now;
        self.ticks
    }
}

impl Carrier for Port {
    fn read(&mut self, out: &mut [u8]) -> usize {
        let mut taken = 0;
        for byte in out {
            // Cleared before looking: a byte that arrives later ends the next sleep.
            write(AGENT + 0x0c, RX_EVENTS);
            if read(AGENT + 0x04) & RX_FULL == 0 {
                break;
            }
            *byte = read(AGENT) as u8;
            taken += 1;
        }
        taken
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| uart_send(AGENT, *byte));
    }

    fn now_ms(&mut self) -> u64 {
        self.ticks() / TICKS_PER_MS
    }

    fn sleep(&mut self, until: Option<u64>) {
        let now = self.ticks();
        let wait = until.map_or(MAX_SLEEP, |ms| ms.saturating_mul(TICKS_PER_MS).saturating_sub(now));
        let wait = wait.clamp(1, MAX_SLEEP) as u32;
        write(ALARM + 0x08, wait);
        write(ALARM + 0x04, wait);
        write(ALARM, 0b1001);
        // SAFETY: these instructions change when the CPU sleeps, and no memory.
        unsafe { asm!("dsb", "wfi", options(nomem, nostack, preserves_flags)) };
        write(ALARM, 0);
        write(ALARM + 0x0c, 1);
        for interrupt in [ALARM_INTERRUPT, AGENT_INTERRUPT] {
            // A UART that still has a byte keeps its interrupt pending.
            write(NVIC_UNPEND + 4 * (interrupt / 32) as usize, 1 << (interrupt % 32));
        }
        self.ticks();
    }
}
