//! What a native driver shares with its host besides the window: host page, rings, heap.
#![expect(unsafe_code, reason = "memory at addresses that a native driver has, too")]

use std::alloc::{Layout as AllocLayout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use nook_runtime::{Host, Layout, RegionAddrs, Space};

/// Host page, rings and heap in one allocation, as far apart as in a wasm driver's memory.
pub(crate) struct SharedMemory {
    base: NonNull<u8>,
    alloc: AllocLayout,
    layout: Layout,
}

impl SharedMemory {
    pub(crate) fn new(layout: &Layout) -> Self {
        // The window is mapped elsewhere.
        let end = layout.rings_end as usize;
        let alloc = AllocLayout::from_size_align(end, 4096).expect("a memory of less than 4 GiB");
        // SAFETY: the size is not zero: the host page and the rings are in it.
        let base = unsafe { alloc_zeroed(alloc) };
        let Some(base) = NonNull::new(base) else { handle_alloc_error(alloc) };
        SharedMemory { base, alloc, layout: *layout }
    }

    /// Returns the space of the whole process, with the shared things at their places.
    ///
    /// # Safety
    /// The memory outlives every use of the result, and so does the host's window, which the host sees to.
    pub(crate) unsafe fn space(&self, host: &Host) -> Space {
        let at = |offset: u64| self.base.as_ptr().addr() as u64 + offset;
        let places = RegionAddrs {
            heap: at(self.layout.own_bytes),
            host_page: at(self.layout.host_page),
            rings: self.layout.rings.map(at),
            window: host.window().slice().ptr_guard().as_ptr().addr() as u64,
        };
        // Pointers are made from addresses later.
        self.base.as_ptr().expose_provenance();
        // SAFETY: host page and rings lie inside the allocation and are aligned as in a wasm memory. The length is
        // that of the whole address space: a native driver's own memory is the process.
        unsafe { Space::new(std::ptr::null_mut(), u64::MAX, places) }
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.base.as_ptr(), self.alloc) };
    }
}
