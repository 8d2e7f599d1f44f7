//! Frames on their way between a driver and what its interface is plugged into.

use nook_abi::net::{PoolLayout, Side};
use vm_memory::VolatileSlice;

/// A frame that a driver received.
#[derive(Clone, Copy)]
pub struct Incoming<'a> {
    first: VolatileSlice<'a>,
    more: &'a [VolatileSlice<'a>],
    /// The device found its checksum of TCP or UDP right, and the operator lets that count.
    pub checked: bool,
}

impl<'a> Incoming<'a> {
    /// Describes a frame in these parts, which follow each other.
    pub fn new(first: VolatileSlice<'a>, more: &'a [VolatileSlice<'a>], checked: bool) -> Self {
        Incoming { first, more, checked }
    }

    /// Returns its length in bytes.
    #[inline]
    pub fn len_bytes(&self) -> usize {
        self.first.len() + self.more.iter().map(VolatileSlice::len).sum::<usize>()
    }

    /// Returns its parts.
    #[inline]
    pub fn parts(&self) -> impl Iterator<Item = VolatileSlice<'a>> + use<'a> {
        std::iter::once(self.first).chain(self.more.iter().copied())
    }

    /// Returns the frame, if it is in one part.
    #[inline]
    pub fn whole(&self) -> Option<VolatileSlice<'a>> {
        self.more.is_empty().then_some(self.first)
    }

    /// Copies the frame's bytes from the one at `at` on into `to`, as far as both go. Returns how many that were.
    #[inline]
    pub fn copy_from(&self, at: usize, to: &mut [u8]) -> usize {
        let (mut skip, mut done) = (at, 0);
        for part in self.parts() {
            if let Ok(rest) = part.offset(skip) {
                done += rest.copy_to(&mut to[done..]);
            }
            skip = skip.saturating_sub(part.len());
        }
        done
    }

    /// Copies the frame's beginning into `to`, as far as both go. Returns how many bytes that were.
    #[inline]
    pub fn copy_to(&self, to: &mut [u8]) -> usize {
        self.copy_from(0, to)
    }
}

impl<'a> From<VolatileSlice<'a>> for Incoming<'a> {
    /// Describes a frame in one part, whose checksum nobody has looked at.
    fn from(first: VolatileSlice<'a>) -> Self {
        Incoming { first, more: &[], checked: false }
    }
}

/// A frame to send that was put into its buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Its length.
    pub len_bytes: usize,
    /// What the driver is to do to it, checked.
    pub side: Option<Side>,
}

/// Where the next frame to send goes: buffers that are filled one after the other, each but the last to its end.
#[derive(Clone, Copy)]
pub struct Room<'a> {
    window: VolatileSlice<'a>,
    pool: PoolLayout,
    /// Ids of the buffers. The last is filled first.
    ids: &'a [u32],
    /// The longest frame that the driver takes, or segment that its device makes.
    pub longest_bytes: usize,
    /// What may be left to the driver: bits of [`offload`](nook_abi::net::offload).
    pub offloads: u32,
}

impl<'a> Room<'a> {
    /// Describes these buffers of a pool, which lie in `window`; the last of `ids` is the first to be filled.
    #[inline]
    pub fn new(
        window: VolatileSlice<'a>,
        pool: PoolLayout,
        ids: &'a [u32],
        longest_bytes: usize,
        offloads: u32,
    ) -> Self {
        Room { window, pool, ids, longest_bytes, offloads }
    }

    /// Describes one buffer, for frames of its length at most and a driver without offloads.
    pub fn one(buffer: VolatileSlice<'a>) -> Self {
        let room_bytes = buffer.len() as u32;
        let pool = PoolLayout { count: 1, stride_bytes: room_bytes, room_bytes, ..PoolLayout::default() };
        Room { window: buffer, pool, ids: &[0], longest_bytes: buffer.len(), offloads: 0 }
    }

    /// Returns how many buffers there are.
    #[inline]
    pub fn count(&self) -> usize {
        self.ids.len()
    }

    /// Returns the room in each, in bytes.
    #[inline]
    pub fn part_bytes(&self) -> usize {
        self.pool.room_bytes as usize
    }

    /// Returns the room in all of them, in bytes.
    #[inline]
    pub fn total_bytes(&self) -> usize {
        self.count() * self.part_bytes()
    }

    /// Returns the buffer at place `at`.
    ///
    /// # Panics
    /// If there are not that many.
    #[inline]
    pub fn part(&self, at: usize) -> VolatileSlice<'a> {
        let PoolLayout { offset, stride_bytes, headroom_bytes, room_bytes, .. } = self.pool;
        let id = self.ids[self.ids.len() - 1 - at];
        let from = u64::from(offset) + u64::from(id) * u64::from(stride_bytes) + u64::from(headroom_bytes);
        // The pool lies inside the window by the layout, and ids are those of its buffers.
        self.window.subslice(from as usize, room_bytes as usize).expect("packet buffers lie inside the window")
    }

    /// Copies `bytes` into the buffers, from byte `at` of the frame on, as far as there is room.
    pub fn copy_from(&self, at: usize, bytes: &[u8]) {
        self.each(at, bytes.len(), |part, from, len| {
            part.copy_from(&bytes[from..from + len]);
        });
    }

    /// Copies `bytes.len()` bytes of the frame out of the buffers, from byte `at` on. Returns how many there were.
    pub fn copy_to(&self, at: usize, bytes: &mut [u8]) -> usize {
        let len = bytes.len();
        self.each(at, len, |part, from, len| {
            part.copy_to(&mut bytes[from..from + len]);
        })
    }

    /// Calls `each` with the pieces of buffers that hold `len` bytes of the frame from `at` on: with the piece, how
    /// many bytes come before it, and how long it is.
    fn each(&self, at: usize, len: usize, mut each: impl FnMut(VolatileSlice<'a>, usize, usize)) -> usize {
        let room = self.part_bytes();
        let mut done = 0;
        while done < len && (at + done) / room < self.count() {
            let (index, within) = ((at + done) / room, (at + done) % room);
            let piece = (len - done).min(room - within);
            let part = self.part(index).subslice(within, piece).expect("a piece lies inside its buffer");
            each(part, done, piece);
            done += piece;
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_into_several_buffers_comes_out_again_wherever_it_begins() {
        let mut memory = [0u8; 4 * 32];
        let pool = PoolLayout { offset: 8, count: 3, stride_bytes: 32, headroom_bytes: 4, room_bytes: 10, reserved: 0 };
        let room = Room::new(VolatileSlice::from(&mut memory[..]), pool, &[1, 0, 2], 30, 0);
        let bytes: Vec<u8> = (1..=30).collect();
        for (at, len) in [(0, 30), (0, 5), (9, 2), (3, 20), (10, 10), (29, 1)] {
            room.copy_from(0, &[0; 30]);
            room.copy_from(at, &bytes[..len]);
            let mut copy = vec![0; len];
            assert_eq!((room.copy_to(at, &mut copy), &copy[..]), (len, &bytes[..len]), "{at} {len}");
        }
        room.copy_from(0, &bytes);
        assert_eq!(room.copy_to(25, &mut [0; 9]), 5);
        let place = |id: usize| &memory[8 + id * 32 + 4..][..10];
        assert_eq!((place(2), place(0), place(1)), (&bytes[..10], &bytes[10..20], &bytes[20..]));
    }
}
