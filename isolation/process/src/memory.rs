//! The memory that a driver's process shares with its host: channel, heap, host page, rings.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use nook_process_guest::channel::{CHANNEL_BYTES, Channel, MEMORY_AT};
use nook_runtime::{Layout, Places, Space};

/// A memfd and this process's mapping of it. Its length is sealed, or whoever shortens it would have the host end at
/// its next access.
#[derive(Debug)]
pub(crate) struct Memory {
    file: File,
    base: NonNull<Channel>,
    layout: Layout,
}

// SAFETY: what is mapped is accessed through atomics and volatile operations only, from wherever.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// All zero but for the channel's set-up.
    pub(crate) fn new(layout: Layout, spin_ns: u64) -> io::Result<Self> {
        debug_assert_eq!(layout.own_bytes, CHANNEL_BYTES);
        let file = memfd(c"nook-memory", libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING)?;
        file.set_len(layout.window)?;
        seal(&file)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a fresh shared mapping of our own file at an address that the kernel picks.
        let base = unsafe {
            libc::mmap(std::ptr::null_mut(), layout.window as usize, protection, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        let base = match NonNull::new(base.cast::<Channel>()) {
            Some(base) if base.as_ptr().cast() != libc::MAP_FAILED => base,
            _ => return Err(io::Error::last_os_error()),
        };
        let memory = Memory { file, base, layout };
        let setup = &memory.channel().setup;
        setup.memory_bytes.store(layout.window, Ordering::Relaxed);
        setup.window_bytes.store(layout.window_bytes, Ordering::Relaxed);
        setup.spin_ns.store(spin_ns, Ordering::Relaxed);
        Ok(memory)
    }

    /// The channel.
    #[inline(always)]
    pub(crate) fn channel(&self) -> &Channel {
        // SAFETY: the mapping begins with it and lives as long as `self`. It is made of atomics, so another process
        // may write to it.
        unsafe { self.base.as_ref() }
    }

    /// The descriptor.
    pub(crate) fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Bytes that the driver's process maps: this and the window.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        self.layout.window + self.layout.window_bytes
    }

    /// The memory as its host sees it, with the addresses that the driver's process has. The window is not in it: no
    /// hostcall names an address there.
    ///
    /// # Safety
    /// The memory outlives every use of the result.
    pub(crate) unsafe fn space(&self) -> Space {
        let Layout { own_bytes, host_page, rings, window, .. } = self.layout;
        let at = |offset: u64| MEMORY_AT + offset;
        let places = Places { heap: at(own_bytes), host_page: at(host_page), rings: rings.map(at), window: at(window) };
        // SAFETY: the places lie inside of the mapping and are aligned as in a wasm memory; the caller keeps it.
        unsafe { Space::beginning_at(MEMORY_AT, self.base.as_ptr().cast(), window, places) }
    }
}

/// A file that is memory.
fn memfd(name: &CStr, flags: libc::c_uint) -> io::Result<File> {
    // SAFETY: takes a name and flags; the answer is checked.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Nobody changes its length any more.
fn seal(file: &File) -> io::Result<()> {
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: plain system call on a descriptor of ours.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: unmaps what `new` mapped.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.layout.window as usize) };
    }
}
