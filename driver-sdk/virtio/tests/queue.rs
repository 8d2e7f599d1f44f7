//! Device and queue against a device of a few lines, natively: what it sees, and when.

use std::cell::RefCell;
use std::rc::Rc;

use nook_sdk::testing::{Device as Chip, TestHost, TestKernel, Window};
use nook_sdk::{DmaRegion, Status};
use nook_virtio::{Causes, Device, DeviceType, Left, Queue, Transport, Used};
use virtio_regs::{self as map, blk, feature};

/// A buffer's address and length, and whether the device writes it.
type Buffer = (u64, u32, bool);

/// A device with one queue, which works when the test says so.
struct Script {
    window: Window,
    features: u64,
    /// It does not agree to features without this one.
    needs: u64,
    selects: [u32; 2],
    agreed: u64,
    status: u8,
    queue_size: u16,
    addresses: [u32; 6],
    enabled: bool,
    /// Where in the BAR it says that its own configuration is.
    config_at: u32,
    rung: Vec<u16>,
    /// How far it has looked, and how much it has used.
    seen: u16,
    used: u16,
}

impl Script {
    fn address(&self, of: usize) -> u64 {
        u64::from(self.addresses[2 * of]) | u64::from(self.addresses[2 * of + 1]) << 32
    }

    fn half(&self, at: u64) -> u16 {
        let mut bytes = [0; 2];
        self.window.read_bytes(at, &mut bytes);
        u16::from_le_bytes(bytes)
    }

    /// Returns the index of what is available.
    fn available(&self) -> u16 {
        self.half(self.address(1) + 2)
    }

    /// Takes the next chain: its head, and the address, length and direction of each buffer.
    fn next(&mut self) -> Option<(u16, Vec<Buffer>)> {
        if self.seen == self.available() {
            return None;
        }
        let head = self.half(self.address(1) + 4 + 2 * u64::from(self.seen % self.queue_size));
        self.seen = self.seen.wrapping_add(1);
        let (mut at, mut buffers) = (head, Vec::new());
        loop {
            let mut bytes = [0; 16];
            self.window.read_bytes(self.address(0) + 16 * u64::from(at), &mut bytes);
            let word = |from: usize| u32::from_le_bytes(bytes[from..from + 4].try_into().unwrap());
            let (flags, next) = (word(12) as u16, (word(12) >> 16) as u16);
            buffers.push((u64::from(word(0)) | u64::from(word(4)) << 32, word(8), flags & 2 != 0));
            if flags & 1 == 0 {
                return Some((head, buffers));
            }
            at = next;
        }
    }

    /// Says that it is done with a chain.
    fn finish(&mut self, head: u16, written: u32) {
        let at = self.address(2) + 4 + 8 * u64::from(self.used % self.queue_size);
        self.window.write_bytes(at, &[u32::from(head).to_le_bytes(), written.to_le_bytes()].concat());
        self.used = self.used.wrapping_add(1);
        self.window.write_bytes(self.address(2) + 2, &self.used.to_le_bytes());
    }
}

impl Chip for Script {
    fn config_read(&mut self, offset: u32, _: u32) -> u32 {
        let offsets = [0, 0x3000, 0x1000, self.config_at];
        match (offset, offset % 0x20) {
            (0x06, _) => 0x10,
            (0x34, _) => 0x40,
            // Four capabilities, 32 bytes apart.
            (0x40..0xc0, 0) => map::cap::ID,
            (0x40..0xa0, 1) => (offset - 1) + 0x20,
            (0xa0..0xc0, 1) => 0,
            (0x40..0xc0, 3) => (offset - 0x40) / 0x20 + 1,
            (0x40..0xc0, 4) => map::BAR.into(),
            (0x40..0xc0, 8) => offsets[(offset as usize - 0x40) / 0x20],
            (0x40..0xc0, 16) => map::NOTIFY_MULTIPLIER,
            _ => 0,
        }
    }

    fn read(&mut self, bar: u32, offset: u32, _: u32) -> u64 {
        assert_eq!(bar, map::BAR.into());
        match offset {
            0x04 => self.features >> (32 * self.selects[0]) & 0xffff_ffff,
            0x14 => self.status.into(),
            0x18 => self.queue_size.into(),
            0x1a => map::NO_VECTOR.into(),
            0x1c => self.enabled.into(),
            0x20..0x38 => self.addresses[(offset as usize - 0x20) / 4].into(),
            0x1000 => 1,
            0x2000.. => 0x0403_0201 + u64::from(offset),
            _ => 0,
        }
    }

