//! Configuration space, reset, EEPROM, PHY access and statistics.

use e1000_model::{Behaviour, Chip, Model, ModelConfig};
use e1000_regs::*;
use nook_bus::config::{COMMAND, COMMAND_BUS_MASTER, DEVICE, INTERRUPT_PIN, STATUS as PCI_STATUS, VENDOR as ID};
use nook_bus::{BarSpace, DeviceError, PciDevice, ResetKind, Width};

use crate::cable::Cable;
use crate::rig::{MAC, Rig, frame, frame_to};

#[test]
fn it_says_what_it_is() {
    for (chip, name, id) in [(Chip::I82540em, "Intel 82540EM", 0x100e), (Chip::I82545em, "Intel 82545EM", 0x100f)] {
        let mut model = Model::new(ModelConfig { chip, seed: 7, ..Default::default() }, Box::new(Cable::default()));
        assert_eq!(model.describe(), format!("{name} (embedded model, seed 7)"));
        assert_eq!((model.identity().vendor, model.identity().device, model.identity().class), (0x8086, id, 0x02_0000));
        assert_eq!(model.config_read(ID, Width::B4).unwrap(), u32::from(id) << 16 | 0x8086);
        assert_eq!(model.config_read(DEVICE, Width::B2).unwrap(), u32::from(id));
        assert_eq!(model.config_read(INTERRUPT_PIN, Width::B1).unwrap(), 1);
        assert_eq!(model.bars()[0].len_bytes, 0x2_0000);
        assert_eq!(model.bars()[1].space, BarSpace::Io);
        assert_eq!(model.reset().unwrap(), ResetKind::None);
    }
}

#[test]
fn configuration_space_shows_bus_mastering_and_has_256_bytes() {
    let mut rig = Rig::calm();
    let command = rig.model.config_read(COMMAND, Width::B2).unwrap();
    assert_ne!(command & u32::from(COMMAND_BUS_MASTER), 0);
    for (offset, width) in [(0x40, Width::B8), (0x100, Width::B1), (0xff, Width::B2)] {
        let refused = rig.model.config_read(offset, width);
        assert!(matches!(refused, Err(DeviceError::Unsupported(_))), "{offset:#x}");
    }
    rig.model.set_bus_master(false).unwrap();
    assert_eq!(rig.model.config_read(COMMAND, Width::B2).unwrap() & u32::from(COMMAND_BUS_MASTER), 0);
}

#[test]
fn reset_sets_defaults_again_and_takes_the_address_from_the_eeprom() {
    let mut rig = Rig::adversarial(3);
    rig.write(IMS, ICR::LSC);
    rig.write(RAL.get(0), 0);
    rig.write(RAH.get(3), RAH::AV);
    rig.write(VFTA.get(7), 0x1234);
    rig.write(MTA.get(7), 0x5678);
    rig.write(CTRL, CTRL::RST);
    let busy = (0..100).take_while(|_| rig.read(CTRL) & CTRL::RST != 0).count();
    assert!(busy < 10, "CTRL.RST clears itself");
    for (register, value) in
        [(RCTL, 0), (TCTL, 0), (IMS, 0), (ICR, 0), (TDH, 0), (TDT, 0), (RDH, 0), (RDT, 0), (TDLEN, 0), (RDLEN, 0)]
    {
        assert_eq!(rig.read(register), value, "{register:?}");
    }
    assert_eq!(rig.read(PBA), 0x0010_0030);
    assert_eq!((rig.read(VFTA.get(7)), rig.read(MTA.get(7))), (0x1234, 0x5678), "tables are left alone");
    assert_eq!(rig.read(RAL.get(0)), u32::from_le_bytes([MAC[0], MAC[1], MAC[2], MAC[3]]));
    assert_eq!(rig.read(RAH.get(0)), u32::from_le_bytes([MAC[4], MAC[5], 0, 0]) | RAH::AV);
    assert_eq!(rig.read(RAH.get(3)) & RAH::AV, 0);
    assert_eq!(rig.read(STATUS) & STATUS::LU, 0, "CTRL.SLU is clear");
}

#[test]
fn who_waits_for_a_reset_need_not_look_for_its_end() {
    let mut rig = Rig::adversarial(3);
    for _ in 0..20 {
        rig.write(CTRL, CTRL::RST);
        rig.service();
        assert_eq!(rig.read(CTRL) & CTRL::RST, 0);
    }
}

