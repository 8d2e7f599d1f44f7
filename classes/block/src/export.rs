//! The one export: what is said about a disk, and which requests can be made of it.

use nook_block_api::{Geometry, Op};

use crate::limits::{MAX_PAYLOAD, PIECE_BYTES, ZEROES_BYTES};
use crate::protocol::{self, RequestHeader, command, command_flag, error, export};

/// Memory pages, in which most clients read and write.
const PAGE_BYTES: u32 = 4096;

/// The largest block that can be announced ("Size constraints").
const LARGEST_BLOCK: u32 = 1 << 16;

/// What a client may call a disk, and what it is.
#[derive(Clone, Debug)]
pub struct Export {
    /// The name by which it is asked for; the empty name always leads here, too.
    pub name: String,
    /// For people.
    pub description: String,
    /// Whether clients cannot write it, even if the disk could be.
    pub read_only: bool,
    /// The disk.
    pub geometry: Geometry,
}

/// Why a request is refused: one of [`error`] and a sentence for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The number in the reply.
    pub error: u32,
    /// The message in a structured reply.
    pub message: &'static str,
}

const fn refuse<T>(error: u32, message: &'static str) -> Result<T, Refusal> {
    Err(Refusal { error, message })
}

/// What a request comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// What is asked of the disk.
    pub op: Op,
    /// First byte, at a block's boundary.
    pub at: u64,
    /// The byte behind the last one, at a block's boundary. With `at` the same there is nothing to do but for a flush.
    pub end: u64,
    /// Whether it is answered when it is on the medium.
    pub fua: bool,
}

impl Export {
    /// Checks what the disk must be for this protocol, and this server; says what is wrong.
    pub fn check_geometry(geometry: &Geometry) -> Result<(), String> {
        let Geometry { block_bytes, blocks, max_blocks, .. } = *geometry;
        if !block_bytes.is_power_of_two() || block_bytes > LARGEST_BLOCK {
            return Err(format!(
                "a disk with blocks of {block_bytes} bytes cannot be served over NBD, which knows powers of 2 up to \
                 {LARGEST_BLOCK}"
            ));
        }
        if max_blocks == 0 {
            return Err("a disk that takes requests of no block cannot be served".into());
        }
        // Clients count in signed numbers.
        if blocks.checked_mul(block_bytes.into()).is_none_or(|bytes| bytes > i64::MAX as u64) {
            return Err(format!("a disk of {blocks} blocks of {block_bytes} bytes is too large for NBD's clients"));
        }
        Ok(())
    }

    /// Returns its bytes.
    pub fn bytes(&self) -> u64 {
        self.geometry.len_bytes()
    }

    /// Returns how many bytes the disk is asked for at once: whole blocks.
    pub fn piece_bytes(&self, op: Op) -> u64 {
        let Geometry { block_bytes, max_blocks, .. } = self.geometry;
        let most = match op {
            Op::Read | Op::Write => max_blocks.min((PIECE_BYTES / block_bytes).max(1)),
            Op::Flush | Op::Discard | Op::WriteZeroes => ZEROES_BYTES / block_bytes,
        };
        u64::from(most) * u64::from(block_bytes)
    }

    /// Returns the sizes that are announced: minimum, preferred, longest payload.
    pub fn sizes(&self) -> [u32; 3] {
        let block = self.geometry.block_bytes;
        [block, block.max(PAGE_BYTES), MAX_PAYLOAD]
    }

    /// Returns whether it cannot be written.
    pub fn is_read_only(&self) -> bool {
        self.read_only || self.geometry.read_only
    }

    /// Returns the transmission flags.
    ///
    /// A flush is passed on and the disk is one, so a flush on any connection covers what was answered on all. Trimming
    /// is offered only where it can be done by zeroes: some clients read what they trimmed, and want zeroes.
    pub fn flags(&self) -> u16 {
        let always = export::HAS_FLAGS | export::FLUSH | export::FUA | export::MULTI_CONNECTION;
        let zeroes = if self.geometry.write_zeroes && !self.is_read_only() {
            export::TRIM | export::WRITE_ZEROES | export::FAST_ZERO
        } else {
            0
        };
        let read_only = if self.is_read_only() { export::READ_ONLY } else { 0 };
        always | zeroes | read_only
    }

