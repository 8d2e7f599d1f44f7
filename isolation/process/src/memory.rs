//! The memory that a driver's process shares with its host: channel, heap, host page, rings.
#![expect(unsafe_code, reason = "a mapping that another process writes is reached through raw pointers")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use nook_process_guest::channel::{CHANNEL_BYTES, Channel, MEMORY_AT};
use nook_runtime::{Layout, RegionAddrs, Space};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A memfd and this process's mapping of it. Its length is sealed: if it could be shortened, the host would end at
/// its next access.
#[derive(Debug)]
pub(crate) struct Memory {
    file: File,
    base: NonNull<Channel>,
    layout: Layout,
}

// SAFETY: the mapping belongs to no thread, and goes with the value.
unsafe impl Send for Memory {}
// SAFETY: the channel is made of atomics, and a `Space` reads and writes the rest with volatile operations.
unsafe impl Sync for Memory {}

impl Memory {
    /// Creates the memory, all zero but for the channel's set-up.
    pub(crate) fn new(layout: Layout, spin_ns: u64) -> io::Result<Self> {
        debug_assert_eq!(layout.own_bytes, CHANNEL_BYTES);
        let file = File::from(memfd_create(c"nook-memory", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
        file.set_len(layout.window)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, at an address that the kernel picks, replaces nothing.
        let base =
            unsafe { mmap(std::ptr::null_mut(), layout.window as usize, protection, MapFlags::SHARED, &file, 0) }?;
        let base = NonNull::new(base.cast::<Channel>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let memory = Memory { file, base, layout };
        let setup = &memory.channel().setup;
        setup.memory_bytes.store(layout.window, Ordering::Relaxed);
        setup.window_bytes.store(layout.window_bytes, Ordering::Relaxed);
        setup.spin_ns.store(spin_ns, Ordering::Relaxed);
        Ok(memory)
    }

    /// Returns the channel.
    #[inline(always)]
    pub(crate) fn channel(&self) -> &Channel {
        // SAFETY: the mapping begins with it and lives as long as `self`. It is made of atomics, so another process
        // may write to it.
        unsafe { self.base.as_ref() }
    }

    /// Returns the descriptor.
    pub(crate) fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Returns the number of bytes that the driver's process maps: this and the window.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        self.layout.window + self.layout.window_bytes
    }

    /// Returns the memory as its host sees it, with the addresses that the driver's process has. The window is not in
    /// it: no hostcall names an address there.
    ///
    /// # Safety
    /// The memory outlives every use of the result.
    pub(crate) unsafe fn space(&self) -> Space {
        let Layout { own_bytes, host_page, rings, window, .. } = self.layout;
        let at = |offset: u64| MEMORY_AT + offset;
        let places =
            RegionAddrs { heap: at(own_bytes), host_page: at(host_page), rings: rings.map(at), window: at(window) };
        // SAFETY: the places lie inside the mapping and are aligned as in a wasm memory; the caller keeps it.
        unsafe { Space::beginning_at(MEMORY_AT, self.base.as_ptr().cast(), window, places) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: `new` mapped as much there, and references to it end before `self` does. It cannot fail.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.layout.window as usize) };
    }
}
