//! The driver against a chip of a few lines, natively.

use std::cell::RefCell;
use std::rc::Rc;

use nook_sdk::abi::net::Queue;
use nook_sdk::net::Running;
use nook_sdk::testing::{Device, TestHost, TestKernel, Window};
use nook_sdk::{Instance, PacketStatus, QueueEntry, Status, entry_flags};
use rtl8139::Driver;

const RING: u32 = 32 * 1024;

/// A chip that sends and receives when the test says so.
struct Chip {
    window: Window,
    dead: bool,
    resets: u32,
    isr: u16,
    imr: u16,
    tsas: u16,
    tsad: [u32; 4],
    given: Vec<(usize, u32)>,
    rbstart: u32,
    cbr: u32,
    capr: u16,
}

impl Chip {
    fn receive(&mut self, header: u32, content: &[u8]) {
        let mut bytes = header.to_le_bytes().to_vec();
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        for byte in bytes {
            self.window.write_bytes(u64::from(self.rbstart + self.cbr), &[byte]);
            self.cbr = (self.cbr + 1) % RING;
        }
        self.isr |= 1;
    }

    fn frame(&mut self, len: usize) {
        let content: Vec<u8> = (0..len + 4).map(|at| at as u8).collect();
        self.receive((len as u32 + 4) << 16 | 1, &content);
    }
}

impl Device for Chip {
    fn config_read(&mut self, _: u32, _: u32) -> u32 {
        0
    }

    fn read(&mut self, bar: u32, offset: u32, width: u32) -> u64 {
        assert_eq!(bar, 1);
        if self.dead {
            return u64::MAX >> (64 - 8 * width);
        }
        match (offset, width) {
            (0, 4) => 0x3322_1152,
            (4, 4) => 0x5544,
            (0x37, 1) => 1,
            (0x3a, 2) => self.cbr.into(),
            (0x3e, 2) => self.isr.into(),
            (0x60, 2) => self.tsas.into(),
            (0x4c, 4) | (0x58, 1) => 0,
            (0x66 | 0x68, 2) => 0x1e1,
            _ => panic!("the driver read {offset:#x}, {width} bytes"),
        }
    }

    fn write(&mut self, _: u32, offset: u32, width: u32, value: u64) {
        let value = value as u32;
        match (offset, width) {
            (0x10..0x20, 4) => {
                let slot = (offset as usize - 0x10) / 4;
                self.tsas &= !(0x1111 << slot);
                self.given.push((slot, value & 0x1fff));
            }
            (0x20..0x30, 4) => self.tsad[(offset as usize - 0x20) / 4] = value,
            (0x30, 4) => self.rbstart = value,
            (0x37, 1) if value & 0x10 != 0 => {
                (self.cbr, self.tsas) = (0, 0xf);
                self.resets += 1;
            }
            (0x38, 2) => self.capr = value as u16,
            (0x3c, 2) => self.imr = value as u16,
            (0x3e, 2) => self.isr &= !value as u16,
            (0x00..0x10 | 0x40 | 0x44, 4) | (0x37 | 0x50, 1) => {}
            _ => panic!("the driver wrote {offset:#x}, {width} bytes"),
        }
    }
}

type Under = Instance<TestKernel, Running<TestKernel, Driver<TestKernel>>>;

fn probed(dead: bool) -> (TestHost, Rc<RefCell<Chip>>, Under, i32) {
    let host = TestHost::below_4_gib();
    let chip = Chip {
        window: host.window(),
        dead,
        resets: 0,
        isr: 0,
        imr: 0,
        tsas: 0xf,
        tsad: [0; 4],
        given: Vec::new(),
        rbstart: 0,
        cbr: 0,
        capr: 0,
    };
    let chip = Rc::new(RefCell::new(chip));
    host.plug(&chip);
    let mut driver = Under::new(host.kernel());
    // SAFETY: the page and what it names is memory of the test host, which is never freed.
    let code = unsafe { driver.probe(0, host.page()) };
    (host, chip, driver, code)
}

