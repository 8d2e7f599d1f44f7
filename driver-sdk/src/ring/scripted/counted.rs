//! Split virtqueues (OASIS 1.2, section 2.7): the driver writes which buffers it offers and counts them in memory,
//! the device writes which it has used and counts those.

use proptest::prelude::*;
use std::vec::Vec;

use super::orders;
use crate::ring::{ByCounter, CompletionRing};
use crate::testing::{TestHost, TestKernel, Window};
use crate::{DmaRegion, Status};

const BUFFERS: u16 = 8;
/// The used ring's flags and its index stand before it.
const HEAD_BYTES: u32 = 8;
const INDEX: u32 = HEAD_BYTES - 2;

type Used = CompletionRing<TestKernel, { BUFFERS as usize }, 8, ByCounter<16>>;

/// The driver's side: what is offered is an array with an index, for which a region is enough.
struct Driver {
    available: DmaRegion<TestKernel>,
    offered: u16,
    used: Used,
    free: Vec<u32>,
    /// What came back: the buffer and what the device says of it.
    back: Vec<(u32, u32)>,
}

impl Driver {
    fn new(host: &TestHost) -> Self {
        let available = host.nook().dma_alloc(4 + 2 * u32::from(BUFFERS), 4096).unwrap();
        let used = Used::with_head(host.nook(), HEAD_BYTES).unwrap();
        Driver { available, offered: 0, used, free: (0..BUFFERS.into()).collect(), back: Vec::new() }
    }

    fn offer(&mut self) {
        let Some(buffer) = self.free.pop() else { return };
        let bytes = self.available.bytes();
        bytes.write(4 + 2 * u32::from(self.offered % BUFFERS), buffer as u16).unwrap();
        self.offered = self.offered.wrapping_add(1);
        bytes.write(2, self.offered).unwrap();
    }

    fn take(&mut self) -> Result<(), Status> {
        let index: u16 = self.used.head().read(INDEX)?;
        let mut taken = self.used.take_to(index.into())?;
        while let Some(used) = taken.next() {
            let buffer = used.word(0);
            assert!(!self.free.contains(&buffer), "{buffer} was used twice");
            self.free.push(buffer);
            self.back.push((buffer, used.word(1)));
        }
        drop(taken);
        self.used.release();
        Ok(())
    }
}

struct Device {
    window: Window,
    available_iova: u64,
    used_iova: u64,
    taken: u16,
    used: u16,
    pending: Vec<u32>,
    done: Vec<(u32, u32)>,
}

impl Device {
    fn new(host: &TestHost, driver: &Driver) -> Self {
        let (window, available_iova, used_iova) = (host.window(), driver.available.iova(), driver.used.iova());
        Device { window, available_iova, used_iova, taken: 0, used: 0, pending: Vec::new(), done: Vec::new() }
    }

    fn half(&self, iova: u64) -> u16 {
        let mut bytes = [0; 2];
        self.window.read_bytes(iova, &mut bytes);
        u16::from_le_bytes(bytes)
    }

    fn take(&mut self) {
        if self.half(self.available_iova + 2) != self.taken {
            self.pending.push(self.half(self.available_iova + 4 + 2 * u64::from(self.taken % BUFFERS)).into());
            self.taken = self.taken.wrapping_add(1);
        }
    }

    fn finish(&mut self, which: usize) {
        if self.pending.is_empty() {
            return;
        }
        let (buffer, said) = (self.pending.swap_remove(which % self.pending.len()), self.done.len() as u32);
        let element = self.used_iova + 8 * u64::from(self.used % BUFFERS);
        self.window.write(element, buffer);
        self.window.write(element + 4, said);
        self.done.push((buffer, said));
        self.used = self.used.wrapping_add(1);
        self.window.write_bytes(self.used_iova - 2, &self.used.to_le_bytes());
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Offer,
    DeviceTakes,
    DeviceFinishes(usize),
    Take,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Offer),
        Just(Step::DeviceTakes),
        (0..usize::from(BUFFERS)).prop_map(Step::DeviceFinishes),
        Just(Step::Take),
    ]
}

proptest! {
    #![proptest_config(orders())]

    #[test]
    fn every_buffer_comes_back_once_in_the_order_in_which_it_was_used(steps in prop::collection::vec(step(), 1..300)) {
        let host = TestHost::new();
        let mut driver = Driver::new(&host);
        let mut device = Device::new(&host, &driver);
        for step in steps {
            match step {
                Step::Offer => driver.offer(),
                Step::DeviceTakes => device.take(),
                Step::DeviceFinishes(which) => device.finish(which),
                Step::Take => driver.take().unwrap(),
            }
        }
        (0..BUFFERS).for_each(|_| device.take());
        (0..BUFFERS).for_each(|_| device.finish(0));
        driver.take().unwrap();
        assert_eq!((driver.free.len(), &driver.back), (usize::from(BUFFERS), &device.done));
    }
}

#[test]
fn counters_of_16_bits_pass_their_end() {
    let host = TestHost::new();
    let mut driver = Driver::new(&host);
    let mut device = Device::new(&host, &driver);
    for round in 0..66_000u32 {
        driver.offer();
        if round % 5 == 0 {
            driver.offer();
        }
        (0..2).for_each(|_| device.take());
        (0..2).for_each(|_| device.finish(1));
        driver.take().unwrap();
    }
    assert!(driver.back.len() > 70_000);
    assert_eq!(driver.back, device.done);
}

#[test]
fn a_counter_that_says_more_than_there_was_room_for_is_the_devices_failure() {
    let host = TestHost::new();
    let mut driver = Driver::new(&host);
    for index in [BUFFERS + 1, 1000, u16::MAX] {
        host.window().write_bytes(driver.used.iova() - 2, &index.to_le_bytes());
        assert_eq!(driver.take(), Err(Status::DeviceFailed), "{index}");
    }
    assert_eq!(driver.used.take_to(0x1_0000).err(), Some(Status::DeviceFailed));
    assert_eq!(driver.used.taken(), 0);
}
