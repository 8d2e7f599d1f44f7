//! What in a register says that the device has a link. The host looks there, past the driver.

/// Which bits of a register say that the device has a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkBits {
    /// None of them.
    Nothing,
    /// There is one while these are set.
    Set(u64),
    /// There is one while these are clear.
    Clear(u64),
}

impl LinkBits {
    /// Returns whether there is a link, with this value in the register; `None` if no bit of it says so.
    pub const fn is_up(self, value: u64) -> Option<bool> {
        match self {
            LinkBits::Nothing => None,
            LinkBits::Set(bits) => Some(value & bits == bits),
            LinkBits::Clear(bits) => Some(value & bits == 0),
        }
    }
}