fn opened() -> (TestHost, Rc<RefCell<Chip>>, Under) {
    let (host, chip, mut driver, code) = probed(false);
    assert_eq!((code, driver.open()), (0, 0));
    for id in 0..200 {
        host.provide(Queue::RxProvide, QueueEntry { id, len_bytes: 2048, ..QueueEntry::default() });
    }
    driver.poll(0, 256, 0);
    assert_eq!(chip.borrow().imr & 0x35, 0x35);
    (host, chip, driver)
}

fn to_send(host: &TestHost, id: u32, len_bytes: u32) {
    let flags = entry_flags::FIRST | entry_flags::LAST;
    host.provide(Queue::TxProvide, QueueEntry { id, len_bytes, flags, ..QueueEntry::default() });
}

#[test]
fn a_dead_device_is_refused() {
    let code = probed(true).3;
    assert!(code == Status::NoDevice.code() || code == Status::Timeout.code(), "{code}");
}

#[test]
fn four_frames_are_sent_and_the_fifth_waits() {
    let (host, chip, mut driver) = opened();
    for id in 300..305 {
        to_send(&host, id, 42);
    }
    assert_eq!(driver.poll(0, 256, 0), 1, "one waits");
    assert_eq!(chip.borrow().given, [(0, 60), (1, 60), (2, 60), (3, 60)]);
    chip.borrow_mut().tsas |= 0x1001;
    assert_eq!(driver.poll(0, 256, 0), 0);
    let back = host.returned(Queue::TxReturn);
    assert_eq!((back.len(), back[0].id, back[0].status), (1, 300, PacketStatus::Done as u16));
    assert_eq!(chip.borrow().given.last(), Some(&(0, 60)));
    driver.stop();
    let back: Vec<_> = host.returned(Queue::TxReturn).iter().map(|entry| (entry.id, entry.status)).collect();
    assert_eq!(back, [301, 302, 303, 304].map(|id| (id, PacketStatus::Unused as u16)));
}

#[test]
fn frames_are_received_across_the_end() {
    let (host, chip, mut driver) = opened();
    let mut got = 0;
    for _ in 0..60 {
        chip.borrow_mut().frame(1514);
        assert_eq!(driver.irq(0), 3);
        assert_eq!(driver.poll(0, 256, 0), 0);
        let position = chip.borrow().cbr as u16;
        assert_eq!(chip.borrow().capr, position.wrapping_sub(16));
        for entry in host.returned(Queue::RxReturn) {
            assert_eq!((entry.len_bytes, entry.status), (1514, 0));
            got += 1;
        }
    }
    assert_eq!(got, 60);
}

#[test]
fn nonsense_in_the_ring_resets_the_chip() {
    let (host, chip, mut driver) = opened();
    let resets = chip.borrow().resets;
    chip.borrow_mut().receive(0, &[0; 60]);
    driver.irq(0);
    driver.poll(0, 256, 0);
    assert!(host.calls().contains(&"work_schedule []".to_owned()), "{:?}", host.calls());
    driver.work();
    assert_eq!(chip.borrow().resets, resets + 1);
    chip.borrow_mut().frame(60);
    driver.poll(0, 256, 0);
    assert_eq!(host.returned(Queue::RxReturn).len(), 1);
}

#[test]
fn nothing_is_read_after_a_write() {
    let (host, chip, mut driver) = opened();
    to_send(&host, 300, 100);
    chip.borrow_mut().frame(60);
    for call in 0..4 {
        host.take_calls();
        if call % 2 == 0 {
            driver.irq(0);
        } else {
            driver.poll(0, 256, 0);
        }
        let calls = host.take_calls();
        let wrote = calls.iter().position(|call| call.starts_with("mmio_write")).unwrap_or(calls.len());
        assert!(!calls[wrote..].iter().any(|call| call.starts_with("mmio_read")), "{calls:?}");
        chip.borrow_mut().tsas |= 0x1001;
        chip.borrow_mut().isr |= 4;
    }
}
