//! Frames that turn round inside the chip.

use e1000_regs::phy::{BMCR, bmcr};
use e1000_regs::*;
use nook_sdk::{NetDriver, RxMode};

use crate::rig::Rig;

const FORCED: u32 = CTRL::FRCSPD | CTRL::FRCDPLX | CTRL::FD | CTRL::SPEED.put(SPEED_1000);

fn opened(device: u16) -> Rig {
    let mut rig = Rig::probed(|chip| chip.device = device);
    rig.driver.open().unwrap();
    rig.host.take_calls();
    rig
}

/// Returns the last link that the driver reported.
fn link(rig: &Rig) -> Option<String> {
    rig.host.calls().into_iter().rfind(|call| call.starts_with("net_link"))
}

#[test]
fn the_phy_of_the_elder_chips_turns_frames_round_at_a_forced_speed() {
    for device in [DEVICE_82540EM, DEVICE_82545EM] {
        let mut rig = opened(device);
        let rctl = rig.get(RCTL);
        rig.driver.set_loopback(true).unwrap();
        let looped = bmcr::LOOPBACK | bmcr::FULL_DUPLEX | bmcr::SPEED_1000;
        assert_eq!(rig.chip().phy[BMCR as usize], looped);
        assert_eq!(rig.get(CTRL), CTRL::SLU | CTRL::ILOS | FORCED);
        assert_eq!(rig.get(RCTL), rctl);
    }
}

#[test]
fn the_mac_of_an_82574_turns_frames_round() {
    let mut rig = opened(DEVICE_82574L);
    let (rctl, phy) = (rig.get(RCTL), rig.chip().phy);
    rig.driver.set_loopback(true).unwrap();
    assert_eq!(rig.get(RCTL), rctl | RCTL::LBM.put(1));
    assert_eq!(rig.get(CTRL) & FORCED, FORCED);
    assert_eq!(rig.chip().phy, phy);
    // Another filter does not end it.
    let everything = RxMode { promiscuous: true, all_multicast: true, multicast: &[] };
    rig.driver.set_rx_mode(everything).unwrap();
    assert_eq!(RCTL::LBM.get(rig.get(RCTL)), 1);
}

#[test]
fn there_is_a_link_in_loopback_whatever_is_on_the_cable() {
    for device in [DEVICE_82540EM, DEVICE_82574L] {
        let mut rig = opened(device);
        rig.driver.set_loopback(true).unwrap();
        assert_eq!(link(&rig), Some("net_link [1, 1000, 1]".into()));
        // The chip says that there is none.
        rig.tick();
        assert_eq!(link(&rig), None);
        rig.driver.set_loopback(false).unwrap();
        assert_eq!(link(&rig), Some("net_link [0, 0, 0]".into()));
    }
}

#[test]
fn after_loopback_the_chip_is_as_it_was() {
    for device in [DEVICE_82540EM, DEVICE_82574L] {
        let mut rig = opened(device);
        let state = |rig: &Rig| [CTRL, RCTL, TCTL].map(|register| rig.get(register));
        let before = (state(&rig), rig.chip().phy);
        rig.driver.set_loopback(true).unwrap();
        rig.driver.set_loopback(false).unwrap();
        assert_eq!((state(&rig), rig.chip().phy), before);
    }
}

#[test]
fn loopback_that_was_asked_for_before_holds_when_the_interface_goes_up_and_through_a_reset() {
    for device in [DEVICE_82540EM, DEVICE_82574L] {
        let mut asked_later = opened(device);
        asked_later.driver.set_loopback(true).unwrap();
        let mut rig = Rig::probed(|chip| chip.device = device);
        rig.driver.set_loopback(true).unwrap();
        for _ in 0..2 {
            rig.driver.open().unwrap();
            for register in [CTRL, RCTL] {
                assert_eq!(rig.get(register), asked_later.get(register));
            }
            assert_eq!(rig.chip().phy, asked_later.chip().phy);
            rig.driver.stop().unwrap();
        }
    }
}
