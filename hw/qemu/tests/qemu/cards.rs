//! Each of QEMU's cards keeps the promises of `PciDevice`.

use crate::rig::*;
use nook_bus::config::{COMMAND, COMMAND_BUS_MASTER, INTERRUPT_PIN, VENDOR};
use nook_bus::{BarSpace, DeviceError, DmaWindow, IrqKind, PciDevice, ResetKind, Width};
use nook_net_api::Wire;
use nook_qemu::{Model, QemuConfig, QemuDevice, QemuNet};

/// Makes each function of a model into one test for each model of an e1000.
macro_rules! for_each_model {
    ($($test:ident)*) => {
        mod e1000 { $(#[test] fn $test() { super::$test(super::model("e1000")) })* }
        mod e1000_82545em { $(#[test] fn $test() { super::$test(super::model("e1000-82545em")) })* }
        mod e1000e { $(#[test] fn $test() { super::$test(super::model("e1000e")) })* }
    };
}

for_each_model! {
    it_starts_quiet_and_says_who_it_is
    its_mac_address_is_the_one_that_was_asked_for
    registers_hold_what_is_written
    the_software_reset_is_over_at_once_and_stops_nothing
    accesses_outside_its_bars_are_refused
    it_transmits_from_the_window
    service_rings_a_doorbell_that_was_only_posted
    it_receives_into_the_window
    an_interrupt_fires_once_until_it_is_unmasked
    an_interrupt_seen_while_reading_wakes_a_sleeper
    an_unmapped_window_is_neither_read_nor_written
    with_bus_mastering_off_the_window_is_neither_read_nor_written
    the_window_can_be_mapped_at_another_address
    the_window_can_be_mapped_above_four_gigabytes
    a_mapping_that_cannot_be_is_refused
    it_has_no_function_reset
}

/// What is not about the registers of an e1000.
mod vmxnet3 {
    use super::*;

    #[test]
    fn it_says_who_it_is() {
        let rig = Rig::new(model("vmxnet3"));
        let identity = rig.card.identity();
        assert_eq!(((identity.vendor, identity.device), identity.class), (model("vmxnet3").id, 0x02_0000));
        let bars: Vec<_> = rig.card.bars().iter().map(|bar| (bar.index, bar.space)).collect();
        assert_eq!(bars, [0, 1, 2].map(|index| (index, BarSpace::Memory)));
    }

    #[test]
    fn accesses_outside_its_bars_are_refused() {
        super::accesses_outside_its_bars_are_refused(model("vmxnet3"));
    }

    #[test]
    fn a_mapping_that_cannot_be_is_refused() {
        super::a_mapping_that_cannot_be_is_refused(model("vmxnet3"));
    }

    #[test]
    fn it_has_no_function_reset() {
        super::it_has_no_function_reset(model("vmxnet3"));
    }
}

fn it_starts_quiet_and_says_who_it_is(model: &Model) {
    let mut rig = Rig::new(model);
    let identity = rig.card.identity();
    assert_eq!(((identity.vendor, identity.device), identity.class), (model.id, 0x02_0000));
    assert_eq!(rig.card.config_read(VENDOR, Width::B4).unwrap(), u32::from(model.id.1) << 16 | u32::from(model.id.0));
    assert_eq!(rig.card.config_read(INTERRUPT_PIN, Width::B1).unwrap(), 1);
    assert_eq!(rig.card.config_read(COMMAND, Width::B2).unwrap() as u16 & COMMAND_BUS_MASTER, 0);
    let registers = rig.card.bars()[0];
    assert_eq!((registers.index, registers.space, registers.len_bytes), (0, BarSpace::Memory, 0x2_0000));
    assert!(rig.card.bars().iter().any(|bar| bar.space == BarSpace::Io));
    assert!(rig.card.describe().contains(model.name) && rig.card.describe().contains(model.chip));
    assert_ne!(rig.read(STATUS) & STATUS_LU, 0, "the link is not up");
}

fn its_mac_address_is_the_one_that_was_asked_for(model: &Model) {
    let mut config = QemuConfig::new(spec(model.name), QemuNet::User { restrict: true });
    config.mac = [0x02, 0x11, 0x22, 0x33, 0x44, 0x55];
    let mut card = started(QemuDevice::start(config, &window()));
    assert_eq!(card.bar_read(0, RAL, Width::B4).unwrap(), 0x3322_1102);
    assert_eq!(card.bar_read(0, RAH, Width::B4).unwrap() & 0xffff, 0x5544);
}

fn registers_hold_what_is_written(model: &Model) {
    let mut rig = Rig::new(model);
    rig.write(TDBAL, 0x1234_5670);
    rig.write(RDBAL, 0x0bcd_ef00);
    assert_eq!((rig.read(TDBAL), rig.read(RDBAL)), (0x1234_5670, 0x0bcd_ef00));
}

/// A driver that trusted its reset to silence the card would be wrong here: see this crate's documentation.
fn the_software_reset_is_over_at_once_and_stops_nothing(model: &Model) {
    let mut rig = Rig::new(model);
    rig.bring_up(LOW);
    let ctrl = rig.read(CTRL);
    rig.write(CTRL, ctrl | CTRL_RST);
    assert_eq!(rig.read(CTRL) & CTRL_RST, 0);
    rig.transmit(LOW, 0, &frame(9));
    assert_eq!(rig.arrives(), frame(9));
}

fn accesses_outside_its_bars_are_refused(model: &Model) {
    let mut rig = Rig::new(model);
    let end = rig.card.bars()[0].len_bytes as u32;
    for (bar, offset) in [(0, end), (0, end - 2), (5, 0)] {
        let read = rig.card.bar_read(bar, offset, Width::B4);
        let write = rig.card.bar_write(bar, offset, Width::B4, 0);
        for error in [read.unwrap_err(), write.unwrap_err()] {
            assert!(matches!(error, DeviceError::NoSuchRegister { .. }), "BAR {bar} {offset:#x}: {error}");
        }
    }
    assert!(matches!(rig.card.config_read(0x100, Width::B4), Err(DeviceError::Unsupported(_))));
}

fn it_transmits_from_the_window(model: &Model) {
    let mut rig = Rig::new(model);
    rig.bring_up(LOW);
    for slot in 0..3 {
        rig.transmit(LOW, slot, &frame(slot as u8));
        rig.card.flush().unwrap();
        assert!(rig.transmitted(slot), "the card has not written descriptor {slot} back");
        assert_eq!(rig.arrives(), frame(slot as u8));
    }
}

fn service_rings_a_doorbell_that_was_only_posted(model: &Model) {
    let mut rig = Rig::new(model);
    rig.bring_up(LOW);
    rig.transmit(LOW, 0, &frame(7));
    rig.service();
    assert_eq!(rig.arrives(), frame(7));
}

fn it_receives_into_the_window(model: &Model) {
    let mut rig = Rig::new(model);
    rig.bring_up(LOW);
    rig.card.flush().unwrap();
    for slot in 0..3 {
        assert!(rig.wire.send(&frame(slot as u8)).unwrap());
    }
    for slot in 0..3 {
        // The first comes a second late: RCTL was just written.
        wait("a received frame", || rig.received(slot).is_some());
        assert_eq!(rig.received(slot).unwrap(), frame(slot as u8));
    }
}

fn an_interrupt_fires_once_until_it_is_unmasked(model: &Model) {
    let mut rig = Rig::new(model);
    rig.write(IMC, 0xffff_ffff);
    rig.read(ICR);
    rig.write(IMS, CAUSE_LSC);
    rig.write(ICS, CAUSE_LSC);
    rig.card.flush().unwrap();
    assert_eq!(rig.service().irqs, 0, "it fired before it was enabled");

    assert_eq!(rig.card.irq_enable(1).unwrap(), (IrqKind::Intx, 1));
    assert_eq!(rig.service().irqs, 1);
    assert_eq!(rig.service().irqs, 0, "it fired while it was masked");
    rig.card.irq_unmask(0).unwrap();
    assert_eq!(rig.service().irqs, 1, "a line that is still asserted has not fired again");

    assert_ne!(rig.read(ICR) & CAUSE_LSC, 0);
    rig.card.irq_unmask(0).unwrap();
    assert_eq!(rig.service().irqs, 0, "it fired after its cause was cleared");

    rig.write(ICS, CAUSE_LSC);
    rig.card.flush().unwrap();
    // The e1000e leaves some time between two of them.
    wait("the next interrupt", || rig.service().irqs == 1);
    rig.card.irq_disable().unwrap();
    rig.card.irq_unmask(0).unwrap();
    assert_eq!(rig.service().irqs, 0, "it fired after it was disabled");
}

fn an_interrupt_seen_while_reading_wakes_a_sleeper(model: &Model) {
    let mut rig = Rig::new(model);
    rig.card.irq_enable(1).unwrap();
    rig.write(IMC, 0xffff_ffff);
    rig.read(ICR);
    rig.service();
    assert!(!readable(&rig), "something is to be fetched from an idle card");

    rig.write(IMS, CAUSE_LSC);
    rig.write(ICS, CAUSE_LSC);
    // This takes the line's announcement out of the socket.
    rig.card.flush().unwrap();
    assert!(readable(&rig), "the interrupt would be slept through");
    assert_eq!(rig.service().irqs, 1);
    assert!(!readable(&rig), "a masked interrupt keeps its sleeper awake");
    rig.card.irq_unmask(0).unwrap();
    assert!(readable(&rig), "a line that is still asserted would be slept through");
}

fn an_unmapped_window_is_neither_read_nor_written(model: &Model) {
    let mut rig = Rig::new(model);
    rig.bring_up(LOW);
    rig.transmit(LOW, 0, &frame(1));
    assert_eq!(rig.arrives(), frame(1));

    rig.card.dma_unmap(LOW).unwrap();
    let before = {
        rig.put(0x10, &[0xaa; 16]);
        rig.memory()
    };
    // Receive: the card takes the frame and has nowhere to put it. The e1000e's index moves on; the e1000 looks for
    // a buffer once round the ring and then reports an overrun.
    assert!(rig.wire.send(&frame(2)).unwrap());
    wait("the card to take the frame", || rig.read(RDH) != 0 || rig.read(ICR) & CAUSE_RXO != 0);
    // Transmit: it looks for a descriptor and finds none that says what to send or where to report.
    rig.card.bar_write(0, TDH + 8, Width::B4, 2).unwrap();
    rig.card.flush().unwrap();
    assert!(rig.memory() == before, "the window was written to");
    assert_eq!(rig.wire.recv(&mut [0; 2048]).unwrap(), None, "a frame left the card");
}

fn with_bus_mastering_off_the_window_is_neither_read_nor_written(model: &Model) {
    let mut rig = Rig::new(model);
    rig.bring_up(LOW);
    rig.transmit(LOW, 0, &frame(1));
    assert_eq!(rig.arrives(), frame(1));
    assert!(rig.wire.send(&frame(2)).unwrap());
    wait("a received frame", || rig.received(0).is_some());

    rig.card.set_bus_master(false).unwrap();
    rig.write(IMS, CAUSE_TXDW);
    assert!(rig.wire.send(&frame(3)).unwrap());
    rig.transmit(LOW, 1, &frame(4));
    let before = rig.memory();
    // Some hundred rounds of QEMU's main loop, in each of which it could have received.
    for _ in 0..200 {
        rig.read(RDH);
    }
    assert!(rig.memory() == before, "the window was written to");
    assert_eq!(rig.wire.recv(&mut [0; 2048]).unwrap(), None, "a frame left the card");

    rig.card.set_bus_master(true).unwrap();
    wait("the frame that had to wait", || rig.received(1).is_some());
    assert_eq!(rig.received(1).unwrap(), frame(3));
}

fn the_window_can_be_mapped_at_another_address(model: &Model) {
    let mut rig = Rig::new(model);
    let range = rig.card.iova_ranges()[0];
    let [first, second] = [range.first, range.first + rig.window.len_bytes()];
    rig.bring_up(first);
    rig.transmit(first, 0, &frame(1));
    assert_eq!(rig.arrives(), frame(1));

    rig.card.set_bus_master(false).unwrap();
    rig.card.dma_unmap(first).unwrap();
    rig.bring_up(second);
    rig.transmit(second, 0, &frame(2));
    assert_eq!(rig.arrives(), frame(2));
}

fn the_window_can_be_mapped_above_four_gigabytes(model: &Model) {
    let mut rig = Rig::new(model);
    rig.bring_up(HIGH);
    rig.transmit(HIGH, 0, &frame(1));
    assert_eq!(rig.arrives(), frame(1));
    assert!(rig.wire.send(&frame(2)).unwrap());
    wait("a received frame", || rig.received(0).is_some());
    assert_eq!(rig.received(0).unwrap(), frame(2));
}

fn a_mapping_that_cannot_be_is_refused(model: &Model) {
    let mut rig = Rig::new(model);
    let (window, stranger) = (rig.window.clone(), DmaWindow::new(rig.window.len_bytes()).unwrap());
    let mut refused = |window: &DmaWindow, iova: u64, reason: &str| {
        let error = rig.card.dma_map(window, iova).unwrap_err();
        assert!(matches!(error, DeviceError::Unmappable { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    };
    refused(&stranger, LOW, "another device");
    refused(&window, LOW + 0x1000, "multiple of its length");
    refused(&window, 0, "outside");
    refused(&window, 0xe000_0000, "outside");
    refused(&window, 1 << 40, "outside");
    rig.card.dma_map(&window, LOW).unwrap();
    let again = rig.card.dma_map(&window, LOW * 2).unwrap_err().to_string();
    assert!(again.contains("unmap it first"), "{again}");
    assert!(rig.card.dma_unmap(LOW * 2).is_err());
    rig.card.dma_unmap(LOW).unwrap();
    assert!(rig.card.dma_unmap(LOW).is_err());
}

/// If a later QEMU gives a card a function level reset, `QemuDevice::reset` should use it.
fn it_has_no_function_reset(model: &Model) {
    const PCI_EXPRESS: u8 = 0x10;
    const DEVICE_CAPABILITIES: u16 = 4;
    const FUNCTION_LEVEL_RESET: u32 = 1 << 28;
    let mut rig = Rig::new(model);
    let mut at = rig.card.config_read(0x34, Width::B1).unwrap() as u16;
    while at != 0 {
        let [id, next] = (rig.card.config_read(at, Width::B2).unwrap() as u16).to_le_bytes();
        if id == PCI_EXPRESS {
            let abilities = rig.card.config_read(at + DEVICE_CAPABILITIES, Width::B4).unwrap();
            assert_eq!(abilities & FUNCTION_LEVEL_RESET, 0);
        }
        at = u16::from(next);
    }
    assert_eq!(rig.card.reset().unwrap(), ResetKind::None);
}

#[test]
fn the_gateway_of_the_user_network_answers() {
    const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];
    let (wire, _) = nook_qemu::DgramWire::pair().unwrap();
    let window = window();
    let mut config = QemuConfig::new(spec("e1000"), QemuNet::User { restrict: false });
    config.mac = MAC;
    let card = started(QemuDevice::start(config, &window));
    let mut rig = Rig { card, window, wire };
    rig.bring_up(LOW);

    // RFC 826: who has 10.0.2.2? Tell 10.0.2.15.
    let mut request = vec![0xff; 6];
    request.extend(MAC);
    request.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    request.extend(MAC);
    request.extend([10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2]);
    request.resize(60, 0);
    rig.transmit(LOW, 0, &request);
    rig.card.flush().unwrap();
    wait("the gateway's answer", || rig.received(0).is_some());
    let answer = rig.received(0).unwrap();
    assert_eq!((&answer[..6], &answer[20..22], &answer[28..32]), (&MAC[..], &[0, 2][..], &[10, 0, 2, 2][..]));
}
