//! Linear memories: 4 GiB of reserved addresses with guard pages, so that bounds cost nothing, and the DMA window
//! mapped into each.
#![expect(unsafe_code, reason = "wasm memories are made of mappings, and the engine is given their addresses")]

use std::cell::RefCell;
use std::sync::Arc;

use nook_bus::{BarMemory, WINDOW_ALIGN};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mmap_anonymous, mprotect, munmap};
use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

use crate::address_space::refused;
use crate::revoke::{Lend, LentWindow};

/// What the next memory of this thread is to hold. wasmtime does not tell a [`MemoryCreator`] for what it makes a
/// memory, so [`with_window`] leaves word here around instantiation.
enum Order {
    /// A driver's memory, with its DMA window.
    Driver(Lend),
    /// A shim's memory: the BAR itself.
    Bar(Arc<dyn BarMemory>),
    /// A second memory of a driver's module, which the driver cannot name: plain memory.
    Plain,
}

thread_local! {
    static ORDER: RefCell<Option<Order>> = const { RefCell::new(None) };
}

/// Runs `instantiate`; a memory that it makes has this window.
pub(crate) fn with_window<R>(lend: Lend, instantiate: impl FnOnce() -> R) -> R {
    with_order(Order::Driver(lend), instantiate)
}

/// Runs `instantiate`; a memory that it makes is `bar`.
pub(crate) fn with_bar<R>(bar: Arc<dyn BarMemory>, instantiate: impl FnOnce() -> R) -> R {
    with_order(Order::Bar(bar), instantiate)
}

fn with_order<R>(order: Order, instantiate: impl FnOnce() -> R) -> R {
    ORDER.set(Some(order));
    let result = instantiate();
    ORDER.set(None);
    result
}

/// Makes memories.
pub(crate) struct Creator;

/// One memory.
struct Memory {
    reservation: *mut std::ffi::c_void,
    reserved_bytes: usize,
    base: *mut u8,
    bytes: usize,
    window: Option<LentWindow>,
}

// SAFETY: the mapping has no ties to a thread; wasmtime guards access to it with its store.
unsafe impl Send for Memory {}
// SAFETY: what can be done with a shared reference is to read plain fields.
unsafe impl Sync for Memory {}

// SAFETY: every memory is `reserved + guard` bytes of address space that nothing else uses, readable and writable in
// its first `minimum` bytes and inaccessible beyond; it never moves, and its private part begins zeroed.
unsafe impl MemoryCreator for Creator {
    fn new_memory(
        &self,
        ty: MemoryType,
        minimum: usize,
        maximum: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let (lend, at) = match ORDER.take().ok_or("a driver defines one memory")? {
            // The loader lets a driver define one memory; a second one was added by a preparation.
            Order::Driver(lend) => {
                ORDER.set(Some(Order::Plain));
                let at = lend.at;
                (Some(lend), at)
            }
            Order::Plain => (None, minimum as u64),
            Order::Bar(bar) => {
                let wanted = reserved.unwrap_or(minimum) + guard;
                if bar.reserved_bytes() < wanted {
                    return Err(format!("{bar:?} has less than {wanted:#x} bytes of address space to itself"));
                }
                return Ok(Box::new(Bar(bar)));
            }
        };
        if maximum != Some(minimum) {
            return Err(format!("{ty:?} can grow; the loader fixes the size"));
        }
        let private = usize::try_from(at).map_err(|error| error.to_string())?;
        let window_bytes = lend.as_ref().map_or(0, |lend| lend.window.len_bytes() as usize);
        if private + window_bytes != minimum {
            return Err(format!("a memory of {minimum:#x} bytes does not end with its window at {private:#x}"));
        }
        // More than needed, so that the base can be aligned like the window.
        let reserved_bytes = reserved.unwrap_or(0).max(minimum) + guard + WINDOW_ALIGN as usize;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address that the kernel picks replaces nothing.
        let reservation = unsafe { mmap_anonymous(std::ptr::null_mut(), reserved_bytes, ProtFlags::empty(), flags) }
            .map_err(|error| refused(reserved_bytes, error))?;
        let base = reservation.cast::<u8>();
        let base = base.wrapping_add(base.align_offset(WINDOW_ALIGN as usize));
        let mut memory = Memory { reservation, reserved_bytes, base, bytes: minimum, window: None };
        // SAFETY: inside the reservation, which is ours alone.
        unsafe { mprotect(base.cast(), private, MprotectFlags::READ | MprotectFlags::WRITE) }
            .map_err(|error| format!("cannot make the private part accessible: {error}"))?;
        let Some(lend) = lend else { return Ok(Box::new(memory)) };
        let (rw, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::FIXED);
        let window_base = base.wrapping_add(private);
        // SAFETY: replaces pages inside the reservation, which is ours alone; the window is sealed against shrinking,
        // so its pages cannot vanish.
        unsafe { mmap(window_base.cast(), window_bytes, rw, flags, lend.window.fd(), 0) }
            .map_err(|error| format!("cannot map the window: {error}"))?;
        // SAFETY: it was just mapped there, and stays until `memory` is dropped, which first drops what is kept here.
        memory.window = Some(unsafe { lend.mapped(window_base) });
        Ok(Box::new(memory))
    }
}

// SAFETY: `as_ptr` stays valid and `byte_size` bytes long for as long as the memory lives.
unsafe impl LinearMemory for Memory {
    fn byte_size(&self) -> usize {
        self.bytes
    }

    fn byte_capacity(&self) -> usize {
        self.bytes
    }

    fn grow_to(&mut self, _: usize) -> wasmtime::Result<()> {
        wasmtime::bail!("a driver's memory does not grow")
    }

    fn as_ptr(&self) -> *mut u8 {
        self.base
    }
}

/// A BAR as a memory.
struct Bar(Arc<dyn BarMemory>);

// SAFETY: `BarMemory` promises that the range stays in place, `len_bytes` of it accessible, for as long as it lives.
unsafe impl LinearMemory for Bar {
    fn byte_size(&self) -> usize {
        self.0.len_bytes()
    }

    fn byte_capacity(&self) -> usize {
        self.0.len_bytes()
    }

    fn grow_to(&mut self, _: usize) -> wasmtime::Result<()> {
        wasmtime::bail!("a BAR does not grow")
    }

    fn as_ptr(&self) -> *mut u8 {
        self.0.base()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // First: the addresses may be somebody else's a moment after they are unmapped.
        self.window = None;
        // SAFETY: `new_memory` mapped as much there, and the store that had its address is gone. It cannot fail.
        let _ = unsafe { munmap(self.reservation, self.reserved_bytes) };
    }
}
