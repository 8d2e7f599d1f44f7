//! The table that a declaration makes, for those who watch a driver rather than for the driver itself.

use core::fmt;

/// How wide an access is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Width {
    /// One byte.
    B1 = 1,
    /// Two bytes.
    B2 = 2,
    /// Four bytes.
    B4 = 4,
    /// Eight bytes.
    B8 = 8,
}

impl Width {
    /// Bytes.
    pub const fn bytes(self) -> u32 {
        self as u32
    }

    /// All ones in this width: what a bus answers for a device that is gone.
    pub const fn all_ones(self) -> u64 {
        match self {
            Width::B1 => 0xff,
            Width::B2 => 0xffff,
            Width::B4 => 0xffff_ffff,
            Width::B8 => u64::MAX,
        }
    }
}

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bit", self.bytes() * 8)
    }
}

/// What a driver may do with a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    Ro,
    /// Write only.
    Wo,
    /// Both.
    Rw,
    /// In the map so that reports can name it, and never a driver's to touch: non-volatile memory's write path,
    /// indirect access windows, interrupt tables.
    Forbidden,
}

impl Access {
    /// Whether a read is allowed.
    pub const fn reads(self) -> bool {
        matches!(self, Access::Ro | Access::Rw)
    }

    /// Whether a write is allowed.
    pub const fn writes(self) -> bool {
        matches!(self, Access::Wo | Access::Rw)
    }
}

/// What reading does to the device, which decides how a read that was given to an aborted call is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadEffect {
    /// Nothing: reading twice gives the same.
    None,
    /// Clears it; two lost values are merged by `or` (interrupt causes).
    ClearsOr,
    /// Clears it; two lost values are added (counters).
    ClearsAdd,
    /// Clears it and its upper half, which is read second (64-bit counters in two registers).
    ClearsPair,
    /// Takes one entry out of a queue.
    Pops,
    /// Something else: cannot be given back.
    Other,
}

/// What writing means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteEffect {
    /// It holds the value.
    Plain,
    /// Ones clear bits.
    OneClears,
    /// The low half of an address that the device will use for DMA: must lie in the window.
    DmaBase,
    /// Makes the device look at memory.
    Doorbell,
    /// Writing any of these bits resets the device or a part of it.
    Reset(u32),
}

/// One bit or field of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldInfo {
    /// As in the manual.
    pub name: &'static str,
    /// The lowest bit.
    pub shift: u32,
    /// How many bits.
    pub bits: u32,
}

/// One register, or an array of equal ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterInfo {
    /// As in the manual.
    pub name: &'static str,
    /// Bytes from the start of the BAR to the first.
    pub offset: u32,
    /// Of each.
    pub width: Width,
    /// How many (1 if it is not an array).
    pub count: u32,
    /// Bytes from one to the next.
    pub stride: u32,
    /// What a driver may do.
    pub access: Access,
    /// What reading does.
    pub read: ReadEffect,
    /// What writing does.
    pub write: WriteEffect,
    /// The value that is read does not depend on writes which are being held back, so reading it releases none
    /// (the posting read of a status register).
    pub posts_only: bool,
    /// Bits and fields.
    pub fields: &'static [FieldInfo],
    /// Where the manual describes it.
    pub section: &'static str,
}

impl RegisterInfo {
    /// Which element `offset` is, if it is the start of one.
    pub fn index_of(&self, offset: u32) -> Option<u32> {
        let from = offset.checked_sub(self.offset)?;
        let index = if self.stride == 0 { 0 } else { from / self.stride };
        (index < self.count && from == index * self.stride).then_some(index)
    }
}

/// All that is known of a chip's registers.
#[derive(Clone, Copy, Debug)]
pub struct RegisterMap {
    /// What manifests call it.
    pub name: &'static str,
    /// The BAR that it describes.
    pub bar: u8,
    /// How long that BAR is.
    pub len_bytes: u32,
    /// In the order of the declaration.
    pub registers: &'static [RegisterInfo],
}

impl RegisterMap {
    /// The register that starts at `offset`, and which element it is.
    pub fn find(&self, offset: u32) -> Option<(&'static RegisterInfo, u32)> {
        self.registers.iter().find_map(|info| Some((info, info.index_of(offset)?)))
    }
}
