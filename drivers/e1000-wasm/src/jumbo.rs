//! Frames that are longer than Ethernet's, and so in several receive buffers (sections 3.2.2 and 13.4.22).

use core::cell::Cell;

use e1000_regs::{RCTL, rctl_buffer_size, rx};
use nook_sdk::{DoneBit, Packet, PacketStatus, Reap, Returning, entry_flags};

use crate::offloads;
use crate::verbs::{DD, HEADER_BYTES, LONGEST_BYTES, RING, ends};

/// The largest payload of a frame that the chip takes without RCTL.LPE.
pub(crate) const USUAL_MTU_BYTES: u32 = 1500;
/// What a frame has besides its payload: header, VLAN tag and check sequence.
pub(crate) const AROUND_BYTES: u32 = 14 + 4 + 4;

/// The size of a receive buffer as the chip has it while it takes long frames. It fills one before it goes on to the
/// next, and no size fits the host's buffers between this and one that is larger than they are.
const BUFFER_BYTES: u32 = 1024;

/// What RCTL has besides while the chip takes long frames.
pub(crate) const RCTL_JUMBO: u32 = {
    let size = rctl_buffer_size(BUFFER_BYTES).expect("the chip has receive buffers of this size");
    RCTL::LPE | size
};

/// Which received frames are taken.
#[derive(Clone, Copy)]
pub(crate) struct Taken {
    /// The longest, without check sequence.
    longest_bytes: u32,
    /// In how many descriptors.
    parts: u32,
}

impl Taken {
    /// What a chip without RCTL.LPE receives.
    pub(crate) const USUAL: Taken = Taken { longest_bytes: LONGEST_BYTES, parts: 1 };

    /// Returns what one with it does, of frames with up to this much payload.
    pub(crate) const fn up_to(mtu_bytes: u32) -> Taken {
        // The chip takes the check sequence off (RCTL.SECRC).
        let longest_bytes = mtu_bytes + AROUND_BYTES - 4;
        Taken { longest_bytes, parts: longest_bytes.div_ceil(BUFFER_BYTES) }
    }
}

/// Why a call returns no more frames.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// The chip has done no more.
    Dry,
    /// There is no place for a frame that is there.
    NoRoom,
    /// A frame was given up whose end is not there yet: what comes up to it is no frame.
    GaveUp,
}

/// The receive ring, as far as the chip is done with it.
type Ready<'a> = Reap<'a, Packet, RING, 16, DoneBit<3, DD>>;

/// Takes the frame that comes next out of the ring, if all of it is there, and returns it to the host: whole, or as
/// failed if there is something wrong with it or it is to be `discard`ed. Then its last buffer is the one that says so,
/// and the others are unused. One that does not end within as many buffers as the longest takes is given up, with what
/// there is of its rest. Returns how many descriptors were taken, or 0 if no more can be taken, and why.
#[inline(never)] // Usual frames pass a short loop.
pub(crate) fn take(
    reap: &mut Ready<'_>,
    returning: &mut Returning<'_>,
    taken: &Taken,
    stopped: &Cell<Stopped>,
    discard: bool,
) -> u32 {
    let (mut count, mut bytes, mut good, mut ended) = (0, 0, !discard, false);
    while !ended && count < taken.parts {
        let Some(done) = reap.peek(count) else { return 0 };
        let len_bytes = rx::length_bytes(done.word(rx::LENGTH_WORD));
        (count, bytes, ended) = (count + 1, bytes + len_bytes, ends(&done));
        good &= len_bytes > 0 && len_bytes <= if taken.parts > 1 { BUFFER_BYTES } else { LONGEST_BYTES };
        // Errors are valid with the frame's end (section 3.2.3.2).
        good &= !ended || done.done_word() & rx::error::FRAME == 0;
    }
    if returning.room() < count {
        stopped.set(Stopped::NoRoom);
        return 0;
    }
    good &= ended && (HEADER_BYTES..=taken.longest_bytes).contains(&bytes);
    // The last descriptor says it of the whole frame.
    let checked = good && reap.peek(count - 1).is_some_and(|done| offloads::is_checked(done.done_word()));
    for at in 0..count {
        let (Some(done), Some(place)) = (reap.next(), returning.vacant()) else { return at };
        let last = at + 1 == count;
        if good {
            let first = if at > 0 { 0 } else { entry_flags::FIRST | if checked { entry_flags::CHECKED } else { 0 } };
            let flags = first | if last { entry_flags::LAST } else { 0 };
            place.put(done.kept.received_part(rx::length_bytes(done.word(rx::LENGTH_WORD)), flags));
        } else {
            let status = if last { PacketStatus::Failed } else { PacketStatus::Unused };
            place.put(done.kept.returned(0, status));
        }
    }
    if !ended && !give_back_rest(reap, returning) {
        stopped.set(Stopped::GaveUp);
        return 0;
    }
    count
}

/// Takes what is there of the rest of a frame that was given up. Says whether that is all of it.
#[inline(never)]
pub(crate) fn give_back_rest(reap: &mut Ready<'_>, returning: &mut Returning<'_>) -> bool {
    while let Some(place) = returning.vacant() {
        let Some(done) = reap.next() else { return false };
        place.put(done.kept.returned(0, PacketStatus::Unused));
        if ends(&done) {
            return true;
        }
    }
    false
}
