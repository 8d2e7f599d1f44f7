use e1000_model::{Behaviour, ModelConfig};
use e1000_regs::rx::{error, status};
use e1000_regs::*;

use crate::rig::{MAC, RCTL_USUAL, RING, Rig, frame, frame_to};

const OTHER: [u8; 6] = [2, 2, 2, 2, 2, 2];
const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 0xfb];

#[test]
fn frames_arrive_in_order_over_many_turns_of_the_ring_and_none_is_lost() {
    for mut rig in [Rig::calm(), Rig::adversarial(1), Rig::adversarial(2)] {
        let total = 100 * RING;
        let mut next = 0;
        let mut seen = Vec::new();
        while seen.len() < total as usize {
            // In bursts that fill the ring.
            for _ in 0..RING.min(total - next) {
                rig.cable.push(frame(60 + next as usize % 1400, next));
                next += 1;
            }
            while seen.len() < next as usize {
                rig.service();
                seen.extend(rig.harvest(true));
            }
        }
        for (number, received) in seen.iter().enumerate() {
            assert_eq!(received.frame, frame(60 + number % 1400, number as u32), "frame {number}");
            assert_eq!(received.word3, status::DD | status::EOP | status::IXSM);
        }
        assert_eq!(rig.read(MPC), 0);
    }
}

#[test]
fn due_says_when_a_frame_is_in_memory() {
    let mut rig = Rig::adversarial(11);
    for number in 0..50 {
        rig.cable.push(frame(100, number));
        rig.service_when_due();
        assert_eq!(rig.harvest(true).len(), 1);
        assert_ne!(rig.read(ICR) & ICR::RXT0, 0);
    }
}

#[test]
fn the_filters_let_through_what_they_say() {
    for mut rig in [Rig::calm(), Rig::adversarial(3)] {
        for (bits, passing) in [
            (0, vec![MAC]),
            (RCTL::BAM, vec![MAC, [0xff; 6]]),
            (RCTL::UPE, vec![MAC, OTHER]),
            (RCTL::MPE, vec![MAC, GROUP]),
            (RCTL::UPE | RCTL::MPE | RCTL::BAM, vec![MAC, OTHER, GROUP, [0xff; 6]]),
        ] {
            rig.write(RCTL, RCTL::EN | RCTL::SECRC | bits);
            for destination in [MAC, OTHER, GROUP, [0xff; 6]] {
                let received = rig.receive(&frame_to(destination, 100, 0));
                assert_eq!(received.is_some(), passing.contains(&destination), "{bits:#x} {destination:x?}");
            }
        }
    }
}

#[test]
fn a_second_address_counts_while_it_is_valid() {
    let mut rig = Rig::calm();
    rig.write(RAL.get(15), 0x0202_0202);
    for (high, passes) in [(0x0202, false), (0x0202 | RAH::AV, true), (0x0203 | RAH::AV, false)] {
        rig.write(RAH.get(15), high);
        assert_eq!(rig.receive(&frame_to(OTHER, 64, 0)).is_some(), passes, "{high:#x}");
    }
    rig.write(RAH.get(15), 0x0202 | RAH::AV | RAH::ASEL.put(1));
    assert_eq!(rig.receive(&frame_to(OTHER, 64, 0)), None, "compared with the source address");
}

#[test]
fn the_multicast_table_is_indexed_as_the_offset_says_and_marks_what_passed() {
    let mut rig = Rig::calm();
    for mo in 0..4 {
        rig.write(RCTL, RCTL_USUAL | RCTL::MO.put(mo));
        assert_eq!(rig.receive(&frame_to(GROUP, 64, 0)), None);
        let (register, bit) = multicast_hash(GROUP, mo);
        rig.write(MTA.get(register), bit);
        let received = rig.receive(&frame_to(GROUP, 64, 0)).expect("its bit is set");
        assert_ne!(received.word3 & status::PIF, 0, "the filter is not exact");
        rig.write(MTA.get(register), 0);
    }
}

#[test]
fn nothing_is_received_while_the_receiver_is_off() {
    let mut rig = Rig::calm();
    rig.write(RCTL, RCTL_USUAL & !RCTL::EN);
    assert_eq!(rig.receive(&frame(64, 0)), None);
    assert_eq!(rig.cable.waiting(), 0, "the cable does not wait");
    assert_eq!(rig.read(TPR), 0);
    rig.write(RCTL, RCTL_USUAL);
    assert!(rig.receive(&frame(64, 1)).is_some());
}

