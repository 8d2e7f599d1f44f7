//! The driver against a device of a few lines, natively.

use std::cell::RefCell;
use std::rc::Rc;

use edu_regs::{
    ACKNOWLEDGE, CAUSES, DMA_COMMAND, DMA_COUNT, DMA_DESTINATION, DMA_SOURCE, FACTORIAL, IDENTIFICATION, LIVENESS,
    MEMORY, MEMORY_BYTES, STATUS, VERSION_1_0,
};
use edu_wasm::Edu;
use nook_sdk::misc::Running;
use nook_sdk::testing::{Device, TestHost, TestKernel, Window};
use nook_sdk::{Instance, Status};

const IDENTIFY: u32 = 0;
const INVERT: u32 = 1;
const FACTOR: u32 = 2;
const STORE: u32 = 3;
const LOAD: u32 = 4;

#[derive(Default)]
struct Script {
    version: u32,
    inverse: u32,
    number: u32,
    status: u32,
    causes: u32,
    /// Its memory, and where it sees the driver's.
    memory: Vec<u8>,
    window: Option<Window>,
    source: u64,
    destination: u64,
    count: u64,
    command: u64,
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

    /// The transfer is over.
    fn transfer(&mut self) {
        assert_ne!(self.command & DMA_COMMAND::RUNS, 0, "none was started");
        self.memory.resize(4096, 0);
        let to_memory = self.command & DMA_COMMAND::TO_MEMORY != 0;
        let (there, here) = if to_memory { (self.destination, self.source) } else { (self.source, self.destination) };
        let here = (here - MEMORY) as usize;
        let part = &mut self.memory[here..here + self.count as usize];
        let window = self.window.expect("the host was made with a window");
        if to_memory {
            window.write_bytes(there, part)
        } else {
            window.read_bytes(there, part)
        }
        self.command &= !DMA_COMMAND::RUNS;
        if self.command & DMA_COMMAND::INTERRUPTS != 0 {
            self.causes |= CAUSES::MOVED;
        }
    }
}

impl Device for Script {
    fn config_read(&mut self, _: u32, _: u32) -> u32 {
        0
    }

    fn read(&mut self, bar: u32, offset: u32, width_bytes: u32) -> u64 {
        if offset == DMA_COMMAND.offset() {
            assert_eq!((bar, width_bytes), (0, 8));
            let command = self.command;
            // It takes its time, and is done when it is asked again.
            self.command &=
                if self.causes & CAUSES::MOVED == 0 && self.window.is_none() { !DMA_COMMAND::RUNS } else { !0 };
            return command;
        }
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
        if offset >= 0x80 {
            assert_eq!((bar, width_bytes), (0, 8));
            assert_eq!(self.command & DMA_COMMAND::RUNS, 0, "it would be lost");
            *match offset {
                _ if offset == DMA_SOURCE.offset() => &mut self.source,
                _ if offset == DMA_DESTINATION.offset() => &mut self.destination,
                _ if offset == DMA_COUNT.offset() => &mut self.count,
                _ if offset == DMA_COMMAND.offset() => &mut self.command,
                _ => panic!("a write of {offset:#x}"),
            } = value;
            return;
        }
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
        rig.device.borrow_mut().window = Some(rig.host.window());
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

/// Returns what goes before the bytes of a store, and is all of a load.
fn part(at: u32, then: &[u8]) -> Vec<u8> {
    [&at.to_le_bytes(), then].concat()
}

#[test]
fn bytes_are_moved_to_the_device_and_back() {
    let mut rig = Rig::open();
    assert_eq!(rig.invoke(1, STORE, &part(100, b"edu")), 0);
    assert_eq!((rig.driver.irq(0), rig.invoke(2, LOAD, &part(100, &3u32.to_le_bytes()))), (0, Status::Busy.code()));
    rig.device.borrow_mut().transfer();
    assert_ne!(rig.driver.irq(0), 0);
    assert_eq!(
        (rig.completed(), &rig.device.borrow().memory[99..104]),
        (vec!["misc_complete [1, 0, 0]".into()], &b"\0edu\0"[..])
    );
    assert_eq!(rig.invoke(2, LOAD, &part(101, &3u32.to_le_bytes())), 0);
    rig.device.borrow_mut().transfer();
    assert_ne!(rig.driver.irq(0), 0);
    assert_eq!((rig.completed(), rig.host.mailbox(3)), (vec!["misc_complete [2, 0, 3]".into()], b"du\0".to_vec()));
}

#[test]
fn a_factorial_and_a_transfer_go_on_side_by_side() {
    let mut rig = Rig::open();
    assert_eq!((rig.invoke(1, FACTOR, &[5, 0, 0, 0]), rig.invoke(2, STORE, &part(0, b"x"))), (0, 0));
    rig.device.borrow_mut().transfer();
    rig.driver.irq(0);
    assert_eq!(rig.completed(), ["misc_complete [2, 0, 0]"]);
    rig.device.borrow_mut().finish();
    rig.driver.irq(0);
    assert_eq!(rig.completed(), ["misc_complete [1, 0, 4]"]);
}

#[test]
fn nothing_beyond_what_may_be_touched_of_the_devices_memory_is_asked_for() {
    let mut rig = Rig::open();
    let last = MEMORY_BYTES - 1;
    for (at, len) in [(last, 2), (MEMORY_BYTES, 1), (u32::MAX, 1), (0, 0), (0, 2049), (1, u32::MAX)] {
        assert_eq!(rig.invoke(1, LOAD, &part(at, &len.to_le_bytes())), Status::Invalid.code(), "{len} at {at}");
    }
    for (at, bytes) in [(last, &b"ab"[..]), (MEMORY_BYTES, b"a"), (0, b"")] {
        assert_eq!(rig.invoke(1, STORE, &part(at, bytes)), Status::Invalid.code(), "{bytes:?} at {at}");
    }
    assert_eq!(rig.invoke(1, STORE, &[0; 3]), Status::Invalid.code());
    assert_eq!(rig.invoke(1, LOAD, &part(last, &1u32.to_le_bytes())), 0);
}

#[test]
fn a_device_that_was_left_moving_is_waited_for() {
    let left = Script { version: VERSION_1_0, command: DMA_COMMAND::RUNS, ..Script::default() };
    let (rig, code) = probed(left);
    assert_eq!(code, 0);
    assert!(rig.host.calls().iter().any(|call| call.starts_with("sleep_ns")));
}

#[test]
fn what_cannot_be_asked_for_is_refused() {
    let mut rig = Rig::open();
    assert_eq!(rig.invoke(1, IDENTIFY, &[0]), Status::Invalid.code());
    assert_eq!(rig.invoke(1, INVERT, &[0; 5]), Status::Invalid.code());
    assert_eq!(rig.invoke(1, FACTOR, &[]), Status::Invalid.code());
    assert_eq!(rig.invoke(1, 5, &[]), Status::Unsupported.code());
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
