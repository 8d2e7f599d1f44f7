//! I/O commands (NVM 3).

use std::io;

use nvme_regs::{command, command::Command, nvm, status};

use crate::model::Model;
use crate::prp;

/// Most bytes of a transfer, as a logarithm in pages: 128 KiB.
pub(crate) const MDTS: u8 = 5;
const MOST_BYTES: usize = (nvme_regs::PAGE_BYTES as usize) << MDTS;

const REFUSED: u16 = status::DO_NOT_RETRY;

/// Which blocks a command is about.
struct Blocks {
    first: u64,
    count: u64,
    len_bytes: usize,
}

impl Model {
    /// Does a command and returns its status.
    pub(crate) fn io(&mut self, command: &Command) -> u16 {
        let done = match command.opcode() {
            nvm::FLUSH if command.namespace() == command::ALL_NAMESPACES => self.flush(),
            _ if command.namespace() != self.namespaces.disk => Err(status::INVALID_NAMESPACE | REFUSED),
            _ if command::PSDT.get(command.0[0]) != 0 || command::FUSE.get(command.0[0]) != 0 => {
                Err(status::INVALID_FIELD | REFUSED)
            }
            nvm::FLUSH => self.flush(),
            nvm::WRITE => self.write(command),
            nvm::READ => self.read(command),
            nvm::WRITE_ZEROES => self.write_zeroes(command),
            nvm::DATASET_MANAGEMENT => self.dataset(command),
            _ => Err(status::INVALID_OPCODE | REFUSED),
        };
        done.err().unwrap_or(status::SUCCESS)
    }

    fn blocks(&self, command: &Command) -> Result<Blocks, u16> {
        let (size, block_bytes) = self.disk.size();
        let (first, count) = (command.starts_at(), u64::from(nvm::BLOCKS.get(command.0[12])) + 1);
        if first.checked_add(count).is_none_or(|end| end > size) {
            return Err(status::LBA_OUT_OF_RANGE | REFUSED);
        }
        Ok(Blocks { first, count, len_bytes: count as usize * block_bytes as usize })
    }

    fn data_blocks(&self, command: &Command) -> Result<Blocks, u16> {
        let blocks = self.blocks(command)?;
        if blocks.len_bytes > MOST_BYTES { Err(status::INVALID_FIELD | REFUSED) } else { Ok(blocks) }
    }

    /// A write is durable if it says so, or if there is no cache, or it is off.
    fn durable(&self, command: &Command) -> bool {
        command.0[12] & nvm::FUA != 0 || !self.cache_on
    }

    fn flush(&mut self) -> Result<(), u16> {
        told(self.disk.flush(), "flush", status::WRITE_FAULT)
    }

    fn write(&mut self, command: &Command) -> Result<(), u16> {
        let Blocks { first, len_bytes, .. } = self.data_blocks(command)?;
        let data = prp::fetch(&mut self.reach, command.prps(), len_bytes)?;
        told(self.disk.write(first, &data, self.durable(command)), "write", status::WRITE_FAULT)
    }

    fn read(&mut self, command: &Command) -> Result<(), u16> {
        let Blocks { first, len_bytes, .. } = self.data_blocks(command)?;
        let mut data = vec![0; len_bytes];
        told(self.disk.read(first, &mut data), "read", status::UNRECOVERED_READ)?;
        prp::store(&mut self.reach, command.prps(), &data)
    }

    fn write_zeroes(&mut self, command: &Command) -> Result<(), u16> {
        let Blocks { first, count, .. } = self.blocks(command)?;
        told(self.disk.zero(first, count, self.durable(command)), "write", status::WRITE_FAULT)
    }

    /// Discards ranges: they read as zeros afterwards, as the namespace says (`DLFEAT`).
    fn dataset(&mut self, command: &Command) -> Result<(), u16> {
        let ranges = nvm::RANGES.get(command.0[10]) as usize + 1;
        let data = prp::fetch(&mut self.reach, command.prps(), ranges * nvm::RANGE_BYTES)?;
        if command.0[11] & nvm::DISCARD == 0 {
            return Ok(());
        }
        let (size, _) = self.disk.size();
        for range in data.chunks_exact(nvm::RANGE_BYTES) {
            let word = |at: usize| u32::from_le_bytes([range[at], range[at + 1], range[at + 2], range[at + 3]]);
            let (first, count) = (u64::from(word(8)) | u64::from(word(12)) << 32, u64::from(word(4)));
            if first.checked_add(count).is_none_or(|end| end > size) {
                return Err(status::LBA_OUT_OF_RANGE | REFUSED);
            }
            told(self.disk.zero(first, count, !self.cache_on), "discard", status::WRITE_FAULT)?;
        }
        Ok(())
    }
}

/// Turns what the medium says into a status.
fn told(done: io::Result<()>, what: &str, otherwise: u16) -> Result<(), u16> {
    done.map_err(|error| {
        tracing::warn!(%error, "the embedded disk cannot {what}");
        otherwise | REFUSED
    })
}
