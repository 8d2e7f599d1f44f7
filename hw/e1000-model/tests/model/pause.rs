//! Flow control: PAUSE frames that are obeyed, and those that are sent.

use e1000_model::{Behaviour, ModelConfig};
use e1000_regs::phy::{ANAR, ANLPAR, BMCR, GTCR, an, bmcr};
use e1000_regs::*;
use nook_bus::PciDevice;

use crate::rig::{MAC, RING, Rig, frame};

/// The address of MAC control frames.
const CONTROL: [u8; 6] = [0x01, 0x80, 0xc2, 0, 0, 0x01];
/// What is asked for, in FCTTV.
const QUANTA: u32 = 200;
/// The same at 1000 Mbit/s.
const PAUSE_NS: u64 = QUANTA as u64 * 512;
/// Where a pause is asked for, and where it is over.
const HIGH: u32 = 30_000;
const LOW: u32 = 15_000;

/// Returns a MAC control frame.
fn control(destination: [u8; 6], opcode: u16, quanta: u16) -> Vec<u8> {
    let mut frame = destination.to_vec();
    frame.extend([2, 0, 0, 0, 0, 1, 0x88, 0x08]);
    frame.extend(opcode.to_be_bytes());
    frame.extend(quanta.to_be_bytes());
    frame.resize(60, 0);
    frame
}

fn pause(quanta: u16) -> Vec<u8> {
    control(CONTROL, 1, quanta)
}

/// Returns a device with flow control both ways, whose PAUSE frames are seen.
fn flows(behaviour: Behaviour) -> Rig {
    with_partner(Behaviour { takes_pauses: false, ..behaviour })
}

fn with_partner(behaviour: Behaviour) -> Rig {
    let mut rig = Rig::with(ModelConfig { mac: MAC, seed: 5, behaviour, ..Default::default() });
    rig.write(FCAL, 0x00c2_8001);
    rig.write(FCAH, 0x0100);
    rig.write(FCT, 0x8808);
    rig.write(FCTTV, QUANTA);
    rig.write(FCRTH, HIGH);
    rig.write(FCRTL, LOW | FCRTL::XONE);
    rig.write(CTRL, CTRL::SLU | CTRL::RFCE | CTRL::TFCE);
    rig
}

fn calm() -> Rig {
    flows(Behaviour::calm())
}

/// Returns whether a frame leaves at once.
fn sends(rig: &mut Rig) -> bool {
    let slot = rig.send(&frame(100, 1));
    rig.service_after(0);
    rig.service_after(0);
    rig.is_done(slot)
}

/// Receives without time passing.
fn arrives(rig: &mut Rig, frame: Vec<u8>) {
    rig.cable.push(frame);
    rig.service_after(0);
}

/// Returns the PAUSE frames that left since the last time, by their time.
fn asked(rig: &Rig) -> Vec<u16> {
    let sent = rig.cable.sent();
    assert!(sent.iter().all(|frame| *frame == {
        let mut own = pause(u16::from_be_bytes([frame[16], frame[17]]));
        own[6..12].copy_from_slice(&MAC);
        own
    }));
    sent.iter().map(|frame| u16::from_be_bytes([frame[16], frame[17]])).collect()
}

/// Fills the ring and then the FIFO with frames of 1500 bytes; the FIFO gets this many.
fn fill(rig: &mut Rig, count: u32) {
    (0..RING - 1 + count).for_each(|number| rig.cable.push(frame(1500, number)));
    rig.service_after(0);
}

#[test]
fn a_pause_holds_frames_back_for_its_time_and_the_device_says_when_it_goes_on() {
    let mut rig = calm();
    arrives(&mut rig, pause(QUANTA as u16));
    assert_ne!(rig.read(STATUS) & STATUS::TXOFF, 0);
    assert!(!sends(&mut rig));
    let (begin_ns, due) = (rig.now_ns, rig.model.service(rig.now_ns).unwrap().due_ns);
    assert_eq!(due, Some(begin_ns + PAUSE_NS));
    rig.service_after(PAUSE_NS - 1);
    assert_eq!(rig.cable.sent(), Vec::<Vec<u8>>::new());
    rig.service_after(1);
    assert_eq!(rig.cable.sent(), [frame(100, 1)]);
    assert_eq!(rig.read(STATUS) & STATUS::TXOFF, 0);
    assert_eq!((rig.read(XOFFRXC), rig.read(XONRXC)), (1, 0));
    assert_eq!((rig.read(TPR), rig.read(GPRC), rig.read(MPRC)), (1, 0, 0), "it is no good frame to the counters");
}

