//! Frames in several receive descriptors.

use e1000_regs::*;
use nook_sdk::abi::net::{Queue, entry_flags};
use nook_sdk::{NetDriver, Poll, Status};

use crate::rig::{Rig, tally};

const EOP: u32 = rx::status::EOP;
/// As much as the chip writes into one buffer while it takes long frames.
const FULL: u32 = 1024;

/// Returns an open driver whose interface has this MTU.
fn open(mtu_bytes: u32) -> Rig {
    let mut rig = Rig::open();
    rig.driver.set_mtu(mtu_bytes).unwrap();
    rig.collect();
    rig.provide_rx(256);
    rig.deferred();
    rig.rx = tally(0, 0, 0);
    rig
}

fn receive(rig: &Rig, parts: &[(u32, u32)]) {
    parts.iter().for_each(|&(len, word3)| assert!(rig.chip().receive(len, word3)));
}

#[test]
fn an_mtu_is_taken_up_to_what_each_chip_carries() {
    for (device, most) in [(DEVICE_82540EM, 16_106), (DEVICE_82545EM, 16_106), (DEVICE_82574L, 9212)] {
        let mut rig = Rig::probed(|chip| chip.device = device);
        for (mtu_bytes, answer) in [(67, false), (68, true), (1501, true), (most, true), (most + 1, false)] {
            let expected = if answer { Ok(()) } else { Err(Status::Invalid) };
            assert_eq!(rig.driver.set_mtu(mtu_bytes), expected, "{device:x}: {mtu_bytes}");
        }
    }
}

#[test]
fn long_frames_are_asked_for_only_while_the_mtu_does() {
    let mut rig = Rig::open();
    let usual = rig.get(RCTL);
    assert_eq!((usual & RCTL::LPE, rctl_buffer_bytes(usual)), (0, 2048));
    for (mtu_bytes, jumbo) in [(1500, false), (1501, true), (9000, true), (1500, false), (68, false)] {
        rig.chip().rctl_writes = 0;
        let before = rig.get(RCTL) & RCTL::LPE != 0;
        rig.driver.set_mtu(mtu_bytes).unwrap();
        let expected = if jumbo { usual | RCTL::LPE | rctl_buffer_size(FULL).unwrap() } else { usual };
        assert_eq!(rig.get(RCTL), expected, "{mtu_bytes}");
        assert_eq!(PBA::RXA.get(rig.get(PBA)), if jumbo { 40 } else { 48 }, "{mtu_bytes}");
        assert_eq!(rig.chip().rctl_writes > 0, before != jumbo, "{mtu_bytes}: the chip is left alone");
        rig.deferred();
        rig.collect();
        rig.provide_rx(256);
    }
}

#[test]
fn what_the_chip_had_comes_back_when_the_mtu_changes_and_it_goes_on() {
    let mut rig = Rig::open();
    rig.provide_tx(5);
    rig.poll(32);
    receive(&rig, &[(60, EOP), (70, EOP)]);
    rig.driver.set_mtu(9000).unwrap();
    rig.collect();
    assert_eq!((rig.rx.done, rig.rx.unused, rig.rx.failed), (2, 254, 0));
    assert_eq!(rig.tx, tally(0, 5, 0));
    rig.provide_rx(256);
    assert!(rig.deferred().1, "a poll gives the chip buffers again");
    receive(&rig, &[(FULL, 0), (1, EOP)]);
    assert_eq!(rig.poll(32), Poll::Idle);
    assert_eq!(rig.rx, tally(4, 0, 254));
}

