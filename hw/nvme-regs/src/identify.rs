//! What Identify returns: 4,096 bytes (section 5.17.2). Offsets are in bytes, numbers little endian.

/// Bytes of each data structure.
pub const BYTES: u32 = 4096;

/// Of the controller (section 5.17.2.1, figure 275).
pub mod controller {
    /// PCI vendor id (16 bits).
    pub const VID: u32 = 0;
    /// Serial number: ASCII, padded with spaces.
    pub const SN: u32 = 4;
    /// Bytes of it.
    pub const SN_BYTES: usize = 20;
    /// Model number: ASCII, padded with spaces.
    pub const MN: u32 = 24;
    /// Bytes of it.
    pub const MN_BYTES: usize = 40;
    /// Firmware revision: 8 bytes of ASCII.
    pub const FR: u32 = 64;
    /// Most bytes of a transfer: smallest page << this; 0 is no limit (8 bits).
    pub const MDTS: u32 = 77;
    /// Controller id (16 bits).
    pub const CNTLID: u32 = 78;
    /// Version (32 bits).
    pub const VER: u32 = 80;
    /// Events that can be asked for, as in feature 0Bh (32 bits).
    pub const OAES: u32 = 92;
    /// Abort commands at a time, less one (8 bits).
    pub const ACL: u32 = 258;
    /// Event requests at a time, less one (8 bits).
    pub const AERL: u32 = 259;
    /// Entries of the error log, less one (8 bits).
    pub const ELPE: u32 = 262;
    /// Sizes of submission queue entries: least in bits 3:0, most in 7:4, as logarithms (8 bits).
    pub const SQES: u32 = 512;
    /// Sizes of completion queue entries (8 bits).
    pub const CQES: u32 = 513;
    /// Commands that a controller takes at a time; 0: not said (16 bits).
    pub const MAXCMD: u32 = 514;
    /// Namespaces at most (32 bits).
    pub const NN: u32 = 516;
    /// Optional commands, below (16 bits).
    pub const ONCS: u32 = 520;
    /// Volatile write cache: bit 0 says that there is one (8 bits).
    pub const VWC: u32 = 525;
    /// Atomic write unit, normal: blocks less one (16 bits).
    pub const AWUN: u32 = 526;
    /// Atomic write unit, power fail: blocks less one (16 bits).
    pub const AWUPF: u32 = 528;

    /// [`ONCS`]: dataset management.
    pub const ONCS_DATASET_MANAGEMENT: u16 = 1 << 2;
    /// [`ONCS`]: write zeroes.
    pub const ONCS_WRITE_ZEROES: u16 = 1 << 3;
    /// [`VWC`]: there is one.
    pub const VWC_PRESENT: u8 = 1 << 0;
}

/// Of a namespace (NVM 4.1.5.1, figure 97).
pub mod namespace {
    /// Size in blocks (64 bits).
    pub const NSZE: u32 = 0;
    /// Capacity in blocks (64 bits).
    pub const NCAP: u32 = 8;
    /// Use in blocks (64 bits).
    pub const NUSE: u32 = 16;
    /// Features (8 bits): bit 1 says that [`NAWUPF`] counts.
    pub const NSFEAT: u32 = 24;
    /// LBA formats, less one (8 bits).
    pub const NLBAF: u32 = 25;
    /// Formatted with: bits 3:0 are the format's lower bits, 6:5 its upper ones (0 where there are no more than 16
    /// formats), bit 4 says that metadata follows the data (8 bits).
    pub const FLBAS: u32 = 26;
    /// Protection: bits 2:0 are its type; 0 is none (8 bits).
    pub const DPS: u32 = 29;
    /// What reads after a discard: bits 2:0; 1 is zeros (8 bits).
    pub const DLFEAT: u32 = 33;
    /// Atomic write unit, power fail, of this namespace: blocks less one (16 bits).
    pub const NAWUPF: u32 = 36;
    /// Attributes: bit 0 says that it is write protected now (8 bits).
    pub const NSATTR: u32 = 99;
    /// LBA formats (32 bits each): metadata bytes in bits 15:0, logarithm of the block's bytes in 23:16.
    pub const LBAF: u32 = 128;

    /// [`NSATTR`]: it is write protected now.
    pub const NSATTR_PROTECTED: u8 = 1 << 0;
    /// [`NSFEAT`]: [`NAWUPF`] counts.
    pub const NSFEAT_ATOMICS: u8 = 1 << 1;
    /// Returns the number of the format that [`FLBAS`] names, where [`NLBAF`] says how many there are.
    pub const fn format(flbas: u8, nlbaf: u8) -> u32 {
        let upper = if nlbaf < 16 { 0 } else { flbas >> 5 & 3 };
        (flbas & 0xf | upper << 4) as u32
    }

    /// [`DLFEAT`]: bits 2:0.
    pub const DLFEAT_READS: u8 = 7;
    /// [`DLFEAT_READS`]: zeros.
    pub const DLFEAT_ZEROS: u8 = 1;
}
