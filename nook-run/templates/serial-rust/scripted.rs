//! The driver against a device of a few lines, natively.

use std::cell::RefCell;
use std::rc::Rc;

use @IDENT@::registers::SCRATCH;
use @IDENT@::Driver;
use nook_sdk::serial::Running;
use nook_sdk::testing::{Device, TestHost, TestKernel};
use nook_sdk::{Instance, LineSettings, Status};

/// A device with one register, of which these bits can be written.
struct Script {
    held: u64,
    writable: u64,
}

impl Device for Script {
    fn config_read(&mut self, _: u32, _: u32) -> u32 {
        0
    }

    fn read(&mut self, bar: u32, offset: u32, width_bytes: u32) -> u64 {
        assert_eq!((bar, offset, width_bytes), (@BAR@, SCRATCH.offset(), 1));
        self.held
    }

    fn write(&mut self, bar: u32, offset: u32, width_bytes: u32, value: u64) {
        assert_eq!((bar, offset, width_bytes), (@BAR@, SCRATCH.offset(), 1));
        self.held = value & self.writable;
    }
}

/// Returns the host, the driver, and what came of `probe`.
fn probed(writable: u64) -> (TestHost, Instance<TestKernel, Running<TestKernel, Driver<TestKernel>>>, i32) {
    let host = TestHost::new();
    host.plug(&Rc::new(RefCell::new(Script { held: 0, writable })));
    let mut driver = Instance::new(host.kernel());
    // SAFETY: the page and what it names is memory of the test host, which is never freed.
    let code = unsafe { driver.probe(0, host.page()) };
    (host, driver, code)
}

#[test]
fn the_line_is_attached_and_opened() {
    let (host, mut driver, code) = probed(0xff);
    let line = LineSettings::default();
    assert_eq!((code, driver.set_line(line.baud, line.format()), driver.set_control(3)), (0, 0, 0));
    assert_eq!((driver.open(), driver.poll(0, 8, 0)), (0, 0));
    assert!(host.calls().iter().any(|call| call.starts_with("serial_attach")), "{:?}", host.calls());
}

#[test]
fn a_device_that_does_not_hold_what_is_written_is_refused() {
    assert_eq!(probed(0x0f).2, Status::NoDevice.code());
}
