//! What a driver returned and was checked, until it is accepted.

use nook_abi::net::PacketStatus;

/// A receive buffer that the driver returned, checked.
pub(super) struct Returned {
    pub(super) id: u32,
    /// The length of the frame in it, or of the part of one; 0 if there is none to be handed up.
    pub(super) len_bytes: u32,
    /// The device found its checksum right.
    pub(super) checked: bool,
    /// How many of those that follow are parts of the same frame; [`PART`] if this is one of them.
    pub(super) more: u16,
}

/// See [`Returned::more`].
pub(super) const PART: u16 = u16::MAX;

/// How many buffers came back with each [`PacketStatus`] but `Done`.
#[derive(Debug, Default)]
pub(super) struct Others {
    pub(super) failed: u64,
    pub(super) unused: u64,
    pub(super) dropped: u64,
    /// Those in which no frame ended: with whatever status, they do not count as frames.
    pub(super) parts: u64,
}

impl Others {
    pub(super) fn count(&mut self, status: PacketStatus, ends: bool) {
        if !ends {
            self.parts += 1;
            return;
        }
        match status {
            PacketStatus::Done => {}
            PacketStatus::Failed => self.failed += 1,
            PacketStatus::Unused => self.unused += 1,
            PacketStatus::Dropped => self.dropped += 1,
        }
    }
}
