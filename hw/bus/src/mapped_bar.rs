//! A part of a device's file, mapped.
#![expect(unsafe_code, reason = "a mapping of registers, and single accesses to it")]

use std::io;
use std::os::fd::BorrowedFd;

use nook_regs::Width;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use rustix::param::page_size;

use crate::BarMemory;
use crate::sigbus::Registered;

/// A shared mapping of a part of a device's file. If the device goes, pages of 0xff take the mapping's place and the
/// process lives on: the first mapping installs a handler for SIGBUS, which passes on what is not about one.
#[derive(Debug)]
pub struct MappedBar {
    registered: Option<Registered>,
    base: *mut u8,
    len: usize,
    /// Address space from `base`; inaccessible beyond `len`.
    reserved: usize,
}

// SAFETY: device memory that is only accessed through volatile operations; which thread does so does not matter.
unsafe impl Send for MappedBar {}
// SAFETY: nothing but device memory, which has only volatile accesses, changes behind a shared reference.
unsafe impl Sync for MappedBar {}

impl MappedBar {
    /// Maps `len` bytes of `file` from `offset`, both multiples of the page size and without any byte of an interrupt
    /// table, at the start of `reserved` bytes of address space (`len` if that is more).
    ///
    /// # Errors
    /// If the file cannot be mapped like that, or the process has too many such mappings.
    pub fn new(file: BorrowedFd<'_>, offset: u64, len: usize, reserved: usize) -> io::Result<Self> {
        if !len.is_multiple_of(page_size()) {
            return Err(io::Error::other(format!("{len:#x} bytes are not whole pages")));
        }
        let reserved = reserved.max(len);
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a fresh anonymous mapping at an address that the kernel picks.
        let base = unsafe { mmap_anonymous(std::ptr::null_mut(), reserved, ProtFlags::empty(), flags) }?;
        // From here on, dropping it unmaps what was mapped.
        let mut mapping = MappedBar { registered: None, base: base.cast(), len, reserved };
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::FIXED);
        // SAFETY: replaces pages of the fresh mapping, which is ours alone: `len` is at most `reserved`.
        unsafe { mmap(base, len, access, flags, file, offset) }?;
        mapping.registered = Some(Registered::new(mapping.base, len)?);
        Ok(mapping)
    }

    /// Reads at `offset`.
    ///
    /// # Panics
    /// If that is not inside, or not aligned to `width`.
    #[inline]
    pub fn read(&self, offset: usize, width: Width) -> u64 {
        assert!(offset.is_multiple_of(width.bytes() as usize) && offset + width.bytes() as usize <= self.len);
        // SAFETY: inside the mapping and aligned, as asserted; one volatile access of exactly the width.
        unsafe {
            let at = self.base.add(offset);
            match width {
                Width::B1 => at.read_volatile().into(),
                Width::B2 => at.cast::<u16>().read_volatile().into(),
                Width::B4 => at.cast::<u32>().read_volatile().into(),
                Width::B8 => at.cast::<u64>().read_volatile(),
            }
        }
    }

    /// Writes at `offset`.
    ///
    /// # Panics
    /// If that is not inside, or not aligned to `width`.
    #[inline]
    pub fn write(&self, offset: usize, width: Width, value: u64) {
        assert!(offset.is_multiple_of(width.bytes() as usize) && offset + width.bytes() as usize <= self.len);
        // SAFETY: inside the mapping and aligned, as asserted; one volatile access of exactly the width.
        unsafe {
            let at = self.base.add(offset);
            match width {
                Width::B1 => at.write_volatile(value as u8),
                Width::B2 => at.cast::<u16>().write_volatile(value as u16),
                Width::B4 => at.cast::<u32>().write_volatile(value as u32),
                Width::B8 => at.cast::<u64>().write_volatile(value),
            }
        }
    }

    /// Leaks the mapping and takes it out of the SIGBUS table.
    #[cfg(test)]
    pub(crate) fn without_registration(mut self) -> *mut u8 {
        self.registered = None;
        let base = self.base;
        std::mem::forget(self);
        base
    }
}

impl Drop for MappedBar {
    fn drop(&mut self) {
        // Out of the table first: the address may be somebody else's a moment after it is unmapped.
        self.registered = None;
        // SAFETY: unmaps exactly what `new` reserved; no user of the address from `base` outlives the value.
        let unmapped = unsafe { munmap(self.base.cast(), self.reserved) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

// SAFETY: the pages stay mapped at `base`, and the reservation stays its own, until it is dropped; what replaces
// pages that vanished can be read and written as they could. `new` is given nothing with an interrupt table.
unsafe impl BarMemory for MappedBar {
    fn base(&self) -> *mut u8 {
        self.base
    }

    fn len_bytes(&self) -> usize {
        self.len
    }

    fn reserved_bytes(&self) -> usize {
        self.reserved
    }

    #[inline]
    fn lost(&self) -> bool {
        self.registered.as_ref().is_some_and(Registered::lost)
    }

    fn revoke(&self) {
        if let Some(registered) = &self.registered {
            registered.replace();
        }
    }
}
