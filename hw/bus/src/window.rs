//! The DMA window: memory that a driver and its device share.
#![expect(unsafe_code, reason = "a mapping of a file that others map too")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use vm_memory::VolatileSlice;

/// Windows are aligned to this in address, offset and IOVA, so that an IOMMU can use large pages.
pub const WINDOW_ALIGN: u64 = 2 << 20;

/// A sealed memfd of fixed size, and this process's own mapping of it.
///
/// It outlives any one driver instance: a restarted driver finds its packet buffers where they were. The nook maps
/// the descriptor again inside the driver's linear memory; devices get at it through [`slice`](Self::slice) (models)
/// or the descriptor (QEMU, VFIO). Cloning shares the memory.
#[derive(Clone, Debug)]
pub struct DmaWindow {
    inner: Arc<Mapping>,
}

#[derive(Debug)]
struct Mapping {
    file: File,
    base: *mut u8,
    len: usize,
}

// SAFETY: the mapping is shared memory that is only ever accessed through volatile or atomic operations, so where
// the pointer is used from does not matter.
unsafe impl Send for Mapping {}
// SAFETY: nothing but that shared memory changes behind a shared reference: file, address and length are fixed.
unsafe impl Sync for Mapping {}

impl DmaWindow {
    /// Makes a window of `len_bytes`, rounded up to [`WINDOW_ALIGN`], zeroed, sealed against shrinking and growing.
    pub fn new(len_bytes: u64) -> io::Result<Self> {
        let len = len_bytes.max(1).next_multiple_of(WINDOW_ALIGN);
        let fd = memfd_create("nook-window", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let file = File::from(fd);
        file.set_len(len)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let len = len as usize;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh shared mapping of our own file at an address that the kernel picks.
        let base = unsafe { mmap(std::ptr::null_mut(), len, access, MapFlags::SHARED, &file, 0) }?;
        Ok(DmaWindow { inner: Arc::new(Mapping { file, base: base.cast(), len }) })
    }

    /// Bytes; a multiple of [`WINDOW_ALIGN`].
    pub fn len_bytes(&self) -> u64 {
        self.inner.len as u64
    }

    /// Returns the memfd.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.inner.file.as_fd()
    }

    /// Returns this process's mapping. No Rust reference may be made into it: a device or a driver can write at any
    /// time.
    pub fn slice(&self) -> VolatileSlice<'_> {
        // SAFETY: the mapping is `len` bytes long and lives as long as `self`; volatile access makes sharing it sound.
        unsafe { VolatileSlice::new(self.inner.base, self.inner.len) }
    }

    /// Returns whether the two are the same memory.
    pub fn same_as(&self, other: &DmaWindow) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: unmaps exactly what `DmaWindow::new` mapped; slices borrow the window, so none is left.
        let unmapped = unsafe { munmap(self.base.cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::Bytes;

    #[test]
    fn a_window_is_rounded_up_and_zeroed() {
        let window = DmaWindow::new(1).unwrap();
        assert_eq!(window.len_bytes(), WINDOW_ALIGN);
        assert_eq!(window.slice().read_obj::<u64>(WINDOW_ALIGN as usize - 8).unwrap(), 0);
    }

    #[test]
    fn a_window_cannot_be_shrunk_under_its_mappings() {
        let window = DmaWindow::new(1).unwrap();
        assert!(window.inner.file.set_len(0).is_err());
    }
}
