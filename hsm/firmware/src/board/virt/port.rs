//! The way to the agent, and the console for people.
//!
//! The UART is the console. Where there is no virtio console it is also the way to the agent, a slow one, and then
//! carries nothing but frames.

use super::virtio::{VirtioConsole, find_console, has_console};
use super::{read, write};
use core::arch::asm;
use core::fmt;
use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};
use strongroom_hsm_firmware::link::Carrier;

const UART: usize = 0x1000_0000;
const UART_INTERRUPT: u32 = 10;
const MTIMECMP: usize = 0x0200_4000;
const MTIME: usize = 0x0200_bff8;
/// The timer runs at 10 MHz.
const TICKS_PER_MS: u64 = 10_000;
const PLIC: usize = 0x0c00_0000;
const PLIC_ENABLE: usize = PLIC + 0x2000;
const PLIC_THRESHOLD: usize = PLIC + 0x20_0000;
const PLIC_CLAIM: usize = PLIC + 0x20_0004;
const MTIE: u32 = 1 << 7;
const MEIE: u32 = 1 << 11;

/// A console that takes no byte for this many polls is not being read by anybody.
const MAX_CONSOLE_POLLS: u32 = 1_000_000;

fn uart_read(register: usize) -> u8 {
    // SAFETY: a register of the UART; no Rust object lies there.
    unsafe { with_exposed_provenance::<u8>(UART + register).read_volatile() }
}

fn uart_write(register: usize, byte: u8) {
    // SAFETY: as above.
    unsafe { with_exposed_provenance_mut::<u8>(UART + register).write_volatile(byte) }
}

fn uart_send(byte: u8) {
    while uart_read(5) & 0x20 == 0 {}
    uart_write(0, byte);
}

/// The console for people.
pub(crate) struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !has_console() {
            return Ok(());
        }
        // Neither service nor a wipe waits for a reader of the console.
        text.bytes().try_for_each(|byte| {
            let free = (0..MAX_CONSOLE_POLLS).any(|_| uart_read(5) & 0x20 != 0);
            if free { Ok(uart_write(0, byte)) } else { Err(fmt::Error) }
        })
    }
}

/// The way to the agent.
pub(crate) struct Port {
    kind: Kind,
    interrupt: u32,
}

enum Kind {
    Virtio(VirtioConsole),
    Uart,
}

impl Port {
    pub(super) fn find() -> Self {
        let (kind, interrupt) = match find_console() {
            Some((console, interrupt)) => (Kind::Virtio(console), interrupt),
            None => {
                // FIFOs on, receive trigger at 14 bytes; an interrupt when bytes have arrived.
                uart_write(2, 0xc7);
                uart_write(1, 0x01);
                (Kind::Uart, UART_INTERRUPT)
            }
        };
        write(PLIC + 4 * interrupt as usize, 1);
        write(PLIC_ENABLE, 1 << interrupt);
        write(PLIC_THRESHOLD, 0);
        Self { kind, interrupt }
    }
}

fn ticks() -> u64 {
    loop {
        let (high, low, again) = (read(MTIME + 4), read(MTIME), read(MTIME + 4));
        if high == again {
            return u64::from(high) << 32 | u64::from(low);
        }
    }
}

impl Carrier for Port {
    fn read(&mut self, out: &mut [u8]) -> usize {
        match &mut self.kind {
            Kind::Virtio(console) => console.read(out),
            Kind::Uart => {
                let mut taken = 0;
                for byte in out {
                    if uart_read(5) & 1 == 0 {
                        break;
                    }
                    *byte = uart_read(0);
                    taken += 1;
                }
                taken
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        match &mut self.kind {
            Kind::Virtio(console) => console.write(bytes),
            Kind::Uart => bytes.iter().for_each(|byte| uart_send(*byte)),
        }
    }

    fn now_ms(&mut self) -> u64 {
        ticks() / TICKS_PER_MS
    }

    fn sleep(&mut self, until: Option<u64>) {
        let at = until.map_or(u64::MAX, |ms| ms.saturating_mul(TICKS_PER_MS));
        write(MTIMECMP + 4, u32::MAX);
        write(MTIMECMP, at as u32);
        write(MTIMECMP + 4, (at >> 32) as u32);
        let wake = if until.is_some() { MEIE | MTIE } else { MEIE };
        // Interrupts stay disabled as a whole: one that is pending ends the sleep, and is never taken.
        // SAFETY: these instructions change when the hart sleeps, and no memory.
        unsafe {
            asm!("csrw mie, {0}", "wfi", "csrw mie, zero", in(reg) wake, options(nomem, nostack));
        }
        let claimed = read(PLIC_CLAIM);
        if let Kind::Virtio(console) = &mut self.kind {
            console.acknowledge();
        }
        if claimed == self.interrupt {
            write(PLIC_CLAIM, claimed);
        }
    }
}