    fn write(&mut self, _: u32, offset: u32, width: u32, value: u64) {
        match (offset, width) {
            (0x00, 4) => self.selects[0] = value as u32,
            (0x08, 4) => self.selects[1] = value as u32,
            (0x0c, 4) => self.agreed |= value << (32 * self.selects[1]),
            (0x14, 1) if value == 0 => (self.status, self.enabled, self.agreed) = (0, false, 0),
            (0x14, 1) => {
                let refuses = self.agreed & self.needs != self.needs;
                self.status = value as u8 & !if refuses { map::DEVICE_STATUS::FEATURES_OK } else { 0 };
            }
            (0x18, 2) => self.queue_size = value as u16,
            (0x1c, 2) => self.enabled = value != 0,
            (0x20..0x38, 4) => self.addresses[(offset as usize - 0x20) / 4] = value as u32,
            (0x3000, 2) => self.rung.push(value as u16),
            _ => {}
        }
    }
}

struct Rig {
    host: TestHost,
    chip: Rc<RefCell<Script>>,
}

impl Rig {
    fn new() -> Self {
        let host = TestHost::new();
        let features = feature::VERSION_1 | feature::ACCESS_PLATFORM | feature::EVENT_IDX | blk::feature::FLUSH;
        let chip = Script {
            window: host.window(),
            features,
            needs: feature::ACCESS_PLATFORM,
            selects: [0; 2],
            agreed: 0,
            status: 0xff,
            queue_size: 16,
            addresses: [0; 6],
            enabled: false,
            config_at: map::DEVICE_CONFIG,
            rung: Vec::new(),
            seen: 0,
            used: 0,
        };
        let chip = Rc::new(RefCell::new(chip));
        host.plug(&chip);
        Rig { host, chip }
    }

    fn device(&self) -> Result<Device<TestKernel>, Status> {
        Device::new(self.host.nook(), DeviceType::Block)
    }

    /// A device that is on, with its queue and memory for buffers.
    fn on(&self) -> (Device<TestKernel>, Queue<16>, DmaRegion<TestKernel>) {
        let mut device = self.device().unwrap();
        device.negotiate(0).unwrap();
        let queue = device.queue(0).unwrap();
        device.start();
        (device, queue, self.host.nook().dma_alloc(256, 64).unwrap())
    }
}

#[test]
fn features_are_those_that_both_have_and_those_that_are_always_taken() {
    let rig = Rig::new();
    let mut device = rig.device().unwrap();
    assert_eq!(rig.chip.borrow().status, 0, "it was reset");
    let agreed = device.negotiate(blk::feature::FLUSH | blk::feature::DISCARD | feature::EVENT_IDX).unwrap();
    assert_eq!(agreed, feature::VERSION_1 | feature::ACCESS_PLATFORM | blk::feature::FLUSH);
    assert_eq!(rig.chip.borrow().agreed, agreed);
}

#[test]
fn a_device_that_does_not_agree_or_is_of_an_older_standard_is_refused() {
    let rig = Rig::new();
    rig.chip.borrow_mut().needs = blk::feature::DISCARD;
    assert_eq!(rig.device().unwrap().negotiate(0), Err(Status::Unsupported));
    assert_ne!(rig.chip.borrow().status & map::DEVICE_STATUS::FAILED, 0);
    let rig = Rig::new();
    rig.chip.borrow_mut().features = blk::feature::FLUSH;
    assert_eq!(rig.device().unwrap().negotiate(0), Err(Status::Unsupported));
}

#[test]
fn a_device_that_is_laid_out_otherwise_is_not_touched() {
    let rig = Rig::new();
    rig.chip.borrow_mut().config_at = 0x2100;
    assert_eq!(rig.device().err(), Some(Status::Unsupported));
    assert_eq!(rig.chip.borrow().status, 0xff);
}

#[test]
fn what_a_call_adds_is_shown_to_the_device_in_the_next_one_when_all_of_it_is_there() {
    let rig = Rig::new();
    let (device, mut queue, memory) = rig.on();
    let bytes = memory.bytes();
    let (header, data) = (bytes.part(0, 16).unwrap(), bytes.part(64, 32).unwrap());
    queue.begin(&device);
    queue.add(7, &[header], &[data]).unwrap();
    assert_eq!((rig.chip.borrow().available(), queue.room()), (0, 14));
    assert!(queue.end(&device));
    // All is there, and nothing says so.
    assert_eq!((rig.chip.borrow().available(), rig.chip.borrow().rung.len()), (0, 0));
    queue.begin(&device);
    assert_eq!((rig.chip.borrow().available(), &rig.chip.borrow().rung[..]), (1, &[0][..]));
    assert!(!queue.end(&device));
    let (head, buffers) = rig.chip.borrow_mut().next().unwrap();
    assert_eq!(buffers, [(memory.iova(), 16, false), (memory.iova() + 64, 32, true)]);
    assert_eq!(queue.take(), Ok(None));
    rig.chip.borrow_mut().finish(head, 32);
    assert_eq!(queue.take(), Ok(Some(Used { cookie: 7, written: 32 })));
    assert_eq!((queue.take(), queue.room()), (Ok(None), 16));
}

