//! Flow control: what both ends agree on, and what the driver writes to the chip.

use e1000_regs::phy::{ANLPAR, an};
use e1000_regs::*;
use nook_sdk::{Irq, NetDriver};

use crate::rig::{Rig, tally};

const FLOW: u32 = CTRL::RFCE | CTRL::TFCE;
const UP: u32 = STATUS::LU | STATUS::FD | STATUS::SPEED.put(2);

/// Has the link come up, with a partner that offers this.
fn comes_up(rig: &mut Rig, status: u32, offers: u16) {
    for status in [0, status] {
        rig.chip().phy[ANLPAR as usize] = offers;
        rig.chip().set(STATUS, status);
        rig.chip().causes |= ICR::LSC;
        assert_eq!(rig.irq(), Irq::Handled);
        rig.deferred();
    }
}

#[test]
fn both_ends_offers_decide_which_pauses_there_are() {
    for (offers, flow) in [(0, 0), (an::ASYM_PAUSE, CTRL::RFCE), (an::PAUSE, FLOW), (an::PAUSE | an::ASYM_PAUSE, FLOW)]
    {
        let mut rig = Rig::open();
        assert_eq!(rig.get(CTRL) & FLOW, 0);
        let before = rig.get(CTRL);
        comes_up(&mut rig, UP, an::SELECTOR | offers);
        assert_eq!(rig.get(CTRL), before | flow, "{offers:#x}");
        // Another partner on the next cable.
        comes_up(&mut rig, UP, 0);
        assert_eq!(rig.get(CTRL), before);
    }
}

#[test]
fn half_duplex_and_a_phy_that_does_not_answer_have_none() {
    let mut rig = Rig::open();
    comes_up(&mut rig, STATUS::LU | STATUS::SPEED.put(1), an::PAUSE);
    assert_eq!(rig.get(CTRL) & FLOW, 0);
    comes_up(&mut rig, UP, an::PAUSE);
    assert_eq!(rig.get(CTRL) & FLOW, FLOW);
    rig.chip().phy_fails = true;
    comes_up(&mut rig, UP, an::PAUSE);
    assert_eq!(rig.get(CTRL) & FLOW, 0);
}

#[test]
fn in_loopback_nobody_asks_and_after_it_there_is_what_was_agreed_on() {
    for device in [DEVICE_82540EM, DEVICE_82574L] {
        let mut rig = Rig::probed(|chip| chip.device = device);
        rig.driver.open().unwrap();
        rig.deferred();
        comes_up(&mut rig, UP, an::PAUSE);
        rig.driver.set_loopback(true).unwrap();
        rig.deferred();
        assert_eq!(rig.get(CTRL) & FLOW, 0);
        rig.driver.set_loopback(false).unwrap();
        rig.deferred();
        assert_eq!(rig.get(CTRL) & FLOW, FLOW, "{device:#x}");
    }
}

#[test]
fn a_transmitter_that_is_paused_is_not_stuck_until_the_pause_is_over() {
    let mut rig = Rig::open();
    comes_up(&mut rig, UP, an::PAUSE);
    rig.provide_tx(10);
    rig.poll(256);
    rig.chip().set(STATUS, UP | STATUS::TXOFF);
    for _ in 0..10 {
        assert_eq!(rig.tick(), (false, false));
    }
    rig.chip().set(STATUS, UP);
    assert_eq!((rig.tick(), rig.tick()), ((false, true), (true, true)), "and then it is");
    assert_eq!(rig.tx, tally(0, 10, 0));
    assert_eq!(rig.get(CTRL) & FLOW, FLOW, "what was agreed on outlasts the reset");
}

#[test]
fn pause_frames_are_those_of_the_standard_and_come_before_the_buffer_is_full() {
    for (device, bytes) in [(DEVICE_82540EM, 48 * 1024), (DEVICE_82574L, 20 * 1024)] {
        let mut rig = Rig::probed(|chip| chip.device = device);
        rig.driver.open().unwrap();
        assert_eq!((rig.get(FCAL), rig.get(FCAH), rig.get(FCT)), (0x00c2_8001, 0x0100, 0x8808));
        assert_eq!(PBA::RXA.get(rig.get(PBA)) * 1024, bytes);
        let (high, low) = (rig.get(FCRTH), rig.get(FCRTL));
        assert!(high <= bytes - 2 * 1522 && low & !FCRTL::XONE < high && low & FCRTL::XONE != 0);
        assert_ne!(FCTTV::TTV.get(rig.get(FCTTV)), 0);
        assert_ne!(rig.get(RCTL) & RCTL::DPF, 0);
    }
}
