//! What must be set in a register for the device to work. The host looks for it, past the driver.

/// Which bits of a register must be set for the device to work, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// None of them.
    Nothing,
    /// These, as long as the device is open: without them it finds no link.
    Open(u64),
    /// These, as long as it is open and its link is up: without them it moves no frame.
    Link(u64),
}

impl Needs {
    /// Returns the bits that must be set, with the link up or not.
    pub const fn bits(self, link_is_up: bool) -> u64 {
        match self {
            Needs::Open(bits) => bits,
            Needs::Link(bits) if link_is_up => bits,
            Needs::Nothing | Needs::Link(_) => 0,
        }
    }
}
