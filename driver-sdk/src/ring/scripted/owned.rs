//! The driver fills slots, and a bit in each says whose it is.

use proptest::prelude::*;
use std::vec::Vec;

use super::orders;
use crate::ring::{DescriptorRing, DoneBit, InSlot, OwnBit};
use crate::testing::{TestHost, TestKernel, Window};

const SLOTS: usize = 8;
/// The bit, in the last word of the slot.
const BIT: u32 = 1 << 31;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The driver fills this many, if there is room.
    Fill(u32),
    Publish,
    /// The device works through this many, if it has them.
    Work(u32),
    /// The driver reclaims this many, if they are done.
    Reap(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..SLOTS as u32 + 2).prop_map(Step::Fill),
        Just(Step::Publish),
        (1..SLOTS as u32 + 2).prop_map(Step::Work),
        (1..SLOTS as u32 + 2).prop_map(Step::Reap),
    ]
}

/// A device that takes descriptors up to its tail register and turns the bit round in each.
struct Device {
    window: Window,
    ring_iova: u64,
    slot_bytes: u64,
    head: u32,
    tail: u32,
    /// What stood in the first word of each descriptor, in the order in which they were worked through.
    seen: Vec<u32>,
}

impl Device {
    fn work(&mut self) -> bool {
        if self.head == self.tail {
            return false;
        }
        let slot = self.ring_iova + u64::from(self.head) * self.slot_bytes;
        let (first, last) = (self.window.read(slot), slot + self.slot_bytes - 4);
        self.seen.push(first);
        self.window.write(slot + 4, !first);
        self.window.write(last, self.window.read(last) ^ BIT);
        self.head = (self.head + 1) % SLOTS as u32;
        true
    }
}

/// `fresh` is the last word, upper half, of a descriptor for the device.
fn play<const SLOT: usize, const WORDS: usize, D: InSlot>(steps: &[Step], fresh: u64) {
    let host = TestHost::new();
    let mut ring = DescriptorRing::<TestKernel, u32, SLOTS, SLOT, D>::new(host.nook()).unwrap();
    let (window, ring_iova) = (host.window(), ring.iova());
    let mut device = Device { window, ring_iova, slot_bytes: SLOT as u64, head: 0, tail: 0, seen: Vec::new() };
    let (mut filled, mut published, mut reaped) = (0, 0, 0);
    let end = [Step::Publish, Step::Work(u32::MAX), Step::Reap(u32::MAX)];
    for step in steps.iter().chain(&end) {
        match *step {
            Step::Fill(count) => {
                let mut fill = ring.fill();
                for _ in 0..count {
                    let Some(slot) = fill.vacant() else { break };
                    assert_eq!(slot.index(), filled % SLOTS as u32);
                    let mut words = [0; WORDS];
                    words[0] = u64::from(filled);
                    words[WORDS - 1] |= fresh << 32;
                    slot.put(words, filled);
                    filled += 1;
                }
                assert!(filled - reaped < SLOTS as u32, "one slot stays empty");
            }
            Step::Publish => {
                let tail = ring.publish();
                assert_eq!(tail, (filled != published).then_some(filled % SLOTS as u32));
                (published, device.tail) = (filled, tail.unwrap_or(device.tail));
            }
            Step::Work(count) => {
                for _ in 0..count {
                    if !device.work() {
                        break;
                    }
                }
            }
            Step::Reap(count) => {
                let mut reap = ring.reap();
                for _ in 0..count {
                    let Some(done) = reap.next() else { break };
                    assert_eq!((done.kept, done.word(1)), (reaped, !reaped));
                    reaped += 1;
                }
                drop(reap);
                assert!(reaped as usize <= device.seen.len());
                assert_eq!((ring.reaped(), ring.in_flight()), (reaped, published - reaped));
            }
        }
    }
    assert_eq!((reaped, ring.in_flight()), (filled, 0));
    assert!(device.seen.into_iter().eq(0..filled), "the device saw each descriptor once, in order");
}

proptest! {
    #![proptest_config(orders())]

    #[test]
    fn descriptors_of_16_bytes_with_a_done_bit_pass_in_order(steps in prop::collection::vec(step(), 1..80)) {
        play::<16, 2, DoneBit<3, BIT>>(&steps, 0);
    }

    #[test]
    fn descriptors_of_32_bytes_that_are_the_devices_while_a_bit_is_set_pass_in_order(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        play::<32, 4, OwnBit<7, BIT>>(&steps, BIT.into());
    }
}