#[test]
fn chains_wrap_around_the_rings_in_any_order_of_the_device() {
    let rig = Rig::new();
    let (device, mut queue, memory) = rig.on();
    let part = |at: u32| memory.bytes().part(16 * at, 16).unwrap();
    for round in 0..40 {
        queue.begin(&device);
        (0..5).for_each(|at| queue.add(10 * round + at, &[part(at)], &[part(at + 5), part(at + 10)]).unwrap());
        assert_eq!(queue.add(0, &[part(0)], &[part(1)]), Err(Status::Busy));
        queue.end(&device);
        queue.begin(&device);
        let mut heads: Vec<_> = std::iter::from_fn(|| rig.chip.borrow_mut().next()).collect();
        assert_eq!(heads.len(), 5);
        heads.rotate_left(round as usize % 5);
        heads.iter().for_each(|(head, _)| rig.chip.borrow_mut().finish(*head, round));
        for at in 0..5 {
            let cookie = 10 * round + (at + round) % 5;
            assert_eq!(queue.take(), Ok(Some(Used { cookie, written: round })));
        }
    }
}

#[test]
fn a_device_that_is_done_with_what_it_does_not_have_is_an_error_and_no_panic() {
    for head in [3, 16, 0xffff] {
        let rig = Rig::new();
        let (device, mut queue, memory) = rig.on();
        queue.add(0, &[memory.bytes()], &[]).unwrap();
        queue.end(&device);
        queue.begin(&device);
        rig.chip.borrow_mut().finish(head, 0);
        assert_eq!(queue.take(), Err(Status::DeviceFailed), "{head}");
    }
}

#[test]
fn no_buffers_too_many_and_empty_ones_are_refused() {
    let rig = Rig::new();
    let (_device, mut queue, memory) = rig.on();
    let (some, none) = (memory.bytes().part(0, 1).unwrap(), memory.bytes().part(0, 0).unwrap());
    assert_eq!(queue.add(0, &[], &[]), Err(Status::Invalid));
    assert_eq!(queue.add(0, &[some, none], &[]), Err(Status::Invalid));
    assert_eq!(queue.add(0, &[some; 3], &[some; 2]), Err(Status::Invalid));
    assert_eq!(queue.room(), 16);
}

#[test]
fn queues_are_made_again_after_a_reset_and_one_that_is_too_short_is_refused() {
    let rig = Rig::new();
    let (mut device, queue, _memory) = rig.on();
    drop(queue);
    for _ in 0..20 {
        device.reset().unwrap();
        device.negotiate(0).unwrap();
        drop(device.queue::<16>(0).unwrap());
    }
    device.reset().unwrap();
    device.negotiate(0).unwrap();
    assert_eq!(device.queue::<32>(0).err(), Some(Status::Unsupported));
}

#[test]
fn what_the_device_had_done_is_found_until_it_is_reset() {
    let rig = Rig::new();
    let (mut device, mut queue, memory) = rig.on();
    let (nook, (_, iova)) = (rig.host.nook(), rig.host.nook().window().unwrap());
    assert_eq!(Left::of(nook, 0, iova), Some(Left { used: 0, written: 0 }));
    for (used, written) in [(1, 32), (2, 7)] {
        queue.add(0, &[], &[memory.bytes()]).unwrap();
        queue.end(&device);
        queue.begin(&device);
        let (head, _) = rig.chip.borrow_mut().next().unwrap();
        rig.chip.borrow_mut().finish(head, written);
        assert_eq!(Left::of(nook, 0, iova), Some(Left { used, written }));
        queue.take().unwrap();
    }
    assert_eq!(Left::of(nook, 0, iova + (1 << 32)), None, "it is nowhere in the window");
    device.reset().unwrap();
    assert_eq!(Left::of(nook, 0, iova), None);
}

#[test]
fn the_crate_reads_a_configuration_in_accesses_as_wide_as_its_fields() {
    let rig = Rig::new();
    let device = rig.device().unwrap();
    assert_eq!(device.read_config_space::<u32>(4), Ok(0x0403_2205));
    assert_eq!(device.read_config_space::<[u8; 2]>(0), Ok([0x01, 0x02]));
    assert!(device.read_config_space::<u32>(0xffe).is_err());
    assert_eq!(device.causes(0), Causes { queues: true, config: false });
}
