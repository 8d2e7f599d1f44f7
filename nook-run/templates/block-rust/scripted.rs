//! The driver against a device of a few lines, natively.

use std::cell::RefCell;
use std::rc::Rc;

use @IDENT@::registers::FIRST;
use @IDENT@::{BLOCK_BYTES, Driver};
use nook_sdk::abi::block::BlockRequest;
use nook_sdk::block::Running;
use nook_sdk::testing::{Device, TestHost, TestKernel};
use nook_sdk::{BlockOp, Instance, Status};

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
    let host = TestHost::new().with_disk();
    host.plug(&Rc::new(RefCell::new(Script(first))));
    let mut driver = Instance::new(host.kernel());
    // SAFETY: the page and what it names is memory of the test host, which is never freed.
    let code = unsafe { driver.probe(0, host.page()) };
    (host, driver, code)
}

#[test]
fn what_is_written_is_read() {
    let (host, mut driver, code) = probed(0x1234_5678);
    assert_eq!((code, driver.open()), (0, 0));
    let at = |id| host.page_now().window_iova + u64::from(host.transfer_offset(id));
    let ask = |id, op: BlockOp, blocks: u32| {
        let (len_bytes, offset) = (blocks * BLOCK_BYTES, host.transfer_offset(id));
        let (op, first) = (op as u8, if blocks > 0 { 7 } else { 0 });
        host.request(BlockRequest { id, op, first, blocks, len_bytes, offset, ..BlockRequest::default() });
    };
    host.window().write_bytes(at(0), &[0xa5; 2 * BLOCK_BYTES as usize]);
    ask(0, BlockOp::Write, 2);
    ask(1, BlockOp::Flush, 0);
    ask(2, BlockOp::Read, 2);
    assert_eq!(driver.poll(0, 8, 0), 0);
    let done: Vec<_> = host.completed().iter().map(|it| (it.id, it.status)).collect();
    assert_eq!(done, [(0, 0), (1, 0), (2, 0)]);
    let mut read = [0; 2 * BLOCK_BYTES as usize];
    host.window().read_bytes(at(2), &mut read);
    assert!(read.iter().all(|&byte| byte == 0xa5));
    assert_eq!(driver.stop(), 0);
}

#[test]
fn a_device_that_does_not_answer_is_refused() {
    assert_eq!(probed(u32::MAX).2, Status::NoDevice.code());
}
