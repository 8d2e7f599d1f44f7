//! The driver against a chip of a few lines, natively.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use nook_sdk::serial::{Running, received};
use nook_sdk::testing::{Device, TestHost, TestKernel};
use nook_sdk::{Instance, LineSettings, Parity, Status, control, modem};
use serial_regs::*;
use serial_wasm::Uart;

const SEND: u32 = nook_sdk::abi::serial::serial_poll::SEND;
const AGAIN: u32 = 1;

/// What can be received with what is wrong with it, and what was sent.
#[derive(Default)]
struct Script {
    arriving: VecDeque<(u8, u8)>,
    overrun: bool,
    sent: Vec<u8>,
    /// The transmitter takes nothing.
    busy: bool,
    /// It is the chip without FIFOs.
    old: bool,
    scratch: u8,
    divisor: [u8; 2],
    fcr: Vec<u8>,
    ier: u8,
    lcr: u8,
    mcr: u8,
    msr: u8,
    /// How often the latch was open when the data's place was read.
    misread: u32,
}

impl Script {
    fn lsr(&mut self) -> u8 {
        let ready = self.arriving.front().map_or(0, |(_, errors)| LSR::DATA_READY | errors);
        let overrun = if std::mem::take(&mut self.overrun) { LSR::OVERRUN } else { 0 };
        ready | overrun | if self.busy { 0 } else { LSR::TRANSMITTER_EMPTY | LSR::IDLE }
    }

    fn is_latch_open(&self) -> bool {
        self.lcr & LCR::DIVISOR_LATCH != 0
    }
}

impl Device for Script {
    fn config_read(&mut self, _: u32, _: u32) -> u32 {
        0
    }

    fn read(&mut self, bar: u32, offset: u32, width_bytes: u32) -> u64 {
        assert_eq!((bar, width_bytes), (0, 1));
        let value = match offset {
            0 => {
                self.misread += u32::from(self.is_latch_open());
                self.arriving.pop_front().expect("nothing was received").0
            }
            2 if self.old => 0x01,
            2 => 0xc0 | u8::from(self.ier & IER::TRANSMITTER_EMPTY == 0 && self.arriving.is_empty()),
            3 => self.lcr,
            5 => self.lsr(),
            6 => self.msr,
            7 => self.scratch,
            _ => panic!("a read of {offset:#x}"),
        };
        value.into()
    }

    fn write(&mut self, bar: u32, offset: u32, width_bytes: u32, value: u64) {
        assert_eq!((bar, width_bytes), (0, 1));
        let (value, open) = (value as u8, self.is_latch_open());
        match offset {
            0 | 1 if open => self.divisor[offset as usize] = value,
            0 => self.sent.push(value),
            1 => self.ier = value,
            2 => self.fcr.push(value),
            3 => self.lcr = value,
            4 => self.mcr = value,
            7 => self.scratch = value,
            _ => panic!("a write of {offset:#x}"),
        }
    }
}

struct Rig {
    host: TestHost,
    chip: Rc<RefCell<Script>>,
    driver: Instance<TestKernel, Running<TestKernel, Uart<TestKernel>>>,
}

fn probed(script: Script, reason: u32) -> (Rig, i32) {
    let host = TestHost::new();
    let chip = Rc::new(RefCell::new(script));
    host.plug(&chip);
    let mut driver = Instance::new(host.kernel());
    // SAFETY: the page and what it names is leaked memory.
    let code = unsafe { driver.probe(reason, host.page()) };
    (Rig { host, chip, driver }, code)
}

impl Rig {
    fn open() -> Self {
        let (mut rig, code) = probed(Script::default(), 0);
        assert_eq!((code, rig.set(LineSettings::default()), rig.driver.set_control(3)), (0, 0, 0));
        assert_eq!(rig.driver.open(), 0);
        rig.host.take_calls();
        rig
    }

    fn set(&mut self, line: LineSettings) -> i32 {
        self.driver.set_line(line.baud, line.format())
    }

    fn arrives(&self, bytes: &[(u8, u8)]) {
        self.chip.borrow_mut().arriving.extend(bytes);
    }

