//! The link: negotiation, the cable, loopback.

use e1000_regs::phy::{BMCR, BMSR, GTSR, PSSR, bmcr, bmsr, gigabit, pssr};
use e1000_regs::*;

use crate::rig::{RCTL_USUAL, Rig, frame};

/// Waits for the link to be what it should be.
fn wait_for_link(rig: &mut Rig, up: bool) -> u32 {
    for calls in 0..10_000 {
        if (rig.read(STATUS) & STATUS::LU != 0) == up {
            return calls;
        }
        rig.service();
    }
    panic!("the link never gets {}", if up { "up" } else { "down" });
}

#[test]
fn a_link_comes_up_after_negotiation_with_gigabit_and_full_duplex() {
    let mut rig = Rig::adversarial(6);
    rig.set_phy(BMCR, bmcr::AN_ENABLE | bmcr::AN_RESTART);
    rig.service();
    assert_eq!(rig.read(STATUS) & STATUS::LU, 0);
    assert_eq!(rig.phy(BMSR) & (bmsr::LINK | bmsr::AN_COMPLETE), 0);
    assert!(wait_for_link(&mut rig, true) > 10, "negotiation takes time");
    let status = rig.read(STATUS);
    assert_eq!(STATUS::SPEED.get(status), SPEED_1000);
    assert_ne!(status & STATUS::FD, 0);
    rig.phy(BMSR);
    assert_eq!(rig.phy(BMSR) & (bmsr::LINK | bmsr::AN_COMPLETE), bmsr::LINK | bmsr::AN_COMPLETE);
    assert_ne!(rig.phy(GTSR) & gigabit::PARTNER_FULL, 0);
    assert_eq!(rig.phy(PSSR) >> pssr::SPEED_SHIFT, SPEED_1000 as u16);
    assert_eq!(rig.phy(BMCR) & bmcr::AN_RESTART, 0, "it clears itself");
}

#[test]
fn due_says_when_negotiation_ends() {
    let mut rig = Rig::adversarial(9);
    rig.set_phy(BMCR, bmcr::AN_ENABLE | bmcr::AN_RESTART);
    rig.service_when_due();
    assert_ne!(rig.read(STATUS) & STATUS::LU, 0);
}

#[test]
fn the_link_follows_the_cable_and_every_change_is_reported() {
    for mut rig in [Rig::calm(), Rig::adversarial(7)] {
        for plugged in [false, true, false, true] {
            rig.cable.plug(plugged);
            wait_for_link(&mut rig, plugged);
            assert_ne!(rig.read(ICR) & ICR::LSC, 0);
            rig.settle();
            assert_eq!(rig.read(ICR) & ICR::LSC, 0, "told once");
        }
    }
}

#[test]
fn the_mac_sees_the_link_only_if_it_is_let() {
    let mut rig = Rig::calm();
    rig.write(CTRL, 0);
    assert_eq!(rig.read(STATUS) & STATUS::LU, 0);
    assert_ne!(rig.read(ICR) & ICR::LSC, 0);
    assert_ne!(rig.phy(PSSR) & pssr::LINK, 0, "the PHY's link is still there");
}

#[test]
fn a_reset_phy_loses_the_link_and_negotiates_again() {
    let mut rig = Rig::calm();
    rig.write(CTRL, CTRL::SLU | CTRL::PHY_RST);
    rig.settle();
    assert_eq!(rig.read(STATUS) & STATUS::LU, 0, "it is held in reset");
    rig.write(CTRL, CTRL::SLU);
    wait_for_link(&mut rig, true);
    rig.set_phy(BMCR, bmcr::RESET);
    assert_eq!(rig.phy(BMCR), bmcr::AN_ENABLE | bmcr::FULL_DUPLEX | bmcr::SPEED_1000);
    wait_for_link(&mut rig, true);
    rig.set_phy(BMCR, bmcr::AN_ENABLE | bmcr::POWER_DOWN);
    rig.settle();
    assert_eq!(rig.read(STATUS) & STATUS::LU, 0);
}

#[test]
fn without_a_link_descriptors_wait_and_frames_are_lost() {
    let mut rig = Rig::calm();
    rig.cable.plug(false);
    rig.settle();
    let slot = rig.send(&frame(100, 1));
    rig.cable.push(frame(100, 2));
    rig.settle();
    assert!(!rig.is_done(slot));
    assert_eq!(rig.cable.waiting(), 0);
    rig.cable.plug(true);
    rig.settle();
    assert!(rig.is_done(slot));
    assert_eq!(rig.cable.sent(), [frame(100, 1)]);
    assert_eq!(rig.harvest(true), []);
}

#[test]
fn a_cable_that_fails_takes_the_link_down_until_it_works_again() {
    let mut rig = Rig::calm();
    rig.cable.break_it(true);
    rig.send(&frame(100, 1));
    wait_for_link(&mut rig, false);
    rig.settle();
    rig.cable.break_it(false);
    // It asks to be called when it will look again.
    rig.service_when_due();
    assert_ne!(rig.read(STATUS) & STATUS::LU, 0);
    assert!(rig.receive(&frame(100, 2)).is_some());
}

#[test]
fn in_loopback_frames_come_back_and_the_cable_sees_none() {
    for mut rig in [Rig::calm(), Rig::adversarial(8)] {
        for in_phy in [false, true] {
            if in_phy {
                rig.write(RCTL, RCTL_USUAL);
                rig.set_phy(BMCR, bmcr::LOOPBACK | bmcr::SPEED_1000 | bmcr::FULL_DUPLEX);
            } else {
                rig.write(RCTL, RCTL_USUAL | RCTL::LBM.put(1));
            }
            for number in 0..40 {
                rig.send(&frame(300, number));
                rig.cable.push(frame(200, number));
                rig.settle();
                rig.reap();
                let back = rig.harvest(true);
                assert_eq!(back.len(), 1);
                assert_eq!(back[0].frame, frame(300, number));
            }
            assert_eq!(rig.cable.sent(), Vec::<Vec<u8>>::new());
        }
    }
}