#[test]
fn a_frame_longer_than_a_buffer_takes_several() {
    for mut rig in [Rig::calm(), Rig::adversarial(4)] {
        rig.write(RCTL, RCTL_USUAL | rctl_buffer_size(256).unwrap());
        for (len, buffers) in [(256, 1), (257, 2), (1500, 6)] {
            let before = rig.read(RDH);
            assert_eq!(rig.receive(&frame(len, 7)).unwrap().frame, frame(len, 7));
            assert_eq!((rig.read(RDH) + RING - before) % RING, buffers);
        }
    }
}

#[test]
fn long_frames_need_permission() {
    let mut rig = Rig::calm();
    assert!(rig.receive(&frame(1518, 0)).is_some(), "1522 bytes with the check sequence");
    assert_eq!(rig.receive(&frame(1519, 0)), None);
    assert_eq!((rig.read(ROC), rig.read(RLEC)), (1, 1));
    assert_eq!(rig.receive(&frame_to(OTHER, 1519, 0)), None);
    assert_eq!(rig.read(ROC), 0, "only what passes the filter counts");
    rig.write(RCTL, RCTL_USUAL | RCTL::LPE);
    assert_eq!(rig.receive(&frame(9000, 0)).unwrap().frame, frame(9000, 0));
    assert_eq!(rig.receive(&frame(16380, 0)).unwrap().frame.len(), 16380);
    assert_eq!(rig.read(ROC), 0);
}

#[test]
fn the_check_sequence_is_stored_unless_it_is_stripped() {
    let mut rig = Rig::calm();
    rig.write(RCTL, RCTL_USUAL & !RCTL::SECRC);
    let received = rig.receive(&frame(100, 1)).unwrap().frame;
    assert_eq!(received[..100], frame(100, 1));
    assert_eq!(received.len(), 104);
    // It goes out again as it came in, so it is right.
    rig.send_with(&received, 0);
    rig.settle();
    assert_eq!(rig.cable.sent(), [frame(100, 1)]);
    assert_eq!(rig.read(GORCL), 104);
}

#[test]
fn short_frames_are_padded_by_the_cable() {
    let mut rig = Rig::calm();
    rig.receive(&frame(200, 0)).unwrap();
    let mut short = frame(30, 1);
    let received = rig.receive(&short).unwrap().frame;
    short.resize(60, 0);
    assert_eq!(received, short);
    rig.cable.push(vec![1, 2, 3]);
    rig.settle();
    assert_eq!(rig.harvest(true), [], "not a frame at all");
}

#[test]
fn a_full_ring_keeps_frames_in_the_fifo_and_then_loses_them() {
    for behaviour in [Behaviour::calm(), Behaviour::adversarial()] {
        let behaviour = Behaviour { full_fifo_waits: false, ..behaviour };
        let mut rig = Rig::with(ModelConfig { mac: MAC, seed: 5, behaviour, ..Default::default() });
        let fifo_frames = 48 * 1024 / 1500;
        let (ring, fits) = (RING as usize - 1, RING as usize - 1 + fifo_frames);
        (0..fits as u32 + 10).for_each(|number| rig.cable.push(frame(1500, number)));
        rig.settle();
        assert_eq!(rig.read(RDH), RING - 1, "all descriptors are used");
        assert_eq!(rig.read(MPC), 10);
        assert_eq!(rig.read(RNBC), 1);
        let causes = rig.read(ICR);
        assert_eq!(causes & (ICR::RXO | ICR::RXDMT0 | ICR::RXT0), ICR::RXO | ICR::RXDMT0 | ICR::RXT0);
        let mut seen = rig.harvest(true);
        assert_eq!(seen.len(), ring);
        while seen.len() < fits {
            rig.settle();
            let more = rig.harvest(true);
            assert!(!more.is_empty(), "frames are stuck after {}", seen.len());
            seen.extend(more);
        }
        for (number, received) in seen.iter().enumerate() {
            assert_eq!(received.frame, frame(1500, number as u32), "frame {number}");
        }
        assert!(rig.receive(&frame(60, 0)).is_some());
    }
}

