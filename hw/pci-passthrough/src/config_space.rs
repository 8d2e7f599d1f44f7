//! Configuration space: what a driver may change of it, and where the interrupt tables are.
//!
//! Read through the device's file, where VFIO adds checks of its own (`drivers/vfio/pci/vfio_pci_config.c`): among
//! others the vendor and device id come from a copy, so they do not tell whether the device is still there. Command
//! and status come from the device.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use nook_bus::{DeviceError, Result, Width, config};

/// Capability ids (PCI Code and ID Assignment Specification, section 2).
const CAP_MSI_X: u8 = 0x11;
const CAP_EXPRESS: u8 = 0x10;

/// Status bit 4: there is a capability list.
const STATUS_CAPABILITIES: u32 = 1 << 4;
/// Command: memory write and invalidate, parity error response, SERR# enable (PCI 3.0, 6.2.2).
const COMMAND_ALLOWED: u32 = 1 << 4 | 1 << 6 | 1 << 8;
/// Status: the error bits, which a one clears (PCI 3.0, 6.2.3).
const STATUS_CLEARS: u32 = 0xf900;
/// Cache line size and latency timer (PCI 3.0, 6.2.4).
const CACHE_LINE_SIZE: u16 = 0x0c;
/// Link control, relative to the express capability: ASPM control, and clock power management (PCIe 3.0, 7.8.7).
const LINK_CONTROL: u16 = 0x10;
const LINK_CONTROL_ALLOWED: u32 = 0b11 | 1 << 8;

/// The device's configuration region.
#[derive(Debug)]
pub(crate) struct ConfigSpace {
    file_offset: u64,
    len_bytes: u64,
    /// What a driver may change.
    allowed: Vec<Allowed>,
}

/// Two bytes of configuration space.
#[derive(Debug)]
struct Allowed {
    offset: u16,
    /// Bits that hold what is written.
    plain: u32,
    /// Bits that a one clears.
    clears: u32,
}

impl ConfigSpace {
    /// The region that starts at `file_offset` in the device's file.
    pub(crate) fn open(device: &File, file_offset: u64, len_bytes: u64) -> io::Result<Self> {
        let mut space = ConfigSpace {
            file_offset,
            len_bytes,
            allowed: vec![
                Allowed { offset: config::COMMAND, plain: COMMAND_ALLOWED, clears: 0 },
                Allowed { offset: config::STATUS, plain: 0, clears: STATUS_CLEARS },
                Allowed { offset: CACHE_LINE_SIZE, plain: 0xffff, clears: 0 },
            ],
        };
        if let Some(express) = space.capability(device, CAP_EXPRESS)? {
            space.allowed.push(Allowed { offset: express + LINK_CONTROL, plain: LINK_CONTROL_ALLOWED, clears: 0 });
        }
        Ok(space)
    }

    /// Reads without a check of who asks.
    pub(crate) fn read(&self, device: &File, offset: u16, width: Width) -> io::Result<u32> {
        let mut bytes = [0; 4];
        let len = width.bytes() as usize;
        if len > 4 || u64::from(offset) + len as u64 > self.len_bytes {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no {width} register at {offset:#x}")));
        }
        device.read_exact_at(&mut bytes[..len], self.file_offset + u64::from(offset))?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Writes without a check of who asks.
    pub(crate) fn write(&self, device: &File, offset: u16, width: Width, value: u32) -> io::Result<()> {
        let bytes = value.to_le_bytes();
        let part = bytes.get(..width.bytes() as usize).ok_or(io::ErrorKind::InvalidInput)?;
        device.write_all_at(part, self.file_offset + u64::from(offset))
    }

    /// Writes for a driver: only bits on the allow-list may differ from what is there.
    pub(crate) fn write_allowed(&self, device: &File, offset: u16, width: Width, value: u32) -> Result<()> {
        let failed = |e| DeviceError::os(format!("writing {value:#x} to configuration space at {offset:#x}"), e);
        let now = self.read(device, offset, width).map_err(failed)?;
        let (plain, clears) = self.masks(offset, width);
        let refused = (now ^ value) & !(plain | clears) & width.all_ones() as u32;
        if refused != 0 {
            return Err(DeviceError::Unsupported(format!(
                "writing {value:#x} to configuration space at {offset:#x} ({width}) would change bits {refused:#x}, \
                 which belong to the host"
            )));
        }
        self.write(device, offset, width, value).map_err(failed)
    }

    /// Bits of an access that a driver may change, and those that a one clears.
    fn masks(&self, offset: u16, width: Width) -> (u32, u32) {
        let mut masks = (0u64, 0u64);
        for entry in &self.allowed {
            // Both in a row of bits that starts 4 bytes before the access.
            let distance = i32::from(entry.offset) - i32::from(offset) + 4;
            if (0..8).contains(&distance) {
                masks.0 |= u64::from(entry.plain) << (8 * distance);
                masks.1 |= u64::from(entry.clears) << (8 * distance);
            }
        }
        let cut = |mask: u64| ((mask >> 32) & width.all_ones()) as u32;
        (cut(masks.0), cut(masks.1))
    }

    /// Where capability `id` starts.
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

    /// The bytes of MSI-X vector table and pending bits, each with its BAR (PCI 3.0, 6.8.2).
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

    /// A configuration space: an 82574L's identity, express at 0xe0, MSI-X at 0xa0 with 5 vectors in BAR 3.
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
        let space = ConfigSpace::open(&file, 0, 256).unwrap();
        (file, space)
    }

    #[test]
    fn interrupt_tables_are_found() {
        let (file, space) = made_up();
        assert_eq!(space.msix_tables(&file).unwrap(), [(3, 0..80), (3, 0x2000..0x2008)]);
    }

    #[test]
    fn bus_mastering_decoding_bars_and_interrupts_are_the_hosts() {
        let (file, space) = made_up();
        for (offset, width, value) in [
            (config::COMMAND, Width::B2, 0x0007),
            (config::COMMAND, Width::B2, 0x0001),
            (config::COMMAND, Width::B2, 0x0403),
            (config::COMMAND, Width::B1, 0x07),
            (config::COMMAND, Width::B4, 0x0010_0007),
            (config::BAR0, Width::B4, 0xffff_ffff),
            (0xa2, Width::B2, 0x8004),
            (0xe8, Width::B2, 0x8000),
            (0x3c, Width::B1, 1),
        ] {
            let error = space.write_allowed(&file, offset, width, value).unwrap_err();
            assert!(matches!(error, DeviceError::Unsupported(_)), "{offset:#x}: {error}");
        }
        assert_eq!(space.read(&file, config::COMMAND, Width::B4).unwrap(), 0x0010_0003, "a refused write went through");
    }

    #[test]
    fn what_is_a_drivers_business_may_be_written_at_any_width() {
        let (file, space) = made_up();
        space.write_allowed(&file, config::COMMAND, Width::B2, 0x0113).unwrap();
        space.write_allowed(&file, config::COMMAND + 1, Width::B1, 0x00).unwrap();
        assert_eq!(space.read(&file, config::COMMAND, Width::B2).unwrap(), 0x0013);
        space.write_allowed(&file, config::COMMAND, Width::B4, 0x0910_0113).unwrap();
        space.write_allowed(&file, CACHE_LINE_SIZE, Width::B1, 16).unwrap();
        space.write_allowed(&file, 0xf0, Width::B2, 0x0102).unwrap();
        assert!(space.write_allowed(&file, 0xf0, Width::B2, 0x0112).is_err());
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
