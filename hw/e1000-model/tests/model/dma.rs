//! What the device reaches, and that it reaches nothing else.

use e1000_regs::tx::{self, command};
use e1000_regs::{GPRC, ICR, MPC, RCTL, RDBAH, RDBAL, TDBAL, TDH};
use nook_bus::{DeviceError, DmaWindow, PciDevice, WINDOW_ALIGN};
use vm_memory::Bytes;

use crate::rig::{IOVA, RCTL_USUAL, Rig, TX_BUFFERS, frame};

#[test]
fn a_payload_outside_windows_is_not_sent_and_counted() {
    let mut rig = Rig::calm();
    for address in [0, IOVA - 1, IOVA + WINDOW_ALIGN - 50, IOVA + WINDOW_ALIGN, u64::MAX, u64::MAX - 50] {
        let faults = rig.model.dma_faults();
        let slot = rig.put(tx::legacy(address, 100, command::EOP | command::RS | command::IFCS));
        rig.doorbell();
        rig.settle();
        assert!(rig.is_done(slot));
        assert_eq!(rig.model.dma_faults(), faults + 1, "{address:#x}");
        assert_eq!(rig.cable.sent(), Vec::<Vec<u8>>::new());
        rig.reap();
    }
    rig.send(&frame(100, 1));
    rig.settle();
    assert_eq!(rig.cable.sent(), [frame(100, 1)]);
}

#[test]
fn a_receive_buffer_outside_windows_is_not_written_and_counted() {
    let mut rig = Rig::calm();
    rig.poke(0x1000, e1000_regs::rx::fresh(IOVA + WINDOW_ALIGN - 10));
    assert!(rig.receive(&frame(100, 1)).is_some_and(|received| received.frame != frame(100, 1)));
    assert_eq!(rig.model.dma_faults(), 1);
    assert_eq!(rig.receive(&frame(100, 2)).unwrap().frame, frame(100, 2));
}

#[test]
fn a_ring_outside_windows_stops_and_is_counted_once() {
    let mut rig = Rig::calm();
    rig.write(TDBAL, 0x10);
    rig.write(RDBAL, 0x10);
    rig.write(RDBAH, 0);
    rig.send(&frame(100, 1));
    assert_eq!(rig.receive(&frame(100, 2)), None);
    assert_eq!(rig.model.dma_faults(), 2, "one for each ring, not one for each call");
    assert_eq!(rig.read(TDH), 0);
}

#[test]
fn without_bus_mastering_memory_is_not_touched() {
    for mut rig in [Rig::calm(), Rig::adversarial(1)] {
        rig.model.set_bus_master(false).unwrap();
        let before = rig.bytes(0, WINDOW_ALIGN as usize);
        rig.cable.push(frame(100, 2));
        rig.settle();
        let slot = rig.put(tx::legacy(IOVA + u64::from(TX_BUFFERS), 100, command::EOP | command::RS | command::IFCS));
        let with_descriptor = rig.bytes(0, WINDOW_ALIGN as usize);
        rig.doorbell();
        rig.settle();
        assert_eq!(rig.model.dma_faults(), 2);
        assert!(rig.bytes(0, WINDOW_ALIGN as usize) == with_descriptor && before != with_descriptor);
        assert!(!rig.is_done(slot));
        rig.model.set_bus_master(true).unwrap();
        rig.settle();
        assert!(rig.is_done(slot));
        assert_eq!(rig.harvest(true).len(), 1, "it waited in the FIFO");
    }
}

#[test]
fn a_window_that_was_unmapped_is_not_touched_and_another_can_take_its_place() {
    let mut rig = Rig::adversarial(2);
    rig.cable.push(frame(100, 0));
    let slot = rig.send(&frame(100, 1));
    rig.model.dma_unmap(IOVA).unwrap();
    let before = rig.bytes(0, WINDOW_ALIGN as usize);
    rig.settle();
    assert!(rig.bytes(0, WINDOW_ALIGN as usize) == before);
    assert!(rig.model.dma_faults() > 0);
    assert!(!rig.is_done(slot));
    let another = DmaWindow::new(1).unwrap();
    rig.model.dma_map(&another, IOVA).unwrap();
    rig.settle();
    assert!(rig.bytes(0, WINDOW_ALIGN as usize) == before);
}

#[test]
fn several_windows_are_distinguished() {
    let mut rig = Rig::calm();
    let other = DmaWindow::new(1).unwrap();
    rig.model.dma_map(&other, IOVA + 8 * WINDOW_ALIGN).unwrap();
    other.slice().write_slice(&frame(100, 7), 0x40).unwrap();
    let address = IOVA + 8 * WINDOW_ALIGN + 0x40;
    rig.put(tx::legacy(address, 100, command::EOP | command::RS | command::IFCS));
    rig.send(&frame(100, 8));
    rig.settle();
    assert_eq!(rig.cable.sent(), [frame(100, 7), frame(100, 8)]);
    assert_eq!(rig.model.dma_faults(), 0);
}

#[test]
fn windows_are_mapped_where_they_fit_only() {
    let mut rig = Rig::calm();
    let range = rig.model.iova_ranges()[0];
    let big = DmaWindow::new(2 * WINDOW_ALIGN).unwrap();
    for iova in [IOVA, IOVA - WINDOW_ALIGN, 0x1000, 0, range.last + 1, range.last + 1 - WINDOW_ALIGN] {
        let refused = rig.model.dma_map(&big, iova);
        assert!(matches!(refused, Err(DeviceError::Unmappable { .. })), "{iova:#x}");
    }
    rig.model.dma_map(&big, range.last + 1 - 2 * WINDOW_ALIGN).unwrap();
    assert!(rig.model.dma_unmap(IOVA + WINDOW_ALIGN).is_err());
    rig.model.dma_unmap(IOVA).unwrap();
    rig.model.dma_map(&big, IOVA).unwrap();
}

#[test]
fn a_reset_forgets_what_was_to_be_written_back() {
    for seed in 0..20 {
        let mut rig = Rig::adversarial(seed);
        for number in 0..10 {
            rig.send(&frame(100, number));
            rig.cable.push(frame(100, number));
        }
        for _ in 0..seed % 5 {
            rig.service();
        }
        rig.write(e1000_regs::CTRL, e1000_regs::CTRL::RST);
        let before = rig.bytes(0, WINDOW_ALIGN as usize);
        rig.settle();
        assert!(rig.bytes(0, WINDOW_ALIGN as usize) == before, "seed {seed}");
        // And it starts again.
        rig.start();
        assert!(rig.receive(&frame(100, 3)).is_some());
    }
}

#[test]
fn tails_past_the_end_of_the_ring_move_nothing() {
    let mut rig = Rig::calm();
    rig.write(e1000_regs::TDT, 5000);
    rig.write(e1000_regs::RDT, 5000);
    rig.write(RCTL, RCTL_USUAL);
    rig.cable.push(frame(100, 1));
    rig.settle();
    assert_eq!(rig.cable.sent(), Vec::<Vec<u8>>::new());
    assert_eq!((rig.read(GPRC), rig.read(MPC)), (1, 0), "it is in the FIFO");
    assert_eq!(rig.read(ICR) & (ICR::TXDW | ICR::RXT0), 0);
}
