//! The driver against a device of a few lines, natively.

use std::cell::RefCell;
use std::rc::Rc;

use edu_regs::{ACKNOWLEDGE, CAUSES, FACTORIAL, IDENTIFICATION, LIVENESS, STATUS, VERSION_1_0};
use edu_wasm::Edu;
use nook_sdk::misc::Running;
use nook_sdk::testing::{Device, TestHost, TestKernel};
use nook_sdk::{Instance, Status};

const IDENTIFY: u32 = 0;
const INVERT: u32 = 1;
const FACTOR: u32 = 2;

#[derive(Default)]
struct Script {
    version: u32,
    inverse: u32,
    number: u32,
    status: u32,
    causes: u32,
}

impl Script {
    /// The factorial is computed.
    fn finish(&mut self) {
        self.number = (1..=self.number).fold(1, u32::wrapping_mul);
        self.status &= !STATUS::COMPUTING;
        if self.status & STATUS::INTERRUPTS != 0 {
            self.causes |= CAUSES::COMPUTED;
        }
    }
}

impl Device for Script {
    fn config_read(&mut self, _: u32, _: u32) -> u32 {
        0
    }

    fn read(&mut self, bar: u32, offset: u32, width_bytes: u32) -> u64 {
        assert_eq!((bar, width_bytes), (0, 4));
        let value = match offset {
            _ if offset == IDENTIFICATION.offset() => self.version,
            _ if offset == LIVENESS.offset() => self.inverse,
            _ if offset == FACTORIAL.offset() => self.number,
            _ if offset == STATUS.offset() => {
                let status = self.status;
                // Somebody waits for it.
                if self.status & STATUS::COMPUTING != 0 && self.status & STATUS::INTERRUPTS == 0 {
                    self.finish();
                }
                status
            }
            _ if offset == CAUSES.offset() => self.causes,
            _ => panic!("a read of {offset:#x}"),
        };
        value.into()
    }

    fn write(&mut self, bar: u32, offset: u32, width_bytes: u32, value: u64) {
        assert_eq!((bar, width_bytes), (0, 4));
        let value = value as u32;
        match offset {
            _ if offset == LIVENESS.offset() => self.inverse = !value,
            _ if offset == FACTORIAL.offset() => {
                assert_eq!(self.status & STATUS::COMPUTING, 0, "it would be lost");
                self.number = value;
                self.status |= STATUS::COMPUTING;
            }
            _ if offset == STATUS.offset() => {
                self.status = self.status & STATUS::COMPUTING | value & STATUS::INTERRUPTS
            }
            _ if offset == ACKNOWLEDGE.offset() => self.causes &= !value,
            _ => panic!("a write of {offset:#x}"),
        }
    }
}

struct Rig {
    host: TestHost,
    device: Rc<RefCell<Script>>,
    driver: Instance<TestKernel, Running<TestKernel, Edu<TestKernel>>>,
}

fn probed(script: Script) -> (Rig, i32) {
    let host = TestHost::new();
    let device = Rc::new(RefCell::new(script));
    host.plug(&device);
    let mut driver = Instance::new(host.kernel());
    // SAFETY: the page and what it names is leaked memory.
    let code = unsafe { driver.probe(0, host.page()) };
    (Rig { host, device, driver }, code)
}

impl Rig {
    fn open() -> Self {
        let (mut rig, code) = probed(Script { version: VERSION_1_0, ..Script::default() });
        assert_eq!((code, rig.driver.open()), (0, 0));
        rig.host.take_calls();
        rig
    }

    fn invoke(&mut self, ticket: u32, operation: u32, input: &[u8]) -> i32 {
        self.host.mail(input);
        self.driver.invoke(ticket, operation, input.len() as u32)
    }

    /// Returns what was completed since the last time, with the output if there was one.
    fn completed(&self) -> Vec<String> {
        let calls = self.host.take_calls();
        calls.into_iter().filter(|call| call.starts_with("misc_complete")).collect()
    }
}

#[test]
fn a_device_that_is_no_edu_is_refused() {
    assert_eq!(probed(Script { version: 0x0100_00ee, ..Script::default() }).1, Status::NoDevice.code());
}

#[test]
fn a_device_that_was_left_computing_is_waited_for() {
    let left = Script { version: VERSION_1_0, number: 5, status: STATUS::COMPUTING, causes: 1, ..Script::default() };
    let (rig, code) = probed(left);
    assert_eq!(code, 0);
    assert!(rig.host.calls().iter().any(|call| call.starts_with("sleep_ns")));
    assert_eq!((rig.device.borrow().status, rig.device.borrow().causes), (0, 0));
}

#[test]
fn what_the_device_does_at_once_is_completed_at_once() {
    let mut rig = Rig::open();
    assert_eq!(rig.invoke(4, IDENTIFY, &[]), 0);
    assert_eq!((rig.completed(), rig.host.mailbox(4)), (vec!["misc_complete [4, 0, 4]".into()], vec![0xed, 0, 0, 1]));
    assert_eq!(rig.invoke(5, INVERT, &[0x78, 0x56, 0x34, 0x12]), 0);
    assert_eq!(rig.host.mailbox(4), [0x87, 0xa9, 0xcb, 0xed]);
}

#[test]
fn a_factorial_is_completed_by_its_interrupt() {
    let mut rig = Rig::open();
    assert_eq!(rig.invoke(7, FACTOR, &[5, 0, 0, 0]), 0);
    assert_eq!((rig.completed(), rig.driver.irq(0)), (vec![], 0), "it is another device's");
    assert_eq!(rig.invoke(8, FACTOR, &[6, 0, 0, 0]), Status::Busy.code());
    rig.device.borrow_mut().finish();
    assert_ne!(rig.driver.irq(0), 0);
    assert_eq!((rig.completed(), rig.host.mailbox(4)), (vec!["misc_complete [7, 0, 4]".into()], vec![120, 0, 0, 0]));
    assert_eq!(rig.device.borrow().causes, 0);
    assert_eq!(rig.invoke(8, FACTOR, &[6, 0, 0, 0]), 0);
}

#[test]
fn what_cannot_be_asked_for_is_refused() {
    let mut rig = Rig::open();
    assert_eq!(rig.invoke(1, IDENTIFY, &[0]), Status::Invalid.code());
    assert_eq!(rig.invoke(1, INVERT, &[0; 5]), Status::Invalid.code());
    assert_eq!(rig.invoke(1, FACTOR, &[]), Status::Invalid.code());
    assert_eq!(rig.invoke(1, 3, &[]), Status::Unsupported.code());
    assert_eq!(rig.completed(), Vec::<String>::new());
}

#[test]
fn stopping_completes_what_is_open_and_leaves_the_device_quiet() {
    let mut rig = Rig::open();
    rig.invoke(9, FACTOR, &[5, 0, 0, 0]);
    assert_eq!(rig.driver.stop(), 0);
    let busy = Status::Busy.code() as u64;
    assert_eq!(rig.completed(), [format!("misc_complete [9, {busy}, 0]")]);
    assert_eq!(rig.device.borrow().status & STATUS::INTERRUPTS, 0);
    rig.driver.remove();
}