#[test]
fn what_the_manual_leaves_undefined_is_garbage() {
    let garbage = |behaviour| {
        let mut rig = Rig::cold(ModelConfig { behaviour, ..Default::default() });
        let mut any = |register| rig.read(register) != 0;
        (any(GPRC), (0..128).any(|i| any(MTA.get(i))), any(TDBAL), any(TIPG))
    };
    assert_eq!(garbage(Behaviour::adversarial()), (true, true, true, true));
    assert_eq!(garbage(Behaviour::calm()), (false, false, false, false));
}

#[test]
fn rings_are_aligned_whatever_is_written() {
    for seed in 0..20 {
        let mut rig = Rig::cold(ModelConfig { seed, ..Default::default() });
        assert_eq!((rig.read(TDBAL) & 0xf, rig.read(RDBAL) & 0xf), (0, 0));
        rig.write(TDBAL, 0x1234_567f);
        rig.write(TDLEN, 0xffff_ffff);
        assert_eq!((rig.read(TDBAL), rig.read(TDLEN)), (0x1234_5670, 0xf_ff80));
    }
}

fn eeprom_word(rig: &mut Rig, word: u32) -> u16 {
    rig.write(EERD, EERD::START | EERD::ADDR.put(word));
    let answer = (0..100).map(|_| rig.read(EERD)).find(|value| value & EERD::DONE != 0);
    EERD::DATA.get(answer.expect("EERD is never done")) as u16
}

#[test]
fn the_eeprom_has_the_address_and_the_right_sum() {
    for mut rig in [Rig::calm(), Rig::adversarial(9)] {
        let words: Vec<u16> = (0..eeprom::WORDS).map(|word| eeprom_word(&mut rig, word)).collect();
        assert_eq!(words.iter().fold(0u16, |sum, word| sum.wrapping_add(*word)), eeprom::SUM);
        assert_eq!(eeprom::address([words[0], words[1], words[2]]), MAC);
        assert_eq!(words[eeprom::CONTROL1 as usize] & 0xc000, eeprom::CONTROL1_SIGNATURE);
        assert_eq!(eeprom_word(&mut rig, 200), 0xffff);
    }
}

/// Reads a word bit by bit over the pins.
fn eeprom_word_by_pins(rig: &mut Rig, word: u32) -> u16 {
    rig.write(EECD, EECD::EE_REQ);
    let granted = (0..100).any(|_| rig.read(EECD) & EECD::EE_GNT != 0);
    assert!(granted, "the pins are never given");
    let mut clock = |data: u32| {
        let level = EECD::EE_REQ | EECD::CS | (data * EECD::DI);
        rig.write(EECD, level);
        rig.write(EECD, level | EECD::SK);
        let out = rig.read(EECD) & EECD::DO != 0;
        rig.write(EECD, level);
        u16::from(out)
    };
    let command = eeprom::MICROWIRE_READ << 6 | word;
    let dummy = (0..9).rev().map(|bit| clock(command >> bit & 1)).last();
    let value = (0..16).fold(0, |value, _| value << 1 | clock(0));
    rig.write(EECD, EECD::EE_REQ);
    rig.write(EECD, 0);
    assert_eq!(dummy, Some(0), "a zero precedes the word");
    value
}

#[test]
fn the_eeprom_says_the_same_over_its_pins() {
    for mut rig in [Rig::calm(), Rig::adversarial(9)] {
        for word in 0..eeprom::WORDS {
            assert_eq!(eeprom_word_by_pins(&mut rig, word), eeprom_word(&mut rig, word), "word {word}");
        }
    }
}

#[test]
fn the_pins_do_nothing_for_who_was_not_given_them() {
    let mut rig = Rig::calm();
    rig.write(EECD, EECD::CS);
    assert_eq!(rig.read(EECD) & EECD::EE_GNT, 0);
    for bit in [1, 1, 0, 0, 0, 0, 0, 0, 0] {
        rig.write(EECD, EECD::CS | (bit * EECD::DI));
        rig.write(EECD, EECD::CS | (bit * EECD::DI) | EECD::SK);
        assert_ne!(rig.read(EECD) & EECD::DO, 0, "no chip pulls the line down");
    }
}

