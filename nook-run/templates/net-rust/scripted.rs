//! The driver against a device of a few lines, natively.

use std::cell::RefCell;
use std::rc::Rc;

use @IDENT@::registers::FIRST;
use @IDENT@::Driver;
use nook_sdk::net::Running;
use nook_sdk::testing::{Device, TestHost, TestKernel};
use nook_sdk::{Instance, Status};

/// A device whose first register holds this.
struct Script(u32);

impl Device for Script {
    fn config_read(&mut self, _: u32, _: u32) -> u32 {
        0
    }

    fn read(&mut self, bar: u32, offset: u32, width_bytes: u32) -> u64 {
        assert_eq!((bar, offset, width_bytes), (@BAR@, FIRST.offset(), 4));
        self.0.into()
    }

    fn write(&mut self, _: u32, offset: u32, _: u32, _: u64) {
        panic!("the driver wrote {offset:#x}");
    }
}

/// Returns the host, the driver, and what came of `probe`.
fn probed(first: u32) -> (TestHost, Instance<TestKernel, Running<TestKernel, Driver<TestKernel>>>, i32) {
    let host = TestHost::new();
    host.plug(&Rc::new(RefCell::new(Script(first))));
    let mut driver = Instance::new(host.kernel());
    // SAFETY: the page and what it names is memory of the test host, which is never freed.
    let code = unsafe { driver.probe(0, host.page()) };
    (host, driver, code)
}

#[test]
fn the_interface_is_attached() {
    let (host, mut driver, code) = probed(0x1234_5678);
    assert_eq!((code, driver.open(), driver.poll(0, 8, 0)), (0, 0, 0));
    assert!(host.calls().iter().any(|call| call.starts_with("net_attach")), "{:?}", host.calls());
}

#[test]
fn a_device_that_does_not_answer_is_refused() {
    assert_eq!(probed(u32::MAX).2, Status::NoDevice.code());
}