#[test]
fn a_cable_that_waits_loses_nothing() {
    for mut rig in [Rig::calm(), Rig::adversarial(5)] {
        let count = 3 * RING;
        (0..count).for_each(|number| rig.cable.push(frame(1500, number)));
        let mut seen = Vec::new();
        while seen.len() < count as usize {
            rig.settle();
            let more = rig.harvest(true);
            assert!(!more.is_empty(), "frames are stuck after {}", seen.len());
            seen.extend(more);
        }
        assert!((0..).zip(&seen).all(|(number, received)| received.frame == frame(1500, number)));
        assert_eq!(rig.read(MPC), 0);
    }
}

#[test]
fn the_minimum_threshold_is_reported_when_it_is_passed() {
    let mut rig = Rig::calm();
    for (part, threshold) in [(0, RING / 2), (1, RING / 4), (2, RING / 8)] {
        rig.write(RCTL, RCTL_USUAL | RCTL::RDMTS.put(part));
        for used in 1..RING {
            rig.cable.push(frame(60, used));
            rig.service();
            let left = RING - 1 - used;
            assert_eq!(rig.read(ICR) & ICR::RXDMT0 != 0, left == threshold, "{left} of {RING}");
        }
        assert_eq!(rig.harvest(true).len(), RING as usize - 1);
    }
}

#[test]
fn damaged_frames_are_counted_and_shown_only_if_bad_packets_are_stored() {
    let behaviour = Behaviour { receive_errors_ppm: 1_000_000, ..Behaviour::calm() };
    let mut rig = Rig::with(ModelConfig { mac: MAC, behaviour, ..Default::default() });
    assert_eq!(rig.receive(&frame(100, 0)), None);
    assert_eq!((rig.read(CRCERRS), rig.read(GPRC), rig.read(TPR)), (1, 0, 1));
    rig.write(RCTL, RCTL_USUAL | RCTL::SBP);
    let received = rig.receive(&frame(100, 0)).expect("it is stored");
    assert_ne!(received.word3 & error::CE, 0);
    assert_eq!((rig.read(CRCERRS), rig.read(GPRC)), (1, 0));
}

#[test]
fn the_interrupt_waits_for_the_delay_and_a_flush_ends_it() {
    let mut rig = Rig::calm();
    rig.write(RDTR, 100);
    rig.cable.push(frame(60, 0));
    rig.service();
    assert_eq!(rig.harvest(true).len(), 1, "memory does not wait");
    assert_eq!(rig.read(ICR) & ICR::RXT0, 0);
    rig.service_after(100 * DELAY_STEP_NS);
    assert_eq!(rig.read(ICR) & ICR::RXT0, ICR::RXT0);
    rig.cable.push(frame(60, 1));
    rig.service();
    rig.write(RDTR, 100 | RDTR::FPD);
    assert_eq!(rig.read(ICR) & ICR::RXT0, ICR::RXT0);
    rig.settle();
    assert_eq!(rig.read(ICR) & ICR::RXT0, 0, "told once");
}

#[test]
fn small_packets_are_reported_at_once_if_they_shall_be() {
    let mut rig = Rig::calm();
    rig.write(RDTR, 100);
    rig.write(RSRPD, 128);
    for (len, told) in [(129, false), (128, true)] {
        rig.cable.push(frame(len, 0));
        rig.service();
        assert_eq!(rig.read(ICR) & ICR::SRPD != 0, told);
    }
    rig.settle();
    assert_eq!(rig.read(ICR) & ICR::RXT0, 0, "both were reported with it");
}

#[test]
fn parts_of_a_frame_can_be_seen_before_its_end() {
    let seen = (0..20).any(|seed| {
        let mut rig = Rig::adversarial(seed);
        rig.write(RCTL, RCTL_USUAL | rctl_buffer_size(256).unwrap());
        (0..20).any(|number| {
            rig.cable.push(frame(1500, number));
            let mut partial = false;
            for _ in 0..20 {
                rig.service();
                let whole = rig.harvest(true);
                partial |= whole.is_empty() && rig.has_part();
                assert!(whole.iter().all(|received| received.frame == frame(1500, number)));
            }
            partial
        })
    });
    assert!(seen);
}

#[test]
fn a_frame_that_never_fits_does_not_block_the_ones_behind_it() {
    let mut rig = Rig::calm();
    rig.write(RCTL, RCTL_USUAL | RCTL::LPE | rctl_buffer_size(256).unwrap());
    rig.cable.push(frame(256 * RING as usize, 0));
    assert_eq!(rig.receive(&frame(100, 1)).map(|received| received.frame), Some(frame(100, 1)));
    assert_eq!(rig.read(MPC), 1);
}