#[test]
fn a_pause_of_no_time_ends_one_and_another_one_begins_again() {
    let mut rig = calm();
    arrives(&mut rig, pause(u16::MAX));
    assert!(!sends(&mut rig));
    arrives(&mut rig, control(MAC, 1, 0));
    assert_eq!(rig.cable.sent().len(), 0);
    rig.service_after(0);
    assert_eq!(rig.cable.sent().len(), 1);
    assert_eq!((rig.read(XOFFRXC), rig.read(XONRXC)), (1, 1));
    for _ in 0..5 {
        arrives(&mut rig, pause(QUANTA as u16));
        rig.service_after(PAUSE_NS / 2);
    }
    assert!(!sends(&mut rig), "each counts from when it came");
}

#[test]
fn without_flow_control_or_full_duplex_such_frames_are_like_others() {
    let mut rig = calm();
    rig.write(CTRL, CTRL::SLU | CTRL::TFCE);
    let rctl = rig.read(RCTL);
    rig.write(RCTL, rctl | RCTL::DPF);
    let received = rig.receive(&control(MAC, 1, u16::MAX)).expect("an ordinary frame");
    assert_eq!(received.frame, control(MAC, 1, u16::MAX));
    assert!(sends(&mut rig));
    assert_eq!((rig.read(XOFFRXC), rig.read(GPRC)), (0, 1));
    let mut rig = calm();
    rig.set_phy(ANAR, an::SELECTOR | an::T100_HALF | an::PAUSE);
    rig.set_phy(GTCR, 0);
    rig.set_phy(BMCR, bmcr::AN_ENABLE | bmcr::AN_RESTART);
    rig.settle();
    assert_eq!(rig.read(STATUS) & (STATUS::FD | STATUS::LU), STATUS::LU);
    arrives(&mut rig, pause(u16::MAX));
    assert!(sends(&mut rig), "half duplex has none");
}

#[test]
fn what_is_passed_to_memory_is_as_rctl_says() {
    for (bits, frame, passes) in [
        (0, control(MAC, 1, 1), true),
        (RCTL::DPF, control(MAC, 1, 1), false),
        (0, control(MAC, 2, 1), false),
        (RCTL::PMCF, control(MAC, 2, 1), true),
        // To the filter it is a group as any.
        (0, pause(1), false),
        (RCTL::MPE, pause(1), true),
        (RCTL::MPE | RCTL::DPF, pause(1), false),
    ] {
        let mut rig = calm();
        let rctl = rig.read(RCTL);
        rig.write(RCTL, rctl | bits);
        assert_eq!(rig.receive(&frame).is_some(), passes, "{bits:#x} {:02x?}", &frame[..16]);
        let unknown = u32::from(frame[15] == 2);
        assert_eq!((rig.read(XOFFRXC), rig.read(FCRUC)), (1 - unknown, unknown));
    }
}

#[test]
fn a_damaged_pause_is_not_obeyed() {
    let mut rig = flows(Behaviour { receive_errors_ppm: 1_000_000, ..Behaviour::calm() });
    arrives(&mut rig, pause(u16::MAX));
    assert!(sends(&mut rig));
    assert_eq!((rig.read(XOFFRXC), rig.read(CRCERRS)), (0, 1));
}

#[test]
fn a_pause_ends_with_the_link() {
    let mut rig = calm();
    arrives(&mut rig, pause(u16::MAX));
    rig.cable.plug(false);
    rig.service_after(0);
    rig.cable.plug(true);
    rig.service_after(0);
    rig.service_after(0);
    assert!(sends(&mut rig));
}

