//! A card whose registers are ports: QEMU's `pci-serial`.
//!
//! Registers: National's PC16550D data sheet, chapter 8.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::rig::*;
use nook_bus::{BarSpace, DeviceError, PciDevice, ResetKind, Width};
use nook_qemu::{QemuConfig, QemuDevice, QemuNet};

const DATA: u32 = 0;
const LCR: u32 = 3;
const MCR: u32 = 4;
const MCR_LOOPBACK: u64 = 1 << 4;
const LSR: u32 = 5;
const LSR_DATA_READY: u64 = 1 << 0;
const SCRATCH: u32 = 7;

fn serial(options: &str) -> QemuDevice {
    let config = QemuConfig::new(spec(&format!("pci-serial{options}")), QemuNet::User { restrict: true });
    started(QemuDevice::start(config, &window()))
}

fn port(card: &mut QemuDevice, offset: u32) -> u64 {
    card.bar_read(0, offset, Width::B1).unwrap()
}

#[test]
fn it_has_eight_ports_that_hold_what_is_written() {
    let mut card = serial("");
    let identity = card.identity();
    assert_eq!((identity.vendor, identity.device, identity.class), (0x1b36, 0x0002, 0x07_0002));
    let bars: Vec<_> = card.bars().iter().map(|bar| (bar.index, bar.space, bar.len_bytes)).collect();
    assert_eq!(bars, [(0, BarSpace::Io, 8)]);
    for (offset, value) in [(SCRATCH, 0xa5), (LCR, 0x1b)] {
        card.bar_write(0, offset, Width::B1, value).unwrap();
        assert_eq!(port(&mut card, offset), value);
    }
    assert_eq!(card.reset().unwrap(), ResetKind::None);
}

#[test]
fn accesses_outside_its_ports_and_of_64_bits_are_refused() {
    let mut card = serial("");
    for (bar, offset, width) in [(0, 8, Width::B1), (0, 6, Width::B4), (1, 0, Width::B1), (0, 0, Width::B8)] {
        let read = card.bar_read(bar, offset, width);
        let write = card.bar_write(bar, offset, width, 0);
        for error in [read.unwrap_err(), write.unwrap_err()] {
            assert!(matches!(error, DeviceError::NoSuchRegister { .. }), "BAR {bar} {offset:#x} {width}: {error}");
        }
    }
    let error = card.bar_map(0, 4096).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("cannot be mapped"), "{error}");
}

#[test]
fn in_loopback_it_receives_what_it_sends() {
    let mut card = serial("");
    card.bar_write(0, MCR, Width::B1, MCR_LOOPBACK).unwrap();
    assert_eq!(port(&mut card, LSR) & LSR_DATA_READY, 0);
    card.bar_write(0, DATA, Width::B1, 0x5a).unwrap();
    wait("the byte in loopback", || port(&mut card, LSR) & LSR_DATA_READY != 0);
    assert_eq!(port(&mut card, DATA), 0x5a);
}

#[test]
fn a_socket_is_the_far_end_of_its_line() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a, b");
    let path_in_options = path.to_str().unwrap().replace(',', ",,");
    let mut card = serial(&format!(",socket={path_in_options}"));
    let mut far = UnixStream::connect(path).unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    far.write_all(b"!").unwrap();
    wait("the byte from the far end", || port(&mut card, LSR) & LSR_DATA_READY != 0);
    assert_eq!(port(&mut card, DATA), u64::from(b'!'));
    card.bar_write(0, DATA, Width::B1, b'?'.into()).unwrap();
    card.flush().unwrap();
    let mut byte = [0];
    far.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"?");
}

#[test]
fn a_socket_for_what_has_no_line_is_refused() {
    let config = QemuConfig::new(spec("edu,socket=x"), QemuNet::User { restrict: true });
    let error = QemuDevice::start(config, &window()).unwrap_err().to_string();
    assert!(error.ends_with("has no serial line: leave `socket=` out"), "{error}");
}
