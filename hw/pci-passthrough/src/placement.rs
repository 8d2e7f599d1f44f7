//! Where a window may be mapped for the device.

use nook_bus::DmaWindow;

use crate::sys::IommuInfo;

/// Checks whether a window may be mapped at `iova`; if not, returns why, and what would do.
pub(crate) fn placement(
    iova: u64,
    len_bytes: u64,
    iommu: &IommuInfo,
    windows: &[(u64, DmaWindow)],
) -> std::result::Result<(), String> {
    let last = iova.checked_add(len_bytes - 1).ok_or("it would go past the end of the address space")?;
    if !iova.is_multiple_of(iommu.page_bytes) {
        return Err(format!("the IOMMU maps pages of {:#x} bytes; choose a multiple", iommu.page_bytes));
    }
    if !iommu.ranges.is_empty() && !iommu.ranges.iter().any(|range| iova >= range.first && last <= range.last) {
        let ranges: Vec<String> = iommu.ranges.iter().map(|r| format!("{:#x}-{:#x}", r.first, r.last)).collect();
        return Err(format!("the IOMMU maps only {}", ranges.join(" and ")));
    }
    let overlapping =
        windows.iter().find(|(mapped, window)| iova <= mapped + (window.len_bytes() - 1) && *mapped <= last);
    match overlapping {
        Some((mapped, _)) => Err(format!("a window is mapped at {mapped:#x}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use nook_bus::IovaRange;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn iommu() -> IommuInfo {
        let ranges =
            vec![IovaRange { first: 0, last: 0xfedf_ffff }, IovaRange { first: 0xfef0_0000, last: 0x7f_ffff_ffff }];
        IommuInfo { page_bytes: 4096, ranges }
    }

    #[test]
    fn a_window_goes_anywhere_inside_one_range() {
        assert_eq!(placement(0x1000_0000, 2 * MIB, &iommu(), &[]), Ok(()));
        assert_eq!(placement(0xfec0_0000, 2 * MIB, &iommu(), &[]), Ok(()));
        assert_eq!(placement(0x7f_ffe0_0000, 2 * MIB, &iommu(), &[]), Ok(()));
    }

    #[test]
    fn a_window_over_a_hole_or_past_the_end_is_refused_with_the_ranges() {
        for iova in [0xfee0_0000, 0xfecf_0000, 0x7f_fff0_0000, u64::MAX - MIB + 1] {
            let why = placement(iova, 2 * MIB, &iommu(), &[]).unwrap_err();
            assert!(why.contains("0xfedfffff") || why.contains("end of the address space"), "{iova:#x}: {why}");
        }
        assert!(placement(0x1000_0800, 2 * MIB, &iommu(), &[]).unwrap_err().contains("0x1000"));
    }

    #[test]
    fn windows_do_not_overlap() {
        let windows = [(0x1000_0000, DmaWindow::new(4 * MIB).unwrap())];
        for iova in [0x0ff0_0000, 0x1000_0000, 0x1030_0000] {
            assert!(placement(iova, 2 * MIB, &iommu(), &windows).is_err(), "{iova:#x}");
        }
        for iova in [0x0fe0_0000, 0x1040_0000] {
            assert_eq!(placement(iova, 2 * MIB, &iommu(), &windows), Ok(()), "{iova:#x}");
        }
    }
}
