//! What a driver says of its disk.

/// What the mailbox begins with in [`Hostcall::BlockAttach`](crate::Hostcall::BlockAttach).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Disk {
    /// How many blocks there are: at least 1.
    pub blocks: u64,
    /// Bytes of a block: a power of two, 512 to 65536.
    pub block_bytes: u32,
    /// The most blocks of a read or a write: at least 1. What does not fit into a buffer is not asked for in any case.
    pub max_blocks: u32,
    /// The most blocks of a discard or of zeroes: at least 1 if the flags have one of these, else 0.
    pub max_zeroes: u32,
    /// `disk_flags`.
    pub flags: u32,
    /// The serial number: printable ASCII, filled up with zeros. All zeros if there is none.
    pub serial: [u8; 40],
}

/// Bits of [`Disk::flags`].
pub mod disk_flags {
    /// It takes reads and flushes only.
    pub const READ_ONLY: u32 = 1 << 0;
    /// What was written may be lost with the power until a flush is done. Without it the host asks for no flush.
    pub const VOLATILE_CACHE: u32 = 1 << 1;
    /// The device can be trusted with `FUA`: such a request is durable when it is done. Without it the host asks for a
    /// flush after it, if there is a volatile cache.
    pub const FUA: u32 = 1 << 2;
    /// It takes discards.
    pub const DISCARD: u32 = 1 << 3;
    /// It takes zeroes.
    pub const WRITE_ZEROES: u32 = 1 << 4;
    /// Every bit that may be set.
    pub const ALL: u32 = READ_ONLY | VOLATILE_CACHE | FUA | DISCARD | WRITE_ZEROES;
}

impl Disk {
    /// Its length in bytes.
    pub const BYTES: usize = size_of::<Disk>();

    /// Returns it as it lies in the mailbox of a little-endian machine.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let Disk { blocks, block_bytes, max_blocks, max_zeroes, flags, serial } = self;
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&blocks.to_le_bytes());
        let words = [block_bytes, max_blocks, max_zeroes, flags];
        bytes[8..24]
            .chunks_exact_mut(4)
            .zip(words)
            .for_each(|(place, word)| place.copy_from_slice(&word.to_le_bytes()));
        bytes[24..].copy_from_slice(&serial);
        bytes
    }

    /// Undoes [`to_bytes`](Self::to_bytes).
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Disk {
            blocks: u64::from(word(0)) | u64::from(word(4)) << 32,
            block_bytes: word(8),
            max_blocks: word(12),
            max_zeroes: word(16),
            flags: word(20),
            serial: core::array::from_fn(|at| bytes[24 + at]),
        }
    }

    /// Returns the serial number, without blanks around it.
    pub fn serial_text(&self) -> &str {
        let end = self.serial.iter().position(|&byte| byte == 0).unwrap_or(self.serial.len());
        core::str::from_utf8(&self.serial[..end]).unwrap_or_default().trim()
    }

    /// Returns a serial number as a device has it: what is not printable ASCII becomes `?`, and what does not fit is
    /// left out.
    pub fn serial_of(bytes: &[u8]) -> [u8; 40] {
        let mut serial = [0; 40];
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        for (place, &byte) in serial.iter_mut().zip(&bytes[..end]) {
            *place = if byte == b' ' || byte.is_ascii_graphic() { byte } else { b'?' };
        }
        serial
    }

    /// Returns the rule that it breaks, with the field and its value.
    pub fn broken_rule(&self) -> Option<(&'static str, u64, &'static str)> {
        let Disk { blocks, block_bytes, max_blocks, max_zeroes, flags, ref serial } = *self;
        let zeroes = flags & (disk_flags::DISCARD | disk_flags::WRITE_ZEROES) != 0;
        let end = serial.iter().position(|&byte| byte == 0).unwrap_or(serial.len());
        let printable = serial[..end].iter().all(|&byte| byte == b' ' || byte.is_ascii_graphic());
        let broken = |bad: bool, field, value, rule| bad.then_some((field, value, rule));
        broken(
            !block_bytes.is_power_of_two() || !(512..=65536).contains(&block_bytes),
            "block_bytes",
            block_bytes.into(),
            "not a power of two from 512 to 65536",
        )
        .or(broken(blocks == 0, "blocks", blocks, "a disk without blocks"))
        .or(broken(
            blocks.checked_mul(block_bytes.into()).is_none_or(|bytes| bytes > i64::MAX as u64),
            "blocks",
            blocks,
            "more bytes than 63 bits count",
        ))
        .or(broken(max_blocks == 0, "max_blocks", 0, "no block fits into a request"))
        .or(broken(zeroes != (max_zeroes > 0), "max_zeroes", max_zeroes.into(), "not as the flags say"))
        .or(broken(flags & !disk_flags::ALL != 0, "flags", flags.into(), "unknown bits are set"))
        .or(broken(
            !printable || serial[end..].iter().any(|&byte| byte != 0),
            "serial",
            end as u64,
            "not printable ASCII filled up with zeros",
        ))
    }
}

