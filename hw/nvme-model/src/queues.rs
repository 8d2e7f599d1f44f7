//! Submission and completion queues (section 3.3.1).

use nook_bus::Reach;
use nvme_regs::command::{self, Command};
use nvme_regs::completion;

/// A queue in which the driver leaves commands.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) id: u16,
    base: u64,
    entries: u32,
    head: u32,
    tail: u32,
    pub(crate) cq: u16,
}

impl Submission {
    pub(crate) fn new(id: u16, base: u64, entries: u32, cq: u16) -> Self {
        Submission { id, base, entries, head: 0, tail: 0, cq }
    }

    pub(crate) fn head(&self) -> u16 {
        self.head as u16
    }

    pub(crate) fn has_some(&self) -> bool {
        self.head != self.tail
    }

    /// Moves the tail; false if that is no entry's number.
    pub(crate) fn ring(&mut self, tail: u32) -> bool {
        let valid = tail < self.entries;
        if valid {
            self.tail = tail;
        }
        valid
    }

    /// Takes the next command; `None` if there is none, or it cannot be read.
    pub(crate) fn take(&mut self, reach: &mut Reach) -> Option<Command> {
        if !self.has_some() {
            return None;
        }
        let mut bytes = [0; command::BYTES as usize];
        let at = self.base + u64::from(self.head * command::BYTES);
        self.head = (self.head + 1) % self.entries;
        if !reach.read(at, &mut bytes) {
            return None;
        }
        let mut words = [0; command::WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Some(Command(words))
    }
}

/// A queue in which the controller leaves completions.
#[derive(Debug)]
pub(crate) struct Completions {
    pub(crate) id: u16,
    base: u64,
    entries: u32,
    /// What the driver has taken, and what was left for it.
    head: u32,
    tail: u32,
    phase: bool,
    /// Interrupts with this vector, if it does.
    pub(crate) vector: Option<u16>,
}

impl Completions {
    pub(crate) fn new(id: u16, base: u64, entries: u32, vector: Option<u16>) -> Self {
        Completions { id, base, entries, head: 0, tail: 0, phase: true, vector }
    }

    /// Returns how many entries wait for the driver.
    pub(crate) fn waiting(&self) -> u32 {
        (self.tail + self.entries - self.head) % self.entries
    }

    pub(crate) fn is_full(&self) -> bool {
        self.waiting() == self.entries - 1
    }

    /// Moves the head; false if that is no entry's number, or passes what was left.
    pub(crate) fn ring(&mut self, head: u32) -> bool {
        let valid = head < self.entries && (head + self.entries - self.head) % self.entries <= self.waiting();
        if valid {
            self.head = head;
        }
        valid
    }

    /// Leaves a completion, the half with the phase last; false if there is no memory.
    pub(crate) fn post(&mut self, reach: &mut Reach, mut words: [u32; 4]) -> bool {
        if self.phase {
            words[completion::STATUS_WORD] |= completion::PHASE;
        }
        let halves = [0, 2].map(|at| u64::from(words[at]) | u64::from(words[at + 1]) << 32);
        let at = self.base + u64::from(self.tail * completion::BYTES);
        let there = reach.write(at, &halves[0].to_le_bytes());
        reach.write_back(at + 8, halves[1]);
        self.tail = (self.tail + 1) % self.entries;
        self.phase ^= self.tail == 0;
        there
    }
}
