//! BARs: memory that is mapped where that is possible and safe, and the device's file for the rest.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use nook_bus::{BarInfo, BarSpace, DeviceError, Result, Width};
use vfio_bindings::bindings::vfio as vb;

use crate::sigbus::Registered;
use crate::sys;

/// A shared mapping of a part of a file, registered with the SIGBUS handler.
#[derive(Debug)]
pub(crate) struct Mapping {
    registered: Option<Registered>,
    base: *mut u8,
    len: usize,
}

// SAFETY: device memory that is only accessed through volatile operations; which thread does so does not matter.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `len` bytes of `file` from `offset`, both multiples of the page size.
    pub(crate) fn new(file: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Self> {
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: a fresh mapping at an address that the kernel picks.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                offset,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mut mapping = Mapping { registered: None, base: base.cast(), len };
        mapping.registered = Some(Registered::new(mapping.base, len)?);
        Ok(mapping)
    }

    /// Reads at `offset`, which is inside and aligned to `width`.
    #[inline]
    pub(crate) fn read(&self, offset: usize, width: Width) -> u64 {
        assert!(offset % width.bytes() as usize == 0 && offset + width.bytes() as usize <= self.len);
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

    /// Writes at `offset`, which is inside and aligned to `width`.
    #[inline]
    pub(crate) fn write(&self, offset: usize, width: Width, value: u64) {
        assert!(offset % width.bytes() as usize == 0 && offset + width.bytes() as usize <= self.len);
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

    /// Whether a page of it vanished.
    #[inline]
    pub(crate) fn lost(&self) -> bool {
        self.registered.as_ref().is_some_and(Registered::lost)
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

impl Drop for Mapping {
    fn drop(&mut self) {
        // Out of the table first: the address may be somebody else's a moment after it is unmapped.
        self.registered = None;
        // SAFETY: unmaps exactly what `new` mapped.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}

/// One BAR.
#[derive(Debug)]
pub(crate) struct Bar {
    pub(crate) info: BarInfo,
    file_offset: u64,
    /// Bytes that hold interrupt tables: never a driver's.
    forbidden: Vec<Range<u64>>,
    /// Offset in the BAR, and the mapping.
    mapped: Vec<(u64, Mapping)>,
}

impl Bar {
    /// BAR `index`, if the device has it. `register` is its base address register, `forbidden` the bytes that hold
    /// MSI-X tables.
    pub(crate) fn open(device: &File, index: u8, register: u32, forbidden: Vec<Range<u64>>) -> Result<Option<Self>> {
        let what = |what: &str| format!("{what} BAR {index}");
        let region = sys::region(device, u32::from(index)).map_err(|e| DeviceError::os(what("asking for"), e))?;
        if region.len_bytes == 0 {
            return Ok(None);
        }
        // Bit 0 of a base address register (PCI Local Bus Specification 3.0, 6.2.5.1).
        let space = if register & 1 == 1 { BarSpace::Io } else { BarSpace::Memory };
        let info = BarInfo { index, space, len_bytes: region.len_bytes };
        let mut mapped = Vec::new();
        if region.flags & vb::VFIO_REGION_INFO_FLAG_MMAP != 0 {
            let allowed = region.sparse.unwrap_or_else(|| vec![(0, region.len_bytes)]);
            // SAFETY: a plain question.
            let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
            for part in mappable(&allowed, &forbidden, page) {
                let len = (part.end - part.start) as usize;
                let mapping = Mapping::new(device.as_fd(), region.file_offset + part.start, len)
                    .map_err(|e| DeviceError::os(what("mapping"), e))?;
                mapped.push((part.start, mapping));
            }
        }
        Ok(Some(Bar { info, file_offset: region.file_offset, forbidden, mapped }))
    }

    #[inline]
    fn mapping(&self, offset: u32, width: Width) -> Option<(&Mapping, usize)> {
        let (start, end) = (u64::from(offset), u64::from(offset) + u64::from(width.bytes()));
        self.mapped.iter().find_map(|(first, mapping)| {
            (start >= *first && end <= first + mapping.len as u64).then(|| (mapping, (start - first) as usize))
        })
    }

    /// Reads a register.
    #[inline]
    pub(crate) fn read(&self, device: &File, offset: u32, width: Width) -> Result<u64> {
        if let Some((mapping, at)) = self.mapping(offset, width) {
            return Ok(mapping.read(at, width));
        }
        self.check(offset, width)?;
        let mut bytes = [0; 8];
        let part = &mut bytes[..width.bytes() as usize];
        device.read_exact_at(part, self.file_offset + u64::from(offset)).map_err(|e| self.failed("read", offset, e))?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Writes a register.
    #[inline]
    pub(crate) fn write(&self, device: &File, offset: u32, width: Width, value: u64) -> Result<()> {
        if let Some((mapping, at)) = self.mapping(offset, width) {
            mapping.write(at, width, value);
            return Ok(());
        }
        self.check(offset, width)?;
        let bytes = &value.to_le_bytes()[..width.bytes() as usize];
        device.write_all_at(bytes, self.file_offset + u64::from(offset)).map_err(|e| self.failed("write", offset, e))
    }

    /// Whether a mapped page vanished.
    #[inline]
    pub(crate) fn lost(&self) -> bool {
        self.mapped.iter().any(|(_, mapping)| mapping.lost())
    }

    /// Whether the access is one that the device's file may be asked for.
    fn check(&self, offset: u32, width: Width) -> Result<()> {
        let (start, end) = (u64::from(offset), u64::from(offset) + u64::from(width.bytes()));
        let inside = end <= self.info.len_bytes && offset % width.bytes() == 0;
        let hidden = self.forbidden.iter().any(|table| start < table.end && end > table.start);
        // I/O space has no accesses of 8 bytes.
        let exists = self.info.space == BarSpace::Memory || width != Width::B8;
        if inside && exists && !hidden {
            return Ok(());
        }
        Err(DeviceError::NoSuchRegister { bar: self.info.index, offset, width })
    }

    fn failed(&self, what: &str, offset: u32, error: io::Error) -> DeviceError {
        // EIO is VFIO's answer while the BAR's space is not decoded.
        if error.raw_os_error() == Some(libc::EIO) {
            return DeviceError::Gone(format!("BAR {} no longer answers ({what} at {offset:#x})", self.info.index));
        }
        DeviceError::os(format!("{what} at {offset:#x} of BAR {}", self.info.index), error)
    }
}

/// Whole pages of `allowed` (offset, length) without any byte of `forbidden`.
fn mappable(allowed: &[(u64, u64)], forbidden: &[Range<u64>], page: u64) -> Vec<Range<u64>> {
    let mut parts: Vec<Range<u64>> = allowed
        .iter()
        .map(|(offset, len)| offset.next_multiple_of(page)..offset.saturating_add(*len) / page * page)
        .collect();
    for table in forbidden {
        let hole = table.start / page * page..table.end.next_multiple_of(page);
        parts = parts
            .into_iter()
            .flat_map(|part| [part.start..part.end.min(hole.start), part.start.max(hole.end)..part.end])
            .collect();
    }
    parts.retain(|part| part.start < part.end);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_without_tables_is_mapped_whole() {
        assert_eq!(mappable(&[(0, 0x20000)], &[], 0x1000), [0..0x20000]);
    }

    #[test]
    fn the_pages_of_an_interrupt_table_are_left_out() {
        let table = 0x2000..0x2050;
        assert_eq!(mappable(&[(0, 0x4000)], std::slice::from_ref(&table), 0x1000), [0..0x2000, 0x3000..0x4000]);
        assert_eq!(mappable(&[(0, 0x4000)], &[0..0x10, 0x3ff0..0x4000], 0x1000), [0x1000..0x3000]);
        assert!(mappable(&[(0, 0x4000)], std::slice::from_ref(&table), 0x4000).is_empty());
    }

    #[test]
    fn parts_that_the_kernel_allows_are_rounded_inwards() {
        assert_eq!(mappable(&[(0x10, 0x2000), (0x8000, 0x800)], &[], 0x1000), [0x1000..0x2000]);
    }

    #[test]
    fn registers_in_an_interrupt_table_do_not_exist() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(0x4000).unwrap();
        let info = BarInfo { index: 3, space: BarSpace::Memory, len_bytes: 0x4000 };
        let bar = Bar { info, file_offset: 0, forbidden: vec![0x2000..0x2050, 0x2800..0x2808], mapped: vec![] };
        bar.write(&file, 0x2054, Width::B4, 0x8765_4321).unwrap();
        assert_eq!(bar.read(&file, 0x2054, Width::B4).unwrap(), 0x8765_4321);
        assert_eq!(bar.read(&file, 0x2054, Width::B2).unwrap(), 0x4321);
        for offset in [0x2000, 0x2048, 0x2800, 0x4000] {
            assert!(bar.read(&file, offset, Width::B8).is_err(), "{offset:#x}");
            assert!(bar.write(&file, offset, Width::B8, 0).is_err(), "{offset:#x}");
        }
    }

    #[test]
    fn io_ports_have_no_accesses_of_eight_bytes() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(0x40).unwrap();
        let info = BarInfo { index: 1, space: BarSpace::Io, len_bytes: 0x40 };
        let bar = Bar { info, file_offset: 0, forbidden: vec![], mapped: vec![] };
        assert!(bar.read(&file, 0, Width::B4).is_ok());
        assert!(bar.read(&file, 0, Width::B8).is_err());
    }
}
