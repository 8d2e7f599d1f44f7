//! What the driver said of its port, and the bytes between it and the host.

use std::collections::VecDeque;

use nook_abi::Fault;
use nook_abi::serial::{NOTHING, SerialFault};

/// What a driver said of its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SerialPort {
    /// The most bytes that its chip holds each way.
    pub fifo_bytes: u32,
    /// The highest rate, in baud.
    pub most_baud: u32,
}

/// The host's part of the class. What is to be sent survives the instance.
#[derive(Debug, Default)]
pub(crate) struct Port {
    pub(super) attached: Option<SerialPort>,
    /// What no driver has taken.
    pub(super) to_send: VecDeque<u8>,
    /// Nothing of it may be taken now.
    pub(super) held: bool,
    /// What the call that runs, or ran last and is not final, has taken.
    taken: Vec<u8>,
    /// What calls have handed over, and how much of it is final.
    received: Vec<u32>,
    received_finally: usize,
    /// How many the call that runs may still hand over, and could in the beginning.
    left: u32,
    budget: u32,
    /// What calls that are final have taken since this was asked for.
    sent: u64,
    /// The lines from the other side; and as they were when the call began that may be rolled back.
    pub(super) modem: u32,
    modem_before: u32,
}

/// What became of what an instance's last call had moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastCall {
    /// Nothing of it reached the device: it takes and hands over once more.
    Undone,
    /// Parts of it may have; what it handed over is given again by what held the call back.
    InDoubt,
    /// Nothing was held back: what it handed over counts, and of what it took the last may not have left.
    Happened,
}

impl Port {
    pub(crate) fn begin(&mut self) {
        self.attached = None;
        self.left = 0;
        self.modem = 0;
    }

    /// Ends the instance; [`settle`](Self::settle) says what becomes of its last call.
    pub(crate) fn end(&mut self) {}

    #[inline]
    pub(crate) fn begin_call(&mut self) {
        self.modem_before = self.modem;
    }

    #[inline]
    pub(crate) fn commit(&mut self) {
        self.sent += self.taken.len() as u64;
        self.taken.clear();
        self.received_finally = self.received.len();
        self.left = 0;
    }

    pub(crate) fn abort(&mut self) {
        self.undo();
        self.modem = self.modem_before;
    }

    fn undo(&mut self) {
        for byte in self.taken.drain(..).rev() {
            self.to_send.push_front(byte);
        }
        self.received.truncate(self.received_finally);
        self.left = 0;
    }

    /// Ends the last call of an instance that is gone. Returns how many bytes were taken of which it is not known
    /// whether they left.
    pub(super) fn settle(&mut self, last: LastCall) -> u64 {
        let taken = self.taken.len() as u64;
        match last {
            LastCall::Undone => {
                self.undo();
                return 0;
            }
            LastCall::InDoubt => self.received.truncate(self.received_finally),
            LastCall::Happened => {}
        }
        self.commit();
        taken
    }

    /// Allows the next call to hand over this many.
    pub(super) fn allow(&mut self, budget: u32) {
        (self.left, self.budget) = (budget, budget);
    }

    pub(super) fn take_next(&mut self) -> u32 {
        if self.held {
            return NOTHING;
        }
        let Some(byte) = self.to_send.pop_front() else { return NOTHING };
        self.taken.push(byte);
        byte.into()
    }

    pub(super) fn receive(&mut self, value: u32) -> Result<(), Fault> {
        let Some(left) = self.left.checked_sub(1) else {
            return Err(SerialFault::BeyondBudget { budget: self.budget }.into());
        };
        self.left = left;
        self.received.push(value);
        Ok(())
    }

    /// Takes what calls that are final have handed over.
    pub(super) fn take_received(&mut self) -> impl Iterator<Item = u32> + '_ {
        self.received.drain(..std::mem::take(&mut self.received_finally))
    }

    /// Returns how many bytes calls that are final have taken since the last time.
    pub(super) fn take_sent(&mut self) -> u64 {
        std::mem::take(&mut self.sent)
    }
}