#[test]
fn a_frame_in_several_descriptors_comes_back_in_as_many_buffers() {
    let checked = EOP | rx::status::TCPCS;
    for (mtu_bytes, lens) in [
        (9000, vec![1023]),
        (9000, vec![FULL]),
        (9000, vec![FULL, 1]),
        (9000, [[FULL; 8].as_slice(), &[9018 - 8 * FULL]].concat()),
        (1600, [[FULL; 8].as_slice(), &[9018 - 8 * FULL]].concat()),
        (16_106, [[FULL; 15].as_slice(), &[16_124 - 15 * FULL]].concat()),
    ] {
        let mut rig = open(mtu_bytes);
        let parts: Vec<_> = lens.iter().map(|&len| (len, 0)).collect();
        let (last, others) = parts.split_last().unwrap();
        receive(&rig, others);
        rig.driver.poll(0, 256);
        assert!(rig.host.returned(Queue::RxReturn).is_empty(), "the frame has no end yet");
        receive(&rig, &[(last.0, checked)]);
        rig.driver.poll(0, 256);
        let entries = rig.host.returned(Queue::RxReturn);
        assert_eq!(entries.iter().map(|entry| entry.len_bytes).collect::<Vec<_>>(), lens);
        for (at, entry) in entries.iter().enumerate() {
            let first = if at == 0 { entry_flags::FIRST | entry_flags::CHECKED } else { 0 };
            let last = if at + 1 == lens.len() { entry_flags::LAST } else { 0 };
            assert_eq!((entry.flags, entry.status), (first | last, 0), "{lens:?}: {at}");
        }
    }
}

#[test]
fn a_frame_that_is_wrong_in_any_part_fails_once_and_the_next_one_passes() {
    let longest = [[(FULL, 0); 15].as_slice(), &[(16_125 - 15 * FULL, EOP)]].concat();
    for (what, parts) in [
        ("an error at its end", vec![(FULL, 0), (100, EOP | rx::error::CE)]),
        ("an empty part", vec![(FULL, 0), (0, EOP)]),
        ("a part that is longer than the chip's buffers", vec![(FULL + 1, 0), (100, EOP)]),
        ("no header", vec![(5, 0), (8, EOP)]),
        ("more than the longest", longest),
    ] {
        let mut rig = open(9000);
        receive(&rig, &parts);
        receive(&rig, &[(60, EOP)]);
        assert_eq!(rig.poll(256), Poll::Idle, "{what}");
        assert_eq!(rig.rx, tally(1, 1, parts.len() as u32 - 1), "{what}");
    }
}

#[test]
fn a_frame_that_does_not_end_is_given_up_and_what_comes_of_it_later_is_no_frame() {
    let mut rig = open(9000);
    receive(&rig, &[(FULL, 0); 15]);
    rig.poll(256);
    assert_eq!(rig.rx, tally(0, 0, 0));
    receive(&rig, &[(FULL, 0); 30]);
    rig.poll(256);
    assert_eq!(rig.rx, tally(0, 1, 44));
    receive(&rig, &[(FULL, 0), (500, EOP), (60, EOP)]);
    rig.poll(256);
    assert_eq!(rig.rx, tally(1, 1, 46));
}

#[test]
fn a_frame_that_is_given_up_by_the_host_goes_as_a_whole() {
    let mut rig = open(9000);
    receive(&rig, &[(FULL, 0), (FULL, 0)]);
    rig.driver.discard_rx(0);
    rig.collect();
    assert_eq!(rig.rx, tally(0, 0, 0), "it has no end yet");
    receive(&rig, &[(100, EOP), (FULL, 0), (200, EOP)]);
    rig.driver.discard_rx(0);
    rig.collect();
    assert_eq!(rig.rx, tally(0, 1, 2));
    rig.poll(256);
    assert_eq!(rig.rx, tally(2, 1, 2), "the frame behind it");
}

#[test]
fn a_frame_for_which_there_is_no_place_waits_and_is_asked_for_again() {
    let mut rig = open(9000);
    receive(&rig, &[(60, EOP); 250]);
    // The host has not looked at these yet.
    assert_eq!(rig.driver.poll(0, 250), Poll::Again);
    rig.provide_rx(50);
    rig.driver.poll(0, 256);
    receive(&rig, &[(FULL, 0); 8]);
    receive(&rig, &[(100, EOP)]);
    assert_eq!(rig.driver.poll(0, 256), Poll::Again);
    rig.collect();
    assert_eq!(rig.rx, tally(250, 0, 0));
    assert_eq!(rig.poll(256), Poll::Idle);
    assert_eq!(rig.rx, tally(259, 0, 0));
}

#[test]
fn a_stop_in_the_middle_of_a_frame_gives_its_parts_back() {
    let mut rig = open(9000);
    receive(&rig, &[(FULL, 0), (FULL, 0)]);
    rig.poll(32);
    rig.driver.stop().unwrap();
    rig.collect();
    assert_eq!(rig.rx, tally(0, 0, 256));
    assert_eq!(rig.with_driver(), (0, 0));
}
