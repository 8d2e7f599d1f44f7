//! Configuration space, and where the interrupt tables are.
//!
//! Read through the device's file, where VFIO adds its own checks (`drivers/vfio/pci/vfio_pci_config.c`): among
//! others the vendor and device id come from a copy, so they do not tell whether the device is still there. Command
//! and status come from the device.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use nook_bus::{Width, config};

/// Capability id (PCI Code and ID Assignment Specification, section 2).
const CAP_MSI_X: u8 = 0x11;

/// Status bit 4: there is a capability list.
const STATUS_CAPABILITIES: u32 = 1 << 4;
/// The device's configuration region.
#[derive(Debug)]
pub(crate) struct ConfigSpace {
    file_offset: u64,
    len_bytes: u64,
}

impl ConfigSpace {
    /// Creates the region that starts at `file_offset` in the device's file.
    pub(crate) fn new(file_offset: u64, len_bytes: u64) -> Self {
        ConfigSpace { file_offset, len_bytes }
    }

    /// Reads.
    pub(crate) fn read(&self, device: &File, offset: u16, width: Width) -> io::Result<u32> {
        let mut bytes = [0; 4];
        let len = width.bytes() as usize;
        if len > 4 || u64::from(offset) + len as u64 > self.len_bytes {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no {width} register at {offset:#x}")));
        }
        device.read_exact_at(&mut bytes[..len], self.file_offset + u64::from(offset))?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Writes.
    pub(crate) fn write(&self, device: &File, offset: u16, width: Width, value: u32) -> io::Result<()> {
        let bytes = value.to_le_bytes();
        let part = bytes.get(..width.bytes() as usize).ok_or(io::ErrorKind::InvalidInput)?;
        device.write_all_at(part, self.file_offset + u64::from(offset))
    }

    /// Returns where capability `id` starts.
    fn capability(&self, device: &File, id: u8) -> io::Result<Option<u16>> {
        if self.read(device, config::STATUS, Width::B2)? & STATUS_CAPABILITIES == 0 {
            return Ok(None);
        }
        let mut at = self.read(device, config::CAPABILITIES, Width::B1)? as u16 & !3;
        // The list has room for 48 entries; a device that has gone answers with one that never ends.
        for _ in 0..48 {
            if at < 0x40 {
                return Ok(None);
            }
            let head = self.read(device, at, Width::B2)?;
            if head as u8 == id {
                return Ok(Some(at));
            }
            at = (head >> 8) as u16 & !3;
        }
        Ok(None)
    }

    /// Returns the bytes of MSI-X vector table and pending bits, each with its BAR (PCI 3.0, 6.8.2).
    pub(crate) fn msix_tables(&self, device: &File) -> io::Result<Vec<(u8, Range<u64>)>> {
        let Some(at) = self.capability(device, CAP_MSI_X)? else { return Ok(Vec::new()) };
        let vectors = u64::from(self.read(device, at + 2, Width::B2)? & 0x7ff) + 1;
        let place = |register: u32, len: u64| {
            let start = u64::from(register & !7);
            ((register & 7) as u8, start..start + len)
        };
        Ok(vec![
            place(self.read(device, at + 4, Width::B4)?, vectors * 16),
            place(self.read(device, at + 8, Width::B4)?, vectors.div_ceil(64) * 8),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a configuration space: an 82574L's identity, MSI-X at 0xa0 with 5 vectors in BAR 3, after another
    /// capability.
    fn made_up() -> (File, ConfigSpace) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(256).unwrap();
        let put = |at: u64, value: u32| file.write_all_at(&value.to_le_bytes(), at).unwrap();
        put(0x00, 0x10d3_8086);
        put(0x04, 0x0010_0003);
        put(0x34, 0xe0);
        put(0xe0, 0xa010);
        put(0xa0, 0x0004_0011);
        put(0xa4, 3);
        put(0xa8, 0x2003);
        let space = ConfigSpace::new(0, 256);
        (file, space)
    }

    #[test]
    fn interrupt_tables_are_found() {
        let (file, space) = made_up();
        assert_eq!(space.msix_tables(&file).unwrap(), [(3, 0..80), (3, 0x2000..0x2008)]);
    }

    #[test]
    fn a_capability_list_that_never_ends_is_given_up() {
        let (file, space) = made_up();
        file.write_all_at(&[0xff; 0xc0], 0x40).unwrap();
        assert!(space.msix_tables(&file).unwrap().is_empty());
    }

    #[test]
    fn reads_past_the_end_are_errors() {
        let (file, space) = made_up();
        assert!(space.read(&file, 254, Width::B4).is_err());
        assert!(space.read(&file, 0, Width::B8).is_err());
    }
}