#[test]
fn an_access_to_the_phy_takes_time_and_interrupts_if_it_shall() {
    let mut rig = Rig::adversarial(4);
    let mut busy = 0;
    for _ in 0..20 {
        rig.write(MDIC, phy::read_command(phy::PHYID1) | MDIC::I);
        busy += (0..100).take_while(|_| rig.read(MDIC) & MDIC::R == 0).count();
        assert_eq!(MDIC::DATA.get(rig.read(MDIC)), phy::ID_82540 >> 16);
        assert_ne!(rig.read(ICR) & ICR::MDAC, 0);
    }
    assert!(busy > 0);
    // It gets ready without being asked, too.
    rig.write(MDIC, phy::read_command(phy::PHYID1) | MDIC::I);
    rig.service();
    assert_ne!(rig.read(ICR) & ICR::MDAC, 0);
}

#[test]
fn registers_are_reached_through_the_io_ports_too() {
    let mut rig = Rig::calm();
    rig.model.bar_write(2, 0, Width::B4, STATUS.offset().into()).unwrap();
    let status = rig.model.bar_read(2, 4, Width::B4).unwrap() as u32;
    assert_eq!(status, rig.read(STATUS));
    rig.model.bar_write(2, 0, Width::B4, u64::MAX).unwrap();
    rig.model.bar_read(2, 4, Width::B4).unwrap();
}

#[test]
fn what_is_not_a_register_is_not_reached() {
    let mut rig = Rig::calm();
    for (bar, offset, width) in
        [(0, 0, Width::B1), (0, 0, Width::B8), (0, BAR0_LEN_BYTES, Width::B4), (1, 0, Width::B4), (2, 8, Width::B4)]
    {
        let refused = rig.model.bar_read(bar, offset, width);
        assert!(matches!(refused, Err(DeviceError::NoSuchRegister { .. })), "BAR {bar} {offset:#x}");
        assert!(rig.model.bar_write(bar, offset, width, 0).is_err());
    }
    // A hole in the map: nothing is kept there.
    rig.model.bar_write(0, 0x0c, Width::B4, 5).unwrap();
    assert_eq!(rig.model.bar_read(0, 0x0c, Width::B4).unwrap(), 0);
}

#[test]
fn statistics_count_what_passed_and_clear_when_they_are_read() {
    for mut rig in [Rig::calm(), Rig::adversarial(5)] {
        rig.send(&frame(60, 0));
        rig.send(&frame_to([0xff; 6], 1000, 1));
        rig.send(&frame_to([1, 0, 0x5e, 0, 0, 1], 100, 2));
        rig.receive(&frame(60, 3)).expect("to us");
        rig.receive(&frame_to([0xff; 6], 1514, 4)).expect("to all");
        assert_eq!(rig.receive(&frame_to([2; 6], 200, 5)), None, "to somebody else");
        let expected = [
            (GPTC, 3),
            (TPT, 3),
            (GOTCL, 64 + 1004 + 104),
            (TOTL, 64 + 1004 + 104),
            (PTC64, 1),
            (PTC127, 1),
            (PTC1023, 1),
            (BPTC, 1),
            (MPTC, 1),
            (GPRC, 2),
            (TPR, 3),
            (GORCL, 64 + 1518),
            (TORL, 64 + 1518 + 204),
            (PRC64, 1),
            (PRC1522, 1),
            (BPRC, 1),
            (MPRC, 0),
        ];
        for (register, value) in expected {
            assert_eq!(rig.read(register), value, "{register:?}");
        }
        for (low, high) in [(GOTCL, GOTCH), (TOTL, TOTH), (GORCL, GORCH), (TORL, TORH)] {
            assert_ne!(rig.read(low), 0, "the lower half stays until the upper is read");
            assert_eq!(rig.read(high), 0);
        }
        for (register, _) in expected {
            assert_eq!(rig.read(register), 0, "{register:?} clears when it is read");
        }
    }
}

#[test]
fn a_master_abort_stands_in_the_status() {
    const RECEIVED_MASTER_ABORT: u32 = 1 << 13;
    let mut rig = Rig::calm();
    rig.write(TDBAH, 0xdead);
    rig.send(&frame(60, 0));
    rig.service();
    assert_ne!(rig.model.config_read(PCI_STATUS, Width::B2).unwrap() & RECEIVED_MASTER_ABORT, 0);
}
