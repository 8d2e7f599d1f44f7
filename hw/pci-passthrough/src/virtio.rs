//! Virtio devices behind an IOMMU: whether they ask it.
//!
//! A virtio device that does not offer `ACCESS_PLATFORM` is one that goes to memory past an IOMMU (VIRTIO 1.2, section
//! 6.1), and QEMU's really does. VFIO does not know: it gives such a device out like any other, and what confines it
//! would be its driver's good behaviour. It is what the device offers that counts, and not what a driver agrees on.

use nook_bus::{PciDevice, Result, Width, config};
use virtio_regs::{DEVICE_FEATURE, DEVICE_FEATURE_SELECT, VENDOR, cap, cfg_type, feature};

/// Device ids of virtio's (4.1.2).
const DEVICES: std::ops::RangeInclusive<u16> = 0x1000..=0x107f;
/// How many capabilities there can be (PCI 3.0, section 6.7).
const MOST: usize = 48;

/// Returns whether a device is of virtio's and goes past the IOMMU. Nothing is driven yet.
///
/// # Errors
/// If it cannot be asked.
pub(crate) fn goes_past_iommu(device: &mut dyn PciDevice) -> Result<bool> {
    let id = device.identity();
    if id.vendor != VENDOR || !DEVICES.contains(&id.device) {
        return Ok(false);
    }
    let Some((bar, at)) = common(device)? else { return Ok(true) };
    device.bar_write(bar, at + DEVICE_FEATURE_SELECT.offset(), Width::B4, 1)?;
    let upper = device.bar_read(bar, at + DEVICE_FEATURE.offset(), Width::B4)?;
    Ok(upper << 32 & feature::ACCESS_PLATFORM == 0)
}

/// Returns in which BAR a device has its common configuration, and where; none if it is of the old standard alone.
fn common(device: &mut dyn PciDevice) -> Result<Option<(u8, u32)>> {
    let mut at = device.config_read(config::CAPABILITIES, Width::B1)? as u16 & !3;
    for _ in 0..MOST {
        if at < 0x40 {
            break;
        }
        let kind = device.config_read(at + cap::CFG_TYPE as u16, Width::B1)?;
        if device.config_read(at, Width::B1)? == cap::ID && kind == u32::from(cfg_type::COMMON) {
            let bar = device.config_read(at + cap::BAR as u16, Width::B1)? as u8;
            let offset = device.config_read(at + cap::OFFSET as u16, Width::B4)?;
            let end = u64::from(offset) + u64::from(DEVICE_FEATURE.offset()) + 4;
            let fits = device.bars().iter().any(|it| it.index == bar && end <= it.len_bytes);
            return Ok((fits && offset.is_multiple_of(4)).then_some((bar, offset)));
        }
        at = device.config_read(at + 1, Width::B1)? as u16 & !3;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nook_bus::{BarInfo, BarSpace, PciIdentity};

    /// A device whose common configuration is in BAR 2 at 0x100.
    struct Card {
        device: u16,
        offers: u64,
        bars: Vec<BarInfo>,
        select: u64,
    }

    impl PciDevice for Card {
        fn describe(&self) -> String {
            "the card".into()
        }
        fn identity(&self) -> PciIdentity {
            PciIdentity::new(VENDOR, self.device, 0)
        }
        fn bars(&self) -> &[BarInfo] {
            &self.bars
        }
        fn bar_read(&mut self, bar: u8, offset: u32, _: Width) -> nook_bus::Result<u64> {
            assert_eq!((bar, offset), (2, 0x104));
            Ok(self.offers >> (32 * self.select) & 0xffff_ffff)
        }
        fn bar_write(&mut self, bar: u8, offset: u32, _: Width, value: u64) -> nook_bus::Result<()> {
            assert_eq!((bar, offset), (2, 0x100));
            self.select = value;
            Ok(())
        }
        fn config_read(&mut self, offset: u16, _: Width) -> nook_bus::Result<u32> {
            // A capability of another kind, and then that of the common configuration.
            Ok(match offset {
                0x34 => 0x40,
                0x40 => 0x11,
                0x41 => 0x50,
                0x50 => cap::ID,
                0x53 => cfg_type::COMMON.into(),
                0x54 => 2,
                0x58 => 0x100,
                _ => 0,
            })
        }
    }

    fn card(device: u16, offers: u64) -> Card {
        let bar = BarInfo { index: 2, len_bytes: 0x1000, space: BarSpace::Memory };
        Card { device, offers, bars: vec![bar], select: 0 }
    }

    #[test]
    fn a_virtio_device_that_does_not_ask_the_iommu_goes_past_it() {
        let past = |mut card: Card| goes_past_iommu(&mut card).unwrap();
        assert!(!past(card(0x1042, feature::VERSION_1 | feature::ACCESS_PLATFORM)));
        assert!(past(card(0x1042, feature::VERSION_1 | u64::from(u32::MAX))));
        // One that does not say where to ask, as those of the old standard.
        assert!(past(Card { bars: Vec::new(), ..card(0x1001, feature::ACCESS_PLATFORM) }));
        assert!(!past(card(0x1100, 0)), "ivshmem is no virtio device");
    }
}