impl Default for Disk {
    /// Returns what is no disk: all of it is zero.
    fn default() -> Self {
        Disk { blocks: 0, block_bytes: 0, max_blocks: 0, max_zeroes: 0, flags: 0, serial: [0; 40] }
    }
}

const _: () = assert!(Disk::BYTES == 64 && Disk::BYTES <= crate::MAILBOX_BYTES);

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) const GOOD: Disk = Disk {
        blocks: 0x0102_0304_0506_0708,
        block_bytes: 512,
        max_blocks: 0x2122_2324,
        max_zeroes: 0x3132_3334,
        flags: disk_flags::DISCARD,
        serial: *b"SN 0001\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    };

    #[test]
    fn a_disk_survives_being_bytes_and_lies_as_the_struct_has_it() {
        let bytes = GOOD.to_bytes();
        assert_eq!(Disk::from_bytes(&bytes), GOOD);
        assert_eq!(core::mem::offset_of!(Disk, serial), 24);
        assert_eq!((bytes[0], bytes[8], bytes[9], bytes[12], bytes[16], bytes[24]), (8, 0, 2, 0x24, 0x34, b'S'));
    }

    #[test]
    fn a_serial_number_is_what_a_device_has_without_what_misleads() {
        let disk = |bytes: &[u8]| Disk { serial: Disk::serial_of(bytes), ..GOOD };
        assert_eq!(disk(b"  SN 0001        ").serial_text(), "SN 0001");
        assert_eq!(disk(b"a\x1b[2J\0x").serial_text(), "a?[2J");
        assert_eq!(disk(&[b'7'; 99]).serial_text().len(), 40);
        assert_eq!(Disk { blocks: 9, ..disk(b"\xff") }.broken_rule(), None);
    }

    #[test]
    fn each_rule_of_a_disk_is_named_with_its_field() {
        assert_eq!(Disk { blocks: 9, ..GOOD }.broken_rule(), None);
        let serial = |text: &[u8]| {
            let mut serial = [0; 40];
            serial[..text.len()].copy_from_slice(text);
            serial
        };
        for (disk, field) in [
            (Disk { block_bytes: 520, ..GOOD }, "block_bytes"),
            (Disk { block_bytes: 256, ..GOOD }, "block_bytes"),
            (Disk { block_bytes: 1 << 17, ..GOOD }, "block_bytes"),
            (Disk { blocks: 0, ..GOOD }, "blocks"),
            (Disk { blocks: 1 << 54, ..GOOD }, "blocks"),
            (Disk { max_blocks: 0, ..GOOD }, "max_blocks"),
            (Disk { max_zeroes: 0, ..GOOD }, "max_zeroes"),
            (Disk { flags: 0, ..GOOD }, "max_zeroes"),
            (Disk { flags: 1 << 9 | disk_flags::DISCARD, ..GOOD }, "flags"),
            (Disk { serial: serial(b"a\x1b[2J"), ..GOOD }, "serial"),
            (Disk { serial: serial(b"a\0b"), ..GOOD }, "serial"),
        ] {
            let blocks = if disk.blocks == GOOD.blocks { 9 } else { disk.blocks };
            assert_eq!(Disk { blocks, ..disk }.broken_rule().map(|(name, ..)| name), Some(field));
        }
    }
}
