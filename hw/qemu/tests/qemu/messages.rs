//! Message signalled interrupts.
//!
//! Layouts: DPDK 22.11, drivers/net/vmxnet3/base/vmxnet3_defs.h.

use crate::rig::*;
use nook_bus::{IrqKind, PciDevice, Width};
use nook_net_api::Wire;

/// BAR 0: the interrupt masks, 8 bytes apart. BAR 1: shared area, command.
const IMR: u32 = 0x00;
const DSAL: u32 = 0x10;
const CMD: u32 = 0x20;
const ACTIVATE_DEV: u64 = 0xcafe_0000;

/// The shared area and the queues' descriptors in the window; rings of zeros, in which nothing is the card's.
const SHARED: u64 = 0x1_0000;
const QUEUES: u64 = 0x1_1000;
const RINGS: u64 = 0x1_2000;
const QUEUE_BYTES: u64 = 256;
/// The vector of both queues; that of events is 0.
const VECTOR: u32 = 1;

/// Activates the card: it finds no room for what it receives, and interrupts because of it.
fn activate(rig: &mut Rig) {
    rig.card.dma_map(&rig.window.clone(), LOW).unwrap();
    rig.card.set_bus_master(true).unwrap();
    rig.put(SHARED, &0xbabe_fee1u32.to_le_bytes());
    rig.put(SHARED + 40, &(LOW + QUEUES).to_le_bytes());
    rig.put(SHARED + 56, &1500u32.to_le_bytes());
    // One queue each way.
    rig.put(SHARED + 62, &[1, 1]);
    // Interrupts are masked when they fire.
    rig.put(SHARED + 80, &[1, 2, 0]);
    // Own and broadcast frames.
    rig.put(SHARED + 120, &5u32.to_le_bytes());
    for queue in [QUEUES, QUEUES + QUEUE_BYTES] {
        for (at, ring) in [(16, 0), (24, 0x1000), (32, 0x2000)] {
            rig.put(queue + at, &(LOW + RINGS + ring).to_le_bytes());
        }
        for at in [56, 60, 64] {
            rig.put(queue + at, &32u32.to_le_bytes());
        }
        rig.put(queue + 72, &[VECTOR as u8]);
    }
    for (register, value) in [(DSAL, LOW + SHARED), (DSAL + 8, 0), (CMD, ACTIVATE_DEV)] {
        rig.card.bar_write(1, register, Width::B4, value).unwrap();
    }
    assert_eq!(rig.card.bar_read(1, CMD, Width::B4).unwrap(), 0, "it is not active");
}

fn mask(rig: &mut Rig, masked: bool) {
    rig.card.bar_write(0, IMR + 8 * VECTOR, Width::B4, masked.into()).unwrap();
    rig.card.flush().unwrap();
}

#[test]
fn a_message_fires_its_vector_and_no_other() {
    let mut rig = Rig::new(model("vmxnet3"));
    assert_eq!(rig.card.irq_enable(2).unwrap(), (IrqKind::MsiX, 2));
    activate(&mut rig);
    mask(&mut rig, false);
    assert_eq!(rig.service().irqs, 0);
    assert!(!readable(&rig), "something is to be fetched from an idle card");

    assert!(rig.wire.send(&frame(1)).unwrap());
    wait("a sleeper to be woken", || readable(&rig));
    assert_eq!(rig.service().irqs, 1 << VECTOR);
    assert_eq!(rig.service().irqs, 0, "it was fetched");

    // The card has masked it, and keeps the next one until it is let.
    assert!(rig.wire.send(&frame(2)).unwrap());
    wait("the interrupt that was kept", || {
        assert_eq!(rig.service().irqs, 0, "it fired while the card had it masked");
        mask(&mut rig, false);
        rig.service().irqs == 1 << VECTOR
    });

    mask(&mut rig, true);
    rig.card.irq_disable().unwrap();
    assert_eq!(rig.service().irqs, 0);
    assert!(!readable(&rig));
    assert_eq!(rig.card.irq_enable(2).unwrap(), (IrqKind::MsiX, 2), "it can be had again");
}

/// MSI-X's message control (PCI 3.0, section 6.8.2.3) as the card has it: whether messages are on, and all masked.
fn control(rig: &mut Rig) -> [bool; 2] {
    let mut read = |offset: u32| rig.card.config_read(offset as u16, Width::B2).unwrap();
    let mut at = read(0x34) & 0xff;
    while read(at) & 0xff != 0x11 {
        at = read(at) >> 8;
        assert_ne!(at, 0, "it has no MSI-X");
    }
    let control = read(at + 2);
    [control & 1 << 15 != 0, control & 1 << 14 != 0]
}

#[test]
fn messages_that_are_given_up_are_masked_and_turned_off_when_the_line_is_wanted() {
    let mut rig = Rig::new(model("vmxnet3"));
    assert_eq!(control(&mut rig), [false, false]);
    for _ in 0..2 {
        assert_eq!(rig.card.irq_enable(2).unwrap(), (IrqKind::MsiX, 2));
        assert_eq!(control(&mut rig), [true, false]);
        rig.card.irq_disable().unwrap();
        assert_eq!(control(&mut rig), [true, true]);
    }
    assert_eq!(rig.card.irq_enable(1).unwrap(), (IrqKind::Intx, 1));
    assert_eq!(control(&mut rig), [false, false]);
}

#[test]
fn who_wants_one_vector_gets_the_line() {
    let mut rig = Rig::new(model("vmxnet3"));
    assert_eq!(rig.card.irq_enable(1).unwrap(), (IrqKind::Intx, 1));
}

#[test]
fn no_more_vectors_are_given_than_there_are() {
    let mut rig = Rig::new(model("vmxnet3"));
    let (kind, vectors) = rig.card.irq_enable(32).unwrap();
    assert_eq!(kind, IrqKind::MsiX);
    assert!((2..32).contains(&vectors), "{vectors}");
}

#[test]
fn a_card_without_messages_has_its_line_whatever_is_wanted() {
    assert_eq!(Rig::new(model("e1000")).card.irq_enable(4).unwrap(), (IrqKind::Intx, 1));
    assert_eq!(Rig::new(model("e1000e")).card.irq_enable(4).unwrap().0, IrqKind::MsiX);
}
