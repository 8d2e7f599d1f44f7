//! [`WindowHal`]: the memory that the crate asks for, out of the driver's window.
//!
//! The crate's trait has functions without `self`, so there is one arena for a driver: an instance has its own, because
//! its statics are its own at every isolation level.

use core::cell::UnsafeCell;
use core::ptr::NonNull;

use nook_sdk::{DmaRegion, Kernel, Nook, Status};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

/// Pages of the arena: two for each queue of 128 entries or fewer.
pub(crate) const PAGES: usize = 8;
/// Bytes of the arena.
pub(crate) const ARENA_BYTES: u32 = (PAGES * PAGE_SIZE) as u32;

/// Private pages, one for each of the arena.
#[repr(C, align(4096))]
struct Private(UnsafeCell<[u8; PAGES * PAGE_SIZE]>);

/// Pages that are handed out, and where they and the window are.
struct Arena {
    /// A bit for each page that is in use.
    used: u32,
    /// The first page, in the driver's memory and for the device.
    pages: NonNull<u8>,
    iova: u64,
    private: NonNull<u8>,
    /// The window's first byte, in the driver's memory and for the device, and how many it has.
    window: usize,
    window_iova: u64,
    window_bytes: usize,
}

/// What the driver has once.
struct Shared {
    arena: UnsafeCell<Option<Arena>>,
    private: Private,
}

impl Shared {
    const fn new() -> Self {
        Shared { arena: UnsafeCell::new(None), private: Private(UnsafeCell::new([0; PAGES * PAGE_SIZE])) }
    }

    /// Has `with` use the arena. It must not come here again.
    fn with<R>(&self, with: impl FnOnce(&mut Option<Arena>, NonNull<u8>) -> R) -> R {
        let private = NonNull::from(&self.private.0).cast();
        // SAFETY: a driver is called on one thread, which the callers of `Instance` vouch for; in tests each thread has
        // its own. What `with` does comes here no second time.
        with(unsafe { &mut *self.arena.get() }, private)
    }
}

#[cfg(not(any(test, feature = "testing")))]
fn shared<R>(with: impl FnOnce(&mut Option<Arena>, NonNull<u8>) -> R) -> R {
    struct OneThread(Shared);
    // SAFETY: a driver is called on one thread, which the callers of `Instance` vouch for.
    unsafe impl Sync for OneThread {}
    static SHARED: OneThread = OneThread(Shared::new());
    SHARED.0.with(with)
}

#[cfg(any(test, feature = "testing"))]
fn shared<R>(with: impl FnOnce(&mut Option<Arena>, NonNull<u8>) -> R) -> R {
    std::thread_local!(static SHARED: &'static Shared = std::boxed::Box::leak(std::boxed::Box::new(Shared::new())));
    SHARED.with(|shared| shared.with(with))
}

/// Allocates the arena of this driver. An earlier one of the same instance is forgotten: its queues must be gone.
pub(crate) fn set_up<K: Kernel>(nook: Nook<K>) -> Result<DmaRegion<K>, Status> {
    let region = nook.dma_alloc(ARENA_BYTES, PAGE_SIZE as u32)?;
    let (window, window_iova) = nook.window()?;
    let (pages, window) = (region.bytes().as_ptr().cast(), window.as_ptr());
    shared(|arena, private| {
        *arena = Some(Arena {
            used: 0,
            pages,
            iova: region.iova(),
            private,
            window: window.addr().get(),
            window_iova,
            window_bytes: window.len(),
        });
    });
    Ok(region)
}

/// Returns how far behind the arena's beginning the page at `iova` is, and the private page that goes with it.
pub(crate) fn private_page(iova: PhysAddr) -> Option<(u32, NonNull<u8>)> {
    shared(|arena, _| {
        let arena = arena.as_ref()?;
        let offset = iova.checked_sub(arena.iova)?;
        // SAFETY: there are as many private bytes as the arena has.
        (offset < u64::from(ARENA_BYTES)).then(|| (offset as u32, unsafe { arena.private.add(offset as usize) }))
    })
}

impl Arena {
    /// Finds `count` pages that are free and lie one after the other.
    fn take(&mut self, count: usize) -> Option<usize> {
        if count == 0 || count > PAGES {
            return None;
        }
        let wanted = (1u32 << count) - 1;
        let first = (0..=PAGES - count).find(|&first| self.used & (wanted << first) == 0)?;
        self.used |= wanted << first;
        Some(first)
    }
}

/// The crate's `Hal` in a driver for nook.
///
/// - Pages for what driver and device share come from an arena in the window. The driver's side of a queue is given to
///   the crate as private pages, and [`Queue`](crate::Queue) carries them over; see the crate's documentation.
/// - Buffers must lie in the window, as those of a class and of a [`DmaRegion`] do: nothing is copied. Another one is a
///   panic, and so a fault: the trait has no other way to say no, and the device must not be given an address.
pub struct WindowHal;

// SAFETY: pages are given to one user at a time, zeroed, aligned to a page, and are valid while the driver lives; those
// of a direction that the device only reads are private memory, which the device does not see at all.
unsafe impl Hal for WindowHal {
    fn dma_alloc(pages: usize, direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        shared(|arena, _| {
            let taken = arena.as_mut().and_then(|arena| arena.take(pages).map(|first| (arena, first)));
            // For the crate address 0 is an error.
            let Some((arena, first)) = taken else { return (0, NonNull::dangling()) };
            let offset = first * PAGE_SIZE;
            // SAFETY: the pages lie in the arena and in the private pages, which are as long; both are valid while the
            // driver lives, and nobody has them.
            let (shared, private) = unsafe { (arena.pages.add(offset), arena.private.add(offset)) };
            // SAFETY: both lie where they were just found and are this long; the device does not know of them yet.
            unsafe {
                shared.write_bytes(0, pages * PAGE_SIZE);
                private.write_bytes(0, pages * PAGE_SIZE);
            }
            let seen = if direction == BufferDirection::DriverToDevice { private } else { shared };
            (arena.iova + offset as u64, seen)
        })
    }

    unsafe fn dma_dealloc(paddr: PhysAddr, _: NonNull<u8>, pages: usize) -> i32 {
        shared(|arena, _| {
            if let Some(arena) = arena
                && let Some(first) = paddr.checked_sub(arena.iova).map(|offset| offset as usize / PAGE_SIZE)
                && first + pages <= PAGES
            {
                arena.used &= !(((1 << pages) - 1) << first);
            }
        });
        0
    }

    unsafe fn mmio_phys_to_virt(_: PhysAddr, _: usize) -> NonNull<u8> {
        panic!("registers are reached through nook_virtio::Device, not by address")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        let iova = shared(|arena, _| {
            let arena = arena.as_ref()?;
            let offset = buffer.addr().get().checked_sub(arena.window)?;
            let fits = offset.checked_add(buffer.len())? <= arena.window_bytes;
            fits.then_some(arena.window_iova + offset as u64)
        });
        iova.expect("a buffer for the device lies outside the window")
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}