    /// Returns whether this is its name, or that of the default export.
    pub fn is_called(&self, name: &[u8]) -> bool {
        name.is_empty() || name == self.name.as_bytes()
    }

    /// Says what a request comes to, or why it is refused ("Request types", "Error values").
    pub fn work(&self, header: &RequestHeader, structured: bool) -> Result<Work, Refusal> {
        let RequestHeader { flags, command, offset, length, .. } = *header;
        let allowed = match command {
            command::WRITE_ZEROES => command_flag::FUA | command_flag::NO_HOLE | command_flag::FAST_ZERO,
            _ => command_flag::FUA,
        };
        if flags & !allowed != 0 {
            return refuse(error::EINVAL, "this command does not have such a flag");
        }
        let fua = flags & command_flag::FUA != 0;
        let offered = self.flags();
        match command {
            command::READ => {
                if !structured && length > MAX_PAYLOAD {
                    return refuse(error::EINVAL, "longer than the announced maximum");
                }
                let (at, end) = self.range(offset, length, error::EINVAL)?;
                Ok(Work { op: Op::Read, at, end, fua: false })
            }
            command::WRITE => {
                self.check_writable()?;
                let (at, end) = self.range(offset, length, error::ENOSPC)?;
                Ok(Work { op: Op::Write, at, end, fua })
            }
            command::FLUSH if offset != 0 || length != 0 => {
                refuse(error::EINVAL, "a flush has neither offset nor length")
            }
            command::FLUSH => Ok(Work { op: Op::Flush, at: 0, end: 0, fua: false }),
            // No data is moved for zeroes, wherever they are: the fast way is the only one. They make no holes.
            command::WRITE_ZEROES if self.is_read_only() || offered & export::WRITE_ZEROES != 0 => {
                self.check_writable()?;
                let (at, end) = self.range(offset, length, error::ENOSPC)?;
                Ok(Work { op: Op::WriteZeroes, at, end, fua })
            }
            command::TRIM if self.is_read_only() || offered & export::TRIM != 0 => {
                self.check_writable()?;
                let (at, end) = self.trimmed(offset, length)?;
                Ok(Work { op: Op::WriteZeroes, at, end, fua })
            }
            _ => refuse(error::EINVAL, "this command is not offered"),
        }
    }

    fn check_writable(&self) -> Result<(), Refusal> {
        if self.is_read_only() { refuse(error::EPERM, "the disk is read-only") } else { Ok(()) }
    }

    /// Returns first byte and end of a request, which must be whole blocks.
    fn range(&self, offset: u64, length: u32, beyond: u32) -> Result<(u64, u64), Refusal> {
        let end = self.end(offset, length, beyond)?;
        let block = u64::from(self.geometry.block_bytes);
        if length == 0 || !offset.is_multiple_of(block) || !end.is_multiple_of(block) {
            return refuse(error::EINVAL, "not one or more whole blocks");
        }
        Ok((offset, end))
    }

    /// Returns the whole blocks of a trim, which may begin and end anywhere.
    fn trimmed(&self, offset: u64, length: u32) -> Result<(u64, u64), Refusal> {
        let end = self.end(offset, length, error::EINVAL)?;
        let block = u64::from(self.geometry.block_bytes);
        let at = offset.next_multiple_of(block);
        Ok((at, (end - end % block).max(at)))
    }

    fn end(&self, offset: u64, length: u32, beyond: u32) -> Result<u64, Refusal> {
        match offset.checked_add(length.into()) {
            Some(end) if end <= self.bytes() => Ok(end),
            _ => refuse(beyond, "beyond the end of the disk"),
        }
    }

    /// Checks what people chose: strings must fit the protocol.
    pub fn check_strings(name: &str, description: &str) -> Result<(), String> {
        for (what, text) in [("name", name), ("description", description)] {
            if text.len() > protocol::LONGEST_STRING || text.contains('\0') {
                return Err(format!(
                    "the export's {what} is longer than {} bytes or has a zero byte in it",
                    protocol::LONGEST_STRING
                ));
            }
        }
        Ok(())
    }
}
