//! A receive ring of bytes: each message has a header of four bytes (a mark and its length) and is padded to a multiple
//! of four, and both may lie across the ring's end.

use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

use super::orders;
use crate::Status;
use crate::ring::ByteRing;
use crate::testing::{TestHost, TestKernel, Window};

const RING: u32 = 64;
const MARK: u16 = 0xa55a;

struct Device {
    window: Window,
    ring_iova: u64,
    position: u32,
    /// Where the driver reads, as it has told.
    read_position: u32,
    sent: Vec<Vec<u8>>,
}

impl Device {
    fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.window.write_bytes(self.ring_iova + u64::from(self.position), &[*byte]);
            self.position = (self.position + 1) % RING;
        }
    }

    /// Writes a message if there is room: the ring is never quite full, or it would look empty.
    fn receive(&mut self, len: usize) {
        let whole = (4 + len as u32).next_multiple_of(4);
        let room = RING - 1 - (self.position.wrapping_sub(self.read_position) & (RING - 1));
        if whole > room {
            return;
        }
        let message: Vec<u8> = (0..len).map(|at| (self.sent.len() * 31 + at) as u8).collect();
        self.put(&MARK.to_le_bytes());
        self.put(&(len as u16).to_le_bytes());
        self.put(&message);
        self.put(&vec![0xee; whole as usize - 4 - len]);
        self.sent.push(message);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Receive(usize),
    /// The driver learns the device's position.
    Look,
    Read(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![(0..50usize).prop_map(Step::Receive), Just(Step::Look), (1..4u32).prop_map(Step::Read)]
}

fn ring(host: &TestHost) -> ByteRing<TestKernel> {
    ByteRing::new(host.nook(), RING, 16).unwrap()
}

fn read(ring: &mut ByteRing<TestKernel>, got: &mut Vec<Vec<u8>>) -> Option<u32> {
    if ring.available_bytes() == 0 {
        return None;
    }
    assert_eq!(ring.read::<u16>(0), Ok(MARK));
    let len_bytes = ring.read::<u16>(2).unwrap();
    let mut message = vec![0; len_bytes.into()];
    ring.read_bytes(4, &mut message).unwrap();
    got.push(message);
    Some(ring.consume((4 + u32::from(len_bytes)).next_multiple_of(4)).unwrap())
}

proptest! {
    #![proptest_config(orders())]

    #[test]
    fn every_message_is_read_once_in_order_and_whole(steps in prop::collection::vec(step(), 1..300)) {
        let host = TestHost::new();
        let mut ring = ring(&host);
        let (window, ring_iova) = (host.window(), ring.iova());
        let mut device = Device { window, ring_iova, position: 0, read_position: 0, sent: Vec::new() };
        let mut got = Vec::new();
        for step in steps.into_iter().chain([Step::Look, Step::Read(u32::MAX)]) {
            match step {
                Step::Receive(len) => device.receive(len),
                Step::Look => ring.written_to(device.position).unwrap(),
                Step::Read(count) => {
                    for _ in 0..count {
                        let Some(position) = read(&mut ring, &mut got) else { break };
                        device.read_position = position;
                    }
                }
            }
        }
        assert_eq!(got, device.sent);
        assert_eq!(ring.position(), device.position);
    }
}

#[test]
fn what_was_not_written_is_neither_read_nor_consumed() {
    let host = TestHost::new();
    let mut ring = ring(&host);
    assert_eq!(ring.written_to(6), Ok(()));
    assert_eq!((ring.read::<u32>(0).is_ok(), ring.read::<u32>(4)), (true, Err(Status::Invalid)));
    assert_eq!(ring.read::<u8>(u32::MAX), Err(Status::Invalid));
    assert_eq!((ring.read_bytes(3, &mut [0; 4]), ring.read_bytes(2, &mut [0; 4])), (Err(Status::Invalid), Ok(())));
    assert_eq!((ring.consume(7), ring.consume(6), ring.available_bytes()), (Err(Status::Invalid), Ok(6), 0));
}

#[test]
fn a_position_outside_or_behind_what_was_written_is_the_devices_failure() {
    let host = TestHost::new();
    let mut ring = ring(&host);
    assert_eq!(ring.written_to(32), Ok(()));
    assert_eq!(ring.consume(8), Ok(8));
    for position in [RING, u32::MAX, 31, 9, 8] {
        assert_eq!(ring.written_to(position), Err(Status::DeviceFailed), "{position}");
    }
    assert_eq!(ring.written_to(7), Ok(()));
    assert_eq!(ring.available_bytes(), RING - 1);
    ring.clear();
    assert_eq!((ring.position(), ring.available_bytes()), (0, 0));
}

#[test]
fn a_ring_is_a_power_of_two_long_and_has_memory_after_it() {
    let host = TestHost::new();
    for len_bytes in [0, 8, 24, 63, 32 << 20] {
        assert_eq!(ByteRing::new(host.nook(), len_bytes, 0).err(), Some(Status::Invalid), "{len_bytes}");
    }
    assert_eq!(ByteRing::new(host.nook(), 16, u32::MAX).err(), Some(Status::Invalid));
    host.take_calls();
    let ring = ByteRing::new(host.nook(), 8192, 16).unwrap();
    assert_eq!((host.take_calls(), ring.len_bytes()), (vec!["dma_alloc [8208, 4096]".into()], 8192));
}
