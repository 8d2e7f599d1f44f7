//! What reads have taken out of a device's queues, to be given back.

use std::collections::VecDeque;

/// How many values of one queue are kept. A call that pops more cannot be rolled back.
const MOST: usize = 256;

/// What was popped out of one queue, by reading one register.
#[derive(Default)]
pub(super) struct Popped {
    /// By the transaction that is open, oldest first.
    now: Vec<u64>,
    /// By transactions that were aborted, or ended with their instance, and not read again since; oldest first.
    owed: VecDeque<u64>,
}

impl Popped {
    /// Returns whether something is there to be read that the device no longer has.
    pub(super) fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Returns whether a reset of the device would take something of this away.
    pub(super) fn is_empty(&self) -> bool {
        self.now.is_empty() && self.owed.is_empty()
    }

    /// Takes the next value that is owed.
    pub(super) fn take_owed(&mut self) -> Option<u64> {
        self.owed.pop_front()
    }

    /// Notes what the open transaction was given. Says whether there was room for it.
    pub(super) fn note(&mut self, value: u64) -> bool {
        let room = self.now.len() < MOST;
        if room {
            self.now.push(value);
        }
        room
    }

    /// Makes final what the open transaction was given.
    pub(super) fn commit(&mut self) {
        self.now.clear();
    }

    /// Gives back what the open transaction was given. Says whether that was anything.
    pub(super) fn give_back(&mut self) -> bool {
        let any = !self.now.is_empty();
        for value in self.now.drain(..).rev() {
            self.owed.push_front(value);
        }
        any
    }

    /// Forgets everything: the device was reset, and what it held is gone.
    pub(super) fn clear(&mut self) {
        self.now.clear();
        self.owed.clear();
    }
}

#[cfg(test)]
mod tests {
    use nook_regs::{Ready, Width};

    use super::super::{Aborted, Transactional};
    use super::MOST;
    use crate::PciDevice;
    use crate::scripted::Scripted;

    nook_regs::registers! {
        /// A queue, and what says that there is something in it.
        static MAP = "sample", bar 0, 8 ports;
        /// The queue.
        DATA: u8 at 0x0, Rw, "1", read(Pops), ready(Ready { register: "STATUS", bits: 1 });
        /// Clears the queue, among others.
        CTRL: u8 at 0x2, Rw, "2", write(Reset(2));
        /// Status.
        STATUS: u8 at 0x5, Ro, "3", read(ClearsOr);
    }

    fn device() -> (Transactional<Scripted>, Scripted) {
        let script = Scripted::default();
        (Transactional::new(script.clone(), &MAP), script)
    }

    fn read(device: &mut Transactional<Scripted>, offset: u32) -> u64 {
        device.bar_read(0, offset, Width::B1).unwrap()
    }

    /// Pops these out of the device in a call that is aborted.
    fn popped(device: &mut Transactional<Scripted>, script: &Scripted, values: &[u64]) {
        device.begin();
        for &value in values {
            script.answers(0, value);
            assert_eq!(read(device, 0), value);
        }
        assert!(device.can_roll_back());
        assert_eq!(device.abort(), Aborted { rolled_back: true, causes_owed: true });
    }

    #[test]
    fn what_a_call_popped_that_was_rolled_back_is_read_again_in_order_and_said_to_be_there() {
        let (mut device, script) = device();
        popped(&mut device, &script, &[7, 8]);
        script.answers(0, 9);
        device.begin();
        assert_eq!([read(&mut device, 5), read(&mut device, 0), read(&mut device, 5)], [1, 7, 1]);
        device.abort();
        let again = [0, 5, 0, 5, 0].map(|offset| read(&mut device, offset));
        assert_eq!(again, [7, 1, 8, 0, 9]);
    }

    #[test]
    fn what_a_call_popped_that_was_committed_is_gone() {
        let (mut device, script) = device();
        popped(&mut device, &script, &[7]);
        device.begin();
        assert_eq!(read(&mut device, 0), 7);
        device.commit().unwrap();
        assert_eq!([read(&mut device, 5), read(&mut device, 0)], [0, 0]);
    }

    #[test]
    fn a_driver_that_ends_leaves_what_it_popped_to_the_next() {
        let (mut device, script) = device();
        popped(&mut device, &script, &[7, 8]);
        device.begin();
        assert_eq!(read(&mut device, 0), 7);
        device.forget();
        assert_eq!([5, 0, 5, 0, 5].map(|offset| read(&mut device, offset)), [1, 7, 1, 8, 0]);
    }

    #[test]
    fn a_device_whose_queue_was_cleared_owes_nothing() {
        let (mut device, script) = device();
        popped(&mut device, &script, &[7, 8]);
        device.bar_write(0, 2, Width::B1, 2).unwrap();
        assert_eq!([5, 0].map(|offset| read(&mut device, offset)), [0, 0]);
    }

    #[test]
    fn a_call_that_pops_more_than_is_kept_cannot_be_rolled_back() {
        let (mut device, _) = device();
        device.begin();
        (0..MOST).for_each(|_| assert_eq!(read(&mut device, 0), 0));
        assert!(device.can_roll_back());
        read(&mut device, 0);
        let why = device.irreversible().expect("a reason").to_string();
        assert_eq!(why, "DATA was read, and what a read takes out of it cannot be given back");
    }
}
