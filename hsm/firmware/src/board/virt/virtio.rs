//! The virtio devices: console and entropy.
//!
//! The rings lie in RAM of their own, which is never given back.

use super::read;
use core::cell::UnsafeCell;
use core::ptr::{NonNull, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicUsize, Ordering};
use strongroom_hsm::{EntropyError, EntropySource};
use virtio_drivers::device::console::VirtIOConsole;
use virtio_drivers::device::rng::VirtIORng;
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

const SLOTS: usize = 0x1000_1000;
const SLOT_BYTES: usize = 0x1000;
const SLOT_COUNT: usize = 8;
/// Two pages for each of three rings.
const RING_PAGES: usize = 6;

#[repr(C, align(4096))]
struct Pages(UnsafeCell<[[u8; PAGE_SIZE]; RING_PAGES]>);

// SAFETY: pages are handed out once each, by a counter; there is one hart.
unsafe impl Sync for Pages {}

static PAGES: Pages = Pages(UnsafeCell::new([[0; PAGE_SIZE]; RING_PAGES]));
static NEXT_PAGE: AtomicUsize = AtomicUsize::new(0);

pub(crate) struct Memory;

// SAFETY: pages are aligned, zeroed at start, and handed out once; the devices see memory where the hart does.
unsafe impl Hal for Memory {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let first = NEXT_PAGE.load(Ordering::Relaxed);
        assert!(first + pages <= RING_PAGES, "the rings have more pages than were counted");
        NEXT_PAGE.store(first + pages, Ordering::Relaxed);
        let all = PAGES.0.get().cast::<[u8; PAGE_SIZE]>();
        // SAFETY: within the pages, as was just checked.
        let page = unsafe { all.add(first) }.cast::<u8>();
        (page.expose_provenance() as PhysAddr, NonNull::new(page).expect("a static has an address"))
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        // Devices live as long as the firmware does.
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::new(with_exposed_provenance_mut(address as usize)).expect("no device is at address 0")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr().expose_provenance() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

/// The first device of a kind, with its interrupt.
fn find(kind: DeviceType) -> Option<(MmioTransport<'static>, u32)> {
    // Dropping a transport resets its device, so none is made for a device of another kind.
    let slot = (0..SLOT_COUNT).find(|slot| read(SLOTS + slot * SLOT_BYTES + 8) == kind as u32)?;
    let header = NonNull::new(with_exposed_provenance_mut::<VirtIOHeader>(SLOTS + slot * SLOT_BYTES))?;
    // SAFETY: a virtio slot of this board, used by whoever asks for this kind of device, once.
    let transport = unsafe { MmioTransport::new(header, SLOT_BYTES) }.ok()?;
    Some((transport, slot as u32 + 1))
}

/// Whether the board has a console device, which then is the way to the agent.
pub(super) fn has_console() -> bool {
    (0..SLOT_COUNT).any(|slot| read(SLOTS + slot * SLOT_BYTES + 8) == DeviceType::Console as u32)
}

/// The console device.
pub(super) struct VirtioConsole(VirtIOConsole<Memory, MmioTransport<'static>>);

pub(super) fn find_console() -> Option<(VirtioConsole, u32)> {
    let (transport, interrupt) = find(DeviceType::Console)?;
    Some((VirtioConsole(VirtIOConsole::new(transport).ok()?), interrupt))
}

impl VirtioConsole {
    pub(super) fn read(&mut self, out: &mut [u8]) -> usize {
        let mut taken = 0;
        for byte in out {
            let Ok(Some(next)) = self.0.recv(true) else { break };
            *byte = next;
            taken += 1;
        }
        taken
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        // A device that fails to send loses a reply; the agent asks again.
        let _ = if bytes.is_empty() { Ok(()) } else { self.0.send_bytes(bytes) };
    }

    pub(super) fn acknowledge(&mut self) {
        let _ = self.0.ack_interrupt();
    }
}

/// The entropy device, if the board has one.
pub(crate) struct Entropy(Option<VirtIORng<Memory, MmioTransport<'static>>>);

impl Entropy {
    pub(super) fn find() -> Self {
        Self(find(DeviceType::EntropySource).and_then(|(transport, _)| VirtIORng::new(transport).ok()))
    }
}

impl EntropySource for Entropy {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        let device = self.0.as_mut().ok_or(EntropyError::Device)?;
        let mut rest = out;
        while !rest.is_empty() {
            let given = device.request_entropy(rest).map_err(|_| EntropyError::Device)?;
            rest = rest.get_mut(given..).filter(|_| given > 0).ok_or(EntropyError::Device)?;
        }
        Ok(())
    }
}
