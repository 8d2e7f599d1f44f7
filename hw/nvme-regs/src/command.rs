//! Entries of submission queues: 64 bytes, sixteen little-endian words of 32 bits (section 3.3.3.1).

use nook_regs::Field;

/// Bytes of an entry.
pub const BYTES: u32 = 64;
/// Its logarithm: `CC::IOSQES`, and `SQES` of Identify.
pub const LOG_BYTES: u32 = 6;
/// Words of an entry.
pub const WORDS: usize = 16;

/// Word 0: what to do.
pub const OPCODE: Field = Field::new(0, 8);
/// Word 0: part of a fused command; 0 is none.
pub const FUSE: Field = Field::new(8, 2);
/// Word 0: how the data is described; 0 is by PRPs.
pub const PSDT: Field = Field::new(14, 2);
/// Word 0: the command's identifier, which its completion repeats.
pub const CID: Field = Field::new(16, 16);

/// The namespace identifier that stands for all.
pub const ALL_NAMESPACES: u32 = 0xffff_ffff;

/// A command, in words. What is not set is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command(pub [u32; WORDS]);

impl Command {
    /// Creates the command of this opcode to a namespace (0: none).
    pub const fn new(opcode: u8, namespace: u32) -> Self {
        let mut words = [0; WORDS];
        (words[0], words[1]) = (opcode as u32, namespace);
        Command(words)
    }

    /// Sets its identifier.
    pub const fn id(mut self, id: u16) -> Self {
        self.0[0] = self.0[0] & !CID.mask() | CID.put(id as u32);
        self
    }

    /// Sets where its data is: two PRP entries (section 4.1.1).
    pub const fn data(mut self, prp1: u64, prp2: u64) -> Self {
        (self.0[6], self.0[7]) = (prp1 as u32, (prp1 >> 32) as u32);
        (self.0[8], self.0[9]) = (prp2 as u32, (prp2 >> 32) as u32);
        self
    }

    /// Sets command dword `index`, from 10 to 15.
    pub const fn dword(mut self, index: usize, value: u32) -> Self {
        self.0[index] = value;
        self
    }

    /// Sets a number of 64 bits in command dwords 10 and 11: the first block of an I/O command.
    pub const fn first_block(mut self, block: u64) -> Self {
        (self.0[10], self.0[11]) = (block as u32, (block >> 32) as u32);
        self
    }

    /// Returns what to do.
    pub const fn opcode(&self) -> u8 {
        self.0[0] as u8
    }

    /// Returns its identifier.
    pub const fn cid(&self) -> u16 {
        CID.get(self.0[0]) as u16
    }

    /// Returns the namespace.
    pub const fn namespace(&self) -> u32 {
        self.0[1]
    }

    /// Returns its two PRP entries.
    pub const fn prps(&self) -> [u64; 2] {
        [self.0[6] as u64 | (self.0[7] as u64) << 32, self.0[8] as u64 | (self.0[9] as u64) << 32]
    }

    /// Returns the number of 64 bits in command dwords 10 and 11.
    pub const fn starts_at(&self) -> u64 {
        self.0[10] as u64 | (self.0[11] as u64) << 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_lies_where_the_specification_has_it() {
        let command = Command::new(2, 7).id(0xabcd).data(0x1_2345_6000, 0x9_8765_4000).first_block(0x1_0000_0002);
        assert_eq!(command.0[..2], [0xabcd_0002, 7]);
        assert_eq!(command.0[6..12], [0x2345_6000, 1, 0x8765_4000, 9, 2, 1]);
        assert_eq!((command.opcode(), command.cid(), command.namespace()), (2, 0xabcd, 7));
        assert_eq!((command.prps(), command.starts_at()), ([0x1_2345_6000, 0x9_8765_4000], 0x1_0000_0002));
    }
}
