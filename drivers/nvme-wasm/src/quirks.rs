//! What controllers do otherwise than the specification says, or than one would hope, as data.

/// What is different about a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quirks {
    /// A write with FUA is not durable when it is done: the host flushes after it instead.
    pub(crate) ignores_fua: bool,
    /// Zeroes of any length are taken in one command.
    pub(crate) any_zeroes: bool,
}

/// Of all that are not in the table.
const NONE: Quirks = Quirks { ignores_fua: false, any_zeroes: false };

/// Vendor, device, and what is different.
const TABLE: &[(u16, u16, Quirks)] = &[
    // QEMU 7.2 and 10.0: FUA goes nowhere.
    (nvme_regs::VENDOR_QEMU, nvme_regs::DEVICE_QEMU, Quirks { ignores_fua: true, any_zeroes: true }),
    (nvme_regs::VENDOR_MODEL, nvme_regs::DEVICE_MODEL, Quirks { ignores_fua: false, any_zeroes: true }),
];

impl Quirks {
    /// Returns what is different about this one.
    pub(crate) fn of(vendor: u16, device: u16) -> Self {
        let found = TABLE.iter().find(|(v, d, _)| (*v, *d) == (vendor, device));
        found.map_or(NONE, |(.., quirks)| *quirks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_in_the_table_are_different() {
        assert!(Quirks::of(0x1b36, 0x0010).ignores_fua);
        assert!(!Quirks::of(nvme_regs::VENDOR_MODEL, nvme_regs::DEVICE_MODEL).ignores_fua);
        assert_eq!(Quirks::of(0x144d, 0xa808), NONE);
    }
}
