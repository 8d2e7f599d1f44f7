//! What the host sets and asks for.

use e1000_regs::*;
use e1000_wasm::E1000;
use nook_sdk::testing::TestKernel;
use nook_sdk::{MacAddress, NetDriver, NetStats, Register, RxMode, Status};

use crate::chip::MAC;
use crate::rig::Rig;

const GROUP: MacAddress = [0x33, 0x33, 0, 0, 0, 0xfb];

fn mode(promiscuous: bool, all_multicast: bool, multicast: &[MacAddress]) -> RxMode<'_> {
    RxMode { promiscuous, all_multicast, multicast }
}

/// Returns what an address register compares with, if it is valid.
fn exact(rig: &Rig, at: u32) -> Option<MacAddress> {
    let (low, high) = (rig.get(RAL.get(at)), rig.get(RAH.get(at)));
    let [a, b, c, d] = low.to_le_bytes();
    let [e, f, ..] = high.to_le_bytes();
    (high & RAH::AV != 0).then_some([a, b, c, d, e, f])
}

#[test]
fn what_was_set_before_open_is_there_after_it() {
    let mut rig = Rig::probed(|_| ());
    let mac = [2, 0, 0, 0, 0, 9];
    rig.driver.set_mac(mac).unwrap();
    rig.driver.set_rx_mode(mode(false, true, &[GROUP])).unwrap();
    assert!(rig.host.calls().is_empty(), "a chip that is closed is left alone");
    rig.driver.open().unwrap();
    assert_eq!((exact(&rig, 0), exact(&rig, 1), exact(&rig, 2)), (Some(mac), Some(GROUP), None));
    assert_eq!(rig.chip().rctl_writes, 1);
    assert_eq!(rig.get(RCTL) & (RCTL::MPE | RCTL::UPE), RCTL::MPE);
}

#[test]
fn an_address_can_change_while_frames_flow() {
    let mut rig = Rig::open();
    assert_eq!(exact(&rig, 0), Some(MAC));
    rig.driver.set_mac([2, 0, 0, 0, 0, 9]).unwrap();
    assert_eq!(exact(&rig, 0), Some([2, 0, 0, 0, 0, 9]));
    for bad in [[0; 6], GROUP] {
        assert_eq!(rig.driver.set_mac(bad), Err(Status::Invalid));
    }
    assert_eq!(exact(&rig, 0), Some([2, 0, 0, 0, 0, 9]));
}

#[test]
fn a_list_of_groups_touches_neither_the_own_address_nor_the_receiver() {
    let mut rig = Rig::open();
    rig.chip().rctl_writes = 0;
    rig.driver.set_rx_mode(mode(false, false, &[GROUP])).unwrap();
    assert_eq!(exact(&rig, 1), Some(GROUP));
    assert_eq!(rig.chip().rctl_writes, 0);
    let written = |register: Register<u32>| format!("mmio_write32 [0, {},", register.offset());
    assert!(!rig.host.calls().iter().any(|call| call.starts_with(&written(RAH.get(0)))));
    rig.driver.set_rx_mode(mode(false, false, &[])).unwrap();
    assert_eq!(exact(&rig, 1), None);
}

#[test]
fn more_groups_than_address_registers_go_to_the_table_and_leave_it_again() {
    let mut rig = Rig::open();
    let groups: Vec<MacAddress> = (0..40).map(|n| [0x01, 0x00, 0x5e, 0, n, n]).collect();
    rig.driver.set_rx_mode(mode(false, false, &groups)).unwrap();
    for &group in &groups[15..] {
        let (word, bit) = multicast_hash(group, RCTL::MO.get(rig.get(RCTL)));
        assert_ne!(rig.get(MTA.get(word)) & bit, 0, "{group:02x?}");
    }
    rig.driver.set_rx_mode(mode(false, false, &groups[..1])).unwrap();
    assert!((0..MTA.count()).all(|at| rig.get(MTA.get(at)) == 0));
}

#[test]
fn promiscuous_mode_comes_and_goes() {
    let mut rig = Rig::open();
    let before = rig.get(RCTL);
    rig.driver.set_rx_mode(mode(true, false, &[])).unwrap();
    assert_eq!(rig.get(RCTL), before | RCTL::UPE | RCTL::MPE);
    rig.driver.set_rx_mode(mode(false, false, &[])).unwrap();
    assert_eq!(rig.get(RCTL), before);
}