    /// Returns what was handed over since the last time.
    fn received(&self) -> Vec<u32> {
        let calls = self.host.take_calls();
        let values = calls.iter().filter_map(|call| call.strip_prefix("serial_received [")?.strip_suffix(']'));
        values.map(|value| value.parse().unwrap()).collect()
    }
}

#[test]
fn what_is_no_16550_is_refused() {
    assert_eq!(probed(Script { old: true, ..Script::default() }, 0).1, Status::NoDevice.code());
}

#[test]
fn a_cold_start_clears_the_fifos_and_a_restart_leaves_what_they_hold() {
    let clear = fcr::CLEAR_RECEIVER | fcr::CLEAR_TRANSMITTER;
    let (rig, code) = probed(Script::default(), 0);
    assert_eq!((code, rig.chip.borrow().fcr[0] & clear), (0, clear));
    let left = Script { lcr: LCR::DIVISOR_LATCH | LCR::BREAK | 3, ier: 0xf, ..Script::default() };
    let (rig, code) = probed(left, 1);
    assert_eq!((code, rig.chip.borrow().fcr[0] & clear), (0, 0));
    assert_eq!((rig.chip.borrow().lcr, rig.chip.borrow().ier), (3, 0), "latch and break are off, and interrupts");
}

#[test]
fn the_line_is_set_once_the_chip_has_sent_what_it_had() {
    let mut rig = Rig::open();
    rig.chip.borrow_mut().busy = true;
    let seven = LineSettings { baud: 300, data_bits: 7, parity: Parity::Even, stop_bits: 2 };
    assert_eq!(rig.set(seven), 0);
    assert!(rig.host.calls().iter().any(|call| call.starts_with("sleep_ns")), "it waited, and no longer than it may");
    let chip = rig.chip.borrow();
    assert_eq!(u16::from_le_bytes(chip.divisor), 384);
    assert_eq!(chip.lcr, 2 | LCR::STOP_BITS | LCR::PARITY | LCR::EVEN);
}

#[test]
fn each_parity_and_length_has_its_bits() {
    let mut rig = Rig::open();
    for (parity, bits) in Parity::ALL.into_iter().zip([0, 0x08, 0x18, 0x28, 0x38]) {
        for data_bits in 5..=8 {
            assert_eq!(rig.set(LineSettings { baud: 9600, data_bits, parity, stop_bits: 1 }), 0);
            assert_eq!(rig.chip.borrow().lcr, bits | (data_bits - 5), "{data_bits} {parity:?}");
        }
    }
}

#[test]
fn a_rate_that_the_chip_does_not_come_near_is_refused_and_changes_nothing() {
    let mut rig = Rig::open();
    let of = |baud| LineSettings { baud, ..LineSettings::default() };
    for (baud, divisor) in [(115_200, 1), (57_600, 2), (9600, 12), (110, 1047), (50, 2304), (2, 57_600)] {
        assert_eq!((rig.set(of(baud)), u16::from_le_bytes(rig.chip.borrow().divisor)), (0, divisor), "{baud}");
    }
    for baud in [1, 76_800, 100_000, 230_400, u32::MAX] {
        assert_eq!(rig.set(of(baud)), Status::Unsupported.code(), "{baud}");
        assert_eq!(u16::from_le_bytes(rig.chip.borrow().divisor), 57_600);
    }
}

#[test]
fn the_lines_towards_the_other_side_are_set_and_a_break_begins_and_ends() {
    let mut rig = Rig::open();
    let mut set = |lines| {
        assert_eq!(rig.driver.set_control(lines), 0);
        let chip = rig.chip.borrow();
        (chip.mcr & !MCR::OUT2, chip.lcr & LCR::BREAK != 0)
    };
    assert_eq!(set(control::DTR | control::BREAK), (MCR::DTR, true));
    assert_eq!(set(control::RTS | control::LOOPBACK), (MCR::RTS | MCR::LOOPBACK, false));
}