#[test]
fn a_fifo_that_gets_full_asks_for_a_pause_and_says_when_there_is_room() {
    let mut rig = calm();
    fill(&mut rig, HIGH / 1500 - 1);
    assert!(asked(&rig).is_empty());
    fill(&mut rig, 10);
    assert_eq!(asked(&rig), [QUANTA as u16], "once");
    assert_eq!(rig.cable.waiting(), 10 + RING as usize - 2, "the partner obeys at once");
    rig.service_after(PAUSE_NS / 2);
    while rig.harvest(true).len() == RING as usize - 1 && asked(&rig).is_empty() {
        rig.service_after(0);
    }
    rig.settle();
    rig.harvest(true);
    rig.settle();
    let (xoff, xon) = (rig.read(XOFFTXC), rig.read(XONTXC));
    assert!(xoff >= 1 && xon >= 1 && xoff - xon <= 1, "{xoff} {xon}");
    assert_eq!(rig.read(MPC), 0);
    assert_eq!(rig.read(GPTC), 0, "PAUSE frames are no good frames to the counters");
    assert_eq!(rig.read(TPT), xoff + xon);
}

#[test]
fn a_partner_that_obeys_goes_on_when_the_time_is_over_and_one_that_does_not_is_asked_once_more() {
    let mut rig = flows(Behaviour { sends_xon: false, ..Behaviour::calm() });
    fill(&mut rig, HIGH / 1500 + 5);
    assert_eq!((asked(&rig).len(), rig.cable.waiting()), (1, 5));
    assert_eq!(rig.harvest(true).len(), RING as usize - 1);
    rig.service_after(PAUSE_NS - 1);
    assert_eq!(rig.cable.waiting(), 5);
    rig.service_after(1);
    assert_eq!(rig.cable.waiting(), 0);
    let mut rig = flows(Behaviour { full_fifo_waits: false, ..Behaviour::calm() });
    fill(&mut rig, 48 * 1024 / 1500 + 20);
    assert_eq!(asked(&rig), [QUANTA as u16; 2]);
    assert_eq!(rig.read(MPC), 20);
}

#[test]
fn software_sends_a_pause_while_it_is_held_back_itself() {
    let mut rig = calm();
    arrives(&mut rig, pause(u16::MAX));
    let tctl = rig.read(TCTL);
    rig.write(TCTL, tctl | TCTL::SWXOFF);
    rig.write(FCTTV, 0);
    rig.write(TCTL, tctl | TCTL::SWXOFF);
    assert_eq!(rig.read(TCTL), tctl, "it clears itself");
    assert_eq!(asked(&rig), [QUANTA as u16, 0]);
    assert_eq!((rig.read(XOFFTXC), rig.read(XONTXC)), (1, 1));
}

#[test]
fn a_partner_that_takes_pauses_obeys_them_and_hands_none_on() {
    let mut rig = with_partner(Behaviour::calm());
    fill(&mut rig, HIGH / 1500 + 5);
    assert_eq!((rig.cable.sent().len(), rig.read(XOFFTXC), rig.cable.waiting()), (0, 1, 5));
}

#[test]
fn the_partner_offers_what_it_is_made_to() {
    for offers in [0, an::PAUSE, an::ASYM_PAUSE, an::PAUSE | an::ASYM_PAUSE] {
        let mut rig = flows(Behaviour { partner_offers: offers, ..Behaviour::calm() });
        assert_eq!(rig.phy(ANLPAR) & (an::PAUSE | an::ASYM_PAUSE), offers);
    }
}

#[test]
fn a_partner_that_pauses_without_a_reason_delays_frames_and_loses_none() {
    let mut rig = flows(Behaviour { pauses_one_in: 2, ..Behaviour::adversarial() });
    for number in 0..200 {
        rig.send(&frame(100, number));
        rig.settle();
        rig.reap();
    }
    assert!((0..).zip(rig.cable.sent()).all(|(number, sent)| sent == frame(100, number)));
    assert!(rig.read(XOFFRXC) > 100);
}
