//! Which namespaces there are. One is the disk; others only say what they are, so that a driver can refuse them.

/// A namespace besides the disk: it says what it is, and takes no commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherNamespace {
    /// Its number, from 1 on.
    pub id: u32,
    /// How many blocks.
    pub blocks: u64,
    /// Its format (NVM 4.1.5.1, LBAF): metadata bytes in bits 15:0, logarithm of the block's bytes in 23:16.
    pub format: u32,
    /// The type of its protection; 0 is none.
    pub protection: u8,
}

/// All of them.
#[derive(Clone, Debug)]
pub(crate) struct Namespaces {
    /// The number of the disk.
    pub(crate) disk: u32,
    pub(crate) others: Vec<OtherNamespace>,
    /// The largest number that one can have (`NN`).
    pub(crate) most: u32,
}

impl Default for Namespaces {
    fn default() -> Self {
        Namespaces { disk: 1, others: Vec::new(), most: 1 }
    }
}

impl Namespaces {
    /// Returns the numbers of those that are active, in order.
    pub(crate) fn active(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self.others.iter().map(|other| other.id).chain([self.disk]).collect();
        ids.sort_unstable();
        ids
    }
}