#[test]
fn received_bytes_are_handed_over_as_far_as_the_budget_goes() {
    let mut rig = Rig::open();
    rig.arrives(&[(b'a', 0), (b'b', 0), (b'c', 0)]);
    assert_ne!(rig.driver.irq(0), 0);
    assert_eq!((rig.driver.poll(0, 2, 0), rig.received()), (AGAIN, vec![b'a'.into(), b'b'.into()]));
    assert_eq!(rig.chip.borrow().ier & IER::RECEIVED, 0, "it would interrupt at once");
    assert_eq!((rig.driver.poll(0, 0, 0), rig.received()), (AGAIN, vec![]));
    assert_eq!((rig.driver.poll(0, 2, 0), rig.received()), (0, vec![b'c'.into()]));
    assert_ne!(rig.chip.borrow().ier & IER::RECEIVED, 0);
    assert_eq!(rig.driver.irq(0), 0, "it is another device's");
}

#[test]
fn what_is_wrong_with_a_byte_comes_with_it_and_an_overrun_with_the_next() {
    let mut rig = Rig::open();
    rig.arrives(&[(b'a', LSR::PARITY), (0, LSR::BREAK | LSR::FRAMING), (b'b', 0)]);
    rig.driver.poll(0, 9, 0);
    let broken = received::BREAK | received::FRAMING;
    assert_eq!(rig.received(), [u32::from(b'a') | received::PARITY, broken, b'b'.into()]);
    rig.chip.borrow_mut().overrun = true;
    rig.driver.poll(0, 9, 0);
    assert_eq!(rig.received(), []);
    rig.arrives(&[(b'c', 0)]);
    rig.driver.poll(0, 9, 0);
    assert_eq!(rig.received(), [u32::from(b'c') | received::OVERRUN]);
}

#[test]
fn a_break_that_comes_again_after_a_rollback_takes_no_other_bytes_place() {
    // What was popped comes again with a status that says all of it together, and nothing behind it.
    let all = LSR::BREAK | LSR::FRAMING;
    let mut rig = Rig::open();
    rig.arrives(&[(b'a', all), (0, 0), (b'b', 0)]);
    rig.driver.poll(0, 9, 0);
    let broken = received::BREAK | received::FRAMING;
    assert_eq!(rig.received(), [b'a'.into(), broken, b'b'.into()]);
}

#[test]
fn as_much_is_sent_as_the_chip_takes_and_the_rest_by_its_interrupt() {
    let mut rig = Rig::open();
    let bytes: Vec<u8> = (0..20).collect();
    rig.host.send(&bytes);
    assert_eq!(rig.driver.poll(0, 9, SEND), 0);
    assert_eq!(rig.chip.borrow().sent, bytes[..16]);
    assert_ne!(rig.chip.borrow().ier & IER::TRANSMITTER_EMPTY, 0);
    rig.chip.borrow_mut().busy = true;
    rig.driver.poll(0, 9, SEND);
    assert_eq!(rig.chip.borrow().sent.len(), 16, "it would be lost");
    rig.chip.borrow_mut().busy = false;
    assert_ne!(rig.driver.irq(0), 0);
    assert_eq!(rig.chip.borrow().ier, 0);
    assert_eq!(rig.driver.poll(0, 9, SEND), 0);
    assert_eq!(rig.chip.borrow().sent, bytes);
    rig.driver.poll(0, 9, 0);
    assert_eq!(rig.chip.borrow().ier & IER::TRANSMITTER_EMPTY, 0);
}

#[test]
fn the_lines_from_the_other_side_are_reported_when_they_change() {
    let mut rig = Rig::open();
    let reports = |rig: &Rig| rig.host.take_calls().into_iter().filter(|call| call.starts_with("serial_modem")).count();
    rig.chip.borrow_mut().msr = MSR::CTS | MSR::CTS_CHANGED;
    rig.driver.poll(0, 9, 0);
    assert_eq!(rig.host.calls().last().unwrap(), &format!("serial_modem [{}]", modem::CTS));
    assert_eq!(reports(&rig), 1);
    rig.driver.poll(0, 9, 0);
    assert_eq!(reports(&rig), 0);
}

#[test]
fn a_driver_that_goes_leaves_interrupts_off() {
    let mut rig = Rig::open();
    assert_ne!(rig.chip.borrow().ier, 0);
    assert_eq!(rig.driver.stop(), 0);
    rig.driver.remove();
    let chip = rig.chip.borrow();
    assert_eq!((chip.ier, chip.mcr, chip.misread), (0, 0, 0));
}
