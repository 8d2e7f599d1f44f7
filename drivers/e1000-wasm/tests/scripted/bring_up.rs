//! From a chip in any state to a driver that waits to be opened.

use e1000_regs::phy::{ANAR, BMCR, GTCR, bmcr};
use e1000_regs::*;
use e1000_wasm::E1000;
use nook_sdk::{NetDriver, ProbeReason, Register, Status};

use crate::chip::MAC;
use crate::rig::{Rig, bench, probe};

/// Returns the number with which `mac` crosses the boundary.
fn number(mac: [u8; 6]) -> u64 {
    mac.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

#[test]
fn the_address_in_the_eeprom_is_the_interfaces() {
    for (device, mtu_bytes) in [(DEVICE_82540EM, 16_106), (DEVICE_82545EM, 16_106), (DEVICE_82574L, 9212)] {
        let (host, _, driver) = probe(|chip| chip.device = device);
        assert!(driver.is_ok());
        assert!(host.calls().contains(&format!("net_attach [{}, {mtu_bytes}]", number(MAC))));
    }
}

#[test]
fn a_device_of_another_kind_is_not_touched() {
    let (_, chip, driver) = probe(|chip| chip.device = 0x1533);
    assert_eq!(driver.err(), Some(Status::NoDevice));
    assert_eq!(chip.borrow_mut().take_reads(), 0);
    assert!(chip.borrow().registers().is_empty());
}

#[test]
fn an_eeprom_with_a_wrong_checksum_is_refused() {
    let (host, _, driver) = probe(|chip| chip.eeprom[7] ^= 1);
    assert_eq!(driver.err(), Some(Status::Corrupt));
    assert!(!host.calls().iter().any(|call| call.starts_with("net_attach")));
}

#[test]
fn an_address_that_no_card_can_have_is_refused() {
    for mac in [[0; 6], [0xff; 6], [0x01, 0x00, 0x5e, 0, 0, 1]] {
        let (_, _, driver) = probe(|chip| chip.set_address(mac));
        assert_eq!(driver.err(), Some(Status::Corrupt), "{mac:02x?}");
    }
}

#[test]
fn an_eeprom_that_does_not_answer_is_a_timeout() {
    let (_, _, driver) = probe(|chip| chip.eeprom_answers = false);
    assert_eq!(driver.err(), Some(Status::Timeout));
}

#[test]
fn a_phy_access_that_fails_is_the_devices_failure() {
    let (_, _, driver) = probe(|chip| chip.phy_fails = true);
    assert_eq!(driver.err(), Some(Status::DeviceFailed));
}

#[test]
fn a_phy_that_is_not_there_is_the_devices_failure() {
    for nothing in [0, 0xffff] {
        let (_, _, driver) = probe(|chip| chip.phy = [nothing; 32]);
        assert_eq!(driver.err(), Some(Status::DeviceFailed));
    }
}

#[test]
fn a_reset_that_does_not_end_is_a_timeout() {
    let (_, _, driver) = probe(|chip| chip.reset_ends = false);
    assert_eq!(driver.err(), Some(Status::Timeout));
}

#[test]
fn a_phy_in_any_state_ends_up_negotiating() {
    let wrong = bmcr::LOOPBACK | bmcr::POWER_DOWN | bmcr::ISOLATE | bmcr::SPEED_100;
    for state in [0, wrong, bmcr::AN_ENABLE | bmcr::LOOPBACK, u16::MAX] {
        let (_, chip, driver) = probe(|chip| chip.phy[BMCR as usize] = state);
        assert!(driver.is_ok());
        let chip = chip.borrow();
        assert_eq!(chip.phy[BMCR as usize], bmcr::AN_ENABLE);
        assert_eq!((chip.phy[ANAR as usize], chip.phy[GTCR as usize]), (0x0de1, 0x0200));
        assert_eq!(chip.bmcr_writes, [bmcr::AN_ENABLE | bmcr::RESET, bmcr::AN_ENABLE | bmcr::AN_RESTART]);
    }
}

#[test]
fn a_phy_that_offers_something_else_negotiates_again() {
    for (register, value) in [(ANAR, 0x05e1), (GTCR, 0x0300)] {
        let (host, chip, driver) = probe(|_| ());
        drop(driver);
        chip.borrow_mut().phy[register as usize] = value;
        chip.borrow_mut().bmcr_writes.clear();
        assert!(E1000::probe(host.nook(), ProbeReason::Restart).is_ok());
        assert_eq!(chip.borrow().bmcr_writes.last(), Some(&(bmcr::AN_ENABLE | bmcr::AN_RESTART)));
    }
}

#[test]
fn interrupts_are_masked_before_anything_else() {
    let (host, _, driver) = probe(|_| ());
    assert!(driver.is_ok());
    let first = host.calls().into_iter().find(|call| call.starts_with("mmio"));
    assert_eq!(first, Some(format!("mmio_write32 [0, {}, {}]", IMC.offset(), u32::MAX)));
}

#[test]
fn an_interface_that_goes_up_has_buffers_and_asks_for_a_poll() {
    let mut rig = Rig::probed(|_| ());
    rig.provide_rx(256);
    rig.driver.open().unwrap();
    assert_eq!(rig.get(RDT), 256);
    assert!(rig.host.calls().contains(&"poll_schedule [0]".to_owned()));
}

#[test]
fn a_link_that_was_negotiated_before_is_not_broken() {
    let (host, chip, driver) = probe(|_| ());
    drop(driver);
    assert!(!std::mem::take(&mut chip.borrow_mut().bmcr_writes).is_empty());
    // Another instance of the driver, as after a fault.
    assert!(E1000::probe(host.nook(), ProbeReason::Restart).is_ok());
    assert!(chip.borrow().bmcr_writes.is_empty());
}

#[test]
fn dma_is_off_until_the_rings_are_where_they_should_be() {
    let mut rig = Rig::probed(|_| ());
    rig.driver.open().unwrap();
    let calls = rig.host.calls();
    let place = |call: &str| calls.iter().position(|c| c == call).unwrap_or_else(|| panic!("no {call}"));
    let enable = place("dma_enable []");
    let write = |register: Register<u32>, value: u32| format!("mmio_write32 [0, {}, {value}]", register.offset());
    for register in [RDLEN, TDLEN] {
        assert!(place(&write(register, 8192)) < enable);
    }
    for (low, high) in [(RDBAL, RDBAH), (TDBAL, TDBAH)] {
        let (low, high) = (rig.get(low), rig.get(high));
        assert_eq!((low & 0xfff, high), (0, 1), "the rings of the test's host are past 4 GiB");
    }
}

#[test]
fn whatever_was_in_the_registers_the_driver_ends_up_in_the_same_state() {
    let opened = |device: u16, garbage: Option<u32>| {
        let mut rig = Rig::probed(|chip| {
            chip.device = device;
            // As QEMU's: a reset changes nothing.
            chip.resets = false;
            chip.mask = garbage.unwrap_or(0);
            let names = MAP.registers().iter().filter(|info| info.access.writes());
            for info in names {
                for index in 0..info.count {
                    let offset = info.offset + index * info.stride;
                    chip.set(Register::at(offset), garbage.unwrap_or(0).rotate_left(offset));
                }
            }
        });
        assert_eq!(rig.chip().mask, 0, "interrupts are masked from `probe` on");
        rig.driver.open().unwrap();
        let chip = rig.chip();
        let relied_on = [
            CTRL, RCTL, TCTL, TIPG, RDBAL, RDBAH, RDLEN, RDH, RDT, TDBAL, TDBAH, TDLEN, TDH, TDT, RDTR, RADV, RSRPD,
            ITR, TIDV, TADV, RXDCTL, TXDCTL, RXCSUM, PBA, FCAL, FCAH, FCT, FCTTV, FCRTL, FCRTH, RFCTL, MRQC, IAM,
        ];
        // An 82540 has not all of them.
        let relied_on = &relied_on[..if device == DEVICE_82574L { 33 } else { 30 }];
        let mut state: Vec<u32> = relied_on.iter().map(|register| chip.get(*register)).collect();
        state.extend((0..MTA.count()).map(|at| chip.get(MTA.get(at))));
        let valid = |at: &u32| chip.get(RAH.get(*at)) & RAH::AV != 0;
        for at in (0..RAH.count()).filter(valid) {
            state.extend([at, chip.get(RAL.get(at)), chip.get(RAH.get(at))]);
        }
        state.extend([chip.mask, chip.get(MANC) & MANC::ARP_EN]);
        state
    };
    for device in [DEVICE_82540EM, DEVICE_82574L] {
        let clean = opened(device, None);
        for garbage in [u32::MAX, 0xdead_beef, 0x1234_5678] {
            assert_eq!(opened(device, Some(garbage)), clean);
        }
    }
}

#[test]
fn the_phy_of_an_82574_is_given_back_to_the_firmware() {
    let (_, chip, driver) = probe(|chip| chip.device = DEVICE_82574L);
    assert!(driver.is_ok());
    let chip = chip.borrow();
    assert!(!chip.bmcr_writes.is_empty());
    assert_eq!(chip.get(EXTCNF_CTRL) & EXTCNF_CTRL::MDIO_SW, 0);
}

#[test]
fn a_phy_that_the_firmware_keeps_is_a_timeout() {
    let (_, chip, driver) = probe(|chip| {
        chip.device = DEVICE_82574L;
        chip.firmware_has_phy = true;
    });
    assert_eq!(driver.err(), Some(Status::Timeout));
    assert!(chip.borrow().bmcr_writes.is_empty());
}

#[test]
fn an_82574_that_never_ends_its_dma_is_reset_all_the_same() {
    let (_, _, driver) = probe(|chip| {
        chip.device = DEVICE_82574L;
        chip.resets = false;
        chip.set(STATUS, STATUS::GIO_MASTER_ENABLE);
    });
    assert!(driver.is_ok());
}

#[test]
fn reserved_bits_of_an_82574_are_as_its_datasheet_wants_them() {
    let mut rig = Rig::probed(|chip| chip.device = DEVICE_82574L);
    rig.driver.open().unwrap();
    let must_be_set = 1 << 3 | 1 << 20;
    let flow = CTRL::RFCE | CTRL::TFCE;
    assert_eq!(rig.get(CTRL) & !flow, must_be_set | CTRL::SLU);
    rig.driver.stop().unwrap();
    assert_eq!(rig.get(RCTL), 0);
}

#[test]
fn a_receiver_that_is_on_already_is_not_written_to() {
    // QEMU's reset does nothing and its receiver pauses after each write.
    let mut rig = Rig::probed(|chip| chip.resets = false);
    rig.driver.open().unwrap();
    assert_eq!(rig.chip().rctl_writes, 1);
    let (host, chip) = bench();
    chip.borrow_mut().resets = false;
    let rctl = rig.get(RCTL);
    chip.borrow_mut().set(RCTL, rctl);
    let mut driver = E1000::probe(host.nook(), ProbeReason::Restart).unwrap_or_else(|_| panic!("probe"));
    driver.open().unwrap();
    assert_eq!(chip.borrow().rctl_writes, 0);
}