#[test]
fn counters_are_summed_up_from_registers_that_clear() {
    let mut rig = Rig::open();
    for _ in 0..2 {
        for (register, value) in [
            (GPRC, 1),
            (GORCL, 2),
            (GORCH, 3),
            (MPC, 4),
            (MPRC, 5),
            (CRCERRS, 6),
            (RUC, 7),
            (ROC, 8),
            (ALGNERRC, 9),
            (RXERRC, 10),
            (CEXTERR, 11),
            (GPTC, 12),
            (GOTCL, 13),
            (GOTCH, 14),
            (ECOL, 15),
            (LATECOL, 16),
            (COLC, 17),
        ] {
            rig.chip().set(register, value);
        }
        rig.stats();
    }
    let expected = NetStats {
        rx_packets: 2,
        rx_bytes: 2 * (2 + (3 << 32)),
        rx_errors: 2 * (6 + 7 + 8 + 9 + 10 + 11),
        rx_missed: 8,
        rx_crc_errors: 12,
        rx_length_errors: 30,
        multicast: 10,
        tx_packets: 24,
        tx_bytes: 2 * (13 + (14 << 32)),
        tx_errors: 62,
        collisions: 34,
        tx_timeouts: 0,
    };
    assert_eq!(rig.stats(), expected);
    for (name, total) in [("rx_bytes", 2 * (2 + (3 << 32))), ("rx_missed_errors", 8), ("tx_abort_late_coll", 32)] {
        assert_eq!(counted(&rig, name), total, "{name}");
    }
}

/// Returns the total of a counter by its name.
fn counted(rig: &Rig, name: &str) -> u64 {
    let names = E1000::<TestKernel>::COUNTERS;
    let counts = rig.driver.counts();
    assert_eq!(counts.len(), names.len());
    counts[names.iter().position(|own| *own == name).unwrap()]
}

#[test]
fn every_counter_of_the_chip_has_a_name_but_those_of_fibre() {
    let statistics = MAP.registers().iter().filter(|info| info.section.starts_with("13.7."));
    let mut silent = Vec::new();
    for info in statistics {
        let mut rig = Rig::open();
        let before = rig.driver.counts().to_vec();
        rig.chip().set_offset(info.offset, 1);
        rig.stats();
        let grown: Vec<_> =
            rig.driver.counts().iter().zip(&before).filter(|(now, before)| now > before).map(|(now, _)| *now).collect();
        let upper = matches!(info.name, "GORCH" | "GOTCH" | "TORH" | "TOTH");
        match &grown[..] {
            [] => silent.push(info.name),
            [1] if !upper => {}
            [one] if upper && *one == 1 << 32 => {}
            other => panic!("{}: {other:?}", info.name),
        }
    }
    assert_eq!(silent, ["SYMERRS", "SEC"]);
}

#[test]
fn a_chip_that_reads_as_all_ones_does_not_turn_a_counter_back() {
    let mut rig = Rig::open();
    for _ in 0..2 {
        let before = rig.driver.counts().to_vec();
        for register in [GORCL, GORCH, GPRC] {
            rig.chip().set(register, u32::MAX);
        }
        rig.stats();
        assert!(rig.driver.counts().iter().zip(before).all(|(now, before)| *now >= before));
    }
    assert_eq!(counted(&rig, "rx_bytes"), u64::MAX);
}

#[test]
fn of_an_emulation_whose_misses_are_never_cleared_each_counts_once() {
    let mut rig = Rig::probed(|chip| {
        chip.subsystem = (0x1af4, 0x1100);
        (chip.resets, chip.keeps_misses) = (false, true);
        chip.set(MPC, 1000);
    });
    assert_eq!(rig.stats().rx_missed, 0, "before the driver came");
    rig.chip().set(MPC, 1003);
    rig.chip().set(RNBC, 7);
    for _ in 0..3 {
        assert_eq!(rig.stats().rx_missed, 3);
        assert_eq!(counted(&rig, "rx_no_buffer_count"), 7);
    }
}

#[test]
fn what_was_counted_before_the_driver_came_does_not_count() {
    let mut rig = Rig::probed(|chip| {
        chip.resets = false;
        chip.set(GPRC, 1000);
    });
    assert_eq!(rig.stats(), NetStats::default());
}

#[test]
fn what_was_counted_before_the_interface_went_down_still_counts() {
    let mut rig = Rig::open();
    rig.chip().set(GPRC, 5);
    // Here a reset clears the counters.
    rig.driver.stop().unwrap();
    assert_eq!(rig.stats().rx_packets, 5);
}
