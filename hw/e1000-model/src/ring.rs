//! Descriptor rings (sections 3.2.6 and 3.4), and descriptors that wait to be written back.

use crate::NEVER;
use crate::behaviour::Behaviour;
use e1000_regs::{RDLEN, rx};
use nook_bus::Reach;
use nook_seed::Rng;

/// Receive and transmit rings have the same registers and the same descriptor size.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    base: u64,
    len_bytes: u32,
    head: u32,
    tail: u32,
    /// A descriptor could not be fetched: nothing is tried until somebody does something about it.
    stalled: bool,
}

impl Ring {
    /// Creates a ring whose registers hold anything, as after power-up.
    pub(crate) fn with_base(base: u64) -> Self {
        Ring { base: base & !0xf, ..Ring::default() }
    }

    pub(crate) fn base_low(&self) -> u32 {
        self.base as u32
    }

    pub(crate) fn base_high(&self) -> u32 {
        (self.base >> 32) as u32
    }

    /// Sets the low half of the base. Its low four bits are ignored (sections 13.4.25 and 13.4.36).
    pub(crate) fn set_base_low(&mut self, value: u32) {
        self.base = self.base & !0xffff_ffff | u64::from(value & !0xf);
        self.stalled = false;
    }

    pub(crate) fn set_base_high(&mut self, value: u32) {
        self.base = self.base & 0xffff_ffff | u64::from(value) << 32;
        self.stalled = false;
    }

    pub(crate) fn len_bytes(&self) -> u32 {
        self.len_bytes
    }

    pub(crate) fn set_len_bytes(&mut self, value: u32) {
        self.len_bytes = value & RDLEN::LEN.mask();
        self.stalled = false;
    }

    pub(crate) fn head(&self) -> u32 {
        self.head
    }

    pub(crate) fn tail(&self) -> u32 {
        self.tail
    }

    pub(crate) fn set_head(&mut self, value: u32) {
        self.head = value & 0xffff;
        self.stalled = false;
    }

    pub(crate) fn set_tail(&mut self, value: u32) {
        self.tail = value & 0xffff;
        self.stalled = false;
        if self.tail >= self.count() && self.count() != 0 {
            tracing::debug!(tail = self.tail, descriptors = self.count(), "tail is past the end of the ring");
        }
    }

    /// Returns how many descriptors the ring has.
    #[inline]
    pub(crate) fn count(&self) -> u32 {
        self.len_bytes / rx::DESCRIPTOR_BYTES
    }

    /// Returns how many descriptors are the hardware's; none if head or tail lie outside the ring: hardware would run
    /// after a tail that it never meets, which helps nobody.
    #[inline]
    pub(crate) fn owned(&self) -> u32 {
        let count = self.count();
        if self.stalled || self.head >= count || self.tail >= count {
            0
        } else if self.tail >= self.head {
            self.tail - self.head
        } else {
            count - self.head + self.tail
        }
    }

    /// Returns where the descriptor at the head is.
    #[inline]
    pub(crate) fn address(&self) -> u64 {
        self.base.wrapping_add(u64::from(self.head) * u64::from(rx::DESCRIPTOR_BYTES))
    }

    #[inline]
    pub(crate) fn advance(&mut self) {
        self.head += 1;
        if self.head >= self.count() {
            self.head = 0;
        }
    }

    pub(crate) fn stall(&mut self) {
        self.stalled = true;
    }

    /// Tries again: memory may be there now.
    pub(crate) fn try_again(&mut self) {
        self.stalled = false;
    }
}

/// Descriptors that are done and not yet written back, and the interrupt causes that come with them.
#[derive(Debug)]
pub(crate) struct WriteBacks {
    /// Address and value of the second half of a descriptor.
    waiting: Vec<(u64, u64)>,
    pub(crate) causes: u32,
    /// Causes that a delay timer holds back.
    pub(crate) delayed: bool,
    pub(crate) due_ns: u64,
}

impl WriteBacks {
    /// How many can wait.
    const ROOM: usize = 256;

    pub(crate) fn new() -> Self {
        WriteBacks { waiting: Vec::with_capacity(Self::ROOM), causes: 0, delayed: false, due_ns: NEVER }
    }

    /// Keeps the second half of the descriptor at `descriptor`, or writes all if there is no room.
    #[inline]
    pub(crate) fn push(&mut self, dma: &mut Reach, descriptor: u64, half: u64) {
        if self.waiting.len() == Self::ROOM {
            self.write(dma);
        }
        self.waiting.push((descriptor.wrapping_add(8), half));
    }

    pub(crate) fn write(&mut self, dma: &mut Reach) {
        self.write_some(dma, self.waiting.len());
    }

    /// Writes the oldest `count`.
    fn write_some(&mut self, dma: &mut Reach, count: usize) {
        for (address, half) in self.waiting.drain(..count) {
            dma.write_back(address, half);
        }
    }

    /// Returns whether everything may be written now. A device that is not calm writes a part of it first, which can
    /// end in the middle of a packet, and the rest later.
    pub(crate) fn ripe(&mut self, now_ns: u64, dma: &mut Reach, behaviour: &Behaviour, rng: &mut Rng) -> bool {
        if self.waiting.is_empty() && self.causes == 0 && !self.delayed {
            return false;
        }
        let later = |rng: &mut Rng| now_ns.saturating_add(rng.up_to(behaviour.late_ns));
        if self.due_ns == NEVER {
            self.due_ns = later(rng);
        }
        if now_ns < self.due_ns {
            return false;
        }
        if behaviour.late_ns != 0 && self.waiting.len() > 1 && rng.one_in(4) {
            // At least half, so that the end comes soon.
            let half = self.waiting.len().div_ceil(2);
            self.write_some(dma, half + rng.up_to((self.waiting.len() - half) as u64 - 1) as usize);
            self.due_ns = later(rng);
            return false;
        }
        true
    }

    pub(crate) fn forget(&mut self) {
        self.waiting.clear();
        (self.causes, self.delayed, self.due_ns) = (0, false, NEVER);
    }
}
