//! BARs: memory that is mapped where that is possible and safe, and the device's file for the rest.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use nook_bus::{BarInfo, BarMemory, BarSpace, DeviceError, MappedBar, Result, Width};
use vfio_bindings::bindings::vfio as vb;

use crate::sys;

/// One BAR.
#[derive(Debug)]
pub(crate) struct Bar {
    pub(crate) info: BarInfo,
    file_offset: u64,
    /// Bytes that hold interrupt tables: never a driver's.
    forbidden: Vec<Range<u64>>,
    /// Offset in the BAR, and the mapping.
    mapped: Vec<(u64, MappedBar)>,
}

impl Bar {
    /// Opens BAR `index`, if the device has it. `register` is its base address register, `forbidden` the bytes that
    /// hold MSI-X tables.
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
            for part in mappable(&allowed, &forbidden, page_bytes()) {
                let len = (part.end - part.start) as usize;
                let mapping = MappedBar::new(device.as_fd(), region.file_offset + part.start, len, len)
                    .map_err(|e| DeviceError::os(what("mapping"), e))?;
                mapped.push((part.start, mapping));
            }
        }
        Ok(Some(Bar { info, file_offset: region.file_offset, forbidden, mapped }))
    }

    /// Maps the whole BAR once more, for accesses that are not checked.
    pub(crate) fn hand_out(&self, device: &File, reserve_bytes: usize) -> Result<MappedBar> {
        let index = self.info.index;
        let refused = |why: &str| {
            DeviceError::Unsupported(format!("BAR {index} cannot be handed out for direct registers: {why}"))
        };
        if self.info.space == BarSpace::Io {
            return Err(refused("it is in I/O space"));
        }
        if !self.forbidden.is_empty() {
            return Err(refused("it holds an MSI-X table"));
        }
        let len = self.info.len_bytes;
        if !len.is_multiple_of(page_bytes()) {
            return Err(refused("it is not made of whole pages, and something else may share the last one"));
        }
        if !self.mapped.iter().any(|(first, mapping)| *first == 0 && mapping.len_bytes() as u64 == len) {
            return Err(refused("the kernel does not let all of it be mapped"));
        }
        MappedBar::new(device.as_fd(), self.file_offset, len as usize, reserve_bytes)
            .map_err(|e| DeviceError::os(format!("mapping BAR {index} for direct registers"), e))
    }

    #[inline]
    fn mapping(&self, offset: u32, width: Width) -> Option<(&MappedBar, usize)> {
        let (start, end) = (u64::from(offset), u64::from(offset) + u64::from(width.bytes()));
        self.mapped.iter().find_map(|(first, mapping)| {
            let inside = start >= *first && end <= first + mapping.len_bytes() as u64;
            // A native driver's accesses come here as they are: an access that is not aligned exists nowhere.
            (inside && offset.is_multiple_of(width.bytes())).then(|| (mapping, (start - first) as usize))
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

    /// Returns whether a mapped part vanished.
    #[inline]
    pub(crate) fn lost(&self) -> bool {
        self.mapped.iter().any(|(_, mapping)| mapping.lost())
    }

    /// Checks that the device's file may be asked for the access.
    fn check(&self, offset: u32, width: Width) -> Result<()> {
        let (start, end) = (u64::from(offset), u64::from(offset) + u64::from(width.bytes()));
        let inside = end <= self.info.len_bytes && offset.is_multiple_of(width.bytes());
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

fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}

/// Returns the whole pages of `allowed` (offset, length) without any byte of `forbidden`.
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
        assert_eq!(mappable(&[(0, 0x20000)], &[], 0x1000), std::slice::from_ref(&(0..0x20000)));
    }

    #[test]
    fn the_pages_of_an_interrupt_table_are_left_out() {
        let table = 0x2000..0x2050;
        assert_eq!(mappable(&[(0, 0x4000)], std::slice::from_ref(&table), 0x1000), [0..0x2000, 0x3000..0x4000]);
        assert_eq!(
            mappable(&[(0, 0x4000)], &[0..0x10, 0x3ff0..0x4000], 0x1000),
            std::slice::from_ref(&(0x1000..0x3000))
        );
        assert!(mappable(&[(0, 0x4000)], std::slice::from_ref(&table), 0x4000).is_empty());
    }

    #[test]
    fn parts_that_the_kernel_allows_are_rounded_inwards() {
        assert_eq!(mappable(&[(0x10, 0x2000), (0x8000, 0x800)], &[], 0x1000), std::slice::from_ref(&(0x1000..0x2000)));
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

    /// Makes a BAR of two pages in a file, mapped as its real counterpart is.
    fn made_up(file: &File, space: BarSpace, forbidden: Vec<Range<u64>>) -> Bar {
        let len_bytes = 2 * page_bytes();
        file.set_len(len_bytes).unwrap();
        let mapped = mappable(&[(0, len_bytes)], &forbidden, page_bytes())
            .into_iter()
            .map(|part| {
                let len = (part.end - part.start) as usize;
                (part.start, MappedBar::new(file.as_fd(), part.start, len, len).unwrap())
            })
            .collect();
        Bar { info: BarInfo { index: 0, space, len_bytes }, file_offset: 0, forbidden, mapped }
    }

    #[test]
    fn a_bar_that_is_handed_out_is_the_same_memory_inside_its_reservation() {
        let file = tempfile::tempfile().unwrap();
        let bar = made_up(&file, BarSpace::Memory, vec![]);
        let direct = bar.hand_out(&file, 1 << 20).unwrap();
        assert_eq!((direct.len_bytes() as u64, direct.reserved_bytes()), (2 * page_bytes(), 1 << 20));
        direct.write(8, Width::B4, 0x1234_5678);
        assert_eq!(bar.read(&file, 8, Width::B4).unwrap(), 0x1234_5678);
    }

    #[test]
    fn an_access_that_is_not_aligned_is_refused_where_the_bar_is_mapped_too() {
        let file = tempfile::tempfile().unwrap();
        let bar = made_up(&file, BarSpace::Memory, vec![]);
        for (offset, width) in [(1, Width::B2), (2, Width::B4), (4, Width::B8), (u32::MAX, Width::B2)] {
            let (read, write) = (bar.read(&file, offset, width), bar.write(&file, offset, width, 0));
            assert!(matches!(read, Err(DeviceError::NoSuchRegister { .. })), "{offset:#x} {width}: {read:?}");
            assert!(matches!(write, Err(DeviceError::NoSuchRegister { .. })), "{offset:#x} {width}: {write:?}");
        }
    }

    #[test]
    fn a_revoked_mapping_reads_as_ones_and_no_longer_reaches_the_device() {
        let file = tempfile::tempfile().unwrap();
        let bar = made_up(&file, BarSpace::Memory, vec![]);
        let direct = bar.hand_out(&file, 0).unwrap();
        direct.revoke();
        for page in [0, page_bytes()] {
            assert_eq!(direct.read(page as usize, Width::B4), 0xffff_ffff);
            direct.write(page as usize, Width::B4, 7);
            assert_eq!(bar.read(&file, page as u32, Width::B4).unwrap(), 0);
        }
        assert!(!direct.lost() && !bar.lost(), "a mapping that was taken away is not a device that went");
    }

    #[test]
    fn io_ports_interrupt_tables_and_parts_of_pages_are_never_handed_out() {
        let refusal = |bar: &Bar, file: &File| match bar.hand_out(file, 0).unwrap_err() {
            DeviceError::Unsupported(why) => why,
            other => panic!("{other}"),
        };
        let file = tempfile::tempfile().unwrap();
        assert!(refusal(&made_up(&file, BarSpace::Io, vec![]), &file).contains("I/O space"));
        let table = std::iter::once(0..16).collect();
        assert!(refusal(&made_up(&file, BarSpace::Memory, table), &file).contains("MSI-X"));
        let mut bar = made_up(&file, BarSpace::Memory, vec![]);
        bar.mapped.clear();
        assert!(refusal(&bar, &file).contains("the kernel"));
        bar.info.len_bytes = 256;
        assert!(refusal(&bar, &file).contains("whole pages"));
    }
}
